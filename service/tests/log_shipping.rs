//! What a process says last is in the log topic.

use std::future::{pending, ready};
use std::process::ExitCode;
use std::time::Duration;

use kafka::{Client, ClientConfig, OffsetAt, ReaderEvent, TopicPartition};
use serde_json::Value;
use service::config::{Common, Parsed, Program, ShutdownConfig, common_options};
use service::duties::Duties;
use service::health::Health;
use service::launch;
use testkit::{Kafka, unique};
use tokio::runtime::Runtime;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn common(kafka: &Kafka, log_topic: &str) -> Common {
    let program = Program {
        name: "cart-svc",
        about: "",
        options: common_options("127.0.0.1:0", "cart", "sqlite:unused.db"),
        commands: vec![],
    };
    let vars = [
        ("KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap()),
        ("LOG_TOPIC", log_topic),
        ("DATABASE_URL", "postgres://unused/carts"),
    ];
    let vars = vars
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let folder = tempfile::tempdir().unwrap();
    let Parsed::Invocation(mut invocation) = program.parse([], vars, folder.path()) else {
        panic!("printed");
    };
    Common::read("cart-svc", &mut invocation.values)
}

/// Everything in the topic's only partition.
async fn records(kafka: &Kafka, topic: &str) -> Vec<Value> {
    let client = Client::new(ClientConfig::new(kafka.bootstrap()).unwrap());
    let partition = [TopicPartition::new(topic, 0)];
    let ends = client.admin().offsets(&partition, OffsetAt::Latest).await;
    let end: i64 = ends.unwrap().into_values().sum();
    let mut reader = client.reader().topics([topic]).build().unwrap();
    let mut values = Vec::new();
    while values.len() < usize::try_from(end).unwrap() {
        if let ReaderEvent::Records(more) = reader.next_batch().await {
            let more = more.iter().map(|record| record.value.as_deref().unwrap());
            values.extend(more.map(|value| serde_json::from_slice::<Value>(value).unwrap()));
        }
    }
    values
}

#[test]
fn why_a_shutdown_was_overdue_is_shipped_once() {
    let runtime = Runtime::new().unwrap();
    let topic = unique("logs");
    let kafka = runtime.block_on(async {
        let kafka = Kafka::start().await;
        kafka.create_topic(&topic, 1).await;
        kafka
    });
    let mut common = common(&kafka, &topic);
    // The worker is given up soon; the log records have all the time of a busy machine.
    common.shutdown = ShutdownConfig {
        drain_delay: Duration::ZERO,
        timeout: PATIENCE + Duration::from_millis(100),
        last_logs: PATIENCE,
    };
    let status = launch::serve(&common, async |_| {
        let mut duties = Duties::new(Health::new(), common.shutdown);
        duties.spawn("stuck worker", pending::<Result<(), String>>());
        duties.run(ready(()), ready(())).await
    });
    assert_eq!(status, ExitCode::FAILURE);
    let records = runtime.block_on(async {
        let reading = records(&kafka, &topic);
        tokio::time::timeout(PATIENCE, reading).await.unwrap()
    });
    let why = "left unfinished: stuck worker";
    let said: Vec<_> = records
        .iter()
        .filter(|record| record["message"].as_str().unwrap().contains(why))
        .collect();
    assert_eq!(said.len(), 1, "{records:?}");
    assert_eq!(said[0]["log.level"], "error");
    assert_eq!(said[0]["service.name"], "cart-svc");
}
