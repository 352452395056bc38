use std::collections::BTreeMap;

use kafka::{Admin, Error, OffsetAt, TopicDescription, TopicPartition};
use serde::Serialize;
use service::http::{Problem, Request, Response, Router, StatusCode, json};

use super::kafka_problem::kafka_problem;

/// `GET /api/admin/topics`.
pub(super) fn routes(admin: Admin) -> Router {
    Router::new().get("/api/admin/topics", admin, list)
}

#[derive(Serialize)]
struct Topic {
    topic: String,
    /// One of Kafka's own.
    internal: bool,
    partitions: Vec<Partition>,
}

#[derive(Serialize)]
struct Partition {
    partition: i32,
    /// The broker that leads it; null while none does.
    leader: Option<i32>,
    /// The first offset that is still there; null where the partition does not answer.
    first: Option<i64>,
    /// Where the next record will be written.
    end: Option<i64>,
}

async fn list(admin: Admin, _: Request) -> Result<Response, Problem> {
    let topics = all(&admin).await.map_err(|error| kafka_problem(&error))?;
    Ok(json(StatusCode::OK, &topics))
}

async fn all(admin: &Admin) -> Result<Vec<Topic>, Error> {
    let described = admin.topics().await?;
    // A partition without a leader would keep the others waiting.
    let led: Vec<TopicPartition> = described.iter().flat_map(led).collect();
    let (first, end) = tokio::try_join!(
        admin.offsets(&led, OffsetAt::Earliest),
        admin.offsets(&led, OffsetAt::Latest)
    )?;
    Ok(described
        .iter()
        .map(|topic| of(topic, &first, &end))
        .collect())
}

fn led(topic: &TopicDescription) -> impl Iterator<Item = TopicPartition> {
    topic
        .partitions
        .iter()
        .filter(|partition| partition.leader.is_some())
        .map(|partition| TopicPartition::new(topic.name.clone(), partition.partition))
}

fn of(
    topic: &TopicDescription,
    first: &BTreeMap<TopicPartition, i64>,
    end: &BTreeMap<TopicPartition, i64>,
) -> Topic {
    let partition = |described: &kafka::PartitionDescription| {
        let of = TopicPartition::new(topic.name.clone(), described.partition);
        Partition {
            partition: described.partition,
            leader: described.leader,
            first: first.get(&of).copied(),
            end: end.get(&of).copied(),
        }
    };
    Topic {
        topic: topic.name.to_string(),
        internal: topic.internal,
        partitions: topic.partitions.iter().map(partition).collect(),
    }
}
