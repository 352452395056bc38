//! The outbox: what a transaction left there reaches Kafka, in order, whatever happens to the relay.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kafka::{Client, ClientConfig, NewTopic, OffsetAt, Producer, ReaderEvent, TopicPartition};
use service::CancellationToken;
use service::config::{DatabaseConfig, Secret};
use service::db::{Database, DatabaseKind, Migration};
use service::health::{Health, HealthPart};
use service::metrics::Metrics;
use service::outbox::{self, Announce, NewEvent, Outbox, Relay, Silent};
use sqlx::Row;
use testkit::database::OwnDatabase;
use testkit::{Kafka, eventually, polled, unique};

const SOON: Duration = Duration::from_secs(60);

/// Long enough for a busy machine not to lose it, short enough to wait for.
const TERM: Duration = Duration::from_millis(600);

static MIGRATIONS: [Migration; 2] = [
    Migration {
        version: 1,
        name: "outbox",
        sqlite: outbox::SQLITE,
        postgres: outbox::POSTGRES,
    },
    Migration {
        version: 2,
        name: "outbox by key",
        sqlite: outbox::WAITING_BY_KEY,
        postgres: outbox::WAITING_BY_KEY,
    },
];

struct Scene {
    database: Database,
    outbox: Outbox,
    client: Client,
    topic: String,
    _kafka: Kafka,
    own: OwnDatabase,
}

impl Scene {
    async fn new() -> Self {
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
            _kafka: kafka,
            own,
        };
        scene.make_topic(&scene.topic).await;
        scene
    }

    async fn make_topic(&self, name: &str) {
        let topic = NewTopic {
            name: name.to_owned(),
            partitions: 3,
            replication: 1,
            configs: Vec::new(),
        };
        self.client.admin().create_topics(&[topic]).await.unwrap();
    }

    fn producer(&self) -> Producer {
        self.client
            .producer()
            .delivery_timeout(Duration::from_secs(2))
            .build()
            .unwrap()
    }

    fn relay(&self) -> Relay<Silent> {
        self.relay_with(self.producer())
    }

    fn relay_with(&self, producer: Producer) -> Relay<Silent> {
        let (outbox, database) = (self.outbox.clone(), self.database.clone());
        Relay::new(outbox, database, producer, Silent, &Metrics::new()).lease_term(TERM)
    }

    /// Runs `relay` until everything is published, then ends it in order.
    async fn publish_all(&self, relay: Relay<Silent>) {
        let stop = CancellationToken::new();
        let running = tokio::spawn(run(relay, stop.clone()));
        self.all_published().await;
        stop.cancel();
        running.await.unwrap();
    }

    async fn all_published(&self) {
        eventually(SOON, || async { (self.waiting().await == 0).then_some(()) }).await;
    }

    async fn waiting(&self) -> i64 {
        self.count("SELECT COUNT(*) FROM outbox WHERE published_at IS NULL")
            .await
    }

    async fn marked(&self) -> i64 {
        self.count("SELECT COUNT(*) FROM outbox WHERE published_at IS NOT NULL")
            .await
    }

    async fn count(&self, sql: &'static str) -> i64 {
        let row = sqlx::query(sql).fetch_one(self.database.pool());
        row.await.unwrap().try_get(0).unwrap()
    }

    /// Records in the topic.
    async fn sent(&self) -> i64 {
        let partitions: Vec<_> = (0..3)
            .map(|partition| TopicPartition::new(self.topic.as_str(), partition))
            .collect();
        let admin = self.client.admin();
        let ends = admin.offsets(&partitions, OffsetAt::Latest).await.unwrap();
        ends.into_values().sum()
    }

    /// Leaves an event in a transaction of its own.
    async fn append(&self, topic: &str, key: &str, id: &str) {
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
    async fn append_many(&self, keys: &[&str], count: usize) {
        for number in 0..count {
            for key in keys {
                self.append(&self.topic, key, &format!("{key}-{number}"))
                    .await;
            }
        }
    }

    /// The ids of each key in `topic`, in the order of the log, until `enough` says so.
    async fn log(&self, topic: &str, enough: impl Fn(&Log) -> bool) -> Log {
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

async fn run(relay: Relay<Silent>, stop: CancellationToken) {
    let health = Health::new().optional("outbox");
    relay.run(health, stop, Duration::from_secs(5)).await;
}

/// The ids of each key's events.
#[derive(Debug, Default)]
struct Log(HashMap<String, Vec<String>>);

impl Log {
    fn has(&self, keys: &[&str], count: usize) -> bool {
        let firsts = |key: &&str| self.0.get(*key).map_or(0, |ids| first_seen(ids).len());
        keys.iter().all(|key| firsts(key) == count)
    }

    fn count(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }

    /// Repeats aside, each key's events are in order.
    fn assert_in_order(&self) {
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

#[tokio::test]
async fn what_was_left_is_published_once_in_order_and_its_place_is_kept() {
    let scene = Scene::new().await;
    let keys = ["a", "b", "c"];
    scene.append_many(&keys, 20).await;
    scene.publish_all(scene.relay()).await;
    let log = scene.log(&scene.topic, |log| log.has(&keys, 20)).await;
    log.assert_in_order();
    assert_eq!(log.count(), 60, "nothing twice");

    let found = outbox::find(&scene.database, &scene.topic, "b")
        .await
        .unwrap();
    let place = found.unwrap().place.expect("published");
    assert_eq!(place.partition, kafka::partition_for_key(b"b", 3));
    assert!(place.offset.is_some() && place.published_at > 0);
    let none = outbox::find(&scene.database, &scene.topic, "nobody")
        .await
        .unwrap();
    assert_eq!(none, None);
}

#[tokio::test]
async fn an_event_is_published_as_soon_as_its_transaction_has_committed() {
    let scene = Scene::new().await;
    let stop = CancellationToken::new();
    let running = tokio::spawn(run(scene.relay(), stop.clone()));
    for number in 0..3 {
        scene
            .append(&scene.topic, "a", &format!("a-{number}"))
            .await;
        scene.all_published().await;
    }
    stop.cancel();
    running.await.unwrap();
    // What was rolled back never was.
    let mut tx = scene.database.begin_write().await.unwrap();
    let event = NewEvent {
        topic: &scene.topic,
        key: "a",
        headers: &[],
        body: b"{}",
    };
    scene.outbox.append(&mut tx, &event).await.unwrap();
    tx.rollback().await.unwrap();
    assert_eq!(scene.waiting().await, 0);
}

#[tokio::test]
async fn a_relay_killed_at_any_point_loses_nothing_and_keeps_the_order() {
    let scene = Scene::new().await;
    let keys = ["a", "b"];
    let mut rounds = 0;
    // At each await of a pass, one after the other, until some kill has fallen between a sending and
    // its mark.
    while rounds < 24 || scene.sent().await <= scene.marked().await {
        assert!(rounds < 500, "no kill fell after a sending");
        let round = rounds;
        rounds += 1;
        for key in keys {
            scene
                .append(&scene.topic, key, &format!("{key}-{round}"))
                .await;
        }
        // Nobody waits for the lease of the one before: it gives no sign of life any more.
        sqlx::query("UPDATE outbox_lease SET holder = ''")
            .execute(scene.database.pool())
            .await
            .unwrap();
        let stop = CancellationToken::new();
        let killed = polled(1 + round, run(scene.relay(), stop)).await;
        assert!(killed.is_none(), "it ended by itself");
    }
    scene.publish_all(scene.relay()).await;
    let log = scene.log(&scene.topic, |log| log.has(&keys, rounds)).await;
    log.assert_in_order();
}

/// Stands still for longer than the lease when its first event is sent, as a process that is stopped
/// does, and loses it meanwhile where there is a database to take it in.
struct Frozen {
    database_url: Option<String>,
    woken: Mutex<Option<Instant>>,
    /// How long after it woke the second event was sent.
    second: Arc<Mutex<Option<Duration>>>,
}

impl Announce for Frozen {
    fn sending(&self, _topic: &str, _body: &str) {
        let woken = *self.woken.lock().unwrap();
        if let Some(woken) = woken {
            self.second.lock().unwrap().get_or_insert(woken.elapsed());
        }
    }

    fn sent(&self, _topic: &str, _body: &str) {
        let mut woken = self.woken.lock().unwrap();
        if woken.is_some() {
            return;
        }
        if let Some(url) = self.database_url.clone() {
            // A task would wait for this thread.
            let take = "UPDATE outbox_lease SET holder = 'other', epoch = epoch + 1";
            let taking = std::thread::spawn(move || execute(&url, take));
            taking.join().unwrap();
        }
        std::thread::sleep(TERM);
        *woken = Some(Instant::now());
    }
}

/// Beside a runtime that stands still.
fn execute(url: &str, statement: &'static str) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let pool = sqlx::AnyPool::connect(url).await.unwrap();
        sqlx::query(statement).execute(&pool).await.unwrap();
        pool.close().await;
    });
}

#[tokio::test]
async fn a_lease_that_lapses_in_a_full_pass_and_is_renewed_reorders_nothing() {
    let scene = Scene::new().await;
    // More than are read at a time.
    let count = 510;
    let mut tx = scene.database.begin_write().await.unwrap();
    for number in 0..count {
        let id = format!("a-{number}");
        let body = format!("{{\"id\":\"{id}\"}}");
        let event = NewEvent {
            topic: &scene.topic,
            key: "a",
            headers: &[(&b"ce_id"[..], Some(id.as_bytes()))],
            body: body.as_bytes(),
        };
        scene.outbox.append(&mut tx, &event).await.unwrap();
    }
    tx.commit().await.unwrap();
    let frozen = Frozen {
        database_url: None,
        woken: Mutex::default(),
        second: Arc::default(),
    };
    let (outbox, database) = (scene.outbox.clone(), scene.database.clone());
    let metrics = Metrics::new();
    let relay = Relay::new(outbox, database, scene.producer(), frozen, &metrics).lease_term(TERM);
    let stop = CancellationToken::new();
    let health = Health::new().optional("outbox");
    let running = tokio::spawn(relay.run(health, stop.clone(), Duration::from_secs(5)));
    scene.all_published().await;
    stop.cancel();
    running.await.unwrap();
    let log = scene.log(&scene.topic, |log| log.has(&["a"], count)).await;
    log.assert_in_order();
}

#[tokio::test]
async fn a_relay_that_was_frozen_past_its_lease_sends_nothing_more_until_it_has_it_again() {
    let scene = Scene::new().await;
    scene.append_many(&["a"], 2).await;
    let second = Arc::default();
    let frozen = Frozen {
        database_url: Some(scene.own.url.clone()),
        woken: Mutex::default(),
        second: Arc::clone(&second),
    };
    let (outbox, database) = (scene.outbox.clone(), scene.database.clone());
    let metrics = Metrics::new();
    let relay = Relay::new(outbox, database, scene.producer(), frozen, &metrics).lease_term(TERM);
    let stop = CancellationToken::new();
    let health = Health::new().optional("outbox");
    let running = tokio::spawn(relay.run(health, stop.clone(), Duration::from_secs(5)));
    scene.all_published().await;
    stop.cancel();
    running.await.unwrap();
    // The other one shows no sign of life, so the lease is taken again, after a term.
    let second = second.lock().unwrap().expect("a second event");
    assert!(
        second >= TERM,
        "sent without the lease, {second:?} after it"
    );
    let log = scene.log(&scene.topic, |log| log.has(&["a"], 2)).await;
    log.assert_in_order();
}

#[tokio::test]
async fn one_relay_publishes_at_a_time_and_the_next_takes_over_from_a_killed_one() {
    let scene = Scene::new().await;
    let stop = CancellationToken::new();
    let first = tokio::spawn(run(scene.relay(), stop.clone()));
    scene.append(&scene.topic, "a", "a-0").await;
    scene.all_published().await;
    // It waits so long that a busy machine does not make it take over from one that lives.
    let patient = scene.relay().lease_term(10 * TERM);
    let second = tokio::spawn(run(patient, stop.clone()));
    scene.append_many(&["b"], 30).await;
    scene.all_published().await;
    first.abort();
    assert!(first.await.is_err(), "killed");
    scene.append(&scene.topic, "c", "c-0").await;
    scene.all_published().await;
    stop.cancel();
    second.await.unwrap();
    let all = |log: &Log| log.has(&["a", "c"], 1) && log.has(&["b"], 30);
    let log = scene.log(&scene.topic, all).await;
    assert_eq!(
        log.count(),
        32,
        "two at work would have repeated some: {log:?}"
    );
    log.assert_in_order();
}

#[tokio::test]
async fn a_relay_that_lost_its_lease_marks_nothing() {
    let scene = Scene::new().await;
    let stop = CancellationToken::new();
    // So long that a busy machine does not make it take over from one that lives.
    let relay = scene.relay().lease_term(10 * TERM);
    let running = tokio::spawn(run(relay, stop.clone()));
    scene.append(&scene.topic, "a", "a-0").await;
    scene.all_published().await;
    // Somebody else has taken over, as far as the row says, and gives signs of life.
    let sign = async |sql: &'static str| {
        let query = sqlx::query(sql).execute(scene.database.pool());
        query.await.unwrap();
    };
    sign("UPDATE outbox_lease SET holder = 'other', epoch = epoch + 1").await;
    scene.append(&scene.topic, "a", "a-1").await;
    scene.append(&scene.topic, "a", "a-2").await;
    for _ in 0..15 {
        sign("UPDATE outbox_lease SET beat = beat + 1").await;
        tokio::time::sleep(TERM / 6).await;
        assert_eq!(scene.waiting().await, 2, "marked without the lease");
    }
    // Then no more, so this one takes it again and repeats what it could not mark.
    scene.all_published().await;
    stop.cancel();
    running.await.unwrap();
    let log = scene.log(&scene.topic, |log| log.has(&["a"], 3)).await;
    log.assert_in_order();
}

#[tokio::test]
async fn a_relay_that_ends_gives_its_lease_back_although_kafka_is_away() {
    let scene = Scene::new().await;
    let away = Client::new(ClientConfig::new("127.0.0.1:1").unwrap());
    let producer = away.producer().build().unwrap();
    scene.append(&scene.topic, "a", "a-0").await;
    let stop = CancellationToken::new();
    let relay = scene
        .relay_with(producer)
        .lease_term(Duration::from_secs(3_600));
    let health = Health::new().optional("outbox");
    let running = tokio::spawn(relay.run(health, stop.clone(), Duration::from_millis(10)));
    let holder = async || {
        let query = sqlx::query("SELECT holder FROM outbox_lease");
        let row = query.fetch_one(scene.database.pool()).await.unwrap();
        row.get::<String, _>(0)
    };
    eventually(SOON, || async {
        (!holder().await.is_empty()).then_some(())
    })
    .await;
    stop.cancel();
    running.await.unwrap();
    assert_eq!(holder().await, "");
    assert_eq!(scene.waiting().await, 1);
}

#[tokio::test]
async fn what_cannot_be_published_holds_back_its_own_key_alone() {
    let scene = Scene::new().await;
    let missing = unique("later");
    // More than are read at a time, all of them in the way.
    let stuck = 700;
    for number in 0..stuck {
        scene.append(&missing, "a", &format!("a-{number}")).await;
    }
    scene.append_many(&["b"], 5).await;
    let stop = CancellationToken::new();
    let running = tokio::spawn(run(scene.relay(), stop.clone()));
    eventually(SOON, || async {
        (scene.waiting().await == stuck).then_some(())
    })
    .await;
    scene.make_topic(&missing).await;
    scene.all_published().await;
    stop.cancel();
    running.await.unwrap();
    let log = scene
        .log(&missing, |log| log.has(&["a"], stuck as usize))
        .await;
    log.assert_in_order();
}

/// What a relay's health is when it sends an event that tells of it.
struct Watched {
    health: HealthPart,
    body: &'static str,
    was_up: Arc<Mutex<Vec<bool>>>,
}

impl Announce for Watched {
    fn sending(&self, _topic: &str, body: &str) {
        if body == self.body {
            self.was_up.lock().unwrap().push(self.health.is_up());
        }
    }
}

#[tokio::test]
async fn a_walk_that_leaves_events_behind_is_no_good_health_on_the_way() {
    let scene = Scene::new().await;
    let missing = unique("later");
    // A pass of one key, and the next of another.
    for number in 0..500 {
        scene.append(&missing, "a", &format!("a-{number}")).await;
    }
    scene.append(&missing, "c", "c-0").await;
    let health = Health::new().optional("outbox");
    let was_up = Arc::default();
    let watched = Watched {
        health: health.clone(),
        body: r#"{"id":"c-0"}"#,
        was_up: Arc::clone(&was_up),
    };
    let (outbox, database) = (scene.outbox.clone(), scene.database.clone());
    let relay = Relay::new(outbox, database, scene.producer(), watched, &Metrics::new());
    let stop = CancellationToken::new();
    let running = tokio::spawn(relay.run(health.clone(), stop.clone(), Duration::from_secs(5)));
    eventually(SOON, || async {
        (was_up.lock().unwrap().len() > 1).then_some(())
    })
    .await;
    assert!(!was_up.lock().unwrap().contains(&true));
    scene.make_topic(&missing).await;
    scene.all_published().await;
    eventually(SOON, || async { health.is_up().then_some(()) }).await;
    stop.cancel();
    running.await.unwrap();
}

/// Lets an event be seen late, as that of a transaction that was longer under way than others.
struct Late {
    database_url: String,
    /// When this one is sent.
    body: &'static str,
}

impl Announce for Late {
    fn sending(&self, _topic: &str, body: &str) {
        if body == self.body {
            let url = self.database_url.clone();
            // A task would wait for this thread.
            let showing = std::thread::spawn(move || {
                execute(
                    &url,
                    "UPDATE outbox SET published_at = NULL WHERE published_at = 1",
                );
            });
            showing.join().unwrap();
        }
    }
}

#[tokio::test]
async fn an_event_that_is_seen_late_comes_before_those_of_its_key_behind_it() {
    let scene = Scene::new().await;
    // Left behind: so the walk goes on from pass to pass.
    let missing = unique("later");
    let stuck = 300;
    for number in 0..stuck {
        scene.append(&missing, "a", &format!("a-{number}")).await;
    }
    scene.append(&scene.topic, "k", "k-0").await;
    let hide = "UPDATE outbox SET published_at = 1 WHERE record_key = 'k'";
    let hide = sqlx::query(hide).execute(scene.database.pool());
    assert_eq!(hide.await.unwrap().rows_affected(), 1);
    scene.append_many(&["f"], 250).await;
    scene.append(&scene.topic, "k", "k-1").await;
    let late = Late {
        database_url: scene.own.url.clone(),
        body: r#"{"id":"f-0"}"#,
    };
    let (outbox, database) = (scene.outbox.clone(), scene.database.clone());
    let relay = Relay::new(outbox, database, scene.producer(), late, &Metrics::new());
    let stop = CancellationToken::new();
    let health = Health::new().optional("outbox");
    let running = tokio::spawn(relay.run(health, stop.clone(), Duration::from_secs(5)));
    eventually(SOON, || async {
        (scene.waiting().await == stuck).then_some(())
    })
    .await;
    stop.cancel();
    running.await.unwrap();
    let log = scene
        .log(&scene.topic, |log| {
            log.has(&["k"], 2) && log.has(&["f"], 250)
        })
        .await;
    log.assert_in_order();
}
