//! Topics: create, describe, grow, delete.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use futures::future::FutureExt as _;
use kafka_protocol::{
    error::ResponseError,
    messages::{
        ApiKey, CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest,
        create_partitions_request::CreatePartitionsTopic,
        create_topics_request::{CreatableTopic, CreatableTopicConfig},
        delete_topics_request::DeleteTopicState,
    },
};

use super::{Admin, millis, text, topic_name};
use crate::{cluster::TopicView, error::Error, topic_id::TopicId};

/// A topic to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name: letters, digits, `.`, `_` and `-`, at most 249.
    pub name: String,
    /// -1: the broker's default (`num.partitions`), from Kafka 2.4.
    pub partitions: i32,
    /// -1: the broker's default (`default.replication.factor`), from Kafka 2.4.
    pub replication: i16,
    /// Names and values, such as `retention.ms`.
    pub configs: Vec<(String, String)>,
}

impl NewTopic {
    /// A topic with the broker's configuration.
    pub fn new(name: impl Into<String>, partitions: i32, replication: i16) -> Self {
        Self {
            name: name.into(),
            partitions,
            replication,
            configs: Vec::new(),
        }
    }

    /// Sets one of the topic's configurations.
    #[must_use]
    pub fn config(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.configs.push((name.into(), value.into()));
        self
    }
}

/// A topic that exists after [`Admin::create_topics`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedTopic {
    /// The topic.
    pub name: Arc<str>,
    /// How many partitions it has, which may differ from what was asked for if it existed before.
    pub partitions: i32,
    /// Whether this call created it.
    pub created: bool,
}

/// A topic and its partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicDescription {
    /// The topic.
    pub name: Arc<str>,
    /// Its id: another one than before means that it was deleted and created again. `None` from a
    /// broker before Kafka 2.8.
    pub id: Option<TopicId>,
    /// One of Kafka's own, such as `__consumer_offsets`.
    pub internal: bool,
    /// In order.
    pub partitions: Vec<PartitionDescription>,
}

/// A partition's leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionDescription {
    /// Its number, from 0.
    pub partition: i32,
    /// The leader's broker id; `None` while there is none.
    pub leader: Option<i32>,
    /// Grows with each election; -1 where the broker gives none.
    pub leader_epoch: i32,
    /// How many replicas it has.
    pub replicas: u32,
}

impl TopicDescription {
    fn new(topic: &TopicView) -> Self {
        let partitions =
            topic
                .partitions
                .iter()
                .enumerate()
                .map(|(at, partition)| PartitionDescription {
                    partition: at as i32,
                    leader: partition.leader,
                    leader_epoch: partition.leader_epoch,
                    replicas: partition.replicas,
                });
        Self {
            name: topic.name.clone(),
            id: topic.id,
            internal: topic.internal,
            partitions: partitions.collect(),
        }
    }
}

impl Admin {
    /// Creates what is missing and waits until every partition has a leader. A topic that exists is left
    /// as it is, whatever its partitions and configuration.
    ///
    /// # Errors
    /// The first topic that was refused, with the broker's explanation; others may have been created.
    pub async fn create_topics(&self, topics: &[NewTopic]) -> Result<Vec<CreatedTopic>, Error> {
        if topics.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<Arc<str>> = topics
            .iter()
            .map(|topic| topic.name.as_str().into())
            .collect();
        let what = format!("creating topics {}", names.join(", "));
        let created: Vec<AtomicBool> = topics.iter().map(|_| AtomicBool::new(false)).collect();
        self.retrying(&what, || {
            async { self.create_missing(topics, &created).await }.boxed()
        })
        .await?;
        let view = self
            .retrying(&what, || {
                async {
                    let view = self.cluster.fetch_topics(&names).await?;
                    match names.iter().find(|name| !view.is_settled(name)) {
                        None => Ok(view),
                        Some(name) => Err(Error::NoLeader {
                            topic: name.clone(),
                            partition: 0,
                        }),
                    }
                }
                .boxed()
            })
            .await?;
        let exists = |(name, created): (Arc<str>, AtomicBool)| CreatedTopic {
            partitions: view.partition_count(&name).unwrap_or(0),
            name,
            created: created.into_inner(),
        };
        Ok(names.into_iter().zip(created).map(exists).collect())
    }

    async fn create_missing(
        &self,
        topics: &[NewTopic],
        created: &[AtomicBool],
    ) -> Result<(), Error> {
        let creatable = |topic: &NewTopic| {
            let config = |(name, value): &(String, String)| {
                CreatableTopicConfig::default()
                    .with_name(text(name))
                    .with_value(Some(text(value)))
            };
            CreatableTopic::default()
                .with_name(topic_name(&topic.name))
                .with_num_partitions(topic.partitions)
                .with_replication_factor(topic.replication)
                .with_configs(topic.configs.iter().map(config).collect())
        };
        let request = CreateTopicsRequest::default()
            .with_topics(topics.iter().map(creatable).collect())
            .with_timeout_ms(millis(self.timeout));
        let response = self.controller().await?.call(request, self.timeout).await?;
        for result in &response.topics {
            if ResponseError::try_from_code(result.error_code)
                == Some(ResponseError::TopicAlreadyExists)
            {
                continue;
            }
            Error::check(
                ApiKey::CreateTopics,
                result.error_code,
                result.error_message.as_deref(),
                || format!("topic {}", result.name.as_str()),
            )?;
            if let Some(at) = topics
                .iter()
                .position(|topic| topic.name == result.name.as_str())
            {
                created[at].store(true, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Every topic of the cluster, by name.
    ///
    /// # Errors
    /// No broker answered in time.
    pub async fn topics(&self) -> Result<Vec<TopicDescription>, Error> {
        let view = self
            .retrying("listing topics", || {
                async { self.cluster.fetch_all_topics().await }.boxed()
            })
            .await?;
        let mut topics: Vec<_> = view
            .topics
            .values()
            .map(|topic| TopicDescription::new(topic))
            .collect();
        topics.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(topics)
    }

    /// These topics; those that do not exist are left out.
    ///
    /// # Errors
    /// No broker answered in time.
    pub async fn describe_topics(&self, names: &[&str]) -> Result<Vec<TopicDescription>, Error> {
        let names: Vec<Arc<str>> = names.iter().map(|name| (*name).into()).collect();
        let view = self
            .retrying("describing topics", || {
                async { self.cluster.fetch_topics(&names).await }.boxed()
            })
            .await?;
        let described = names.iter().filter_map(|name| view.topics.get(name));
        Ok(described
            .map(|topic| TopicDescription::new(topic))
            .collect())
    }

    /// Raises the number of a topic's partitions to `count` and waits until all have a leader. Keys may
    /// belong to other partitions from then on.
    ///
    /// # Errors
    /// INVALID_PARTITIONS if it has more, [`Error::UnknownTopic`] if it does not exist. As many is fine.
    pub async fn create_partitions(&self, topic: &str, count: i32) -> Result<(), Error> {
        let what = format!("adding partitions to topic {topic}");
        let name: Arc<str> = topic.into();
        let request = CreatePartitionsRequest::default()
            .with_topics(vec![
                CreatePartitionsTopic::default()
                    .with_name(topic_name(topic))
                    .with_count(count)
                    .with_assignments(None),
            ])
            .with_timeout_ms(millis(self.timeout));
        self.retrying(&what, || {
            async {
                let view = self.existing(std::slice::from_ref(&name)).await?;
                // Also what a lost answer leaves behind.
                if view.partition_count(&name) == Some(count) {
                    return Ok(());
                }
                let response = self
                    .controller()
                    .await?
                    .call(request.clone(), self.timeout)
                    .await?;
                for result in &response.results {
                    Error::check(
                        ApiKey::CreatePartitions,
                        result.error_code,
                        result.error_message.as_deref(),
                        || format!("topic {topic}"),
                    )?;
                }
                Ok(())
            }
            .boxed()
        })
        .await?;
        self.retrying(&what, || {
            async {
                let view = self.existing(std::slice::from_ref(&name)).await?;
                if view.partition_count(&name).is_some_and(|has| has >= count)
                    && view.is_settled(&name)
                {
                    return Ok(());
                }
                Err(Error::NoLeader {
                    topic: name.clone(),
                    partition: count - 1,
                })
            }
            .boxed()
        })
        .await
    }

    /// Deletes topics with all their records. One that does not exist is fine.
    ///
    /// # Errors
    /// The first topic that was refused; others may have been deleted.
    pub async fn delete_topics(&self, names: &[&str]) -> Result<(), Error> {
        let what = format!("deleting topics {}", names.join(", "));
        self.retrying(&what, || {
            async {
                let connection = self.controller().await?;
                let request = DeleteTopicsRequest::default().with_timeout_ms(millis(self.timeout));
                // KIP-516: from version 6 on a topic is named in a structure.
                let request = if connection.version::<DeleteTopicsRequest>() >= Some(6) {
                    let state =
                        |name: &&str| DeleteTopicState::default().with_name(Some(topic_name(name)));
                    request.with_topics(names.iter().map(state).collect())
                } else {
                    request.with_topic_names(names.iter().map(|name| topic_name(name)).collect())
                };
                let response = connection.call(request, self.timeout).await?;
                for result in &response.responses {
                    let code = ResponseError::try_from_code(result.error_code);
                    if code == Some(ResponseError::UnknownTopicOrPartition) {
                        continue;
                    }
                    Error::check(
                        ApiKey::DeleteTopics,
                        result.error_code,
                        result.error_message.as_deref(),
                        || {
                            format!(
                                "topic {}",
                                result.name.as_ref().map_or("", |name| name.as_str())
                            )
                        },
                    )?;
                }
                Ok(())
            }
            .boxed()
        })
        .await
    }
}
