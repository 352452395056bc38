//! The real program, as somebody meets it who has just cloned the repository.

#[path = "support/queries.rs"]
mod queries;

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kafka_protocol::messages::MetadataRequest;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::protocol::StrBytes;
use serde_json::Value;
use testkit::raw::Connection;
use testkit::{Kafka, ResponseError, eventually, http};
use tokio::sync::mpsc;

const SOON: Duration = Duration::from_secs(30);

fn program(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_standalone"));
    command
        .env_clear()
        .current_dir(data)
        .env("DATA_DIR", data.join("data"))
        .env("BROKER_ADDR", "127.0.0.1:0")
        .env("PRODUCER_HTTP_ADDR", "127.0.0.1:0,127.0.0.1:0")
        .env("CONSUMER_HTTP_ADDR", "127.0.0.1:0")
        .env("NOTIFIER_HTTP_ADDR", "127.0.0.1:0");
    command
}

struct Shop {
    child: Child,
    producer: Vec<SocketAddr>,
    consumer: SocketAddr,
    notifier: SocketAddr,
    lines: mpsc::UnboundedReceiver<String>,
    seen: Vec<String>,
}

impl Drop for Shop {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn addresses(line: &str) -> Vec<SocketAddr> {
    line.split("http://")
        .skip(1)
        .map(|part| part.trim_matches([',', ' ']).parse().unwrap())
        .collect()
}

impl Shop {
    /// Starts it and reads from the terminal where it listens.
    async fn open(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                // Nobody reads it any more: the test is over.
                let _ = sender.send(line);
            }
        });
        let mut shop = Self {
            child,
            producer: Vec::new(),
            consumer: "127.0.0.1:1".parse().unwrap(),
            notifier: "127.0.0.1:1".parse().unwrap(),
            lines,
            seen: Vec::new(),
        };
        shop.producer = addresses(&shop.line("  producer-svc").await);
        shop.consumer = addresses(&shop.line("  consumer-svc").await)[0];
        shop.notifier = addresses(&shop.line("  notifier-svc").await)[0];
        shop.line("  curl -X POST http://").await;
        for address in [shop.producer[0], shop.notifier] {
            eventually(SOON, || async {
                (http::get(address, "/readyz?strict").await.status == 200).then_some(())
            })
            .await;
        }
        shop
    }

    /// The first line, seen before or yet to come, that contains `part`.
    async fn line(&mut self, part: &str) -> String {
        if let Some(line) = self.seen.iter().find(|line| line.contains(part)) {
            return line.clone();
        }
        loop {
            let line = tokio::time::timeout(SOON, self.lines.recv()).await;
            let Ok(Some(line)) = line else {
                panic!("{part:?} was not printed:\n{}", self.seen.join("\n"));
            };
            self.seen.push(line.clone());
            if line.contains(part) {
                return line;
            }
        }
    }

    async fn post(&self, address: SocketAddr, path: &str, body: &str) -> (u16, Value) {
        let answer = http::post(address, path, &[], body).await;
        (answer.status, serde_json::from_str(&answer.body).unwrap())
    }

    /// The order once it is at its end, its own record included.
    async fn outcome(&self, id: &str) -> Value {
        eventually(SOON, || async {
            let answer = http::get(self.producer[0], &format!("/api/orders/{id}")).await;
            let state: Value = serde_json::from_str(&answer.body).unwrap();
            (state["events"].as_array().map_or(0, Vec::len) == 3).then_some(state)
        })
        .await
    }

    /// Ends it as an operator does; gives its exit status.
    fn close(&mut self) -> Option<i32> {
        let id = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &id])
                .status()
                .unwrap()
                .success()
        );
        self.child.wait().unwrap().code()
    }
}

/// What an operator does who wants an empty broker, and keeps the databases.
#[tokio::test]
async fn orders_are_found_after_the_broker_was_emptied_alone() {
    let folder = tempfile::tempdir().unwrap();
    let order = r#"{"product":"Laptop","quantity":1}"#;
    let mut found = Vec::new();
    for count in [6, 8] {
        let mut shop = Shop::open(&mut program(folder.path())).await;
        for _ in 0..count {
            let (status, receipt) = shop.post(shop.producer[0], "/api/orders", order).await;
            assert_eq!(status, 200, "{receipt}");
            found.push(receipt["orderId"].as_str().unwrap().to_owned());
        }
        for id in &found {
            assert_eq!(shop.outcome(id).await["status"], "CONFIRMED");
        }
        assert_eq!(shop.close(), Some(0));
        std::fs::remove_dir_all(folder.path().join("data/broker")).unwrap();
    }
}

/// A name that somebody mistypes, and clients that make topics up, are no topics of the shop.
#[tokio::test]
async fn a_topic_that_no_service_needs_is_not_made_because_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let mut shop = Shop::open(&mut program(folder.path())).await;
    let line = shop.line("  broker").await;
    let address = line.split_whitespace().nth(1).unwrap();
    let mut connection = Connection::open(address).await;
    let text = |text: &str| StrBytes::from_string(text.to_owned());
    let asked = ["order_topic", "order_topik"]
        .map(|name| MetadataRequestTopic::default().with_name(Some(text(name).into())));
    let request = MetadataRequest::default()
        .with_topics(Some(asked.into()))
        .with_allow_auto_topic_creation(true);
    // What is there after the first answer is what the first request has made.
    for _ in 0..2 {
        let answer = connection.call(&request, 9).await;
        let codes: Vec<_> = answer.topics.iter().map(|topic| topic.error_code).collect();
        let unknown = ResponseError::UnknownTopicOrPartition.code();
        assert_eq!(codes, [0, unknown]);
    }
    assert_eq!(shop.close(), Some(0));
}

#[tokio::test]
async fn orders_go_through_and_nothing_is_gone_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut shop = Shop::open(&mut program(folder.path())).await;
    let main = shop.producer[0];

    let (status, receipt) = shop
        .post(main, "/api/orders", r#"{"product":"Laptop","quantity":1}"#)
        .await;
    assert_eq!(status, 200, "{receipt}");
    assert_eq!(receipt["topic"], "order_topic");
    let id = receipt["orderId"].as_str().unwrap();
    let state = shop.outcome(id).await;
    let events = state["events"].as_array().unwrap();
    let statuses: Vec<_> = events
        .iter()
        .map(|event| event["status"].as_str().unwrap())
        .collect();
    assert_eq!(statuses, ["ACCEPTED", "CREATED", "CONFIRMED"]);
    for event in events {
        assert!(
            event["topic"].is_string() && event["time"].is_string(),
            "{event}"
        );
        assert!(
            event["partition"].is_i64() && event["offset"].is_i64(),
            "{event}"
        );
    }
    shop.line(&format!("order_id={id}")).await;
    shop.line(&format!("[NOTIFICATION] Order {id}: CONFIRMED"))
        .await;

    let snake = r#"{"order_id":"12345","user_id":"user789","item":"laptop","quantity":2}"#;
    let (status, receipt) = shop.post(shop.producer[1], "/orders", snake).await;
    assert_eq!(
        (status, &receipt["order_id"], &receipt["topic"]),
        (200, &"12345".into(), &"orders".into())
    );
    assert_eq!(shop.outcome("12345").await["status"], "CONFIRMED");
    shop.line("[NOTIFICATION] Order 12345: CONFIRMED").await;

    let (status, problem) = shop
        .post(main, "/api/orders", r#"{"product":"Laptop","quantity":0}"#)
        .await;
    assert_eq!(
        (status, &problem["errors"][0]["field"]),
        (422, &"quantity".into())
    );
    let large = r#"{"orderId":"large","product":"Laptop","quantity":1000}"#;
    assert_eq!(shop.post(main, "/api/orders", large).await.0, 200);
    let rejected = shop.outcome("large").await;
    assert_eq!(rejected["status"], "REJECTED");
    assert!(
        rejected["reason"].as_str().unwrap().contains("quantity"),
        "{rejected}"
    );

    assert_eq!(shop.close(), Some(0));
    drop(shop);

    let mut shop = Shop::open(&mut program(folder.path())).await;
    assert_eq!(shop.outcome(id).await, state);
    assert_eq!(shop.outcome("large").await, rejected);
    let stored = http::get(shop.notifier, "/api/notifications?userId=user789").await;
    assert!(
        stored.status == 200 && stored.body.contains("12345"),
        "{}",
        stored.body
    );
    // And it goes on where it was.
    let (status, receipt) = shop
        .post(
            shop.producer[0],
            "/api/orders",
            r#"{"product":"Mouse","quantity":1}"#,
        )
        .await;
    assert_eq!(status, 200, "{receipt}");
    assert_eq!(
        shop.outcome(receipt["orderId"].as_str().unwrap()).await["status"],
        "CONFIRMED"
    );
    assert_eq!(shop.close(), Some(0));
}

#[tokio::test]
async fn a_user_gets_a_cart_and_the_diagnosis_finds_the_whole_way() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop::open(&mut program(folder.path())).await;
    let main = shop.producer[0];
    let body = r#"{"email":"anna@example.com","password":"secret7"}"#;
    let (status, user) = shop.post(main, "/api/auth/registration", body).await;
    assert_eq!((status, &user["userId"]), (201, &1.into()));
    // admin, admin
    let login = [("authorization", "Basic YWRtaW46YWRtaW4=")];
    let path = "/api/admin/diagnostics/cart/1";
    eventually(SOON, || async {
        let answer = http::request(main, "GET", path, &login, "").await;
        let report: Value = serde_json::from_str(&answer.body).unwrap();
        let stages = report["stages"].as_array().expect("stages");
        let fine = stages.iter().all(|stage| stage["state"] == "ok");
        (fine && report["verdict"] == "there").then_some(())
    })
    .await;
}

/// The broker runs here, and must go on while the shop closes.
#[tokio::test(flavor = "multi_thread")]
async fn with_kafka_elsewhere_no_broker_is_started() {
    let kafka = Kafka::own_broker().await;
    let folder = tempfile::tempdir().unwrap();
    let mut command = program(folder.path());
    let mut shop = Shop::open(command.env("KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap())).await;
    assert!(shop.line("Kafka ").await.contains(kafka.bootstrap()));
    let (status, receipt) = shop
        .post(
            shop.producer[0],
            "/api/orders",
            r#"{"product":"Laptop","quantity":1}"#,
        )
        .await;
    assert_eq!(status, 200, "{receipt}");
    shop.outcome(receipt["orderId"].as_str().unwrap()).await;
    assert!(!folder.path().join("data/broker").exists());
    assert_eq!(shop.close(), Some(0));
}

#[tokio::test]
async fn a_taken_extra_port_is_a_warning_and_a_taken_main_port_an_error() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken
        .local_addr()
        .map(|address| (address.to_string(), taken))
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut command = program(folder.path());
    let extra = format!("127.0.0.1:0,{}", taken.0);
    let mut shop = Shop::open(command.env("PRODUCER_HTTP_ADDR", extra)).await;
    assert_eq!(shop.producer.len(), 1);
    let warning = shop.line(&taken.0).await;
    assert!(
        warning.contains("WARN") && warning.contains("PRODUCER_HTTP_ADDR"),
        "{warning}"
    );
    assert_eq!(shop.close(), Some(0));
    drop(shop);

    for variable in ["PRODUCER_HTTP_ADDR", "NOTIFIER_HTTP_ADDR", "BROKER_ADDR"] {
        let output = program(folder.path())
            .env(variable, &taken.0)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains(&taken.0) && text.contains(variable), "{text}");
    }
}

#[test]
fn mistakes_are_told_at_once_and_nothing_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let output = program(folder.path())
        .arg("--colour=red")
        .env("CONSUMER_HTTP_ADDR", "nowhere")
        .env("ORDER_MAX_QUANTITY", "many")
        .env("REQUEST_TIMEOUT", "soon")
        // The embedded broker knows no login.
        .env("KAFKA_SECURITY_PROTOCOL", "SASL_PLAINTEXT")
        .env("KAFKA_SASL_MECHANISM", "PLAIN")
        .env("KAFKA_SASL_USERNAME", "shop")
        .env("KAFKA_SASL_PASSWORD", "secret")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    for part in [
        "--colour",
        "CONSUMER_HTTP_ADDR",
        "ORDER_MAX_QUANTITY",
        "REQUEST_TIMEOUT",
        "KAFKA_SECURITY_PROTOCOL is for a Kafka elsewhere",
    ] {
        assert_eq!(text.matches(part).count(), 1, "{part} in\n{text}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn help_has_the_options_of_every_service() {
    let output = Command::new(env!("CARGO_BIN_EXE_standalone"))
        .arg("--help")
        .output()
        .unwrap();
    assert!(output.status.success());
    let help = String::from_utf8(output.stdout).unwrap();
    for part in [
        "DATA_DIR",
        "BROKER_ADDR",
        "127.0.0.1:9092",
        "ORDER_VIEW",
        "ORDER_MAX_QUANTITY",
        "NOTIFICATION_RETENTION",
    ] {
        assert!(help.contains(part), "{part} is missing in\n{help}");
    }
}

#[tokio::test]
async fn what_alerts_and_dashboard_ask_for_is_exported() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop::open(&mut program(folder.path())).await;
    let order = r#"{"orderId":"measured","product":"Laptop","quantity":1}"#;
    let (status, _) = shop.post(shop.producer[0], "/api/orders", order).await;
    assert_eq!(status, 200);
    shop.outcome("measured").await;
    let exported = eventually(SOON, || async {
        let mut exported = String::new();
        for address in [shop.producer[0], shop.consumer, shop.notifier] {
            exported += &http::get(address, "/metrics").await.body;
        }
        // Lag is there once a group, and the watch of the order view, have asked where their topics end.
        let lags = ["kafka_consumergroup_lag", "order_view_lag_seconds"];
        let has = |lag: &&str| exported.contains(&format!("\n{lag}{{"));
        lags.iter().all(has).then_some(exported)
    })
    .await;

    let dashboard = include_str!("../../deploy/compose/grafana/shop.json");
    let mut expressions = queries::of_dashboard(&serde_json::from_str(dashboard).unwrap());
    expressions.extend(queries::of_rules(include_str!(
        "../../deploy/compose/alerts.yml"
    )));
    assert!(expressions.len() > 15, "{expressions:#?}");
    for expression in expressions {
        let named = queries::named(&expression);
        // What Prometheus adds by itself.
        let metrics = named.metrics.iter().filter(|name| *name != "up");
        let labels =
            (named.labels.iter()).filter(|name| !["job", "instance"].contains(&name.as_str()));
        let samples = |metric: &str| -> Vec<&str> {
            let of = |line: &&str| line.split(['{', ' ']).next() == Some(metric);
            exported.lines().filter(of).collect()
        };
        for metric in metrics {
            assert!(!samples(metric).is_empty(), "{metric} of {expression}");
        }
        for label in labels {
            let has = |metric: &String| {
                let with = [format!("{{{label}=\""), format!(",{label}=\"")];
                let mut samples = samples(metric).into_iter();
                samples.any(|line| with.iter().any(|with| line.contains(with)))
            };
            assert!(named.metrics.iter().any(has), "{label} of {expression}");
        }
    }
}
