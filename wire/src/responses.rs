//! The layout of every response that the client layer asks for, after Kafka's message definitions.

use kafka_protocol::messages::*;
use kafka_protocol::messages::{
    api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey},
    consumer_group_describe_response::{
        DescribedGroup as DescribedConsumerGroup, Member as ConsumerGroupMember,
        TopicPartitions as ConsumerGroupTopic,
    },
    create_partitions_response::CreatePartitionsTopicResult,
    create_topics_response::{CreatableTopicConfigs, CreatableTopicResult},
    delete_groups_response::DeletableGroupResult,
    delete_topics_response::DeletableTopicResult,
    describe_configs_response::{
        DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
    },
    describe_groups_response::{DescribedGroup, DescribedGroupMember},
    describe_producers_response::{
        PartitionResponse as ProducersOfPartition, ProducerState, TopicResponse as ProducersOfTopic,
    },
    fetch_response::{AbortedTransaction, FetchableTopicResponse, PartitionData},
    find_coordinator_response::Coordinator,
    join_group_response::JoinGroupResponseMember,
    leave_group_response::MemberResponse,
    list_groups_response::ListedGroup,
    list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse},
    metadata_response::{MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic},
    offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic},
    offset_fetch_response::{
        OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
        OffsetFetchResponseTopic, OffsetFetchResponseTopics,
    },
    produce_response::{BatchIndexAndErrorMessage, PartitionProduceResponse, TopicProduceResponse},
};

use kafka_protocol::protocol::StrBytes;

use crate::walk::{Checked, Shape, Walk};

macro_rules! shapes {
    ($($response:ty, flexible from $flexible:literal => |$walk:ident| $body:block)*) => {
        $(impl Shape for $response {
            fn flexible(version: i16) -> bool {
                version >= $flexible
            }

            fn walk($walk: &mut Walk<'_>) -> Checked {
                $body
            }
        })*
    };
}

/// An array of numbers.
fn numbers(walk: &mut Walk<'_>) -> Checked {
    walk.array::<i32>(|walk| walk.skip(4))
}

/// What a member of a group of the new protocol has, or is to have (KIP-848).
fn consumer_group_assignment(walk: &mut Walk<'_>) -> Checked {
    walk.array::<ConsumerGroupTopic>(|walk| {
        walk.skip(16)?;
        walk.string()?;
        numbers(walk)?;
        walk.tags()
    })?;
    walk.tags()
}

/// Where a leader lives, as it stands in a tagged field (KIP-951).
fn endpoints<Endpoint>(walk: &mut Walk<'_>) -> Checked {
    walk.array::<Endpoint>(|walk| {
        walk.skip(4)?;
        walk.string()?;
        walk.skip(4)?;
        walk.string()?;
        walk.tags()
    })
}

/// So many bytes with tagged fields behind, as it stands in a tagged field.
fn tagged(walk: &mut Walk<'_>, bytes: usize) -> Checked {
    walk.skip(bytes)?;
    walk.tags()
}

shapes! {
    ApiVersionsResponse, flexible from 3 => |walk| {
        walk.skip(2)?;
        walk.array::<ApiVersion>(|walk| {
            walk.skip(6)?;
            walk.tags()
        })?;
        walk.skip(walk.since(1, 4))?;
        walk.known_tags(|walk, tag| {
            match tag {
                0 => walk.array::<SupportedFeatureKey>(|walk| {
                    walk.string()?;
                    walk.skip(4)?;
                    walk.tags()
                })?,
                1 => walk.skip(8)?,
                2 => walk.array::<FinalizedFeatureKey>(|walk| {
                    walk.string()?;
                    walk.skip(4)?;
                    walk.tags()
                })?,
                3 => walk.skip(1)?,
                _ => return Ok(false),
            }
            Ok(true)
        })
    }
    MetadataResponse, flexible from 9 => |walk| {
        walk.skip(walk.since(3, 4))?;
        walk.array::<MetadataResponseBroker>(|walk| {
            walk.skip(4)?;
            walk.string()?;
            walk.skip(4)?;
            if walk.version >= 1 {
                walk.string()?;
            }
            walk.tags()
        })?;
        if walk.version >= 2 {
            walk.string()?;
        }
        walk.skip(walk.since(1, 4))?;
        walk.array::<MetadataResponseTopic>(|walk| {
            walk.skip(2)?;
            walk.string()?;
            walk.skip(walk.since(10, 16) + walk.since(1, 1))?;
            walk.array::<MetadataResponsePartition>(|walk| {
                walk.skip(10 + walk.since(7, 4))?;
                numbers(walk)?;
                numbers(walk)?;
                if walk.version >= 5 {
                    numbers(walk)?;
                }
                walk.tags()
            })?;
            walk.skip(walk.since(8, 4))?;
            walk.tags()
        })?;
        if (8..=10).contains(&walk.version) {
            walk.skip(4)?;
        }
        walk.skip(walk.since(13, 2))?;
        walk.tags()
    }
    ProduceResponse, flexible from 9 => |walk| {
        walk.array::<TopicProduceResponse>(|walk| {
            if walk.version <= 12 {
                walk.string()?;
            }
            walk.skip(walk.since(13, 16))?;
            walk.array::<PartitionProduceResponse>(|walk| {
                walk.skip(22 + walk.since(5, 8))?;
                if walk.version >= 8 {
                    walk.array::<BatchIndexAndErrorMessage>(|walk| {
                        walk.skip(4)?;
                        walk.string()?;
                        walk.tags()
                    })?;
                    walk.string()?;
                }
                walk.known_tags(|walk, tag| {
                    let current_leader = tag == 0 && walk.version >= 10;
                    if current_leader {
                        tagged(walk, 8)?;
                    }
                    Ok(current_leader)
                })
            })?;
            walk.tags()
        })?;
        walk.skip(4)?;
        walk.known_tags(|walk, tag| {
            let node_endpoints = tag == 0 && walk.version >= 10;
            if node_endpoints {
                endpoints::<produce_response::NodeEndpoint>(walk)?;
            }
            Ok(node_endpoints)
        })
    }
    FetchResponse, flexible from 12 => |walk| {
        walk.skip(4 + walk.since(7, 6))?;
        walk.array::<FetchableTopicResponse>(|walk| {
            if walk.version <= 12 {
                walk.string()?;
            }
            walk.skip(walk.since(13, 16))?;
            walk.array::<PartitionData>(|walk| {
                walk.skip(22 + walk.since(5, 8))?;
                walk.array::<AbortedTransaction>(|walk| {
                    walk.skip(16)?;
                    walk.tags()
                })?;
                walk.skip(walk.since(11, 4))?;
                walk.bytes()?;
                walk.known_tags(|walk, tag| {
                    match tag {
                        // Where the log diverges, the leader, a snapshot's id.
                        0 | 2 => tagged(walk, 12)?,
                        1 => tagged(walk, 8)?,
                        _ => return Ok(false),
                    }
                    Ok(true)
                })
            })?;
            walk.tags()
        })?;
        walk.known_tags(|walk, tag| {
            let node_endpoints = tag == 0 && walk.version >= 16;
            if node_endpoints {
                endpoints::<fetch_response::NodeEndpoint>(walk)?;
            }
            Ok(node_endpoints)
        })
    }
    ListOffsetsResponse, flexible from 6 => |walk| {
        walk.skip(walk.since(2, 4))?;
        walk.array::<ListOffsetsTopicResponse>(|walk| {
            walk.string()?;
            walk.array::<ListOffsetsPartitionResponse>(|walk| {
                walk.skip(22 + walk.since(4, 4))?;
                walk.tags()
            })?;
            walk.tags()
        })?;
        walk.tags()
    }
    InitProducerIdResponse, flexible from 2 => |walk| {
        walk.skip(16 + walk.since(6, 10))?;
        walk.tags()
    }
    CreateTopicsResponse, flexible from 5 => |walk| {
        walk.skip(4)?;
        walk.array::<CreatableTopicResult>(|walk| {
            walk.string()?;
            walk.skip(walk.since(7, 16) + 2)?;
            walk.string()?;
            if walk.version >= 5 {
                walk.skip(6)?;
                walk.array::<CreatableTopicConfigs>(|walk| {
                    walk.string()?;
                    walk.string()?;
                    walk.skip(3)?;
                    walk.tags()
                })?;
            }
            walk.known_tags(|walk, tag| {
                // Why the configuration is not told.
                if tag == 0 {
                    walk.skip(2)?;
                }
                Ok(tag == 0)
            })
        })?;
        walk.tags()
    }
    DeleteTopicsResponse, flexible from 4 => |walk| {
        walk.skip(4)?;
        walk.array::<DeletableTopicResult>(|walk| {
            walk.string()?;
            walk.skip(walk.since(6, 16) + 2)?;
            if walk.version >= 5 {
                walk.string()?;
            }
            walk.tags()
        })?;
        walk.tags()
    }
    CreatePartitionsResponse, flexible from 2 => |walk| {
        walk.skip(4)?;
        walk.array::<CreatePartitionsTopicResult>(|walk| {
            walk.string()?;
            walk.skip(2)?;
            walk.string()?;
            walk.tags()
        })?;
        walk.tags()
    }
    DescribeConfigsResponse, flexible from 4 => |walk| {
        walk.skip(4)?;
        walk.array::<DescribeConfigsResult>(|walk| {
            walk.skip(2)?;
            walk.string()?;
            walk.skip(1)?;
            walk.string()?;
            walk.array::<DescribeConfigsResourceResult>(|walk| {
                walk.string()?;
                walk.string()?;
                walk.skip(3)?;
                walk.array::<DescribeConfigsSynonym>(|walk| {
                    walk.string()?;
                    walk.string()?;
                    walk.skip(1)?;
                    walk.tags()
                })?;
                if walk.version >= 3 {
                    walk.skip(1)?;
                    walk.string()?;
                }
                walk.tags()
            })?;
            walk.tags()
        })?;
        walk.tags()
    }
    FindCoordinatorResponse, flexible from 3 => |walk| {
        walk.skip(walk.since(1, 4))?;
        if walk.version >= 4 {
            walk.array::<Coordinator>(|walk| {
                walk.string()?;
                walk.skip(4)?;
                walk.string()?;
                walk.skip(6)?;
                walk.string()?;
                walk.tags()
            })?;
        } else {
            walk.skip(2)?;
            if walk.version >= 1 {
                walk.string()?;
            }
            walk.skip(4)?;
            walk.string()?;
            walk.skip(4)?;
        }
        walk.tags()
    }
    JoinGroupResponse, flexible from 6 => |walk| {
        walk.skip(walk.since(2, 4) + 6)?;
        if walk.version >= 7 {
            walk.string()?;
        }
        walk.string()?;
        walk.string()?;
        walk.skip(walk.since(9, 1))?;
        walk.string()?;
        walk.array::<JoinGroupResponseMember>(|walk| {
            walk.string()?;
            if walk.version >= 5 {
                walk.string()?;
            }
            walk.bytes()?;
            walk.tags()
        })?;
        walk.tags()
    }
    SyncGroupResponse, flexible from 4 => |walk| {
        walk.skip(walk.since(1, 4) + 2)?;
        if walk.version >= 5 {
            walk.string()?;
            walk.string()?;
        }
        walk.bytes()?;
        walk.tags()
    }
    // In no version is it flexible.
    SaslHandshakeResponse, flexible from 32767 => |walk| {
        walk.skip(2)?;
        walk.array::<StrBytes>(Walk::string)
    }
    SaslAuthenticateResponse, flexible from 2 => |walk| {
        walk.skip(2)?;
        walk.string()?;
        walk.bytes()?;
        walk.skip(walk.since(1, 8))?;
        walk.tags()
    }
    HeartbeatResponse, flexible from 4 => |walk| {
        walk.skip(walk.since(1, 4) + 2)?;
        walk.tags()
    }
    LeaveGroupResponse, flexible from 4 => |walk| {
        walk.skip(walk.since(1, 4) + 2)?;
        if walk.version >= 3 {
            walk.array::<MemberResponse>(|walk| {
                walk.string()?;
                walk.string()?;
                walk.skip(2)?;
                walk.tags()
            })?;
        }
        walk.tags()
    }
    OffsetCommitResponse, flexible from 8 => |walk| {
        walk.skip(walk.since(3, 4))?;
        walk.array::<OffsetCommitResponseTopic>(|walk| {
            if walk.version <= 9 {
                walk.string()?;
            }
            walk.skip(walk.since(10, 16))?;
            walk.array::<OffsetCommitResponsePartition>(|walk| {
                walk.skip(6)?;
                walk.tags()
            })?;
            walk.tags()
        })?;
        walk.tags()
    }
    OffsetFetchResponse, flexible from 6 => |walk| {
        walk.skip(walk.since(3, 4))?;
        if walk.version <= 7 {
            walk.array::<OffsetFetchResponseTopic>(|walk| {
                walk.string()?;
                walk.array::<OffsetFetchResponsePartition>(|walk| {
                    walk.skip(12 + walk.since(5, 4))?;
                    walk.string()?;
                    walk.skip(2)?;
                    walk.tags()
                })?;
                walk.tags()
            })?;
            walk.skip(walk.since(2, 2))?;
        } else {
            walk.array::<OffsetFetchResponseGroup>(|walk| {
                walk.string()?;
                walk.array::<OffsetFetchResponseTopics>(|walk| {
                    if walk.version <= 9 {
                        walk.string()?;
                    }
                    walk.skip(walk.since(10, 16))?;
                    walk.array::<OffsetFetchResponsePartitions>(|walk| {
                        walk.skip(16)?;
                        walk.string()?;
                        walk.skip(2)?;
                        walk.tags()
                    })?;
                    walk.tags()
                })?;
                walk.skip(2)?;
                walk.tags()
            })?;
        }
        walk.tags()
    }
    ListGroupsResponse, flexible from 3 => |walk| {
        walk.skip(walk.since(1, 4) + 2)?;
        walk.array::<ListedGroup>(|walk| {
            walk.string()?;
            walk.string()?;
            if walk.version >= 4 {
                walk.string()?;
            }
            if walk.version >= 5 {
                walk.string()?;
            }
            walk.tags()
        })?;
        walk.tags()
    }
    DescribeGroupsResponse, flexible from 5 => |walk| {
        walk.skip(walk.since(1, 4))?;
        walk.array::<DescribedGroup>(|walk| {
            walk.skip(2)?;
            if walk.version >= 6 {
                walk.string()?;
            }
            walk.string()?;
            walk.string()?;
            walk.string()?;
            walk.string()?;
            walk.array::<DescribedGroupMember>(|walk| {
                walk.string()?;
                if walk.version >= 4 {
                    walk.string()?;
                }
                walk.string()?;
                walk.string()?;
                walk.bytes()?;
                walk.bytes()?;
                walk.tags()
            })?;
            walk.skip(walk.since(3, 4))?;
            walk.tags()
        })?;
        walk.tags()
    }
    ConsumerGroupDescribeResponse, flexible from 0 => |walk| {
        walk.skip(4)?;
        walk.array::<DescribedConsumerGroup>(|walk| {
            walk.skip(2)?;
            walk.string()?;
            walk.string()?;
            walk.string()?;
            walk.skip(4 + 4)?;
            walk.string()?;
            walk.array::<ConsumerGroupMember>(|walk| {
                walk.string()?;
                walk.string()?;
                walk.string()?;
                walk.skip(4)?;
                walk.string()?;
                walk.string()?;
                walk.array::<TopicName>(|walk| walk.string())?;
                walk.string()?;
                // What it has, and what it is to have.
                consumer_group_assignment(walk)?;
                consumer_group_assignment(walk)?;
                if walk.version >= 1 {
                    walk.skip(1)?;
                }
                walk.tags()
            })?;
            walk.skip(4)?;
            walk.tags()
        })?;
        walk.tags()
    }
    DescribeProducersResponse, flexible from 0 => |walk| {
        walk.skip(4)?;
        walk.array::<ProducersOfTopic>(|walk| {
            walk.string()?;
            walk.array::<ProducersOfPartition>(|walk| {
                walk.skip(4 + 2)?;
                walk.string()?;
                walk.array::<ProducerState>(|walk| {
                    walk.skip(8 + 4 + 4 + 8 + 4 + 8)?;
                    walk.tags()
                })?;
                walk.tags()
            })?;
            walk.tags()
        })?;
        walk.tags()
    }
    DeleteGroupsResponse, flexible from 2 => |walk| {
        walk.skip(4)?;
        walk.array::<DeletableGroupResult>(|walk| {
            walk.string()?;
            walk.skip(2)?;
            walk.tags()
        })?;
        walk.tags()
    }
}

#[cfg(test)]
mod tests;
