//! A picture of the cluster: brokers, topics, partitions and their leaders. Pure data.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use kafka_protocol::{
    error::ResponseError,
    messages::{ApiKey, MetadataResponse, metadata_response::MetadataResponseTopic},
};

use crate::error::Error;
use crate::topic_id::TopicId;

/// The cluster as last seen.
#[derive(Debug, Clone, Default)]
pub(crate) struct ClusterView {
    /// By id.
    pub(crate) brokers: BTreeMap<i32, BrokerView>,
    /// The broker that administration requests go to, if known.
    pub(crate) controller: Option<i32>,
    /// The topics that somebody asked for and that exist.
    pub(crate) topics: HashMap<Arc<str>, Arc<TopicView>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BrokerView {
    /// `host:port`.
    pub(crate) address: Arc<str>,
}

/// One topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TopicView {
    pub(crate) name: Arc<str>,
    /// `None` where the broker gives none (before Kafka 2.8); another one means that the topic was
    /// deleted and created again.
    pub(crate) id: Option<TopicId>,
    /// One of Kafka's own, such as `__consumer_offsets`.
    pub(crate) internal: bool,
    /// The index is the partition's number.
    pub(crate) partitions: Vec<PartitionView>,
}

/// One partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PartitionView {
    /// The leader's broker id; `None` during an election.
    pub(crate) leader: Option<i32>,
    /// Grows with each election; -1 where the broker gives none.
    pub(crate) leader_epoch: i32,
    /// Number of replicas.
    pub(crate) replicas: u32,
}

/// What changes nothing but is asked for again.
const UNSETTLED: PartitionView = PartitionView {
    leader: None,
    leader_epoch: -1,
    replicas: 0,
};

impl ClusterView {
    /// The leader of a partition and its epoch.
    pub(crate) fn leader(&self, topic: &str, partition: i32) -> Option<(i32, i32)> {
        let partition = self
            .topics
            .get(topic)?
            .partitions
            .get(usize::try_from(partition).ok()?)?;
        Some((partition.leader?, partition.leader_epoch))
    }

    /// The topic's id, as far as it is known.
    pub(crate) fn topic_id(&self, topic: &str) -> Option<TopicId> {
        self.topics.get(topic)?.id
    }

    /// The broker that is at `address`, if it is known which one that is: another address than those that brokers
    /// advertise may lead to any of them.
    pub(super) fn node_at(&self, address: &str) -> Option<i32> {
        let mut brokers = self.brokers.iter();
        let at = brokers.find(|(_, broker)| *broker.address == *address);
        match (at, self.brokers.len()) {
            (Some((node, _)), _) => Some(*node),
            (None, 1) => self.brokers.keys().next().copied(),
            (None, _) => None,
        }
    }

    /// How many partitions a topic has.
    pub(crate) fn partition_count(&self, topic: &str) -> Option<i32> {
        self.topics
            .get(topic)
            .map(|topic| topic.partitions.len() as i32)
    }

    /// Whether every partition of `topic` has a leader that is listed.
    pub(crate) fn is_settled(&self, topic: &str) -> bool {
        self.topics.get(topic).is_some_and(|topic| {
            topic.partitions.iter().all(|partition| {
                partition
                    .leader
                    .is_some_and(|leader| self.brokers.contains_key(&leader))
            })
        })
    }

    pub(crate) fn from_response(response: MetadataResponse) -> Result<Self, Error> {
        let brokers = response
            .brokers
            .iter()
            .map(|broker| {
                let address = address(&broker.host, broker.port).into();
                (*broker.node_id, BrokerView { address })
            })
            .collect();
        let mut topics = HashMap::new();
        for topic in response.topics {
            let name: Arc<str> = topic.name.as_ref().map_or("", |name| name.as_str()).into();
            match ResponseError::try_from_code(topic.error_code) {
                // Its leaders are being elected: it exists.
                None | Some(ResponseError::LeaderNotAvailable) => {
                    topics.insert(
                        name.clone(),
                        Arc::new(TopicView::from_response(name, &topic)),
                    );
                }
                Some(
                    ResponseError::UnknownTopicOrPartition
                    | ResponseError::UnknownTopicId
                    | ResponseError::InvalidTopicException,
                ) => {}
                Some(code) => tracing::warn!(
                    topic = %name,
                    "the cluster does not describe the topic: {}",
                    Error::response(ApiKey::Metadata, code, name.clone())
                ),
            }
        }
        Ok(Self {
            brokers,
            controller: (*response.controller_id >= 0).then_some(*response.controller_id),
            topics,
        })
    }

    /// Replaces this picture by a newer answer. A leader with a lower epoch than the known one is not believed, because
    /// the broker that answered may lag behind (KIP-320). A topic with another id replaces the known one;
    /// [`super::topic_ids`] has decided before that it is newer.
    pub(crate) fn merged(&self, mut newer: Self) -> Self {
        for (name, topic) in &mut newer.topics {
            let Some(known) = self.topics.get(name) else {
                continue;
            };
            if known.id != topic.id && topic.id.is_some() {
                // Deleted and created again: its epochs start anew.
                continue;
            }
            let stale = |(at, partition): (usize, &PartitionView)| {
                known.partitions.get(at).is_some_and(|known| {
                    partition.leader_epoch >= 0 && known.leader_epoch > partition.leader_epoch
                })
            };
            if topic.partitions.iter().enumerate().any(stale)
                || topic.partitions.len() < known.partitions.len()
            {
                let mut partitions = known.partitions.clone();
                for (at, partition) in topic.partitions.iter().enumerate() {
                    match partitions.get_mut(at) {
                        None => partitions.push(*partition),
                        Some(_) if stale((at, partition)) => {}
                        Some(known) => *known = *partition,
                    }
                }
                let mut merged = (**topic).clone();
                merged.partitions = partitions;
                *topic = Arc::new(merged);
            } else if **topic == **known {
                *topic = known.clone();
            }
        }
        if newer.brokers.is_empty() {
            // A broker that is starting lists none; addresses known so far are better than nothing.
            newer.brokers.clone_from(&self.brokers);
        }
        newer
    }

    /// With a broker that another answer named, if that says anything new.
    pub(super) fn with_broker(&self, node: i32, address: &Arc<str>) -> Option<Self> {
        if self
            .brokers
            .get(&node)
            .is_some_and(|broker| broker.address == *address)
        {
            return None;
        }
        let mut changed = self.clone();
        let address = address.clone();
        changed.brokers.insert(node, BrokerView { address });
        Some(changed)
    }

    /// Whether anything differs that somebody could wait for.
    pub(crate) fn differs(&self, other: &Self) -> bool {
        self.brokers != other.brokers
            || self.controller != other.controller
            || self.topics != other.topics
    }
}

impl TopicView {
    fn from_response(name: Arc<str>, topic: &MetadataResponseTopic) -> Self {
        let count = topic
            .partitions
            .iter()
            .map(|partition| partition.partition_index.max(-1).saturating_add(1))
            .max()
            .unwrap_or(0);
        // An index far beyond the number of entries would be a broken answer, not a big topic.
        let count = usize::try_from(count)
            .unwrap_or(0)
            .min(topic.partitions.len());
        let mut partitions = vec![UNSETTLED; count];
        for partition in &topic.partitions {
            let at = usize::try_from(partition.partition_index).ok();
            if let Some(entry) = at.and_then(|at| partitions.get_mut(at)) {
                *entry = PartitionView {
                    leader: (*partition.leader_id >= 0).then_some(*partition.leader_id),
                    leader_epoch: partition.leader_epoch,
                    replicas: partition.replica_nodes.len() as u32,
                };
            }
        }
        Self {
            name,
            id: TopicId::from_u128(topic.topic_id.as_u128()),
            internal: topic.is_internal,
            partitions,
        }
    }
}

/// `host:port`, with brackets around an IPv6 address.
pub(super) fn address(host: &str, port: i32) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::{
        messages::{
            BrokerId, TopicName,
            metadata_response::{MetadataResponseBroker, MetadataResponsePartition},
        },
        protocol::StrBytes,
    };

    use super::*;

    fn topic(id: u128, leaders: &[(i32, i32)]) -> ClusterView {
        let partitions = leaders
            .iter()
            .map(|&(leader, leader_epoch)| PartitionView {
                leader: (leader >= 0).then_some(leader),
                leader_epoch,
                replicas: 1,
            })
            .collect();
        let name: Arc<str> = "t".into();
        let mut view = ClusterView::default();
        for (leader, _) in leaders {
            let address = format!("b{leader}:9092").into();
            view.brokers.insert(*leader, BrokerView { address });
        }
        view.topics.insert(
            name.clone(),
            Arc::new(TopicView {
                name,
                id: TopicId::from_u128(id),
                internal: false,
                partitions,
            }),
        );
        view
    }

    #[test]
    fn an_older_leader_epoch_is_not_believed() {
        let known = topic(7, &[(1, 5), (2, 5)]);
        let merged = known.merged(topic(7, &[(3, 4), (3, 6)]));
        assert_eq!(merged.leader("t", 0), Some((1, 5)));
        assert_eq!(merged.leader("t", 1), Some((3, 6)));
    }

    #[test]
    fn a_recreated_topic_starts_anew() {
        let known = topic(7, &[(1, 5), (2, 5)]);
        let merged = known.merged(topic(8, &[(3, 0)]));
        assert_eq!(merged.leader("t", 0), Some((3, 0)));
        assert_eq!(merged.partition_count("t"), Some(1));
    }

    #[test]
    fn partitions_do_not_vanish_from_a_topic() {
        let known = topic(7, &[(1, 5), (2, 5)]);
        let merged = known.merged(topic(7, &[(3, 6)]));
        assert_eq!(merged.partition_count("t"), Some(2));
        assert_eq!(merged.leader("t", 0), Some((3, 6)));
        assert_eq!(merged.leader("t", 1), Some((2, 5)));
    }

    #[test]
    fn new_partitions_are_seen() {
        let merged = topic(7, &[(1, 5)]).merged(topic(7, &[(1, 5), (2, 0)]));
        assert_eq!(merged.partition_count("t"), Some(2));
        assert!(merged.differs(&topic(7, &[(1, 5)])));
    }

    #[test]
    fn a_broker_that_lists_none_takes_none_away() {
        let merged = topic(7, &[(1, 5)]).merged(ClusterView::default());
        assert_eq!(merged.brokers.len(), 1);
        assert!(merged.topics.is_empty());
    }

    #[test]
    fn a_partition_number_that_cannot_be_is_passed_over() {
        for index in [i32::MAX, i32::MIN, -1] {
            let topic = MetadataResponseTopic::default()
                .with_name(Some(TopicName(StrBytes::from_static_str("t"))))
                .with_partitions(vec![
                    MetadataResponsePartition::default(),
                    MetadataResponsePartition::default().with_partition_index(index),
                ]);
            let view =
                ClusterView::from_response(MetadataResponse::default().with_topics(vec![topic]));
            let count = view.unwrap().partition_count("t").unwrap();
            assert!((1..=2).contains(&count), "{index}: {count}");
        }
    }

    #[test]
    fn answers_become_a_picture() {
        let partition = |index, leader| {
            MetadataResponsePartition::default()
                .with_partition_index(index)
                .with_leader_id(BrokerId(leader))
                .with_leader_epoch(3)
        };
        let name = |name| Some(TopicName(StrBytes::from_static_str(name)));
        let response = MetadataResponse::default()
            .with_brokers(vec![
                MetadataResponseBroker::default()
                    .with_node_id(BrokerId(1))
                    .with_host(StrBytes::from_static_str("::1"))
                    .with_port(9092),
            ])
            .with_controller_id(BrokerId(-1))
            .with_topics(vec![
                MetadataResponseTopic::default()
                    .with_name(name("t"))
                    .with_partitions(vec![partition(1, -1), partition(0, 1)]),
                MetadataResponseTopic::default()
                    .with_name(name("gone"))
                    .with_error_code(3),
            ]);
        let view = ClusterView::from_response(response).unwrap();
        assert_eq!(&*view.brokers[&1].address, "[::1]:9092");
        assert_eq!(view.controller, None);
        assert_eq!(view.leader("t", 0), Some((1, 3)));
        assert_eq!(view.leader("t", 1), None);
        assert!(!view.is_settled("t"));
        assert!(!view.topics.contains_key("gone"));
    }
}
