//! What clients of other languages ask at their start, so that none of them is refused or kept waiting.
//! Where both can show it, the tests also run on Apache Kafka.

use std::time::Duration;

use bytes::BufMut;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_topic_partitions_request::TopicRequest;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::*;
use testkit::raw::Connection;
use testkit::{Kafka, eventually, unique};

use crate::common::{
    Batch, latest, offset_at, produce, produce_request, produce_with, read_all, text, topic_name,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// A request as a client was seen to send it: its header and its body in hexadecimal digits.
async fn send(connection: &mut Connection, hex: &str) {
    let mut frame = Vec::new();
    frame.put_i32(hex.len() as i32 / 2);
    for at in (0..hex.len()).step_by(2) {
        frame.push(u8::from_str_radix(&hex[at..at + 2], 16).unwrap());
    }
    connection.send_bytes(&frame).await.unwrap();
}

async fn create(
    connection: &mut Connection,
    name: &str,
    settings: &[(&str, &str)],
) -> create_topics_response::CreatableTopicResult {
    let configs = settings
        .iter()
        .map(|(name, value)| {
            CreatableTopicConfig::default()
                .with_name(text(name))
                .with_value(Some(text(value)))
        })
        .collect();
    let topic = CreatableTopic::default()
        .with_name(topic_name(name))
        .with_num_partitions(1)
        .with_replication_factor(1)
        .with_configs(configs);
    let request = CreateTopicsRequest::default()
        .with_timeout_ms(10_000)
        .with_topics(vec![topic]);
    connection.call(&request, 7).await.topics.remove(0)
}

fn metadata_of(name: &str) -> MetadataRequest {
    let topic = MetadataRequestTopic::default().with_name(Some(topic_name(name)));
    MetadataRequest::default()
        .with_topics(Some(vec![topic]))
        .with_allow_auto_topic_creation(false)
}

/// confluent-kafka's `list_topics`, its subscriptions by regular expression and node-rdkafka's
/// `connect`: librdkafka 2.16 asks for all topics with three bytes behind the request.
#[tokio::test]
async fn librdkafkas_metadata_request_for_all_topics_is_answered() {
    let kafka = Kafka::start().await;
    let mut connection = kafka.connect().await;
    let topic = unique("orders");
    kafka.create_topic(&topic, 1).await;
    send(
        &mut connection,
        "0003000c00000003000772646b61666b610000000000010000",
    )
    .await;
    let answer = connection.receive::<MetadataRequest>(12).await.unwrap();
    let listed = |asked: &metadata_response::MetadataResponseTopic| {
        asked
            .name
            .as_ref()
            .is_some_and(|name| name.as_str() == topic)
    };
    assert!(answer.topics.iter().any(listed));
}

/// kafkajs's `resetOffsets` commits -2 for the beginning and -1 for the end.
#[tokio::test]
async fn negative_offsets_are_committed_and_told() {
    let kafka = Kafka::start().await;
    let mut connection = kafka.connect().await;
    let (topic, group) = (unique("orders"), unique("group"));
    kafka.create_topic(&topic, 1).await;
    coordinated(&mut connection, &group).await;
    for offset in [7, -2, -1] {
        let partition = OffsetCommitRequestPartition::default()
            .with_committed_offset(offset)
            .with_committed_metadata(None);
        let asked = OffsetCommitRequestTopic::default()
            .with_name(topic_name(&topic))
            .with_partitions(vec![partition]);
        let commit = OffsetCommitRequest::default()
            .with_group_id(text(&group).into())
            .with_generation_id_or_member_epoch(-1)
            .with_topics(vec![asked]);
        let committed = connection.call(&commit, 5).await;
        assert_eq!(committed.topics[0].partitions[0].error_code, 0, "{offset}");
        let asked = OffsetFetchRequestTopic::default()
            .with_name(topic_name(&topic))
            .with_partition_indexes(vec![0]);
        let fetch = OffsetFetchRequest::default()
            .with_group_id(text(&group).into())
            .with_topics(Some(vec![asked]));
        let fetched = connection.call(&fetch, 4).await;
        let partition = &fetched.topics[0].partitions[0];
        assert_eq!(partition.committed_offset, offset);
    }
}

/// Waits until the group has a coordinator that answers: Apache Kafka makes one at the first question, and
/// names it before it has read the group's partition (NOT_COORDINATOR, COORDINATOR_LOAD_IN_PROGRESS).
async fn coordinated(connection: &mut Connection, group: &str) {
    let request = FindCoordinatorRequest::default().with_key(text(group));
    let deadline = std::time::Instant::now() + PATIENCE;
    while connection.call(&request, 2).await.error_code != 0 {
        assert!(std::time::Instant::now() < deadline, "no coordinator");
    }
    let request = DescribeGroupsRequest::default().with_groups(vec![text(group).into()]);
    while connection.call(&request, 5).await.groups[0].error_code != 0 {
        assert!(std::time::Instant::now() < deadline, "it does not answer");
    }
}

/// librdkafka tries again for ever after most errors, and sarama for five seconds after any error of
/// FindCoordinator; after this answer they, Java, kafkajs, kafka-python, aiokafka and franz-go give up
/// at once.
#[tokio::test]
async fn whoever_wants_transactions_is_told_to_give_up() {
    let kafka = Kafka::own_broker().await;
    kafka.create_topic("orders", 1).await;
    let mut connection = kafka.connect().await;
    let refused = ResponseError::TransactionalIdAuthorizationFailed.code();
    // librdkafka's `init_transactions`.
    send(
        &mut connection,
        "000a000200000003000772646b61666b610002747801",
    )
    .await;
    let found = connection.receive::<FindCoordinatorRequest>(2).await;
    let found = found.unwrap();
    assert_eq!((found.error_code, found.node_id.0), (0, 1));
    // Java's asks for several at a time.
    let request = FindCoordinatorRequest::default()
        .with_key_type(1)
        .with_coordinator_keys(vec![text("tx")]);
    let found = connection.call(&request, 6).await;
    assert_eq!(found.coordinators[0].error_code, 0);
    let request = InitProducerIdRequest::default().with_transactional_id(Some(text("tx").into()));
    assert_eq!(connection.call(&request, 5).await.error_code, refused);
    let request = produce_request("orders", 0, &Batch::of(&["a"]).bytes(), -1)
        .with_transactional_id(Some(text("tx").into()));
    let produced = connection.call(&request, 9).await;
    let produced = &produced.responses[0].partition_responses[0];
    assert_eq!(produced.error_code, refused);
}

/// librdkafka with `group.protocol=consumer` waits for ever for a broker that has the API.
#[tokio::test]
async fn the_new_consumer_protocol_is_refused_in_words() {
    let kafka = Kafka::own_broker().await;
    let mut connection = kafka.connect().await;
    let request = ConsumerGroupHeartbeatRequest::default()
        .with_group_id(text("group").into())
        .with_subscribed_topic_names(Some(vec![topic_name("orders")]));
    let answer = connection.call(&request, 1).await;
    let unsupported = ResponseError::UnsupportedVersion.code();
    assert_eq!(answer.error_code, unsupported);
    let reason = answer.error_message.unwrap();
    assert!(reason.contains("group.protocol=classic"), "{reason}");
}

/// What Kafka Streams sets on its changelog and repartition topics, what Spring's `TopicBuilder`
/// and Terraform modules often set, and what one node gives no meaning.
#[tokio::test]
async fn topics_with_settings_of_all_kinds_are_created_and_shown() {
    let kafka = Kafka::start().await;
    let mut connection = kafka.connect().await;
    let settings = [
        ("cleanup.policy", "compact,delete"),
        ("compression.type", "lz4"),
        ("delete.retention.ms", "1000"),
        ("flush.messages", "1"),
        ("max.compaction.lag.ms", "5000"),
        ("message.timestamp.type", "CreateTime"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("min.insync.replicas", "1"),
        ("retention.ms", "172800000"),
        ("segment.bytes", "52428800"),
        ("segment.ms", "600000"),
        ("unclean.leader.election.enable", "true"),
    ];
    let topic = unique("orders");
    let created = create(&mut connection, &topic, &settings).await;
    assert_eq!(created.error_code, 0, "{:?}", created.error_message);
    assert_eq!(created.error_message, None, "null, as there is none");
    kafka.until_led(&topic, 1).await;
    let resource = DescribeConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(text(&topic))
        .with_configuration_keys(None);
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
    let described = connection.call(&request, 4).await;
    let shown = &described.results[0].configs;
    for (name, value) in settings {
        let entry = shown.iter().find(|entry| entry.name == text(name)).unwrap();
        assert_eq!(entry.value, Some(text(value)), "{name}");
        assert_eq!(entry.config_source, 1, "{name} is the topic's own");
    }
    assert!(shown.len() >= 33, "every setting of a topic is shown");
    for (name, value) in [
        ("cleanup.policy", "none"),
        ("compression.type", "none"),
        ("no.such.setting", "3.0"),
        ("preallocate", "perhaps"),
        ("segment.ms", "0"),
    ] {
        let refused = create(&mut connection, &unique("orders"), &[(name, value)]).await;
        let invalid = ResponseError::InvalidConfig.code();
        assert_eq!(refused.error_code, invalid, "{name}={value}");
        let reason = refused.error_message.unwrap();
        assert!(reason.contains(name), "{reason}");
    }
}

/// `kafka-configs --add-config` sets; Java's and librdkafka's admin clients also append.
#[tokio::test]
async fn a_list_is_appended_to_and_a_number_is_not() {
    let kafka = Kafka::start().await;
    let mut connection = kafka.connect().await;
    let topic = unique("orders");
    kafka
        .create_topic_with(&topic, 1, &[("cleanup.policy", "compact")])
        .await;
    let mut alter = async |name: &str, operation: i8, value: &str| {
        let config = AlterableConfig::default()
            .with_name(text(name))
            .with_config_operation(operation)
            .with_value(Some(text(value)));
        let resource = AlterConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(text(&topic))
            .with_configs(vec![config]);
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        let answer = connection.call(&request, 1).await.responses.remove(0);
        (answer.error_code, answer.error_message.is_some())
    };
    assert_eq!(alter("cleanup.policy", 2, "delete").await, (0, false));
    assert_eq!(alter("cleanup.policy", 3, "compact").await, (0, false));
    let invalid = ResponseError::InvalidConfig.code();
    assert_eq!(alter("retention.ms", 2, "5").await, (invalid, true));
}

/// Without a key nothing could be compacted, so Kafka refuses such records; and what a compacted topic
/// holds is not deleted by a client.
#[tokio::test]
async fn a_compacted_topic_wants_keys_and_keeps_its_records() {
    let kafka = Kafka::start().await;
    let mut connection = kafka.connect().await;
    let topic = unique("orders");
    kafka
        .create_topic_with(&topic, 1, &[("cleanup.policy", "compact")])
        .await;
    let keyless = Batch::of(&["a", "b"]).bytes();
    let invalid = ResponseError::InvalidRecord.code();
    let (refused, _) = produce(&mut connection, &topic, 0, &keyless).await;
    assert_eq!(refused, invalid);
    let keyed = Batch::of(&["a", "b"]).key("k").bytes();
    assert_eq!(produce(&mut connection, &topic, 0, &keyed).await, (0, 0));
    let partition = DeleteRecordsPartition::default().with_offset(1);
    let asked = DeleteRecordsTopic::default()
        .with_name(topic_name(&topic))
        .with_partitions(vec![partition]);
    let request = DeleteRecordsRequest::default()
        .with_timeout_ms(5_000)
        .with_topics(vec![asked]);
    let answer = connection.call(&request, 2).await;
    let violated = ResponseError::PolicyViolation.code();
    assert_eq!(answer.topics[0].partitions[0].error_code, violated);
    assert_eq!(read_all(&mut connection, &topic, 0).await, ["a", "b"]);
}

/// A table, such as the changelog of Kafka Streams, would otherwise lose what nobody changed for a
/// week.
#[tokio::test]
async fn retention_spares_a_compacted_topic() {
    let kafka = Kafka::own_broker_with(|config| {
        config.retention = Some(Duration::from_millis(1));
        config.retention_check_interval = Duration::from_millis(20);
        config.segment_bytes = 1024;
    })
    .await;
    let mut connection = kafka.connect().await;
    for (topic, policy) in [
        ("table", "compact"),
        ("endless", ""),
        ("window", "compact,delete"),
        ("stream", "delete"),
    ] {
        kafka
            .create_topic_with(topic, 1, &[("cleanup.policy", policy)])
            .await;
        for _ in 0..10 {
            let batch = Batch::of(&["x".repeat(300).as_str()]).key("k").bytes();
            let (error, _) = produce(&mut connection, topic, 0, &batch).await;
            assert_eq!(error, 0);
        }
    }
    for topic in ["window", "stream"] {
        eventually(PATIENCE, async || {
            let mut watching = kafka.connect().await;
            (offset_at(&mut watching, topic, 0, -2).await == 10).then_some(())
        })
        .await;
    }
    // Each check looks at the topics by name: it has been at the other two before these.
    for topic in ["table", "endless"] {
        assert_eq!(offset_at(&mut connection, topic, 0, -2).await, 0, "{topic}");
        assert_eq!(latest(&mut connection, topic, 0).await, 10, "{topic}");
    }
}

#[tokio::test]
async fn a_topic_that_is_to_be_flushed_is_forced_before_its_acknowledgement() {
    let kafka = Kafka::own_broker().await;
    let mut connection = kafka.connect().await;
    kafka.create_topic("plain", 1).await;
    kafka
        .create_topic_with("flushed", 1, &[("flush.messages", "1")])
        .await;
    let batch = Batch::of(&["a"]).bytes();
    for topic in ["plain", "flushed"] {
        // The first record of an epoch forces a note of the epoch, too.
        assert_eq!(produce(&mut connection, topic, 0, &batch).await, (0, 0));
    }
    kafka.faults().disk(Some(broker::DiskFault::Unsynced));
    let (error, _) = produce_with(&mut connection, "plain", 0, &batch, 1).await;
    assert_eq!(error, 0);
    let (error, _) = produce_with(&mut connection, "flushed", 0, &batch, 1).await;
    assert_eq!(error, ResponseError::KafkaStorageError.code());
}

/// Admin clients and web interfaces ask what they may do (KIP-430), and Java's says null for a set
/// that was not told.
#[tokio::test]
async fn authorized_operations_are_told_to_those_who_ask() {
    const TOPIC: i32 = 0b1101_1111_1000;
    /// Kafka 4 has two more for groups than Kafka 3: their configs.
    const GROUP: i32 = 0b1_0100_1000;
    const CLUSTER: i32 = 0b1_1111_1010_0000;
    let kafka = Kafka::start().await;
    let mut connection = kafka.connect().await;
    let (topic, group) = (unique("orders"), unique("group"));
    kafka.create_topic(&topic, 1).await;
    coordinated(&mut connection, &group).await;

    let asked = metadata_of(&topic);
    let told = connection.call(&asked, 12).await.topics.remove(0);
    assert_eq!(told.topic_authorized_operations, i32::MIN);
    let asked = asked.with_include_topic_authorized_operations(true);
    let told = connection.call(&asked, 12).await.topics.remove(0);
    assert_eq!(told.topic_authorized_operations, TOPIC);
    let asked = asked.with_include_cluster_authorized_operations(true);
    let told = connection.call(&asked, 10).await;
    assert_eq!(told.cluster_authorized_operations, CLUSTER);

    let asked = DescribeClusterRequest::default();
    let told = connection.call(&asked, 1).await;
    assert_eq!(told.cluster_authorized_operations, i32::MIN);
    let asked = asked.with_include_cluster_authorized_operations(true);
    let told = connection.call(&asked, 1).await;
    assert_eq!(told.cluster_authorized_operations, CLUSTER);

    let asked = TopicRequest::default().with_name(topic_name(&topic));
    let asked = DescribeTopicPartitionsRequest::default()
        .with_topics(vec![asked])
        .with_response_partition_limit(1);
    let told = connection.call(&asked, 0).await.topics.remove(0);
    assert_eq!(told.topic_authorized_operations, TOPIC);

    // A commit makes a group.
    let partition = OffsetCommitRequestPartition::default();
    let asked = OffsetCommitRequestTopic::default()
        .with_name(topic_name(&topic))
        .with_partitions(vec![partition]);
    let commit = OffsetCommitRequest::default()
        .with_group_id(text(&group).into())
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![asked]);
    let committed = connection.call(&commit, 8).await;
    assert_eq!(committed.topics[0].partitions[0].error_code, 0);
    let asked = DescribeGroupsRequest::default().with_groups(vec![text(&group).into()]);
    let told = connection.call(&asked, 5).await.groups.remove(0);
    assert_eq!(told.authorized_operations, i32::MIN);
    let asked = asked.with_include_authorized_operations(true);
    let told = connection.call(&asked, 5).await.groups.remove(0);
    assert_eq!(told.authorized_operations & GROUP, GROUP);
    assert!(told.authorized_operations > 0, "no other sign");
}

/// A client commits the epoch that it saw, and asks after a restart where it ended (KIP-320). An epoch
/// that nobody knows reads as lost records, and the client begins anew.
#[tokio::test]
async fn an_epoch_without_records_is_known_after_a_restart() {
    let mut kafka = Kafka::own_broker().await;
    kafka.create_topic("orders", 1).await;
    let mut connection = kafka.connect().await;
    let batch = Batch::of(&["a", "b"]).bytes();
    produce(&mut connection, "orders", 0, &batch).await;
    // The second start takes no record, and neither does the third.
    kafka.kill_broker().await;
    kafka.start_broker().await;
    let mut connection = kafka.connect().await;
    let seen = connection.call(&metadata_of("orders"), 12).await;
    let seen = seen.topics[0].partitions[0].leader_epoch;
    kafka.kill_broker().await;
    kafka.start_broker().await;
    let mut connection = kafka.connect().await;
    let mut ended = async |epoch: i32| {
        let partition = OffsetForLeaderPartition::default().with_leader_epoch(epoch);
        let topic = OffsetForLeaderTopic::default()
            .with_topic(topic_name("orders"))
            .with_partitions(vec![partition.with_current_leader_epoch(-1)]);
        let request = OffsetForLeaderEpochRequest::default().with_topics(vec![topic]);
        connection.call(&request, 4).await.topics[0].partitions[0].end_offset
    };
    assert_eq!(ended(seen - 1).await, 2, "the epoch of the records");
    assert_eq!(ended(seen).await, 2, "the one without");
    assert_eq!(ended(seen + 1).await, 2, "the present one");
    assert_eq!(ended(seen + 2).await, -1, "one to come");
}
