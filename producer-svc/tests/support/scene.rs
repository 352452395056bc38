//! A running producer-svc for a test, with topics, group and database of its own.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use kafka::{Client, ClientConfig, ConsumerRecord, OutgoingRecord, Producer, ReaderEvent, Start};
use producer_svc::Config;
use serde_json::Value;
use service::config::Parsed;
use service::duties::RunError;
use service::http::Listeners;
use sql::Pool;
use testkit::database::OwnDatabase;
use testkit::{Kafka, eventually, http, metrics, unique};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub const SOON: Duration = Duration::from_secs(30);

/// Names and places of one test.
pub struct Scene {
    pub bootstrap: String,
    pub order_topic: String,
    pub orders_topic: String,
    pub status_topic: String,
    pub users_topic: String,
    /// By the last part of their paths: `views` and so on.
    pub book_topics: [(&'static str, String); 5],
    pub aggregates_topic: String,
    pub group: String,
    pub analytics_group: String,
    pub database: OwnDatabase,
    pub folder: tempfile::TempDir,
}

impl Scene {
    pub async fn new(kafka: &Kafka) -> Self {
        Self {
            bootstrap: kafka.bootstrap().to_owned(),
            order_topic: unique("order_topic"),
            orders_topic: unique("orders"),
            status_topic: unique("order_status_topic"),
            users_topic: unique("users.events"),
            book_topics: ["views", "downloads", "purchases", "reviews", "ratings"]
                .map(|kind| (kind, unique(&format!("book.{kind}")))),
            aggregates_topic: unique("analytics.aggregated-stats"),
            group: unique("order-view"),
            analytics_group: unique("main-application"),
            database: OwnDatabase::new().await,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// The variables of this scene; `more` comes on top.
    pub fn variables(&self, more: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut variables = vec![
            ("KAFKA_BOOTSTRAP_SERVERS", self.bootstrap.clone()),
            ("KAFKA_GROUP_ID", self.group.clone()),
            ("ORDER_TOPIC", self.order_topic.clone()),
            ("ORDERS_TOPIC", self.orders_topic.clone()),
            ("ORDER_STATUS_TOPIC", self.status_topic.clone()),
            ("USERS_EVENTS_TOPIC", self.users_topic.clone()),
            ("BOOK_VIEWS_TOPIC", self.book_topic("views")),
            ("BOOK_DOWNLOADS_TOPIC", self.book_topic("downloads")),
            ("BOOK_PURCHASES_TOPIC", self.book_topic("purchases")),
            ("BOOK_REVIEWS_TOPIC", self.book_topic("reviews")),
            ("BOOK_RATINGS_TOPIC", self.book_topic("ratings")),
            ("AGGREGATED_STATS_TOPIC", self.aggregates_topic.clone()),
            ("AGGREGATES_GROUP_ID", self.analytics_group.clone()),
            ("HTTP_ADDR", "127.0.0.1:0".to_owned()),
            ("DATABASE_URL", self.database.url.clone()),
            // Tests tell of any year.
            ("ANALYTICS_RETENTION", "36525d".to_owned()),
        ];
        for (name, value) in more {
            variables.retain(|(known, _)| known != name);
            variables.push((name, (*value).to_owned()));
        }
        variables
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }

    /// The topic of `POST /api/books/{bookId}/<kind>`.
    pub fn book_topic(&self, kind: &str) -> String {
        let found = self.book_topics.iter().find(|(known, _)| *known == kind);
        found.expect("a kind of event").1.clone()
    }

    /// Starts the service in this process.
    pub async fn start(&self, more: &[(&str, &str)]) -> Running {
        let program = producer_svc::program();
        let parsed = program.parse(
            [],
            self.variables(more).into_iter(),
            Path::new("/nonexistent"),
        );
        let Parsed::Invocation(invocation) = parsed else {
            panic!("nothing to print");
        };
        let config = Config::read(invocation.values).expect("a good configuration");
        let listeners = Listeners::bind(&config.common.http.addresses, "HTTP_ADDR")
            .await
            .unwrap();
        let address = listeners.addresses()[0];
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(producer_svc::run(config, listeners, async {
            let _ = stopped.await;
        }));
        Running {
            address,
            stop,
            task,
        }
    }

    /// Starts it and waits until it is ready in all its parts.
    pub async fn start_ready(&self, more: &[(&str, &str)]) -> Running {
        let running = self.start(more).await;
        running.ready().await;
        running
    }

    pub fn client(&self) -> Client {
        Client::new(ClientConfig::new(&self.bootstrap).unwrap())
    }

    pub fn producer(&self) -> Producer {
        self.client().producer().build().unwrap()
    }

    /// A connection to the database that the service stores in.
    pub fn pool(&self) -> Pool {
        testkit::database::pool(&self.database.url)
    }

    /// Sends a status as consumer-svc would; gives its partition and offset.
    pub async fn send_status(
        &self,
        producer: &Producer,
        order_id: &str,
        status: &str,
    ) -> (i32, i64) {
        let reason = if status == "REJECTED" {
            r#","reason":"too many""#
        } else {
            ""
        };
        let value = format!(r#"{{"orderId":"{order_id}","status":"{status}"{reason}}}"#);
        send(producer, &self.status_topic, order_id, &value).await
    }

    /// The first `count` records of a topic.
    pub async fn records(&self, topic: &str, count: usize) -> Vec<ConsumerRecord> {
        let mut reader = self
            .client()
            .reader()
            .topics([topic])
            .from(Start::Earliest)
            .build()
            .unwrap();
        let mut records = Vec::new();
        let reading = async {
            while records.len() < count {
                if let ReaderEvent::Records(more) = reader.next_batch().await {
                    records.extend(more);
                }
            }
        };
        tokio::time::timeout(SOON, reading)
            .await
            .expect("records in time");
        records
    }
}

/// Sends a record without headers; gives its partition and offset.
pub async fn send(producer: &Producer, topic: &str, key: &str, value: &str) -> (i32, i64) {
    let record = OutgoingRecord {
        topic,
        key: Some(key.as_bytes()),
        value: Some(value.as_bytes()),
        ..OutgoingRecord::default()
    };
    let place = producer.send(&record).await.unwrap();
    (place.partition, place.offset)
}

/// The fields that a problem names.
pub fn fields(problem: &Value) -> Vec<&str> {
    let errors = problem["errors"].as_array().into_iter().flatten();
    errors
        .map(|error| error["field"].as_str().unwrap())
        .collect()
}

/// A service in this process.
pub struct Running {
    pub address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), RunError>>,
}

impl Running {
    /// Waits until nothing is missing.
    pub async fn ready(&self) {
        eventually(SOON, || async {
            let answer = http::get(self.address, "/readyz?strict").await;
            (answer.status == 200).then_some(())
        })
        .await;
    }

    /// Ends it as SIGTERM would.
    pub async fn end(self) -> Result<(), RunError> {
        let _ = self.stop.send(());
        self.task.await.unwrap()
    }

    pub async fn post(&self, path: &str, body: &str) -> (u16, Value) {
        self.post_with(path, &[], body).await
    }

    pub async fn post_with(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> (u16, Value) {
        let answer = http::post(self.address, path, headers, body).await;
        (answer.status, serde_json::from_str(&answer.body).unwrap())
    }

    /// What a POST is answered as soon as it has this status.
    pub async fn posted(&self, path: &str, body: &str, wanted: u16) -> Value {
        eventually(SOON, || async {
            let (status, answer) = self.post(path, body).await;
            (status == wanted).then_some(answer)
        })
        .await
    }

    /// The first answer to so many of the same POST at once.
    pub async fn first_of(&self, count: usize, path: &str, body: &str) -> (u16, Value) {
        let requests = (0..count).map(|_| self.post(path, body));
        let mut requests: FuturesUnordered<_> = requests.collect();
        requests.next().await.expect("an answer")
    }

    /// Places an order; gives its id.
    pub async fn place(&self) -> String {
        let (status, receipt) = self
            .post("/api/orders", r#"{"product":"Laptop","quantity":1}"#)
            .await;
        assert_eq!(status, 200, "{receipt}");
        receipt["orderId"].as_str().unwrap().to_owned()
    }

    /// What `GET /api/orders/{id}` answers, as soon as its status is `status`.
    pub async fn order(&self, id: &str, status: &str) -> Value {
        eventually(SOON, || async {
            let answer = http::get(self.address, &format!("/api/orders/{id}")).await;
            let state: Value = serde_json::from_str(&answer.body).unwrap();
            (state["status"] == status).then_some(state)
        })
        .await
    }

    /// What it answers as soon as it lists `count` events.
    pub async fn order_with(&self, id: &str, count: usize) -> Value {
        eventually(SOON, || async {
            let answer = http::get(self.address, &format!("/api/orders/{id}")).await;
            let state: Value = serde_json::from_str(&answer.body).unwrap();
            (state["events"].as_array().map_or(0, Vec::len) == count).then_some(state)
        })
        .await
    }

    /// GET of what is behind the administrators' guard, with the default password.
    pub async fn admin_get(&self, path: &str) -> (u16, Value) {
        let admin = [("authorization", "Basic YWRtaW46YWRtaW4=")];
        let answer = http::request(self.address, "GET", path, &admin, "").await;
        (answer.status, serde_json::from_str(&answer.body).unwrap())
    }

    /// Waits until a metric, which may not be there yet, has a value.
    #[track_caller]
    pub fn metric_becomes(&self, name: &str, value: f64) -> impl Future<Output = ()> {
        metrics::becomes(self.address, name, value, SOON)
    }
}
