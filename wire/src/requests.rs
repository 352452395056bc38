//! The layout of every request that the broker serves, after Kafka's message definitions.

use kafka_protocol::messages::create_partitions_request::{
    CreatePartitionsAssignment, CreatePartitionsTopic,
};
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use kafka_protocol::messages::describe_topic_partitions_request::TopicRequest;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{HeaderVersion, StrBytes};

use crate::walk::{Checked, Shape, Walk};

macro_rules! shapes {
    ($($request:ty => |$walk:ident| $body:block)*) => {
        $(impl Shape for $request {
            fn flexible(version: i16) -> bool {
                <Self as HeaderVersion>::header_version(version) >= 2
            }

            fn walk($walk: &mut Walk<'_>) -> Checked {
                $body
            }
        })*
    };
}

/// Topics with a name, each with partitions of so many bytes.
fn topics<Topic, Partition>(walk: &mut Walk<'_>, partition_bytes: usize) -> Checked {
    walk.array::<Topic>(|walk| {
        walk.string()?;
        walk.array::<Partition>(|walk| {
            walk.skip(partition_bytes)?;
            walk.tags()
        })?;
        walk.tags()
    })
}

/// Topics with a name, each with bare partition numbers, which have no tagged fields.
fn topic_indexes<Topic>(walk: &mut Walk<'_>) -> Checked {
    walk.array::<Topic>(|walk| {
        walk.string()?;
        walk.array::<i32>(|walk| walk.skip(4))?;
        walk.tags()
    })
}

/// A topic's name, or its id from version 13 on (KIP-516).
fn topic_of_a_fetch(walk: &mut Walk<'_>) -> Checked {
    if walk.version <= 12 {
        walk.string()?;
    }
    walk.skip(walk.since(13, 16))
}

/// A list of resources with settings of so many bytes besides name and value.
fn resources<Resource, Setting>(walk: &mut Walk<'_>, setting_bytes: usize) -> Checked {
    walk.array::<Resource>(|walk| {
        walk.skip(1)?;
        walk.string()?;
        walk.array::<Setting>(|walk| {
            walk.string()?;
            walk.skip(setting_bytes)?;
            walk.string()?;
            walk.tags()
        })?;
        walk.tags()
    })
}

shapes! {
    ApiVersionsRequest => |walk| {
        if walk.version >= 3 {
            walk.string()?;
            walk.string()?;
        }
        walk.tags()
    }
    MetadataRequest => |walk| {
        let id = walk.since(10, 16);
        walk.array::<MetadataRequestTopic>(|walk| {
            walk.skip(id)?;
            walk.string()?;
            walk.tags()
        })?;
        let cluster_operations = usize::from((8..=10).contains(&walk.version));
        walk.skip(walk.since(4, 1) + cluster_operations + walk.since(8, 1))?;
        walk.tags()
    }
    ProduceRequest => |walk| {
        walk.string()?;
        walk.skip(6)?;
        walk.array::<TopicProduceData>(|walk| {
            walk.string()?;
            walk.array::<PartitionProduceData>(|walk| {
                walk.skip(4)?;
                walk.bytes()?;
                walk.tags()
            })?;
            walk.tags()
        })?;
        walk.tags()
    }
    FetchRequest => |walk| {
        walk.skip(17 + walk.since(7, 8))?;
        let partition = 16
            + walk.since(9, 4)
            + walk.since(12, 4)
            + walk.since(5, 8);
        walk.array::<FetchTopic>(|walk| {
            topic_of_a_fetch(walk)?;
            walk.array::<FetchPartition>(|walk| {
                walk.skip(partition)?;
                walk.tags()
            })?;
            walk.tags()
        })?;
        if walk.version >= 7 {
            walk.array::<ForgottenTopic>(|walk| {
                topic_of_a_fetch(walk)?;
                walk.array::<i32>(|walk| walk.skip(4))?;
                walk.tags()
            })?;
        }
        if walk.version >= 11 {
            walk.string()?;
        }
        walk.known_tags(|walk, tag| {
            // The cluster's id; what follows is for versions not served.
            if tag == 0 {
                walk.string()?;
            }
            Ok(tag == 0)
        })
    }
    ListOffsetsRequest => |walk| {
        walk.skip(4 + walk.since(2, 1))?;
        let partition = 12 + walk.since(4, 4);
        topics::<ListOffsetsTopic, ListOffsetsPartition>(walk, partition)?;
        walk.tags()
    }
    OffsetForLeaderEpochRequest => |walk| {
        walk.skip(walk.since(3, 4))?;
        topics::<OffsetForLeaderTopic, OffsetForLeaderPartition>(walk, 12)?;
        walk.tags()
    }
    InitProducerIdRequest => |walk| {
        walk.string()?;
        walk.skip(4 + walk.since(3, 10))?;
        walk.tags()
    }
    CreateTopicsRequest => |walk| {
        walk.array::<CreatableTopic>(|walk| {
            walk.string()?;
            walk.skip(6)?;
            walk.array::<CreatableReplicaAssignment>(|walk| {
                walk.skip(4)?;
                walk.array::<i32>(|walk| walk.skip(4))?;
                walk.tags()
            })?;
            walk.array::<CreatableTopicConfig>(|walk| {
                walk.string()?;
                walk.string()?;
                walk.tags()
            })?;
            walk.tags()
        })?;
        walk.skip(5)?;
        walk.tags()
    }
    DeleteTopicsRequest => |walk| {
        if walk.version >= 6 {
            walk.array::<DeleteTopicState>(|walk| {
                walk.string()?;
                walk.skip(16)?;
                walk.tags()
            })?;
        } else {
            walk.array::<StrBytes>(Walk::string)?;
        }
        walk.skip(4)?;
        walk.tags()
    }
    DeleteRecordsRequest => |walk| {
        topics::<DeleteRecordsTopic, DeleteRecordsPartition>(walk, 12)?;
        walk.skip(4)?;
        walk.tags()
    }
    CreatePartitionsRequest => |walk| {
        walk.array::<CreatePartitionsTopic>(|walk| {
            walk.string()?;
            walk.skip(4)?;
            walk.array::<CreatePartitionsAssignment>(|walk| {
                walk.array::<i32>(|walk| walk.skip(4))?;
                walk.tags()
            })?;
            walk.tags()
        })?;
        walk.skip(5)?;
        walk.tags()
    }
    DescribeConfigsRequest => |walk| {
        walk.array::<DescribeConfigsResource>(|walk| {
            walk.skip(1)?;
            walk.string()?;
            walk.array::<StrBytes>(Walk::string)?;
            walk.tags()
        })?;
        walk.skip(1 + walk.since(3, 1))?;
        walk.tags()
    }
    AlterConfigsRequest => |walk| {
        resources::<alter_configs_request::AlterConfigsResource, alter_configs_request::AlterableConfig>(walk, 0)?;
        walk.skip(1)?;
        walk.tags()
    }
    IncrementalAlterConfigsRequest => |walk| {
        resources::<incremental_alter_configs_request::AlterConfigsResource, incremental_alter_configs_request::AlterableConfig>(walk, 1)?;
        walk.skip(1)?;
        walk.tags()
    }
    DescribeLogDirsRequest => |walk| {
        topic_indexes::<DescribableLogDirTopic>(walk)?;
        walk.tags()
    }
    DescribeClusterRequest => |walk| {
        walk.skip(1 + walk.since(1, 1) + walk.since(2, 1))?;
        walk.tags()
    }
    DescribeTopicPartitionsRequest => |walk| {
        walk.array::<TopicRequest>(|walk| {
            walk.string()?;
            walk.tags()
        })?;
        walk.skip(4)?;
        let cursor = walk.peek();
        walk.skip(1)?;
        // A struct that may be null starts with -1 when it is.
        if cursor != Some(0xff) {
            walk.string()?;
            walk.skip(4)?;
            walk.tags()?;
        }
        walk.tags()
    }
    FindCoordinatorRequest => |walk| {
        if walk.version <= 3 {
            walk.string()?;
        }
        walk.skip(walk.since(1, 1))?;
        if walk.version >= 4 {
            walk.array::<StrBytes>(Walk::string)?;
        }
        walk.tags()
    }
    JoinGroupRequest => |walk| {
        walk.string()?;
        walk.skip(4 + walk.since(1, 4))?;
        walk.string()?;
        if walk.version >= 5 {
            walk.string()?;
        }
        walk.string()?;
        walk.array::<JoinGroupRequestProtocol>(|walk| {
            walk.string()?;
            walk.bytes()?;
            walk.tags()
        })?;
        if walk.version >= 8 {
            walk.string()?;
        }
        walk.tags()
    }
    SyncGroupRequest => |walk| {
        walk.string()?;
        walk.skip(4)?;
        walk.string()?;
        if walk.version >= 3 {
            walk.string()?;
        }
        if walk.version >= 5 {
            walk.string()?;
            walk.string()?;
        }
        walk.array::<SyncGroupRequestAssignment>(|walk| {
            walk.string()?;
            walk.bytes()?;
            walk.tags()
        })?;
        walk.tags()
    }
    ConsumerGroupHeartbeatRequest => |walk| {
        walk.string()?;
        walk.string()?;
        walk.skip(4)?;
        walk.string()?;
        walk.string()?;
        walk.skip(4)?;
        walk.array::<TopicName>(Walk::string)?;
        if walk.version >= 1 {
            walk.string()?;
        }
        walk.string()?;
        walk.array::<consumer_group_heartbeat_request::TopicPartitions>(|walk| {
            walk.skip(16)?;
            walk.array::<i32>(|walk| walk.skip(4))?;
            walk.tags()
        })?;
        walk.tags()
    }
    HeartbeatRequest => |walk| {
        walk.string()?;
        walk.skip(4)?;
        walk.string()?;
        if walk.version >= 3 {
            walk.string()?;
        }
        walk.tags()
    }
    LeaveGroupRequest => |walk| {
        walk.string()?;
        if walk.version <= 2 {
            walk.string()?;
        } else {
            walk.array::<MemberIdentity>(|walk| {
                walk.string()?;
                walk.string()?;
                if walk.version >= 5 {
                    walk.string()?;
                }
                walk.tags()
            })?;
        }
        walk.tags()
    }
    OffsetCommitRequest => |walk| {
        walk.string()?;
        walk.skip(4)?;
        walk.string()?;
        if walk.version >= 7 {
            walk.string()?;
        }
        if walk.version <= 4 {
            walk.skip(8)?;
        }
        walk.array::<OffsetCommitRequestTopic>(|walk| {
            walk.string()?;
            walk.array::<OffsetCommitRequestPartition>(|walk| {
                walk.skip(12 + walk.since(6, 4))?;
                walk.string()?;
                walk.tags()
            })?;
            walk.tags()
        })?;
        walk.tags()
    }
    OffsetFetchRequest => |walk| {
        if walk.version <= 7 {
            walk.string()?;
            topic_indexes::<OffsetFetchRequestTopic>(walk)?;
        } else {
            walk.array::<OffsetFetchRequestGroup>(|walk| {
                walk.string()?;
                if walk.version >= 9 {
                    walk.string()?;
                    walk.skip(4)?;
                }
                topic_indexes::<OffsetFetchRequestTopics>(walk)?;
                walk.tags()
            })?;
        }
        walk.skip(walk.since(7, 1))?;
        walk.tags()
    }
    OffsetDeleteRequest => |walk| {
        walk.string()?;
        topics::<OffsetDeleteRequestTopic, OffsetDeleteRequestPartition>(walk, 4)?;
        walk.tags()
    }
    ListGroupsRequest => |walk| {
        if walk.version >= 4 {
            walk.array::<StrBytes>(Walk::string)?;
        }
        if walk.version >= 5 {
            walk.array::<StrBytes>(Walk::string)?;
        }
        walk.tags()
    }
    DescribeGroupsRequest => |walk| {
        walk.array::<StrBytes>(Walk::string)?;
        walk.skip(walk.since(3, 1))?;
        walk.tags()
    }
    DeleteGroupsRequest => |walk| {
        walk.array::<StrBytes>(Walk::string)?;
        walk.tags()
    }
}

#[cfg(test)]
mod tests;
