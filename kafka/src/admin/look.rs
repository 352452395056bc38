//! A look at the topics that somebody works with: whether they are there, whether each leader answers, and whether a
//! transaction that nobody ends holds their readers up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{
    ApiKey, BrokerId, DescribeProducersRequest, ListOffsetsRequest, ListOffsetsResponse,
    describe_producers_request::TopicRequest,
};

use super::{Admin, topic_name};
use crate::cluster::ClusterView;
use crate::connection::Connection;
use crate::consumer::topic_partition::TopicPartition;
use crate::error::Error;

/// What [`Admin::look`] found.
#[derive(Clone, Debug, Default)]
pub struct TopicsLook {
    /// Topics that do not exist.
    pub missing: Vec<Arc<str>>,
    /// Partitions without a leader at the moment.
    pub leaderless: Vec<TopicPartition>,
    /// Leaders that do not answer.
    pub silent: Vec<SilentLeader>,
    /// Where readers of committed records end, and where the log does.
    pub ends: Vec<Ends>,
}

/// A leader that could not be asked about its partitions.
#[derive(Clone, Debug)]
pub struct SilentLeader {
    /// Its broker id.
    pub node: i32,
    /// `host:port`, as this broker advertises itself to clients (its `advertised.listeners`).
    pub address: Arc<str>,
    /// What it leads of the topics.
    pub partitions: Vec<TopicPartition>,
    /// Why.
    pub error: Error,
}

/// The ends of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The partition.
    pub partition: TopicPartition,
    /// The last stable offset: from it on records belong to, or lie behind, an open transaction.
    pub stable: i64,
    /// The high watermark.
    pub end: i64,
}

/// A transaction that is open in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenTransaction {
    /// Who writes it.
    pub producer_id: i64,
    /// The producer's epoch.
    pub producer_epoch: i32,
    /// Its first offset in the partition.
    pub start_offset: i64,
    /// When the producer last wrote, in milliseconds since 1970.
    pub last_timestamp: i64,
}

impl Admin {
    /// Asks for the topics' metadata, and then each leader, all at once, for the ends of its partitions: two small
    /// requests a leader. `patience` bounds the wait for each leader, connecting included; one that is silent costs no
    /// other its answer.
    ///
    /// # Errors
    /// No broker answers at all.
    pub async fn look(&self, topics: &[&str], patience: Duration) -> Result<TopicsLook, Error> {
        let names: Vec<Arc<str>> = topics.iter().map(|topic| Arc::from(*topic)).collect();
        let view = self.cluster.fetch_topics(&names).await?;
        let mut look = TopicsLook::default();
        let mut by_leader: BTreeMap<i32, Vec<TopicPartition>> = BTreeMap::new();
        for name in names {
            let Some(count) = view.partition_count(&name) else {
                look.missing.push(name);
                continue;
            };
            for number in 0..count {
                let partition = TopicPartition::new(name.clone(), number);
                match view.leader(&name, number) {
                    Some((leader, _)) => by_leader.entry(leader).or_default().push(partition),
                    None => look.leaderless.push(partition),
                }
            }
        }
        let asked = by_leader.into_iter().map(|(node, partitions)| async move {
            let asking = tokio::time::timeout(patience, self.ask_ends(node, &partitions));
            let answer = asking.await.unwrap_or_else(|_| {
                Err(Error::Deadline {
                    what: format!("asking broker {node} for the ends of its partitions").into(),
                    elapsed: patience,
                    last: None,
                })
            });
            (node, partitions, answer)
        });
        for (node, partitions, answer) in join_all(asked).await {
            match answer {
                Ok(ends) => look.ends.extend(ends),
                Err(error) => look.silent.push(SilentLeader {
                    node,
                    address: address(&view, node),
                    partitions,
                    error,
                }),
            }
        }
        Ok(look)
    }

    async fn ask_ends(&self, node: i32, partitions: &[TopicPartition]) -> Result<Vec<Ends>, Error> {
        let connection = self.to(node).await?;
        // The stable offsets first: an end that is asked for later is not before them.
        let stable = self.ends(&connection, partitions, true).await?;
        let end = self.ends(&connection, partitions, false).await?;
        let ends = stable.into_iter().filter_map(|(partition, stable)| {
            let end = *end.get(&partition)?;
            Some(Ends {
                partition,
                stable,
                end,
            })
        });
        Ok(ends.collect())
    }

    async fn ends(
        &self,
        connection: &Connection,
        partitions: &[TopicPartition],
        committed: bool,
    ) -> Result<BTreeMap<TopicPartition, i64>, Error> {
        /// `ListOffsetsRequest.java`: LATEST_TIMESTAMP.
        const LATEST: i64 = -1;
        let mut topics: BTreeMap<&Arc<str>, Vec<ListOffsetsPartition>> = BTreeMap::new();
        for of in partitions {
            let partition = ListOffsetsPartition::default()
                .with_partition_index(of.partition)
                .with_timestamp(LATEST);
            topics.entry(&of.topic).or_default().push(partition);
        }
        let topics = topics.into_iter().map(|(name, partitions)| {
            ListOffsetsTopic::default()
                .with_name(topic_name(name))
                .with_partitions(partitions)
        });
        let request = ListOffsetsRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_isolation_level(i8::from(committed))
            .with_topics(topics.collect());
        let response: ListOffsetsResponse = connection.call(request, self.timeout).await?;
        let mut found = BTreeMap::new();
        for topic in response.topics {
            for partition in topic.partitions {
                // A leader that has just moved, or a topic that was just deleted, is seen at the next look.
                if partition.error_code == 0 {
                    let of = TopicPartition::new(topic.name.as_str(), partition.partition_index);
                    found.insert(of, partition.offset);
                }
            }
        }
        Ok(found)
    }

    /// The transaction that is open at `offset` of a partition, asked of its leader (KIP-664). `None`: there is none any
    /// more, or the broker is older than Kafka 3.0 and does not tell.
    ///
    /// # Errors
    /// The leader did not answer, or this client may not ask.
    pub async fn open_transaction(
        &self,
        of: &TopicPartition,
        offset: i64,
    ) -> Result<Option<OpenTransaction>, Error> {
        let view = self.existing(std::slice::from_ref(&of.topic)).await?;
        let (leader, _) = super::offsets::leader_of(&view, of)?;
        let connection = self.to(leader).await?;
        if connection.version::<DescribeProducersRequest>().is_none() {
            return Ok(None);
        }
        let topic = TopicRequest::default()
            .with_name(topic_name(&of.topic))
            .with_partition_indexes(vec![of.partition]);
        let request = DescribeProducersRequest::default().with_topics(vec![topic]);
        let response = connection.call(request, self.timeout).await?;
        let mut partitions = response
            .topics
            .into_iter()
            .flat_map(|topic| topic.partitions);
        let partition = partitions.next().unwrap_or_default();
        Error::check(
            ApiKey::DescribeProducers,
            partition.error_code,
            partition.error_message.as_deref(),
            || of.to_string(),
        )?;
        let open = partition
            .active_producers
            .into_iter()
            .find(|producer| producer.current_txn_start_offset == offset);
        Ok(open.map(|producer| OpenTransaction {
            producer_id: *producer.producer_id,
            producer_epoch: producer.producer_epoch,
            start_offset: producer.current_txn_start_offset,
            last_timestamp: producer.last_timestamp,
        }))
    }
}

fn address(view: &ClusterView, node: i32) -> Arc<str> {
    match view.brokers.get(&node) {
        Some(broker) => broker.address.clone(),
        None => "unknown".into(),
    }
}
