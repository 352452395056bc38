//! ListOffsets: the offset at a time, or at either end.

use std::io;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};
use kafka_protocol::protocol::VersionRange;

use super::fetch::check_epoch;
use super::{Api, Call, Reply, versions};
use crate::faults::Subject;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;

impl Api for ListOffsetsRequest {
    // From version 8 on about tiered storage.
    const SERVED: VersionRange = versions(1, 7);

    fn subjects(&self, visit: &mut dyn FnMut(Subject<'_>)) {
        for topic in &self.topics {
            for partition in &topic.partitions {
                visit(Subject::Partition(&topic.name, partition.partition_index));
            }
        }
    }

    async fn handle(self, call: &Call) -> Reply<ListOffsetsResponse> {
        let topics = self
            .topics
            .into_iter()
            .map(|topic| {
                let partitions = topic
                    .partitions
                    .iter()
                    .map(|asked| {
                        let index = asked.partition_index;
                        let found = check_epoch(asked.current_leader_epoch, call)
                            .and_then(|()| find(call, &topic.name, index, asked.timestamp));
                        let found = match call.disguise(&topic.name, index) {
                            Some(error) => Err(error),
                            None => found,
                        };
                        let response =
                            ListOffsetsPartitionResponse::default().with_partition_index(index);
                        match found {
                            Ok(found) => response
                                .with_offset(found.offset)
                                .with_timestamp(found.timestamp)
                                .with_leader_epoch(if call.version >= 4 {
                                    found.epoch
                                } else {
                                    -1
                                }),
                            Err(error) => response
                                .with_error_code(error.code())
                                .with_offset(-1)
                                .with_timestamp(-1)
                                .with_leader_epoch(-1),
                        }
                    })
                    .collect();
                ListOffsetsTopicResponse::default()
                    .with_name(topic.name)
                    .with_partitions(partitions)
            })
            .collect();
        Reply::Answer(ListOffsetsResponse::default().with_topics(topics))
    }
}

struct Found {
    offset: i64,
    timestamp: i64,
    epoch: i32,
}

fn find(call: &Call, topic: &str, index: i32, timestamp: i64) -> Result<Found, ResponseError> {
    if let Some(error) = call.refusal(topic, index) {
        return Err(error);
    }
    let partition = call
        .state
        .topics
        .partition(topic, index)
        .ok_or(ResponseError::UnknownTopicOrPartition)?;
    let current = call.state.topics.leader_epoch();
    let mut log = partition.log();
    let by_time = |found: io::Result<Option<(i64, i64)>>| match found {
        Ok(found) => Ok(found.unwrap_or((-1, -1))),
        Err(error) => {
            tracing::error!(topic, partition = index, %error, "cannot look up a timestamp");
            Err(ResponseError::KafkaStorageError)
        }
    };
    let (offset, timestamp) = match timestamp {
        LATEST => (log.end_offset(), -1),
        EARLIEST => (log.start_offset(), -1),
        MAX_TIMESTAMP => by_time(log.max_timestamp())?,
        0.. => by_time(log.offset_for_timestamp(timestamp))?,
        _ => return Err(ResponseError::UnsupportedVersion),
    };
    let epoch = match offset {
        -1 => -1,
        offset if offset == log.end_offset() => current,
        offset => log.epoch_of(offset).unwrap_or(current),
    };
    Ok(Found {
        offset,
        timestamp,
        epoch,
    })
}
