//! OffsetFetch: what a group committed; several groups at a time since version 8.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{OffsetFetchRequest, OffsetFetchResponse, TopicName};
use kafka_protocol::protocol::{StrBytes, VersionRange};

use super::{Api, Call, Reply, versions};
use crate::faults::Subject;
use crate::groups::offsets::Committed;

impl Api for OffsetFetchRequest {
    // Version 10 names topics by id.
    const SERVED: VersionRange = versions(1, 9);

    fn subjects(&self, visit: &mut dyn FnMut(Subject<'_>)) {
        if self.groups.is_empty() {
            visit(Subject::Group(&self.group_id));
        }
        for group in &self.groups {
            visit(Subject::Group(&group.group_id));
        }
    }

    async fn handle(self, call: &Call) -> Reply<OffsetFetchResponse> {
        // Only those who ask for stable offsets are told that one is not stable (KIP-447).
        let error = call
            .refusal_of_all()
            .or(call.disguise_of_all())
            .filter(|error| self.require_stable || *error != ResponseError::UnstableOffsetCommit);
        if call.version >= 8 {
            let groups = self.groups.into_iter().map(|group| {
                let topics = group.topics.map(|topics| {
                    topics
                        .into_iter()
                        .map(|topic| (topic.name, topic.partition_indexes))
                        .collect()
                });
                let found = error.map_or_else(|| look_up(call, &group.group_id, topics), Err);
                let response = OffsetFetchResponseGroup::default().with_group_id(group.group_id);
                match found {
                    Ok(topics) => {
                        response.with_topics(topics.into_iter().map(Topic::batched).collect())
                    }
                    Err(error) => response.with_error_code(error.code()),
                }
            });
            return Reply::Answer(OffsetFetchResponse::default().with_groups(groups.collect()));
        }
        let topics = self.topics.map(|topics| {
            topics
                .into_iter()
                .map(|topic| (topic.name, topic.partition_indexes))
                .collect()
        });
        let found = error.map_or_else(|| look_up(call, &self.group_id, topics), Err);
        let response = OffsetFetchResponse::default();
        Reply::Answer(match found {
            Ok(topics) => response.with_topics(topics.into_iter().map(Topic::single).collect()),
            Err(error) if call.version >= 2 => response.with_error_code(error.code()),
            // Version 1 has no place for an error of the group.
            Err(_) => return Reply::Close,
        })
    }
}

struct Topic {
    name: TopicName,
    partitions: Vec<(i32, Option<Committed>)>,
}

/// Commits of the partitions asked for, or of all that have one.
fn look_up(
    call: &Call,
    group: &str,
    asked: Option<Vec<(TopicName, Vec<i32>)>>,
) -> Result<Vec<Topic>, ResponseError> {
    if group.is_empty() {
        return Err(ResponseError::InvalidGroupId);
    }
    let groups = call.state.groups.lock();
    let offsets = groups.offsets(group);
    let topics = match asked {
        Some(asked) => asked
            .into_iter()
            .map(|(name, indexes)| {
                let partitions = indexes
                    .into_iter()
                    .map(|index| {
                        let place = (name.to_string(), index);
                        (index, offsets.and_then(|all| all.get(&place)).cloned())
                    })
                    .collect();
                Topic { name, partitions }
            })
            .collect(),
        None => {
            let mut topics: Vec<Topic> = Vec::new();
            for place in offsets.iter().flat_map(|all| all.places()) {
                let committed = offsets.and_then(|all| all.get(place)).cloned();
                match topics.last_mut() {
                    Some(topic) if topic.name.as_str() == place.0 => {
                        topic.partitions.push((place.1, committed));
                    }
                    _ => topics.push(Topic {
                        name: StrBytes::from_string(place.0.clone()).into(),
                        partitions: vec![(place.1, committed)],
                    }),
                }
            }
            topics
        }
    };
    Ok(topics)
}

/// Offset, leader epoch and metadata; -1 where there is no commit.
fn fields(committed: Option<Committed>) -> (i64, i32, Option<StrBytes>) {
    match committed {
        Some(committed) => (
            committed.offset,
            committed.leader_epoch,
            Some(StrBytes::from_string(committed.metadata)),
        ),
        None => (-1, -1, Some(StrBytes::new())),
    }
}

impl Topic {
    fn single(self) -> OffsetFetchResponseTopic {
        let partitions = self
            .partitions
            .into_iter()
            .map(|(index, committed)| {
                let (offset, epoch, metadata) = fields(committed);
                OffsetFetchResponsePartition::default()
                    .with_partition_index(index)
                    .with_committed_offset(offset)
                    .with_committed_leader_epoch(epoch)
                    .with_metadata(metadata)
            })
            .collect();
        OffsetFetchResponseTopic::default()
            .with_name(self.name)
            .with_partitions(partitions)
    }

    fn batched(self) -> OffsetFetchResponseTopics {
        let partitions = self
            .partitions
            .into_iter()
            .map(|(index, committed)| {
                let (offset, epoch, metadata) = fields(committed);
                OffsetFetchResponsePartitions::default()
                    .with_partition_index(index)
                    .with_committed_offset(offset)
                    .with_committed_leader_epoch(epoch)
                    .with_metadata(metadata)
            })
            .collect();
        OffsetFetchResponseTopics::default()
            .with_name(self.name)
            .with_partitions(partitions)
    }
}
