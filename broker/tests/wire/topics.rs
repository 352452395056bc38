//! Topics, their settings, and what is asked about them.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteRecordsRequest, DescribeConfigsRequest,
    DescribeTopicPartitionsRequest, IncrementalAlterConfigsRequest, MetadataRequest,
    MetadataResponse, OffsetForLeaderEpochRequest,
};
use testkit::Kafka;
use testkit::raw::Connection;

use crate::common::{Batch, fetch, latest, offset_at, produce, read_all, text, topic_name};

async fn metadata(connection: &mut Connection, names: &[&str], create: bool) -> MetadataResponse {
    let topics = names
        .iter()
        .map(|name| MetadataRequestTopic::default().with_name(Some(topic_name(name))))
        .collect();
    let request = MetadataRequest::default()
        .with_topics(Some(topics))
        .with_allow_auto_topic_creation(create);
    connection.call(&request, 12).await
}

async fn create(connection: &mut Connection, topic: CreatableTopic) -> i16 {
    let request = CreateTopicsRequest::default().with_topics(vec![topic]);
    connection.call(&request, 7).await.topics[0].error_code
}

fn new_topic(name: &str, partitions: i32, replicas: i16) -> CreatableTopic {
    CreatableTopic::default()
        .with_name(topic_name(name))
        .with_num_partitions(partitions)
        .with_replication_factor(replicas)
}

#[tokio::test]
async fn topics_are_created_only_as_this_broker_can_keep_them() {
    let kafka = Kafka::own_broker_with(|config| config.default_partitions = 3).await;
    let mut connection = kafka.connect().await;
    let replicated = CreatableTopicConfig::default()
        .with_name(text("min.insync.replicas"))
        .with_value(Some(text("2")));
    let cases = [
        (new_topic("orders", -1, -1), None),
        (
            new_topic("orders", 1, 1),
            Some(ResponseError::TopicAlreadyExists),
        ),
        (
            new_topic("no/slash", 1, 1),
            Some(ResponseError::InvalidTopicException),
        ),
        (
            new_topic("..", 1, 1),
            Some(ResponseError::InvalidTopicException),
        ),
        (
            new_topic("none", 0, 1),
            Some(ResponseError::InvalidPartitions),
        ),
        (
            new_topic("three", 1, 3),
            Some(ResponseError::InvalidReplicationFactor),
        ),
        (
            new_topic("replicated", 1, 1).with_configs(vec![replicated]),
            Some(ResponseError::InvalidConfig),
        ),
    ];
    for (topic, error) in cases {
        let expected = error.map_or(0, |error| error.code());
        assert_eq!(create(&mut connection, topic).await, expected, "{error:?}");
    }
    let all = connection
        .call(&MetadataRequest::default().with_topics(None), 12)
        .await;
    assert_eq!(all.topics.len(), 1);
    assert_eq!(all.topics[0].partitions.len(), 3, "the default");
    assert_eq!(all.brokers.len(), 1);
    assert_eq!(
        format!("{}:{}", &*all.brokers[0].host, all.brokers[0].port),
        kafka.bootstrap()
    );
}

#[tokio::test]
async fn a_topic_is_created_by_asking_only_where_both_sides_allow_it() {
    let kafka = Kafka::own_broker().await;
    let mut connection = kafka.connect().await;
    let unknown = ResponseError::UnknownTopicOrPartition.code();
    let asked = metadata(&mut connection, &["orders"], false).await;
    assert_eq!(asked.topics[0].error_code, unknown);
    let asked = metadata(&mut connection, &["orders", "bad name"], true).await;
    assert_eq!(asked.topics[0].error_code, 0);
    assert_eq!(asked.topics[0].partitions.len(), 1);
    let invalid = ResponseError::InvalidTopicException.code();
    assert_eq!(asked.topics[1].error_code, invalid);

    let strict = Kafka::own_broker_with(|config| config.auto_create_topics = false).await;
    let mut connection = strict.connect().await;
    let asked = metadata(&mut connection, &["orders"], true).await;
    assert_eq!(asked.topics[0].error_code, unknown);
}

#[tokio::test]
async fn topics_are_found_by_id() {
    let kafka = Kafka::own_broker().await;
    kafka.create_topic("orders", 1).await;
    let mut connection = kafka.connect().await;
    let id = metadata(&mut connection, &["orders"], false).await.topics[0].topic_id;
    assert!(!id.is_nil());
    let by_id = |id| {
        let asked = MetadataRequestTopic::default()
            .with_topic_id(id)
            .with_name(None);
        MetadataRequest::default().with_topics(Some(vec![asked]))
    };
    let found = connection.call(&by_id(id), 12).await;
    assert_eq!(found.topics[0].name, Some(topic_name("orders")));
    let mut bytes = *id.as_bytes();
    bytes[0] ^= 1;
    let other = connection
        .call(&by_id(uuid::Uuid::from_bytes(bytes)), 12)
        .await;
    assert_eq!(
        other.topics[0].error_code,
        ResponseError::UnknownTopicId.code()
    );
}

#[tokio::test]
async fn partitions_are_added_and_used_at_once() {
    let kafka = Kafka::own_broker().await;
    kafka.create_topic("orders", 1).await;
    let mut connection = kafka.connect().await;
    let mut raise = async |count: i32, dry_run: bool| {
        let topic = CreatePartitionsTopic::default()
            .with_name(topic_name("orders"))
            .with_count(count)
            .with_assignments(None);
        let request = CreatePartitionsRequest::default()
            .with_topics(vec![topic])
            .with_validate_only(dry_run);
        connection.call(&request, 3).await.results[0].error_code
    };
    let invalid = ResponseError::InvalidPartitions.code();
    assert_eq!(raise(1, false).await, invalid);
    assert_eq!(raise(3, true).await, 0);
    assert_eq!(raise(3, false).await, 0);
    assert_eq!(raise(2, false).await, invalid);
    let batch = Batch::of(&["a"]).bytes();
    let mut connection = kafka.connect().await;
    assert_eq!(produce(&mut connection, "orders", 2, &batch).await, (0, 0));
}

#[tokio::test]
async fn a_topic_deleted_and_created_again_is_another_one() {
    let mut kafka = Kafka::own_broker().await;
    kafka.create_topic("orders", 1).await;
    let mut connection = kafka.connect().await;
    let batch = Batch::of(&["old"]).bytes();
    produce(&mut connection, "orders", 0, &batch).await;
    let old = metadata(&mut connection, &["orders"], false).await.topics[0].topic_id;
    crate::common::delete_topic(&mut connection, "orders").await;
    kafka.create_topic("orders", 1).await;
    let new = metadata(&mut connection, &["orders"], false).await.topics[0].topic_id;
    assert_ne!(old, new);
    assert_eq!(latest(&mut connection, "orders", 0).await, 0);
    crate::common::delete_topic(&mut connection, "orders").await;
    kafka.kill_broker().await;
    kafka.start_broker().await;
    let mut connection = kafka.connect().await;
    let asked = metadata(&mut connection, &["orders"], false).await;
    let unknown = ResponseError::UnknownTopicOrPartition.code();
    assert_eq!(asked.topics[0].error_code, unknown, "deleted for good");
}

#[tokio::test]
async fn offsets_are_found_by_time() {
    let kafka = Kafka::own_broker().await;
    kafka.create_topic("orders", 1).await;
    let mut connection = kafka.connect().await;
    for timestamp in [1000, 3000, 2000] {
        let batch = Batch::of(&["a", "b"]).timestamp(timestamp).bytes();
        produce(&mut connection, "orders", 0, &batch).await;
    }
    for (timestamp, offset) in [
        (-1, 6),
        (-2, 0),
        (-3, 2),
        (0, 0),
        (1000, 0),
        (1001, 2),
        (3000, 2),
        (3001, -1),
    ] {
        let found = offset_at(&mut connection, "orders", 0, timestamp).await;
        assert_eq!(found, offset, "at {timestamp}");
    }
}

#[tokio::test]
async fn deleted_records_are_out_of_range() {
    let kafka = Kafka::own_broker().await;
    kafka.create_topic("orders", 1).await;
    let mut connection = kafka.connect().await;
    for value in ["a", "b", "c"] {
        let batch = Batch::of(&[value]).bytes();
        produce(&mut connection, "orders", 0, &batch).await;
    }
    let delete = |offset| {
        let partition = DeleteRecordsPartition::default().with_offset(offset);
        let topic = DeleteRecordsTopic::default()
            .with_name(topic_name("orders"))
            .with_partitions(vec![partition]);
        DeleteRecordsRequest::default().with_topics(vec![topic])
    };
    let response = connection.call(&delete(2), 2).await;
    let partition = &response.topics[0].partitions[0];
    assert_eq!((partition.error_code, partition.low_watermark), (0, 2));
    let out_of_range = ResponseError::OffsetOutOfRange.code();
    let response = connection.call(&delete(4), 2).await;
    assert_eq!(response.topics[0].partitions[0].error_code, out_of_range);
    let response = connection.call(&fetch("orders", &[(0, 1)]), 11).await;
    let partition = &response.responses[0].partitions[0];
    assert_eq!(partition.error_code, out_of_range);
    assert_eq!(offset_at(&mut connection, "orders", 0, -2).await, 2);
}

#[tokio::test]
async fn settings_are_changed_told_and_kept() {
    let mut kafka = Kafka::own_broker().await;
    kafka.create_topic("orders", 1).await;
    let mut connection = kafka.connect().await;
    let alter = |name: &str, operation: i8, value: &str| {
        let config = AlterableConfig::default()
            .with_name(text(name))
            .with_config_operation(operation)
            .with_value(Some(text(value)));
        let resource = AlterConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(text("orders"))
            .with_configs(vec![config]);
        IncrementalAlterConfigsRequest::default().with_resources(vec![resource])
    };
    let describe = DescribeConfigsRequest::default().with_resources(vec![
        DescribeConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(text("orders"))
            .with_configuration_keys(Some(vec![text("max.message.bytes")])),
    ]);
    let set = connection
        .call(&alter("max.message.bytes", 0, "100"), 1)
        .await;
    assert_eq!(set.responses[0].error_code, 0);
    let refused = connection
        .call(&alter("min.insync.replicas", 0, "2"), 1)
        .await;
    assert_eq!(
        refused.responses[0].error_code,
        ResponseError::InvalidConfig.code()
    );
    kafka.kill_broker().await;
    kafka.start_broker().await;
    let mut connection = kafka.connect().await;
    let told = connection.call(&describe, 4).await;
    let config = &told.results[0].configs[0];
    assert_eq!(config.value, Some(text("100")));
    assert_eq!(config.config_source, 1);
    let large = Batch::of(&["x".repeat(100).as_str()]).bytes();
    assert_eq!(
        produce(&mut connection, "orders", 0, &large).await.0,
        ResponseError::MessageTooLarge.code()
    );
    connection.call(&alter("max.message.bytes", 1, ""), 1).await;
    assert_eq!(produce(&mut connection, "orders", 0, &large).await, (0, 0));
    let told = connection.call(&describe, 4).await;
    let config = &told.results[0].configs[0];
    assert_eq!(config.value, Some(text("1048588")));
    assert_eq!(config.config_source, 5);
}

#[tokio::test]
async fn topics_are_described_page_by_page() {
    let kafka = Kafka::own_broker().await;
    kafka.create_topic("a", 2).await;
    kafka.create_topic("b", 3).await;
    let mut connection = kafka.connect().await;
    let mut found = Vec::new();
    let mut cursor = None;
    loop {
        let topics = ["a", "b"].map(|name| TopicRequest::default().with_name(topic_name(name)));
        let request = DescribeTopicPartitionsRequest::default()
            .with_topics(topics.to_vec())
            .with_response_partition_limit(2)
            .with_cursor(cursor);
        let response = connection.call(&request, 0).await;
        for topic in &response.topics {
            for partition in &topic.partitions {
                let name = topic.name.clone().unwrap();
                found.push(format!("{}-{}", name.as_str(), partition.partition_index));
            }
        }
        let Some(next) = response.next_cursor else {
            break;
        };
        cursor = Some(
            Cursor::default()
                .with_topic_name(next.topic_name)
                .with_partition_index(next.partition_index),
        );
    }
    assert_eq!(found, ["a-0", "a-1", "b-0", "b-1", "b-2"]);
}

#[tokio::test]
async fn a_restart_is_a_new_leader_epoch() {
    let mut kafka = Kafka::own_broker().await;
    kafka.create_topic("orders", 1).await;
    let mut connection = kafka.connect().await;
    let epoch = |response: &MetadataResponse| response.topics[0].partitions[0].leader_epoch;
    let before = epoch(&metadata(&mut connection, &["orders"], false).await);
    let batch = Batch::of(&["a"]).bytes();
    produce(&mut connection, "orders", 0, &batch).await;
    kafka.stop_broker().await;
    kafka.start_broker().await;
    let mut connection = kafka.connect().await;
    let after = epoch(&metadata(&mut connection, &["orders"], false).await);
    assert!(after > before);
    produce(&mut connection, "orders", 0, &batch).await;

    let mut request = fetch("orders", &[(0, 0)]);
    let mut fetched = async |believed: i32| {
        request.topics[0].partitions[0].current_leader_epoch = believed;
        let response = connection.call(&request, 11).await;
        response.responses[0].partitions[0].error_code
    };
    let fenced = ResponseError::FencedLeaderEpoch.code();
    let unknown = ResponseError::UnknownLeaderEpoch.code();
    assert_eq!(fetched(before).await, fenced);
    assert_eq!(fetched(after + 1).await, unknown);
    assert_eq!(fetched(after).await, 0);

    let partition = OffsetForLeaderPartition::default()
        .with_current_leader_epoch(after)
        .with_leader_epoch(before);
    let topic = OffsetForLeaderTopic::default()
        .with_topic(topic_name("orders"))
        .with_partitions(vec![partition]);
    let request = OffsetForLeaderEpochRequest::default().with_topics(vec![topic]);
    let mut connection = kafka.connect().await;
    let response = connection.call(&request, 4).await;
    let end = &response.topics[0].partitions[0];
    assert_eq!((end.leader_epoch, end.end_offset), (before, 1));
    assert_eq!(read_all(&mut connection, "orders", 0).await, ["a", "a"]);
}

#[tokio::test]
async fn no_request_makes_more_partitions_than_there_may_be() {
    let mut kafka = Kafka::own_broker_with(|config| config.max_partitions = 10).await;
    kafka.create_topic("orders", 8).await;
    let mut connection = kafka.connect().await;
    let policy = ResponseError::PolicyViolation.code();
    // Many topics by asking for them.
    let names: Vec<String> = (0..100).map(|n| format!("t{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let answered = metadata(&mut connection, &names, true).await;
    let codes: Vec<i16> = answered
        .topics
        .iter()
        .map(|topic| topic.error_code)
        .collect();
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 2);
    assert_eq!(codes.iter().filter(|code| **code == policy).count(), 98);
    let more = CreatePartitionsTopic::default()
        .with_name(topic_name("orders"))
        .with_count(9)
        .with_assignments(None);
    let request = CreatePartitionsRequest::default().with_topics(vec![more]);
    let refused = &connection.call(&request, 3).await.results[0];
    assert_eq!(refused.error_code, policy);
    let reason = refused.error_message.clone().unwrap();
    assert!(reason.contains("max_partitions"), "{reason}");
    // What is there stays, and room that is made is room.
    crate::common::delete_topic(&mut connection, "t0").await;
    let answered = metadata(&mut connection, &["t50", "t51"], true).await;
    let codes: Vec<i16> = answered
        .topics
        .iter()
        .map(|topic| topic.error_code)
        .collect();
    assert_eq!(codes, [0, policy]);
    kafka.stop_broker().await;
    kafka.start_broker().await;
    let mut connection = kafka.connect().await;
    let batch = Batch::of(&["a"]).bytes();
    assert_eq!(produce(&mut connection, "orders", 7, &batch).await, (0, 0));
}
