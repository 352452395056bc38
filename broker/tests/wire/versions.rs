//! Every API in every version it is served in: asked about something that exists and something
//! that does not, it answers.

use bytes::BytesMut;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::Request;
use testkit::Kafka;
use testkit::raw::Connection;

use crate::common::{Batch, fetch, produce, produce_request, text, topic_name};

struct Asker {
    connection: Connection,
    /// Behind every request.
    stray: &'static [u8],
    /// API key, lowest and highest version, as the broker says.
    served: Vec<(i16, i16, i16)>,
    asked: Vec<i16>,
}

impl Asker {
    /// Asks in every version for which `make` makes a request.
    async fn ask<R: Request>(&mut self, make: impl Fn(i16) -> R) {
        let (_, min, max) = *self
            .served
            .iter()
            .find(|(api, ..)| *api == R::KEY)
            .unwrap_or_else(|| panic!("API {} is not served", R::KEY));
        self.asked.push(R::KEY);
        for version in min..=max {
            // Produce claims versions that only old librdkafka looks at.
            if R::KEY == ApiKey::Produce as i16 && version < 3 {
                continue;
            }
            let request = make(version);
            let mut probe = BytesMut::new();
            assert!(
                request.encode(&mut probe, version).is_ok(),
                "the test's request to API {} cannot be told in version {version}",
                R::KEY
            );
            let sent = self
                .connection
                .send_with(&request, version, self.stray)
                .await;
            sent.unwrap();
            let answer = self.connection.receive::<R>(version).await;
            assert!(answer.is_ok(), "API {}, version {version}", R::KEY);
        }
    }
}

#[tokio::test]
async fn every_version_of_every_api_is_answered() {
    answers_everything(b"").await;
}

/// Kafka ignores what stands behind a request, in whatever API.
#[tokio::test]
async fn bytes_behind_a_request_are_ignored() {
    answers_everything(&[1, 0, 0]).await;
}

async fn answers_everything(stray: &'static [u8]) {
    let kafka = Kafka::own_broker().await;
    kafka.create_topic("orders", 1).await;
    let mut connection = kafka.connect().await;
    let batch = Batch::of(&["a"]).bytes();
    produce(&mut connection, "orders", 0, &batch).await;
    let versions = connection.call(&ApiVersionsRequest::default(), 3).await;
    let served = versions
        .api_keys
        .iter()
        .map(|api| (api.api_key, api.min_version, api.max_version))
        .collect();
    let mut asker = Asker {
        connection,
        stray,
        served,
        asked: Vec::new(),
    };
    records(&mut asker, &batch).await;
    topics(&mut asker).await;
    groups(&mut asker).await;
    let unasked: Vec<i16> = asker
        .served
        .iter()
        .map(|(api, ..)| *api)
        .filter(|api| !asker.asked.contains(api))
        .collect();
    assert_eq!(unasked, [0i16; 0], "every API served is asked here");
}

async fn records(asker: &mut Asker, batch: &[u8]) {
    let asked =
        metadata_request::MetadataRequestTopic::default().with_name(Some(topic_name("orders")));
    let request = MetadataRequest::default().with_topics(Some(vec![asked]));
    let id = asker.connection.call(&request, 12).await.topics[0].topic_id;
    asker.ask(|_| ApiVersionsRequest::default()).await;
    for topic in ["orders", "none"] {
        asker.ask(|_| produce_request(topic, 0, batch, -1)).await;
        asker
            .ask(|version| {
                let mut request = fetch(topic, &[(0, 0)]);
                if version >= 13 && topic == "orders" {
                    request.topics[0].topic_id = id;
                }
                request
            })
            .await;
        asker
            .ask(|_| {
                let partition =
                    list_offsets_request::ListOffsetsPartition::default().with_timestamp(0);
                let topic = list_offsets_request::ListOffsetsTopic::default()
                    .with_name(topic_name(topic))
                    .with_partitions(vec![partition]);
                ListOffsetsRequest::default().with_topics(vec![topic])
            })
            .await;
        asker
            .ask(|_| {
                let topic = offset_for_leader_epoch_request::OffsetForLeaderTopic::default()
                    .with_topic(topic_name(topic))
                    .with_partitions(vec![Default::default()]);
                OffsetForLeaderEpochRequest::default().with_topics(vec![topic])
            })
            .await;
        asker
            .ask(|_| {
                let topic = delete_records_request::DeleteRecordsTopic::default()
                    .with_name(topic_name(topic))
                    .with_partitions(vec![Default::default()]);
                DeleteRecordsRequest::default().with_topics(vec![topic])
            })
            .await;
    }
    asker.ask(|_| InitProducerIdRequest::default()).await;
    asker
        .ask(|_| InitProducerIdRequest::default().with_transactional_id(Some(text("id").into())))
        .await;
}

async fn topics(asker: &mut Asker) {
    for name in ["orders", "none"] {
        asker
            .ask(|version| {
                let topic = metadata_request::MetadataRequestTopic::default()
                    .with_name(Some(topic_name(name)));
                MetadataRequest::default()
                    .with_topics(Some(vec![topic]))
                    .with_allow_auto_topic_creation(version < 4)
            })
            .await;
        asker
            .ask(|version| {
                let topic = create_topics_request::CreatableTopic::default()
                    .with_name(topic_name(&format!("{name}-{version}")))
                    .with_num_partitions(1)
                    .with_replication_factor(1);
                CreateTopicsRequest::default().with_topics(vec![topic.clone(), topic])
            })
            .await;
        asker
            .ask(|version| {
                let topic = create_topics_request::CreatableTopic::default()
                    .with_name(topic_name(&format!("{name}-{version}")))
                    .with_num_partitions(1)
                    .with_replication_factor(1);
                CreateTopicsRequest::default().with_topics(vec![topic])
            })
            .await;
        asker
            .ask(|_| {
                let topic = create_partitions_request::CreatePartitionsTopic::default()
                    .with_name(topic_name(name))
                    .with_count(1)
                    .with_assignments(None);
                CreatePartitionsRequest::default().with_topics(vec![topic])
            })
            .await;
        for kind in [2, 4] {
            asker
                .ask(|_| {
                    let resource = describe_configs_request::DescribeConfigsResource::default()
                        .with_resource_type(kind)
                        .with_resource_name(text(if kind == 4 { "1" } else { name }))
                        .with_configuration_keys(None);
                    DescribeConfigsRequest::default().with_resources(vec![resource])
                })
                .await;
        }
        asker
            .ask(|_| {
                let resource = alter_configs_request::AlterConfigsResource::default()
                    .with_resource_type(2)
                    .with_resource_name(text(name));
                AlterConfigsRequest::default().with_resources(vec![resource])
            })
            .await;
        asker
            .ask(|_| {
                let resource = incremental_alter_configs_request::AlterConfigsResource::default()
                    .with_resource_type(2)
                    .with_resource_name(text(name));
                IncrementalAlterConfigsRequest::default().with_resources(vec![resource])
            })
            .await;
        asker
            .ask(|_| {
                let topic = describe_topic_partitions_request::TopicRequest::default()
                    .with_name(topic_name(name));
                DescribeTopicPartitionsRequest::default()
                    .with_topics(vec![topic])
                    .with_response_partition_limit(10)
            })
            .await;
    }
    asker
        .ask(|_| DescribeLogDirsRequest::default().with_topics(None))
        .await;
    asker.ask(|_| DescribeClusterRequest::default()).await;
    asker
        .ask(|version| {
            if version >= 6 {
                let topic = delete_topics_request::DeleteTopicState::default()
                    .with_name(Some(topic_name("orders-6")));
                DeleteTopicsRequest::default().with_topics(vec![topic, Default::default()])
            } else {
                let names = ["none", &format!("orders-{version}")].map(topic_name);
                DeleteTopicsRequest::default().with_topic_names(names.to_vec())
            }
        })
        .await;
}

async fn groups(asker: &mut Asker) {
    asker
        .ask(|version| {
            if version >= 4 {
                FindCoordinatorRequest::default().with_coordinator_keys(vec![text("shop")])
            } else {
                FindCoordinatorRequest::default().with_key(text("shop"))
            }
        })
        .await;
    asker
        .ask(|version| {
            let protocol =
                join_group_request::JoinGroupRequestProtocol::default().with_name(text("range"));
            JoinGroupRequest::default()
                .with_group_id(text(&format!("shop-{version}")).into())
                .with_session_timeout_ms(10_000)
                .with_protocol_type(text("consumer"))
                .with_protocols(vec![protocol])
        })
        .await;
    for group in ["shop", "shop-0"] {
        let id = || GroupId::from(text(group));
        asker
            .ask(|_| SyncGroupRequest::default().with_group_id(id()))
            .await;
        asker
            .ask(|_| HeartbeatRequest::default().with_group_id(id()))
            .await;
        asker
            .ask(|version| {
                let request = LeaveGroupRequest::default().with_group_id(id());
                if version >= 3 {
                    request.with_members(vec![Default::default()])
                } else {
                    request
                }
            })
            .await;
        asker
            .ask(|_| {
                let topic = offset_commit_request::OffsetCommitRequestTopic::default()
                    .with_name(topic_name("orders"))
                    .with_partitions(vec![Default::default()]);
                OffsetCommitRequest::default()
                    .with_group_id(id())
                    .with_topics(vec![topic])
                    .with_generation_id_or_member_epoch(-1)
            })
            .await;
        for all in [false, true] {
            asker
                .ask(|version| {
                    if version >= 8 {
                        let topic = offset_fetch_request::OffsetFetchRequestTopics::default()
                            .with_name(topic_name("orders"))
                            .with_partition_indexes(vec![0, 1]);
                        let group = offset_fetch_request::OffsetFetchRequestGroup::default()
                            .with_group_id(id())
                            .with_topics((!all).then(|| vec![topic]));
                        return OffsetFetchRequest::default().with_groups(vec![group]);
                    }
                    let topic = offset_fetch_request::OffsetFetchRequestTopic::default()
                        .with_name(topic_name("orders"))
                        .with_partition_indexes(vec![0, 1]);
                    // Version 1 cannot ask for all.
                    let all = all && version >= 2;
                    OffsetFetchRequest::default()
                        .with_group_id(id())
                        .with_topics((!all).then(|| vec![topic]))
                })
                .await;
        }
        asker
            .ask(|_| {
                let topic = offset_delete_request::OffsetDeleteRequestTopic::default()
                    .with_name(topic_name("orders"))
                    .with_partitions(vec![Default::default()]);
                OffsetDeleteRequest::default()
                    .with_group_id(id())
                    .with_topics(vec![topic])
            })
            .await;
        asker
            .ask(|_| DescribeGroupsRequest::default().with_groups(vec![id()]))
            .await;
    }
    asker.ask(|_| ListGroupsRequest::default()).await;
    asker
        .ask(|_| ConsumerGroupHeartbeatRequest::default())
        .await;
    asker
        .ask(|_| DeleteGroupsRequest::default().with_groups_names(vec![text("shop").into()]))
        .await;
}

#[tokio::test]
async fn an_unknown_version_of_api_versions_is_answered_in_version_zero() {
    let kafka = Kafka::own_broker().await;
    let mut connection = kafka.connect().await;
    // Key 18, version 99, correlation 1, no client id, an empty tag section.
    let frame = [0, 0, 0, 11, 0, 18, 0, 99, 0, 0, 0, 1, 0xff, 0xff, 0];
    connection.send_bytes(&frame).await.unwrap();
    let response = connection.receive::<ApiVersionsRequest>(0).await.unwrap();
    let unsupported = ResponseError::UnsupportedVersion.code();
    assert_eq!(response.error_code, unsupported);
    assert_eq!(response.api_keys.len(), 1);
    assert_eq!(response.api_keys[0].max_version, 4);
    // The connection is still good.
    connection.call(&ApiVersionsRequest::default(), 4).await;
}

#[tokio::test]
async fn librdkafka_sees_the_compression_it_looks_for() {
    let kafka = Kafka::own_broker().await;
    let mut connection = kafka.connect().await;
    let versions = connection.call(&ApiVersionsRequest::default(), 0).await;
    let produce = versions
        .api_keys
        .iter()
        .find(|api| api.api_key == ApiKey::Produce as i16)
        .unwrap();
    assert_eq!(produce.min_version, 0);
}
