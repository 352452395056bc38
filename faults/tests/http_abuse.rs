//! What clients can do to the HTTP server of a real service, and what it does about it: every
//! abuse has a clear status or ends by a timeout, memory stays below a bound that is said here,
//! and others are served meanwhile and afterwards.

// What a process uses is read from /proc, and limits are set from outside of it.
#![cfg(target_os = "linux")]

#[path = "support/door.rs"]
mod support;

use std::time::Duration;

use futures::future::join_all;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use support::{Door, KIB, MIB, ORDER, SOON, json, status};
use tempfile::TempDir;
use testkit::{Kafka, eventually, http};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use faults::process::Process;

const JSON: &str = "content-type: application/json\r\n";

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")
}

fn post(headers: &str) -> String {
    format!("POST /api/orders HTTP/1.1\r\nhost: x\r\n{JSON}{headers}\r\n")
}

/// What one connection may cost: what hyper reads and writes through, and the task.
const CONNECTION: u64 = 32 * KIB;

/// What a service is without connections, in a debug build.
const BASE: u64 = 64 * MIB;

#[tokio::test(flavor = "multi_thread")]
async fn every_malformed_request_has_its_status() {
    let kafka = Kafka::start().await;
    let door = Door::open(kafka.bootstrap(), &[]).await;
    let long = "y".repeat(100_000);
    let many: String = (0..1_000).map(|n| format!("x-{n}: y\r\n")).collect();
    let cases = [
        (format!("GET /livez HTTP/1.1\r\n{many}\r\n"), 431),
        (format!("GET /livez HTTP/1.1\r\nx: {long}\r\n\r\n"), 431),
        (format!("GET /{long} HTTP/1.1\r\nhost: x\r\n\r\n"), 414),
        (
            format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", &long[..9_000]),
            414,
        ),
        (
            format!("{}zz\r\n", post("transfer-encoding: chunked\r\n")),
            400,
        ),
        (
            format!("{}-1\r\n", post("transfer-encoding: chunked\r\n")),
            400,
        ),
        (
            format!(
                "{}fffffffffffffffff\r\n",
                post("transfer-encoding: chunked\r\n")
            ),
            400,
        ),
        (
            format!("{}2\r\n{{}}xx", post("transfer-encoding: chunked\r\n")),
            400,
        ),
        (
            format!("{}2;{long}", post("transfer-encoding: chunked\r\n")),
            400,
        ),
        (
            format!("{}{{}}", post("content-length: 2\r\ncontent-length: 3\r\n")),
            400,
        ),
        (post("content-length: -1\r\n"), 400),
        (post("transfer-encoding: gzip\r\n"), 400),
        (post("content-length: 99999999999999999999\r\n"), 400),
        ("\0\x01\x02\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/3.0\r\n\r\n".to_owned(), 400),
        (
            format!(
                "OPTIONS /api/orders HTTP/1.1\r\n{}",
                "connection: close\r\n\r\n"
            ),
            405,
        ),
        (
            format!("TRACE /livez HTTP/1.1\r\n{}", "connection: close\r\n\r\n"),
            405,
        ),
        (
            format!(
                "DELETE /api/orders HTTP/1.1\r\n{}",
                "connection: close\r\n\r\n"
            ),
            405,
        ),
        (
            format!(
                "GET /api/orders/%ff HTTP/1.1\r\n{}",
                "connection: close\r\n\r\n"
            ),
            400,
        ),
        (
            format!("OPTIONS * HTTP/1.1\r\n{}", "connection: close\r\n\r\n"),
            404,
        ),
        (
            format!("GET /nowhere HTTP/1.1\r\n{}", "connection: close\r\n\r\n"),
            404,
        ),
    ];
    for (request, wanted) in &cases {
        let answer = door.exchange(request.as_bytes()).await;
        let begin = &request[..request.len().min(100)];
        assert_eq!(status(&answer), *wanted, "{begin:?}: {answer}");
    }
    let head = "HEAD /api/orders/events HTTP/1.1\r\nconnection: close\r\n\r\n";
    let head = door.exchange(head.as_bytes()).await;
    assert!(
        head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
    assert_eq!(door.order().await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_are_answered_in_their_order() {
    let kafka = Kafka::start().await;
    let door = Door::open(kafka.bootstrap(), &[]).await;
    let mut requests = String::new();
    for n in 0..1_000 {
        let body = format!(r#"{{"orderId":"piped-{n}","product":"Laptop","quantity":1}}"#);
        requests += &post(&format!("content-length: {}\r\n", body.len()));
        requests += &body;
    }
    requests += "GET /nowhere HTTP/1.1\r\nconnection: close\r\n\r\n";
    let answers = door.exchange(requests.as_bytes()).await;
    let ids: Vec<&str> = answers
        .split("\"orderId\":\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect();
    let wanted: Vec<String> = (0..1_000).map(|n| format!("piped-{n}")).collect();
    assert_eq!(ids, wanted);
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 1_000);
    assert_eq!(answers.matches("HTTP/1.1 404").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_a_gigabyte_is_refused_without_being_read() {
    const GIB: usize = 1 << 30;
    const PIECE: usize = 64 * 1024;
    let kafka = Kafka::start().await;
    let door = Door::open(kafka.bootstrap(), &[]).await;
    let before = door.process.peak_memory();

    let taken = std::sync::atomic::AtomicUsize::new(0);
    let count = |piece: Vec<u8>| {
        taken.fetch_add(piece.len(), std::sync::atomic::Ordering::Relaxed);
        piece
    };
    let head = post(&format!("content-length: {GIB}\r\n"));
    let body = (0..GIB / PIECE).map(|_| count(vec![b'a'; PIECE]));
    let pieces = std::iter::once(head.into_bytes()).chain(body);
    let declared = door.exchange_pieces(pieces).await;
    assert_eq!(status(&declared), 413, "{declared}");

    let head = post("transfer-encoding: chunked\r\n");
    let chunk = format!("{PIECE:x}\r\n{}\r\n", "a".repeat(PIECE)).into_bytes();
    let body = (0..GIB / PIECE).map(|_| count(chunk.clone()));
    let pieces = std::iter::once(head.into_bytes()).chain(body);
    let chunked = door.exchange_pieces(pieces).await;
    assert_eq!(status(&chunked), 413, "{chunked}");

    // The rest lay in the sockets' buffers.
    let taken = taken.into_inner() as u64;
    assert!(
        taken < 64 * MIB,
        "{taken} bytes of two gigabytes were taken"
    );
    let grown = door.process.peak_memory() - before;
    assert!(grown < 4 * MIB, "{grown} bytes more");
    assert_eq!(door.order().await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_too_slowly_is_let_go_with_408_where_it_can_be_said() {
    let kafka = Kafka::start().await;
    let timeouts = [("http-read-timeout", "500ms"), ("http-idle-timeout", "1s")];
    let door = Door::open(kafka.bootstrap(), &timeouts).await;
    let half = format!("{}{{", post("content-length: 100\r\n"));
    let chunked = format!("{}5\r\n{{", post("transfer-encoding: chunked\r\n"));
    for slow in ["G", "GET /livez HTTP/1.1\r\nx: y\r\n", &half, &chunked] {
        let answer = door.exchange(slow.as_bytes()).await;
        assert_eq!(status(&answer), 408, "{slow:?}: {answer}");
        assert!(answer.contains("application/problem+json"), "{answer}");
    }
    assert_eq!(door.exchange(b"").await, "", "it idles from the start");
    let idle = door.exchange(get("/livez").as_bytes()).await;
    assert_eq!(status(&idle), 200);

    // A header every now and then does not keep it open.
    let mut drip = TcpStream::connect(door.address).await.unwrap();
    drip.write_all(b"GET /livez HTTP/1.1\r\n").await.unwrap();
    let mut answer = Vec::new();
    let dripping = async {
        loop {
            tokio::select! {
                read = drip.read_buf(&mut answer) => match read {
                    Ok(1..) => {}
                    _ => return,
                },
                () = tokio::time::sleep(Duration::from_millis(50)) => {
                    let _ = drip.write_all(b"x: y\r\n").await;
                }
            }
        }
    };
    tokio::time::timeout(SOON, dripping)
        .await
        .expect("the server closes");
    assert_eq!(status(&String::from_utf8_lossy(&answer)), 408);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_idle_connections_cost_little_and_lock_nobody_out() {
    const EACH: usize = 2_500;
    let kafka = Kafka::start().await;
    let door = Door::open(kafka.bootstrap(), &[]).await;
    let before = door.process.peak_memory();
    let names = ["idle-1", "idle-2", "idle-3", "idle-4"];
    let floods = join_all(names.map(|name| door.flood(name, EACH, "idle"))).await;
    for flood in &floods {
        assert!(flood.output().contains("refused 0\n"), "{}", flood.output());
    }
    for _ in 0..100 {
        assert_eq!(door.order().await.status, 200);
    }
    // Beyond the limit the longest idle ones make way.
    let further = door.flood("further", 500, "idle").await;
    assert!(
        further.output().contains("refused 0\n"),
        "{}",
        further.output()
    );
    assert_eq!(door.order().await.status, 200);
    let grown = door.process.peak_memory() - before;
    let connections = (names.len() * EACH + 500) as u64;
    assert!(grown < connections * CONNECTION, "{grown} bytes more");
}

/// Fewer connections than clients that hold on to them.
async fn flooded(kind: &str) -> (Kafka, Door, Process) {
    let kafka = Kafka::start().await;
    let flags = [
        ("http-max-connections", "400"),
        // None of them ends by itself.
        ("http-read-timeout", "600s"),
        ("http-idle-timeout", "600s"),
    ];
    let door = Door::open(kafka.bootstrap(), &flags).await;
    let flood = door.flood(kind, 1_000, kind).await;
    for _ in 0..20 {
        door.serves().await;
    }
    // Half-sent bodies share 64 MiB, whatever their number.
    let bound = BASE + 400 * CONNECTION + 64 * MIB;
    let peak = door.process.peak_memory();
    assert!(peak < bound, "{peak} bytes");
    (kafka, door, flood)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_silent_connections_locks_nobody_out() {
    flooded("silent").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_half_sent_heads_locks_nobody_out() {
    flooded("head").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_half_sent_bodies_locks_nobody_out() {
    flooded("body").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_event_streams_locks_nobody_out() {
    let (_kafka, door, flood) = flooded("events").await;
    assert!(
        !flood.output().contains("refused 0\n"),
        "{}",
        flood.output()
    );
    let refused = http::get(door.address, "/api/orders/events").await;
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn out_of_file_descriptors_it_makes_room_and_does_not_spin() {
    let kafka = Kafka::start().await;
    let door = Door::open(kafka.bootstrap(), &[]).await;
    let limit = Rlimit {
        current: Some(150),
        maximum: Some(150),
    };
    let id = Pid::from_raw(door.process.id() as i32);
    prlimit(id, Resource::Nofile, limit).unwrap();
    let flood = door.flood("idle", 400, "idle").await;
    assert!(flood.output().contains("refused 0\n"), "{}", flood.output());
    for _ in 0..20 {
        door.serves().await;
    }
    let mut queue = Vec::new();
    for _ in 0..200 {
        queue.push(TcpStream::connect(door.address).await.unwrap());
    }
    let before = door.processor_ticks();
    // Time is what is measured here.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let used = door.processor_ticks() - before;
    assert!(
        used < 50,
        "{used} hundredths of a second of processor time in a second"
    );
    door.serves().await;
    let complaints = door.process.output().matches("cannot accept").count();
    assert!((1..10).contains(&complaints), "{complaints} complaints");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_times_the_send_buffer_at_once_is_refused_and_it_recovers() {
    const BUFFER: u64 = 256 * KIB;
    const ORDER_BYTES: u64 = 60_000;
    // A broker of its own, which can be frozen.
    let folder = TempDir::with_prefix("broker-").unwrap();
    let flags = ["--listen=127.0.0.1:0", "--data-dir=data"].map(str::to_owned);
    let mut broker = Process::start("broker", "broker", folder.path(), &flags);
    let bootstrap = broker.address().await.to_string();
    let buffer = BUFFER.to_string();
    let flags = [("kafka-buffer-memory", &*buffer), ("request-timeout", "2s")];
    let door = Door::open(&bootstrap, &flags).await;
    let before = door.process.peak_memory();

    broker.freeze();
    let product = "x".repeat(ORDER_BYTES as usize);
    let body = format!(r#"{{"product":"{product}","quantity":1}}"#);
    let orders = 100 * BUFFER / ORDER_BYTES;
    let at_once = (0..orders).map(|_| http::post(door.address, "/api/orders", &[], &body));
    let answers = join_all(at_once).await;
    for answer in &answers {
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(answer.header("retry-after").is_some(), "{answer:?}");
        assert!(json(answer)["orderId"].is_string(), "{answer:?}");
    }
    let grown = door.process.peak_memory() - before;
    // Each connection has read its body, and none keeps a second one.
    let bound = BUFFER + orders * (CONNECTION + 2 * ORDER_BYTES);
    assert!(grown < bound, "{grown} bytes more, bound {bound}");

    broker.thaw();
    let id = json(&answers[0])["orderId"].as_str().unwrap().to_owned();
    let again = format!(r#"{{"orderId":"{id}","product":"Laptop","quantity":1}}"#);
    let receipt = eventually(SOON, || async {
        let answer = http::post(door.address, "/api/orders", &[], &again).await;
        (answer.status == 200).then_some(answer)
    })
    .await;
    assert_eq!(json(&receipt)["orderId"], id.as_str());
    assert_eq!(
        http::post(door.address, "/api/orders", &[], ORDER)
            .await
            .status,
        200
    );
}

/// Gives the producer an order's end for the status topic.
fn rejected(producer: &kafka::Producer, topic: &str, id: &str, reason: &str) -> kafka::Delivery {
    let value = serde_json::json!({
        "orderId": id,
        "status": "REJECTED",
        "reason": reason,
        "updatedAt": "2026-01-01T00:00:00Z",
    });
    let value = value.to_string();
    let record = kafka::OutgoingRecord {
        topic,
        partition: Some(0),
        key: Some(id.as_bytes()),
        value: Some(value.as_bytes()),
        headers: &[],
        timestamp: None,
    };
    producer.enqueue(&record).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_events_reaches_those_who_read() {
    const EVENTS: usize = 5_000;
    let kafka = Kafka::start().await;
    let door = Door::open(kafka.bootstrap(), &[]).await;
    let mut reader = http::Events::open(door.address, "/api/orders/events", None).await;
    reader.positioned().await;
    let client = kafka::ClientConfig::new(kafka.bootstrap()).unwrap();
    let producer = kafka::Client::new(client).producer().build().unwrap();
    let ids: Vec<String> = (0..EVENTS).map(|n| format!("burst-{n}")).collect();
    let deliveries: Vec<kafka::Delivery> = ids
        .iter()
        .map(|id| rejected(&producer, &door.status_topic, id, "no"))
        .collect();
    for id in &ids {
        let event = reader.next().await.expect("the stream goes on");
        assert!(event.data.contains(id), "{id}: {}", event.data);
    }
    for delivery in deliveries {
        delivery.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_events_that_does_not_read_is_dropped() {
    const EVENTS: usize = 600;
    let kafka = Kafka::start().await;
    let door = Door::open(kafka.bootstrap(), &[("http-read-timeout", "1s")]).await;
    let mut reader = http::Events::open(door.address, "/api/orders/events", None).await;
    reader.positioned().await;
    let mut sleeper = TcpStream::connect(door.address).await.unwrap();
    sleeper
        .write_all(get("/api/orders/events").as_bytes())
        .await
        .unwrap();
    let mut begun = [0; 15];
    sleeper.read_exact(&mut begun).await.unwrap();
    let before = door.process.peak_memory();

    let client = kafka::ClientConfig::new(kafka.bootstrap()).unwrap();
    let producer = kafka::Client::new(client).producer().build().unwrap();
    let reason = "r".repeat(50_000);
    for n in 0..EVENTS {
        let id = format!("slow-{n}");
        let delivery = rejected(&producer, &door.status_topic, &id, &reason);
        delivery.await.unwrap();
        let event = reader.next().await.expect("the stream goes on");
        assert!(event.data.contains(&id), "{n}");
    }
    let grown = door.process.peak_memory() - before;
    assert!(
        grown < 64 * MIB,
        "{grown} bytes more for {EVENTS} events of 50 kB"
    );

    // What lay in the sockets' buffers, and then the end.
    let mut rest = Vec::new();
    let end = sleeper.read_to_end(&mut rest);
    let _reset_or_end = tokio::time::timeout(SOON, end)
        .await
        .expect("it was dropped");
    assert!(rest.len() < EVENTS * 50_000, "{} bytes", rest.len());
}
