//! First and next offsets of partitions, asked from their leaders (ListOffsets, KIP-79).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures::future::join_all;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{ApiKey, BrokerId, ListOffsetsRequest, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::topic_partition::TopicPartition;
use crate::cluster::{Cluster, Purpose};
use crate::error::Error;
use crate::records::MAX_OFFSET;
use crate::records::walker::IsolationLevel;

/// Which end of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The first record that is still there.
    Earliest,
    /// After the last record; with read committed, after the last one that is stable.
    Latest,
}

impl End {
    /// The timestamps that stand for it in a request (`ListOffsetsRequest.java`).
    fn timestamp(self) -> i64 {
        match self {
            Self::Latest => -1,
            Self::Earliest => -2,
        }
    }
}

/// Asks once, one request a leader; each partition has a result of its own. Errors that newer
/// metadata may cure have asked for it.
pub(crate) async fn positions(
    cluster: &Arc<Cluster>,
    isolation: IsolationLevel,
    wanted: &[(TopicPartition, End)],
) -> Vec<Result<i64, Error>> {
    let mut topics: Vec<Arc<str>> = wanted.iter().map(|(name, _)| name.topic.clone()).collect();
    topics.sort();
    topics.dedup();
    let view = match cluster.ensure_topics(&topics).await {
        Ok(view) => view,
        Err(error) => return wanted.iter().map(|_| Err(error.clone())).collect(),
    };
    let mut by_leader: BTreeMap<i32, Vec<usize>> = BTreeMap::new();
    let mut results: Vec<Result<i64, Error>> = wanted
        .iter()
        .map(|(name, _)| {
            Err(Error::NoLeader {
                topic: name.topic.clone(),
                partition: name.partition,
            })
        })
        .collect();
    for (at, (name, _)) in wanted.iter().enumerate() {
        match view.leader(&name.topic, name.partition) {
            Some((leader, _)) => by_leader.entry(leader).or_default().push(at),
            None => cluster.request_refresh(),
        }
    }
    let asked = by_leader.into_iter().map(|(leader, indices)| async move {
        let names: Vec<_> = indices.iter().map(|at| &wanted[*at]).collect();
        let answer = ask(cluster, leader, isolation, &names).await;
        (leader, answer, indices)
    });
    for (leader, answer, indices) in join_all(asked).await {
        let mut answer = answer.inspect_err(|_| cluster.request_refresh());
        for at in indices {
            let name = &wanted[at].0;
            results[at] = match &mut answer {
                Ok(found) => found.remove(name).unwrap_or_else(|| {
                    Err(Error::Malformed {
                        address: format!("with id {leader}").into(),
                        api: ApiKey::ListOffsets,
                        reason: format!("the answer leaves out {name}").into(),
                    })
                }),
                Err(error) => Err(error.clone()),
            };
            if let Err(error) = &results[at]
                && error.code().is_some()
            {
                cluster.request_refresh();
            }
        }
    }
    results
}

async fn ask(
    cluster: &Arc<Cluster>,
    leader: i32,
    isolation: IsolationLevel,
    wanted: &[&(TopicPartition, End)],
) -> Result<HashMap<TopicPartition, Result<i64, Error>>, Error> {
    let mut topics: Vec<ListOffsetsTopic> = Vec::new();
    for (name, end) in wanted {
        let partition = ListOffsetsPartition::default()
            .with_partition_index(name.partition)
            .with_timestamp(end.timestamp());
        match topics
            .iter_mut()
            .find(|topic| topic.name.as_str() == &*name.topic)
        {
            Some(topic) => topic.partitions.push(partition),
            None => topics.push(
                ListOffsetsTopic::default()
                    .with_name(TopicName(StrBytes::from_string(name.topic.to_string())))
                    .with_partitions(vec![partition]),
            ),
        }
    }
    let request = ListOffsetsRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_isolation_level(match isolation {
            IsolationLevel::ReadUncommitted => 0,
            IsolationLevel::ReadCommitted => 1,
        })
        .with_topics(topics);
    let connection = cluster.connection(leader, Purpose::Admin).await?;
    let response = connection
        .call(request, cluster.config().request_timeout)
        .await?;
    let mut found = HashMap::new();
    for topic in response.topics {
        let name: Arc<str> = topic.name.as_str().into();
        for partition in topic.partitions {
            let of = TopicPartition::new(name.clone(), partition.partition_index);
            let checked = Error::check(ApiKey::ListOffsets, partition.error_code, None, || {
                of.to_string()
            });
            let believable = (0..=MAX_OFFSET).contains(&partition.offset);
            let offset = checked.and_then(|()| match believable {
                true => Ok(partition.offset),
                false => Err(Error::Malformed {
                    address: connection.address().clone(),
                    api: ApiKey::ListOffsets,
                    reason: format!("the offset of {of} is {}", partition.offset).into(),
                }),
            });
            found.insert(of, offset);
        }
    }
    Ok(found)
}
