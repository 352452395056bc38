//! Apache Kafka elects a leader that lacks records which were acknowledged, read and committed, as it
//! was told that it may: the group notices, and goes back to where the log differs.

use std::sync::Arc;
use std::time::Duration;

use kafka::{Client, ClientConfig, ConsumerRecord, Handler, NewTopic, Outcome, OutgoingRecord};
use testkit::apache::ApacheKafka;
use testkit::{eventually, unique};
use tokio::sync::{oneshot, watch};

const PATIENCE: Duration = Duration::from_secs(120);

/// What the later leader has as well.
const COMMON: i64 = 6;

/// What only the first leader has ends here.
const LOST: i64 = 10;

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_an_unclean_election_cut_back_is_read_on_from_where_it_differs() {
    let mut kafka = ApacheKafka::builder().nodes(3).start().await;
    let topic = unique("unclean");
    let wanted = NewTopic::new(&topic, 1, 2)
        .config("unclean.leader.election.enable", "true")
        .config("min.insync.replicas", "1");
    let admin = client(&kafka).admin().with_timeout(PATIENCE);
    admin.create_topics(&[wanted]).await.expect("a topic");
    kafka.until_in_sync(&topic).await;
    let replicas = kafka.replicas(&topic).await;
    let [first, later] = replicas[..] else {
        panic!("{replicas:?}");
    };

    write(&kafka, &topic, "both", 0..COMMON).await;
    let group = unique("group");
    let handled = Handled::default();
    let consumer = client(&kafka)
        .consumer(&group)
        .topics([&topic])
        .commit_interval(Duration::from_millis(100))
        .discard_rejected()
        .build(handled.clone())
        .expect("a good configuration");
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(consumer.run(async {
        let _ = stopped.await;
    }));
    let until_committed = async |offset: i64| {
        eventually(PATIENCE, async || {
            let committed = admin.committed_offsets(&group).await.ok()?;
            let found = committed.into_iter().next()?.1;
            (found.offset == offset).then_some(())
        })
        .await;
    };

    kafka.kill(later);
    kafka.until_alone(&topic, first).await;
    write(&kafka, &topic, "lost", COMMON..LOST).await;
    handled.until_has("lost", COMMON..LOST).await;
    until_committed(LOST).await;

    kafka.kill(first);
    kafka.restart(later).await;
    kafka.until_alone(&topic, later).await;
    until_committed(COMMON).await;
    write(&kafka, &topic, "anew", COMMON..LOST + 3).await;
    handled.until_has("anew", COMMON..LOST + 3).await;
    until_committed(LOST + 3).await;

    drop(stop);
    let report = running.await.expect("no panic").expect("a good end");
    assert!(report.is_clean(), "{report}");
    let seen = handled.0.borrow();
    let both = seen.iter().filter(|(value, _)| value == "both").count();
    assert_eq!(
        both as i64, COMMON,
        "what both had was handled once: {seen:?}"
    );
}

fn client(kafka: &ApacheKafka) -> Client {
    let mut config = ClientConfig::new(&kafka.bootstrap()).expect("addresses");
    config.metadata_max_age = Duration::from_secs(1);
    config.request_timeout = Duration::from_secs(5);
    Client::new(config)
}

/// By a producer of its own, which knows nothing of what was lost.
async fn write(kafka: &ApacheKafka, topic: &str, value: &str, offsets: std::ops::Range<i64>) {
    let client = client(kafka);
    let producer = client.producer().build().expect("a good configuration");
    for offset in offsets {
        let record = OutgoingRecord {
            topic,
            partition: Some(0),
            value: Some(value.as_bytes()),
            ..Default::default()
        };
        let sent = producer.send(&record).await.expect("it is taken");
        assert_eq!(sent.offset, offset, "{value}");
    }
}

/// Value and offset of each record handled. Clones share it.
#[derive(Clone, Default)]
struct Handled(Arc<watch::Sender<Vec<(String, i64)>>>);

impl Handled {
    async fn until_has(&self, value: &str, offsets: std::ops::Range<i64>) {
        let mut seen = self.0.subscribe();
        let all = |seen: &Vec<(String, i64)>| {
            let of = |offset| (value.to_owned(), offset);
            offsets.clone().all(|offset| seen.contains(&of(offset)))
        };
        let waited = tokio::time::timeout(PATIENCE, seen.wait_for(all)).await;
        if waited.is_err() {
            panic!(
                "{value} at {offsets:?} was not handled; {:?}",
                self.0.borrow()
            );
        }
    }
}

impl Handler for Handled {
    async fn handle(&self, record: &ConsumerRecord) -> Outcome {
        let value = String::from_utf8_lossy(record.value.as_deref().unwrap_or_default());
        self.0
            .send_modify(|seen| seen.push((value.into_owned(), record.offset)));
        Outcome::Done
    }
}
