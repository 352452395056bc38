use std::collections::HashMap;
use std::time::Duration;

use kafka::{Client, DeadLetters, NewTopic};
use tokio_util::sync::CancellationToken;

use super::explained;
use crate::config::KafkaConfig;
use crate::health::HealthPart;

/// Topics a service needs, with the partitions they get where they do not exist.
#[derive(Clone, Debug, Default)]
pub struct TopicPlan {
    topics: Vec<(String, Partitions)>,
}

#[derive(Clone, Debug)]
enum Partitions {
    Number(i32),
    /// As many as this topic has, or will get.
    As(String),
}

/// Pauses between attempts.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

impl TopicPlan {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn topic(self, name: &str, partitions: i32) -> Self {
        self.add(name.to_owned(), Partitions::Number(partitions))
    }

    /// A topic that is consumed: with its dead letters, which get the partitions that it has.
    pub fn consumed(self, name: &str, partitions: i32) -> Self {
        self.topic(name, partitions).add(
            format!("{name}{}", DeadLetters::SUFFIX),
            Partitions::As(name.to_owned()),
        )
    }

    /// As [`TopicPlan::topic`], where it is named.
    pub fn topic_if(self, name: Option<&str>, partitions: i32) -> Self {
        match name {
            Some(name) => self.topic(name, partitions),
            None => self,
        }
    }

    /// As [`TopicPlan::consumed`], where it is named.
    pub fn consumed_if(self, name: Option<&str>, partitions: i32) -> Self {
        match name {
            Some(name) => self.consumed(name, partitions),
            None => self,
        }
    }

    fn add(mut self, name: String, partitions: Partitions) -> Self {
        if !self.topics.iter().any(|(known, _)| *known == name) {
            self.topics.push((name, partitions));
        }
        self
    }

    /// What is not among `existing` (with their partitions), and the partitions it gets.
    fn missing(&self, existing: &HashMap<&str, i32>) -> Vec<(String, i32)> {
        let planned = |name: &str| {
            let (_, partitions) = self.topics.iter().find(|(known, _)| known == name)?;
            match partitions {
                Partitions::Number(number) => Some(*number),
                Partitions::As(_) => None,
            }
        };
        self.topics
            .iter()
            .filter(|(name, _)| !existing.contains_key(&**name))
            .map(|(name, partitions)| {
                let partitions = match partitions {
                    Partitions::Number(number) => *number,
                    Partitions::As(source) => existing
                        .get(&**source)
                        .copied()
                        .or_else(|| planned(source))
                        .unwrap_or(1),
                };
                (name.clone(), partitions)
            })
            .collect()
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
    let existing: HashMap<&str, i32> = existing
        .iter()
        .map(|topic| (&*topic.name, topic.partitions.len() as i32))
        .collect();
    let missing = plan.missing(&existing);
    if missing.is_empty() || !config.create_topics {
        return Ok(missing.into_iter().map(|(name, _)| name).collect());
    }
    let new: Vec<NewTopic> = missing
        .into_iter()
        .map(|(name, partitions)| NewTopic {
            name,
            partitions,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_letters_get_the_partitions_of_their_source() {
        let plan = TopicPlan::new()
            .topic("orders", 3)
            .consumed("orders", 3)
            .consumed("statuses", 3);
        let missing = |existing: &[(&'static str, i32)]| {
            let existing = existing.iter().copied().collect();
            let mut missing = plan.missing(&existing);
            missing.sort();
            missing
        };
        let topic = |name: &str, partitions| (name.to_owned(), partitions);
        assert_eq!(
            missing(&[("orders", 12), ("statuses", 1)]),
            [topic("orders-dlt", 12), topic("statuses-dlt", 1)]
        );
        assert_eq!(
            missing(&[("orders-dlt", 5)]),
            [
                topic("orders", 3),
                topic("statuses", 3),
                topic("statuses-dlt", 3)
            ]
        );
    }
}
