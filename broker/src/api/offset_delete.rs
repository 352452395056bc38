//! OffsetDelete: forgets commits of topics that nobody in the group reads.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use kafka_protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse};
use kafka_protocol::protocol::VersionRange;

use super::{Api, Call, Reply, code, versions};
use crate::faults::Subject;
use crate::groups::Place;
use crate::groups::group::{Group, Phase};

impl Api for OffsetDeleteRequest {
    const SERVED: VersionRange = versions(0, 0);

    fn subjects(&self, visit: &mut dyn FnMut(Subject<'_>)) {
        visit(Subject::Group(&self.group_id));
    }

    async fn handle(self, call: &Call) -> Reply<OffsetDeleteResponse> {
        let refused =
            |error: ResponseError| OffsetDeleteResponse::default().with_error_code(error.code());
        if let Some(error) = call.refusal_of_all() {
            return Reply::Answer(refused(error));
        }
        let mut groups = call.state.groups.lock();
        let Some(group) = groups.group(&self.group_id) else {
            return Reply::Answer(refused(ResponseError::GroupIdNotFound));
        };
        let subscribed = match subscriptions(group) {
            Some(subscribed) => subscribed,
            None => return Reply::Answer(refused(ResponseError::NonEmptyGroup)),
        };
        let mut places: Vec<Place> = Vec::new();
        let mut verdicts = Vec::new();
        for topic in &self.topics {
            let error = subscribed
                .iter()
                .any(|name| *name == topic.name.as_str())
                .then_some(ResponseError::GroupSubscribedToTopic);
            if error.is_none() {
                let indexes = topic.partitions.iter().map(|asked| asked.partition_index);
                places.extend(indexes.map(|index| (topic.name.to_string(), index)));
            }
            verdicts.push(error);
        }
        if let Err(error) = groups.delete_offsets(&self.group_id, places) {
            tracing::error!(group = %self.group_id.as_str(), %error, "cannot delete commits");
            return Reply::Answer(refused(ResponseError::KafkaStorageError));
        }
        let topics = self
            .topics
            .into_iter()
            .zip(verdicts)
            .map(|(topic, error)| {
                let partitions = topic
                    .partitions
                    .iter()
                    .map(|asked| {
                        OffsetDeleteResponsePartition::default()
                            .with_partition_index(asked.partition_index)
                            .with_error_code(code(error))
                    })
                    .collect();
                OffsetDeleteResponseTopic::default()
                    .with_name(topic.name)
                    .with_partitions(partitions)
            })
            .collect();
        Reply::Answer(
            OffsetDeleteResponse::default()
                .with_topics(topics)
                .with_error_code(code(call.disguise_of_all())),
        )
    }
}

/// Topics that members subscribe to; `None` when that cannot be told.
fn subscriptions(group: &Group) -> Option<Vec<String>> {
    if group.phase() == Phase::Empty {
        return Some(Vec::new());
    }
    if group.protocol_type() != Some("consumer") {
        return None;
    }
    let mut topics = Vec::new();
    for member in group.members() {
        let (name, _) = member.protocols.first()?;
        topics.extend(wire::subscribed_topics(&member.metadata(name)).ok()?);
    }
    Some(topics)
}
