//! What operators ask of a cluster.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use kafka::{
    Admin, Client, ClientConfig, ConsumerRecord, Error, GroupKind, Handler, NewTopic, OffsetAt,
    Outcome, OutgoingRecord, ResponseError, TopicPartition,
};
use kafka_protocol::messages::ApiKey;
use testkit::transaction::Transaction;
use testkit::{Kafka, eventually, unique};

const PATIENCE: Duration = Duration::from_secs(20);

fn client(kafka: &Kafka) -> Client {
    Client::new(ClientConfig::new(kafka.bootstrap()).unwrap())
}

async fn topic(admin: &Admin, partitions: i32) -> String {
    let name = unique("administration");
    admin
        .create_topics(&[NewTopic::new(&name, partitions, 1)])
        .await
        .unwrap();
    name
}

async fn fill(client: &Client, topic: &str, partition: i32, count: i64) {
    let producer = client.producer().build().unwrap();
    for number in 0..count {
        let key = number.to_string();
        let record = OutgoingRecord {
            topic,
            partition: Some(partition),
            key: Some(key.as_bytes()),
            headers: &[(b"h", Some(b"1"))],
            timestamp: Some(1_000_000 + number * 10),
            ..Default::default()
        };
        producer.send(&record).await.unwrap();
    }
}

struct Done;

impl Handler for Done {
    async fn handle(&self, _: &ConsumerRecord) -> Outcome {
        Outcome::Done
    }
}

#[tokio::test]
async fn topics_are_created_once_with_their_configuration() {
    let kafka = Kafka::start().await;
    let admin = client(&kafka).admin();
    let (first, second) = (unique("first"), unique("second"));
    let new = [
        NewTopic::new(&first, 3, 1).config("retention.ms", "86400000"),
        NewTopic::new(&second, 1, 1),
    ];
    let created = admin.create_topics(&new).await.unwrap();
    let of = |name: &str| created.iter().find(|topic| *topic.name == *name).unwrap();
    assert_eq!((of(&first).partitions, of(&first).created), (3, true));
    assert_eq!((of(&second).partitions, of(&second).created), (1, true));
    // Again, and with other partitions: left as it is.
    let again = admin
        .create_topics(&[NewTopic::new(&first, 7, 1)])
        .await
        .unwrap();
    assert_eq!((again[0].partitions, again[0].created), (3, false));

    let configs = admin.describe_topic_configs(&first).await.unwrap();
    let retention = configs
        .iter()
        .find(|entry| entry.name == "retention.ms")
        .unwrap();
    assert_eq!(
        (retention.value.as_deref(), retention.is_default),
        (Some("86400000"), false)
    );
    let described = admin
        .describe_topics(&[&first, "no-such-topic"])
        .await
        .unwrap();
    assert_eq!(described.len(), 1);
    assert!(
        described[0]
            .partitions
            .iter()
            .all(|partition| partition.leader.is_some())
    );
    let all = admin.topics().await.unwrap();
    assert!(
        all.iter()
            .any(|topic| *topic.name == *second && topic.partitions.len() == 1)
    );
    assert!(all.windows(2).all(|pair| pair[0].name < pair[1].name));
}

#[tokio::test]
async fn a_topic_that_is_refused_says_why() {
    let kafka = Kafka::start().await;
    let admin = client(&kafka).admin();
    let error = admin
        .create_topics(&[NewTopic::new("not a name", 1, 1)])
        .await
        .unwrap_err();
    assert_eq!(
        error.code(),
        Some(ResponseError::InvalidTopicException),
        "{error}"
    );
    assert!(error.to_string().contains("not a name"), "{error}");
    let name = unique("replicas");
    let error = admin
        .create_topics(&[NewTopic::new(&name, 1, 9)])
        .await
        .unwrap_err();
    assert_eq!(
        error.code(),
        Some(ResponseError::InvalidReplicationFactor),
        "{error}"
    );
    assert!(error.to_string().contains(&name), "{error}");
    assert!(admin.create_topics(&[]).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_creation_whose_answer_is_lost_succeeds() {
    let kafka = Kafka::own_broker().await;
    let admin = client(&kafka).admin();
    let name = unique("lost");
    let lost = kafka
        .faults()
        .on(ApiKey::CreateTopics)
        .lose_acknowledgement();
    admin
        .create_topics(&[NewTopic::new(&name, 2, 1)])
        .await
        .unwrap();
    assert_eq!(lost.hits(), 1);
    assert_eq!(
        admin.describe_topics(&[&name]).await.unwrap()[0]
            .partitions
            .len(),
        2
    );
}

#[tokio::test]
async fn partitions_are_added_and_topics_deleted() {
    let kafka = Kafka::start().await;
    let admin = client(&kafka).admin();
    let name = topic(&admin, 1).await;
    admin.create_partitions(&name, 3).await.unwrap();
    assert_eq!(
        admin.describe_topics(&[&name]).await.unwrap()[0]
            .partitions
            .len(),
        3
    );
    let error = admin.create_partitions(&name, 2).await.unwrap_err();
    assert_eq!(
        error.code(),
        Some(ResponseError::InvalidPartitions),
        "{error}"
    );
    admin.delete_topics(&[&name, "never-there"]).await.unwrap();
    let gone = || async {
        admin
            .describe_topics(&[&name])
            .await
            .unwrap()
            .is_empty()
            .then_some(())
    };
    eventually(PATIENCE, gone).await;
    let error = admin.create_partitions(&name, 5).await.unwrap_err();
    assert!(matches!(error, Error::UnknownTopic { .. }), "{error}");
}

#[tokio::test]
async fn offsets_of_many_partitions_come_together() {
    let kafka = Kafka::start().await;
    let client = client(&kafka);
    let admin = client.admin();
    let name = topic(&admin, 3).await;
    fill(&client, &name, 1, 5).await;
    let partitions: Vec<_> = (0..3)
        .map(|partition| TopicPartition::new(name.as_str(), partition))
        .collect();
    let offsets = async |at| -> Vec<i64> {
        admin
            .offsets(&partitions, at)
            .await
            .unwrap()
            .into_values()
            .collect()
    };
    assert_eq!(offsets(OffsetAt::Earliest).await, [0, 0, 0]);
    assert_eq!(offsets(OffsetAt::Latest).await, [0, 5, 0]);
    // Where no record is so late, the next one will be: the ends.
    assert_eq!(offsets(OffsetAt::Timestamp(1_000_025)).await, [0, 3, 0]);
    assert_eq!(offsets(OffsetAt::Timestamp(i64::MAX)).await, [0, 5, 0]);
    let error = admin
        .offsets(&[TopicPartition::new(name.as_str(), 3)], OffsetAt::Latest)
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains(&format!("{name}-3 does not exist")),
        "{error}"
    );
    let started = Instant::now();
    let error = admin
        .offsets(&[TopicPartition::new("no-such-topic", 0)], OffsetAt::Latest)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::UnknownTopic { .. }), "{error}");
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "answered, not waited out"
    );
}

#[tokio::test]
async fn one_record_is_read_by_its_place() {
    let kafka = Kafka::start().await;
    let client = client(&kafka);
    let admin = client.admin();
    let name = topic(&admin, 2).await;
    fill(&client, &name, 1, 3).await;
    let record = admin
        .read_record(&name, 1, 2)
        .await
        .unwrap()
        .expect("a record");
    assert_eq!(
        (record.partition, record.offset, record.timestamp),
        (1, 2, 1_000_020)
    );
    assert_eq!(record.key.as_deref(), Some(&b"2"[..]));
    assert_eq!(record.value, None);
    assert_eq!(record.headers.get("h"), Some(&b"1"[..]));
    for offset in [3, 4, 1000] {
        assert!(
            admin.read_record(&name, 1, offset).await.unwrap().is_none(),
            "{offset}"
        );
    }
    assert!(admin.read_record(&name, 0, 0).await.unwrap().is_none());
    assert!(admin.read_record(&name, 2, 0).await.is_err());
}

#[tokio::test]
async fn a_look_behind_the_last_record_waits_for_none() {
    const LOOKS: u32 = 30;
    /// What a broker would wait at the end of the log, if it was told to: it holds up what else is asked of it.
    const WAIT: Duration = Duration::from_millis(100);
    let kafka = Kafka::start().await;
    let client = client(&kafka);
    let admin = client.admin();
    let name = topic(&admin, 1).await;
    fill(&client, &name, 0, 3).await;
    assert!(admin.read_record(&name, 0, 2).await.unwrap().is_some());
    let started = Instant::now();
    for _ in 0..LOOKS {
        assert!(admin.read_record(&name, 0, 3).await.unwrap().is_none());
    }
    assert!(started.elapsed() < LOOKS * WAIT, "{:?}", started.elapsed());
}

#[tokio::test]
async fn groups_are_listed_described_and_measured() {
    let kafka = Kafka::start().await;
    let client = client(&kafka);
    let admin = client.admin();
    let name = topic(&admin, 2).await;
    let group = unique("group");
    fill(&client, &name, 0, 4).await;
    let consumer = client
        .consumer(&group)
        .topics([&name])
        .discard_rejected()
        .build(Done)
        .unwrap();
    let stop = Arc::new(tokio::sync::Notify::new());
    let stopped = stop.clone();
    let running = tokio::spawn(consumer.run(async move { stopped.notified().await }));

    let description = eventually(PATIENCE, || async {
        let described = admin.describe_groups(&[&group]).await.unwrap().remove(0);
        (described.state == "Stable").then_some(described)
    })
    .await;
    assert_eq!(description.group, group);
    assert_eq!(description.assignor, "cooperative-sticky");
    assert_eq!(description.members.len(), 1);
    let all: Vec<_> = (0..2)
        .map(|partition| TopicPartition::new(name.as_str(), partition))
        .collect();
    assert_eq!(description.members[0].assignment, all);
    let listed = admin.list_groups().await.unwrap();
    let listing = listed
        .iter()
        .find(|listing| listing.group == group)
        .unwrap();
    assert_eq!(listing.protocol_type, "consumer");
    let error = admin.delete_groups(&[&group]).await.unwrap_err();
    assert_eq!(error.code(), Some(ResponseError::NonEmptyGroup), "{error}");

    let caught_up = || async {
        let lag = admin.group_lag(&group).await.unwrap();
        (lag.len() == 2 && lag.iter().all(|lag| lag.lag() == 0)).then_some(())
    };
    eventually(PATIENCE, caught_up).await;
    stop.notify_one();
    running.await.unwrap().unwrap();

    fill(&client, &name, 0, 3).await;
    let lag = admin.group_lag(&group).await.unwrap();
    assert_eq!(
        (
            lag[0].partition.partition,
            lag[0].committed,
            lag[0].end,
            lag[0].lag()
        ),
        (0, 4, 7, 3)
    );
    assert_eq!(lag[1].lag(), 0);
    assert_eq!(
        admin.committed_offsets(&group).await.unwrap()[&all[0]].offset,
        4
    );
    admin.delete_groups(&[&group, "never-there"]).await.unwrap();
    assert!(admin.committed_offsets(&group).await.unwrap().is_empty());
    let dead = admin.describe_groups(&[&group]).await.unwrap();
    assert_eq!((dead[0].state.as_str(), dead[0].members.len()), ("Dead", 0));
    // A topic that is gone has no lag.
    assert!(admin.group_lag(&group).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_moved_coordinator_is_found_again() {
    let kafka = Kafka::own_broker().await;
    let admin = client(&kafka).admin();
    let group = unique("moved");
    let moved = kafka.faults().move_coordinator(&group, 1, 1);
    assert!(admin.committed_offsets(&group).await.unwrap().is_empty());
    assert_eq!((moved.refused.hits(), moved.lookups.hits()), (1, 1));
}

#[tokio::test]
async fn the_configuration_of_a_broker_is_described() {
    let kafka = Kafka::start().await;
    let client = client(&kafka);
    let admin = client.admin();
    let topic = topic(&admin, 1).await;
    let node = admin.describe_topics(&[&topic]).await.unwrap()[0].partitions[0]
        .leader
        .unwrap();
    assert!(
        !admin
            .describe_broker_configs(node)
            .await
            .unwrap()
            .is_empty()
    );
    let error = admin
        .describe_topic_configs("no-such-topic")
        .await
        .unwrap_err();
    assert!(matches!(error, Error::UnknownTopic { .. }), "{error}");
}

#[tokio::test]
async fn nobody_there_is_an_error_within_the_timeout() {
    // tcpmux: nobody listens there, and no connection takes it as its own port.
    let client = Client::new(ClientConfig::new("127.0.0.1:1").unwrap());
    let error = client.ready().await.unwrap_err();
    assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
    assert!(error.is_retriable());
    let started = Instant::now();
    let error = client
        .admin()
        .with_timeout(Duration::from_millis(300))
        .topics()
        .await
        .unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(3));
    assert!(
        error
            .to_string()
            .starts_with("listing topics did not finish within"),
        "{error}"
    );
    assert!(
        error.to_string().contains("no Kafka broker is reachable"),
        "{error}"
    );
}

#[tokio::test]
async fn the_broker_that_answers_is_found_among_dead_ones() {
    let kafka = Kafka::start().await;
    let servers = format!("127.0.0.1:1,{}", kafka.bootstrap());
    let client = Client::new(ClientConfig::new(&servers).unwrap());
    client.ready().await.unwrap();
}

/// Kafka 3 answers so while any commit of the group is under way, which a busy group has at all times, and each Kafka
/// while a transaction that is to commit offsets is open.
#[tokio::test]
async fn offsets_are_asked_for_stably_and_told_all_the_same_while_a_commit_is_under_way() {
    let kafka = Kafka::own_broker().await;
    let client = client(&kafka);
    let admin = client.admin();
    let topic = topic(&admin, 1).await;
    let group = unique("unstable");
    fill(&client, &topic, 0, 4).await;
    let consumer = client
        .consumer(&group)
        .topics([&topic])
        .discard_rejected()
        .build(Done)
        .unwrap();
    let caught_up = eventually(PATIENCE, || async {
        let lag = admin.group_lag(&group).await.unwrap();
        (lag.len() == 1 && lag[0].lag() == 0).then_some(())
    });
    consumer.run(caught_up).await.unwrap();
    // The broker gives this answer to those who ask for stable offsets, and to nobody else.
    let unstable = kafka
        .faults()
        .on(ApiKey::OffsetFetch)
        .always()
        .error(ResponseError::UnstableOffsetCommit);
    let committed = admin.committed_offsets(&group).await.unwrap();
    let of = TopicPartition::new(topic.as_str(), 0);
    assert_eq!(committed[&of].offset, 4);
    assert_eq!(unstable.hits(), 2);
}

#[tokio::test]
async fn a_group_of_the_new_protocol_is_described_as_what_it_is() {
    use kafka_protocol::messages::{ApiVersionsRequest, ConsumerGroupHeartbeatRequest, GroupId};
    use kafka_protocol::protocol::StrBytes;

    let kafka = Kafka::start().await;
    let client = client(&kafka);
    let admin = client.admin();
    let group = unique("new-protocol");
    let versions = kafka
        .connect()
        .await
        .call(&ApiVersionsRequest::default(), 0)
        .await;
    let key = ApiKey::ConsumerGroupHeartbeat as i16;
    let heartbeat = versions.api_keys.iter().find(|api| api.api_key == key);
    // KIP-848: version 1 since Kafka 4.0; earlier and embedded brokers refuse such members.
    let version = heartbeat.map_or(0, |api| api.max_version.min(1));
    let topic = topic(&admin, 2).await;
    let text = |text: &str| StrBytes::from_string(text.to_owned());
    let member = unique("member");
    let join = ConsumerGroupHeartbeatRequest::default()
        .with_group_id(GroupId(text(&group)))
        .with_member_id(text(&member))
        .with_member_epoch(0)
        .with_rebalance_timeout_ms(60_000)
        .with_subscribed_topic_names(Some(vec![text(&topic).into()]))
        .with_topic_partitions(Some(Vec::new()));
    let unsupported = ResponseError::UnsupportedVersion.code();
    let joined = eventually(PATIENCE, || async {
        let mut connection = kafka.connect().await;
        let code = connection.call(&join, version).await.error_code;
        (code == 0 || code == unsupported).then_some(code == 0)
    })
    .await;
    if !joined {
        let described = &admin.describe_groups(&[&group]).await.unwrap()[0];
        let said = (&*described.state, described.kind);
        assert_eq!(said, ("Dead", GroupKind::Classic));
        return;
    }
    let described = &admin.describe_groups(&[&group]).await.unwrap()[0];
    assert_eq!(described.kind, GroupKind::Consumer);
    assert_ne!(described.state, "Dead");
    assert_eq!(described.assignor, "uniform");
    assert_eq!(described.members.len(), 1);
    assert_eq!(described.members[0].member_id, member);
    // No group at all.
    let missing = &admin.describe_groups(&[&unique("none")]).await.unwrap()[0];
    assert_eq!((&*missing.state, missing.members.len()), ("Dead", 0));
}

#[tokio::test]
async fn a_look_at_topics_names_what_is_missing_and_where_the_others_end() {
    let kafka = Kafka::start().await;
    let client = client(&kafka);
    let admin = client.admin();
    let topic = topic(&admin, 2).await;
    fill(&client, &topic, 1, 3).await;
    let missing = unique("missing");
    let look = admin.look(&[&topic, &missing], PATIENCE).await.unwrap();
    assert_eq!(look.missing, [missing.as_str().into()]);
    assert!(look.silent.is_empty() && look.leaderless.is_empty());
    let ends: Vec<_> = look
        .ends
        .iter()
        .map(|of| (of.partition.partition, of.stable, of.end))
        .collect();
    assert_eq!(ends, [(0, 0, 0), (1, 3, 3)]);
    let of = TopicPartition::new(topic.as_str(), 1);
    assert_eq!(admin.open_transaction(&of, 3).await.unwrap(), None);
}

/// Apache Kafka alone knows transactions.
#[tokio::test]
async fn an_open_transaction_is_found_with_its_producer() {
    let kafka = Kafka::start().await;
    let client = client(&kafka);
    let admin = client.admin();
    let topic = topic(&admin, 1).await;
    fill(&client, &topic, 0, 2).await;
    let Some(transaction) = Transaction::begin(&kafka, &topic, 0).await else {
        // The embedded broker has none.
        return;
    };
    let look = admin.look(&[&topic], PATIENCE).await.unwrap();
    assert_eq!((look.ends[0].stable, look.ends[0].end), (2, 3));
    let of = TopicPartition::new(topic.as_str(), 0);
    let open = admin.open_transaction(&of, 2).await.unwrap().unwrap();
    assert_eq!(open.producer_id, transaction.producer_id);
    assert_eq!(
        (open.producer_epoch, open.start_offset),
        (i32::from(transaction.producer_epoch), 2)
    );
    assert_eq!(admin.open_transaction(&of, 1).await.unwrap(), None);
    transaction.abort().await;
    eventually(PATIENCE, || async {
        let open = admin.open_transaction(&of, 2).await.unwrap();
        open.is_none().then_some(())
    })
    .await;
}
