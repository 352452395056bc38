//! Logs that only others write: records of the Java client and of librdkafka, transactions, and what
//! compaction and a damaged disk leave of them.

#[path = "support/world.rs"]
mod world;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};

use faults::producers::Producers;
use kafka::{ConsumerRecord, IsolationLevel, OutgoingRecord, Producer};
use tempfile::TempDir;
use testkit::apache::ApacheKafka;
use testkit::{Kafka, eventually, unique};
use world::{PATIENCE, World, values};

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

#[tokio::test(flavor = "multi_thread")]
async fn records_of_others_on_the_embedded_broker() {
    let kafka = Kafka::own_broker().await;
    let folder = TempDir::with_prefix("producers-").expect("a folder");
    let mut java = Producers::start(kafka.bootstrap(), folder.path());
    records_of_others_are_read_as_they_are(kafka.bootstrap(), &mut java).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_others_and_their_transactions_on_apache_kafka() {
    let kafka = ApacheKafka::start().await;
    let mut java = Producers::start(&kafka.bootstrap(), kafka.folder());
    records_of_others_are_read_as_they_are(&kafka.bootstrap(), &mut java).await;
    committed_records_arrive_and_aborted_ones_do_not(&kafka.bootstrap(), &mut java).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn compacted_and_damaged_logs_on_apache_kafka() {
    let kafka = ApacheKafka::builder()
        .setting("log.cleaner.backoff.ms", "100")
        .setting("log.cleaner.dedupe.buffer.size", "2000000")
        .start()
        .await;
    what_compaction_leaves_is_read_and_its_gaps_are_passed(&kafka.bootstrap()).await;
    a_damaged_batch_is_named_and_read_once_it_is_mended(&kafka).await;
}

/// Key, value and headers as text; null is `None`.
type Content = (
    Option<String>,
    Option<String>,
    Vec<(String, Option<String>)>,
);

fn content(record: &ConsumerRecord) -> Content {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    (
        record.key.as_deref().map(text),
        record.value.as_deref().map(text),
        record
            .headers
            .iter()
            .map(|(name, value)| (text(name), value.map(text)))
            .collect(),
    )
}

fn written(key: Option<&str>, value: Option<&str>, headers: &[(&str, Option<&str>)]) -> Content {
    let owned = |text: &str| text.to_owned();
    (
        key.map(owned),
        value.map(owned),
        headers
            .iter()
            .map(|(name, value)| (owned(name), value.map(owned)))
            .collect(),
    )
}

/// Each codec has a partition for Java and one for kcat.
async fn records_of_others_are_read_as_they_are(bootstrap: &str, java: &mut Producers) {
    let world = World::new(bootstrap, 2 * CODECS.len() as i32, &[]).await;
    let long = "0123456789".repeat(500);
    let mut expected: BTreeMap<i32, Vec<Content>> = BTreeMap::new();
    for (partition, codec) in CODECS.iter().enumerate() {
        let partition = partition as i32;
        java.tell(&format!("open {codec} compression.type={codec}"))
            .await;
        let lines = [
            ("key value", written(Some("key"), Some("value"), &[])),
            ("- -", written(None, None, &[])),
            (
                "key - name=content",
                written(Some("key"), None, &[("name", Some("content"))]),
            ),
            (
                "- value a=1 null a=2 empty= a=1",
                written(
                    None,
                    Some("value"),
                    &[
                        ("a", Some("1")),
                        ("null", None),
                        ("a", Some("2")),
                        ("empty", Some("")),
                        ("a", Some("1")),
                    ],
                ),
            ),
            (
                &format!("long {long}"),
                written(Some("long"), Some(&long), &[]),
            ),
        ];
        for (line, content) in lines {
            java.send(codec, &world.topic, partition, line).await;
            expected.entry(partition).or_default().push(content);
        }
        java.tell(&format!("close {codec}")).await;

        let partition = partition + CODECS.len() as i32;
        let headers = [("a", Some("1")), ("null", None), ("a", Some("2"))];
        kcat(&world, partition, codec, "key:value\nkey:\n:value\n");
        let contents = [
            written(Some("key"), Some("value"), &headers),
            written(Some("key"), None, &headers),
            written(None, Some("value"), &headers),
        ];
        expected.insert(partition, contents.to_vec());
    }

    let count = expected.values().map(Vec::len).sum();
    let running = world.consume();
    let handled = running.until_handled(count).await;
    running.stop().await;
    for (partition, contents) in expected {
        let mut of: Vec<_> = handled
            .iter()
            .filter(|r| r.partition == partition)
            .collect();
        of.sort_by_key(|record| record.offset);
        let offsets: Vec<_> = of.iter().map(|record| record.offset).collect();
        let read: Vec<_> = of.into_iter().map(content).collect();
        assert_eq!(read, contents, "partition {partition}");
        assert!(
            offsets.into_iter().eq(0..contents.len() as i64),
            "each once"
        );
    }
    assert_eq!(world.lag().await, 0);
}

/// Writes lines `key:value`, empty for null, each with a repeated and a null header.
fn kcat(world: &World, partition: i32, codec: &str, lines: &str) {
    let mut command = Command::new("kcat");
    command
        .args(["-P", "-b", &world.bootstrap, "-t", &world.topic])
        .args(["-p", &partition.to_string(), "-z", codec])
        .args(["-K:", "-Z", "-H", "a=1", "-H", "null", "-H", "a=2"]);
    let child = command.stdin(Stdio::piped()).spawn();
    let mut child = child.expect("kcat is installed");
    let mut input = child.stdin.take().expect("piped");
    input.write_all(lines.as_bytes()).expect("kcat reads");
    drop(input);
    assert!(child.wait().expect("it ends").success(), "{command:?}");
}

async fn committed_records_arrive_and_aborted_ones_do_not(bootstrap: &str, java: &mut Producers) {
    let world = World::new(bootstrap, 1, &[]).await;
    let topic = world.topic.clone();
    for (name, codec) in [("a", "none"), ("b", "lz4")] {
        let id = unique("transactions");
        java.tell(&format!(
            "open {name} transactional.id={id} compression.type={codec}"
        ))
        .await;
    }
    java.tell("open plain").await;
    let running = world.consume();

    java.tell("begin a").await;
    java.send("a", &topic, 0, "- a1").await;
    java.tell("commit a").await;
    java.tell("begin b").await;
    java.send("b", &topic, 0, "- aborted").await;
    java.tell("abort b").await;
    // Two at once, of which one is aborted, with a record outside any between them.
    java.tell("begin a").await;
    java.send("a", &topic, 0, "- a2").await;
    java.tell("begin b").await;
    java.send("b", &topic, 0, "- aborted").await;
    java.send("a", &topic, 0, "- a3").await;
    java.send("plain", &topic, 0, "- plain1").await;
    java.tell("abort b").await;
    java.send("a", &topic, 0, "- a4").await;
    java.tell("commit a").await;
    // Nothing but an aborted transaction, longer than one batch.
    java.tell("begin b").await;
    for _ in 0..30 {
        java.send("b", &topic, 0, "- aborted").await;
    }
    java.tell("abort b").await;
    java.tell("begin b").await;
    java.send("b", &topic, 0, "- b1").await;
    java.tell("commit b").await;
    let mut expected = vec!["a1", "a2", "a3", "plain1", "a4", "b1"];
    assert_eq!(values(&running.until_handled(6).await), expected);
    // The log ends with a marker, which is passed.
    eventually(PATIENCE, async || (world.lag().await == 0).then_some(())).await;

    // Behind an open transaction everything waits, its own records and those outside it.
    java.tell("begin a").await;
    java.send("a", &topic, 0, "- aborted").await;
    java.send("plain", &topic, 0, "- plain2").await;
    let everything = world.read(IsolationLevel::ReadUncommitted, "plain2").await;
    assert_eq!(
        everything
            .iter()
            .filter(|value| *value == "aborted")
            .count(),
        33
    );
    assert_eq!(values(&running.handled()), expected);
    java.tell("abort a").await;
    expected.push("plain2");
    assert_eq!(values(&running.until_handled(7).await), expected);
    running.stop().await;
    assert_eq!(world.lag().await, 0);

    // The group goes on behind a marker; who comes later reads the same, in other answers.
    java.send("plain", &topic, 0, "- last").await;
    let again = world.consume();
    assert_eq!(values(&again.until_handled(1).await), ["last"]);
    again.stop().await;
    expected.push("last");
    let read = world.read(IsolationLevel::ReadCommitted, "last").await;
    assert_eq!(read, expected);
}

async fn what_compaction_leaves_is_read_and_its_gaps_are_passed(bootstrap: &str) {
    let configs = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "1000"),
        ("min.cleanable.dirty.ratio", "0.001"),
    ];
    let world = World::new(bootstrap, 1, &configs).await;
    // Without a producer's number compaction leaves nothing at all of a batch; with one, the last
    // batch is kept, empty.
    let builder = world.client.producer();
    let plain = builder
        .idempotence(false)
        .build()
        .expect("a good configuration");
    let idempotent = world
        .client
        .producer()
        .build()
        .expect("a good configuration");
    let keys: Vec<_> = (0..100).map(|number| format!("key-{number}")).collect();
    let segments = Segments::of(&world.topic);
    // The first segment: all of it is superseded.
    segments.send(&plain, 0, &keys, "old").await;
    let early = world.consume_until_commit_of(5).await;
    segments.send(&idempotent, 0, &keys[..1], "old").await;
    segments.send(&plain, 0, &keys, "old").await;
    // The second: gaps within its batches, and at its end.
    segments.send(&plain, 1, &keys[..10], "old").await;
    segments.send(&plain, 1, &keys[..50], "new").await;
    segments.send(&plain, 1, &keys[50..], "old").await;
    // Again one that goes as a whole, then the one that stays.
    segments.send(&plain, 2, &keys[50..], "old").await;
    segments.send(&plain, 3, &keys[50..], "new").await;
    segments
        .send(&plain, 4, &["the end".to_owned()], "new")
        .await;

    let admin = world.client.admin();
    eventually(PATIENCE, async || {
        let first = admin
            .read_record(&world.topic, 0, 0)
            .await
            .expect("an answer");
        let doomed = 201 + 10 + 50 + 50 + 49;
        let last = admin
            .read_record(&world.topic, 0, doomed)
            .await
            .expect("an answer");
        (first.is_none() && last.is_none()).then_some(())
    })
    .await;

    let mut expected: Vec<_> = keys.clone();
    expected.push("the end".to_owned());
    let running = world.consume();
    let handled = running.until_handled(expected.len()).await;
    running.stop().await;
    assert!(
        handled
            .iter()
            .all(|record| record.value.as_deref() == Some(b"new"))
    );
    let keys_of = |records: &[ConsumerRecord]| -> Vec<String> {
        let key = |record: &ConsumerRecord| content(record).0.expect("a key");
        records.iter().map(key).collect()
    };
    assert_eq!(keys_of(&handled), expected, "in order, each once");
    assert_eq!(handled[0].offset, 211);
    assert_eq!(handled[50].offset, 361, "behind the gaps");
    assert_eq!(world.lag().await, 0);
    // A commit that lies in a gap by now.
    let late = early.consume();
    let handled = late.until_handled(expected.len()).await;
    late.stop().await;
    assert_eq!(keys_of(&handled), expected);
    assert_eq!(early.lag().await, 0);
}

/// Apache Kafka serves its files as they are; only who reads the records notices.
async fn a_damaged_batch_is_named_and_read_once_it_is_mended(kafka: &ApacheKafka) {
    let world = World::new(&kafka.bootstrap(), 2, &[]).await;
    let producer = world
        .client
        .producer()
        .build()
        .expect("a good configuration");
    for (partition, value) in [(0, "before"), (0, "damaged"), (0, "behind"), (1, "other")] {
        let record = OutgoingRecord {
            topic: &world.topic,
            partition: Some(partition),
            value: Some(value.as_bytes()),
            ..Default::default()
        };
        producer.send(&record).await.expect("it is taken");
    }
    let segment = kafka
        .folder()
        .join("node-1/data")
        .join(format!("{}-0", world.topic))
        .join("00000000000000000000.log");
    overwrite(&segment, b"damaged", b"DAMAGED");

    let running = world.consume();
    let stats = running
        .until_stats("a partition held, the other one read", |stats| {
            let held = stats.partitions.iter().any(|p| p.problem.is_some());
            held && stats.partitions.iter().all(|p| p.committed == Some(1))
        })
        .await;
    let problem = stats.partitions[0].problem.clone().unwrap_or_default();
    let place = format!("{}-0 offset 1", world.topic);
    assert!(
        problem.contains(&place) && problem.contains("checksum"),
        "{problem}"
    );
    let mut handled = values(&running.handled());
    handled.sort();
    assert_eq!(handled, ["before", "other"]);

    overwrite(&segment, b"DAMAGED", b"damaged");
    let handled = running.until_handled(4).await;
    running.stop().await;
    let of_first: Vec<_> = handled.into_iter().filter(|r| r.partition == 0).collect();
    assert_eq!(values(&of_first), ["before", "damaged", "behind"]);
    assert_eq!(world.lag().await, 0);
}

/// Replaces the one place in a file that has these bytes.
fn overwrite(path: &Path, old: &[u8], new: &[u8]) {
    let content = fs::read(path).expect("the segment");
    let at = content.windows(old.len()).position(|window| window == old);
    let file = File::options().write(true).open(path).expect("the segment");
    file.write_all_at(new, at.expect("its bytes") as u64)
        .expect("they can be overwritten");
}

/// Sends to segments of its choice: a batch whose time lies past `segment.ms` begins a new one.
struct Segments<'a> {
    topic: &'a str,
    begin: i64,
}

impl<'a> Segments<'a> {
    fn of(topic: &'a str) -> Self {
        let now = std::time::SystemTime::now();
        let now = now
            .duration_since(std::time::UNIX_EPOCH)
            .expect("after 1970");
        // Compaction and the broker's limits on times look at the past alone.
        let begin = now.as_millis() as i64 - 600_000;
        Self { topic, begin }
    }

    async fn send(&self, producer: &Producer, segment: i64, keys: &[String], value: &str) {
        let mut deliveries = Vec::new();
        for key in keys {
            let record = OutgoingRecord {
                topic: self.topic,
                partition: Some(0),
                key: Some(key.as_bytes()),
                value: Some(value.as_bytes()),
                timestamp: Some(self.begin + segment * 10_000),
                ..Default::default()
            };
            deliveries.push(producer.enqueue(&record).expect("room for the record"));
        }
        for delivery in deliveries {
            delivery.await.expect("it is taken");
        }
    }
}
