//! The API of operators, and who is let in.

#[path = "support/letter.rs"]
mod letter;
#[path = "support/scene.rs"]
mod scene;

use std::time::Duration;

use kafka::{NewTopic, OutgoingRecord};
use scene::{Running, SOON, Scene};
use serde_json::{Value, json};
use testkit::http::Events;
use testkit::{ApiKey, Kafka, ResponseError, eventually, http, unique};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// `admin:admin`.
const DEFAULT: (&str, &str) = ("authorization", "Basic YWRtaW46YWRtaW4=");

/// A shared Kafka lists the topics of all other tests too.
const UNHURRIED: (&str, &str) = ("REQUEST_TIMEOUT", "30s");

/// A GET that is let in: status and document.
async fn get(service: &Running, path: &str) -> (u16, Value) {
    let answer = http::request(service.address, "GET", path, &[DEFAULT], "").await;
    let document = serde_json::from_str(&answer.body)
        .unwrap_or_else(|error| panic!("{path}: {error} in {}", answer.body));
    (answer.status, document)
}

#[tokio::test]
async fn who_has_not_the_password_is_asked_for_it() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    let service = scene
        .start_ready(&[
            ("ADMIN_USER", "chief"),
            ("ADMIN_PASSWORD", "secret7"),
            UNHURRIED,
        ])
        .await;
    let ask = |headers: &'static [(&str, &str)]| {
        http::request(service.address, "GET", "/api/admin/topics", headers, "")
    };
    for headers in [&[][..], &[DEFAULT]] {
        let answer = ask(headers).await;
        assert_eq!(answer.status, 401, "{}", answer.body);
        assert_eq!(
            answer.header("www-authenticate"),
            Some(r#"Basic realm="shop administration", charset="UTF-8""#)
        );
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json")
        );
        assert!(!answer.body.contains("secret7"));
    }
    // `chief:secret7`, also forwarded: this password is one's own.
    let right = ("authorization", "Basic Y2hpZWY6c2VjcmV0Nw==");
    for headers in [&[right][..], &[right, ("x-forwarded-for", "192.0.2.7")]] {
        let answer = http::request(service.address, "GET", "/api/admin/topics", headers, "").await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("x-frame-options"), Some("DENY"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    }
    service.end().await.unwrap();
}

#[tokio::test]
async fn with_the_default_password_only_this_machine_is_answered() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    let service = scene.start_ready(&[UNHURRIED]).await;
    assert_eq!(get(&service, "/api/admin/topics").await.0, 200);
    for header in [("x-forwarded-for", "127.0.0.1"), ("via", "1.1 proxy")] {
        let answer = http::request(
            service.address,
            "GET",
            "/api/admin/topics",
            &[DEFAULT, header],
            "",
        )
        .await;
        assert_eq!(answer.status, 403, "{}", answer.body);
        assert!(answer.body.contains("ADMIN_PASSWORD"), "{}", answer.body);
    }
    // A second Host, and a name that somebody made to lead here.
    for path in ["/api/admin/topics", "http://evil.example/api/admin/topics"] {
        let host = [DEFAULT, ("host", "evil.example")];
        let answer = http::request(service.address, "GET", path, &host, "").await;
        assert_eq!(answer.status, 403, "{}", answer.body);
    }
    // As a proxy on this machine asks that adds no header.
    let mut stream = TcpStream::connect(service.address).await.unwrap();
    let (name, value) = DEFAULT;
    let sent = format!(
        "GET /api/admin/topics HTTP/1.0\r\nHost: {}\r\nConnection: close\r\n{name}: {value}\r\n\r\n",
        service.address
    );
    stream.write_all(sent.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer.split(' ').nth(1), Some("403"), "{answer}");
    assert!(answer.contains("ADMIN_PASSWORD"), "{answer}");
    service.end().await.unwrap();
}

#[tokio::test]
async fn topics_are_listed_with_their_offsets() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    let service = scene.start_ready(&[UNHURRIED]).await;
    service.place().await;
    let (status, topics) = get(&service, "/api/admin/topics").await;
    assert_eq!(status, 200);
    let orders = topics
        .as_array()
        .unwrap()
        .iter()
        .find(|topic| topic["topic"] == scene.order_topic)
        .expect("the orders' topic");
    let partitions = orders["partitions"].as_array().unwrap();
    assert_eq!(partitions.len(), 3);
    let sum = |name: &str| {
        let of = |p: &Value| p[name].as_i64().unwrap();
        partitions.iter().map(of).sum::<i64>()
    };
    assert_eq!((sum("first"), sum("end")), (0, 1), "{orders}");
    service.end().await.unwrap();
}

#[tokio::test]
async fn without_kafka_the_api_says_so() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    let service = scene
        .start(&[
            ("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1"),
            ("REQUEST_TIMEOUT", "500ms"),
            ("ORDER_TOPIC", &unique("never")),
        ])
        .await;
    // An answer that falls between two attempts to connect does not know why they fail.
    eventually(SOON, || async {
        let (status, problem) = get(&service, "/api/admin/topics").await;
        assert_eq!(status, 503, "{problem}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("Kafka did not answer"), "{detail}");
        detail.contains("127.0.0.1:1").then_some(())
    })
    .await;
    service.end().await.unwrap();
}

/// A POST that is let in, as a program sends it.
async fn post(service: &Running, path: &str) -> (u16, Value) {
    let headers = [DEFAULT, ("x-requested-with", "test")];
    let answer = http::request(service.address, "POST", path, &headers, "").await;
    (answer.status, serde_json::from_str(&answer.body).unwrap())
}

#[tokio::test]
async fn groups_are_listed_with_members_and_lag() {
    // One that does not hold the groups of all other tests, each of which is asked about.
    let kafka = Kafka::own_broker().await;
    let scene = Scene::new(&kafka).await;
    let service = scene.start_ready(&[]).await;
    let id = service.place().await;
    service.order(&id, "ACCEPTED").await;
    let group = eventually(SOON, || async {
        let (_, groups) = get(&service, "/api/admin/groups").await;
        let groups = groups.as_array()?;
        let group = groups.iter().find(|group| group["group"] == scene.group)?;
        // Committed in its own time.
        let caught_up = group["partitions"].as_array()?.len() == 9 && group["lag"] == 0;
        caught_up.then(|| group.clone())
    })
    .await;
    assert_eq!(group["state"], "Stable");
    let members = group["members"].as_array().unwrap();
    assert_eq!(members.len(), 1, "{group}");
    assert_eq!(members[0]["clientId"], "producer-svc");
    for partition in group["partitions"].as_array().unwrap() {
        assert_eq!(partition["memberId"], members[0]["memberId"], "{partition}");
        assert_eq!(partition["committed"], partition["end"], "{partition}");
    }
    service.end().await.unwrap();
}

#[tokio::test]
async fn the_newest_messages_of_a_topic_are_shown() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    let service = scene.start_ready(&[]).await;
    let producer = scene.producer();
    let long = "x".repeat(5_000);
    for (key, value) in [("1", "first"), ("2", &*long), ("3", "<script>")] {
        let record = OutgoingRecord {
            topic: &scene.orders_topic,
            partition: Some(1),
            key: Some(key.as_bytes()),
            value: Some(value.as_bytes()),
            headers: &[(b"h", Some(b"\xff")), (b"n", None)],
            ..OutgoingRecord::default()
        };
        producer.send(&record).await.unwrap();
    }
    let path = format!("/api/admin/topics/{}/messages", scene.orders_topic);
    let (status, found) = get(&service, &path).await;
    assert_eq!(status, 200, "{found}");
    assert_eq!(found["complete"], true);
    let messages = found["messages"].as_array().unwrap();
    let offsets: Vec<_> = messages.iter().map(|m| m["offset"].as_i64()).collect();
    assert_eq!(offsets, [Some(2), Some(1), Some(0)], "the newest first");
    assert_eq!(
        messages[0]["value"],
        json!({"text": "<script>", "bytes": 8, "cut": false})
    );
    assert_eq!(messages[0]["key"]["text"], "3");
    assert_eq!(messages[0]["partition"], 1);
    assert_eq!(
        messages[0]["headers"],
        json!([
            {"name": "h", "value": {"text": "\\xff", "bytes": 1, "cut": false}},
            {"name": "n", "value": null}
        ])
    );
    let cut = &messages[1]["value"];
    assert_eq!((&cut["bytes"], &cut["cut"]), (&json!(5_000), &json!(true)));
    assert_eq!(cut["text"].as_str().unwrap().len(), 4_096);

    let (_, one) = get(&service, &format!("{path}?limit=1&partition=1")).await;
    assert_eq!(one["messages"].as_array().unwrap().len(), 1);
    assert_eq!(one["messages"][0]["offset"], 2);
    let (_, none) = get(&service, &format!("{path}?partition=0")).await;
    assert_eq!(none["messages"], json!([]));
    for (path, status) in [
        (format!("{path}?limit=0"), 422),
        (format!("{path}?limit=100000"), 422),
        (format!("{path}?partition=-1"), 422),
        (format!("{path}?partition=77"), 404),
        (format!("/api/admin/topics/{}/messages", unique("no")), 404),
    ] {
        let (answered, problem) = get(&service, &path).await;
        assert_eq!(answered, status, "{path}: {problem}");
    }
    service.end().await.unwrap();
}

#[tokio::test]
async fn a_dead_letter_is_listed_shown_and_replayed_once() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    let service = scene.start_ready(&[]).await;
    let place = letter::add(&scene, "no order", "<b>quantity</b> is missing").await;
    let listed = async || {
        let path = format!("/api/admin/dead-letters?topic={}", place.topic);
        let (status, listed) = get(&service, &path).await;
        assert_eq!(
            (status, &listed["complete"]),
            (200, &json!(true)),
            "{listed}"
        );
        let letters = listed["letters"].as_array().unwrap();
        let found = letters.iter().find(|letter| letter["topic"] == place.topic);
        found.expect("the letter").clone()
    };
    let letter = listed().await;
    assert_eq!(letter["group"], "order-processing");
    assert_eq!(letter["reason"], "<b>quantity</b> is missing");
    assert_eq!(letter["value"]["text"], "no order");
    assert_eq!(letter["replayedTo"], Value::Null);
    let source = json!({"topic": scene.orders_topic, "partition": 2, "offset": 17});
    assert_eq!(letter["source"], source);

    let path = format!("/api/admin/dead-letters/{place}");
    let (status, shown) = get(&service, &path).await;
    assert_eq!(status, 200, "{shown}");
    assert_eq!(shown["headers"].as_array().unwrap().len(), 7);

    // Another site's page may not.
    let foreign = [DEFAULT, ("origin", "http://evil.example")];
    let answer = http::request(
        service.address,
        "POST",
        &format!("{path}/replay"),
        &foreign,
        "",
    )
    .await;
    assert_eq!(answer.status, 403, "{}", answer.body);

    let (status, replayed) = post(&service, &format!("{path}/replay")).await;
    assert_eq!(status, 200, "{replayed}");
    let there = json!({"topic": scene.orders_topic, "partition": 2, "offset": 0});
    assert_eq!(replayed["replayedTo"], there);
    let records = scene.records(&scene.orders_topic, 1).await;
    assert_eq!(records[0].value.as_deref(), Some(&b"no order"[..]));
    let header = |name: &str| records[0].headers.get_str(name);
    assert_eq!(header("dlt-replay-of"), Some(&*place.to_string()));
    assert_eq!(header("dlt-consumer-group"), Some("order-processing"));

    assert_eq!(listed().await["replayedTo"], there);
    assert_eq!(get(&service, &path).await.1["replayedTo"], there);
    let (status, refused) = post(&service, &format!("{path}/replay")).await;
    assert_eq!((status, &refused["replayedTo"]), (409, &there), "{refused}");
    let (status, forced) = post(&service, &format!("{path}/replay?force=true")).await;
    assert_eq!(status, 200, "{forced}");
    assert_eq!(forced["replayedTo"]["offset"], 1);

    for path in [
        "/api/admin/dead-letters?topic=no-such-dlt".to_owned(),
        "/api/admin/dead-letters/no-such-dlt/0/0".to_owned(),
        format!("/api/admin/dead-letters/{}/x/0", place.topic),
        format!("/api/admin/dead-letters/{}/0/0", scene.orders_topic),
    ] {
        let (status, problem) = get(&service, &path).await;
        assert_eq!(status, 404, "{path}: {problem}");
    }
    service.end().await.unwrap();
}

#[tokio::test]
async fn offsets_that_nobody_can_read_are_passed_over_on_the_pages_word() {
    let kafka = Kafka::own_broker().await;
    let scene = Scene::new(&kafka).await;
    let service = scene.start_ready(&[]).await;
    // 121 bytes that call themselves a batch of three records, and are none.
    let mut garbage = vec![0xa5; 121];
    garbage[..8].fill(0);
    garbage[8..12].copy_from_slice(&109_i32.to_be_bytes());
    garbage[16] = 2;
    garbage[23..27].copy_from_slice(&2_i32.to_be_bytes());
    let broker = kafka.broker().unwrap();
    let planted = broker.plant(&scene.orders_topic, 2, 0, garbage);
    assert_eq!(planted.unwrap(), 0);
    eventually(SOON, || async {
        let answer = http::get(service.address, "/readyz").await;
        answer.body.contains("dlt skip").then_some(())
    })
    .await;

    let skip = |more: &str| {
        let topic = &scene.orders_topic;
        format!("/api/admin/dead-letters/skip?first={topic}/2/0{more}")
    };
    let foreign = [DEFAULT, ("origin", "http://evil.example")];
    let path = skip("&last=2");
    let answer = http::request(service.address, "POST", &path, &foreign, "").await;
    assert_eq!(answer.status, 403, "{}", answer.body);
    for (more, status) in [
        ("", 422),
        ("&last=x", 422),
        ("&last=-1", 422),
        ("&last=2&group=", 422),
        ("&last=2&beyond=yes", 422),
        ("&last=3&group=g", 409),
    ] {
        let (answered, problem) = post(&service, &skip(more)).await;
        assert_eq!(answered, status, "{more}: {problem}");
        let names_field = problem["errors"][0]["field"].is_string();
        assert_eq!(names_field, status == 422, "{more}: {problem}");
    }
    // The group whose commit stands there is the service's own.
    let told = eventually(SOON, || async {
        let (status, told) = post(&service, &skip("&last=2")).await;
        (status == 200).then_some(told)
    })
    .await;
    let letter = &told["told"][0]["letter"];
    assert_eq!(letter["topic"], format!("{}-dlt", scene.orders_topic));
    eventually(SOON, || async {
        let answer = http::get(service.address, "/readyz?strict").await;
        (answer.status == 200).then_some(())
    })
    .await;
    let path = format!(
        "/api/admin/dead-letters/{}/2/{}",
        letter["topic"].as_str().unwrap(),
        letter["offset"]
    );
    let (status, shown) = get(&service, &path).await;
    assert_eq!(
        (status, &shown["passedOverTo"]),
        (200, &json!(2)),
        "{shown}"
    );
    let (status, refused) = post(&service, &format!("{path}/replay")).await;
    assert_eq!(status, 409, "{refused}");
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.contains("no record to replay"), "{detail}");
    service.end().await.unwrap();
}

/// Records that are no business of a replay, each so large that it takes a fetch of its own.
const OTHERS: u64 = 20;

#[tokio::test]
async fn replaying_one_letter_reads_what_may_be_of_it_alone() {
    let kafka = Kafka::own_broker().await;
    let scene = Scene::new(&kafka).await;
    let service = scene.start_ready(&[]).await;
    // A topic that nobody consumes, so that the letters here are the only ones.
    let source = unique("source");
    let letters = format!("{source}-dlt");
    let new = [&source, &letters].map(|name| NewTopic::new(name, 2, 1));
    scene.client().admin().create_topics(&new).await.unwrap();
    let producer = scene.producer();
    let send = async |topic: &str, partition, value: &[u8], headers: &[(&str, &str)]| {
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.as_bytes(), Some(value.as_bytes())))
            .collect();
        let record = OutgoingRecord {
            topic,
            partition: Some(partition),
            value: Some(value),
            headers: &headers,
            ..OutgoingRecord::default()
        };
        producer.send(&record).await.unwrap().offset
    };
    let large = vec![b'x'; 700_000];
    for _ in 0..OTHERS {
        send(&letters, 0, &large, &[]).await;
        send(&letters, 1, &large, &[]).await;
        send(&source, 0, &large, &[]).await;
    }
    let headers = [
        ("dlt-original-topic", &*source),
        ("dlt-original-partition", "0"),
        ("dlt-original-offset", "0"),
    ];
    let letter = send(&letters, 0, b"letter", &headers).await;
    let path = format!("/api/admin/dead-letters/{letters}/0/{letter}/replay");
    let faults = kafka.faults();
    let fetches = [&letters, &source].map(|topic| {
        faults
            .on(ApiKey::Fetch)
            .topic(topic)
            .always()
            .delay(Duration::ZERO)
    });
    let mut before = [0, 0];
    let mut check_fetches = || {
        let now = fetches.each_ref().map(|fetches| fetches.hits());
        let [of_letters, of_source] = [0, 1].map(|at| now[at] - before[at]);
        assert!(of_letters < OTHERS, "{of_letters} fetches of letters");
        assert!(of_source < OTHERS, "{of_source} fetches of the source");
        before = now;
    };

    let refused = faults
        .on(ApiKey::Produce)
        .topic(&source)
        .error(ResponseError::TopicAuthorizationFailed);
    let (status, problem) = post(&service, &path).await;
    assert_eq!((status, refused.hits()), (503, 1), "{problem}");
    check_fetches();
    // Now there is a claim, and the replay may be anywhere behind where the source ended then.
    let (status, replayed) = post(&service, &path).await;
    assert_eq!(status, 200, "{replayed}");
    assert_eq!(replayed["replayedTo"]["offset"], OTHERS, "{replayed}");
    check_fetches();
    service.end().await.unwrap();
}

#[tokio::test]
async fn the_cluster_is_streamed_as_it_changes() {
    // One that does not hold the groups of all other tests, each of which is asked about.
    let kafka = Kafka::own_broker().await;
    let scene = Scene::new(&kafka).await;
    let service = scene.start_ready(&[]).await;
    let mut events =
        Events::open_with(service.address, "/api/admin/events", &[DEFAULT], None).await;
    let mut orders = async || {
        let event = events.next().await.expect("the stream goes on");
        assert_eq!(event.name, "cluster");
        let seen: Value = serde_json::from_str(&event.data).unwrap();
        assert_eq!(seen["services"][0]["name"], "producer-svc", "{seen}");
        // Neither where the broker was too slow for one look.
        let topics = seen["topics"].as_array().unwrap().clone();
        let topic = topics.iter().find(|t| t["topic"] == scene.order_topic)?;
        let ends = topic["partitions"].as_array().unwrap().iter();
        Some(ends.map(|p| p["end"].as_i64().unwrap()).sum::<i64>())
    };
    let both = async {
        while orders().await != Some(0) {}
        service.place().await;
        while orders().await != Some(1) {}
    };
    tokio::time::timeout(SOON * 2, both)
        .await
        .expect("both states of the topic in the stream");
    service.end().await.unwrap();
}

#[tokio::test]
async fn the_page_comes_with_a_strict_policy_and_is_kept_by_browsers() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    let service = scene.start_ready(&[]).await;
    assert_eq!(http::get(service.address, "/admin").await.status, 401);
    let ask = async |path: &str, headers: &[(&str, &str)]| {
        let mut all = vec![DEFAULT];
        all.extend_from_slice(headers);
        http::request(service.address, "GET", path, &all, "").await
    };
    let page = ask("/admin", &[]).await;
    assert_eq!(page.status, 200);
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    let policy = page.header("content-security-policy").unwrap();
    for part in [
        "default-src 'none'",
        "script-src 'self';",
        "frame-ancestors 'none'",
    ] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    // What the page loads is there, and nothing comes from elsewhere.
    let mut loaded = 0;
    for reference in ["src=\"", "href=\""] {
        for rest in page.body.split(reference).skip(1) {
            let target = rest.split('"').next().unwrap();
            if target.starts_with('#') {
                continue;
            }
            let file = ask(target, &[]).await;
            assert_eq!(file.status, 200, "{target}");
            assert_eq!(file.header("x-content-type-options"), Some("nosniff"));
            let tag = file.header("etag").expect("a tag");
            let again = ask(target, &[("if-none-match", tag)]).await;
            assert_eq!((again.status, &*again.body), (304, ""), "{target}");
            loaded += 1;
        }
    }
    assert!(loaded >= 3, "{}", page.body);
    service.end().await.unwrap();
}

/// Answers every request with this, and says where.
async fn answering(status: &'static str, body: &'static str) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut asked = [0; 1_024];
            let _ = stream.read(&mut asked).await;
            let length = body.len();
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}");
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    url
}

#[tokio::test]
async fn every_service_of_the_shop_is_shown_as_it_is() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    let held = r#"{"ready":true,"shuttingDown":false,"missing":[],
        "degraded":[{"name":"carts, in part","problem":"users.events-1 is held"}]}"#;
    let carts = answering("200 OK", held).await;
    let notifier = "http://127.0.0.1:1";
    let urls = [
        ("CART_SERVICE_URL", &*carts),
        ("NOTIFIER_SERVICE_URL", notifier),
        UNHURRIED,
    ];
    let service = scene.start_ready(&urls).await;
    let mut events =
        Events::open_with(service.address, "/api/admin/events", &[DEFAULT], None).await;
    let event = events.next().await.expect("the stream goes on");
    let seen: Value = serde_json::from_str(&event.data).unwrap();
    let services = seen["services"].as_array().unwrap();
    let states = services.iter().map(|of| (&of["name"], &of["state"]));
    let states: Vec<_> = states
        .map(|(name, state)| (name.as_str().unwrap(), state.as_str().unwrap()))
        .collect();
    assert_eq!(
        states,
        [
            ("producer-svc", "ready"),
            ("consumer-svc", "degraded"),
            ("notifier-svc", "away")
        ],
        "{seen}"
    );
    assert_eq!(services[1]["parts"][0]["problem"], "users.events-1 is held");
    let problem = services[2]["problem"].as_str().unwrap();
    assert!(problem.contains(notifier), "{problem}");
    drop(events);
    service.end().await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_read_is_shown_as_such() {
    let kafka = Kafka::own_broker().await;
    let scene = Scene::new(&kafka).await;
    let service = scene.start_ready(&[UNHURRIED]).await;
    let topic = unique("looked-at");
    kafka.create_topic(&topic, 2).await;
    let producer = scene.producer();
    let send = async |partition, value: &'static str| {
        let record = OutgoingRecord {
            topic: &topic,
            partition: Some(partition),
            value: Some(value.as_bytes()),
            ..OutgoingRecord::default()
        };
        producer.send(&record).await.unwrap();
    };
    send(0, "before").await;
    // A batch of one record as a disk breaks it: its checksum is 0.
    let mut batch = vec![0; 8];
    batch.extend(58_i32.to_be_bytes());
    batch.extend([0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    batch.extend([1_700_000_000_000_i64.to_be_bytes(); 2].concat());
    batch.extend([0xff; 14]);
    batch.extend(1_i32.to_be_bytes());
    batch.extend([16, 0, 0, 0, 1, 2, b'?', 0, 0]);
    let broker = kafka.broker().expect("its own");
    let batch = bytes::Bytes::from(batch);
    broker.plant(&topic, 0, 0, batch).expect("planted");
    send(0, "behind").await;
    send(1, "beside").await;
    let (status, found) = get(&service, &format!("/api/admin/topics/{topic}/messages")).await;
    assert_eq!((status, &found["complete"]), (200, &json!(true)), "{found}");
    let messages = found["messages"].as_array().unwrap();
    let mut values: Vec<_> = messages
        .iter()
        .map(|m| m["value"]["text"].as_str())
        .collect();
    values.sort_unstable();
    assert_eq!(values, [Some("before"), Some("beside")], "{found}");
    let unread = &found["unreadable"][0];
    let place = (&unread["partition"], &unread["offset"], &unread["batch"]);
    assert_eq!(place, (&json!(0), &json!(1), &json!(true)), "{found}");
    assert!(
        unread["problem"].as_str().unwrap().contains("checksum"),
        "{found}"
    );
    service.end().await.unwrap();
}
