//! One group of our consumers, Java's and librdkafka's, each a process of its own, one of each killed:
//! each partition has one owner at a time, nothing is lost, and of what ours handled only what they
//! had not committed when they were killed is handled again.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use faults::members::Group;
use kafka::{Assignor, Client, ClientConfig, ConsumerError, GroupError, OutgoingRecord};
use kafka::{ConsumerRecord, Handler, Outcome};
use tempfile::TempDir;
use testkit::apache::ApacheKafka;
use testkit::{Kafka, eventually};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const PARTITIONS: i32 = 6;

/// Between two rounds of records, one to each partition.
const ROUND: Duration = Duration::from_millis(20);

#[tokio::test(flavor = "multi_thread")]
async fn on_the_embedded_broker() {
    let kafka = Kafka::own_broker().await;
    with_either_strategy(kafka.bootstrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_apache_kafka() {
    let kafka = ApacheKafka::start().await;
    with_either_strategy(&kafka.bootstrap()).await;
}

async fn with_either_strategy(bootstrap: &str) {
    let folder = TempDir::with_prefix("members-").expect("a folder for the members' logs");
    tokio::join!(
        members_of_every_kind_come_and_are_killed(bootstrap, Assignor::Range, folder.path()),
        members_of_every_kind_come_and_are_killed(
            bootstrap,
            Assignor::CooperativeSticky,
            folder.path()
        ),
    );
}

async fn members_of_every_kind_come_and_are_killed(
    bootstrap: &str,
    assignor: Assignor,
    folder: &Path,
) {
    let client = Client::new(ClientConfig::new(bootstrap).expect("an address"));
    let admin = client.admin().with_timeout(Duration::from_secs(60));
    let topic = testkit::unique("shared");
    let wanted = kafka::NewTopic::new(&topic, PARTITIONS, 1);
    admin.create_topics(&[wanted]).await.expect("a topic");
    let group = Group::new(bootstrap, &topic, assignor);
    let name = |kind: &str| format!("{kind} of {}", group.name());
    let load = Load::start(&client, &topic);
    let shared = async |members: &[&str]| {
        let names: Vec<_> = members.iter().map(|kind| name(kind)).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        group.journal.until_shared(PARTITIONS, &names).await;
    };

    let java = group.java(&name("java"), folder);
    let kcat = group.kcat(&name("kcat"));
    let ours = group.ours(&name("ours"));
    shared(&["java", "kcat", "ours"]).await;
    if assignor == Assignor::Range {
        a_member_without_a_common_strategy_is_told_what_to_set(&group).await;
    }

    group.kill(kcat, &admin).await;
    let second = group.ours(&name("second of ours"));
    shared(&["java", "ours", "second of ours"]).await;

    group.kill(ours, &admin).await;
    let ours = group.ours(&name("ours again"));
    let kcat = group.kcat(&name("second kcat"));
    shared(&["java", "second kcat", "second of ours", "ours again"]).await;

    group.kill(java, &admin).await;
    shared(&["second kcat", "second of ours", "ours again"]).await;

    let ends = load.stop().await;
    group
        .journal
        .until("every record being handled", |told| {
            let end = |partition: &i32| ends.get(partition).copied().unwrap_or(0);
            (0..PARTITIONS).all(|partition| {
                (0..end(&partition)).all(|offset| told.handled.contains_key(&(partition, offset)))
            })
        })
        .await;
    eventually(Duration::from_secs(60), async || {
        (group.commits(&admin).await? == ends).then_some(())
    })
    .await;
    kcat.leave().await;
    for member in [ours, second] {
        let status = member.leave().await;
        assert!(status.success(), "it left something undone: {status}");
    }
    group.journal.check();
    for kind in ["ours", "second of ours", "ours again"] {
        group.journal.check_repeats_after(&name(kind));
    }
}

async fn a_member_without_a_common_strategy_is_told_what_to_set(group: &Group) {
    let consumer = group
        .consumer(Assignor::CooperativeSticky)
        .build(Nothing)
        .expect("a good configuration");
    let error = consumer
        .run(std::future::pending())
        .await
        .expect_err("it cannot join");
    let no_common = matches!(
        error,
        ConsumerError::Group(GroupError::NoCommonAssignor { .. })
    );
    let text = error.to_string();
    assert!(no_common, "{text}");
    for wanted in [
        group.name(),
        "KAFKA_ASSIGNMENT_STRATEGY",
        "cooperative-sticky",
    ] {
        assert!(text.contains(wanted), "{text}");
    }
}

struct Nothing;

impl Handler for Nothing {
    async fn handle(&self, record: &ConsumerRecord) -> Outcome {
        panic!(
            "{}-{} is none of its business",
            record.topic, record.partition
        )
    }
}

/// Records to every partition, round after round.
struct Load {
    stop: oneshot::Sender<()>,
    task: JoinHandle<BTreeMap<i32, i64>>,
}

impl Load {
    fn start(client: &Client, topic: &str) -> Self {
        let producer = client.producer().build().expect("a good configuration");
        let topic = topic.to_owned();
        let (stop, mut stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            let mut ends = BTreeMap::new();
            let mut rounds = tokio::time::interval(ROUND);
            loop {
                tokio::select! {
                    _ = &mut stopped => return ends,
                    _ = rounds.tick() => {}
                }
                for partition in 0..PARTITIONS {
                    let record = OutgoingRecord {
                        topic: &topic,
                        partition: Some(partition),
                        value: Some(b"record"),
                        ..Default::default()
                    };
                    let sent = producer.send(&record).await.expect("it is taken");
                    ends.insert(partition, sent.offset + 1);
                }
            }
        });
        Self { stop, task }
    }

    /// Stops it; the end of each partition.
    async fn stop(self) -> BTreeMap<i32, i64> {
        drop(self.stop);
        self.task.await.expect("no panic")
    }
}
