use std::time::Duration;

use kafka::{Client, NewTopic};
use tokio_util::sync::CancellationToken;

use super::explained;
use crate::config::KafkaConfig;
use crate::health::HealthPart;

/// Topics a service needs, with the partitions they get where they do not exist.
#[derive(Clone, Debug, Default)]
pub struct TopicPlan {
    topics: Vec<(String, i32)>,
}

/// Pauses between attempts.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

impl TopicPlan {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn topic(mut self, name: &str, partitions: i32) -> Self {
        if !self.topics.iter().any(|(known, _)| known == name) {
            self.topics.push((name.to_owned(), partitions));
        }
        self
    }

    /// A topic that is consumed: with its dead letters.
    pub fn consumed(self, name: &str, partitions: i32) -> Self {
        self.topic(name, partitions)
            .topic(&format!("{name}-dlt"), partitions)
    }
}

/// Creates the topics of `plan` that do not exist, as soon as Kafka answers; with
/// `KAFKA_CREATE_TOPICS=false` only looks whether they are there. Tries until it is so, or `stop`.
pub async fn make_topics(
    client: Client,
    config: KafkaConfig,
    plan: TopicPlan,
    health: HealthPart,
    stop: CancellationToken,
) {
    let making = async {
        let mut pause = RETRY.0;
        loop {
            match attempt(&client, &config, &plan).await {
                Ok(missing) if missing.is_empty() => break,
                Ok(missing) => {
                    let problem = format!(
                        "missing: {} (KAFKA_CREATE_TOPICS is false)",
                        missing.join(", ")
                    );
                    report(&health, &problem, pause == RETRY.0);
                }
                Err(error) => report(&health, &explained(&error), pause == RETRY.0),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY.1);
        }
        health.up();
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = making => stop.cancelled().await,
    }
}

fn report(health: &HealthPart, problem: &str, first: bool) {
    if first {
        tracing::warn!("topics: {problem}; trying again");
    }
    health.down(problem);
}

async fn attempt(
    client: &Client,
    config: &KafkaConfig,
    plan: &TopicPlan,
) -> Result<Vec<String>, kafka::Error> {
    let admin = client.admin();
    let existing = admin.topics().await?;
    let missing: Vec<&(String, i32)> = plan
        .topics
        .iter()
        .filter(|(name, _)| !existing.iter().any(|topic| *topic.name == **name))
        .collect();
    if missing.is_empty() || !config.create_topics {
        return Ok(missing.into_iter().map(|(name, _)| name.clone()).collect());
    }
    let new: Vec<NewTopic> = missing
        .iter()
        .map(|(name, partitions)| NewTopic {
            name: name.clone(),
            partitions: *partitions,
            replication: config.topic_replication_factor,
            configs: Vec::new(),
        })
        .collect();
    // Another service may have been faster.
    for topic in admin
        .create_topics(&new)
        .await?
        .iter()
        .filter(|topic| topic.created)
    {
        tracing::info!(
            "topic {} created with {} partitions",
            topic.name,
            topic.partitions
        );
    }
    Ok(Vec::new())
}
