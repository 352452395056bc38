use std::collections::HashMap;
use std::time::{Duration, Instant};

use kafka::{Admin, Client, DeadLetters, NewTopic, ResponseError};
use tokio_util::sync::CancellationToken;

use super::explained;
use super::letter_retention::{self, SETTINGS};
use super::watch_topics::watch_topics;
use crate::config::{KafkaConfig, Retention};
use crate::health::HealthPart;

/// Topics a service needs, with the partitions they get where they do not exist.
#[derive(Clone, Debug)]
pub struct TopicPlan {
    topics: Vec<(String, Partitions)>,
    pub(super) open_transaction: Duration,
}

impl Default for TopicPlan {
    fn default() -> Self {
        Self {
            topics: Vec::new(),
            open_transaction: OPEN_TRANSACTION,
        }
    }
}

#[derive(Clone, Debug)]
enum Partitions {
    Number(i32),
    /// As many as this topic has, or will get.
    As(String),
}

/// Between two looks at topics that may delete dead letters by surprise.
const LOOK: Duration = Duration::from_secs(10);

/// How long a transaction may be open before it is reported: longer than Kafka itself leaves one open that a producer
/// has abandoned (`transaction.timeout.ms`, a minute by default).
const OPEN_TRANSACTION: Duration = Duration::from_secs(75);

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

    /// Reports a transaction that holds up the readers of a topic once it has been open for so long. Default: 75 s.
    pub fn report_transactions_after(mut self, open: Duration) -> Self {
        self.open_transaction = open;
        self
    }

    fn add(mut self, name: String, partitions: Partitions) -> Self {
        if !self.topics.iter().any(|(known, _)| *known == name) {
            self.topics.push((name, partitions));
        }
        self
    }

    /// Topics of dead letters, each with its source.
    fn dead_letters(&self) -> impl Iterator<Item = (&str, &str)> {
        self.topics.iter().filter_map(|(name, partitions)| {
            let Partitions::As(source) = partitions else {
                return None;
            };
            Some((&**name, &**source))
        })
    }

    /// Every topic of the plan.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.topics.iter().map(|(name, _)| name.as_str())
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
/// `KAFKA_CREATE_TOPICS=false` only looks whether they are there. Tries until it is so; then watches over them and
/// their leaders, and says which topics of dead letters may delete them before their records go, until `stop`. One that
/// is deleted later is not made again: whoever deleted it may be about to.
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
        watch_topics(client, plan, health).await;
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = making => {}
    }
}

fn report(health: &HealthPart, problem: &str, first: bool) {
    if first {
        tracing::warn!("topics: {problem}; trying again");
    }
    health.down(problem);
}

/// Which topics of dead letters may delete them before their records go: looked at once, and again as long as there is
/// something to say.
#[derive(Debug)]
pub(super) struct LetterTopics {
    due: Option<Instant>,
    surprises: Vec<String>,
}

impl LetterTopics {
    pub(super) fn new() -> Self {
        Self {
            due: Some(Instant::now()),
            surprises: Vec::new(),
        }
    }

    pub(super) async fn surprises(&mut self, admin: &Admin, plan: &TopicPlan) -> &[String] {
        if self.due.is_some_and(|due| Instant::now() >= due) {
            let topics: Vec<&str> = plan.dead_letters().flat_map(<[&str; 2]>::from).collect();
            let again = match admin.topic_settings(&topics, &SETTINGS).await {
                Ok(settings) => {
                    self.surprises = letter_retention::surprises(plan.dead_letters(), &settings);
                    !self.surprises.is_empty()
                }
                Err(error) => {
                    // What is known stays. A right that this service can do without is not asked for again.
                    tracing::debug!("the retention of dead letters is not known: {error}");
                    error.is_retriable()
                }
            };
            self.due = again.then(|| Instant::now() + LOOK);
        }
        &self.surprises
    }
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
    let is_letters = |name: &str| plan.dead_letters().any(|(letters, _)| letters == name);
    let (letters, others): (Vec<_>, Vec<_>) = missing
        .into_iter()
        .map(|(name, partitions)| NewTopic::new(name, partitions, config.topic_replication_factor))
        .partition(|topic| is_letters(&topic.name));
    create(&admin, &others).await?;
    let settings = letter_settings(config.dead_letter_retention);
    let with_settings: Vec<_> = letters
        .iter()
        .map(|topic| NewTopic {
            configs: settings.clone(),
            ..topic.clone()
        })
        .collect();
    match create(&admin, &with_settings).await {
        // Better as the cluster would have them than not at all.
        Err(error) if error.code().is_some_and(refuses_settings) => {
            tracing::warn!("topics of dead letters get the broker's own settings: {error}");
            create(&admin, &letters).await?;
        }
        created => created?,
    }
    Ok(Vec::new())
}

/// A letter must outlive its record whatever time the record has, and whatever the cluster's defaults are:
/// its age is that of its arrival.
fn letter_settings(retention: Retention) -> Vec<(String, String)> {
    let millis = retention
        .0
        .map_or("-1".to_owned(), |keep| keep.as_millis().to_string());
    [
        ("cleanup.policy", "delete".to_owned()),
        ("message.timestamp.type", "LogAppendTime".to_owned()),
        ("retention.ms", millis),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

fn refuses_settings(code: ResponseError) -> bool {
    matches!(
        code,
        ResponseError::InvalidConfig | ResponseError::PolicyViolation
    )
}

async fn create(admin: &Admin, topics: &[NewTopic]) -> Result<(), kafka::Error> {
    let topics = admin.create_topics(topics).await?;
    // Another service may have been faster.
    for topic in topics.iter().filter(|topic| topic.created) {
        tracing::info!(
            "topic {} created with {} partitions",
            topic.name,
            topic.partitions
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_kept_by_when_they_came() {
        let setting = |retention, name: &str| {
            let settings = letter_settings(retention);
            let found = settings.into_iter().find(|(of, _)| of == name);
            found.map(|(_, value)| value).unwrap_or_default()
        };
        let day = Retention(Some(Duration::from_secs(86_400)));
        assert_eq!(setting(day, "retention.ms"), "86400000");
        assert_eq!(setting(Retention(None), "retention.ms"), "-1");
        assert_eq!(setting(day, "message.timestamp.type"), "LogAppendTime");
    }

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
