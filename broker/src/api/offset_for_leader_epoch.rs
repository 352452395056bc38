//! OffsetForLeaderEpoch: where an epoch ended, so that a client can notice lost records (KIP-320).

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use kafka_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};
use kafka_protocol::protocol::VersionRange;

use super::fetch::check_epoch;
use super::{Api, Call, Reply, versions};
use crate::faults::Subject;

impl Api for OffsetForLeaderEpochRequest {
    const SERVED: VersionRange = versions(2, 4);

    fn subjects(&self, visit: &mut dyn FnMut(Subject<'_>)) {
        for topic in &self.topics {
            for partition in &topic.partitions {
                visit(Subject::Partition(&topic.topic, partition.partition));
            }
        }
    }

    async fn handle(self, call: &Call) -> Reply<OffsetForLeaderEpochResponse> {
        let topics = self
            .topics
            .into_iter()
            .map(|topic| {
                let partitions = topic
                    .partitions
                    .iter()
                    .map(|asked| {
                        let found = match call.disguise(&topic.topic, asked.partition) {
                            Some(error) => Err(error),
                            None => find(call, &topic.topic, asked),
                        };
                        let end = EpochEndOffset::default().with_partition(asked.partition);
                        match found {
                            Ok((epoch, offset)) => {
                                end.with_leader_epoch(epoch).with_end_offset(offset)
                            }
                            Err(error) => end
                                .with_error_code(error.code())
                                .with_leader_epoch(-1)
                                .with_end_offset(-1),
                        }
                    })
                    .collect();
                OffsetForLeaderTopicResult::default()
                    .with_topic(topic.topic)
                    .with_partitions(partitions)
            })
            .collect();
        Reply::Answer(OffsetForLeaderEpochResponse::default().with_topics(topics))
    }
}

fn find(
    call: &Call,
    topic: &str,
    asked: &OffsetForLeaderPartition,
) -> Result<(i32, i64), ResponseError> {
    if let Some(error) = call.refusal(topic, asked.partition) {
        return Err(error);
    }
    let partition = call
        .state
        .topics
        .partition(topic, asked.partition)
        .ok_or(ResponseError::UnknownTopicOrPartition)?;
    check_epoch(asked.current_leader_epoch, call)?;
    let current = call.state.topics.leader_epoch();
    let end = partition.log().epoch_end(asked.leader_epoch, current);
    Ok(end.unwrap_or((-1, -1)))
}
