//! Under which name and generation a consumer may commit, and for what: shared by the task that keeps the membership
//! and the one that commits.

use std::collections::BTreeMap;

use super::group::Claim;
use super::topic_partition::TopicPartition;

/// The membership as commits need it. Changed before the consumer hears of the change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) member_id: String,
    /// The static member id, if the member uses one.
    pub(crate) instance: Option<String>,
    pub(crate) generation: i32,
    /// The coordinator, if it is known.
    pub(crate) node: Option<i32>,
    /// What may be committed, with the generation in which the group came to a partition without a commit.
    pub(crate) claims: BTreeMap<TopicPartition, (Claim, Option<i32>)>,
    /// Nothing more will come.
    pub(crate) over: bool,
}

impl Standing {
    pub(crate) fn holds(&self, partition: &TopicPartition, claim: Claim) -> bool {
        !self.over
            && self
                .claims
                .get(partition)
                .is_some_and(|(held, _)| *held == claim)
    }
}
