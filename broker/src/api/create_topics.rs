//! CreateTopics.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::{
    CreatableTopicConfigs, CreatableTopicResult,
};
use kafka_protocol::messages::{BrokerId, CreateTopicsRequest, CreateTopicsResponse};
use kafka_protocol::protocol::{StrBytes, VersionRange};
use uuid::Uuid;

use super::{Api, Call, Reply, versions};
use crate::faults::Subject;
use crate::topics::{TopicError, TopicSettings, list_settings};

/// `ConfigSource` numbers of the protocol.
pub(super) const SOURCE_TOPIC: i8 = 1;
pub(super) const SOURCE_DEFAULT: i8 = 5;

impl Api for CreateTopicsRequest {
    const SERVED: VersionRange = versions(2, 7);

    fn subjects(&self, visit: &mut dyn FnMut(Subject<'_>)) {
        for topic in &self.topics {
            visit(Subject::Topic(&topic.name));
        }
    }

    async fn handle(self, call: &Call) -> Reply<CreateTopicsResponse> {
        let repeated = |topic: &CreatableTopic| {
            self.topics
                .iter()
                .filter(|other| other.name == topic.name)
                .count()
                > 1
        };
        let topics = self
            .topics
            .iter()
            .map(|topic| {
                let created = match call.refusal_of_all() {
                    Some(error) => Err(Failed(error, None)),
                    None if repeated(topic) => Err(Failed(
                        ResponseError::InvalidRequest,
                        Some("the request names the topic twice".to_owned()),
                    )),
                    None => create(topic, self.validate_only, call),
                };
                let created = match call.disguise_of_all() {
                    Some(error) => Err(Failed(error, None)),
                    None => created,
                };
                match created {
                    Ok(result) => result,
                    Err(Failed(error, reason)) => CreatableTopicResult::default()
                        .with_name(topic.name.clone())
                        .with_error_code(error.code())
                        .with_error_message(reason.map(StrBytes::from_string))
                        .with_num_partitions(-1)
                        .with_replication_factor(-1)
                        .with_configs(None),
                }
            })
            .collect();
        Reply::Answer(CreateTopicsResponse::default().with_topics(topics))
    }
}

struct Failed(ResponseError, Option<String>);

impl From<TopicError> for Failed {
    fn from(error: TopicError) -> Self {
        Self(error_of(&error), Some(error.to_string()))
    }
}

fn create(
    asked: &CreatableTopic,
    validate_only: bool,
    call: &Call,
) -> Result<CreatableTopicResult, Failed> {
    let topics = &call.state.topics;
    let partitions = partitions(asked, call)?;
    let mut settings = TopicSettings::default();
    for config in &asked.configs {
        if let Some(value) = &config.value {
            settings
                .set(&config.name, value)
                .map_err(TopicError::from)?;
        }
    }
    let id = if validate_only {
        topics.check_new(&asked.name, partitions)?;
        Uuid::nil()
    } else {
        topics.create(&asked.name, partitions, settings.clone())?.id
    };
    let result = CreatableTopicResult::default()
        .with_name(asked.name.clone())
        .with_error_message(None)
        .with_topic_id(id)
        .with_num_partitions(partitions)
        .with_replication_factor(1);
    if call.version < 5 {
        return Ok(result);
    }
    let configs = list_settings(&settings, &topics.defaults())
        .into_iter()
        .map(|setting| {
            CreatableTopicConfigs::default()
                .with_name(StrBytes::from_static_str(setting.name))
                .with_value(Some(StrBytes::from_string(setting.value)))
                .with_config_source(if setting.own {
                    SOURCE_TOPIC
                } else {
                    SOURCE_DEFAULT
                })
        })
        .collect();
    Ok(result.with_configs(Some(configs)))
}

fn partitions(asked: &CreatableTopic, call: &Call) -> Result<i32, Failed> {
    let node = call.state.config.node_id;
    if !asked.assignments.is_empty() {
        let ours = asked
            .assignments
            .iter()
            .all(|assignment| assignment.broker_ids == [BrokerId(node)]);
        let mut indexes: Vec<i32> = asked
            .assignments
            .iter()
            .map(|assignment| assignment.partition_index)
            .collect();
        indexes.sort_unstable();
        let count = indexes.len() as i32;
        if !ours || !indexes.iter().copied().eq(0..count) {
            return Err(Failed(
                ResponseError::InvalidReplicaAssignment,
                Some(format!(
                    "partitions must be numbered from 0 and have one replica, on broker {node}"
                )),
            ));
        }
        return Ok(count);
    }
    if !matches!(asked.replication_factor, -1 | 1) {
        return Err(Failed(
            ResponseError::InvalidReplicationFactor,
            Some(format!(
                "replication factor {} is not possible with one broker",
                asked.replication_factor
            )),
        ));
    }
    Ok(match asked.num_partitions {
        -1 => call.state.config.default_partitions,
        partitions => partitions,
    })
}

/// The protocol's name for a failure.
pub(super) fn error_of(error: &TopicError) -> ResponseError {
    match error {
        TopicError::Exists(_) => ResponseError::TopicAlreadyExists,
        TopicError::Unknown(_) => ResponseError::UnknownTopicOrPartition,
        TopicError::InvalidName(_) => ResponseError::InvalidTopicException,
        TopicError::TooManyPartitions { .. } => ResponseError::PolicyViolation,
        TopicError::InvalidPartitions(_) => ResponseError::InvalidPartitions,
        TopicError::Setting(_) => ResponseError::InvalidConfig,
        TopicError::Storage(_) => ResponseError::KafkaStorageError,
    }
}
