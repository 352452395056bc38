//! What a member makes of what it hears.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{ApiKey, HeartbeatResponse, JoinGroupResponse, SyncGroupResponse};

use super::owners::Owners;
use super::{Coordinator, Input, Membership, Phase, Review, Tag};
use crate::consumer::assignor::{Assignor, Member, Plan};
use crate::consumer::group_error::GroupError;
use crate::consumer::protocol::{PROTOCOL_TYPE, Subscription, decode_assignment};
use crate::error::Error;

impl Membership {
    pub(super) fn take(&mut self, input: Input, now: Instant) {
        match input {
            Input::Tick => {}
            Input::Coordinator(tag, answer) => self.found(tag, answer, now),
            Input::Joined(tag, answer) => self.joined(tag, answer, now),
            Input::Synced(tag, answer) => self.synced(tag, answer, now),
            Input::Heartbeat(tag, answer) => self.heartbeat(tag, answer, now),
            Input::Offsets(tag, answer) => self.offsets(tag, answer, now),
            Input::LeaveAnswered(tag) => {
                if matches!(self.phase, Phase::Leaving { tag: awaited, .. } if awaited == tag) {
                    self.end();
                }
            }
            Input::Described(tag, answer) => self.described(tag, answer, now),
            Input::GroupDescribed(tag, answer) => self.group_described(tag, answer, now),
            Input::Reviewed(tag, answer) => self.reviewed(tag, answer, now),
            Input::TopicsChanged(topics) => self.topics_changed(topics, now),
            Input::Revoked(ticket) => self.revoked(ticket, now),
            Input::CommitRefused {
                code,
                member_id,
                generation,
            } => {
                if member_id == self.member_id
                    && generation == self.generation
                    && matches!(self.phase, Phase::Stable)
                {
                    self.refused_as_member(code, "committing offsets", now);
                }
            }
            Input::CoordinatorGone { node } => {
                if self.node() == Some(node) {
                    self.coordinator_gone("a commit could not reach it", now);
                }
            }
            Input::Leave(reason) => self.leave(&reason, now),
        }
    }

    fn found(&mut self, tag: Tag, answer: Result<i32, Error>, now: Instant) {
        if !matches!(self.coordinator, Coordinator::Finding { tag: awaited } if awaited == tag) {
            return;
        }
        match answer {
            Ok(node) => {
                tracing::debug!(group = %self.config.group, coordinator = node, "found the group's coordinator");
                self.coordinator = Coordinator::Known { node };
            }
            Err(error) if is_final(&error) => self.refused("finding its coordinator", error, now),
            Err(error) => self.coordinator_gone(&error.to_string(), now),
        }
    }

    fn joined(&mut self, tag: Tag, answer: Result<JoinGroupResponse, Error>, now: Instant) {
        if !matches!(self.phase, Phase::Joining { tag: awaited } if awaited == tag) {
            return;
        }
        let response = match answer {
            Ok(response) => response,
            Err(error) if is_final(&error) => return self.refused("joining", error, now),
            Err(error) => return self.coordinator_gone(&error.to_string(), now),
        };
        match ResponseError::try_from_code(response.error_code) {
            None => self.joined_generation(response, now),
            Some(ResponseError::MemberIdRequired) => {
                // KIP-394: the broker gives the id first, so that a lost answer leaves no ghost member behind.
                self.member_id = response.member_id.to_string();
                self.phase = Phase::Outside;
                self.join_again("it has a member id now", now);
            }
            Some(code) => self.rebalance_refused(code, "joining", now),
        }
    }

    fn joined_generation(&mut self, response: JoinGroupResponse, now: Instant) {
        let protocol = response.protocol_name.as_deref().unwrap_or_default();
        let chosen = Assignor::from_name(protocol)
            .filter(|assignor| self.config.assignors.contains(assignor));
        let of_consumers = response
            .protocol_type
            .as_deref()
            .is_none_or(|name| name == PROTOCOL_TYPE);
        let (Some(assignor), true) = (chosen, of_consumers) else {
            return self.no_common_assignor(now);
        };
        self.member_id = response.member_id.to_string();
        self.generation = response.generation_id;
        self.assignor = Some(assignor);
        self.leader = response.leader == response.member_id;
        self.owners = Owners::of_leader(response.leader.as_str());
        self.watched = None;
        self.rebalances += 1;
        self.heartbeat.last_accepted = now;
        self.heartbeat.next = now + self.config.heartbeat_interval;
        self.heartbeat.in_flight = None;
        if !self.leader {
            if self.taking_over {
                self.review = Some(Review::new(self.config.topics.clone(), now));
            }
            return self.sync(&Plan::new());
        }
        let members: Vec<Member> = response
            .members
            .into_iter()
            .map(|member| {
                let subscription = Subscription::decode(&member.metadata).unwrap_or_else(|error| {
                    tracing::error!(
                        group = %self.config.group, member = %member.member_id, %error,
                        "a member's subscription cannot be read: it is given nothing"
                    );
                    Subscription::default()
                });
                Member {
                    id: member.member_id.to_string(),
                    instance: member.group_instance_id.map(|id| id.to_string()),
                    subscription,
                }
            })
            .collect();
        let topics: BTreeSet<Arc<str>> = members
            .iter()
            .flat_map(|member| member.subscription.topics.iter().cloned())
            .collect();
        if response.skip_assignment {
            // KIP-814: a static leader is back, and the group goes on as it was. From the review on it keeps watching.
            self.review = Some(Review::new(topics.into_iter().collect(), now));
            return self.sync(&Plan::new());
        }
        let topics = topics.into_iter().collect();
        self.phase = Phase::Assigning {
            members,
            topics,
            describing: None,
            retry_at: now,
        };
    }

    pub(super) fn sync(&mut self, plan: &Plan) {
        let call = self.sync_call(plan);
        let tag = self.send(call);
        self.phase = Phase::Syncing { tag };
    }

    fn synced(&mut self, tag: Tag, answer: Result<SyncGroupResponse, Error>, now: Instant) {
        if !matches!(self.phase, Phase::Syncing { tag: awaited } if awaited == tag) {
            return;
        }
        let response = match answer {
            Ok(response) => response,
            Err(error) if is_final(&error) => {
                return self.refused("taking its assignment", error, now);
            }
            Err(error) => return self.coordinator_gone(&error.to_string(), now),
        };
        if let Some(code) = ResponseError::try_from_code(response.error_code) {
            return self.rebalance_refused(code, "taking its assignment", now);
        }
        match decode_assignment(&response.assignment) {
            Err(error) => self.refused(
                "reading its assignment, as the group's leader wrote it,",
                error,
                now,
            ),
            Ok(mut assignment) => {
                self.note_foreign_topics(&assignment);
                self.leave_out_foreign_topics(&mut assignment);
                self.phase = Phase::Stable;
                self.join_failures = 0;
                self.find_failures = 0;
                self.problem = None;
                self.assigned_in = self.generation;
                self.heartbeat.last_accepted = now;
                self.heartbeat.next = now + self.config.heartbeat_interval;
                self.follow(assignment, now);
                self.plan_look_at_owners(now);
            }
        }
    }

    /// A refusal of JoinGroup or SyncGroup.
    fn rebalance_refused(&mut self, code: ResponseError, doing: &'static str, now: Instant) {
        self.phase = Phase::Outside;
        self.join_failures += 1;
        let again = now + self.backoff(self.join_failures);
        match code {
            // The others have begun anew.
            ResponseError::RebalanceInProgress => self.join_again("the group rebalances", now),
            ResponseError::NotCoordinator
            | ResponseError::CoordinatorNotAvailable
            | ResponseError::CoordinatorLoadInProgress => {
                self.coordinator_gone(&format!("{code:?}"), now);
                self.join_again("the coordinator was not ready", again);
            }
            ResponseError::UnknownMemberId | ResponseError::IllegalGeneration => {
                self.refused_as_member(code, doing, again);
            }
            code if code.is_retriable() || code == ResponseError::UnknownServerError => {
                tracing::warn!(group = %self.config.group, ?code, doing, "trying again");
                self.join_again("the last try failed", again);
            }
            code => self.refused_as_member(code, doing, now),
        }
    }

    fn heartbeat(&mut self, tag: Tag, answer: Result<HeartbeatResponse, Error>, now: Instant) {
        if self.heartbeat.in_flight != Some(tag) {
            return;
        }
        self.heartbeat.in_flight = None;
        let code = match answer {
            Ok(response) => ResponseError::try_from_code(response.error_code),
            Err(error) if is_final(&error) => {
                return self.refused("sending a heartbeat", error, now);
            }
            Err(error) => return self.coordinator_gone(&error.to_string(), now),
        };
        if let Some(
            ResponseError::NotCoordinator
            | ResponseError::CoordinatorNotAvailable
            | ResponseError::CoordinatorLoadInProgress,
        ) = code
        {
            return self.coordinator_gone(&format!("{code:?}"), now);
        }
        if !matches!(self.phase, Phase::Stable) {
            // The coordinator is there; what it thinks of this member, the answer to JoinGroup or SyncGroup says.
            self.heartbeat.last_accepted = now;
            return;
        }
        match code {
            None => {
                self.heartbeat.last_accepted = now;
                self.find_failures = 0;
                self.problem = None;
            }
            Some(ResponseError::RebalanceInProgress) => {
                self.heartbeat.last_accepted = now;
                self.find_failures = 0;
                self.join_again("the group rebalances", now);
            }
            Some(code) => self.refused_as_member(code, "sending a heartbeat", now),
        }
    }

    /// A code that says what the coordinator thinks of this member.
    fn refused_as_member(&mut self, code: ResponseError, doing: &'static str, again: Instant) {
        match code {
            ResponseError::RebalanceInProgress => self.join_again("the group rebalances", again),
            ResponseError::IllegalGeneration => {
                self.lose("the group has gone on without this member", again)
            }
            ResponseError::UnknownMemberId => {
                self.member_id.clear();
                self.lose("the group no longer knows this member", again);
            }
            ResponseError::FencedInstanceId => self.instance_fenced(again),
            ResponseError::InconsistentGroupProtocol => self.no_common_assignor(again),
            ResponseError::InvalidSessionTimeout => {
                let error = GroupError::InvalidSessionTimeout {
                    group: self.config.group.clone(),
                    session_timeout_ms: i32::try_from(self.config.session_timeout.as_millis())
                        .unwrap_or(i32::MAX),
                };
                self.stand_back(error, again);
            }
            code if code.is_retriable() || code == ResponseError::UnknownServerError => {
                tracing::warn!(group = %self.config.group, ?code, doing, "trying again");
            }
            code => {
                let what = format!("group {}", self.config.group);
                let api = match doing {
                    "joining" => ApiKey::JoinGroup,
                    "taking its assignment" => ApiKey::SyncGroup,
                    "committing offsets" => ApiKey::OffsetCommit,
                    _ => ApiKey::Heartbeat,
                };
                self.refused(doing, Error::response(api, code, what), again);
            }
        }
    }

    fn no_common_assignor(&mut self, now: Instant) {
        let offered: Vec<_> = self
            .config
            .assignors
            .iter()
            .map(|assignor| assignor.name())
            .collect();
        let error = GroupError::NoCommonAssignor {
            group: self.config.group.clone(),
            offered: offered.join(","),
        };
        self.stand_back(error, now);
    }
}

/// Whether no retry can help. A broker's "unknown server error" may pass.
fn is_final(error: &Error) -> bool {
    match error {
        Error::UnsupportedVersion { .. } | Error::Config(_) => true,
        _ => error
            .code()
            .is_some_and(|code| !code.is_retriable() && code != ResponseError::UnknownServerError),
    }
}
