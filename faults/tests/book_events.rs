//! The bookstore's statistics while their database is away: events wait, orders do not, and each event counts once.

use faults::carts::RemovableDatabase;
use faults::process::PATIENCE;
use faults::shop::{Instance, Service, Stage};
use kafka::{Client, ClientConfig, OutgoingRecord, Producer, Reader, ReaderEvent};
use proto::{Aggregate, AggregateData, BookEventKind};
use tempfile::TempDir;
use testkit::{eventually, http, unique};

/// Events of one stretch.
const EVENTS: i64 = 500;

struct Bookstore {
    instance: Instance,
    database: RemovableDatabase,
    orders: String,
    views: String,
    producer: Producer,
    published: Reader,
    /// The most views that were published.
    most: i64,
    _folder: TempDir,
    _stage: Stage,
}

impl Bookstore {
    async fn open() -> Self {
        let stage = Stage::any().await;
        let database = RemovableDatabase::new().await;
        let folder = TempDir::with_prefix("bookstore-").unwrap();
        let [orders, aggregated] = ["order_topic", "analytics.aggregated-stats"].map(unique);
        let mut flags: Vec<(String, String)> = [
            ("kafka-bootstrap-servers", stage.bootstrap()),
            (
                "kafka-session-timeout",
                format!("{}s", stage.session().as_secs()),
            ),
            (
                "kafka-topic-replication-factor",
                stage.replicas().to_string(),
            ),
            ("kafka-group-id", unique("order-processing")),
            ("order-topic", orders.clone()),
            ("orders-topic", unique("orders")),
            ("order-status-topic", unique("order_status_topic")),
            ("notifications-topic", unique("notifications")),
            ("carts", "false".to_owned()),
            ("analytics-group-id", unique("analytics-service-group")),
            ("analytics-interval", "500ms".to_owned()),
            ("aggregated-stats-topic", aggregated.clone()),
            ("database-url", database.url().to_owned()),
            ("http-addr", "127.0.0.1:0".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        let mut views = String::new();
        for kind in BookEventKind::ALL {
            let topic = unique(kind.topic().name);
            if kind == BookEventKind::Viewed {
                views.clone_from(&topic);
            }
            flags.push((format!("book-{}-topic", kind.plural()), topic));
        }
        let mut instance = Instance::start(Service::Consumer, 0, folder.path(), &flags).await;
        instance.ready().await;
        let client = Client::new(ClientConfig::new(&stage.bootstrap()).unwrap());
        Self {
            instance,
            database,
            orders,
            views,
            producer: client.producer().build().unwrap(),
            published: client.reader().topics([&aggregated]).build().unwrap(),
            most: 0,
            _folder: folder,
            _stage: stage,
        }
    }

    async fn send(&self, topic: &str, key: &str, value: String) {
        let record = OutgoingRecord {
            topic,
            partition: None,
            key: Some(key.as_bytes()),
            value: Some(value.as_bytes()),
            headers: &[],
            timestamp: None,
        };
        self.producer.send(&record).await.unwrap();
    }

    /// One stretch of views; without ids, so that one that is read twice counts twice.
    async fn views(&self) {
        for n in 0..EVENTS {
            self.view(n % 7 + 1).await;
        }
    }

    async fn view(&self, book: i64) {
        let value = format!(r#"{{"bookId":{book}}}"#);
        self.send(&self.views, &book.to_string(), value).await;
    }

    /// Reads on until so many views are published; more may not be.
    async fn until(&mut self, views: i64) {
        let reading = async {
            while self.most < views {
                let ReaderEvent::Records(records) = self.published.next_batch().await else {
                    continue;
                };
                for record in records {
                    let value = record.value.expect("a value");
                    let aggregate = Aggregate::decode(&value).unwrap().expect("a known type");
                    if let AggregateData::SystemOverview { figures, .. } = aggregate.data {
                        self.most = self.most.max(figures.views);
                    }
                }
            }
        };
        let read = tokio::time::timeout(PATIENCE, reading).await;
        assert!(
            read.is_ok() && self.most == views,
            "{} of {views}",
            self.most
        );
    }

    /// Orders go on, and `/readyz` names what is away.
    async fn degraded(&self, order: &str) {
        let confirmed = "orders_total{outcome=\"confirmed\"}";
        let before = self.instance.metric(confirmed).await.unwrap_or_default();
        let value = format!(r#"{{"orderId":"{order}","product":"Laptop","quantity":1}}"#);
        self.send(&self.orders, order, value).await;
        eventually(PATIENCE, || async {
            let now = self.instance.metric(confirmed).await.unwrap_or_default();
            let ready = http::get(self.instance.address, "/readyz").await;
            let named = ready.status == 200 && ready.body.contains(r#""name":"database""#);
            (now > before && named).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn book_events_wait_for_their_database_and_orders_do_not() {
    let mut store = Bookstore::open().await;
    store.views().await;
    store.until(EVENTS).await;

    store.database.take_away();
    store.views().await;
    store.degraded("1").await;
    store.database.give_back();
    store.until(2 * EVENTS).await;

    // Killed meanwhile: what it had in memory is read again.
    store.database.take_away();
    store.views().await;
    store.degraded("2").await;
    store.instance.kill();
    store.database.give_back();
    store.instance.start_again().await;
    store.until(3 * EVENTS).await;
    // One more, so that what came late is seen.
    store.view(1).await;
    store.until(3 * EVENTS + 1).await;
    store.instance.ready().await;
    assert!(store.instance.end().await.success());
}
