//! Joining: newcomers, members that join again, static members that come back.

use std::time::{Duration, Instant};

use kafka_protocol::error::ResponseError;

use super::messages::{Join, Joined, Output, Token};
use super::{Group, Phase};
use crate::groups::member::Member;

impl Group {
    pub(crate) fn join(
        &mut self,
        join: Join,
        token: Token,
        initial_delay: Duration,
        now: Instant,
        out: &mut Vec<Output>,
    ) {
        let member_id = join.member_id.clone();
        if let Err(error) = self.try_join(join, token, initial_delay, now, out) {
            out.push(Output::Joined(token, Joined::failed(error, member_id)));
        }
    }

    fn try_join(
        &mut self,
        join: Join,
        token: Token,
        initial_delay: Duration,
        now: Instant,
        out: &mut Vec<Output>,
    ) -> Result<(), ResponseError> {
        if !self.accepts(&join) {
            return Err(ResponseError::InconsistentGroupProtocol);
        }
        if join.member_id.is_empty() {
            return self.join_newcomer(join, token, initial_delay, now, out);
        }
        if self.pending.contains_key(&join.member_id) {
            if join.instance_id.is_some() {
                return Err(ResponseError::UnknownMemberId);
            }
            self.pending.remove(&join.member_id);
            let id = join.member_id.clone();
            self.add(id, &join, token, initial_delay, now, out);
            return Ok(());
        }
        self.check_member(&join.member_id, join.instance_id.as_deref())?;
        self.join_again(join, token, initial_delay, now, out);
        Ok(())
    }

    /// Whether the member could be in this group: same kind, and a strategy that all know.
    fn accepts(&self, join: &Join) -> bool {
        if join.protocol_type.is_empty() || join.protocols.is_empty() {
            return false;
        }
        let others: Vec<&Member> = self
            .members
            .values()
            .filter(|member| !self.is_same(member, join))
            .collect();
        if others.is_empty() {
            return true;
        }
        self.protocol_type.as_deref() == Some(join.protocol_type.as_str())
            && join
                .protocols
                .iter()
                .any(|(name, _)| others.iter().all(|member| member.supports(name)))
    }

    fn is_same(&self, member: &Member, join: &Join) -> bool {
        member.id == join.member_id
            || (member.instance_id.is_some() && member.instance_id == join.instance_id)
    }

    fn join_newcomer(
        &mut self,
        join: Join,
        token: Token,
        initial_delay: Duration,
        now: Instant,
        out: &mut Vec<Output>,
    ) -> Result<(), ResponseError> {
        let id = join.fresh_id.clone();
        if let Some(instance) = &join.instance_id {
            match self.instances.get(instance).cloned() {
                Some(old) => self.replace_static(&old, id, &join, token, initial_delay, now, out),
                None => self.add(id, &join, token, initial_delay, now, out),
            }
            return Ok(());
        }
        if join.needs_known_id {
            self.pending.insert(id.clone(), now + join.session_timeout);
            out.push(Output::Joined(
                token,
                Joined::failed(ResponseError::MemberIdRequired, id),
            ));
            return Ok(());
        }
        self.add(id, &join, token, initial_delay, now, out);
        Ok(())
    }

    fn add(
        &mut self,
        id: String,
        join: &Join,
        token: Token,
        initial_delay: Duration,
        now: Instant,
        out: &mut Vec<Output>,
    ) {
        if self.members.is_empty() {
            self.protocol_type = Some(join.protocol_type.clone());
        }
        if let Some(instance) = &join.instance_id {
            self.instances.insert(instance.clone(), id.clone());
        }
        self.leader.get_or_insert_with(|| id.clone());
        let member = Member::new(id.clone(), join, token, now);
        self.members.insert(id, member);
        if let Some(initial) = &mut self.initial {
            initial.newcomers = true;
        }
        self.rebalance(initial_delay, now, out);
    }

    /// A static member came back under a new id (KIP-345): its old incarnation is fenced, and a
    /// stable group goes on without a rebalance if nothing changes by it.
    #[allow(clippy::too_many_arguments)]
    fn replace_static(
        &mut self,
        old_id: &str,
        new_id: String,
        join: &Join,
        token: Token,
        initial_delay: Duration,
        now: Instant,
        out: &mut Vec<Output>,
    ) {
        let Some(mut member) = self.members.remove(old_id) else {
            return;
        };
        let fenced = ResponseError::FencedInstanceId;
        if let Some(waiting) = member.joining.take() {
            let failed = Joined::failed(fenced, old_id.to_owned());
            out.push(Output::Joined(waiting, failed));
        }
        if let Some(waiting) = member.syncing.take() {
            out.push(Output::Synced(waiting, Err(fenced)));
        }
        let old_leader = self.leader.clone();
        let led = old_leader.as_deref() == Some(old_id);
        member.id.clone_from(&new_id);
        member.update(join);
        member.heard(now);
        if let Some(instance) = &member.instance_id {
            self.instances.insert(instance.clone(), new_id.clone());
        }
        if led {
            self.leader = Some(new_id.clone());
        }
        self.members.insert(new_id.clone(), member);

        if self.phase == Phase::Stable && self.select_protocol() == self.protocol {
            out.push(Output::Changed);
            let mut joined = self.joined(&new_id);
            if led {
                if join.may_skip_assignment {
                    joined.skip_assignment = true;
                } else {
                    // A client that must not assign anew is told that somebody else leads.
                    joined.members.clear();
                    joined.leader = old_leader.unwrap_or_default();
                }
            }
            out.push(Output::Joined(token, joined));
            return;
        }
        if let Some(member) = self.members.get_mut(&new_id) {
            member.joining = Some(token);
        }
        self.rebalance(initial_delay, now, out);
    }

    fn join_again(
        &mut self,
        join: Join,
        token: Token,
        initial_delay: Duration,
        now: Instant,
        out: &mut Vec<Output>,
    ) {
        let id = join.member_id.clone();
        let leads = self.leader.as_deref() == Some(id.as_str());
        let Some(member) = self.members.get_mut(&id) else {
            return;
        };
        let same = member.protocols == join.protocols;
        // A repeated join gets the answer that was lost; a leader in a stable group joins because
        // it wants to assign anew.
        let repeat = match self.phase {
            Phase::Completing => same,
            Phase::Stable => same && !leads,
            Phase::Empty | Phase::Preparing => false,
        };
        member.heard(now);
        if repeat {
            out.push(Output::Joined(token, self.joined(&id)));
            return;
        }
        member.update(&join);
        if let Some(replaced) = member.joining.replace(token) {
            let failed = Joined::failed(ResponseError::RebalanceInProgress, id);
            out.push(Output::Joined(replaced, failed));
        }
        self.rebalance(initial_delay, now, out);
    }
}
