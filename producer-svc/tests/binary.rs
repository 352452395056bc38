//! The real binary: its help, its refusals, its leaving.

#[path = "support/scene.rs"]
mod support;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use support::Scene;
use testkit::{Kafka, http};

fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_producer-svc"));
    command.env_clear().current_dir(std::env::temp_dir());
    command
}

#[test]
fn help_lists_every_option_and_its_default() {
    let output = binary().arg("--help").output().unwrap();
    assert!(output.status.success());
    let help = String::from_utf8(output.stdout).unwrap();
    for part in [
        "--kafka-bootstrap-servers, KAFKA_BOOTSTRAP_SERVERS, KAFKA_BROKERS",
        "[default: localhost:9092]",
        "--http-addr, HTTP_ADDR",
        "127.0.0.1:8080,127.0.0.1:8001,127.0.0.1:5000",
        "[default: order-view]",
        "ORDER_VIEW_RETENTION",
        "ORDER_STATUS_TOPIC",
        "doctor",
        "CART_SERVICE_URL",
        "healthcheck",
    ] {
        assert!(help.contains(part), "{part:?} is missing in\n{help}");
    }
}

#[test]
fn the_example_of_an_env_file_is_complete() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/.env.example");
    let example = producer_svc::program().env_example();
    assert!(
        std::fs::read_to_string(path).unwrap_or_default() == example,
        "{path} should be:\n{example}"
    );
}

#[test]
fn the_interface_document_lists_every_route() {
    let document: serde_json::Value =
        serde_json::from_str(include_str!("../src/openapi.json")).unwrap();
    let paths: Vec<&String> = document["paths"].as_object().unwrap().keys().collect();
    for path in [
        "/api/orders",
        "/orders",
        "/api/orders/{orderId}",
        "/api/orders/events",
        "/api/orders/{orderId}/events",
        "/api/auth/registration",
        "/admin",
        "/api/admin/events",
        "/api/admin/diagnostics/cart/{userId}",
        "/api/books/{bookId}/views",
        "/api/books/{bookId}/downloads",
        "/api/books/{bookId}/purchases",
        "/api/books/{bookId}/reviews",
        "/api/books/{bookId}/ratings",
        "/api/admin/analytics/overview",
        "/api/admin/analytics/books",
        "/api/admin/analytics/books/{bookId}",
        "/api/admin/analytics/popular",
        "/api/admin/topics",
        "/api/admin/topics/{topic}/messages",
        "/api/admin/groups",
        "/api/admin/dead-letters",
        "/api/admin/dead-letters/{topic}/{partition}/{offset}",
        "/api/admin/dead-letters/{topic}/{partition}/{offset}/replay",
        "/livez",
        "/readyz",
        "/metrics",
        "/openapi.json",
    ] {
        assert!(paths.iter().any(|known| *known == path), "{path}");
    }
    // Every reference leads somewhere.
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let pointer = reference.split('"').next().unwrap();
        assert!(document.pointer(pointer).is_some(), "{pointer}");
    }
}

#[test]
fn mistakes_are_told_at_once_and_nothing_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let output = binary()
        .current_dir(folder.path())
        .args([
            "--order-view=perhaps",
            "--colour",
            "red",
            "--database-url",
            "mysql://me:hunter2@db/x",
        ])
        .env("HTTP_ADDR", taken.local_addr().unwrap().to_string())
        .env("REQUEST_TIMEOUT", "5")
        .env("KAFKA_AUTO_OFFSET_RESET", "sometimes")
        .env("INTAKE_MAX_VIEW_LAG", "500ms")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    for part in [
        "ORDER_VIEW",
        "--colour",
        "DATABASE_URL",
        "REQUEST_TIMEOUT",
        "KAFKA_AUTO_OFFSET_RESET",
        "INTAKE_MAX_VIEW_LAG",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    // The taken address was not even tried, and no folder was made.
    assert!(
        !text.contains("HTTP_ADDR") && !text.contains("hunter2"),
        "{text}"
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_taken_main_address_ends_it_with_its_variable() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = binary().env("HTTP_ADDR", &address).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.contains(&address) && text.contains("HTTP_ADDR"),
        "{text}"
    );
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the binary and reads from its log where it listens.
fn start(
    scene: &Scene,
    format: &str,
) -> (Process, SocketAddr, BufReader<std::process::ChildStdout>) {
    let mut child = binary()
        .envs(scene.variables(&[("LOG_FORMAT", format)]))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stdout.take().unwrap());
    let process = Process(child);
    let address = loop {
        let mut line = String::new();
        assert!(log.read_line(&mut line).unwrap() > 0, "it ended");
        if let Some((_, rest)) = line.split_once("listening at http://") {
            let end = rest.find(|c: char| !c.is_ascii_digit() && !".:".contains(c));
            break rest[..end.unwrap_or(rest.len())].trim().parse().unwrap();
        }
    };
    (process, address, log)
}

#[tokio::test]
async fn sigterm_ends_it_orderly_with_status_0() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    let (mut process, address, log) = start(&scene, "json");
    testkit::eventually(support::SOON, || async {
        (http::get(address, "/readyz?strict").await.status == 200).then_some(())
    })
    .await;
    let ready = binary()
        .args(["healthcheck", "--ready"])
        .env("HTTP_ADDR", address.to_string())
        .status()
        .unwrap();
    assert!(ready.success());
    let placed = http::post(
        address,
        "/api/orders",
        &[],
        r#"{"product":"Laptop","quantity":1}"#,
    )
    .await;
    assert_eq!(placed.status, 200, "{}", placed.body);

    let id = process.0.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &id])
            .status()
            .unwrap()
            .success()
    );
    let lines = tokio::task::spawn_blocking(move || log.lines().collect::<Result<Vec<_>, _>>());
    let lines = lines.await.unwrap().unwrap();
    assert_eq!(process.0.wait().unwrap().code(), Some(0), "{lines:?}");
    for line in &lines {
        let object: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(
            object["@timestamp"].is_string() && object["log.level"].is_string(),
            "{line}"
        );
    }
    assert!(lines.last().unwrap().contains("ended orderly"), "{lines:?}");
    let unhealthy = binary()
        .arg("healthcheck")
        .env("HTTP_ADDR", address.to_string())
        .status()
        .unwrap();
    assert_eq!(unhealthy.code(), Some(1));
}
