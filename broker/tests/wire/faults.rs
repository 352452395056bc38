//! Misbehaviour on request, each kind seen by a client.

use std::time::{Duration, Instant};

use broker::{ApiKey, DiskFault, Fsync, ResponseError};
use kafka_protocol::messages::{FindCoordinatorRequest, HeartbeatRequest, ProduceRequest};
use testkit::Kafka;
use tokio::time::timeout;

use crate::common::{Batch, latest, produce, produce_request, read_all, text};

const PATIENCE: Duration = Duration::from_secs(20);

async fn kafka() -> Kafka {
    let kafka = Kafka::own_broker().await;
    kafka.create_topic("orders", 2).await;
    kafka
}

fn request(value: &str) -> ProduceRequest {
    produce_request("orders", 0, &Batch::of(&[value]).bytes(), -1)
}

#[tokio::test]
async fn a_dropped_connection_leaves_the_request_undone() {
    let kafka = kafka().await;
    let fault = kafka.faults().on(ApiKey::Produce).drop_connection();
    let mut connection = kafka.connect().await;
    assert!(connection.try_call(&request("a"), 9).await.is_err());
    timeout(PATIENCE, fault.hit()).await.unwrap();
    let mut connection = kafka.connect().await;
    assert_eq!(latest(&mut connection, "orders", 0).await, 0);
    connection.call(&request("a"), 9).await;
}

#[tokio::test]
async fn a_lost_acknowledgement_leaves_the_request_done() {
    let kafka = kafka().await;
    let fault = kafka.faults().on(ApiKey::Produce).lose_acknowledgement();
    let mut connection = kafka.connect().await;
    assert!(connection.try_call(&request("a"), 9).await.is_err());
    assert_eq!(fault.hits(), 1);
    let mut connection = kafka.connect().await;
    assert_eq!(read_all(&mut connection, "orders", 0).await, ["a"]);
}

#[tokio::test]
async fn a_delay_comes_before_the_work_or_before_the_answer() {
    let kafka = kafka().await;
    let by = Duration::from_millis(300);
    let mut other = kafka.connect().await;
    let mut connection = kafka.connect().await;
    for (before, expected) in [(true, 0), (false, 2)] {
        let builder = kafka.faults().on(ApiKey::Produce);
        let fault = if before {
            builder.delay(by)
        } else {
            builder.delay_answer(by)
        };
        let start = Instant::now();
        connection.send(&request("a"), 9).await.unwrap();
        timeout(PATIENCE, fault.hit()).await.unwrap();
        if before {
            assert_eq!(latest(&mut other, "orders", 0).await, expected);
        } else {
            // The hit is counted before the work; the work waits for nothing.
            testkit::eventually(by, async || {
                let mut other = kafka.connect().await;
                (latest(&mut other, "orders", 0).await == expected).then_some(())
            })
            .await;
        }
        connection.receive::<ProduceRequest>(9).await.unwrap();
        assert!(start.elapsed() >= by);
    }
}

#[tokio::test]
async fn an_error_goes_to_the_partition_it_is_for() {
    let kafka = kafka().await;
    let error = ResponseError::NotLeaderOrFollower;
    let fault = kafka
        .faults()
        .on(ApiKey::Produce)
        .topic("orders")
        .partition(0)
        .times(2)
        .error(error);
    let mut connection = kafka.connect().await;
    let batch = Batch::of(&["a"]).bytes();
    assert_eq!(produce(&mut connection, "orders", 1, &batch).await, (0, 0));
    let mut both = request("a");
    let mut second = both.topic_data[0].partition_data[0].clone();
    second.index = 1;
    both.topic_data[0].partition_data.push(second);
    let response = connection.call(&both, 9).await;
    let partitions = &response.responses[0].partition_responses;
    assert_eq!(partitions[0].error_code, error.code());
    assert_eq!(
        (partitions[1].error_code, partitions[1].base_offset),
        (0, 1)
    );
    let refused = produce(&mut connection, "orders", 0, &batch).await;
    assert_eq!(refused.0, error.code());
    assert_eq!(produce(&mut connection, "orders", 0, &batch).await, (0, 0));
    assert_eq!(fault.hits(), 2);
}

#[tokio::test]
async fn an_error_can_hide_that_the_work_was_done() {
    let kafka = kafka().await;
    let error = ResponseError::RequestTimedOut;
    let _fault = kafka.faults().on(ApiKey::Produce).error_after(error);
    let mut connection = kafka.connect().await;
    let batch = Batch::of(&["a"]).bytes();
    let answer = produce(&mut connection, "orders", 0, &batch).await;
    assert_eq!(answer.0, error.code());
    assert_eq!(read_all(&mut connection, "orders", 0).await, ["a"]);
}

#[tokio::test]
async fn a_swallowed_request_is_never_answered_and_others_are() {
    let kafka = kafka().await;
    let fault = kafka.faults().on(ApiKey::Produce).swallow();
    let mut silent = kafka.connect().await;
    silent.send(&request("a"), 9).await.unwrap();
    timeout(PATIENCE, fault.hit()).await.unwrap();
    let answer = timeout(
        Duration::from_millis(200),
        silent.receive::<ProduceRequest>(9),
    );
    assert!(answer.await.is_err(), "silence");
    let mut connection = kafka.connect().await;
    assert_eq!(latest(&mut connection, "orders", 0).await, 0);

    let fault = kafka.faults().on(ApiKey::Produce).swallow_answer();
    connection.send(&request("a"), 9).await.unwrap();
    timeout(PATIENCE, fault.hit()).await.unwrap();
    testkit::eventually(PATIENCE, async || {
        let mut other = kafka.connect().await;
        (latest(&mut other, "orders", 0).await == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_coordinator_can_move() {
    let kafka = kafka().await;
    let moved = kafka.faults().move_coordinator("shop", 1, 2);
    let mut connection = kafka.connect().await;
    let heartbeat = HeartbeatRequest::default().with_group_id(text("shop").into());
    let not_coordinator = ResponseError::NotCoordinator.code();
    let response = connection.call(&heartbeat, 4).await;
    assert_eq!(response.error_code, not_coordinator);
    let find = FindCoordinatorRequest::default().with_coordinator_keys(vec![text("shop")]);
    let unavailable = ResponseError::CoordinatorNotAvailable.code();
    for expected in [unavailable, unavailable, 0] {
        let response = connection.call(&find, 4).await;
        assert_eq!(response.coordinators[0].error_code, expected);
    }
    let response = connection.call(&heartbeat, 4).await;
    assert_eq!(response.error_code, ResponseError::UnknownMemberId.code());
    assert_eq!((moved.refused.hits(), moved.lookups.hits()), (1, 2));
}

#[tokio::test]
async fn a_broker_can_be_gone_and_come_back_with_everything() {
    let kafka = kafka().await;
    let broker = kafka.broker().unwrap();
    let mut connection = kafka.connect().await;
    connection.call(&request("a"), 9).await;
    broker.stop_listening().await;
    assert_eq!(broker.connections(), 0);
    assert!(connection.try_call(&request("b"), 9).await.is_err());
    let refused = tokio::net::TcpStream::connect(kafka.bootstrap()).await;
    assert!(refused.is_err(), "nobody listens");
    broker.resume_listening().unwrap();
    let mut connection = kafka.connect().await;
    connection.call(&request("c"), 9).await;
    assert_eq!(read_all(&mut connection, "orders", 0).await, ["a", "c"]);
}

#[tokio::test]
async fn dropped_connections_can_be_made_anew() {
    let kafka = kafka().await;
    let mut connection = kafka.connect().await;
    connection.call(&request("a"), 9).await;
    kafka.broker().unwrap().disconnect_all();
    timeout(PATIENCE, connection.ended()).await.unwrap();
    kafka.connect().await.call(&request("b"), 9).await;
}

#[tokio::test]
async fn on_a_full_disk_nothing_is_acknowledged_that_is_not_stored() {
    let mut kafka = kafka().await;
    let mut connection = kafka.connect().await;
    let storage = ResponseError::KafkaStorageError.code();
    let batch = Batch::of(&["x".repeat(300).as_str()]).bytes();
    let mut acknowledged = 0;
    kafka
        .faults()
        .disk(Some(DiskFault::Full { after_bytes: 1500 }));
    for _ in 0..6 {
        match produce(&mut connection, "orders", 0, &batch).await {
            (0, offset) => {
                assert_eq!(offset, acknowledged);
                acknowledged += 1;
            }
            (code, _) => assert_eq!(code, storage),
        }
    }
    assert!((1..6).contains(&acknowledged));
    assert_eq!(
        latest(&mut connection, "orders", 0).await,
        acknowledged,
        "reading goes on"
    );
    kafka.faults().disk(None);
    assert_eq!(
        produce(&mut connection, "orders", 0, &batch).await,
        (0, acknowledged)
    );
    kafka.faults().disk(Some(DiskFault::Broken));
    assert_eq!(
        produce(&mut connection, "orders", 0, &batch).await.0,
        storage
    );
    kafka.kill_broker().await;
    kafka.start_broker().await;
    let mut connection = kafka.connect().await;
    let stored = read_all(&mut connection, "orders", 0).await;
    assert_eq!(stored.len() as i64, acknowledged + 1);
}

#[tokio::test]
async fn what_the_device_did_not_take_is_never_acknowledged_nor_served() {
    let mut kafka = Kafka::own_broker_with(|config| config.fsync = Fsync::Always).await;
    kafka.create_topic("orders", 1).await;
    let mut connection = kafka.connect().await;
    let storage = ResponseError::KafkaStorageError.code();
    let [stored, lost] = ["stored", "lost"].map(|value| Batch::of(&[value]).bytes());
    assert_eq!(produce(&mut connection, "orders", 0, &stored).await, (0, 0));
    kafka.faults().disk(Some(DiskFault::Unsynced));
    let refused = produce(&mut connection, "orders", 0, &lost).await;
    assert_eq!(refused.0, storage);
    // A device that failed once is not believed.
    kafka.faults().disk(None);
    let refused = produce(&mut connection, "orders", 0, &lost).await;
    assert_eq!(refused.0, storage);
    assert_eq!(read_all(&mut connection, "orders", 0).await, ["stored"]);
    kafka.kill_broker().await;
    kafka.start_broker().await;
    let mut connection = kafka.connect().await;
    assert_eq!(read_all(&mut connection, "orders", 0).await, ["stored"]);
    assert_eq!(produce(&mut connection, "orders", 0, &stored).await, (0, 1));
}

#[tokio::test]
async fn cleared_faults_are_over() {
    let kafka = kafka().await;
    let _fault = kafka
        .faults()
        .on(ApiKey::Produce)
        .always()
        .drop_connection();
    kafka.faults().disk(Some(DiskFault::Broken));
    kafka.faults().clear();
    kafka.connect().await.call(&request("a"), 9).await;
}
