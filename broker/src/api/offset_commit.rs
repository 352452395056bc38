//! OffsetCommit.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::offset_commit_request::OffsetCommitRequestPartition;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};
use kafka_protocol::protocol::VersionRange;

use super::{Api, Call, Reply, code, versions};
use crate::clock::now_ms;
use crate::config::Fsync;
use crate::faults::Subject;
use crate::groups::offsets::Commit;

impl Api for OffsetCommitRequest {
    // Version 10 names topics by id.
    const SERVED: VersionRange = versions(2, 9);

    fn subjects(&self, visit: &mut dyn FnMut(Subject<'_>)) {
        visit(Subject::Group(&self.group_id));
        for topic in &self.topics {
            for partition in &topic.partitions {
                visit(Subject::Partition(&topic.name, partition.partition_index));
            }
        }
    }

    async fn handle(self, call: &Call) -> Reply<OffsetCommitResponse> {
        let now = now_ms();
        let mut commits = Vec::new();
        let verdicts: Vec<Vec<Option<ResponseError>>> = self
            .topics
            .iter()
            .map(|topic| {
                let judge = |asked: &OffsetCommitRequestPartition| {
                    let error = judge(call, &topic.name, asked);
                    if error.is_none() {
                        commits.push(Commit {
                            topic: topic.name.to_string(),
                            partition: asked.partition_index,
                            offset: asked.committed_offset,
                            leader_epoch: asked.committed_leader_epoch,
                            metadata: asked
                                .committed_metadata
                                .as_ref()
                                .map(ToString::to_string)
                                .unwrap_or_default(),
                            time: now,
                        });
                    }
                    error
                };
                topic.partitions.iter().map(judge).collect()
            })
            .collect();
        let failed = store(&self, commits, call).await.err();
        let topics = self
            .topics
            .into_iter()
            .zip(verdicts)
            .map(|(topic, verdicts)| {
                let partitions = topic
                    .partitions
                    .iter()
                    .zip(verdicts)
                    .map(|(asked, verdict)| {
                        let index = asked.partition_index;
                        let error = failed
                            .or(verdict)
                            .or_else(|| call.disguise(&topic.name, index));
                        OffsetCommitResponsePartition::default()
                            .with_partition_index(index)
                            .with_error_code(code(error))
                    })
                    .collect();
                OffsetCommitResponseTopic::default()
                    .with_name(topic.name)
                    .with_partitions(partitions)
            })
            .collect();
        Reply::Answer(OffsetCommitResponse::default().with_topics(topics))
    }
}

fn judge(call: &Call, topic: &str, asked: &OffsetCommitRequestPartition) -> Option<ResponseError> {
    let limit = call.state.config.group.max_offset_metadata_bytes;
    let metadata = asked
        .committed_metadata
        .as_ref()
        .map_or(0, |text| text.len());
    if let Some(error) = call.refusal(topic, asked.partition_index) {
        Some(error)
    } else if call
        .state
        .topics
        .partition(topic, asked.partition_index)
        .is_none()
    {
        Some(ResponseError::UnknownTopicOrPartition)
    } else if metadata > limit {
        Some(ResponseError::OffsetMetadataTooLarge)
    } else {
        // Any offset, negative ones too, as Kafka takes them: kafkajs resets a group by committing -1
        // or -2, and reads them as the end and the beginning.
        None
    }
}

async fn store(
    request: &OffsetCommitRequest,
    commits: Vec<Commit>,
    call: &Call,
) -> Result<(), ResponseError> {
    if request.group_id.is_empty() {
        return Err(ResponseError::InvalidGroupId);
    }
    let state = call.state.clone();
    let group = request.group_id.to_string();
    let member = request.member_id.to_string();
    let instance = request.group_instance_id.as_ref().map(ToString::to_string);
    let generation = request.generation_id_or_member_epoch;
    let work = move || {
        let mut groups = state.groups.lock();
        groups.may_commit(&group, &member, instance.as_deref(), generation)?;
        groups.commit(&group, commits).map_err(|error| {
            tracing::error!(group, %error, "commit refused");
            ResponseError::KafkaStorageError
        })
    };
    if call.state.config.fsync == Fsync::Always {
        tokio::task::spawn_blocking(work)
            .await
            .unwrap_or(Err(ResponseError::UnknownServerError))
    } else {
        work()
    }
}
