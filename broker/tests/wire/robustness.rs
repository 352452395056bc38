//! Clients that do not behave.

use std::time::Duration;

use bytes::BufMut;
use kafka_protocol::messages::ApiVersionsRequest;
use testkit::raw::Connection;
use testkit::{Kafka, eventually};
use tokio::time::timeout;

use crate::common::{fetch, latest};

async fn ends(kafka: &Kafka, bytes: &[u8]) {
    let mut bad = kafka.connect().await;
    bad.send_bytes(bytes).await.unwrap();
    timeout(Duration::from_secs(20), bad.ended())
        .await
        .expect("the broker ends the connection");
}

/// A frame around a body, with a header of version 1.
fn frame(api: i16, version: i16, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.put_i32(10 + body.len() as i32);
    frame.put_i16(api);
    frame.put_i16(version);
    frame.put_i32(1);
    frame.put_i16(-1);
    frame.extend_from_slice(body);
    frame
}

#[tokio::test]
async fn malformed_requests_end_their_connection_and_no_other() {
    let kafka = Kafka::own_broker_with(|config| config.max_frame_bytes = 2 << 20).await;
    kafka.create_topic("orders", 1).await;
    let mut good = kafka.connect().await;
    // Lengths that cannot be, and one that is too long.
    ends(&kafka, &(-1i32).to_be_bytes()).await;
    ends(&kafka, &i32::MAX.to_be_bytes()).await;
    ends(&kafka, &[0, 0, 0, 2, 0, 0]).await;
    // HTTP on the wrong port.
    ends(&kafka, b"GET / HTTP/1.1\r\n\r\n").await;
    // An API that does not exist, one that is not served, a version that is not.
    ends(&kafka, &frame(9999, 0, &[])).await;
    ends(&kafka, &frame(24, 0, &[])).await;
    ends(&kafka, &frame(0, 2, &[])).await;
    // Arrays that claim more than there is: a classic one of two billion topics.
    ends(&kafka, &frame(3, 1, &i32::MAX.to_be_bytes())).await;
    assert_eq!(latest(&mut good, "orders", 0).await, 0);
}

#[tokio::test]
async fn a_frame_that_stops_in_the_middle_costs_nothing_but_its_connection() {
    let kafka = Kafka::own_broker().await;
    let mut bad = kafka.connect().await;
    bad.send_bytes(&(50i32 << 20).to_be_bytes()).await.unwrap();
    bad.send_bytes(&[0; 1000]).await.unwrap();
    bad.finish().await.unwrap();
    timeout(Duration::from_secs(20), bad.ended())
        .await
        .expect("ended");
}

#[tokio::test]
async fn connections_are_bounded_and_places_are_given_back() {
    let kafka = Kafka::own_broker_with(|config| config.max_connections = 2).await;
    let request = ApiVersionsRequest::default();
    let mut first = kafka.connect().await;
    let mut second = kafka.connect().await;
    first.call(&request, 0).await;
    second.call(&request, 0).await;
    let mut third = kafka.connect().await;
    assert!(third.try_call(&request, 0).await.is_err());
    drop(second);
    eventually(Duration::from_secs(20), async || {
        let mut again = kafka.connect().await;
        again.try_call(&request, 0).await.ok()
    })
    .await;
    first.call(&request, 0).await;
}

#[tokio::test]
async fn a_connection_on_which_nothing_is_asked_is_closed() {
    let kafka = Kafka::own_broker_with(|config| {
        config.connections_max_idle = Duration::from_millis(300);
    })
    .await;
    kafka.create_topic("orders", 1).await;
    let mut idle = kafka.connect().await;
    idle.call(&ApiVersionsRequest::default(), 0).await;
    let mut waiting = kafka.connect().await;
    // Whoever waits for an answer is not idle.
    let request = fetch("orders", &[(0, 0)]).with_max_wait_ms(1_000);
    let answer = waiting.call(&request, 11).await;
    assert_eq!(answer.error_code, 0);
    timeout(Duration::from_secs(20), idle.ended())
        .await
        .expect("closed");
    timeout(Duration::from_secs(20), waiting.ended())
        .await
        .expect("closed later");
}

#[tokio::test]
async fn a_client_that_reads_no_answers_gives_its_place_back() {
    let kafka = Kafka::own_broker_with(|config| {
        config.connections_max_idle = Duration::from_millis(300);
    })
    .await;
    let broker = kafka.broker().unwrap();
    let mut deaf = kafka.connect().await;
    // Until nothing more fits between the two, and it is closed.
    let asking = async { while deaf.send(&ApiVersionsRequest::default(), 0).await.is_ok() {} };
    timeout(Duration::from_secs(20), asking)
        .await
        .expect("closed");
    eventually(Duration::from_secs(20), async || {
        (broker.connections() == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_long_poll() {
    let kafka = Kafka::own_broker().await;
    kafka.create_topic("orders", 1).await;
    let broker = kafka.broker().unwrap();
    let connected = async |count: usize| {
        eventually(Duration::from_secs(20), async || {
            (broker.connections() == count).then_some(())
        })
        .await;
    };
    connected(0).await;
    let mut leaving = kafka.connect().await;
    let request = fetch("orders", &[(0, 0)]).with_max_wait_ms(600_000);
    leaving.send(&request, 11).await.unwrap();
    connected(1).await;
    drop(leaving);
    connected(0).await;
}

#[tokio::test]
async fn a_stop_answers_what_waits() {
    let mut kafka = Kafka::own_broker().await;
    kafka.create_topic("orders", 1).await;
    let mut idle = kafka.connect().await;
    idle.call(&ApiVersionsRequest::default(), 0).await;
    let mut waiting = Connection::open(kafka.bootstrap()).await;
    let request = fetch("orders", &[(0, 0)]).with_max_wait_ms(600_000);
    waiting.send(&request, 11).await.unwrap();
    let answer = tokio::spawn(async move {
        waiting
            .receive::<kafka_protocol::messages::FetchRequest>(11)
            .await
    });
    // Whether the broker has read the request by now or not: it ends in time.
    timeout(Duration::from_secs(20), kafka.stop_broker())
        .await
        .expect("stopped");
    let _ = timeout(Duration::from_secs(20), answer)
        .await
        .expect("answered or ended");
    timeout(Duration::from_secs(20), idle.ended())
        .await
        .unwrap();
}
