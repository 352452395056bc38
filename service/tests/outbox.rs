//! The outbox: what a transaction left there reaches Kafka, in order, whatever happens to the relay.

#[path = "support/outbox.rs"]
mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use service::CancellationToken;
use service::health::{Health, HealthPart};
use service::metrics::Metrics;
use service::outbox::{self, Announce, NewEvent, Relay};
use support::{SOON, Scene, execute, run};
use testkit::{eventually, polled, unique};

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
    let admin = scene.client.admin();
    let described = admin.describe_topics(&[&scene.topic]).await.unwrap();
    assert_eq!(place.topic_id, described[0].id);
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
        sql::query("UPDATE outbox_lease SET holder = ''")
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

#[tokio::test]
async fn a_topic_that_refuses_is_named_with_what_to_look_at_and_its_events_wait() {
    let scene = Scene::new().await;
    let (small, setting) = (unique("small"), "max.message.bytes");
    let topic = kafka::NewTopic::new(&small, 3, 1).config(setting, "50");
    scene.make(topic).await;
    scene.append(&small, "a", "a-0").await;
    let health = Health::new();
    let stop = CancellationToken::new();
    let relay = scene.relay();
    let drain = Duration::from_secs(5);
    let running = tokio::spawn(relay.run(health.optional("outbox"), stop.clone(), drain));
    eventually(SOON, || async {
        let report = health.report();
        let listed = report.degraded.iter().chain(&report.missing);
        let mut problems = listed.map(|part| &part.problem);
        problems
            .any(|problem| problem.contains(&small) && problem.contains(setting))
            .then_some(())
    })
    .await;
    assert_eq!(scene.waiting().await, 1);
    scene.kafka.set_topic(&small, setting, "1048588").await;
    scene.all_published().await;
    stop.cancel();
    running.await.unwrap();
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
    let hide = sql::query(hide).execute(scene.database.pool());
    assert_eq!(hide.await.unwrap(), 1);
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
