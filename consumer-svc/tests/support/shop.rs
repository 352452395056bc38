//! A consumer-svc in this process, with topics and a group of the test's own.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use consumer_svc::{Config, program, run};
use kafka::{Client, ClientConfig, ConsumerRecord, OutgoingRecord, Producer, Reader, ReaderEvent};
use service::config::Parsed;
use service::duties::RunError;
use service::http::Listeners;
use testkit::database::OwnDatabase;
use testkit::{Kafka, metrics, unique};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How long anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Names of one test's topics and group, and a client to look at them with.
pub struct Shop {
    pub bootstrap: String,
    pub group: String,
    pub orders: String,
    pub snake_orders: String,
    pub statuses: String,
    pub notifications: String,
    pub users: String,
    pub carts: String,
    pub cart_group: String,
    pub database: OwnDatabase,
    pub client: Client,
    producer: Producer,
}

impl Shop {
    /// Names of its own on `kafka`; the service creates the topics.
    pub async fn new(kafka: &Kafka) -> Self {
        let bootstrap = kafka.bootstrap().to_owned();
        let client = Client::new(ClientConfig::new(&bootstrap).unwrap());
        Self {
            group: unique("order-processing"),
            orders: unique("order_topic"),
            snake_orders: unique("orders"),
            statuses: unique("order_status_topic"),
            notifications: unique("notifications"),
            users: unique("users.events"),
            carts: unique("carts.events"),
            cart_group: unique("cart-service"),
            database: OwnDatabase::new().await,
            producer: client.producer().build().unwrap(),
            bootstrap,
            client,
        }
    }

    /// The settings as flags; what is in `more` comes on top.
    pub fn flags(&self, more: &[&str]) -> Vec<String> {
        let mut flags = self.names();
        flags.extend(["--analytics", "false"].map(str::to_owned));
        flags.extend(more.iter().map(|flag| (*flag).to_owned()));
        flags
    }

    /// The flags for the names of all that is the test's own.
    pub fn names(&self) -> Vec<String> {
        let flags: Vec<String> = [
            ("--kafka-bootstrap-servers", &*self.bootstrap),
            ("--kafka-group-id", &self.group),
            ("--order-topic", &self.orders),
            ("--orders-topic", &self.snake_orders),
            ("--order-status-topic", &self.statuses),
            ("--notifications-topic", &self.notifications),
            ("--users-events-topic", &self.users),
            ("--carts-events-topic", &self.carts),
            ("--cart-group-id", &self.cart_group),
            ("--database-url", &self.database.url),
            ("--http-addr", "127.0.0.1:0"),
        ]
        .into_iter()
        .flat_map(|(flag, value)| [flag.to_owned(), value.to_owned()])
        .collect();
        flags
    }

    /// Starts the service and waits until it has its partitions.
    pub async fn start(&self, more: &[&str]) -> Service {
        self.start_with(&self.flags(more)).await
    }

    /// Like [`Shop::start`], with just these flags.
    pub async fn start_with(&self, flags: &[String]) -> Service {
        let service = self.launch(flags).await;
        service.ready().await;
        service
    }

    /// Starts the service with these flags and waits for nothing.
    pub async fn launch(&self, flags: &[String]) -> Service {
        let folder = tempfile::tempdir().unwrap();
        let parsed = program().parse(flags.to_vec(), std::iter::empty(), folder.path());
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

    /// Sends a record and waits for its acknowledgement.
    pub async fn send(
        &self,
        topic: &str,
        key: Option<&str>,
        value: &[u8],
        headers: &[(&str, &str)],
    ) {
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.as_bytes(), Some(value.as_bytes())))
            .collect();
        self.producer
            .send(&OutgoingRecord {
                topic,
                partition: None,
                key: key.map(str::as_bytes),
                value: Some(value),
                headers: &headers,
                timestamp: None,
            })
            .await
            .unwrap();
    }

    /// Like [`Shop::send`], as soon as the service has created the topic.
    pub async fn send_when_there(&self, topic: &str, key: Option<&str>, value: &[u8]) {
        testkit::eventually(PATIENCE, || async {
            let topics = self.client.admin().topics().await.ok()?;
            topics
                .iter()
                .any(|known| *known.name == *topic)
                .then_some(())
        })
        .await;
        self.send(topic, key, value, &[]).await;
    }

    /// An order in camelCase, keyed by its id.
    pub async fn order(&self, id: &str, product: &str, quantity: i64) {
        let value = format!(r#"{{"orderId":"{id}","product":"{product}","quantity":{quantity}}}"#);
        self.send(&self.orders, Some(id), value.as_bytes(), &[])
            .await;
    }

    /// Follows a topic from its beginning.
    pub fn follow(&self, topic: &str) -> Follow {
        Follow {
            reader: self.client.reader().topics([topic]).build().unwrap(),
            records: Vec::new(),
        }
    }

    /// The sum of the group's commits on a topic.
    pub async fn committed(&self, topic: &str) -> i64 {
        let committed = self
            .client
            .admin()
            .committed_offsets(&self.group)
            .await
            .unwrap();
        committed
            .into_iter()
            .filter(|(of, _)| *of.topic == *topic)
            .map(|(_, commit)| commit.offset.max(0))
            .sum()
    }
}

/// A running service.
pub struct Service {
    pub address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), RunError>>,
}

impl Service {
    /// Waits until it has its partitions and nothing is degraded.
    pub async fn ready(&self) {
        testkit::eventually(PATIENCE, || async {
            let metrics = self.get("/metrics").await.1;
            let assigned = metrics.contains("kafka_consumergroup_lag{");
            (self.get("/readyz?strict").await.0 == 200 && assigned).then_some(())
        })
        .await;
    }

    /// Status and body of a GET.
    pub async fn get(&self, path: &str) -> (u16, String) {
        let mut stream = tokio::net::TcpStream::connect(self.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, body.to_owned())
    }

    /// The value of a metric that is there, by its name with labels.
    pub async fn metric(&self, name: &str) -> f64 {
        let value = metrics::value(self.address, name).await;
        value.unwrap_or_else(|| panic!("no metric {name}"))
    }

    /// Waits until a metric, which may not be there yet, has a value.
    #[track_caller]
    pub fn metric_becomes(&self, name: &str, value: f64) -> impl Future<Output = ()> {
        metrics::becomes(self.address, name, value, PATIENCE)
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

/// A topic from its beginning.
pub struct Follow {
    reader: Reader,
    records: Vec<ConsumerRecord>,
}

impl Follow {
    /// The topic's first `number` records, waiting for them.
    pub async fn first(&mut self, number: usize) -> &[ConsumerRecord] {
        let reading = async {
            while self.records.len() < number {
                if let ReaderEvent::Records(records) = self.reader.next_batch().await {
                    self.records.extend(records);
                }
            }
        };
        tokio::time::timeout(PATIENCE, reading)
            .await
            .unwrap_or_else(|_| panic!("fewer than {number} records"));
        &self.records
    }

    /// The first `number` records' values by key, in the order of each key.
    pub async fn by_key(&mut self, number: usize) -> BTreeMap<String, Vec<String>> {
        let mut by_key: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for record in self.first(number).await {
            let key = text(record.key.as_deref()).to_owned();
            by_key
                .entry(key)
                .or_default()
                .push(text(record.value.as_deref()).to_owned());
        }
        by_key
    }
}

pub fn text(bytes: Option<&[u8]>) -> &str {
    std::str::from_utf8(bytes.expect("not null")).unwrap()
}
