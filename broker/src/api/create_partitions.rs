//! CreatePartitions: more of them for a topic that exists.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::{BrokerId, CreatePartitionsRequest, CreatePartitionsResponse};
use kafka_protocol::protocol::{StrBytes, VersionRange};

use super::create_topics::error_of;
use super::{Api, Call, Reply, code, versions};
use crate::faults::Subject;

impl Api for CreatePartitionsRequest {
    const SERVED: VersionRange = versions(0, 3);

    fn subjects(&self, visit: &mut dyn FnMut(Subject<'_>)) {
        for topic in &self.topics {
            visit(Subject::Topic(&topic.name));
        }
    }

    async fn handle(self, call: &Call) -> Reply<CreatePartitionsResponse> {
        let results = self
            .topics
            .into_iter()
            .map(|topic| {
                let (error, reason) = match create(call, &topic, self.validate_only) {
                    Ok(()) => (call.disguise_of_all(), None),
                    Err((error, reason)) => (Some(error), reason),
                };
                CreatePartitionsTopicResult::default()
                    .with_name(topic.name)
                    .with_error_code(code(error))
                    .with_error_message(reason.map(StrBytes::from_string))
            })
            .collect();
        Reply::Answer(CreatePartitionsResponse::default().with_results(results))
    }
}

fn create(
    call: &Call,
    topic: &CreatePartitionsTopic,
    validate_only: bool,
) -> Result<(), (ResponseError, Option<String>)> {
    if let Some(error) = call.refusal_of_all() {
        return Err((error, None));
    }
    let node = call.state.config.node_id;
    let elsewhere = topic
        .assignments
        .iter()
        .flatten()
        .any(|assignment| assignment.broker_ids != [BrokerId(node)]);
    if elsewhere {
        return Err((
            ResponseError::InvalidReplicaAssignment,
            Some(format!("partitions have one replica, on broker {node}")),
        ));
    }
    call.state
        .topics
        .add_partitions(&topic.name, topic.count, validate_only)
        .map_err(|error| (error_of(&error), Some(error.to_string())))
}
