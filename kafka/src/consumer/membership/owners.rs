//! What a follower sees of the leader's work: whether each partition of its topics has an owner.
//!
//! Some clients' leaders (kafkajs, older librdkafka) give out the topics that they subscribe to themselves, to every
//! member alike. In a group whose members differ in their topics, a topic of ours would then be read by nobody, and
//! nothing would say so. The leader of our own make gives out every member's topics, so a leader does not look.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::{Call, Membership, Phase, Tag, TopicCounts};
use crate::admin::GroupDescription;
use crate::consumer::topic_partition::TopicPartition;
use crate::error::Error;

/// How long after an assignment is looked: in a cooperative rebalance what moves has no owner for a moment. Also the
/// time until the next look where the group was not stable.
const SETTLING: Duration = Duration::from_secs(5);
/// How long a leader has to notice partitions that were added: clients renew their metadata every five minutes.
const NOTICING: Duration = Duration::from_secs(600);
/// How soon the question is asked again that had no answer.
const AGAIN: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(super) struct Owners {
    /// Member id of the group's leader.
    leader: String,
    look_at: Option<Instant>,
    call: Option<Tag>,
    /// Partitions of this member's topics that no member has, and who gave them to nobody.
    unowned: Vec<TopicPartition>,
    /// How the leader is called in messages.
    leader_name: String,
}

impl Owners {
    pub(super) fn of_leader(member_id: &str) -> Self {
        Self {
            leader: member_id.to_owned(),
            leader_name: member_id.to_owned(),
            ..Self::default()
        }
    }

    pub(super) fn wake_at(&self) -> Option<Instant> {
        self.look_at.filter(|_| self.call.is_none())
    }

    pub(super) fn forget_call(&mut self) {
        self.call = None;
    }

    /// What is wrong, for people.
    pub(super) fn unowned(&self) -> Option<String> {
        const NAMED: usize = 3;
        if self.unowned.is_empty() {
            return None;
        }
        let named = self.unowned.iter().take(NAMED).map(ToString::to_string);
        let mut names = named.collect::<Vec<_>>().join(", ");
        if self.unowned.len() > NAMED {
            names.push_str(&format!(" and {} more", self.unowned.len() - NAMED));
        }
        Some(format!(
            "no member reads {names}: the group's leader, {}, gave them to nobody; let every member subscribe to the \
             same topics, or give this consumer a group of its own",
            self.leader_name
        ))
    }
}

impl Membership {
    /// Some leaders give every topic of the group to every member. What this member did not ask for it has no handler
    /// for.
    pub(super) fn leave_out_foreign_topics(&mut self, assignment: &mut Vec<TopicPartition>) {
        let subscribed = |of: &TopicPartition| self.config.topics.contains(&of.topic);
        let foreign: Vec<_> = assignment
            .iter()
            .filter(|of| !subscribed(of))
            .map(ToString::to_string)
            .collect();
        if !foreign.is_empty() {
            tracing::warn!(
                group = %self.config.group, leader = self.owners.leader, partitions = foreign.join(" "),
                "the group's leader gave this member topics that it does not subscribe to: nobody reads them"
            );
            assignment.retain(subscribed);
        }
    }

    /// Where all partitions of its topics are this member's own, there is nothing to look at.
    pub(super) fn plan_look_at_owners(&mut self, now: Instant) {
        self.owners.look_at = (!self.leader && self.misses_partitions()).then(|| now + SETTLING);
    }

    fn misses_partitions(&self) -> bool {
        self.partitions_of_ours()
            .any(|partition| !self.owned.contains_key(&partition))
    }

    fn partitions_of_ours(&self) -> impl Iterator<Item = TopicPartition> {
        let counts = self.config.topics.iter().filter_map(|topic| {
            let count = self.topics.get(topic)?;
            Some((topic.clone(), *count))
        });
        counts.flat_map(|(topic, count)| {
            (0..count).map(move |number| TopicPartition::new(topic.clone(), number))
        })
    }

    pub(super) fn topics_changed(&mut self, topics: TopicCounts, now: Instant) {
        let before = std::mem::replace(&mut self.topics, topics);
        let ours = &self.config.topics;
        let changed = ours
            .iter()
            .any(|topic| before.get(topic) != self.topics.get(topic));
        if changed
            && matches!(self.phase, Phase::Stable)
            && !self.leader
            && self.misses_partitions()
            && self.owners.look_at.is_none()
        {
            self.owners.look_at = Some(now + NOTICING);
        }
    }

    pub(super) fn look_at_owners_if_due(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Stable) && self.owners.wake_at().is_some_and(|at| now >= at)
        {
            let tag = self.send(Call::DescribeGroup);
            self.owners.call = Some(tag);
        }
    }

    pub(super) fn group_described(
        &mut self,
        tag: Tag,
        answer: Result<GroupDescription, Error>,
        now: Instant,
    ) {
        if self.owners.call != Some(tag) {
            return;
        }
        self.owners.call = None;
        let described = match answer {
            Ok(described) if described.state == "Stable" => described,
            Ok(_) => {
                self.owners.look_at = Some(now + SETTLING);
                return;
            }
            Err(error) => {
                tracing::debug!(group = %self.config.group, %error, "cannot tell whether every partition has an owner");
                self.owners.look_at = Some(now + AGAIN);
                return;
            }
        };
        self.owners.look_at = None;
        let members = &described.members;
        let leader = members
            .iter()
            .find(|member| member.member_id == self.owners.leader);
        if let Some(leader) = leader {
            self.owners.leader_name = format!(
                "{} (client {} at {})",
                leader.member_id, leader.client_id, leader.client_host
            );
        }
        let owned: BTreeSet<_> = members
            .iter()
            .flat_map(|member| &member.assignment)
            .collect();
        let unowned = self
            .partitions_of_ours()
            .filter(|partition| !owned.contains(partition) && !self.owned.contains_key(partition));
        self.owners.unowned = unowned.collect();
        if let Some(problem) = self.owners.unowned() {
            tracing::warn!(group = %self.config.group, "{problem}");
        }
    }
}
