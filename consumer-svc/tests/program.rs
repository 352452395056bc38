//! The program itself: its help, its refusals, its commands, its end.

#[path = "support/shop.rs"]
mod shop;

use std::net::SocketAddr;
use std::process::{Command, Output, Stdio};

use kafka::NewTopic;
use shop::{PATIENCE, Shop};
use testkit::Kafka;
use tokio::io::{AsyncBufReadExt, BufReader};

const PROGRAM: &str = env!("CARGO_BIN_EXE_consumer-svc");

fn run(arguments: &[&str]) -> Output {
    Command::new(PROGRAM)
        .args(arguments)
        .env_clear()
        .current_dir(std::env::temp_dir())
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn help_lists_every_option() {
    let help = run(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    let help = text(&help.stdout);
    for part in [
        "dlt list",
        "dlt show TOPIC PARTITION OFFSET",
        "dlt replay",
        "dlt skip TOPIC PARTITION FROM TO",
        "healthcheck",
        "--ready",
        "--force",
        "[default: 127.0.0.1:5003]",
        "[default: order-processing]",
        "KAFKA_BROKERS",
    ] {
        assert!(help.contains(part), "{part:?} missing in\n{help}");
    }
}

#[test]
fn the_example_of_an_env_file_is_complete() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/.env.example");
    let example = consumer_svc::program().env_example();
    assert!(
        std::fs::read_to_string(path).unwrap_or_default() == example,
        "{path} should be:\n{example}"
    );
}

#[test]
fn all_mistakes_are_named_at_once_with_status_2() {
    let refused = run(&[
        "--order-max-quantity=none",
        "--http-addr=nowhere",
        "--orders-topic=order_topic",
        "--kafka-bootstrap-servers=",
        "--kafka-brokers=a:b",
        "--colour=red",
    ]);
    assert_eq!(refused.status.code(), Some(2));
    let said = text(&refused.stderr);
    for name in [
        "ORDER_MAX_QUANTITY",
        "HTTP_ADDR",
        "ORDERS_TOPIC",
        "KAFKA_BOOTSTRAP_SERVERS",
        "--colour",
    ] {
        assert!(said.contains(name), "{name} missing in\n{said}");
    }
    for arguments in [
        &["dlt", "show"][..],
        &["dlt", "replay"],
        &["dlt", "skip", "a", "0", "9", "8"],
        &["dlt", "replay", "a", "0", "x"],
    ] {
        assert_eq!(run(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn a_health_check_of_nothing_fails() {
    // tcpmux: nobody listens there, and no connection takes it as its own port.
    let checked = run(&["healthcheck", "--http-addr=127.0.0.1:1"]);
    assert_eq!(checked.status.code(), Some(1));
}

/// A running program whose log says where it listens.
struct Running {
    child: tokio::process::Child,
    address: SocketAddr,
    log: tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
}

impl Running {
    async fn start(shop: &Shop) -> Self {
        Self::with(shop.flags(&[])).await
    }

    async fn with(flags: impl IntoIterator<Item = impl AsRef<std::ffi::OsStr>>) -> Self {
        let mut child = tokio::process::Command::new(PROGRAM)
            .args(flags)
            .env_clear()
            .current_dir(std::env::temp_dir())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = Self::line(&mut log, "listening at ").await;
        let (_, address) = line.split_once("listening at http://").unwrap();
        Self {
            child,
            address: address.trim().parse().unwrap(),
            log,
        }
    }

    async fn line(
        log: &mut tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
        part: &str,
    ) -> String {
        let reading = async {
            while let Some(line) = log.next_line().await.unwrap() {
                if line.contains(part) {
                    return line;
                }
            }
            panic!("the log ended without {part:?}");
        };
        tokio::time::timeout(PATIENCE, reading)
            .await
            .unwrap_or_else(|_| panic!("no {part:?} in the log"))
    }

    async fn logs(&mut self, part: &str) -> String {
        Self::line(&mut self.log, part).await
    }

    fn health_check(&self, more: &[&str]) -> Output {
        let address = format!("--http-addr={}", self.address);
        run(&[&["healthcheck", &address], more].concat())
    }

    /// SIGTERM; the exit status.
    async fn terminate(mut self) -> Option<i32> {
        let id = self.child.id().unwrap().to_string();
        let sent = Command::new("kill").args(["-TERM", &id]).status().unwrap();
        assert!(sent.success());
        let mut log = self.log;
        // The pipe must not fill up.
        let reader = tokio::spawn(async move { while let Ok(Some(_)) = log.next_line().await {} });
        let status = tokio::time::timeout(PATIENCE, self.child.wait())
            .await
            .expect("the program ends")
            .unwrap();
        reader.await.unwrap();
        status.code()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn alive_without_kafka_but_not_ready() {
    let running = Running::with([
        "--kafka-bootstrap-servers=127.0.0.1:1",
        "--database-url=postgres://u:p@127.0.0.1:1/d",
        "--http-addr=127.0.0.1:0",
    ])
    .await;
    let alive = running.health_check(&[]);
    assert_eq!(alive.status.code(), Some(0), "{}", text(&alive.stderr));
    let checked = running.health_check(&["--ready"]);
    assert_eq!(checked.status.code(), Some(1));
    let said = text(&checked.stderr);
    assert!(said.starts_with("not ready: kafka: "), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_show_in_the_terminal_and_sigterm_commits_and_exits_0() {
    let kafka = Kafka::start().await;
    let shop = Shop::new(&kafka).await;
    let mut running = Running::start(&shop).await;
    running.logs("partitions=order").await;
    for n in 0..10 {
        shop.order(&format!("o-{n}"), "Laptop", 1).await;
    }
    for _ in 0..10 {
        let line = running.logs("order CONFIRMED").await;
        assert!(line.contains("order_id=o-"), "{line}");
    }
    testkit::eventually(PATIENCE, || async {
        let ready = running.health_check(&["--ready"]);
        (ready.status.code() == Some(0)).then_some(())
    })
    .await;
    assert_eq!(running.terminate().await, Some(0));
    assert_eq!(shop.committed(&shop.orders).await, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_listed_shown_and_replayed_once() {
    let kafka = Kafka::start().await;
    let shop = Shop::new(&kafka).await;
    let running = Running::start(&shop).await;
    let letters = format!("{}-dlt", shop.orders);
    testkit::eventually(PATIENCE, || async {
        let topics = shop.client.admin().topics().await.ok()?;
        topics
            .iter()
            .any(|topic| *topic.name == *letters)
            .then_some(())
    })
    .await;
    // Not JSON, and a conflict that would be an order were it not for its predecessor.
    shop.send(&shop.orders, Some("k"), b"not json", &[("x", "kept")])
        .await;
    let mut follow = shop.follow(&letters);
    let letter = follow.first(1).await[0].clone();
    let place = (
        letters.clone(),
        letter.partition.to_string(),
        letter.offset.to_string(),
    );
    let dlt = |arguments: &[&str]| {
        let mut all = vec!["dlt"];
        all.extend(arguments);
        let bootstrap = format!("--kafka-bootstrap-servers={}", shop.bootstrap);
        all.push(&bootstrap);
        let output = run(&all);
        let (out, error) = (text(&output.stdout), text(&output.stderr));
        (output.status.code(), out + &error)
    };
    let at = format!("{}/{}/{}", place.0, place.1, place.2);

    let (status, listed) = dlt(&["list", "--topic", &letters]);
    assert_eq!(status, Some(0), "{listed}");
    for part in [
        &*at,
        "reason: the value is not JSON",
        "body:   not json",
        "1 dead letters in 1 topics, 0 of them",
    ] {
        assert!(listed.contains(part), "{part:?} missing in\n{listed}");
    }
    let (_, all) = dlt(&["list"]);
    assert!(all.contains(&at), "{all}");

    let (status, shown) = dlt(&["show", &place.0, &place.1, &place.2]);
    assert_eq!(status, Some(0), "{shown}");
    for part in ["partition:", "x = kept", "replayed:   no", "not json"] {
        assert!(shown.contains(part), "{part:?} missing in\n{shown}");
    }

    let (status, replayed) = dlt(&["replay", &place.0, &place.1, &place.2]);
    assert_eq!(status, Some(0), "{replayed}");
    // The replay fails again in the service, which makes it a letter of its own.
    let mut source = shop.follow(&shop.orders);
    let replay = &source.first(2).await[1];
    assert_eq!(replay.partition, source_partition(&letter));
    assert_eq!(replay.value.as_deref(), Some(&b"not json"[..]));
    assert_eq!(replay.key.as_deref(), Some(&b"k"[..]));
    let header = |name| replay.headers.get_str(name);
    assert_eq!(header("x"), Some("kept"));
    assert_eq!(header("dlt-replay-of"), Some(&*at));
    assert_eq!(header("dlt-consumer-group"), Some(&*shop.group));
    assert_eq!(header("dlt-reason"), None);
    let identity = format!("{}/{}/0", shop.orders, replay.partition);
    assert_eq!(
        header("ce_id"),
        Some(&*identity),
        "known by its place, still"
    );

    let (status, refused) = dlt(&["replay", &at]);
    assert_eq!(status, Some(1), "{refused}");
    assert!(refused.contains("already been replayed"), "{refused}");
    let (_, shown) = dlt(&["show", &at]);
    assert!(shown.contains("replayed:   yes, to"), "{shown}");
    let (status, forced) = dlt(&["replay", &at, "--force"]);
    assert_eq!(status, Some(0), "{forced}");
    source.first(3).await;

    // What is left are the letters of the two replays; the marked one is not replayed again.
    let mut number = 3;
    while letters_among(follow.first(number).await) < 3 {
        number += 1;
    }
    let (status, all) = dlt(&["replay", "--all", "--topic", &letters]);
    assert_eq!(status, Some(0), "{all}");
    assert!(all.contains("2 dead letters replayed"), "{all}");
    let (status, none) = dlt(&["show", "no-such-dlt", "0", "0"]);
    assert_eq!(status, Some(1), "{none}");
    assert_eq!(running.terminate().await, Some(0));
}

/// How many records of a dead-letter topic are letters; the others are claims and markers.
fn letters_among(records: &[kafka::ConsumerRecord]) -> usize {
    let is_letter = |record: &&kafka::ConsumerRecord| record.headers.get("dlt-reason").is_some();
    records.iter().filter(is_letter).count()
}

fn source_partition(letter: &kafka::ConsumerRecord) -> i32 {
    letter
        .headers
        .get_str("dlt-original-partition")
        .unwrap()
        .parse()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_died_before_its_marker_is_not_made_twice() {
    let kafka = Kafka::start().await;
    let shop = Shop::new(&kafka).await;
    let running = Running::start(&shop).await;
    let letters = format!("{}-dlt", shop.orders);
    shop.send_when_there(&shop.orders, Some("k"), b"not json")
        .await;
    let mut follow = shop.follow(&letters);
    let letter = follow.first(1).await[0].clone();
    let at = format!("{letters}/{}/{}", letter.partition, letter.offset);
    assert_eq!(running.terminate().await, Some(0));
    // What a replay that was killed leaves: its claim and the record, but no marker. The broker has
    // forgotten the producer id since then.
    let id = shop.client.admin().new_producer_id().await.unwrap();
    let claim = [
        ("dlt-replay-of", &*at),
        ("dlt-replay-producer", &*id.to_string()),
        ("dlt-replay-partition", &*letter.partition.to_string()),
        ("dlt-replay-from", "1"),
    ];
    shop.send(&letters, Some("k"), b"", &claim).await;
    let headers = [
        ("dlt-consumer-group", &*shop.group),
        ("dlt-replay-of", &*at),
    ];
    shop.send(&shop.orders, Some("k"), b"not json", &headers)
        .await;

    let bootstrap = format!("--kafka-bootstrap-servers={}", shop.bootstrap);
    let replay = run(&["dlt", "replay", &at, &bootstrap]);
    assert_eq!(replay.status.code(), Some(0), "{}", text(&replay.stderr));
    assert!(text(&replay.stdout).contains("its missing marker is written"));
    let again = run(&["dlt", "replay", &at, &bootstrap]);
    assert_eq!(again.status.code(), Some(1), "{}", text(&again.stdout));
    shop.send(&shop.orders, Some("k"), b"end", &[]).await;
    let mut source = shop.follow(&shop.orders);
    let last = &source.first(3).await[2];
    assert_eq!(last.value.as_deref(), Some(&b"end"[..]), "no third record");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_too_large_for_a_letter_is_replayed_from_its_source() {
    let kafka = Kafka::start().await;
    let shop = Shop::new(&kafka).await;
    let letters = format!("{}-dlt", shop.orders);
    let small = NewTopic::new(&letters, 3, 1).config("max.message.bytes", "10000");
    let admin = shop.client.admin();
    admin.create_topics(&[small]).await.unwrap();
    let running = Running::start(&shop).await;
    let much = vec![b'x'; 20_000];
    shop.send_when_there(&shop.orders, Some("k"), &much).await;
    let letter = shop.follow(&letters).first(1).await[0].clone();
    let at = format!("{letters}/{}/{}", letter.partition, letter.offset);
    assert_eq!(letter.value, None);
    assert_eq!(running.terminate().await, Some(0));

    let bootstrap = format!("--kafka-bootstrap-servers={}", shop.bootstrap);
    let shown = run(&["dlt", "show", &at, &bootstrap]);
    let shown = text(&shown.stdout);
    let source = format!("{}/{}/0", shop.orders, source_partition(&letter));
    for part in [
        "not here:   value",
        &*source,
        "reason:     the value is not",
    ] {
        assert!(shown.contains(part), "{part:?} missing in\n{shown}");
    }
    let replay = run(&["dlt", "replay", &at, &bootstrap]);
    assert_eq!(replay.status.code(), Some(0), "{}", text(&replay.stderr));
    let mut records = shop.follow(&shop.orders);
    let replayed = &records.first(2).await[1];
    assert_eq!(replayed.value.as_deref(), Some(&much[..]));
    assert_eq!(replayed.headers.get_str("dlt-replay-of"), Some(&*at));
}
