//! The program itself: its help, its refusals, what it prints, its end.

#[path = "support/desk.rs"]
mod desk;
#[path = "support/running.rs"]
mod running;

use std::process::{Command, Output};

use desk::Desk;
use running::{PROGRAM, run_until};
use testkit::Kafka;

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
        "healthcheck",
        "--ready",
        "[default: 127.0.0.1:8082]",
        "[default: notification-group]",
        "[default: sqlite:data/notifier-svc.db]",
        "NOTIFICATION_RETENTION",
    ] {
        assert!(help.contains(part), "{part:?} missing in\n{help}");
    }
}

#[test]
fn the_example_of_an_env_file_is_complete() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/.env.example");
    let example = notifier_svc::program().env_example();
    assert!(
        std::fs::read_to_string(path).unwrap_or_default() == example,
        "{path} should be:\n{example}"
    );
}

#[test]
fn all_mistakes_are_named_at_once_with_status_2() {
    let refused = run(&[
        "--notification-retention=never",
        "--http-addr=nowhere",
        "--notifications-topic=a b",
        "--database-url=mysql://u:secret@h/d",
    ]);
    assert_eq!(refused.status.code(), Some(2));
    let said = text(&refused.stderr);
    for name in [
        "NOTIFICATION_RETENTION",
        "HTTP_ADDR",
        "NOTIFICATIONS_TOPIC",
        "DATABASE_URL",
    ] {
        assert!(said.contains(name), "{name} missing in\n{said}");
    }
    assert!(!said.contains("secret"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn notifications_are_printed_once_and_sigterm_commits_and_exits_0() {
    let kafka = Kafka::start().await;
    let desk = Desk::new(&kafka).await;
    kafka.create_topic(&desk.topic, 3).await;
    kafka.create_topic(&format!("{}-dlt", desk.topic), 3).await;
    desk.confirmed("12345", "user789").await;
    let line = "[NOTIFICATION] Order 12345: CONFIRMED (user user789)";
    let logged = "INFO notifier_svc::console: notification order_id=12345";
    let output = run_until(&desk, &[], &[line, logged]).await;
    assert_eq!(output.matches(line).count(), 1, "{output}");
    assert_eq!(desk.committed().await, 1);
    desk.confirmed("2", "user789").await;
    let output = run_until(&desk, &[], &["[NOTIFICATION] Order 2: CONFIRMED"]).await;
    assert!(!output.contains("12345"), "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn json_output_has_one_object_a_line() {
    let kafka = Kafka::start().await;
    let desk = Desk::new(&kafka).await;
    kafka.create_topic(&desk.topic, 3).await;
    desk.confirmed("12345", "user789").await;
    let output = run_until(
        &desk,
        &["--log-format=json", "--log-level=warn"],
        &["12345"],
    )
    .await;
    for line in output.lines() {
        let object: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(object["@timestamp"].is_string(), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_of_another_system_is_printed() {
    let kafka = Kafka::start().await;
    let desk = Desk::new(&kafka).await;
    kafka.create_topic(&desk.topic, 3).await;
    let step = r#"{"orderId":7,"status":"PROCESSING","userId":"9b2f","reason":42}"#;
    desk.send(None, step, &[]).await;
    run_until(
        &desk,
        &[],
        &["[NOTIFICATION] Order 7: PROCESSING: 42 (user 9b2f)"],
    )
    .await;
}
