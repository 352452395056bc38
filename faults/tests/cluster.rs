//! Three nodes of Apache Kafka under load: partitions are added, two nodes are killed one after the
//! other, the third falls silent, and leaders move away and back. With three replicas and `min.insync.replicas=2` the producer
//! loses, repeats and reorders nothing, and a group handles everything.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use kafka::{Admin, Client, ClientConfig, ConsumerError, ConsumerRecord, Delivery, Handler};
use kafka::{NewTopic, Outcome, OutgoingRecord, Producer, ReaderEvent, Report};
use testkit::apache::ApacheKafka;
use testkit::{eventually, unique};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

const PATIENCE: Duration = Duration::from_secs(120);

/// Each key's records are numbered.
const KEYS: usize = 50;

/// Between two rounds of records, one for each key.
const ROUND: Duration = Duration::from_millis(50);

const PARTITIONS_BEFORE: i32 = 6;
const PARTITIONS: i32 = 9;

/// Where a record lies.
type Place = (i32, i64);

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_repeated_or_reordered_while_nodes_fail_and_leaders_move() {
    let mut kafka = ApacheKafka::builder()
        .nodes(3)
        // Leaders go back to where they belong as soon as they can.
        .setting("leader.imbalance.check.interval.seconds", "1")
        .setting("leader.imbalance.per.broker.percentage", "0")
        .start()
        .await;
    let client = client(&kafka);
    let admin = client.admin().with_timeout(PATIENCE);
    let topic = unique("cluster");
    let wanted = NewTopic::new(&topic, PARTITIONS_BEFORE, 3).config("min.insync.replicas", "2");
    admin.create_topics(&[wanted]).await.expect("a topic");
    kafka.until_in_sync(&topic).await;

    let load = Load::start(&client, &topic);
    let group = unique("group");
    let handled = Handled::default();
    let members = [
        Member::start(&kafka, &group, &topic, &handled),
        Member::start(&kafka, &group, &topic, &handled),
    ];
    handled
        .until_everywhere(PARTITIONS_BEFORE, &BTreeMap::new())
        .await;

    admin
        .create_partitions(&topic, PARTITIONS)
        .await
        .expect("more partitions");
    handled.until_everywhere(PARTITIONS, &BTreeMap::new()).await;

    // What is sent once a node is gone, to any partition, arrives without it; and again with it.
    let goes_on = async || {
        let now = handled.ends();
        handled.until_everywhere(PARTITIONS, &now).await;
    };
    for node in [1, 2] {
        kafka.kill(node);
        until_led_by_others(&admin, &topic, node).await;
        goes_on().await;
        kafka.restart(node).await;
        kafka.until_in_sync(&topic).await;
        goes_on().await;
    }
    // Its connections stay open, with requests that are never answered.
    kafka.freeze(3);
    until_led_by_others(&admin, &topic, 3).await;
    goes_on().await;
    kafka.thaw(3);
    kafka.until_in_sync(&topic).await;
    goes_on().await;

    let sent = load.stop().await;
    let what = format!("{} records being handled", sent.len());
    handled
        .until(&what, |progress| {
            sent.keys().all(|place| progress.turns.contains_key(place))
        })
        .await;
    let log = read(&client, &topic, sent.len()).await;
    assert_eq!(
        log, sent,
        "the log holds what was acknowledged, where it was, and nothing else"
    );
    assert_in_order(&log);
    handled.assert_first_in_order(&log);
    let ends = ends(log.keys());
    eventually(PATIENCE, async || {
        let committed = admin.committed_offsets(&group).await.ok()?;
        let committed: BTreeMap<i32, i64> = committed
            .into_iter()
            .map(|(place, committed)| (place.partition, committed.offset))
            .collect();
        (committed == ends).then_some(())
    })
    .await;
    for member in members {
        member.stop().await;
    }
}

fn client(kafka: &ApacheKafka) -> Client {
    let mut config = ClientConfig::new(&kafka.bootstrap()).expect("addresses");
    // New partitions are to be noticed within the test,
    config.metadata_max_age = Duration::from_secs(1);
    // and so is a silent node.
    config.request_timeout = Duration::from_secs(5);
    Client::new(config)
}

async fn until_led_by_others(admin: &Admin, topic: &str, node: usize) {
    let node = i32::try_from(node).expect("a small number");
    eventually(PATIENCE, async || {
        let described = admin.describe_topics(&[topic]).await.ok()?;
        let leaders = described
            .first()?
            .partitions
            .iter()
            .map(|partition| partition.leader);
        let mut leaders = leaders.collect::<Vec<_>>().into_iter();
        leaders
            .all(|leader| leader.is_some_and(|leader| leader != node))
            .then_some(())
    })
    .await;
}

/// The next offset of each partition that these places reach into.
fn ends<'a>(places: impl IntoIterator<Item = &'a Place>) -> BTreeMap<i32, i64> {
    let mut ends = BTreeMap::new();
    for (partition, offset) in places {
        let end = ends.entry(*partition).or_insert(0);
        *end = (*end).max(offset + 1);
    }
    ends
}

/// A record's key and number.
fn content(record: &ConsumerRecord) -> (usize, u64) {
    let number = |bytes: Option<&[u8]>| {
        let text = std::str::from_utf8(bytes.expect("not null")).expect("text");
        text.parse::<u64>().expect("a number")
    };
    let key = number(record.key.as_deref()) as usize;
    (key, number(record.value.as_deref()))
}

/// Each key's numbers rise within a partition; and all of them are there, once.
fn assert_in_order(log: &BTreeMap<Place, (usize, u64)>) {
    let mut latest: HashMap<(i32, usize), u64> = HashMap::new();
    let mut seen: BTreeMap<usize, BTreeSet<u64>> = BTreeMap::new();
    for ((partition, offset), (key, number)) in log {
        let before = latest.insert((*partition, *key), *number);
        assert!(
            before.is_none_or(|before| before < *number),
            "partition {partition} offset {offset}: {number} of key {key} behind {before:?}"
        );
        assert!(
            seen.entry(*key).or_default().insert(*number),
            "{number} of key {key} twice"
        );
    }
    for (key, numbers) in seen {
        assert!(
            numbers.iter().copied().eq(0..numbers.len() as u64),
            "key {key}: {numbers:?}"
        );
    }
}

async fn read(client: &Client, topic: &str, count: usize) -> BTreeMap<Place, (usize, u64)> {
    let mut reader = client
        .reader()
        .topics([topic])
        .build()
        .expect("a good configuration");
    let mut log = BTreeMap::new();
    while log.len() < count || !reader.is_caught_up() {
        let event = tokio::time::timeout(PATIENCE, reader.next_batch()).await;
        match event.unwrap_or_else(|_| panic!("{} records, not {count}", log.len())) {
            ReaderEvent::Records(records) => {
                let place = |record: &ConsumerRecord| (record.partition, record.offset);
                log.extend(
                    records
                        .iter()
                        .map(|record| (place(record), content(record))),
                );
            }
            reset => panic!("{reset:?}"),
        }
    }
    log
}

/// Numbered records of every key, round after round.
struct Load {
    stop: oneshot::Sender<()>,
    task: JoinHandle<BTreeMap<Place, (usize, u64)>>,
}

impl Load {
    fn start(client: &Client, topic: &str) -> Self {
        let producer = client.producer().build().expect("a good configuration");
        let topic = topic.to_owned();
        let (stop, mut stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            let mut deliveries: Vec<((usize, u64), Delivery)> = Vec::new();
            let mut rounds = tokio::time::interval(ROUND);
            for number in 0.. {
                tokio::select! {
                    _ = &mut stopped => break,
                    _ = rounds.tick() => {}
                }
                for key in 0..KEYS {
                    let delivery = enqueue(&producer, &topic, key, number);
                    deliveries.push(((key, number), delivery));
                }
            }
            let mut sent = BTreeMap::new();
            for (content, delivery) in deliveries {
                let written = delivery
                    .await
                    .unwrap_or_else(|error| panic!("{content:?} was not taken: {error}"));
                sent.insert((written.partition, written.offset), content);
            }
            sent
        });
        Self { stop, task }
    }

    /// Stops it, and waits for every acknowledgement: what lies where.
    async fn stop(self) -> BTreeMap<Place, (usize, u64)> {
        drop(self.stop);
        self.task.await.expect("no panic")
    }
}

fn enqueue(producer: &Producer, topic: &str, key: usize, number: u64) -> Delivery {
    let (key, number) = (key.to_string(), number.to_string());
    let record = OutgoingRecord {
        topic,
        key: Some(key.as_bytes()),
        value: Some(number.as_bytes()),
        ..Default::default()
    };
    producer.enqueue(&record).expect("room for the record")
}

/// What the group has handled. Clones share it.
#[derive(Clone, Default)]
struct Handled(Arc<watch::Sender<Progress>>);

#[derive(Default)]
struct Progress {
    /// In which turn each record was first handled.
    turns: BTreeMap<Place, usize>,
    /// Of each partition, behind the furthest record handled.
    ends: BTreeMap<i32, i64>,
}

impl Handled {
    async fn until(&self, what: &str, check: impl Fn(&Progress) -> bool) {
        let mut progress = self.0.subscribe();
        let waited = progress.wait_for(|progress| check(progress));
        if tokio::time::timeout(PATIENCE, waited).await.is_err() {
            let ends = self.ends();
            panic!("{what} did not happen within {PATIENCE:?}; handled up to {ends:?}");
        }
    }

    /// Waits until something was handled beyond these ends, in each partition.
    async fn until_everywhere(&self, partitions: i32, beyond: &BTreeMap<i32, i64>) {
        let what = format!("a record in each of {partitions} partitions beyond {beyond:?}");
        self.until(&what, |progress| {
            let end =
                |ends: &BTreeMap<i32, i64>, partition| ends.get(&partition).copied().unwrap_or(0);
            (0..partitions).all(|partition| end(&progress.ends, partition) > end(beyond, partition))
        })
        .await;
    }

    fn ends(&self) -> BTreeMap<i32, i64> {
        self.0.borrow().ends.clone()
    }

    /// Within a partition, a key's records were first handled in their order.
    fn assert_first_in_order(&self, log: &BTreeMap<Place, (usize, u64)>) {
        let progress = self.0.borrow();
        let mut latest: HashMap<(i32, usize), usize> = HashMap::new();
        for ((partition, offset), (key, number)) in log {
            let turn = progress.turns[&(*partition, *offset)];
            let before = latest.insert((*partition, *key), turn);
            assert!(
                before.is_none_or(|before| before < turn),
                "partition {partition} offset {offset}: {number} of key {key} was handled too early"
            );
        }
    }
}

impl Handler for Handled {
    async fn handle(&self, record: &ConsumerRecord) -> Outcome {
        self.0.send_modify(|progress| {
            let turn = progress.turns.len();
            let place = (record.partition, record.offset);
            progress.turns.entry(place).or_insert(turn);
            let end = progress.ends.entry(record.partition).or_default();
            *end = (*end).max(record.offset + 1);
        });
        Outcome::Done
    }
}

/// A consumer of the group, on connections of its own.
struct Member {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<Report, ConsumerError>>,
}

impl Member {
    fn start(kafka: &ApacheKafka, group: &str, topic: &str, handled: &Handled) -> Self {
        let consumer = client(kafka)
            .consumer(group)
            .topics([topic])
            .commit_interval(Duration::from_millis(200))
            .discard_rejected()
            .build(handled.clone())
            .expect("a good configuration");
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let shutdown = async {
                let _ = stopped.await;
            };
            consumer.run(shutdown).await
        });
        Self { stop, task }
    }

    async fn stop(self) {
        drop(self.stop);
        let report = self.task.await.expect("no panic").expect("a good end");
        assert!(report.is_clean(), "{report}");
    }
}
