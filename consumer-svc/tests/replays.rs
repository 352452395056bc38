//! A letter is replayed once, whoever else replays it and wherever a command was left off.

#[path = "support/shop.rs"]
mod shop;

use std::process::{Child, Command, Output, Stdio};

use kafka::{Admin, NewTopic, OffsetAt, OutgoingRecord, ProducerId, TopicId, TopicPartition};
use shop::Shop;
use testkit::{ApiKey, Kafka, ResponseError};

/// Operators at once, each with a command of its own.
const OPERATORS: usize = 4;

/// Letters that they all want to replay.
const LETTERS: i64 = 10;

/// A dead-letter topic, with letters of records that are not there any more.
struct Letters {
    shop: Shop,
    topic: String,
    admin: Admin,
}

impl Letters {
    async fn of(kafka: &Kafka, number: i64) -> Self {
        let shop = Shop::new(kafka).await;
        let topic = format!("{}-dlt", shop.orders);
        let admin = shop.client.admin();
        let topics = [&shop.orders, &topic].map(|name| NewTopic::new(name, 3, 1));
        admin.create_topics(&topics).await.unwrap();
        let letters = Self { shop, topic, admin };
        for offset in 0..number {
            letters.add_letter(&letters.shop.orders, offset, None).await;
        }
        letters
    }

    /// Adds a letter of a source's third partition.
    async fn add_letter(&self, source: &str, offset: i64, omitted: Option<&str>) {
        let offset = offset.to_string();
        let mut headers = vec![
            ("dlt-original-topic", source),
            ("dlt-original-partition", "2"),
            ("dlt-original-offset", &offset),
            ("dlt-consumer-group", &self.shop.group),
            ("dlt-reason", "an earlier version could not read it"),
        ];
        headers.extend(omitted.map(|part| ("dlt-omitted", part)));
        self.add(&headers).await;
    }

    /// Adds a record to the first partition.
    async fn add(&self, headers: &[(&str, &str)]) {
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.as_bytes(), Some(value.as_bytes())))
            .collect();
        let record = OutgoingRecord {
            topic: &self.topic,
            partition: Some(0),
            key: Some(b"k"),
            value: Some(b"letter"),
            headers: &headers,
            timestamp: None,
        };
        let producer = self.shop.client.producer().build().unwrap();
        producer.send(&record).await.unwrap();
    }

    /// A letter as a command names it.
    fn at(&self, offset: i64) -> String {
        format!("{}/0/{offset}", self.topic)
    }

    /// What a command leaves that dies before it sends.
    async fn claim(&self, offset: i64, partition: i32) -> ProducerId {
        let id = self.admin.new_producer_id().await.unwrap();
        self.add(&[
            ("dlt-replay-of", &self.at(offset)),
            ("dlt-replay-producer", &id.to_string()),
            ("dlt-replay-partition", &partition.to_string()),
        ])
        .await;
        id
    }

    fn replay(&self, arguments: &[&str]) -> Child {
        Command::new(env!("CARGO_BIN_EXE_consumer-svc"))
            .args(["dlt", "replay"])
            .args(arguments)
            .args(["--kafka-bootstrap-servers", &self.shop.bootstrap])
            .env_clear()
            .current_dir(std::env::temp_dir())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Where the source's partitions end.
    async fn ends(&self) -> Vec<i64> {
        let partitions = (0..3).map(|n| TopicPartition::new(self.shop.orders.as_str(), n));
        let partitions: Vec<_> = partitions.collect();
        let ends = self.admin.offsets(&partitions, OffsetAt::Latest).await;
        ends.unwrap().into_values().collect()
    }
}

fn ended(child: Child) -> (Option<i32>, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = child.wait_with_output().unwrap();
    let text = [stdout, stderr].concat();
    (status.code(), String::from_utf8(text).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_operators_at_once_each_letter_is_replayed_by_one() {
    let kafka = Kafka::start().await;
    let letters = Letters::of(&kafka, LETTERS).await;
    let of_topic = ["--all", "--topic", &letters.topic];
    let operators: Vec<_> = (0..OPERATORS).map(|_| letters.replay(&of_topic)).collect();
    for operator in operators {
        let (status, said) = ended(operator);
        assert_eq!(status, Some(0), "{said}");
    }
    assert_eq!(letters.ends().await, [0, 0, LETTERS]);
    let (status, said) = ended(letters.replay(&[&letters.at(0)]));
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("has already been replayed"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_claim_counts_and_its_writer_need_not_live() {
    let kafka = Kafka::start().await;
    let letters = Letters::of(&kafka, 1).await;
    let first = letters.claim(0, 1).await;
    letters.claim(0, 2).await;
    let (status, said) = ended(letters.replay(&[&letters.at(0)]));
    assert_eq!(status, Some(0), "{said}");
    let place = format!("{}/1/0", letters.shop.orders);
    assert!(said.contains(&format!("replayed to {place}")), "{said}");
    // Its writer lives after all, and sends what it was about to send.
    let late = OutgoingRecord {
        topic: &letters.shop.orders,
        partition: Some(1),
        value: Some(b"letter"),
        ..OutgoingRecord::default()
    };
    let written = letters.admin.write_once(first, &late).await.unwrap();
    assert_eq!(written.offset, 0, "what was sent before");
    assert_eq!(letters.ends().await, [0, 1, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_does_not_say_from_where_on_is_good_for_the_whole_partition() {
    let kafka = Kafka::start().await;
    let letters = Letters::of(&kafka, 1).await;
    letters.claim(0, 1).await;
    let place = letters.at(0);
    let sent = OutgoingRecord {
        topic: &letters.shop.orders,
        partition: Some(1),
        value: Some(b"letter"),
        headers: &[(b"dlt-replay-of", Some(place.as_bytes()))],
        ..OutgoingRecord::default()
    };
    // So long ago that the broker has forgotten the claim's id.
    let id = letters.admin.new_producer_id().await.unwrap();
    letters.admin.write_once(id, &sent).await.unwrap();
    let (status, said) = ended(letters.replay(&[&place]));
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("its missing marker is written"), "{said}");
    assert_eq!(letters.ends().await, [0, 1, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forced_replay_that_died_before_its_marker_is_not_made_twice() {
    let kafka = Kafka::own_broker().await;
    let letters = Letters::of(&kafka, 1).await;
    // The claim is written, the marker is not.
    let refused = kafka
        .faults()
        .on(ApiKey::Produce)
        .topic(&letters.topic)
        .skip(1)
        .error(ResponseError::TopicAuthorizationFailed);
    let (status, said) = ended(letters.replay(&[&letters.at(0), "--force"]));
    assert_eq!((status, refused.hits()), (Some(1), 1), "{said}");
    assert!(said.contains("its marker was not acknowledged"), "{said}");
    let (status, said) = ended(letters.replay(&[&letters.at(0)]));
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("its missing marker is written"), "{said}");
    assert_eq!(letters.ends().await, [0, 0, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_for_its_time_is_replayed_without_one() {
    let kafka = Kafka::own_broker().await;
    let letters = Letters::of(&kafka, 1).await;
    // As brokers say to somebody whose clock is an hour ahead: to the claim, and to the replay.
    let refused = [&letters.topic, &letters.shop.orders].map(|topic| {
        let produce = kafka.faults().on(ApiKey::Produce).topic(topic);
        produce.error(ResponseError::InvalidTimestamp)
    });
    let (status, said) = ended(letters.replay(&[&letters.at(0)]));
    assert_eq!(status, Some(0), "{said}");
    assert_eq!(refused.map(|refused| refused.hits()), [1, 1]);
    assert_eq!(letters.ends().await, [0, 0, 1]);
    let replayed = letters.admin.read_record(&letters.shop.orders, 2, 0).await;
    assert_eq!(replayed.unwrap().unwrap().timestamp, -1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_means_another_record_is_refused() {
    let kafka = Kafka::start().await;
    let letters = Letters::of(&kafka, 1).await;
    // As on a cluster that dead letters were mirrored to, where the id is somebody else's.
    let id = letters.claim(0, 2).await;
    let other = OutgoingRecord {
        topic: &letters.shop.orders,
        partition: Some(2),
        value: Some(b"another record"),
        ..OutgoingRecord::default()
    };
    letters.admin.write_once(id, &other).await.unwrap();
    let (status, said) = ended(letters.replay(&[&letters.at(0)]));
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("does not hold the replay"), "{said}");
    let (status, said) = ended(letters.replay(&[&letters.at(0), "--force"]));
    assert_eq!(status, Some(0), "{said}");
    assert_eq!(letters.ends().await, [0, 0, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_that_cannot_be_replayed_are_named_and_keep_no_other() {
    let kafka = Kafka::start().await;
    let letters = Letters::of(&kafka, 0).await;
    let orders = &letters.shop.orders;
    let deleted = format!("{orders}-deleted");
    letters.add_letter(&deleted, 0, None).await;
    // Its value is nowhere any more.
    letters.add_letter(orders, 99, Some("value")).await;
    letters.add_letter(&deleted, 1, Some("value")).await;
    letters.add_letter(orders, 0, None).await;
    letters.add_letter(orders, 1, None).await;
    // Made when the source had more partitions, or the topic that is deleted now was there.
    letters.claim(3, 7).await;
    letters.claim(2, 0).await;
    let of_topic = ["--all", "--topic", &letters.topic];
    let (status, said) = ended(letters.replay(&of_topic));
    assert_eq!(status, Some(1), "{said}");
    let good = format!("{} replayed to {orders}/2/0", letters.at(4));
    let missing = format!("{} was not replayed: its source topic", letters.at(0));
    let gone =
        [1, 2].map(|letter| format!("{} does not hold its record's value", letters.at(letter)));
    let elsewhere = format!("the replay of {} was not acknowledged", letters.at(3));
    for line in [&good, &missing, &gone[0], &gone[1], &elsewhere] {
        assert_eq!(said.matches(line.as_str()).count(), 1, "{line}: {said}");
    }
    assert!(said.contains("1 dead letters replayed"), "{said}");
    assert!(said.contains("4 dead letters were not replayed"), "{said}");
    assert_eq!(letters.ends().await, [0, 0, 1]);
    // They stay open, and alone they fail as well.
    for letter in 0..4 {
        let (status, said) = ended(letters.replay(&[&letters.at(letter)]));
        assert_eq!(status, Some(1), "{said}");
        assert!(said.contains(&letters.at(letter)), "{said}");
    }
    assert_eq!(letters.ends().await, [0, 0, 1]);
}

/// A record at the letter's place is its record only if it lies in the same topic: one of the same name may have been
/// deleted and created again.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_letter_omits_is_not_taken_from_a_topic_created_again() {
    let kafka = Kafka::start().await;
    let letters = Letters::of(&kafka, 0).await;
    let orders = letters.shop.orders.as_str();
    let whole = OutgoingRecord {
        topic: orders,
        partition: Some(2),
        key: Some(b"k"),
        value: Some(b"whole"),
        ..OutgoingRecord::default()
    };
    let producer = letters.shop.client.producer().build().unwrap();
    producer.send(&whole).await.unwrap();
    let described = letters.admin.describe_topics(&[orders]).await.unwrap();
    let of_now = described[0].id.expect("the broker gives ids");
    let of_before = TopicId::from_u128(7).expect("no zeros");
    for id in [of_before, of_now] {
        let id = id.to_string();
        let headers = [
            ("dlt-original-topic", orders),
            ("dlt-original-partition", "2"),
            ("dlt-original-offset", "0"),
            ("dlt-original-topic-id", &id),
            ("dlt-consumer-group", &letters.shop.group),
            ("dlt-reason", "an earlier version could not read it"),
            ("dlt-omitted", "value"),
        ];
        letters.add(&headers).await;
    }
    let (status, said) = ended(letters.replay(&[&letters.at(0)]));
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("does not hold its record's value"), "{said}");
    assert_eq!(letters.ends().await, [0, 0, 1]);
    let (status, said) = ended(letters.replay(&[&letters.at(1)]));
    assert_eq!(status, Some(0), "{said}");
    assert_eq!(letters.ends().await, [0, 0, 2]);
}

/// As Spring's `DeadLetterPublishingRecoverer` writes it: numbers as Java's bytes.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_of_spring_is_listed_and_replayed() {
    let kafka = Kafka::start().await;
    let letters = Letters::of(&kafka, 0).await;
    let (partition, offset) = (2_i32.to_be_bytes(), 17_i64.to_be_bytes());
    let headers: [(&[u8], Option<&[u8]>); 7] = [
        (b"x", Some(b"1")),
        (
            b"kafka_dlt-original-topic",
            Some(letters.shop.orders.as_bytes()),
        ),
        (b"kafka_dlt-original-partition", Some(&partition)),
        (b"kafka_dlt-original-offset", Some(&offset)),
        (b"kafka_dlt-original-consumer-group", Some(b"spring-stock")),
        (
            b"kafka_dlt-exception-cause-fqcn",
            Some(b"java.lang.IllegalStateException"),
        ),
        (b"kafka_dlt-exception-message", Some(b"no stock")),
    ];
    let record = OutgoingRecord {
        topic: &letters.topic,
        partition: Some(0),
        key: Some(b"7"),
        value: Some(br#"{"orderId":"7","product":"x","quantity":1}"#),
        headers: &headers,
        timestamp: None,
    };
    let producer = letters.shop.client.producer().build().unwrap();
    producer.send(&record).await.unwrap();

    let list = Command::new(env!("CARGO_BIN_EXE_consumer-svc"))
        .args(["dlt", "list", "--topic", &letters.topic])
        .args(["--kafka-bootstrap-servers", &letters.shop.bootstrap])
        .env_clear()
        .current_dir(std::env::temp_dir())
        .output()
        .unwrap();
    let listed = String::from_utf8(list.stdout).unwrap();
    let from = format!("from {}/2/17 ", letters.shop.orders);
    assert!(listed.contains(&from), "{listed}");
    assert!(listed.contains("group spring-stock"), "{listed}");
    assert!(
        listed.contains("java.lang.IllegalStateException: no stock"),
        "{listed}"
    );

    let (status, said) = ended(letters.replay(&[&letters.topic, "0", "0"]));
    assert_eq!(status, Some(0), "{said}");
    let found = letters
        .admin
        .read_record(&letters.shop.orders, 2, 0)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        found.headers.get("dlt-replay-of"),
        Some(letters.at(0).as_bytes())
    );
    assert_eq!(
        found.headers.get("dlt-consumer-group"),
        Some(&b"spring-stock"[..])
    );
    assert_eq!(found.headers.get("x"), Some(&b"1"[..]));
    assert_eq!(found.headers.get("kafka_dlt-original-offset"), None);
    let (status, said) = ended(letters.replay(&[&letters.topic, "0", "0"]));
    assert_ne!(status, Some(0), "a second replay is refused: {said}");
}

/// Before Spring for Apache Kafka 3.3 its letters lie in `<topic>.DLT`. What our own group failed at while its service was
/// Spring's is handled by ours, once.
#[tokio::test(flavor = "multi_thread")]
async fn letters_in_springs_old_topic_are_among_all_and_replayed_to_the_service_that_took_over() {
    let kafka = Kafka::own_broker().await;
    let shop = Shop::new(&kafka).await;
    let service = shop.start(&[]).await;
    let topics = [".DLT", "-dlt"].map(|suffix| format!("{}{suffix}", shop.orders));
    kafka.create_topic(&topics[0], 3).await;
    let producer = shop.client.producer().build().unwrap();
    for (topic, id) in [(&topics[0], "old"), (&topics[1], "new")] {
        let order = format!(r#"{{"orderId":"{id}","product":"Laptop","quantity":1}}"#);
        let (partition, offset) = (2_i32.to_be_bytes(), 17_i64.to_be_bytes());
        let letter = OutgoingRecord {
            topic,
            // Spring keeps the source's.
            partition: Some(2),
            key: Some(id.as_bytes()),
            value: Some(order.as_bytes()),
            headers: &[
                (b"kafka_dlt-original-topic", Some(shop.orders.as_bytes())),
                (b"kafka_dlt-original-partition", Some(&partition)),
                (b"kafka_dlt-original-offset", Some(&offset)),
                (
                    b"kafka_dlt-original-consumer-group",
                    Some(shop.group.as_bytes()),
                ),
                (
                    b"kafka_dlt-exception-fqcn",
                    Some(b"java.lang.IllegalStateException"),
                ),
            ],
            timestamp: None,
        };
        producer.send(&letter).await.unwrap();
    }
    let dlt = |arguments: &[&str]| {
        let command = Command::new(env!("CARGO_BIN_EXE_consumer-svc"))
            .arg("dlt")
            .args(arguments)
            .args(["--kafka-bootstrap-servers", &shop.bootstrap])
            .env_clear()
            .current_dir(std::env::temp_dir())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        ended(command.unwrap())
    };
    let (status, listed) = dlt(&["list"]);
    assert_eq!(status, Some(0), "{listed}");
    for topic in &topics {
        let line = format!(
            "{topic}/2/0  from {}/2/17 of (unknown)  group {}",
            shop.orders, shop.group
        );
        assert!(listed.contains(&line), "{line}: {listed}");
    }
    assert!(listed.contains("2 dead letters in"), "{listed}");
    let (status, shown) = dlt(&["show", &topics[0], "2", "0"]);
    assert_eq!(status, Some(0), "{shown}");
    assert!(shown.contains("java.lang.IllegalStateException"), "{shown}");

    let (status, said) = dlt(&["replay", "--all"]);
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("2 dead letters replayed"), "{said}");
    let mut statuses = shop.follow(&shop.statuses);
    let by_key = statuses.by_key(4).await;
    for id in ["old", "new"] {
        let said = by_key[id].concat();
        assert!(said.contains("CONFIRMED"), "{id}: {by_key:?}");
    }
    let (status, said) = dlt(&["replay", "--all"]);
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("0 dead letters replayed"), "{said}");
    let (_, listed) = dlt(&["list", "--topic", &topics[0]]);
    assert!(listed.contains("1 of them replayed"), "{listed}");
    service.stop().await;
}
