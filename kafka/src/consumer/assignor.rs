//! Who gets which partition: the strategies of the Java client, by the names it gives them. Pure.

mod cooperative_sticky;
mod range;
mod round_robin;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use super::protocol::Subscription;
use super::topic_partition::TopicPartition;

/// A partition assignment strategy. All members of a group must have one in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Assignor {
    /// `range`: each topic's partitions in consecutive blocks (Java `RangeAssignor`). Eager.
    Range,
    /// `roundrobin`: all partitions dealt out in turn (Java `RoundRobinAssignor`). Eager.
    RoundRobin,
    /// `RoundRobinAssigner`: the same under the name that kafkajs gives it, to share a group with it. Eager.
    RoundRobinAssigner,
    /// `cooperative-sticky`: balanced, moving as little as possible, and only what moves is interrupted
    /// (Java `CooperativeStickyAssignor`, KIP-429). The default.
    CooperativeSticky,
}

impl Assignor {
    /// The name that members compare.
    pub fn name(self) -> &'static str {
        match self {
            Self::Range => "range",
            Self::RoundRobin => "roundrobin",
            Self::RoundRobinAssigner => "RoundRobinAssigner",
            Self::CooperativeSticky => "cooperative-sticky",
        }
    }

    /// The strategy of this name, as `KAFKA_ASSIGNMENT_STRATEGY` spells it.
    pub fn from_name(name: &str) -> Option<Self> {
        [
            Self::Range,
            Self::RoundRobin,
            Self::RoundRobinAssigner,
            Self::CooperativeSticky,
        ]
        .into_iter()
        .find(|assignor| assignor.name() == name)
    }

    /// Whether members keep what they own while a rebalance goes on (KIP-429).
    pub(crate) fn is_cooperative(self) -> bool {
        matches!(self, Self::CooperativeSticky)
    }

    /// What the strategy adds to a member's subscription. `cooperative-sticky`: the generation in which the member
    /// got what it owns, for peers older than KIP-792, which do not read it from the subscription itself.
    pub(crate) fn user_data(self, generation: i32) -> Option<Bytes> {
        self.is_cooperative().then(|| {
            let mut data = BytesMut::with_capacity(4);
            data.put_i32(generation);
            data.freeze()
        })
    }

    /// Distributes the partitions of the topics that the members subscribe to; topics that do not exist are not in
    /// `topics`, which maps to partition counts. Every member has an entry.
    pub(crate) fn assign(self, members: &[Member], topics: &BTreeMap<Arc<str>, i32>) -> Plan {
        let mut members: Vec<&Member> = members.iter().collect();
        members.sort_unstable_by(|a, b| a.order().cmp(&b.order()));
        let given = match self {
            Self::Range => range::assign(&members, topics),
            Self::RoundRobin | Self::RoundRobinAssigner => round_robin::assign(&members, topics),
            Self::CooperativeSticky => cooperative_sticky::assign(&members, topics),
        };
        members
            .into_iter()
            .map(|member| member.id.clone())
            .zip(given)
            .collect()
    }
}

/// A member, as the leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) id: String,
    pub(crate) instance: Option<String>,
    pub(crate) subscription: Subscription,
}

/// Partitions by member id.
pub(crate) type Plan = BTreeMap<String, Vec<TopicPartition>>;

impl Member {
    /// Java's `MemberInfo.compareTo`: static members first, by instance id, so that a restart under a new member id
    /// changes nothing; the others by member id.
    fn order(&self) -> (bool, &str) {
        match &self.instance {
            Some(instance) => (false, instance),
            None => (true, &self.id),
        }
    }

    fn subscribes(&self, topic: &str) -> bool {
        self.subscription.topics.iter().any(|name| **name == *topic)
    }
}

impl fmt::Display for Assignor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A strategy's name that nothing here answers to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown assignment strategy {0:?}: use range, roundrobin, RoundRobinAssigner (kafkajs) or cooperative-sticky"
)]
pub struct UnknownAssignor(pub String);

impl FromStr for Assignor {
    type Err = UnknownAssignor;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::from_name(name.trim()).ok_or_else(|| UnknownAssignor(name.to_owned()))
    }
}

#[cfg(test)]
mod tests;
