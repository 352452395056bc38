//! Metadata: brokers, topics, leaders. May create a topic that is asked for.

use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{MetadataRequest, MetadataResponse, TopicName};
use kafka_protocol::protocol::VersionRange;
use uuid::Uuid;

use super::{Api, Call, Reply, operations, versions};
use crate::faults::Subject;
use crate::topics::{Topic, TopicError, TopicSettings};

impl Api for MetadataRequest {
    const SERVED: VersionRange = versions(0, 13);

    fn subjects(&self, visit: &mut dyn FnMut(Subject<'_>)) {
        for topic in self.topics.iter().flatten() {
            if let Some(name) = &topic.name {
                visit(Subject::Topic(name));
            }
        }
    }

    async fn handle(self, call: &Call) -> Reply<MetadataResponse> {
        let (host, port) = call.address();
        let node = call.state.config.node_id;
        let broker = MetadataResponseBroker::default()
            .with_node_id(node.into())
            .with_host(host)
            .with_port(port);
        Reply::Answer(
            MetadataResponse::default()
                .with_brokers(vec![broker])
                .with_cluster_id(Some(call.state.identity.cluster_id.clone()))
                .with_controller_id(node.into())
                .with_cluster_authorized_operations(operations::if_asked(
                    self.include_cluster_authorized_operations,
                    operations::CLUSTER,
                ))
                .with_topics(topics(&self, call)),
        )
    }
}

fn topics(request: &MetadataRequest, call: &Call) -> Vec<MetadataResponseTopic> {
    let asked = match &request.topics {
        // In version 0 an empty list asks for all, later a missing one does.
        Some(asked) if call.version > 0 || !asked.is_empty() => asked,
        _ => {
            let all = call.state.topics.all();
            let described = |topic: &Arc<Topic>| describe(topic, request, call);
            return all.iter().map(described).collect();
        }
    };
    asked
        .iter()
        .map(|asked| match &asked.name {
            Some(name) => match find(name, request.allow_auto_topic_creation, call) {
                Ok(topic) => describe(&topic, request, call),
                Err(error) => MetadataResponseTopic::default()
                    .with_error_code(error.code())
                    .with_name(Some(name.clone())),
            },
            None => match call.state.topics.by_id(asked.topic_id) {
                Some(topic) => describe(&topic, request, call),
                None => MetadataResponseTopic::default()
                    .with_error_code(ResponseError::UnknownTopicId.code())
                    .with_topic_id(asked.topic_id)
                    .with_name(None),
            },
        })
        .collect()
}

fn find(name: &TopicName, may_create: bool, call: &Call) -> Result<Arc<Topic>, ResponseError> {
    let state = &call.state;
    if let Some(topic) = state.topics.get(name) {
        return Ok(topic);
    }
    if !(may_create && state.config.auto_create_topics) {
        crate::topics::check_name(name).map_err(|_| ResponseError::InvalidTopicException)?;
        return Err(ResponseError::UnknownTopicOrPartition);
    }
    let partitions = state.config.default_partitions;
    match state
        .topics
        .create(name, partitions, TopicSettings::default())
    {
        Ok(topic) => Ok(topic),
        // Another client was quicker.
        Err(TopicError::Exists(_)) => state
            .topics
            .get(name)
            .ok_or(ResponseError::UnknownTopicOrPartition),
        Err(error) => {
            tracing::warn!(topic = %name.as_str(), %error, "cannot create the topic asked for");
            Err(super::create_topics::error_of(&error))
        }
    }
}

fn describe(topic: &Topic, request: &MetadataRequest, call: &Call) -> MetadataResponseTopic {
    let node = call.state.config.node_id;
    let leader_epoch = call.state.topics.leader_epoch();
    let name: &str = &topic.name;
    let partitions = topic
        .partitions
        .iter()
        .map(|partition| {
            let refused = call
                .refusal(name, partition.index)
                .or(call.disguise(name, partition.index));
            let leader = if refused.is_some() { -1 } else { node };
            MetadataResponsePartition::default()
                .with_error_code(super::code(refused))
                .with_partition_index(partition.index)
                .with_leader_id(leader.into())
                .with_leader_epoch(leader_epoch)
                .with_replica_nodes(vec![node.into()])
                .with_isr_nodes(vec![node.into()])
        })
        .collect();
    MetadataResponseTopic::default()
        .with_name(Some(topic.name.clone().into()))
        .with_topic_id(if call.version >= 10 {
            topic.id
        } else {
            Uuid::nil()
        })
        .with_topic_authorized_operations(operations::if_asked(
            request.include_topic_authorized_operations,
            operations::TOPIC,
        ))
        .with_partitions(partitions)
}
