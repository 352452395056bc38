use kafka_protocol::messages::*;
use proptest::prelude::*;

use crate::ShapeError;
use crate::fitting::{fits, text};
use crate::walk::{check, check_request_header};

#[test]
fn every_request_has_the_shape_its_encoder_gives_it() {
    use alter_configs_request as alter;
    use create_partitions_request as partitions;
    use create_topics_request as create;
    use incremental_alter_configs_request as incremental;

    fits(3..=4, |_| {
        ApiVersionsRequest::default()
            .with_client_software_name(text("name"))
            .with_client_software_version(text("1"))
    });
    fits(0..=13, |version| {
        let topic = metadata_request::MetadataRequestTopic::default()
            .with_name(Some(text("orders").into()));
        let request = MetadataRequest::default().with_topics(Some(vec![topic.clone(), topic]));
        if version < 4 {
            request.with_allow_auto_topic_creation(true)
        } else {
            request
        }
    });
    fits(1..=13, |_| MetadataRequest::default().with_topics(None));
    fits(3..=11, |_| {
        let partition = produce_request::PartitionProduceData::default()
            .with_records(Some(vec![1, 2, 3].into()));
        let empty = produce_request::PartitionProduceData::default().with_records(None);
        let topic = produce_request::TopicProduceData::default()
            .with_name(text("orders").into())
            .with_partition_data(vec![partition, empty]);
        ProduceRequest::default().with_topic_data(vec![topic.clone(), topic])
    });
    fits(4..=13, |version| {
        let partition = fetch_request::FetchPartition::default();
        let topic = fetch_request::FetchTopic::default()
            .with_topic(text("orders").into())
            .with_partitions(vec![partition.clone(), partition]);
        let forgotten = fetch_request::ForgottenTopic::default()
            .with_topic(text("users").into())
            .with_partitions(vec![1, 2]);
        let request = FetchRequest::default().with_topics(vec![topic]);
        if version >= 7 {
            request.with_forgotten_topics_data(vec![forgotten])
        } else {
            request
        }
    });
    fits(1..=7, |_| {
        let topic = list_offsets_request::ListOffsetsTopic::default()
            .with_name(text("orders").into())
            .with_partitions(vec![Default::default(), Default::default()]);
        ListOffsetsRequest::default().with_topics(vec![topic])
    });
    fits(2..=4, |_| {
        let topic = offset_for_leader_epoch_request::OffsetForLeaderTopic::default()
            .with_topic(text("orders").into())
            .with_partitions(vec![Default::default()]);
        OffsetForLeaderEpochRequest::default().with_topics(vec![topic])
    });
    fits(0..=5, |_| {
        InitProducerIdRequest::default().with_transactional_id(Some(text("id").into()))
    });
    fits(2..=7, |_| {
        let assignment =
            create::CreatableReplicaAssignment::default().with_broker_ids(vec![1.into()]);
        let config = create::CreatableTopicConfig::default()
            .with_name(text("retention.ms"))
            .with_value(Some(text("1")));
        let topic = create::CreatableTopic::default()
            .with_name(text("orders").into())
            .with_assignments(vec![assignment])
            .with_configs(vec![config]);
        CreateTopicsRequest::default().with_topics(vec![topic])
    });
    fits(1..=6, |version| {
        if version >= 6 {
            DeleteTopicsRequest::default().with_topics(vec![Default::default()])
        } else {
            DeleteTopicsRequest::default().with_topic_names(vec![text("orders").into()])
        }
    });
    fits(0..=2, |_| {
        let topic = delete_records_request::DeleteRecordsTopic::default()
            .with_name(text("orders").into())
            .with_partitions(vec![Default::default()]);
        DeleteRecordsRequest::default().with_topics(vec![topic])
    });
    fits(0..=3, |_| {
        let assignment =
            partitions::CreatePartitionsAssignment::default().with_broker_ids(vec![1.into()]);
        let topic = partitions::CreatePartitionsTopic::default()
            .with_name(text("orders").into())
            .with_assignments(Some(vec![assignment]));
        CreatePartitionsRequest::default().with_topics(vec![topic])
    });
    fits(1..=4, |_| {
        let resource = describe_configs_request::DescribeConfigsResource::default()
            .with_resource_name(text("orders"))
            .with_configuration_keys(Some(vec![text("retention.ms")]));
        DescribeConfigsRequest::default().with_resources(vec![resource])
    });
    fits(0..=2, |_| {
        let config = alter::AlterableConfig::default().with_name(text("retention.ms"));
        let resource = alter::AlterConfigsResource::default()
            .with_resource_name(text("orders"))
            .with_configs(vec![config]);
        AlterConfigsRequest::default().with_resources(vec![resource])
    });
    fits(0..=1, |_| {
        let config = incremental::AlterableConfig::default()
            .with_name(text("retention.ms"))
            .with_value(Some(text("1")));
        let resource = incremental::AlterConfigsResource::default()
            .with_resource_name(text("orders"))
            .with_configs(vec![config]);
        IncrementalAlterConfigsRequest::default().with_resources(vec![resource])
    });
    fits(1..=4, |_| {
        let topic = describe_log_dirs_request::DescribableLogDirTopic::default()
            .with_topic(text("orders").into())
            .with_partitions(vec![1]);
        DescribeLogDirsRequest::default().with_topics(Some(vec![topic]))
    });
    fits(0..=2, |_| DescribeClusterRequest::default());
    fits(0..=0, |_| {
        let topic = describe_topic_partitions_request::TopicRequest::default()
            .with_name(text("orders").into());
        DescribeTopicPartitionsRequest::default().with_topics(vec![topic])
    });
    fits(0..=0, |_| {
        let cursor =
            describe_topic_partitions_request::Cursor::default().with_topic_name(text("a").into());
        DescribeTopicPartitionsRequest::default().with_cursor(Some(cursor))
    });
    fits(0..=6, |version| {
        if version >= 4 {
            FindCoordinatorRequest::default().with_coordinator_keys(vec![text("a"), text("b")])
        } else {
            FindCoordinatorRequest::default().with_key(text("a"))
        }
    });
}

#[test]
fn every_request_of_groups_has_the_shape_its_encoder_gives_it() {
    fits(0..=1, |version| {
        let owned = consumer_group_heartbeat_request::TopicPartitions::default()
            .with_partitions(vec![1, 2]);
        let request = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(text("g").into())
            .with_instance_id(Some(text("i")))
            .with_subscribed_topic_names(Some(vec![text("orders").into()]))
            .with_topic_partitions(Some(vec![owned]));
        match version {
            0 => request,
            _ => request.with_subscribed_topic_regex(Some(text("o.*"))),
        }
    });
    fits(0..=9, |version| {
        let protocol = join_group_request::JoinGroupRequestProtocol::default()
            .with_name(text("range"))
            .with_metadata(vec![1, 2].into());
        let request = JoinGroupRequest::default()
            .with_group_id(text("shop").into())
            .with_protocols(vec![protocol.clone(), protocol]);
        if version >= 5 {
            request.with_group_instance_id(Some(text("one")))
        } else {
            request
        }
    });
    fits(0..=5, |_| {
        let assignment = sync_group_request::SyncGroupRequestAssignment::default()
            .with_member_id(text("member"))
            .with_assignment(vec![1].into());
        SyncGroupRequest::default().with_assignments(vec![assignment])
    });
    fits(0..=4, |_| {
        HeartbeatRequest::default().with_member_id(text("member"))
    });
    fits(0..=5, |version| {
        if version >= 3 {
            let member =
                leave_group_request::MemberIdentity::default().with_member_id(text("member"));
            LeaveGroupRequest::default().with_members(vec![member])
        } else {
            LeaveGroupRequest::default().with_member_id(text("member"))
        }
    });
    fits(2..=9, |_| {
        let partition = offset_commit_request::OffsetCommitRequestPartition::default()
            .with_committed_metadata(Some(text("metadata")));
        let topic = offset_commit_request::OffsetCommitRequestTopic::default()
            .with_name(text("orders").into())
            .with_partitions(vec![partition]);
        OffsetCommitRequest::default().with_topics(vec![topic])
    });
    fits(1..=9, |version| {
        if version >= 8 {
            let topic = offset_fetch_request::OffsetFetchRequestTopics::default()
                .with_name(text("orders").into())
                .with_partition_indexes(vec![1, 2]);
            let group = offset_fetch_request::OffsetFetchRequestGroup::default()
                .with_group_id(text("shop").into())
                .with_topics(Some(vec![topic]));
            OffsetFetchRequest::default().with_groups(vec![group])
        } else {
            let topic = offset_fetch_request::OffsetFetchRequestTopic::default()
                .with_name(text("orders").into())
                .with_partition_indexes(vec![1, 2]);
            OffsetFetchRequest::default().with_topics(Some(vec![topic]))
        }
    });
    fits(0..=0, |_| {
        let topic = offset_delete_request::OffsetDeleteRequestTopic::default()
            .with_name(text("orders").into())
            .with_partitions(vec![Default::default()]);
        OffsetDeleteRequest::default().with_topics(vec![topic])
    });
    fits(4..=4, |_| {
        ListGroupsRequest::default().with_states_filter(vec![text("Stable")])
    });
    fits(5..=5, |_| {
        ListGroupsRequest::default().with_types_filter(vec![text("classic")])
    });
    fits(0..=6, |_| {
        DescribeGroupsRequest::default().with_groups(vec![text("shop").into()])
    });
    fits(0..=2, |_| {
        DeleteGroupsRequest::default().with_groups_names(vec![text("shop").into()])
    });
}

#[test]
fn an_array_that_claims_billions_is_refused_before_anything_is_allocated() {
    const LIMIT: usize = (1 << 20) + 16 * 5;
    // Classic length, in a metadata request of version 1.
    let claims = [&i32::MAX.to_be_bytes()[..], b"x"].concat();
    assert_eq!(
        check::<MetadataRequest>(&claims, 1),
        Err(ShapeError::TooMany { limit: LIMIT })
    );
    // Compact length, of version 9.
    let claims = [0xff, 0xff, 0xff, 0xff, 0x0f];
    assert_eq!(
        check::<MetadataRequest>(&claims, 9),
        Err(ShapeError::TooMany { limit: LIMIT })
    );
}

#[test]
fn a_header_is_checked_with_its_client_id_and_tags() {
    let header = |client_id: &[u8], tags: &[u8]| {
        let mut frame = vec![0, 3, 0, 9, 0, 0, 0, 1];
        frame.extend_from_slice(client_id);
        frame.extend_from_slice(tags);
        frame
    };
    assert_eq!(
        check_request_header(&header(&[0, 1, b'a'], &[0]), 2),
        Ok(())
    );
    assert_eq!(
        check_request_header(&header(&[0xff, 0xff], &[0]), 2),
        Ok(())
    );
    assert_eq!(
        check_request_header(&header(&[0, 9, b'a'], &[0]), 2),
        Err(ShapeError::Short)
    );
    assert_eq!(
        check_request_header(&header(&[0xff, 0xfe], &[0]), 2),
        Err(ShapeError::Negative)
    );
}

proptest! {
    /// What passes the check, the decoder must take without harm; what does not, nobody decodes.
    #[test]
    fn no_bytes_make_the_check_or_the_decoder_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        version in 0i16..=13,
    ) {
        use kafka_protocol::protocol::Decodable;
        if check::<MetadataRequest>(&bytes, version).is_ok() {
            let _ = MetadataRequest::decode(&mut bytes::Bytes::from(bytes.clone()), version);
        }
        if (3..=11).contains(&version) && check::<ProduceRequest>(&bytes, version).is_ok() {
            let _ = ProduceRequest::decode(&mut bytes::Bytes::from(bytes.clone()), version);
        }
        if version <= 9 && check::<JoinGroupRequest>(&bytes, version).is_ok() {
            let _ = JoinGroupRequest::decode(&mut bytes::Bytes::from(bytes), version);
        }
    }
}
