//! What a producer without idempotence cannot promise, counted: the same faults against rskafka's and
//! against ours. What it means for an order is shown by the fault harness's copied orders.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use broker::Fault;
use chrono::DateTime;
use kafka::{
    Client, ClientConfig, OffsetAt, OutgoingRecord, Producer, ReaderEvent, TopicPartition,
};
use kafka_protocol::messages::ApiKey;
use rskafka::{
    BackoffConfig,
    client::{
        Client as Theirs, ClientBuilder,
        partition::{Compression, PartitionClient, UnknownTopicHandling},
    },
    record::Record,
};
use testkit::{Kafka, eventually, unique};

const PATIENCE: Duration = Duration::from_secs(60);

/// Records of each producer.
const RECORDS: usize = 200;

/// A fault meets every such record.
const EVERY: usize = 5;

/// How long a sender waits before it takes a request for lost.
const TIMEOUT: Duration = Duration::from_millis(300);

/// When a request arrives that was abandoned: long after that.
const LATE: Duration = Duration::from_secs(3);

async fn topic(kafka: &Kafka) -> String {
    let name = unique("beside-rskafka");
    kafka.create_topic(&name, 1).await;
    name
}

fn ours(kafka: &Kafka, delivery: Duration) -> (Client, Producer) {
    let client = Client::new(ClientConfig::new(kafka.bootstrap()).unwrap());
    let producer = client.producer().delivery_timeout(delivery);
    let producer = producer.request_timeout(TIMEOUT).build().unwrap();
    (client, producer)
}

async fn send_ours(producer: &Producer, topic: &str, value: &str) -> Result<i64, String> {
    let record = OutgoingRecord {
        topic,
        key: Some(b"key"),
        value: Some(value.as_bytes()),
        ..Default::default()
    };
    let sent = producer.send(&record).await;
    sent.map(|sent| sent.offset)
        .map_err(|error| error.to_string())
}

async fn theirs(kafka: &Kafka) -> Theirs {
    let backoff = BackoffConfig {
        init_backoff: Duration::from_millis(10),
        ..Default::default()
    };
    let builder = ClientBuilder::new(vec![kafka.bootstrap().to_owned()]);
    builder.backoff_config(backoff).build().await.unwrap()
}

async fn partition_of(client: &Theirs, topic: &str) -> PartitionClient {
    let partition = client.partition_client(topic, 0, UnknownTopicHandling::Retry);
    partition.await.unwrap()
}

async fn send_theirs(partition: &PartitionClient, value: &str) -> i64 {
    let record = Record {
        key: Some(b"key".to_vec()),
        value: Some(value.as_bytes().to_vec()),
        headers: BTreeMap::new(),
        timestamp: DateTime::from_timestamp_millis(1_700_000_000_000).unwrap(),
    };
    let sent = partition.produce(vec![record], Compression::NoCompression);
    sent.await.unwrap()[0]
}

/// The values in a topic, in order.
async fn log(kafka: &Kafka, topic: &str) -> Vec<String> {
    let client = Client::new(ClientConfig::new(kafka.bootstrap()).unwrap());
    let partition = TopicPartition::new(topic, 0);
    let ends = client.admin();
    let ends = ends
        .offsets(std::slice::from_ref(&partition), OffsetAt::Latest)
        .await;
    let end = ends.unwrap()[&partition] as usize;
    let mut reader = client.reader().topics([topic]).build().unwrap();
    let mut log = Vec::new();
    while log.len() < end {
        let event = tokio::time::timeout(PATIENCE, reader.next_batch()).await;
        let ReaderEvent::Records(records) = event.expect("records to read") else {
            panic!("a record is gone")
        };
        for record in records {
            log.push(String::from_utf8(record.value.unwrap().to_vec()).unwrap());
        }
    }
    log
}

fn duplicates(log: &[String]) -> usize {
    let distinct: HashSet<_> = log.iter().collect();
    assert_eq!(distinct.len(), RECORDS, "each record is there");
    log.len() - distinct.len()
}

/// A request that was abandoned has arrived once its connection is gone, as those of the clients are.
async fn nobody_is_connected(kafka: &Kafka) {
    let broker = kafka.broker().unwrap();
    eventually(PATIENCE, || async {
        (broker.connections() == 0).then_some(())
    })
    .await;
}

fn lose_acknowledgement(kafka: &Kafka, topic: &str) -> Fault {
    let fault = kafka.faults().on(ApiKey::Produce).topic(topic);
    fault.lose_acknowledgement()
}

#[tokio::test]
async fn a_lost_acknowledgement_duplicates_with_rskafka_and_not_with_ours() {
    let kafka = Kafka::own_broker().await;
    let topics = (topic(&kafka).await, topic(&kafka).await);
    let (_client, producer) = ours(&kafka, PATIENCE);
    let partition = partition_of(&theirs(&kafka).await, &topics.1).await;
    let mut lost = 0;
    for number in 0..RECORDS {
        let faults = (number % EVERY == 0).then(|| {
            lost += 1;
            [&topics.0, &topics.1].map(|topic| lose_acknowledgement(&kafka, topic))
        });
        let value = number.to_string();
        send_ours(&producer, &topics.0, &value).await.unwrap();
        send_theirs(&partition, &value).await;
        for fault in faults.iter().flatten() {
            assert_eq!(fault.hits(), 1);
        }
    }
    let found = [&topics.0, &topics.1].map(|topic| log(&kafka, topic));
    let found = futures::future::join_all(found).await;
    let (ours, theirs) = (duplicates(&found[0]), duplicates(&found[1]));
    println!(
        "{lost} of {RECORDS} acknowledgements lost: {theirs} duplicates of rskafka, {ours} of ours"
    );
    assert_eq!((ours, theirs), (0, lost));
}

#[tokio::test]
async fn a_request_that_lands_after_its_timeout_duplicates_with_rskafka_and_not_with_ours() {
    let kafka = Kafka::own_broker().await;
    let topics = (topic(&kafka).await, topic(&kafka).await);
    let late = |topic: &str| {
        let fault = kafka.faults().on(ApiKey::Produce).topic(topic);
        fault.delay(LATE)
    };
    let (client, producer) = ours(&kafka, PATIENCE);
    let their_client = theirs(&kafka).await;
    let mut partition = partition_of(&their_client, &topics.1).await;
    let mut abandoned = 0;
    for number in 0..RECORDS {
        let is_late = number % (4 * EVERY) == 0;
        let value = number.to_string();
        let fault = is_late.then(|| late(&topics.0));
        send_ours(&producer, &topics.0, &value).await.unwrap();
        assert!(fault.is_none_or(|fault| fault.hits() == 1));
        // rskafka knows no timeout of a request; its caller needs one, and a new connection after it.
        let fault = is_late.then(|| late(&topics.1));
        if is_late {
            let sent = tokio::time::timeout(TIMEOUT, send_theirs(&partition, &value));
            sent.await.expect_err("no answer in time");
            assert!(fault.is_some_and(|fault| fault.hits() == 1));
            abandoned += 1;
            partition = partition_of(&their_client, &topics.1).await;
        }
        send_theirs(&partition, &value).await;
    }
    producer.close(PATIENCE).await.unwrap();
    drop((producer, client, partition, their_client));
    nobody_is_connected(&kafka).await;
    let (ours, theirs) = (log(&kafka, &topics.0).await, log(&kafka, &topics.1).await);
    let in_order: Vec<_> = (0..RECORDS).map(|number| number.to_string()).collect();
    assert_eq!(ours, in_order, "once, and in order");
    let theirs = duplicates(&theirs);
    println!(
        "{abandoned} of {RECORDS} requests landed late: {theirs} duplicates of rskafka, 0 of ours"
    );
    assert_eq!(theirs, abandoned);
}

#[tokio::test]
async fn what_was_given_up_lands_behind_the_next_record_with_rskafka_and_never_with_ours() {
    let kafka = Kafka::own_broker().await;
    let topics = (topic(&kafka).await, topic(&kafka).await);
    let always_late = |topic: &str| {
        let fault = kafka.faults().on(ApiKey::Produce).topic(topic);
        fault.always().delay(LATE)
    };
    let (client, producer) = ours(&kafka, 2 * TIMEOUT);
    send_ours(&producer, &topics.0, "first").await.unwrap();
    let fault = always_late(&topics.0);
    let given_up = send_ours(&producer, &topics.0, "given up").await;
    let error = given_up.unwrap_err();
    assert!(error.contains("may have been written"), "{error}");
    fault.clear();
    let next = || async { send_ours(&producer, &topics.0, "next").await.ok() };
    assert_eq!(eventually(PATIENCE, next).await, 1);

    let their_client = theirs(&kafka).await;
    let mut partition = partition_of(&their_client, &topics.1).await;
    send_theirs(&partition, "first").await;
    let fault = always_late(&topics.1);
    let given_up = tokio::time::timeout(2 * TIMEOUT, send_theirs(&partition, "given up"));
    given_up.await.expect_err("no answer in time");
    fault.clear();
    partition = partition_of(&their_client, &topics.1).await;
    send_theirs(&partition, "next").await;

    producer.close(PATIENCE).await.unwrap();
    drop((producer, client, partition, their_client));
    nobody_is_connected(&kafka).await;
    assert_eq!(log(&kafka, &topics.0).await, ["first", "next"]);
    assert_eq!(log(&kafka, &topics.1).await, ["first", "next", "given up"]);
}
