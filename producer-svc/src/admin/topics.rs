use kafka::{Admin, TopicDescription, TopicPartition};
use serde::Serialize;
use service::http::{Problem, Request, Response, Router, StatusCode, json};

use super::cluster::Cluster;
use super::kafka_problem::kafka_problem;

/// `GET /api/admin/topics`.
pub(super) fn routes(admin: Admin) -> Router {
    Router::new().get("/api/admin/topics", admin, list)
}

#[derive(Debug, Serialize)]
pub(super) struct Topic {
    topic: String,
    /// One of Kafka's own.
    internal: bool,
    partitions: Vec<Partition>,
}

#[derive(Debug, Serialize)]
struct Partition {
    partition: i32,
    /// The broker that leads it; null while none does.
    leader: Option<i32>,
    /// The first offset that is still there; null without a leader.
    first: Option<i64>,
    /// Where the next record will be written.
    end: Option<i64>,
}

async fn list(admin: Admin, _: Request) -> Result<Response, Problem> {
    let cluster = Cluster::look(&admin).await;
    let cluster = cluster.map_err(|error| kafka_problem(&error))?;
    Ok(json(StatusCode::OK, &of(&cluster)))
}

pub(super) fn of(cluster: &Cluster) -> Vec<Topic> {
    let topic = |described: &TopicDescription| Topic {
        topic: described.name.to_string(),
        internal: described.internal,
        partitions: described
            .partitions
            .iter()
            .map(|partition| {
                let of = TopicPartition::new(described.name.clone(), partition.partition);
                Partition {
                    partition: partition.partition,
                    leader: partition.leader,
                    first: cluster.first.get(&of).copied(),
                    end: cluster.end.get(&of).copied(),
                }
            })
            .collect(),
    };
    cluster.topics.iter().map(topic).collect()
}
