//! The layout of every request served, after Kafka's message definitions.

use kafka_protocol::messages::*;

use super::{Checked, Shape, Walk};

macro_rules! shapes {
    ($($request:ty => |$walk:ident| $body:block)*) => {
        $(impl Shape for $request {
            fn shape($walk: &mut Walk<'_>) -> Checked {
                $body
                $walk.tags()
            }
        })*
    };
}

/// Topics with a name, each with partitions of so many bytes.
fn topics(walk: &mut Walk<'_>, partition_bytes: usize) -> Checked {
    walk.array(|walk| {
        walk.string()?;
        walk.array(|walk| {
            walk.skip(partition_bytes)?;
            walk.tags()
        })?;
        walk.tags()
    })
}

/// Topics with a name, each with bare partition numbers, which have no tagged fields.
fn topic_indexes(walk: &mut Walk<'_>) -> Checked {
    walk.array(|walk| {
        walk.string()?;
        walk.array(|walk| walk.skip(4))?;
        walk.tags()
    })
}

/// A list of resources with settings of so many bytes besides name and value.
fn resources(walk: &mut Walk<'_>, setting_bytes: usize) -> Checked {
    walk.array(|walk| {
        walk.skip(1)?;
        walk.string()?;
        walk.array(|walk| {
            walk.string()?;
            walk.skip(setting_bytes)?;
            walk.string()?;
            walk.tags()
        })?;
        walk.tags()
    })
}

fn if_from(walk: &Walk<'_>, version: i16, bytes: usize) -> usize {
    if walk.version >= version { bytes } else { 0 }
}

shapes! {
    ApiVersionsRequest => |walk| {
        if walk.version >= 3 {
            walk.string()?;
            walk.string()?;
        }
    }
    MetadataRequest => |walk| {
        let id = if_from(walk, 10, 16);
        walk.array(|walk| {
            walk.skip(id)?;
            walk.string()?;
            walk.tags()
        })?;
        let cluster_operations = usize::from((8..=10).contains(&walk.version));
        walk.skip(if_from(walk, 4, 1) + cluster_operations + if_from(walk, 8, 1))?;
    }
    ProduceRequest => |walk| {
        walk.string()?;
        walk.skip(6)?;
        walk.array(|walk| {
            walk.string()?;
            walk.array(|walk| {
                walk.skip(4)?;
                walk.bytes()?;
                walk.tags()
            })?;
            walk.tags()
        })?;
    }
    FetchRequest => |walk| {
        walk.skip(17 + if_from(walk, 7, 8))?;
        let partition = 16
            + if_from(walk, 9, 4)
            + if_from(walk, 12, 4)
            + if_from(walk, 5, 8);
        topics(walk, partition)?;
        if walk.version >= 7 {
            topic_indexes(walk)?;
        }
        if walk.version >= 11 {
            walk.string()?;
        }
    }
    ListOffsetsRequest => |walk| {
        walk.skip(4 + if_from(walk, 2, 1))?;
        let partition = 12 + if_from(walk, 4, 4);
        topics(walk, partition)?;
    }
    OffsetForLeaderEpochRequest => |walk| {
        walk.skip(if_from(walk, 3, 4))?;
        topics(walk, 12)?;
    }
    InitProducerIdRequest => |walk| {
        walk.string()?;
        walk.skip(4 + if_from(walk, 3, 10))?;
    }
    CreateTopicsRequest => |walk| {
        walk.array(|walk| {
            walk.string()?;
            walk.skip(6)?;
            walk.array(|walk| {
                walk.skip(4)?;
                walk.array(|walk| walk.skip(4))?;
                walk.tags()
            })?;
            walk.array(|walk| {
                walk.string()?;
                walk.string()?;
                walk.tags()
            })?;
            walk.tags()
        })?;
        walk.skip(5)?;
    }
    DeleteTopicsRequest => |walk| {
        if walk.version >= 6 {
            walk.array(|walk| {
                walk.string()?;
                walk.skip(16)?;
                walk.tags()
            })?;
        } else {
            walk.array(Walk::string)?;
        }
        walk.skip(4)?;
    }
    DeleteRecordsRequest => |walk| {
        topics(walk, 12)?;
        walk.skip(4)?;
    }
    CreatePartitionsRequest => |walk| {
        walk.array(|walk| {
            walk.string()?;
            walk.skip(4)?;
            walk.array(|walk| {
                walk.array(|walk| walk.skip(4))?;
                walk.tags()
            })?;
            walk.tags()
        })?;
        walk.skip(5)?;
    }
    DescribeConfigsRequest => |walk| {
        walk.array(|walk| {
            walk.skip(1)?;
            walk.string()?;
            walk.array(Walk::string)?;
            walk.tags()
        })?;
        walk.skip(1 + if_from(walk, 3, 1))?;
    }
    AlterConfigsRequest => |walk| {
        resources(walk, 0)?;
        walk.skip(1)?;
    }
    IncrementalAlterConfigsRequest => |walk| {
        resources(walk, 1)?;
        walk.skip(1)?;
    }
    DescribeLogDirsRequest => |walk| {
        topic_indexes(walk)?;
    }
    DescribeClusterRequest => |walk| {
        walk.skip(1 + if_from(walk, 1, 1) + if_from(walk, 2, 1))?;
    }
    DescribeTopicPartitionsRequest => |walk| {
        walk.array(|walk| {
            walk.string()?;
            walk.tags()
        })?;
        walk.skip(4)?;
        let cursor = walk.rest.first().copied();
        walk.skip(1)?;
        // A struct that may be null starts with -1 when it is.
        if cursor != Some(0xff) {
            walk.string()?;
            walk.skip(4)?;
            walk.tags()?;
        }
    }
    FindCoordinatorRequest => |walk| {
        if walk.version <= 3 {
            walk.string()?;
        }
        walk.skip(if_from(walk, 1, 1))?;
        if walk.version >= 4 {
            walk.array(Walk::string)?;
        }
    }
    JoinGroupRequest => |walk| {
        walk.string()?;
        walk.skip(4 + if_from(walk, 1, 4))?;
        walk.string()?;
        if walk.version >= 5 {
            walk.string()?;
        }
        walk.string()?;
        walk.array(|walk| {
            walk.string()?;
            walk.bytes()?;
            walk.tags()
        })?;
        if walk.version >= 8 {
            walk.string()?;
        }
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
        walk.array(|walk| {
            walk.string()?;
            walk.bytes()?;
            walk.tags()
        })?;
    }
    HeartbeatRequest => |walk| {
        walk.string()?;
        walk.skip(4)?;
        walk.string()?;
        if walk.version >= 3 {
            walk.string()?;
        }
    }
    LeaveGroupRequest => |walk| {
        walk.string()?;
        if walk.version <= 2 {
            walk.string()?;
        } else {
            walk.array(|walk| {
                walk.string()?;
                walk.string()?;
                if walk.version >= 5 {
                    walk.string()?;
                }
                walk.tags()
            })?;
        }
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
        walk.array(|walk| {
            walk.string()?;
            walk.array(|walk| {
                walk.skip(12 + if_from(walk, 6, 4))?;
                walk.string()?;
                walk.tags()
            })?;
            walk.tags()
        })?;
    }
    OffsetFetchRequest => |walk| {
        if walk.version <= 7 {
            walk.string()?;
            topic_indexes(walk)?;
        } else {
            walk.array(|walk| {
                walk.string()?;
                if walk.version >= 9 {
                    walk.string()?;
                    walk.skip(4)?;
                }
                topic_indexes(walk)?;
                walk.tags()
            })?;
        }
        walk.skip(if_from(walk, 7, 1))?;
    }
    OffsetDeleteRequest => |walk| {
        walk.string()?;
        topics(walk, 4)?;
    }
    ListGroupsRequest => |walk| {
        if walk.version >= 4 {
            walk.array(Walk::string)?;
        }
        if walk.version >= 5 {
            walk.array(Walk::string)?;
        }
    }
    DescribeGroupsRequest => |walk| {
        walk.array(Walk::string)?;
        walk.skip(if_from(walk, 3, 1))?;
    }
    DeleteGroupsRequest => |walk| {
        walk.array(Walk::string)?;
    }
}
