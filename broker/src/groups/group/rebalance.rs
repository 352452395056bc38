//! A rebalance: everybody joins, the leader assigns, everybody gets theirs.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::error::ResponseError;

use super::messages::{Joined, Output, Sync, Synced, Token};
use super::{Group, Phase};
use crate::groups::member::Member;

/// The first rebalance of an empty group waits a little for more members.
#[derive(Debug)]
pub(super) struct InitialDelay {
    pub(super) delay: Duration,
    /// What is left of the longest rebalance timeout.
    pub(super) remaining: Duration,
    pub(super) newcomers: bool,
}

impl Group {
    /// Makes sure that a rebalance is under way, and ends its first half if all is there.
    pub(super) fn rebalance(
        &mut self,
        initial_delay: Duration,
        now: Instant,
        out: &mut Vec<Output>,
    ) {
        match self.phase {
            Phase::Preparing => {}
            Phase::Empty => {
                let longest = self.longest_rebalance_timeout();
                let delay = initial_delay.min(longest);
                self.phase = Phase::Preparing;
                self.rebalance_deadline = Some(now + delay);
                if !delay.is_zero() {
                    self.initial = Some(InitialDelay {
                        delay,
                        remaining: longest - delay,
                        newcomers: false,
                    });
                }
            }
            Phase::Completing | Phase::Stable => {
                self.abort_syncs(out);
                self.phase = Phase::Preparing;
                self.rebalance_deadline = Some(now + self.longest_rebalance_timeout());
            }
        }
        self.complete_if_all_joined(now, out);
    }

    fn abort_syncs(&mut self, out: &mut Vec<Output>) {
        let completing = self.phase == Phase::Completing;
        for member in self.members.values_mut() {
            if completing {
                member.assignment = Bytes::new();
            }
            if let Some(token) = member.syncing.take() {
                let error = Err(ResponseError::RebalanceInProgress);
                out.push(Output::Synced(token, error));
            }
        }
    }

    pub(super) fn complete_if_all_joined(&mut self, now: Instant, out: &mut Vec<Output>) {
        let all_joined = self.members.values().all(|member| member.joining.is_some());
        if self.phase == Phase::Preparing
            && self.initial.is_none()
            && self.pending.is_empty()
            && all_joined
        {
            self.complete_join(now, out);
        }
    }

    /// Ends the first half: a new generation of those who joined, and of absent static members.
    fn complete_join(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.initial = None;
        let gone: Vec<String> = self
            .members
            .values()
            .filter(|member| member.joining.is_none() && member.instance_id.is_none())
            .map(|member| member.id.clone())
            .collect();
        for id in gone {
            self.remove(&id, out);
        }
        if self.members.is_empty() {
            self.become_empty(out);
            return;
        }
        let joined = |member: &Member| member.joining.is_some();
        let leader = self.leader.as_ref().and_then(|id| self.members.get(id));
        if !leader.is_some_and(joined) {
            let Some(next) = self.members.values().find(|member| joined(member)) else {
                // Only absent static members: they keep their places until their sessions end.
                self.rebalance_deadline = Some(now + self.longest_rebalance_timeout());
                return;
            };
            self.leader = Some(next.id.clone());
        }
        self.generation = self.generation.wrapping_add(1).max(1);
        self.protocol = self.select_protocol();
        self.phase = Phase::Completing;
        self.rebalance_deadline = Some(now + self.longest_rebalance_timeout());
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in ids {
            let answer = self.joined(&id);
            if let Some(member) = self.members.get_mut(&id) {
                member.synced = false;
                member.is_new = false;
                if let Some(token) = member.joining.take() {
                    member.heard(now);
                    out.push(Output::Joined(token, answer));
                }
            }
        }
    }

    fn become_empty(&mut self, out: &mut Vec<Output>) {
        self.phase = Phase::Empty;
        self.generation = self.generation.wrapping_add(1).max(1);
        self.protocol = None;
        self.leader = None;
        self.rebalance_deadline = None;
        self.initial = None;
        out.push(Output::Changed);
    }

    /// The strategy most members prefer among those all know; Java's `ClassicGroup.selectProtocol`.
    pub(super) fn select_protocol(&self) -> Option<String> {
        let common = |name: &str| self.members.values().all(|member| member.supports(name));
        let mut votes: Vec<(&str, usize)> = Vec::new();
        for member in self.members.values() {
            let choice = member.protocols.iter().find(|(name, _)| common(name));
            if let Some((name, _)) = choice {
                match votes.iter_mut().find(|(voted, _)| voted == name) {
                    Some((_, count)) => *count += 1,
                    None => votes.push((name, 1)),
                }
            }
        }
        votes
            .into_iter()
            .rev()
            .max_by_key(|(_, count)| *count)
            .map(|(name, _)| name.to_owned())
    }

    /// The answer that tells a member of the current generation.
    pub(super) fn joined(&self, id: &str) -> Joined {
        let leads = self.leader.as_deref() == Some(id);
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let members = if leads {
            self.members
                .values()
                .map(|member| {
                    (
                        member.id.clone(),
                        member.instance_id.clone(),
                        member.metadata(protocol),
                    )
                })
                .collect()
        } else {
            Vec::new()
        };
        Joined {
            error: None,
            member_id: id.to_owned(),
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone().unwrap_or_default(),
            members,
            skip_assignment: false,
        }
    }

    pub(crate) fn sync(&mut self, sync: Sync, token: Token, now: Instant, out: &mut Vec<Output>) {
        if let Err(error) = self.try_sync(sync, token, now, out) {
            out.push(Output::Synced(token, Err(error)));
        }
    }

    fn try_sync(
        &mut self,
        sync: Sync,
        token: Token,
        now: Instant,
        out: &mut Vec<Output>,
    ) -> Result<(), ResponseError> {
        self.check_member(&sync.member_id, sync.instance_id.as_deref())?;
        self.check_generation(sync.generation)?;
        let differs = |said: &Option<String>, ours: &Option<String>| said.is_some() && said != ours;
        if differs(&sync.protocol_type, &self.protocol_type)
            || differs(&sync.protocol, &self.protocol)
        {
            return Err(ResponseError::InconsistentGroupProtocol);
        }
        let leads = self.leader.as_deref() == Some(sync.member_id.as_str());
        let synced = Synced {
            assignment: Bytes::new(),
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
        };
        let member = self
            .members
            .get_mut(&sync.member_id)
            .ok_or(ResponseError::UnknownMemberId)?;
        match self.phase {
            Phase::Empty => return Err(ResponseError::UnknownMemberId),
            Phase::Preparing => return Err(ResponseError::RebalanceInProgress),
            Phase::Stable => {
                member.synced = true;
                member.heard(now);
                let assignment = member.assignment.clone();
                out.push(Output::Synced(
                    token,
                    Ok(Synced {
                        assignment,
                        ..synced
                    }),
                ));
            }
            Phase::Completing => {
                member.synced = true;
                member.heard(now);
                if let Some(replaced) = member.syncing.replace(token) {
                    let error = Err(ResponseError::RebalanceInProgress);
                    out.push(Output::Synced(replaced, error));
                }
                if leads {
                    self.assign(sync.assignments, &synced, now, out);
                }
            }
        }
        if self.members.values().all(|member| member.synced) {
            self.rebalance_deadline = None;
        }
        Ok(())
    }

    fn assign(
        &mut self,
        assignments: Vec<(String, Bytes)>,
        synced: &Synced,
        now: Instant,
        out: &mut Vec<Output>,
    ) {
        let mut assignments: HashMap<String, Bytes> = assignments.into_iter().collect();
        self.phase = Phase::Stable;
        // Stored before it is told.
        out.push(Output::Changed);
        for member in self.members.values_mut() {
            member.assignment = assignments.remove(&member.id).unwrap_or_default();
            if let Some(token) = member.syncing.take() {
                member.heard(now);
                let assignment = member.assignment.clone();
                out.push(Output::Synced(
                    token,
                    Ok(Synced {
                        assignment,
                        ..synced.clone()
                    }),
                ));
            }
        }
    }

    pub(super) fn rebalance_overdue(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.rebalance_deadline = None;
        match self.phase {
            Phase::Empty => {}
            Phase::Preparing => {
                if let Some(initial) = &mut self.initial
                    && initial.newcomers
                    && !initial.remaining.is_zero()
                {
                    let more = initial.delay.min(initial.remaining);
                    initial.remaining -= more;
                    initial.newcomers = false;
                    self.rebalance_deadline = Some(now + more);
                    return;
                }
                self.complete_join(now, out);
            }
            Phase::Completing | Phase::Stable => {
                let silent: Vec<String> = self
                    .members
                    .values()
                    .filter(|member| !member.synced)
                    .map(|member| member.id.clone())
                    .collect();
                for id in silent {
                    self.depart(&id, now, out);
                }
            }
        }
    }

    fn longest_rebalance_timeout(&self) -> Duration {
        self.members
            .values()
            .map(|member| member.rebalance_timeout)
            .max()
            .unwrap_or_default()
    }
}
