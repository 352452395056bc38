//! The HTTP server over real sockets: what a client can rely on, and what it cannot get away with.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use service::CancellationToken;
use service::config::HttpConfig;
use service::health::Health;
use service::http::{
    EventFrame, HttpMetrics, Listeners, Problem, Request, Response, Router, Server, StatusCode,
    event_stream, json, service_routes, text,
};
use service::metrics::Metrics;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

struct Running {
    address: SocketAddr,
    stop: CancellationToken,
    server: JoinHandle<()>,
    metrics: Metrics,
    health: Health,
}

fn limits() -> HttpConfig {
    HttpConfig {
        addresses: vec!["127.0.0.1:0".parse().unwrap()],
        max_body_bytes: 1_024,
        request_timeout: Duration::from_secs(5),
        max_connections: 100,
        read_timeout: Duration::from_secs(30),
        idle_timeout: Duration::from_secs(30),
    }
}

async fn serve(config: HttpConfig, router: Router) -> Running {
    let (metrics, health) = (Metrics::new(), Health::new());
    let listeners = Listeners::bind(&config.addresses, "HTTP_ADDR")
        .await
        .unwrap();
    let address = listeners.addresses()[0];
    let stop = CancellationToken::new();
    let router = router.merge(service_routes(&health, &metrics, "{\"openapi\":\"3.1.0\"}"));
    let server = Server::new(router, &config, &HttpMetrics::new(&metrics));
    let server = tokio::spawn(server.serve(listeners, stop.clone()));
    Running {
        address,
        stop,
        server,
        metrics,
        health,
    }
}

async fn echo((): (), mut request: Request) -> Result<Response, Problem> {
    let body = request.json().await?;
    Ok(text(StatusCode::OK, body))
}

fn routes() -> Router {
    Router::new()
        .post("/echo", (), echo)
        .get("/orders/{orderId}", (), async |(), request: Request| {
            let seen = serde_json::json!({
                "id": request.parameter("orderId"),
                "limit": request.query("limit"),
            });
            Ok(json(StatusCode::OK, &seen))
        })
        .taking(&["limit"])
        .post("/bare", (), async |(), mut request: Request| {
            let body = request.json_or_nothing().await?;
            Ok(text(StatusCode::OK, body))
        })
}

/// Sends raw bytes, reads until the server closes or `enough` says so.
async fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    read_answer(&mut stream).await
}

/// One answer with a Content-Length, or all there is until the connection ends.
async fn read_answer(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let mut chunk = [0; 4_096];
    loop {
        if let Some(end) = answer.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
            let length = head
                .lines()
                .find_map(|l| l.strip_prefix("content-length: "))
                .map(|l| l.parse::<usize>().unwrap());
            if length.is_some_and(|length| answer.len() >= end + 4 + length) {
                break;
            }
        }
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => break,
            Ok(n) => answer.extend_from_slice(&chunk[..n]),
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

fn post(body: &str, headers: &str) -> Vec<u8> {
    format!(
        "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
    .into_bytes()
}

const JSON: &str = "content-type: application/json; charset=utf-8\r\n";

#[tokio::test]
async fn requests_are_routed_and_mistakes_are_problems() {
    let running = serve(limits(), routes()).await;
    let at = running.address;
    let ok = exchange(at, &post("{\"a\":1}", JSON)).await;
    assert!(
        ok.starts_with("HTTP/1.1 200") && ok.ends_with("{\"a\":1}"),
        "{ok}"
    );

    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").into_bytes();
    let seen = exchange(at, &get("/orders/a%20%D1%8F?limit=5&")).await;
    assert!(seen.ends_with("{\"id\":\"a я\",\"limit\":\"5\"}"), "{seen}");

    let absent = exchange(at, &get("/nowhere")).await;
    assert!(absent.starts_with("HTTP/1.1 404"), "{absent}");
    assert!(absent.contains("application/problem+json"), "{absent}");

    let method = exchange(at, &get("/echo")).await;
    assert!(
        method.starts_with("HTTP/1.1 405") && method.contains("allow: POST"),
        "{method}"
    );

    let untyped = exchange(at, &post("{}", "")).await;
    assert!(untyped.starts_with("HTTP/1.1 415"), "{untyped}");

    let escape = exchange(at, &get("/orders/%ff")).await;
    assert!(escape.starts_with("HTTP/1.1 400"), "{escape}");

    let text = running.metrics.render();
    assert!(
        text.contains(
            "http_server_request_duration_seconds_count{http_request_method=\"POST\",\
             http_route=\"/echo\",http_response_status_code=\"200\"} 1"
        ),
        "{text}"
    );
}

#[tokio::test]
async fn a_query_parameter_that_the_route_does_not_know_is_refused_and_the_known_ones_are_named() {
    let running = serve(limits(), routes()).await;
    let ask = async |line: &str| {
        let request = format!("{line} HTTP/1.1\r\nhost: x\r\n\r\n");
        exchange(running.address, request.as_bytes()).await
    };
    let answer = ask("GET /orders/1?limit=5&lim%69t=6&Limit=1&user_id=ann").await;
    assert!(answer.starts_with("HTTP/1.1 422"), "{answer}");
    for told in [
        r#""field":"Limit""#,
        r#""field":"user_id""#,
        "is unknown: this route takes the query parameters limit",
    ] {
        assert!(answer.contains(told), "{told}: {answer}");
    }
    for wrong in [
        "GET /livez?x",
        "HEAD /livez?x",
        "GET /readyz?strikt",
        "POST /bare?=1",
    ] {
        let answer = ask(wrong).await;
        assert!(answer.starts_with("HTTP/1.1 422"), "{answer}");
    }
    let many: String = (0..500)
        .map(|i| format!("{i}{}&", "x".repeat(10)))
        .collect();
    let answer = ask(&format!("GET /livez?{}", &many[..6_000])).await;
    assert!(answer.len() < 2_000, "{answer}");
    for right in ["GET /livez?", "GET /livez?&", "GET /orders/1?lim%69t=6"] {
        let answer = ask(right).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{right}: {answer}");
    }
}

#[tokio::test]
async fn bodies_that_are_compressed_or_in_another_charset_are_named_as_such() {
    let running = serve(limits(), routes()).await;
    let send = async |path: &str, headers: &str, body: &[u8]| {
        let length = match headers.contains("transfer-encoding") {
            true => String::new(),
            false => format!("content-length: {}\r\n", body.len()),
        };
        let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\n{length}{headers}\r\n");
        exchange(running.address, &[head.as_bytes(), body].concat()).await
    };
    let json = "content-type: application/json\r\n";
    let utf16: Vec<u8> = "{\"a\":1}"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let marked: Vec<u8> = [&[0xfe, 0xff][..], "{}".as_bytes()].concat();
    let utf32: Vec<u8> = "{}"
        .chars()
        .flat_map(|c| (c as u32).to_be_bytes())
        .collect();
    for path in ["/echo", "/bare"] {
        for (headers, body) in [
            (format!("{json}content-encoding: gzip\r\n"), &b"{}"[..]),
            (format!("{json}content-encoding: identity, br\r\n"), b"{}"),
            (
                "content-type: application/json; charset=utf-16\r\n".into(),
                b"{}",
            ),
            (
                "content-type: application/json;CHARSET=\"cp1251\"\r\n".into(),
                b"{}",
            ),
            (json.into(), &utf16),
            (json.into(), &marked),
            (json.into(), &utf32),
        ] {
            let answer = send(path, &headers, body).await;
            assert!(answer.starts_with("HTTP/1.1 415"), "{headers}: {answer}");
        }
        let gzip = format!("{json}transfer-encoding: gzip, chunked\r\n");
        let answer = send(path, &gzip, b"2\r\n{}\r\n0\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 501"), "{answer}");
        assert!(answer.contains("application/problem+json"), "{answer}");
        for headers in [
            format!("{json}content-encoding: identity\r\n"),
            "content-type: application/json; charset=\"UTF-8\"\r\n".into(),
            "content-type: Application/JSON;charset=us-ascii\r\n".into(),
        ] {
            let answer = send(path, &headers, b"{}").await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{headers}: {answer}");
        }
    }
    // Of a body that is not there, nothing need be said.
    let answer = send("/bare", "", b"").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn bodies_and_heads_are_bounded() {
    let running = serve(limits(), routes()).await;
    let at = running.address;
    let declared = exchange(
        at,
        format!("POST /echo HTTP/1.1\r\nhost: x\r\n{JSON}content-length: 1000000000\r\n\r\n")
            .as_bytes(),
    )
    .await;
    assert!(declared.starts_with("HTTP/1.1 413"), "{declared}");

    let chunk = "a".repeat(600);
    let chunked = exchange(
        at,
        format!(
            "POST /echo HTTP/1.1\r\nhost: x\r\n{JSON}transfer-encoding: chunked\r\n\r\n\
             258\r\n{chunk}\r\n258\r\n{chunk}\r\n0\r\n\r\n"
        )
        .as_bytes(),
    )
    .await;
    assert!(chunked.starts_with("HTTP/1.1 413"), "{chunked}");

    let many: String = (0..200).map(|i| format!("x-{i}: y\r\n")).collect();
    let many = exchange(
        at,
        format!("GET /livez HTTP/1.1\r\nhost: x\r\n{many}\r\n").as_bytes(),
    )
    .await;
    assert!(many.starts_with("HTTP/1.1 431"), "{many}");

    let long = "y".repeat(40_000);
    let long = exchange(
        at,
        format!("GET /livez HTTP/1.1\r\nx: {long}\r\n\r\n").as_bytes(),
    )
    .await;
    assert!(long.starts_with("HTTP/1.1 431"), "{long}");

    for length in [9_000, 100_000] {
        let uri = "u".repeat(length);
        let request = format!("GET /{uri} HTTP/1.1\r\nhost: x\r\n\r\n");
        let answer = exchange(at, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 414"), "{answer}");
        let behind = format!("GET /livez HTTP/1.1\r\nhost: x\r\n\r\n{request}");
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.write_all(behind.as_bytes()).await.unwrap();
        assert!(read_answer(&mut stream).await.starts_with("HTTP/1.1 200"));
    }

    let malformed = exchange(
        at,
        format!("POST /echo HTTP/1.1\r\nhost: x\r\n{JSON}transfer-encoding: chunked\r\n\r\nzz\r\n")
            .as_bytes(),
    )
    .await;
    assert!(malformed.starts_with("HTTP/1.1 400"), "{malformed}");
}

#[tokio::test]
async fn a_body_in_pieces_is_put_together() {
    let running = serve(limits(), routes()).await;
    let answer = exchange(
        running.address,
        format!(
            "POST /echo HTTP/1.1\r\nhost: x\r\n{JSON}transfer-encoding: chunked\r\n\r\n\
             2\r\nab\r\n2\r\ncd\r\n1\r\ne\r\n0\r\n\r\n"
        )
        .as_bytes(),
    )
    .await;
    assert!(answer.ends_with("abcde"), "{answer}");
}

#[tokio::test]
async fn slow_heads_bodies_and_idlers_are_let_go() {
    let config = HttpConfig {
        read_timeout: Duration::from_millis(250),
        idle_timeout: Duration::from_millis(500),
        ..limits()
    };
    let running = serve(config, routes()).await;
    // Each ends by the server's doing, or the test hangs.
    let slow_head = exchange(running.address, b"GET /livez HTT").await;
    assert!(slow_head.starts_with("HTTP/1.1 408"), "{slow_head}");
    let idle = exchange(running.address, b"").await;
    assert_eq!(idle, "");
    let half = format!("POST /echo HTTP/1.1\r\nhost: x\r\n{JSON}content-length: 9\r\n\r\nabc");
    let half = exchange(running.address, half.as_bytes()).await;
    assert!(half.starts_with("HTTP/1.1 408"), "{half}");
}

#[tokio::test]
async fn idle_connections_make_room_for_new_ones() {
    let config = HttpConfig {
        max_connections: 10,
        ..limits()
    };
    let running = serve(config, routes()).await;
    let mut idlers = Vec::new();
    for _ in 0..10 {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream
            .write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        assert!(read_answer(&mut stream).await.contains("alive"));
        idlers.push(stream);
    }
    for _ in 0..50 {
        let answer = exchange(running.address, b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(answer.contains("alive"), "{answer}");
    }
}

#[tokio::test]
async fn busy_connections_are_not_pushed_out_and_the_next_gets_503() {
    let (entered, mut entries) = mpsc::channel(10);
    let router = Router::new().get("/wait", entered, async |entered: mpsc::Sender<()>, _| {
        entered.send(()).await.unwrap();
        std::future::pending::<()>().await;
        Ok(text(StatusCode::OK, ""))
    });
    let config = HttpConfig {
        max_connections: 2,
        ..limits()
    };
    let running = serve(config, router).await;
    let mut busy = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream
            .write_all(b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        entries.recv().await.unwrap();
        busy.push(stream);
    }
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let refused = read_answer(&mut stream).await;
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    assert!(refused.contains("application/problem+json"), "{refused}");
    assert!(refused.contains("retry-after: 1"), "{refused}");
}

#[tokio::test]
async fn requests_that_arrive_slowly_make_room_for_new_ones() {
    let config = HttpConfig {
        max_connections: 3,
        ..limits()
    };
    let running = serve(config, routes()).await;
    let mut slow = Vec::new();
    let half = format!("POST /echo HTTP/1.1\r\nhost: x\r\n{JSON}content-length: 9\r\n\r\nabc");
    for begun in ["GET /livez HTT", "GET /livez HTTP/1.1\r\nx:", &half] {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(begun.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    // Long before the read timeout of half a minute.
    testkit::eventually(Duration::from_secs(20), || async {
        let answer = exchange(running.address, b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await;
        answer.contains("alive").then_some(())
    })
    .await;
}

#[tokio::test]
async fn event_streams_leave_connections_for_requests() {
    let stop = CancellationToken::new();
    let router = Router::new().get("/events", stop, async |stop: CancellationToken, _| {
        let (sender, response) = event_stream(8, &stop);
        tokio::spawn(async move { sender.closed().await });
        Ok(response)
    });
    let config = HttpConfig {
        max_connections: 4,
        ..limits()
    };
    let running = serve(config, router).await;
    let mut streams = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream
            .write_all(b"GET /events HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        let mut begun = [0; 15];
        stream.read_exact(&mut begun).await.unwrap();
        assert_eq!(&begun, b"HTTP/1.1 200 OK");
        streams.push(stream);
    }
    let refused = exchange(running.address, b"GET /events HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    let answer = exchange(running.address, b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(answer.contains("alive"), "{answer}");
}

#[tokio::test]
async fn stopping_answers_what_is_in_flight_and_ends_streams() {
    let stop_streams = CancellationToken::new();
    let (entered, mut entries) = mpsc::channel::<oneshot::Sender<()>>(1);
    let router = Router::new()
        .get("/wait", entered, async |entered: mpsc::Sender<_>, _| {
            let (go, gone) = oneshot::channel::<()>();
            entered.send(go).await.unwrap();
            gone.await.unwrap();
            Ok(text(StatusCode::OK, Bytes::from_static(b"finished")))
        })
        .get(
            "/events",
            stop_streams.clone(),
            async |stop: CancellationToken, _| {
                let (sender, response) = event_stream(8, &stop);
                assert!(sender.try_send(EventFrame::new(Some("1"), Some("status"), "{}")));
                // Held until the client or the service goes.
                tokio::spawn(async move { sender.closed().await });
                Ok(response)
            },
        );
    let running = serve(limits(), router).await;
    let mut events = TcpStream::connect(running.address).await.unwrap();
    events
        .write_all(b"GET /events HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut seen = String::new();
    while !seen.contains("data: {}") {
        let mut chunk = [0; 512];
        let n = events.read(&mut chunk).await.unwrap();
        assert!(n > 0, "{seen}");
        seen.push_str(&String::from_utf8_lossy(&chunk[..n]));
    }
    assert!(seen.contains("text/event-stream"), "{seen}");

    let mut waiting = TcpStream::connect(running.address).await.unwrap();
    waiting
        .write_all(b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let go = entries.recv().await.unwrap();
    let idle = TcpStream::connect(running.address).await.unwrap();

    running.stop.cancel();
    stop_streams.cancel();
    go.send(()).unwrap();
    let answer = read_answer(&mut waiting).await;
    assert!(answer.ends_with("finished"), "{answer}");
    let mut rest = String::new();
    events.read_to_string(&mut rest).await.unwrap();
    assert!(
        rest.ends_with("0\r\n\r\n"),
        "the stream ends orderly: {rest:?}"
    );
    running.server.await.unwrap();
    drop(idle);
    assert!(TcpStream::connect(running.address).await.is_err());
}

/// A client cannot know that the server stops while it sends on a connection that it kept.
#[tokio::test]
async fn a_request_that_comes_as_the_server_stops_is_answered_as_the_last() {
    let request = b"GET /orders/7 HTTP/1.1\r\nhost: x\r\n\r\n";
    let running = serve(limits(), routes()).await;
    let mut kept = TcpStream::connect(running.address).await.unwrap();
    kept.write_all(request).await.unwrap();
    let answer = read_answer(&mut kept).await;
    assert!(!answer.contains("connection: close"), "{answer}");

    running.stop.cancel();
    while TcpStream::connect(running.address).await.is_ok() {}
    kept.write_all(request).await.unwrap();
    let answer = read_answer(&mut kept).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
    assert!(answer.contains("connection: close"), "{answer}");
    assert_eq!(kept.read(&mut [0]).await.unwrap(), 0);
    running.server.await.unwrap();
}

#[tokio::test]
async fn readiness_tells_what_was_never_reached_from_what_was_lost() {
    let running = serve(limits(), routes()).await;
    let kafka = running.health.required("kafka");
    let database = running.health.optional("database");
    let ask = |path: &'static str| {
        let address = running.address;
        async move {
            exchange(
                address,
                format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes(),
            )
            .await
        }
    };
    let not_yet = ask("/readyz").await;
    assert!(
        not_yet.starts_with("HTTP/1.1 503") && not_yet.contains("kafka"),
        "{not_yet}"
    );
    kafka.up();
    database.down("connection refused");
    let ready = ask("/readyz").await;
    assert!(
        ready.starts_with("HTTP/1.1 200") && ready.contains("connection refused"),
        "{ready}"
    );
    let strict = ask("/readyz?strict").await;
    assert!(
        strict.starts_with("HTTP/1.1 503") && strict.contains("database"),
        "{strict}"
    );
    kafka.down("no broker answers");
    let lost = ask("/readyz").await;
    assert!(
        lost.starts_with("HTTP/1.1 200") && lost.contains("no broker answers"),
        "{lost}"
    );
    database.refused("password authentication failed");
    let refused = ask("/readyz").await;
    assert!(
        refused.starts_with("HTTP/1.1 503") && refused.contains("password authentication"),
        "{refused}"
    );
    running.health.shut_down();
    assert!(ask("/readyz").await.contains("shutting down"));
    assert!(ask("/livez").await.starts_with("HTTP/1.1 200"));
    assert!(ask("/openapi.json").await.contains("3.1.0"));
    let metrics = ask("/metrics").await;
    assert!(
        metrics.contains("text/plain; version=0.0.4") && !metrics.contains("# EOF"),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_taken_main_address_is_an_error_and_a_taken_extra_one_is_not() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = taken.local_addr().map(|a| (a, taken)).unwrap();
    let free: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let both = Listeners::bind(&[free, taken.0], "HTTP_ADDR")
        .await
        .unwrap();
    assert_eq!(both.addresses().len(), 1);
    let error = Listeners::bind(&[taken.0, free], "HTTP_ADDR")
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(&taken.0.to_string()) && error.contains("HTTP_ADDR"),
        "{error}"
    );
}
