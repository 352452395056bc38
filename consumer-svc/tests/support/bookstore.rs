//! Book events, what they should come to, and what is published of them.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::{BTreeMap, HashMap};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;

use kafka::{OutgoingRecord, Producer, Reader, ReaderEvent};
use proto::{
    Aggregate, AggregateData, Average, BookDetail, BookEvent, BookEventKind, Currency, Figures,
    PopularBook, ReviewAction,
};
use testkit::{Kafka, unique};

use super::shop::{PATIENCE, Shop};

/// Books that events are about.
const BOOKS: i64 = 41;

pub struct Bookstore {
    pub shop: Shop,
    /// By [`BookEventKind::ALL`].
    pub topics: Vec<String>,
    pub aggregated: String,
    pub group: String,
    producer: Producer,
}

impl Bookstore {
    /// Topics of its own on `kafka`, with the contract's partitions.
    pub async fn new(kafka: &Kafka) -> Self {
        let shop = Shop::new(kafka).await;
        let mut topics = Vec::new();
        for kind in BookEventKind::ALL {
            let name = unique(kind.topic().name);
            kafka.create_topic(&name, kind.topic().partitions).await;
            topics.push(name);
        }
        let aggregated = unique("analytics.aggregated-stats");
        kafka.create_topic(&aggregated, 2).await;
        Self {
            producer: shop.client.producer().build().unwrap(),
            topics,
            aggregated,
            group: unique("analytics-service-group"),
            shop,
        }
    }

    /// What makes consumer-svc keep statistics alone, on these topics.
    pub fn flags(&self) -> Vec<String> {
        let mut flags = self.shop.names();
        flags.extend(["--carts", "false"].map(str::to_owned));
        let own = [
            "--book-views-topic",
            "--book-downloads-topic",
            "--book-purchases-topic",
            "--book-reviews-topic",
            "--book-ratings-topic",
        ];
        for (flag, topic) in own.iter().zip(&self.topics) {
            flags.extend([(*flag).to_owned(), topic.clone()]);
        }
        for (flag, value) in [
            ("--aggregated-stats-topic", self.aggregated.as_str()),
            ("--analytics-group-id", &self.group),
            ("--analytics-interval", "500ms"),
        ] {
            flags.extend([flag.to_owned(), value.to_owned()]);
        }
        flags
    }

    /// An instance as a process of its own.
    pub fn spawn(&self) -> Instance {
        self.spawn_with(&[])
    }

    /// The same with further flags.
    pub fn spawn_with(&self, more: &[&str]) -> Instance {
        let child = Command::new(env!("CARGO_BIN_EXE_consumer-svc"))
            .args(self.flags())
            .args(more)
            .args(["--kafka-session-timeout", "6s", "--log-level", "warn"])
            .env_clear()
            .current_dir(std::env::temp_dir())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Instance(child)
    }

    /// Sends these, in their order, and waits for the acknowledgements.
    pub async fn send(&self, events: &[BookEvent<'static>]) {
        let mut deliveries = Vec::new();
        for event in events {
            let kind = event.detail.kind();
            let key = match (kind.is_keyed_by_user(), &event.user_id) {
                (true, Some(user)) => user.to_string(),
                _ => event.book_id.to_string(),
            };
            let mut body = Vec::new();
            event.write(&mut body);
            let at = BookEventKind::ALL.iter().position(|known| *known == kind);
            let record = OutgoingRecord {
                topic: &self.topics[at.unwrap()],
                partition: None,
                key: Some(key.as_bytes()),
                value: Some(&body),
                headers: &[],
                timestamp: None,
            };
            deliveries.push(self.producer.enqueue(&record).unwrap());
        }
        for delivery in deliveries {
            delivery.await.unwrap();
        }
    }

    /// What is published, from the beginning.
    pub fn published(&self) -> Published {
        let reader = self.shop.client.reader().topics([&self.aggregated]);
        Published {
            reader: reader.build().unwrap(),
            overview: None,
            books: BTreeMap::new(),
            popular: None,
            most: 0,
        }
    }
}

/// A consumer-svc that is killed at the end.
pub struct Instance(Child);

impl Instance {
    /// SIGKILL.
    pub fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // It may be over.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Of each aggregate the one with the latest time, as a reader should take them.
pub struct Published {
    reader: Reader,
    overview: Option<(i64, i64, Figures)>,
    books: BTreeMap<i64, (i64, Figures)>,
    pub popular: Option<(i64, Vec<PopularBook>)>,
    /// The most events that an overview ever told of.
    pub most: i64,
}

/// Events in some figures.
pub fn events(figures: &Figures) -> i64 {
    figures.views + figures.downloads + figures.purchases + figures.reviews + figures.ratings
}

impl Published {
    /// Books of the last overview.
    pub fn number(&self) -> i64 {
        self.overview.as_ref().map_or(0, |overview| overview.1)
    }

    /// Figures of the last overview.
    pub fn figures(&self) -> &Figures {
        static NONE: LazyLock<Figures> = LazyLock::new(Figures::default);
        self.overview.as_ref().map_or(&NONE, |overview| &overview.2)
    }

    /// Reads on until there are an overview and ranks, and it is as asked.
    pub async fn until(&mut self, what: &str, check: impl Fn(&Self) -> bool) {
        let reading = async {
            loop {
                if self.overview.is_some() && self.popular.is_some() && check(self) {
                    return;
                }
                if let ReaderEvent::Records(records) = self.reader.next_batch().await {
                    for record in records {
                        let value = record.value.expect("a value");
                        let aggregate = Aggregate::decode(&value)
                            .unwrap()
                            .known()
                            .expect("a known type");
                        let key = aggregate.data.aggregation_type().as_bytes();
                        assert_eq!(record.key.as_deref(), Some(key));
                        self.take(aggregate);
                    }
                }
            }
        };
        if tokio::time::timeout(PATIENCE * 2, reading).await.is_err() {
            panic!("{what} was not published; last {:?}", self.overview);
        }
    }

    fn take(&mut self, aggregate: Aggregate) {
        let at = aggregate.generated_at;
        match aggregate.data {
            AggregateData::BookStats { book_id, figures } => {
                let known = self.books.entry(book_id).or_default();
                if known.0 < at {
                    *known = (at, figures);
                }
            }
            AggregateData::SystemOverview { books, figures } => {
                self.most = self.most.max(events(&figures));
                if self.overview.as_ref().is_none_or(|known| known.0 < at) {
                    self.overview = Some((at, books, figures));
                }
            }
            AggregateData::PopularBooks(books) => {
                if self.popular.as_ref().is_none_or(|known| known.0 < at) {
                    self.popular = Some((at, books));
                }
            }
        }
    }

    /// The last figures of every book.
    pub fn of_books(&self) -> BTreeMap<i64, Figures> {
        let of = |(id, (_, figures)): (&i64, &(i64, Figures))| (*id, figures.clone());
        self.books.iter().map(of).collect()
    }
}

/// Event number `n`: all kinds, some books more than others, with an id.
pub fn event(n: i64) -> BookEvent<'static> {
    let currency = if n % 3 == 0 { "USD" } else { "RUB" };
    let detail = match n % 7 {
        0 | 1 => BookDetail::Viewed,
        2 => BookDetail::Downloaded,
        3 => BookDetail::Purchased {
            amount: n,
            currency: Currency::parse(currency).unwrap(),
        },
        4 => BookDetail::Reviewed {
            text: "good".into(),
            action: ReviewAction::Created,
        },
        5 => BookDetail::Reviewed {
            text: "better".into(),
            action: ReviewAction::Updated,
        },
        _ => BookDetail::Rated((n / 7 % 5 + 1) as u8),
    };
    BookEvent {
        event_id: Some(format!("event-{n}").into()),
        book_id: n * n % BOOKS + 1,
        user_id: Some(format!("user-{}", n % 23).into()),
        timestamp: None,
        detail,
    }
}

/// What these events come to, one after another, by book and in all.
pub fn expected(events: &[BookEvent<'_>]) -> (BTreeMap<i64, Figures>, Figures) {
    let mut books: BTreeMap<i64, Figures> = BTreeMap::new();
    let mut whole = Figures::default();
    let mut ratings: HashMap<(i64, String), i64> = HashMap::new();
    for event in events {
        let book = event.book_id;
        let user = event.user_id.as_deref().expect("a user").to_owned();
        let counts = !matches!(
            event.detail,
            BookDetail::Reviewed {
                action: ReviewAction::Updated,
                ..
            }
        );
        if !counts {
            continue;
        }
        for figures in [books.entry(book).or_default(), &mut whole] {
            match &event.detail {
                BookDetail::Viewed => figures.views += 1,
                BookDetail::Downloaded => figures.downloads += 1,
                BookDetail::Purchased { amount, currency } => {
                    figures.purchases += 1;
                    *figures.revenue.entry(*currency).or_default() += amount;
                }
                BookDetail::Reviewed { .. } => figures.reviews += 1,
                BookDetail::Rated(_) => {}
            }
        }
        if let BookDetail::Rated(stars) = event.detail {
            ratings.insert((book, user), i64::from(stars));
        }
    }
    let mut sums: HashMap<i64, i64> = HashMap::new();
    for ((book, _), stars) in ratings {
        books.entry(book).or_default().ratings += 1;
        *sums.entry(book).or_default() += stars;
    }
    for (book, sum) in &sums {
        let figures = books.entry(*book).or_default();
        figures.average_rating = Average::of(*sum, figures.ratings);
        whole.ratings += figures.ratings;
    }
    whole.average_rating = Average::of(sums.values().sum(), whole.ratings);
    (books, whole)
}
