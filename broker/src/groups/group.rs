//! Membership of one group: the classic rebalance protocol as a state machine without I/O.
//!
//! ```text
//!          first join              all joined, or time is up
//!  Empty ─────────────▶ Preparing ───────────────────────────▶ Completing
//!    ▲                    ▲  ▲ join, leave, death of a member │      │ leader's assignment
//!    └── nobody left ─────┘  └────────────────────────────────┘      ▼
//!                         └──────────────────────────────────────  Stable
//! ```
//!
//! Follows Apache Kafka's `GroupMetadataManager` and `ClassicGroup`, with KIP-345 (static members),
//! KIP-394 (a member id before the first join) and KIP-814 (no assignment by a leader that came
//! back). Time comes in as [`Instant`]s; what is to be answered goes out as [`Output`]s.

mod join;
mod messages;
mod rebalance;

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use kafka_protocol::error::ResponseError;

pub(crate) use messages::{Join, Joined, Leave, Output, Sync, Synced, Token};
use rebalance::InitialDelay;

use super::member::Member;
use super::store::StoredGroup;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Phase {
    #[default]
    Empty,
    /// Waits for every member to join.
    Preparing,
    /// Waits for the leader's assignment.
    Completing,
    Stable,
}

impl Phase {
    /// Kafka's name of the state.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Preparing => "PreparingRebalance",
            Self::Completing => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Group {
    phase: Phase,
    generation: i32,
    protocol_type: Option<String>,
    protocol: Option<String>,
    leader: Option<String>,
    members: BTreeMap<String, Member>,
    /// Member id of each static member.
    instances: HashMap<String, String>,
    /// Ids given to newcomers that have not come back yet, and until when they are good.
    pending: HashMap<String, Instant>,
    /// End of waiting: for joins while preparing, for syncs afterwards.
    rebalance_deadline: Option<Instant>,
    initial: Option<InitialDelay>,
    /// Milliseconds since the Unix epoch; as of when somebody asked.
    empty_since: Option<i64>,
}

impl Group {
    pub(crate) fn restore(stored: StoredGroup, now: Instant) -> Self {
        let members: BTreeMap<String, Member> = stored
            .members
            .into_iter()
            .map(|member| (member.id.clone(), Member::restore(member, now)))
            .collect();
        let instances = members
            .values()
            .filter_map(|member| Some((member.instance_id.clone()?, member.id.clone())))
            .collect();
        Self {
            phase: if members.is_empty() {
                Phase::Empty
            } else {
                Phase::Stable
            },
            generation: stored.generation,
            protocol_type: stored.protocol_type,
            protocol: stored.protocol,
            leader: stored.leader,
            members,
            instances,
            ..Self::default()
        }
    }

    pub(crate) fn stored(&self) -> StoredGroup {
        StoredGroup {
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            members: self.members.values().map(Member::stored).collect(),
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    pub(crate) fn protocol_type(&self) -> Option<&str> {
        self.protocol_type.as_deref()
    }

    pub(crate) fn protocol(&self) -> Option<&str> {
        self.protocol.as_deref()
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// Since when the group is known to have no member, as of `now`, both in milliseconds since
    /// the Unix epoch; `None` while it has one or expects one.
    pub(crate) fn empty_since(&mut self, now: i64) -> Option<i64> {
        if self.phase == Phase::Empty && self.pending.is_empty() {
            Some(*self.empty_since.get_or_insert(now))
        } else {
            self.empty_since = None;
            None
        }
    }

    pub(crate) fn heartbeat(
        &mut self,
        member_id: &str,
        instance_id: Option<&str>,
        generation: i32,
        now: Instant,
    ) -> Result<(), ResponseError> {
        self.check_member(member_id, instance_id)?;
        self.check_generation(generation)?;
        if self.phase == Phase::Empty {
            return Err(ResponseError::UnknownMemberId);
        }
        if let Some(member) = self.members.get_mut(member_id) {
            member.heard(now);
        }
        match self.phase {
            Phase::Preparing => Err(ResponseError::RebalanceInProgress),
            _ => Ok(()),
        }
    }

    pub(crate) fn leave(
        &mut self,
        leave: &Leave,
        now: Instant,
        out: &mut Vec<Output>,
    ) -> Result<(), ResponseError> {
        let id = match &leave.instance_id {
            Some(instance) if leave.member_id.is_empty() => {
                self.instances
                    .get(instance)
                    .cloned()
                    .ok_or(ResponseError::UnknownMemberId)?
            }
            _ => leave.member_id.clone(),
        };
        if self.pending.remove(&id).is_some() {
            self.complete_if_all_joined(now, out);
            return Ok(());
        }
        self.check_member(&id, leave.instance_id.as_deref())?;
        self.depart(&id, now, out);
        Ok(())
    }

    pub(crate) fn may_commit(
        &mut self,
        member_id: &str,
        instance_id: Option<&str>,
        generation: i32,
        now: Instant,
    ) -> Result<(), ResponseError> {
        if generation < 0 && self.phase == Phase::Empty {
            return Ok(());
        }
        if generation < 0 && member_id.is_empty() && instance_id.is_none() {
            // Not a member, and the group belongs to its members.
            return Err(ResponseError::UnknownMemberId);
        }
        self.check_member(member_id, instance_id)?;
        self.check_generation(generation)?;
        if self.phase == Phase::Completing {
            return Err(ResponseError::RebalanceInProgress);
        }
        if let Some(member) = self.members.get_mut(member_id) {
            member.heard(now);
        }
        Ok(())
    }

    /// When [`Group::tick`] has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let sessions = self.members.values().filter_map(Member::deadline);
        let pending = self.pending.values().copied();
        sessions.chain(pending).chain(self.rebalance_deadline).min()
    }

    /// Lets time pass: ends sessions, ids never used, and rebalances that took too long.
    pub(crate) fn tick(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.pending.retain(|_, until| *until > now);
        let dead: Vec<String> = self
            .members
            .values()
            .filter(|member| member.deadline().is_some_and(|until| until <= now))
            .map(|member| member.id.clone())
            .collect();
        for id in dead {
            self.depart(&id, now, out);
        }
        self.complete_if_all_joined(now, out);
        if self.rebalance_deadline.is_some_and(|until| until <= now) {
            self.rebalance_overdue(now, out);
        }
    }

    /// A member is gone: the others share what it had.
    fn depart(&mut self, id: &str, now: Instant, out: &mut Vec<Output>) {
        self.remove(id, out);
        match self.phase {
            Phase::Empty => {}
            Phase::Preparing => self.complete_if_all_joined(now, out),
            Phase::Completing | Phase::Stable => self.rebalance(Duration::ZERO, now, out),
        }
    }

    fn remove(&mut self, id: &str, out: &mut Vec<Output>) {
        let Some(mut member) = self.members.remove(id) else {
            return;
        };
        let unknown = ResponseError::UnknownMemberId;
        if let Some(token) = member.joining.take() {
            let failed = Joined::failed(unknown, member.id.clone());
            out.push(Output::Joined(token, failed));
        }
        if let Some(token) = member.syncing.take() {
            out.push(Output::Synced(token, Err(unknown)));
        }
        if let Some(instance) = &member.instance_id {
            self.instances.remove(instance);
        }
        if self.leader.as_deref() == Some(id) {
            self.leader = self.members.keys().next().cloned();
        }
    }

    fn check_member(&self, id: &str, instance_id: Option<&str>) -> Result<(), ResponseError> {
        if let Some(instance) = instance_id {
            match self.instances.get(instance) {
                None => return Err(ResponseError::UnknownMemberId),
                Some(current) if current != id => return Err(ResponseError::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains_key(id) {
            Ok(())
        } else {
            Err(ResponseError::UnknownMemberId)
        }
    }

    fn check_generation(&self, generation: i32) -> Result<(), ResponseError> {
        if generation == self.generation {
            Ok(())
        } else {
            Err(ResponseError::IllegalGeneration)
        }
    }
}

#[cfg(test)]
mod tests;
