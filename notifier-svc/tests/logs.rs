//! Log records: collected from their topic and listed; shipped by the program itself.

#[path = "support/desk.rs"]
mod desk;
#[path = "support/running.rs"]
mod running;

use std::net::SocketAddr;
use std::time::Duration;

use desk::{Desk, PATIENCE, Service};
use kafka::OutgoingRecord;
use running::run_until;
use serde_json::{Value, json};
use testkit::{Kafka, eventually, http, unique};

/// A desk whose services collect log records.
struct Logs {
    desk: Desk,
    topic: String,
    group: String,
}

impl Logs {
    async fn new(kafka: &Kafka) -> Self {
        Self {
            desk: Desk::new(kafka).await,
            topic: unique("logs"),
            group: unique("log-collector"),
        }
    }

    fn flags(&self) -> [&str; 6] {
        let (topic, group) = (&*self.topic, &*self.group);
        // The records of these tests are of a day that only becomes longer ago.
        let retention = "36500d";
        [
            "--log-topic",
            topic,
            "--log-group-id",
            group,
            "--log-retention",
            retention,
        ]
    }

    /// A service that has everything.
    async fn start(&self) -> Service {
        let service = self.desk.start(&self.flags()).await;
        service.ready().await;
        service
    }

    async fn send(&self, value: &str) {
        self.send_at(None, value).await;
    }

    async fn send_at(&self, timestamp: Option<i64>, value: &str) {
        let producer = self.desk.client.producer().build().unwrap();
        let record = OutgoingRecord {
            topic: &self.topic,
            partition: Some(0),
            key: None,
            value: Some(value.as_bytes()),
            headers: &[],
            timestamp,
        };
        producer.send(&record).await.unwrap();
    }
}

fn record(second: u32, service: &str, level: &str, message: &str) -> String {
    json!({
        "@timestamp": format!("2026-01-02T03:04:{second:02}.000Z"),
        "log.level": level,
        "service.name": service,
        "message": message,
        "labels": {"partition": "3"},
    })
    .to_string()
}

async fn page(address: SocketAddr, query: &str) -> (Vec<String>, Option<String>, Value) {
    let answer = http::get(address, &format!("/api/logs{query}")).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    let messages = body["logs"].as_array().unwrap().iter();
    let messages = messages.map(|log| log["message"].as_str().unwrap().to_owned());
    let next = body["next"].as_str().map(str::to_owned);
    (messages.collect(), next, body)
}

/// Waits until the listed messages are as asked.
async fn listed(
    address: SocketAddr,
    query: &str,
    check: impl Fn(&[String]) -> bool,
) -> Vec<String> {
    eventually(PATIENCE, || async {
        let (messages, ..) = page(address, query).await;
        check(&messages).then_some(messages)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_collected_and_listed_by_service_level_and_time() {
    let kafka = Kafka::start().await;
    let logs = Logs::new(&kafka).await;
    let service = logs.start().await;
    for (second, of, level, message) in [
        (1, "consumer-svc", "info", "first"),
        (2, "consumer-svc", "error", "second"),
        (3, "spring-worker", "WARNING", "third"),
        (4, "consumer-svc", "debug", "fourth"),
    ] {
        logs.send(&record(second, of, level, message)).await;
    }
    let at = service.address;
    let all = listed(at, "", |messages| messages.len() == 4).await;
    assert_eq!(all, ["fourth", "third", "second", "first"]);
    for (query, expected) in [
        ("?service=consumer-svc&level=info", &["second", "first"][..]),
        ("?level=warn", &["third", "second"]),
        ("?since=2026-01-02T03:04:03Z", &["fourth", "third"]),
        ("?service=nobody", &[]),
    ] {
        assert_eq!(page(at, query).await.0, expected, "{query}");
    }
    let (messages, next, body) = page(at, "?limit=3").await;
    assert_eq!(messages, ["fourth", "third", "second"]);
    assert_eq!(body["logs"][1]["log.level"], "warn");
    assert_eq!(body["logs"][1]["service.name"], "spring-worker");
    assert_eq!(body["logs"][1]["labels"]["partition"], "3");
    assert_eq!(body["logs"][1]["@timestamp"], "2026-01-02T03:04:03.000Z");
    let (messages, next, _) = page(at, &format!("?limit=3&before={}", next.unwrap())).await;
    assert_eq!((messages, next), (vec!["first".to_owned()], None));
    let refused = http::get(at, "/api/logs?level=loud&limit=0").await;
    assert_eq!(refused.status, 422);
    for field in [r#""field":"level""#, r#""field":"limit""#] {
        assert!(refused.body.contains(field), "{}", refused.body);
    }
    service.stop().await;

    // Another group has all of them again; no record is kept twice.
    let again = Logs {
        group: unique("log-collector"),
        ..logs
    };
    let service = again.start().await;
    again
        .send(&record(5, "consumer-svc", "info", "fifth"))
        .await;
    let all = listed(service.address, "", |messages| {
        messages.first().is_some_and(|first| first == "fifth")
    })
    .await;
    assert_eq!(all.len(), 5);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_log_record_goes_to_the_dead_letters_and_the_others_are_kept() {
    let kafka = Kafka::start().await;
    let logs = Logs::new(&kafka).await;
    let service = logs.start().await;
    logs.send("plain text").await;
    logs.send(&record(1, "consumer-svc", "info", "behind it"))
        .await;
    listed(service.address, "", |messages| messages == ["behind it"]).await;
    let letters = logs.desk.records(&format!("{}-dlt", logs.topic), 1).await;
    assert_eq!(letters[0].value.as_deref(), Some(&b"plain text"[..]));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_as_old_as_it_says_and_at_least_as_its_place_in_kafka() {
    let kafka = Kafka::start().await;
    let logs = Logs::new(&kafka).await;
    let service = logs.start().await;
    // 2026-01-02T03:04:02Z
    let earlier = 1_767_323_042_000;
    for (timestamp, message) in [(None, "now"), (Some(earlier), "ahead"), (Some(-1), "none")] {
        let value = record(5, "consumer-svc", "info", message);
        logs.send_at(timestamp, &value).await;
    }
    let at = service.address;
    listed(at, "", |messages| messages.len() == 3).await;
    let (.., body) = page(at, "").await;
    let times = body["logs"].as_array().unwrap().iter();
    let times: Vec<_> = times
        .map(|log| (log["message"].as_str(), log["@timestamp"].as_str()))
        .collect();
    let (said, placed) = ("2026-01-02T03:04:05.000Z", "2026-01-02T03:04:02.000Z");
    assert_eq!(
        times,
        [
            (Some("none"), Some(said)),
            (Some("now"), Some(said)),
            (Some("ahead"), Some(placed)),
        ]
    );
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_ships_why_it_could_not_start() {
    let kafka = Kafka::start().await;
    let logs = Logs::new(&kafka).await;
    kafka.create_topic(&logs.topic, 3).await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    // Its producer is not connected yet when it fails; a tenth is for the log records.
    let more = [&logs.flags()[..], &["--shutdown-timeout", "600s"]].concat();
    let flags = logs.desk.flags(&more).into_iter();
    let flags = flags.map(|flag| match &*flag {
        "127.0.0.1:0" => address.clone(),
        _ => flag,
    });
    let mut program = tokio::process::Command::new(running::PROGRAM);
    program
        .args(flags)
        .env_clear()
        .current_dir(std::env::temp_dir())
        .kill_on_drop(true);
    let ended = tokio::time::timeout(PATIENCE, program.output()).await;
    let output = ended.expect("the program ends").unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let service = logs.start().await;
    let why = format!("cannot listen at {address}");
    let said = |messages: &[String]| messages.iter().filter(|m| m.starts_with(&why)).count();
    let messages = listed(service.address, "?level=error", |all| said(all) > 0).await;
    assert_eq!(said(&messages), 1, "{messages:?}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_ships_what_it_logs_to_its_last_line() {
    let kafka = Kafka::start().await;
    let logs = Logs::new(&kafka).await;
    kafka.create_topic(&logs.topic, 3).await;
    // Its producer may not be connected yet when it is told to end.
    let unhurried = [&logs.flags()[..], &["--shutdown-timeout", "100s"]].concat();
    let output = run_until(&logs.desk, &unhurried, &["listening at"]).await;
    assert!(output.contains("ended orderly"), "{output}");
    let service = logs.start().await;
    listed(service.address, "?service=notifier-svc", |messages| {
        messages.iter().any(|message| message == "ended orderly")
            && messages
                .iter()
                .any(|message| message.starts_with("listening at"))
    })
    .await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_kafka_shipping_holds_nothing_up() {
    let kafka = Kafka::start().await;
    let mut logs = Logs::new(&kafka).await;
    // Nobody listens there.
    logs.desk.bootstrap = "127.0.0.1:1".to_owned();
    // A tenth of it is for Kafka; what the others need of the rest is for a busy machine.
    let timeout = Duration::from_secs(20);
    let flags = [&logs.flags()[..], &["--shutdown-timeout", "20s"]].concat();
    let output = run_until(&logs.desk, &flags, &["listening at"]).await;
    assert!(
        output.contains("the last log records were not shipped"),
        "{output}"
    );
    let time_of = |words: &str| {
        let line = output.lines().find(|line| line.contains(words)).unwrap();
        let time = line.split_whitespace().next().unwrap();
        chrono::DateTime::parse_from_rfc3339(time).unwrap()
    };
    let took = time_of("the last log records were not shipped") - time_of("shutting down");
    assert!(took.to_std().unwrap() <= timeout, "{output}");
}
