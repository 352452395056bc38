//! Where partitions begin and end.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures::future::FutureExt as _;
use kafka_protocol::messages::{
    ApiKey, BrokerId, ListOffsetsRequest, ListOffsetsResponse,
    list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic},
};
use parking_lot::Mutex;

use super::{Admin, topic_name};
use crate::{cluster::ClusterView, consumer::topic_partition::TopicPartition, error::Error};

/// Which offset of a partition is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetAt {
    /// The first record that is still there.
    Earliest,
    /// Where the next record will go.
    Latest,
    /// The first record with this timestamp or a later one, in milliseconds since 1970; where there is none, where the
    /// next record will go. (Brokers answer -1 then; as a start that would mean the whole log.)
    Timestamp(i64),
}

impl OffsetAt {
    /// `ListOffsetsRequest.java`: EARLIEST_TIMESTAMP and LATEST_TIMESTAMP.
    fn wire(self) -> i64 {
        match self {
            Self::Earliest => -2,
            Self::Latest => -1,
            Self::Timestamp(timestamp) => timestamp.max(0),
        }
    }
}

impl Admin {
    /// The offsets of many partitions, in one request for each broker.
    ///
    /// # Errors
    /// [`Error::UnknownTopic`] or [`Error::UnknownPartition`]; otherwise what kept a partition's leader
    /// from answering in time.
    pub async fn offsets(
        &self,
        partitions: &[TopicPartition],
        at: OffsetAt,
    ) -> Result<BTreeMap<TopicPartition, i64>, Error> {
        let mut found = self.ask_offsets(partitions, at).await?;
        let none = |found: &BTreeMap<TopicPartition, i64>| -> Vec<_> {
            let none = found.iter().filter(|(_, offset)| **offset < 0);
            none.map(|(partition, _)| partition.clone()).collect()
        };
        let beyond = none(&found);
        if !beyond.is_empty() {
            // The end first, then the time once more: a record that comes in between is found one way or the other.
            let ends = self.ask_offsets(&beyond, OffsetAt::Latest).await?;
            found.extend(self.ask_offsets(&beyond, at).await?);
            for partition in none(&found) {
                let end = ends.get(&partition).copied().unwrap_or(0);
                found.insert(partition, end);
            }
        }
        Ok(found)
    }

    /// As brokers answer: -1 where no record has the time asked for, or a later one.
    async fn ask_offsets(
        &self,
        partitions: &[TopicPartition],
        at: OffsetAt,
    ) -> Result<BTreeMap<TopicPartition, i64>, Error> {
        let names: BTreeSet<_> = partitions
            .iter()
            .map(|partition| partition.topic.clone())
            .collect();
        let names: Vec<_> = names.into_iter().collect();
        // What one attempt has found the next one does not ask for again.
        let found = Mutex::new(BTreeMap::new());
        self.retrying("asking for offsets", || {
            async {
                let view = self.existing(&names).await?;
                let mut by_leader: BTreeMap<i32, Wanted> = BTreeMap::new();
                let missing: Vec<_> = {
                    let found = found.lock();
                    partitions
                        .iter()
                        .filter(|partition| !found.contains_key(*partition))
                        .collect()
                };
                for partition in missing {
                    let (leader, epoch) = leader_of(&view, partition)?;
                    let topics = by_leader.entry(leader).or_default();
                    topics
                        .entry(partition.topic.clone())
                        .or_default()
                        .push((partition.partition, epoch));
                }
                let leaders = by_leader.keys().copied().collect();
                let by_leader = &by_leader;
                let answers = self
                    .ask_all(leaders, |node, connection| {
                        async move {
                            connection
                                .call(request(&by_leader[&node], at), self.timeout)
                                .await
                        }
                        .boxed()
                    })
                    .await?;
                for answer in answers {
                    take_offsets(answer, &mut found.lock())?;
                }
                Ok(())
            }
            .boxed()
        })
        .await?;
        Ok(found.into_inner())
    }
}

/// Partitions and their leader epochs by topic.
type Wanted = BTreeMap<Arc<str>, Vec<(i32, i32)>>;

/// The leader of a partition and its epoch.
pub(super) fn leader_of(view: &ClusterView, of: &TopicPartition) -> Result<(i32, i32), Error> {
    let count = view.partition_count(&of.topic).unwrap_or(0);
    if !(0..count).contains(&of.partition) {
        return Err(Error::UnknownPartition {
            topic: of.topic.clone(),
            partition: of.partition,
            count,
        });
    }
    view.leader(&of.topic, of.partition)
        .ok_or_else(|| Error::NoLeader {
            topic: of.topic.clone(),
            partition: of.partition,
        })
}

fn request(topics: &Wanted, at: OffsetAt) -> ListOffsetsRequest {
    let partition = |(partition, epoch): &(i32, i32)| {
        ListOffsetsPartition::default()
            .with_partition_index(*partition)
            .with_current_leader_epoch(*epoch)
            .with_timestamp(at.wire())
    };
    let topics = topics.iter().map(|(name, partitions)| {
        ListOffsetsTopic::default()
            .with_name(topic_name(name))
            .with_partitions(partitions.iter().map(partition).collect())
    });
    ListOffsetsRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_topics(topics.collect())
}

/// Keeps what was answered before the first failure is reported, so that a retry asks for the rest only.
fn take_offsets(
    answer: ListOffsetsResponse,
    found: &mut BTreeMap<TopicPartition, i64>,
) -> Result<(), Error> {
    let mut failed = Ok(());
    for topic in answer.topics {
        let name: Arc<str> = topic.name.as_str().into();
        for partition in topic.partitions {
            let of = TopicPartition::new(name.clone(), partition.partition_index);
            match Error::check(ApiKey::ListOffsets, partition.error_code, None, || {
                of.to_string()
            }) {
                Ok(()) => {
                    found.insert(of, partition.offset);
                }
                Err(error) => failed = Err(error),
            }
        }
    }
    failed
}
