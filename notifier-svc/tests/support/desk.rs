//! A notifier-svc in this process, with a topic, a group and a database of the test's own.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::net::SocketAddr;
use std::time::Duration;

use kafka::{Client, ClientConfig, ConsumerRecord, OutgoingRecord, Producer, ReaderEvent};
use notifier_svc::{Config, program, run};
use serde_json::Value;
use service::config::Parsed;
use service::duties::RunError;
use service::http::Listeners;
use testkit::database::OwnDatabase;
use testkit::{Kafka, eventually, http, metrics, unique};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How long anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Names and places of one test.
pub struct Desk {
    pub bootstrap: String,
    pub group: String,
    pub topic: String,
    pub database: OwnDatabase,
    pub client: Client,
    producer: Producer,
}

impl Desk {
    pub async fn new(kafka: &Kafka) -> Self {
        let bootstrap = kafka.bootstrap().to_owned();
        let client = Client::new(ClientConfig::new(&bootstrap).unwrap());
        Self {
            group: unique("notification-group"),
            topic: unique("notifications"),
            database: OwnDatabase::new().await,
            producer: client.producer().build().unwrap(),
            bootstrap,
            client,
        }
    }

    /// The settings as flags; what is in `more` comes on top.
    pub fn flags(&self, more: &[&str]) -> Vec<String> {
        let mut flags: Vec<String> = [
            ("--kafka-bootstrap-servers", &*self.bootstrap),
            ("--kafka-group-id", &self.group),
            ("--notifications-topic", &self.topic),
            ("--database-url", &self.database.url),
            ("--http-addr", "127.0.0.1:0"),
        ]
        .into_iter()
        .flat_map(|(flag, value)| [flag.to_owned(), value.to_owned()])
        .collect();
        flags.extend(more.iter().map(|flag| (*flag).to_owned()));
        flags
    }

    /// Starts the service.
    pub async fn start(&self, more: &[&str]) -> Service {
        let folder = tempfile::tempdir().unwrap();
        let parsed = program().parse(
            self.flags(&[more, &["--log-format", "json"]].concat()),
            std::iter::empty(),
            folder.path(),
        );
        let Parsed::Invocation(invocation) = parsed else {
            panic!("printed instead of running");
        };
        let config = Config::read(invocation.values).unwrap();
        let listeners = Listeners::bind(&config.common.http.addresses, "HTTP_ADDR")
            .await
            .unwrap();
        let address = listeners.addresses()[0];
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(run(config, listeners, async {
            let _ = stopped.await;
        }));
        Service {
            address,
            stop,
            task,
        }
    }

    /// Starts the service and waits until it has everything.
    pub async fn start_ready(&self) -> Service {
        let service = self.start(&[]).await;
        service.ready().await;
        service
    }

    /// Sends a record and waits for its acknowledgement; says where it lies.
    pub async fn send(
        &self,
        key: Option<&str>,
        value: &str,
        headers: &[(&str, &str)],
    ) -> (i32, i64) {
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.as_bytes(), Some(value.as_bytes())))
            .collect();
        let place = self
            .producer
            .send(&OutgoingRecord {
                topic: &self.topic,
                partition: None,
                key: key.map(str::as_bytes),
                value: Some(value.as_bytes()),
                headers: &headers,
                timestamp: None,
            })
            .await
            .unwrap();
        (place.partition, place.offset)
    }

    /// A confirmed order's notification.
    pub async fn confirmed(&self, order: &str, user: &str) -> (i32, i64) {
        let value = format!(r#"{{"order_id":"{order}","status":"CONFIRMED","user_id":"{user}"}}"#);
        self.send(Some(order), &value, &[]).await
    }

    /// The first `number` records of a topic.
    pub async fn records(&self, topic: &str, number: usize) -> Vec<ConsumerRecord> {
        let mut reader = self.client.reader().topics([topic]).build().unwrap();
        let mut records = Vec::new();
        let reading = async {
            while records.len() < number {
                if let ReaderEvent::Records(more) = reader.next_batch().await {
                    records.extend(more);
                }
            }
        };
        tokio::time::timeout(PATIENCE, reading)
            .await
            .expect("records in time");
        records
    }

    /// The sum of the group's commits.
    pub async fn committed(&self) -> i64 {
        let admin = self.client.admin();
        let committed = admin.committed_offsets(&self.group).await.unwrap();
        committed.values().map(|commit| commit.offset.max(0)).sum()
    }
}

/// A running service.
pub struct Service {
    pub address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), RunError>>,
}

impl Service {
    pub async fn ready(&self) {
        eventually(PATIENCE, || async {
            let assigned = self.metrics().await.contains("kafka_consumergroup_lag{");
            let ready = http::get(self.address, "/readyz?strict").await.status == 200;
            (ready && assigned).then_some(())
        })
        .await;
    }

    pub async fn metrics(&self) -> String {
        http::get(self.address, "/metrics").await.body
    }

    /// Waits until `notifications_total` of an outcome has a value.
    pub async fn counted(&self, outcome: &str, value: u64) {
        let name = format!("notifications_total{{outcome=\"{outcome}\"}}");
        metrics::becomes(self.address, &name, value as f64, PATIENCE).await;
    }

    /// The notifications that the API lists.
    pub async fn list(&self, query: &str) -> Vec<Value> {
        let answer = http::get(self.address, &format!("/api/notifications{query}")).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        serde_json::from_str(&answer.body).unwrap()
    }

    /// Ends the service in order.
    pub async fn stop(self) {
        let _ = self.stop.send(());
        tokio::time::timeout(PATIENCE, self.task)
            .await
            .expect("the service ends")
            .unwrap()
            .unwrap();
    }
}
