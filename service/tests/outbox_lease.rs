//! The lease of an outbox: one relay works at a time, and what has lost it does nothing more.

#[path = "support/outbox.rs"]
mod support;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kafka::{Client, ClientConfig};
use service::CancellationToken;
use service::health::Health;
use service::metrics::Metrics;
use service::outbox::{Announce, NewEvent, Relay};
use support::{Log, SOON, Scene, TERM, execute, run};
use testkit::eventually;

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
            let take = "UPDATE outbox_lease SET holder = 'other', turn = turn + 1";
            let taking = std::thread::spawn(move || execute(&url, take));
            taking.join().unwrap();
        }
        std::thread::sleep(TERM);
        *woken = Some(Instant::now());
    }
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

/// So long that no test waits for it.
const NEVER: Duration = Duration::from_secs(3_600);

#[tokio::test]
async fn a_restarted_instance_takes_its_own_lease_at_once() {
    let scene = Scene::new().await;
    let stop = CancellationToken::new();
    let relay = |instance| scene.relay().lease_term(NEVER).of_instance(Some(instance));
    let killed = tokio::spawn(run(relay("one"), stop.clone()));
    scene.append(&scene.topic, "a", "a-0").await;
    scene.all_published().await;
    killed.abort();
    assert!(killed.await.is_err(), "killed");
    // Another instance has to wait for the term.
    let other = tokio::spawn(run(relay("other"), stop.clone()));
    scene.append(&scene.topic, "a", "a-1").await;
    let again = tokio::spawn(run(relay("one"), stop.clone()));
    scene.all_published().await;
    assert_eq!(scene.count("SELECT turn FROM outbox_lease").await, 2);
    stop.cancel();
    other.await.unwrap();
    again.await.unwrap();
    let log = scene.log(&scene.topic, |log| log.has(&["a"], 2)).await;
    log.assert_in_order();
    assert_eq!(log.count(), 2);
}

#[tokio::test]
async fn two_relays_of_one_instance_do_not_take_the_lease_from_each_other_in_turn() {
    let scene = Scene::new().await;
    let stop = CancellationToken::new();
    let relay = || scene.relay().lease_term(NEVER).of_instance(Some("same"));
    let first = tokio::spawn(run(relay(), stop.clone()));
    scene.append(&scene.topic, "a", "a-0").await;
    scene.all_published().await;
    let second = tokio::spawn(run(relay(), stop.clone()));
    eventually(SOON, || async {
        (scene.count("SELECT turn FROM outbox_lease").await == 2).then_some(())
    })
    .await;
    // Both hear of each of these; the first finds that it has lost the lease, and only looks on.
    for number in 1..20 {
        scene
            .append(&scene.topic, "a", &format!("a-{number}"))
            .await;
        scene.all_published().await;
    }
    assert_eq!(scene.count("SELECT turn FROM outbox_lease").await, 2);
    stop.cancel();
    first.await.unwrap();
    second.await.unwrap();
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
        let query = sql::query(sql).execute(scene.database.pool());
        query.await.unwrap();
    };
    sign("UPDATE outbox_lease SET holder = 'other', turn = turn + 1").await;
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
        let query = sql::query("SELECT holder FROM outbox_lease");
        let row = query.fetch_one(scene.database.pool()).await.unwrap();
        row.get::<String>(0).unwrap()
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
