//! DescribeTopicPartitions: topics page by page (KIP-966), as the Java tools ask.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use kafka_protocol::messages::{
    DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, TopicName,
};
use kafka_protocol::protocol::VersionRange;

use super::{Api, Call, Reply, operations, versions};
use crate::faults::Subject;
use crate::partition::Partition;

/// Partitions of one answer at most; Kafka's `max.request.partition.size.limit`.
const LIMIT: usize = 2000;

impl Api for DescribeTopicPartitionsRequest {
    const SERVED: VersionRange = versions(0, 0);

    fn subjects(&self, visit: &mut dyn FnMut(Subject<'_>)) {
        for topic in &self.topics {
            visit(Subject::Topic(&topic.name));
        }
    }

    async fn handle(self, call: &Call) -> Reply<DescribeTopicPartitionsResponse> {
        let mut names: Vec<TopicName> = if self.topics.is_empty() {
            let all = call.state.topics.all();
            all.iter().map(|topic| topic.name.clone().into()).collect()
        } else {
            self.topics.into_iter().map(|topic| topic.name).collect()
        };
        names.sort();
        names.dedup();
        let mut from = 0;
        if let Some(cursor) = &self.cursor {
            names.retain(|name| *name >= cursor.topic_name);
            if names.first() == Some(&cursor.topic_name) {
                from = usize::try_from(cursor.partition_index).unwrap_or(0);
            }
        }
        let mut left = usize::try_from(self.response_partition_limit)
            .unwrap_or(0)
            .clamp(1, LIMIT);
        let mut response = DescribeTopicPartitionsResponse::default();
        for name in names {
            let Some(topic) = call.state.topics.get(&name) else {
                let error = ResponseError::UnknownTopicOrPartition.code();
                response.topics.push(
                    DescribeTopicPartitionsResponseTopic::default()
                        .with_name(Some(name))
                        .with_error_code(error),
                );
                continue;
            };
            if left == 0 {
                response.next_cursor = Some(Cursor::default().with_topic_name(name));
                break;
            }
            let partitions: Vec<_> = topic
                .partitions
                .iter()
                .skip(from)
                .take(left)
                .map(|partition| describe(partition, &name, call))
                .collect();
            let end = from + partitions.len();
            left -= partitions.len();
            from = 0;
            response.topics.push(
                DescribeTopicPartitionsResponseTopic::default()
                    .with_name(Some(name.clone()))
                    .with_topic_id(topic.id)
                    .with_topic_authorized_operations(operations::TOPIC)
                    .with_partitions(partitions),
            );
            if end < topic.partitions.len() {
                let cursor = Cursor::default()
                    .with_topic_name(name)
                    .with_partition_index(end as i32);
                response.next_cursor = Some(cursor);
                break;
            }
        }
        Reply::Answer(response)
    }
}

fn describe(
    partition: &Partition,
    topic: &str,
    call: &Call,
) -> DescribeTopicPartitionsResponsePartition {
    let node = call.state.config.node_id;
    let error = call
        .refusal(topic, partition.index)
        .or(call.disguise(topic, partition.index));
    DescribeTopicPartitionsResponsePartition::default()
        .with_error_code(super::code(error))
        .with_partition_index(partition.index)
        .with_leader_id(node.into())
        .with_leader_epoch(call.state.topics.leader_epoch())
        .with_replica_nodes(vec![node.into()])
        .with_isr_nodes(vec![node.into()])
        .with_eligible_leader_replicas(Some(Vec::new()))
        .with_last_known_elr(Some(Vec::new()))
}
