//! An outbox in a database of its own, and what of it reaches Kafka.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::HashMap;
use std::time::Duration;

use kafka::{Client, ClientConfig, NewTopic, OffsetAt, Producer, ReaderEvent, TopicPartition};
use service::CancellationToken;
use service::config::{DatabaseConfig, Secret};
use service::db::{Database, DatabaseKind, Migration};
use service::health::Health;
use service::metrics::Metrics;
use service::outbox::{self, NewEvent, Outbox, Relay, Silent};
use testkit::database::OwnDatabase;
use testkit::{Kafka, eventually, unique};

pub const SOON: Duration = Duration::from_secs(60);

/// Long enough for a busy machine not to lose it, short enough to wait for.
pub const TERM: Duration = Duration::from_millis(600);

static MIGRATIONS: [Migration; 2] = [
    Migration {
        version: 1,
        name: "outbox",
        sqlite: outbox::SQLITE,
        postgres: outbox::POSTGRES,
    },
    Migration {
        version: 2,
        name: "outbox's topic ids",
        sqlite: outbox::TOPIC_IDS,
        postgres: outbox::TOPIC_IDS,
    },
];

pub struct Scene {
    pub database: Database,
    pub outbox: Outbox,
    pub topic: String,
    pub own: OwnDatabase,
    pub client: Client,
    pub kafka: Kafka,
}

impl Scene {
    pub async fn new() -> Self {
        let kafka = Kafka::start().await;
        let client = Client::new(ClientConfig::new(kafka.bootstrap()).unwrap());
        let own = OwnDatabase::new().await;
        let kind = match own.url.starts_with("sqlite:") {
            true => DatabaseKind::Sqlite,
            false => DatabaseKind::Postgres,
        };
        let config = DatabaseConfig {
            kind,
            url: Secret::new(&own.url),
            pool_size: 4,
        };
        let database = Database::new(&config, &MIGRATIONS).unwrap();
        database.migrate().await.unwrap();
        let scene = Self {
            topic: unique("events"),
            outbox: Outbox::default(),
            database,
            client,
            kafka,
            own,
        };
        scene.make_topic(&scene.topic).await;
        scene
    }

    pub async fn make_topic(&self, name: &str) {
        self.make(NewTopic::new(name, 3, 1)).await;
    }

    pub async fn make(&self, topic: NewTopic) {
        self.client.admin().create_topics(&[topic]).await.unwrap();
    }

    pub fn producer(&self) -> Producer {
        self.client
            .producer()
            .delivery_timeout(Duration::from_secs(2))
            .build()
            .unwrap()
    }

    pub fn relay(&self) -> Relay<Silent> {
        self.relay_with(self.producer())
    }

    pub fn relay_with(&self, producer: Producer) -> Relay<Silent> {
        let (outbox, database) = (self.outbox.clone(), self.database.clone());
        Relay::new(outbox, database, producer, Silent, &Metrics::new()).lease_term(TERM)
    }

    /// Runs `relay` until everything is published, then ends it in order.
    pub async fn publish_all(&self, relay: Relay<Silent>) {
        let stop = CancellationToken::new();
        let running = tokio::spawn(run(relay, stop.clone()));
        self.all_published().await;
        stop.cancel();
        running.await.unwrap();
    }

    pub async fn all_published(&self) {
        eventually(SOON, || async { (self.waiting().await == 0).then_some(()) }).await;
    }

    pub async fn waiting(&self) -> i64 {
        self.count("SELECT COUNT(*) FROM outbox WHERE published_at IS NULL")
            .await
    }

    pub async fn marked(&self) -> i64 {
        self.count("SELECT COUNT(*) FROM outbox WHERE published_at IS NOT NULL")
            .await
    }

    pub async fn count(&self, sql: &'static str) -> i64 {
        let row = sql::query(sql).fetch_one(self.database.pool());
        row.await.unwrap().get(0).unwrap()
    }

    /// Records in the topic.
    pub async fn sent(&self) -> i64 {
        let partitions: Vec<_> = (0..3)
            .map(|partition| TopicPartition::new(self.topic.as_str(), partition))
            .collect();
        let admin = self.client.admin();
        let ends = admin.offsets(&partitions, OffsetAt::Latest).await.unwrap();
        ends.into_values().sum()
    }

    /// Leaves an event in a transaction of its own.
    pub async fn append(&self, topic: &str, key: &str, id: &str) {
        let mut tx = self.database.begin_write().await.unwrap();
        let body = format!("{{\"id\":\"{id}\"}}");
        let headers = [(&b"ce_id"[..], Some(id.as_bytes())), (&b"none"[..], None)];
        let event = NewEvent {
            topic,
            key,
            headers: &headers,
            body: body.as_bytes(),
        };
        self.outbox.append(&mut tx, &event).await.unwrap();
        tx.commit().await.unwrap();
        self.outbox.committed();
    }

    /// `count` events of each of `keys`, in turns.
    pub async fn append_many(&self, keys: &[&str], count: usize) {
        for number in 0..count {
            for key in keys {
                self.append(&self.topic, key, &format!("{key}-{number}"))
                    .await;
            }
        }
    }

    /// The ids of each key in `topic`, in the order of the log, until `enough` says so.
    pub async fn log(&self, topic: &str, enough: impl Fn(&Log) -> bool) -> Log {
        let mut reader = self.client.reader().topics([topic]).build().unwrap();
        let mut log = Log::default();
        let reading = async {
            while !enough(&log) {
                if let ReaderEvent::Records(records) = reader.next_batch().await {
                    for record in records {
                        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                        let id = text(record.headers.get("ce_id").unwrap());
                        let key = text(record.key.as_deref().unwrap());
                        assert!(text(record.value.as_deref().unwrap()).contains(&id));
                        log.0.entry(key).or_default().push(id);
                    }
                }
            }
        };
        tokio::time::timeout(SOON, reading)
            .await
            .expect("records in time");
        log
    }
}

/// Until `stop`, or for good.
pub async fn run(relay: Relay<Silent>, stop: CancellationToken) {
    let health = Health::new().optional("outbox");
    relay.run(health, stop, Duration::from_secs(5)).await;
}

/// The ids of each key's events.
#[derive(Debug, Default)]
pub struct Log(HashMap<String, Vec<String>>);

impl Log {
    pub fn has(&self, keys: &[&str], count: usize) -> bool {
        let firsts = |key: &&str| self.0.get(*key).map_or(0, |ids| first_seen(ids).len());
        keys.iter().all(|key| firsts(key) == count)
    }

    pub fn count(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }

    /// Repeats aside, each key's events are in order.
    pub fn assert_in_order(&self) {
        for (key, ids) in &self.0 {
            let seen = first_seen(ids);
            let expected: Vec<String> = (0..seen.len()).map(|n| format!("{key}-{n}")).collect();
            assert_eq!(seen, expected, "{ids:?}");
        }
    }
}

fn first_seen(ids: &[String]) -> Vec<String> {
    let mut seen: Vec<String> = Vec::new();
    for id in ids {
        if !seen.contains(id) {
            seen.push(id.clone());
        }
    }
    seen
}

/// Beside a runtime that stands still.
pub fn execute(url: &str, statement: &'static str) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let pool = testkit::database::pool(url);
        sql::query(statement).execute(&pool).await.unwrap();
        pool.close().await;
    });
}
