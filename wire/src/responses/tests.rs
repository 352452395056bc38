use bytes::BufMut as _;
use kafka_protocol::messages::*;

use super::*;
use crate::fitting::{encoded, fits, text};
use crate::walk::{ShapeError, check};

fn partitions<T: Clone>(partition: T) -> Vec<T> {
    vec![partition.clone(), partition]
}

#[test]
fn every_response_has_the_shape_its_encoder_gives_it() {
    use fetch_response::{EpochEndOffset, LeaderIdAndEpoch, NodeEndpoint, SnapshotId};

    fits(0..=4, |version| {
        let answer =
            ApiVersionsResponse::default().with_api_keys(partitions(ApiVersion::default()));
        if version < 3 {
            return answer;
        }
        answer
            .with_supported_features(partitions(
                SupportedFeatureKey::default().with_name(text("metadata.version")),
            ))
            .with_finalized_features_epoch(3)
            .with_finalized_features(partitions(
                FinalizedFeatureKey::default().with_name(text("metadata.version")),
            ))
            .with_zk_migration_ready(true)
    });
    fits(0..=13, |version| {
        let partition = MetadataResponsePartition::default()
            .with_replica_nodes(vec![1.into(), 2.into()])
            .with_isr_nodes(vec![1.into()]);
        let topic = MetadataResponseTopic::default()
            .with_name(Some(text("orders").into()))
            .with_partitions(partitions(partition));
        let answer = MetadataResponse::default()
            .with_brokers(partitions(
                MetadataResponseBroker::default().with_host(text("localhost")),
            ))
            .with_topics(partitions(topic));
        if version >= 2 {
            answer.with_cluster_id(Some(text("cluster")))
        } else {
            answer
        }
    });
    fits(3..=13, |version| {
        let mut partition = PartitionProduceResponse::default();
        if version >= 8 {
            partition = partition
                .with_record_errors(partitions(BatchIndexAndErrorMessage::default()))
                .with_error_message(Some(text("too large")));
        }
        let mut answer = ProduceResponse::default();
        if version >= 10 {
            partition = partition.with_current_leader(
                produce_response::LeaderIdAndEpoch::default().with_leader_id(2.into()),
            );
            answer = answer.with_node_endpoints(partitions(
                produce_response::NodeEndpoint::default().with_host(text("localhost")),
            ));
        }
        let mut topic =
            TopicProduceResponse::default().with_partition_responses(partitions(partition));
        if version <= 12 {
            topic = topic.with_name(text("orders").into());
        }
        answer.with_responses(partitions(topic))
    });
    fits(4..=18, |version| {
        let mut partition = PartitionData::default()
            .with_aborted_transactions(Some(partitions(AbortedTransaction::default())))
            .with_records(Some(vec![1, 2, 3].into()));
        let mut answer = FetchResponse::default();
        if version >= 12 {
            partition = partition
                .with_diverging_epoch(EpochEndOffset::default().with_epoch(1))
                .with_current_leader(LeaderIdAndEpoch::default().with_leader_id(2.into()))
                .with_snapshot_id(SnapshotId::default().with_epoch(3));
        }
        if version >= 16 {
            answer = answer.with_node_endpoints(partitions(
                NodeEndpoint::default().with_host(text("localhost")),
            ));
        }
        let mut topic = FetchableTopicResponse::default().with_partitions(partitions(partition));
        if version <= 12 {
            topic = topic.with_topic(text("orders").into());
        }
        answer.with_responses(partitions(topic))
    });
    fits(1..=10, |_| {
        let topic = ListOffsetsTopicResponse::default()
            .with_name(text("orders").into())
            .with_partitions(partitions(ListOffsetsPartitionResponse::default()));
        ListOffsetsResponse::default().with_topics(partitions(topic))
    });
    fits(0..=6, |_| InitProducerIdResponse::default());
}

#[test]
fn every_response_of_logins_has_the_shape_its_encoder_gives_it() {
    fits(0..=1, |_| {
        SaslHandshakeResponse::default()
            .with_error_code(33)
            .with_mechanisms(partitions(text("SCRAM-SHA-512")))
    });
    fits(0..=2, |version| {
        let answer = SaslAuthenticateResponse::default()
            .with_error_code(58)
            .with_error_message(Some(text("no such user")))
            .with_auth_bytes(vec![1, 2, 3].into());
        if version >= 1 {
            answer.with_session_lifetime_ms(5)
        } else {
            answer
        }
    });
}

#[test]
fn every_response_of_administration_has_the_shape_its_encoder_gives_it() {
    fits(2..=7, |version| {
        let mut topic = CreatableTopicResult::default()
            .with_name(text("orders").into())
            .with_error_message(Some(text("exists")));
        if version >= 5 {
            topic = topic
                .with_topic_config_error_code(29)
                .with_configs(Some(partitions(
                    CreatableTopicConfigs::default().with_name(text("retention.ms")),
                )));
        }
        CreateTopicsResponse::default().with_topics(partitions(topic))
    });
    fits(1..=6, |version| {
        let mut topic = DeletableTopicResult::default().with_name(Some(text("orders").into()));
        if version >= 5 {
            topic = topic.with_error_message(Some(text("not allowed")));
        }
        DeleteTopicsResponse::default().with_responses(partitions(topic))
    });
    fits(0..=3, |_| {
        let topic = CreatePartitionsTopicResult::default()
            .with_name(text("orders").into())
            .with_error_message(Some(text("fewer")));
        CreatePartitionsResponse::default().with_results(partitions(topic))
    });
    fits(1..=4, |version| {
        let synonym = DescribeConfigsSynonym::default()
            .with_name(text("log.retention.ms"))
            .with_value(Some(text("1")));
        let mut setting = DescribeConfigsResourceResult::default()
            .with_name(text("retention.ms"))
            .with_synonyms(partitions(synonym));
        if version >= 3 {
            setting = setting
                .with_config_type(5)
                .with_documentation(Some(text("how long")));
        }
        let resource = DescribeConfigsResult::default()
            .with_resource_name(text("orders"))
            .with_configs(partitions(setting));
        DescribeConfigsResponse::default().with_results(partitions(resource))
    });
}

#[test]
fn every_response_of_groups_has_the_shape_its_encoder_gives_it() {
    fits(0..=6, |version| {
        if version >= 4 {
            let found = Coordinator::default()
                .with_key(text("shop"))
                .with_host(text("localhost"));
            FindCoordinatorResponse::default().with_coordinators(partitions(found))
        } else {
            FindCoordinatorResponse::default().with_host(text("localhost"))
        }
    });
    fits(0..=9, |version| {
        let mut member = JoinGroupResponseMember::default()
            .with_member_id(text("member"))
            .with_metadata(vec![1, 2].into());
        if version >= 5 {
            member = member.with_group_instance_id(Some(text("one")));
        }
        JoinGroupResponse::default()
            .with_protocol_name(Some(text("range")))
            .with_leader(text("member"))
            .with_member_id(text("member"))
            .with_members(partitions(member))
    });
    fits(0..=5, |_| {
        SyncGroupResponse::default().with_assignment(vec![1, 2].into())
    });
    fits(0..=4, |_| HeartbeatResponse::default());
    fits(0..=5, |version| {
        if version >= 3 {
            let member = MemberResponse::default()
                .with_member_id(text("member"))
                .with_group_instance_id(Some(text("one")));
            LeaveGroupResponse::default().with_members(partitions(member))
        } else {
            LeaveGroupResponse::default()
        }
    });
    fits(2..=10, |version| {
        let mut topic = OffsetCommitResponseTopic::default()
            .with_partitions(partitions(OffsetCommitResponsePartition::default()));
        if version <= 9 {
            topic = topic.with_name(text("orders").into());
        }
        OffsetCommitResponse::default().with_topics(partitions(topic))
    });
    fits(1..=10, |version| {
        if version <= 7 {
            let partition =
                OffsetFetchResponsePartition::default().with_metadata(Some(text("k1;AB")));
            let topic = OffsetFetchResponseTopic::default()
                .with_name(text("orders").into())
                .with_partitions(partitions(partition));
            return OffsetFetchResponse::default().with_topics(partitions(topic));
        }
        let partition = OffsetFetchResponsePartitions::default().with_metadata(Some(text("k1;AB")));
        let mut topic = OffsetFetchResponseTopics::default().with_partitions(partitions(partition));
        if version <= 9 {
            topic = topic.with_name(text("orders").into());
        }
        let group = OffsetFetchResponseGroup::default()
            .with_group_id(text("shop").into())
            .with_topics(partitions(topic));
        OffsetFetchResponse::default().with_groups(partitions(group))
    });
    fits(0..=5, |version| {
        let mut group = ListedGroup::default()
            .with_group_id(text("shop").into())
            .with_protocol_type(text("consumer"));
        if version >= 4 {
            group = group.with_group_state(text("Stable"));
        }
        if version >= 5 {
            group = group.with_group_type(text("classic"));
        }
        ListGroupsResponse::default().with_groups(partitions(group))
    });
    fits(0..=6, |version| {
        let mut member = DescribedGroupMember::default()
            .with_member_id(text("member"))
            .with_member_metadata(vec![1].into());
        if version >= 4 {
            member = member.with_group_instance_id(Some(text("one")));
        }
        let mut group = DescribedGroup::default()
            .with_group_id(text("shop").into())
            .with_members(partitions(member));
        if version >= 6 {
            group = group.with_error_message(Some(text("not found")));
        }
        DescribeGroupsResponse::default().with_groups(partitions(group))
    });
    fits(0..=1, |version| {
        let topic = ConsumerGroupTopic::default()
            .with_topic_name(text("orders").into())
            .with_partitions(vec![1, 2]);
        let assignment = consumer_group_describe_response::Assignment::default()
            .with_topic_partitions(partitions(topic));
        let mut member = ConsumerGroupMember::default()
            .with_member_id(text("member"))
            .with_instance_id(Some(text("one")))
            .with_subscribed_topic_names(partitions(text("orders").into()))
            .with_subscribed_topic_regex(Some(text("o.*")))
            .with_assignment(assignment.clone())
            .with_target_assignment(assignment);
        if version >= 1 {
            member = member.with_member_type(1);
        }
        let group = DescribedConsumerGroup::default()
            .with_group_id(text("shop").into())
            .with_group_state(text("Stable"))
            .with_assignor_name(text("uniform"))
            .with_members(partitions(member));
        ConsumerGroupDescribeResponse::default().with_groups(partitions(group))
    });
    fits(0..=0, |_| {
        let producer = ProducerState::default().with_producer_id(7.into());
        let partition = ProducersOfPartition::default()
            .with_error_message(Some(text("none")))
            .with_active_producers(partitions(producer));
        let topic = ProducersOfTopic::default()
            .with_name(text("orders").into())
            .with_partitions(partitions(partition));
        DescribeProducersResponse::default().with_topics(partitions(topic))
    });
    fits(0..=2, |_| {
        let group = DeletableGroupResult::default().with_group_id(text("shop").into());
        DeleteGroupsResponse::default().with_results(partitions(group))
    });
}

/// A fetch answer of version 12 with one partition, whose tagged fields are these.
fn fetched(tags: &[u8]) -> Vec<u8> {
    let topic = FetchableTopicResponse::default()
        .with_topic(text("t").into())
        .with_partitions(vec![PartitionData::default()]);
    let answer = FetchResponse::default().with_responses(vec![topic]);
    let mut bytes = encoded(&answer, 12);
    // Its own are empty, as are those of topic and answer behind it.
    assert_eq!(bytes.split_off(bytes.len() - 3), [0, 0, 0]);
    bytes.put(tags);
    bytes.put(&[0, 0][..]);
    bytes
}

#[test]
fn a_tagged_field_is_as_long_as_it_claims() {
    // A leader: node, epoch, no tagged fields of its own.
    let leader = [0, 0, 0, 1, 0, 0, 0, 2, 0];
    let tags = |claimed: u8| [&[1, 1, claimed][..], &leader].concat();
    assert_eq!(check::<FetchResponse>(&fetched(&tags(9)), 12), Ok(()));
    assert_eq!(
        check::<FetchResponse>(&fetched(&tags(8)), 12),
        Err(ShapeError::Short)
    );
    // The decoder would go on behind the leader, with the next partition's length from these bytes.
    let behind = [&tags(14)[..], &[0xff, 0xff, 0xff, 0xff, 0x0f]].concat();
    assert_eq!(
        check::<FetchResponse>(&fetched(&behind), 12),
        Err(ShapeError::Tag(1))
    );
    // One that the decoder does not know is whatever it is.
    assert_eq!(
        check::<FetchResponse>(&fetched(&[1, 9, 3, 1, 2, 3]), 12),
        Ok(())
    );
}

#[test]
fn memory_goes_with_the_size_of_the_frame() {
    // Groups without a name or a type: a hundred bytes of memory for three of the frame.
    let mut answer = vec![0; 7];
    let groups = 100_000_u32;
    answer[6] = 0;
    answer.truncate(6);
    let mut count = groups + 1;
    while count >= 128 {
        answer.push(count as u8 | 0x80);
        count >>= 7;
    }
    answer.push(count as u8);
    answer.extend(std::iter::repeat_n([1, 1, 0], groups as usize).flatten());
    answer.push(0);
    let limit = crate::memory_limit(answer.len());
    assert!(limit < 6_000_000, "{limit}");
    assert_eq!(
        check::<ListGroupsResponse>(&answer, 3),
        Err(ShapeError::TooMany { limit })
    );
}

#[test]
fn a_header_is_bounded_as_well() {
    let header = |tags: &[u8]| {
        let frame = [&[0, 0, 0, 7][..], tags].concat();
        crate::decode_response_header(&mut frame.into(), 1)
    };
    assert_eq!(header(&[0]).unwrap().correlation_id, 7);
    assert!(header(&[0xff, 0xff, 0xff, 0xff, 0x0f]).is_err());
    assert!(header(&[1, 5, 9, 0]).is_err());
}
