//! The bookstore as real processes: instances of consumer-svc keep statistics of book events, producer-svc
//! stores what they publish, and databases can be taken away.

pub mod checker;
mod load;
pub mod sums;

pub use load::{BookLoad, BookTopics};

use std::collections::BTreeMap;
use std::time::Duration;

use kafka::{Client, ClientConfig};
use proto::{Aggregate, AggregateData, BookEventKind, ReadAggregate};
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::{eventually, http, unique};
use tokio::time::{sleep, timeout};

use self::checker::BookHistory;
use self::sums::{Sums, events};
use crate::carts::RemovableDatabase;
use crate::gather;
use crate::process::PATIENCE;
use crate::run::Run;
use crate::shop::{Instance, Service, Stage};

/// How long a bookstore may take to work off what it was given.
const WORKED_OFF: Duration = Duration::from_secs(180);

/// Between two looks at what is stored.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// One producer-svc and some consumer-svc, with topics, groups and databases of their own. Dropping it
/// kills them.
pub struct Bookstore {
    pub producer: Instance,
    pub consumers: Vec<Instance>,
    /// producer-svc's database.
    pub figures: RemovableDatabase,
    /// The database of consumer-svc, of all instances together.
    pub statistics: RemovableDatabase,
    pub topics: BookTopics,
    /// Where aggregates are published.
    pub aggregated: String,
    /// The group that reads book events, and the one that reads aggregates.
    pub groups: [String; 2],
    pub client: Client,
    _folder: TempDir,
    _stage: Stage,
}

impl Bookstore {
    /// So many instances of consumer-svc, and all ready.
    ///
    /// # Panics
    /// When one does not start.
    pub async fn open(stage: Stage, consumers: usize) -> Self {
        let figures = RemovableDatabase::new().await;
        let statistics = RemovableDatabase::new().await;
        Self::open_on(stage, figures, statistics, consumers).await
    }

    /// The same, on databases of the caller's.
    ///
    /// # Panics
    /// When one does not start.
    pub async fn open_on(
        stage: Stage,
        figures: RemovableDatabase,
        statistics: RemovableDatabase,
        consumers: usize,
    ) -> Self {
        let folder = TempDir::with_prefix("bookstore-").expect("a folder for a bookstore");
        let topics = BookEventKind::ALL.map(|kind| unique(kind.topic().name));
        let aggregated = unique("analytics.aggregated-stats");
        let groups = ["analytics-service-group", "main-application"].map(unique);
        let names = [
            ("order-topic", unique("order_topic")),
            ("orders-topic", unique("orders")),
            ("order-status-topic", unique("order_status_topic")),
            ("aggregated-stats-topic", aggregated.clone()),
            ("http-addr", "127.0.0.1:0".to_owned()),
        ];
        let mut common = stage.flags();
        common.extend(names.map(|(name, value)| (name.to_owned(), value)));
        for (kind, topic) in BookEventKind::ALL.iter().zip(&topics) {
            common.push((format!("book-{}-topic", kind.plural()), topic.clone()));
        }
        let with = |own: &[(&str, &str)]| {
            let own = own.iter();
            let own = own.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            common.iter().cloned().chain(own).collect::<Vec<_>>()
        };
        let flags = with(&[
            ("database-url", statistics.url()),
            ("kafka-group-id", &unique("order-processing")),
            ("notifications-topic", &unique("notifications")),
            ("carts", "false"),
            ("analytics-group-id", &groups[0]),
            ("analytics-interval", "500ms"),
        ]);
        let mut instances = Vec::new();
        for number in 0..consumers {
            let instance = Instance::start(Service::Consumer, number, folder.path(), &flags).await;
            instances.push(instance);
        }
        let flags = with(&[
            ("database-url", figures.url()),
            ("kafka-group-id", &unique("order-view")),
            ("order-view", "false"),
            ("users", "false"),
            ("aggregates-group-id", &groups[1]),
        ]);
        let mut store = Self {
            producer: Instance::start(Service::Producer, 0, folder.path(), &flags).await,
            consumers: instances,
            figures,
            statistics,
            topics,
            aggregated,
            groups,
            client: Client::new(ClientConfig::new(&stage.bootstrap()).expect("an address")),
            _folder: folder,
            _stage: stage,
        };
        store.ready().await;
        store
    }

    /// Waits until all lack nothing.
    ///
    /// # Panics
    /// When that takes too long.
    pub async fn ready(&mut self) {
        self.producer.ready().await;
        for consumer in &mut self.consumers {
            consumer.ready().await;
        }
    }

    /// Starts sending events, each of them twice, until [`BookLoad::finish`].
    pub fn load(&self, run: &Run) -> BookLoad {
        BookLoad::start(&self.client, &self.topics, run.steady_rate(), run.random())
    }

    /// Places an order, and waits until it is processed.
    ///
    /// # Panics
    /// When it is refused, or that takes too long.
    pub async fn order(&self) {
        let before = self.confirmed().await;
        let body = json!({"product": "Laptop", "quantity": 1}).to_string();
        let receipt = http::post(self.producer.address, "/api/orders", &[], &body).await;
        assert_eq!(receipt.status, 200, "{receipt:?}");
        eventually(PATIENCE, || async {
            (self.confirmed().await > before).then_some(())
        })
        .await;
    }

    async fn confirmed(&self) -> f64 {
        let mut sum = 0.0;
        for consumer in &self.consumers {
            let confirmed = consumer.metric("orders_total{outcome=\"confirmed\"}").await;
            sum += confirmed.unwrap_or_default();
        }
        sum
    }

    /// Waits until producer-svc has stored figures of so many events, which come to `sums`, and gathers
    /// what is to be seen; what is still missing after three minutes, too.
    ///
    /// # Panics
    /// When something cannot be read.
    pub async fn history(&self, events: u64, sums: Sums) -> BookHistory {
        let mut stored = Vec::new();
        let all = async {
            while !is_all(&stored, &sums) {
                sleep(BETWEEN_LOOKS).await;
                stored = self.stored().await.unwrap_or_default();
            }
        };
        // The checker names what is missing.
        let _ = timeout(WORKED_OFF, all).await;
        BookHistory {
            events,
            sums,
            published: self.published().await,
            stored,
        }
    }

    /// The topics of dead letters.
    pub fn letters(&self) -> Vec<String> {
        let topics = self.topics.iter().chain([&self.aggregated]);
        let suffix = proto::topics::DEAD_LETTER_SUFFIX;
        topics.map(|topic| format!("{topic}{suffix}")).collect()
    }

    /// The newest figures that producer-svc shows; none while there are none.
    async fn stored(&self) -> Option<Vec<Aggregate>> {
        let overview = self.producer.admin("/api/admin/analytics/overview").await?;
        let mut stored = vec![shown("SYSTEM_OVERVIEW", &overview)];
        let books = self.producer.admin("/api/admin/analytics/books?limit=500");
        let books = books.await?;
        assert!(books["next"].is_null(), "more than a page of books");
        let books = books["books"].as_array().expect("books").iter();
        stored.extend(books.map(|book| shown("BOOK_STATS", book)));
        Some(stored)
    }

    /// All aggregates in their topic.
    async fn published(&self) -> Vec<Aggregate> {
        let mut published = Vec::new();
        gather::each_record(
            &self.client,
            std::slice::from_ref(&self.aggregated),
            |record| {
                let value = record.value.as_deref().unwrap_or_default();
                // A run may put there what is none.
                published.extend(Aggregate::decode(value).ok().and_then(ReadAggregate::known));
            },
        )
        .await;
        published
    }
}

/// Whether figures are of as many events as there are, of each book and of all.
fn is_all(stored: &[Aggregate], sums: &Sums) -> bool {
    let mut counted = BTreeMap::new();
    for aggregate in stored {
        match &aggregate.data {
            AggregateData::BookStats { book_id, figures } => {
                counted.insert(Some(*book_id), events(figures));
            }
            AggregateData::SystemOverview { figures, .. } => {
                counted.insert(None, events(figures));
            }
            AggregateData::PopularBooks(_) => {}
        }
    }
    let mut all = sums.books().map(Some).chain([None]);
    all.all(|of| counted.get(&of).copied() >= Some(events(&sums.of(of))))
}

/// What producer-svc shows has the fields of the aggregate that it was made of.
fn shown(kind: &str, figures: &Value) -> Aggregate {
    let at = &figures["generatedAt"];
    let aggregate = json!({"aggregationType": kind, "generatedAt": at, "data": figures});
    let decoded = Aggregate::decode(aggregate.to_string().as_bytes());
    decoded.expect("figures").known().expect("a known type")
}
