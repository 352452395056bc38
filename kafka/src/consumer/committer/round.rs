//! One commit from its first try to its last: what is sent, and what an answer means. Pure.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    ApiKey, GroupId, OffsetCommitRequest, OffsetCommitResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::Results;
use crate::consumer::group::{Commit, CommitResult};
use crate::consumer::standing::Standing;
use crate::consumer::topic_partition::TopicPartition;
use crate::consumer::tracker::metadata;
use crate::error::Error;

/// What concerns the membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Refused,
    CoordinatorGone,
}

/// The state of one commit from its first try to its last; pure.
#[derive(Debug, Default)]
pub(crate) struct Round {
    pub(crate) results: Results,
    pub(super) without_metadata: BTreeSet<TopicPartition>,
    /// Why what is left is still left.
    pub(super) last: String,
    /// The next try needs no pause.
    pub(super) at_once: bool,
    /// The last answer stored a part: what it did not store has trouble of its own.
    pub(super) partly: bool,
}

impl Round {
    pub(super) fn drop_what_is_not_held(
        &mut self,
        commits: &mut BTreeMap<TopicPartition, Commit>,
        standing: &Standing,
    ) {
        commits.retain(|partition, commit| {
            let held = standing.holds(partition, commit.claim);
            if !held {
                self.results
                    .insert(partition.clone(), CommitResult::Dropped);
            }
            held
        });
    }

    pub(super) fn not_yet(&mut self, commits: &mut BTreeMap<TopicPartition, Commit>, why: &str) {
        for (partition, _) in std::mem::take(commits) {
            self.results
                .insert(partition, CommitResult::NotYet(why.to_owned()));
        }
    }

    pub(super) fn refuse_all(&mut self, commits: &mut BTreeMap<TopicPartition, Commit>, why: &str) {
        for (partition, _) in std::mem::take(commits) {
            self.results
                .insert(partition, CommitResult::Refused(why.to_owned()));
        }
    }

    /// Sorts an answer: what has its result leaves `commits`, the rest is tried again. Returns what the membership is
    /// to know, once each.
    pub(crate) fn take(
        &mut self,
        commits: &mut BTreeMap<TopicPartition, Commit>,
        response: &OffsetCommitResponse,
        group: &str,
    ) -> Vec<(ResponseError, Told)> {
        let mut told: Vec<(ResponseError, Told)> = Vec::new();
        self.partly = false;
        for topic in &response.topics {
            for answer in &topic.partitions {
                let partition = TopicPartition::new(topic.name.as_str(), answer.partition_index);
                if !commits.contains_key(&partition) {
                    continue;
                }
                let Some(code) = ResponseError::try_from_code(answer.error_code) else {
                    commits.remove(&partition);
                    self.partly = true;
                    let without_metadata = self.without_metadata.contains(&partition);
                    self.results
                        .insert(partition, CommitResult::Stored { without_metadata });
                    continue;
                };
                let why = Error::response(
                    ApiKey::OffsetCommit,
                    code,
                    format!("group {group}, {partition}"),
                )
                .to_string();
                let result = match code {
                    // The broker's offset.metadata.max.bytes is lower than ours: the offset matters more.
                    ResponseError::OffsetMetadataTooLarge
                        if self.without_metadata.insert(partition.clone()) =>
                    {
                        self.at_once = true;
                        None
                    }
                    // The generation is ending; what is still owned in the next one is committed then.
                    ResponseError::RebalanceInProgress
                    | ResponseError::IllegalGeneration
                    | ResponseError::UnknownMemberId
                    | ResponseError::FencedInstanceId => {
                        if !told.contains(&(code, Told::Refused)) {
                            told.push((code, Told::Refused));
                        }
                        Some(CommitResult::NotYet(why))
                    }
                    ResponseError::NotCoordinator
                    | ResponseError::CoordinatorNotAvailable
                    | ResponseError::CoordinatorLoadInProgress => {
                        if !told.contains(&(code, Told::CoordinatorGone)) {
                            told.push((code, Told::CoordinatorGone));
                        }
                        self.last = why;
                        None
                    }
                    // Its topic was deleted. To wait for it here would hold up the commits of all others; whether it
                    // may come back, the consumer tells from the cluster's metadata.
                    ResponseError::UnknownTopicOrPartition | ResponseError::UnknownTopicId => {
                        Some(CommitResult::UnknownPartition(why))
                    }
                    code if code.is_retriable() || code == ResponseError::UnknownServerError => {
                        self.last = why;
                        None
                    }
                    _ => Some(CommitResult::Refused(why)),
                };
                if let Some(result) = result {
                    commits.remove(&partition);
                    self.results.insert(partition, result);
                }
            }
        }
        told
    }
}

pub(super) fn request(
    group: &str,
    standing: &Standing,
    commits: &BTreeMap<TopicPartition, Commit>,
    round: &Round,
) -> OffsetCommitRequest {
    let mut topics: Vec<OffsetCommitRequestTopic> = Vec::new();
    for (partition, commit) in commits {
        let new_in = standing
            .claims
            .get(partition)
            .and_then(|(_, new_in)| *new_in);
        let mut text = std::borrow::Cow::from(&commit.committed.metadata);
        if new_in == Some(standing.generation) {
            text = metadata::with_generation(&text, standing.generation).into();
        }
        if round.without_metadata.contains(partition) {
            text = "".into();
        }
        let offset = OffsetCommitRequestPartition::default()
            .with_partition_index(partition.partition)
            .with_committed_offset(commit.committed.offset)
            .with_committed_leader_epoch(commit.committed.leader_epoch)
            .with_committed_metadata(Some(StrBytes::from_string(text.into_owned())));
        match topics.last_mut() {
            Some(topic) if *topic.name.0 == *partition.topic => topic.partitions.push(offset),
            _ => {
                let name = TopicName(StrBytes::from_string(partition.topic.to_string()));
                topics.push(
                    OffsetCommitRequestTopic::default()
                        .with_name(name)
                        .with_partitions(vec![offset]),
                );
            }
        }
    }
    OffsetCommitRequest::default()
        .with_group_id(GroupId(StrBytes::from_string(group.to_owned())))
        .with_generation_id_or_member_epoch(standing.generation)
        .with_member_id(StrBytes::from_string(standing.member_id.clone()))
        .with_group_instance_id(standing.instance.clone().map(StrBytes::from_string))
        .with_topics(topics)
}
