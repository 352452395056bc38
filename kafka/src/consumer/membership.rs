//! Membership of one consumer in one group: a state machine without I/O and without a clock.
//!
//! In go answers, ticks, changes of topics and the wish to leave ([`Input`]), each with the time; out come calls to
//! make and what the consumer is to know ([`Action`]). [`Membership::wake_at`] says when to tick. The classic group
//! protocol as the Java client speaks it (`ConsumerCoordinator`, `AbstractCoordinator`): eager or cooperative
//! (KIP-429), member ids (KIP-394), static members (KIP-345, KIP-814).
//!
//! `messages` is what goes in and comes out; `answers` takes what comes back, `partitions` keeps what is owned,
//! `topics` is the leader's view, `owners` a follower's, `review` looks at what a static member was given back,
//! `requests` builds what is sent. The driver is `coordinator`.

mod answers;
mod messages;
mod owners;
mod partitions;
mod requests;
mod review;
mod topics;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) use self::messages::{Action, Call, FetchedOffset, Input, Tag, Ticket, TopicCounts};
use self::owners::Owners;
use self::partitions::{Pending, Revocation};
use self::review::Review;
pub(crate) use self::review::Reviewed;
use super::assignor::{Assignor, Member};
use super::group::{Claim, GroupConfig, GroupState};
use super::group_error::GroupError;
use super::static_member::StaticMember;
use super::topic_partition::TopicPartition;
use crate::backoff::{Backoff, Jitter};

/// Between tries of the same call (Java `retry.backoff.ms` and `retry.backoff.max.ms`).
const RETRY: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
/// After how many failures in a row a silent coordinator is more than one that moves. Ours.
const SILENT: u32 = 3;
/// How many times `refused_pause` a member waits that was taken into the group and cannot work with it. Ours.
const PAUSES_OF_A_MEMBER: u32 = 6;
/// How long the answer to LeaveGroup is awaited at most: the member goes anyway. Ours.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug)]
enum Coordinator {
    Unknown { retry_at: Instant },
    Finding { tag: Tag },
    Known { node: i32 },
}

#[derive(Debug)]
enum Phase {
    /// Neither member nor joining; or a member that could not join again yet.
    Outside,
    Joining {
        tag: Tag,
    },
    /// The leader waits for the partition counts of the group's topics.
    Assigning {
        members: Vec<Member>,
        topics: Vec<Arc<str>>,
        describing: Option<Tag>,
        retry_at: Instant,
    },
    Syncing {
        tag: Tag,
    },
    Stable,
    Leaving {
        tag: Tag,
        until: Instant,
    },
    Over,
}

#[derive(Debug)]
struct Heartbeat {
    next: Instant,
    /// The call on its way; forgotten with the generation it was sent in.
    in_flight: Option<Tag>,
    /// When the coordinator last knew this member.
    last_accepted: Instant,
}

/// The state machine; see the module.
#[derive(Debug)]
pub(crate) struct Membership {
    config: GroupConfig,
    cooperative: bool,
    jitter: Jitter,
    coordinator: Coordinator,
    phase: Phase,
    /// Why the group is to be joined (again), and not before when.
    join: Option<(Instant, &'static str)>,
    /// In a row; for back-off.
    find_failures: u32,
    join_failures: u32,
    /// The static member id that this member uses.
    instance: Option<StaticMember>,
    /// The static member id that another process has taken over; this member goes on without.
    fenced: Option<StaticMember>,
    /// The join under way takes up the place that a static member had, if there is one.
    taking_over: bool,
    review: Option<Review>,
    /// Empty until the broker has given one.
    member_id: String,
    /// -1 while not a member.
    generation: i32,
    /// The generation of the assignment that is followed: in which the member got what it owns.
    assigned_in: i32,
    assignor: Option<Assignor>,
    leader: bool,
    /// Why this is no working member, until it is.
    problem: Option<String>,
    rebalances: u64,
    heartbeat: Heartbeat,
    owned: BTreeMap<TopicPartition, Owned>,
    next_claim: u64,
    pending: Pending,
    revocation: Option<Revocation>,
    /// The cluster's topics, as last heard.
    topics: TopicCounts,
    /// As leader: the group's topics, with the counts that its assignment was made for.
    watched: Option<BTreeMap<Arc<str>, Option<i32>>>,
    /// As follower: whether the leader has given out all of this member's topics.
    owners: Owners,
    look_again: Instant,
    next_tag: u64,
    actions: Vec<Action>,
}

/// A partition of this member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owned {
    pub(crate) claim: Claim,
    /// The consumer knows of it.
    pub(crate) given: bool,
    /// The generation in which it was assigned, if the group had no commit of it then.
    pub(crate) new_in: Option<i32>,
}

impl Membership {
    /// `jitter` spreads the retries of many members.
    pub(crate) fn new(config: GroupConfig, now: Instant, jitter: Jitter) -> Self {
        // KIP-429: cooperative only if every strategy offered is.
        let cooperative = config
            .assignors
            .iter()
            .all(|assignor| assignor.is_cooperative());
        let (fenced, instance) = match config.static_member.clone() {
            Some(member) if member.is_fenced_in(&config.group) => (Some(member), None),
            instance => (None, instance),
        };
        Self {
            config,
            cooperative,
            jitter,
            coordinator: Coordinator::Unknown { retry_at: now },
            phase: Phase::Outside,
            join: Some((now, "starting")),
            find_failures: 0,
            join_failures: 0,
            instance,
            fenced,
            taking_over: false,
            review: None,
            member_id: String::new(),
            generation: -1,
            assigned_in: -1,
            assignor: None,
            leader: false,
            problem: None,
            rebalances: 0,
            heartbeat: Heartbeat {
                next: now,
                in_flight: None,
                last_accepted: now,
            },
            owned: BTreeMap::new(),
            next_claim: 1,
            pending: Pending::default(),
            revocation: None,
            topics: TopicCounts::new(),
            watched: None,
            owners: Owners::default(),
            look_again: now,
            next_tag: 1,
            actions: Vec::new(),
        }
    }

    /// Takes one input and returns what is to be done, in order.
    pub(crate) fn handle(&mut self, input: Input, now: Instant) -> Vec<Action> {
        if !matches!(self.phase, Phase::Over) {
            self.take(input, now);
            self.proceed(now);
        }
        std::mem::take(&mut self.actions)
    }

    /// When to tick at the latest; `None`: nothing depends on time.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        let mut wake = Vec::with_capacity(8);
        match &self.phase {
            Phase::Over => return None,
            Phase::Leaving { until, .. } => return Some(*until),
            Phase::Assigning {
                describing: None,
                retry_at,
                ..
            } => wake.push(*retry_at),
            _ => {}
        }
        if let Coordinator::Unknown { retry_at } = self.coordinator {
            wake.push(retry_at);
        }
        if self.is_connected() {
            if self.is_out_of_rebalance() && self.revocation.is_none() {
                wake.extend(self.join.map(|(at, _)| at));
            }
            if self.may_heartbeat() && self.heartbeat.in_flight.is_none() {
                wake.push(self.heartbeat.next);
            }
            wake.extend(self.pending.wake_at());
            if matches!(self.phase, Phase::Stable) {
                wake.extend(self.owners.wake_at());
            }
            wake.extend(self.review_wakes_at());
        }
        wake.extend(self.session_ends());
        wake.extend(
            self.revocation
                .as_ref()
                .map(|revocation| revocation.deadline),
        );
        if self.misses_topics() {
            wake.push(self.look_again);
        }
        wake.into_iter().min()
    }

    /// The coordinator, if it is known.
    pub(crate) fn node(&self) -> Option<i32> {
        match self.coordinator {
            Coordinator::Known { node } => Some(node),
            _ => None,
        }
    }

    pub(crate) fn member_id(&self) -> &str {
        &self.member_id
    }

    /// The static member id that this member uses.
    pub(crate) fn instance(&self) -> Option<&str> {
        self.instance.as_ref().map(StaticMember::id)
    }

    pub(crate) fn generation(&self) -> i32 {
        self.generation
    }

    pub(crate) fn owned(&self) -> &BTreeMap<TopicPartition, Owned> {
        &self.owned
    }

    pub(crate) fn state(&self) -> GroupState {
        GroupState {
            phase: match self.phase {
                _ if self.revocation.is_some() => "revoking",
                Phase::Outside if self.node().is_none() => "finding coordinator",
                Phase::Outside | Phase::Joining { .. } => "joining",
                Phase::Assigning { .. } | Phase::Syncing { .. } => "syncing",
                Phase::Stable => "stable",
                Phase::Leaving { .. } => "leaving",
                Phase::Over => "left",
            },
            member_id: self.member_id.clone(),
            generation: self.generation,
            coordinator: self.node(),
            assignor: self.assignor.map(|assignor| assignor.name().to_owned()),
            leader: self.leader,
            assignment: self.owned.keys().cloned().collect(),
            rebalances: self.rebalances,
            problem: self.problem.clone(),
            unowned: self.owners.unowned(),
            fenced: self.fenced.clone(),
            last_heartbeat: (self.generation >= 0).then_some(self.heartbeat.last_accepted),
        }
    }

    /// Does what is due.
    fn proceed(&mut self, now: Instant) {
        if let Phase::Leaving { until, .. } = self.phase {
            if now >= until {
                self.end();
            }
            return;
        }
        if matches!(self.phase, Phase::Over) {
            return;
        }
        if self.session_ends().is_some_and(|end| now >= end) {
            self.lose("no heartbeat was answered within the session timeout", now);
        }
        self.expire_revocation(now);
        if let Coordinator::Unknown { retry_at } = self.coordinator
            && now >= retry_at
        {
            let tag = self.send(Call::FindCoordinator);
            self.coordinator = Coordinator::Finding { tag };
        }
        self.check_topics(now);
        if !self.is_connected() {
            return;
        }
        self.join_if_due(now);
        self.describe_if_due(now);
        if self.may_heartbeat() && self.heartbeat.in_flight.is_none() && now >= self.heartbeat.next
        {
            let call = self.heartbeat_call();
            let tag = self.send(call);
            self.heartbeat.in_flight = Some(tag);
            self.heartbeat.next = now + self.config.heartbeat_interval;
        }
        self.fetch_offsets_if_due(now);
        self.look_at_owners_if_due(now);
        self.review_if_due(now);
    }

    /// Joins once nothing is left to let go of first.
    fn join_if_due(&mut self, now: Instant) {
        let Some((at, reason)) = self.join else {
            return;
        };
        if now < at || !self.is_out_of_rebalance() || self.revocation.is_some() {
            return;
        }
        if !self.cooperative && !self.owned.is_empty() {
            // Eager: everything is let go of before joining.
            let all = self.owned.keys().cloned().collect();
            self.revoke(all, now);
            if self.revocation.is_some() {
                return;
            }
        }
        tracing::debug!(group = %self.config.group, reason, "joining the group");
        self.join = None;
        // A new generation is assigned from what is there then.
        self.review = None;
        self.taking_over = self.instance.is_some() && self.member_id.is_empty();
        let call = self.join_call(reason);
        let tag = self.send(call);
        self.phase = Phase::Joining { tag };
        self.heartbeat.next = now + self.config.heartbeat_interval;
    }

    fn is_connected(&self) -> bool {
        matches!(self.coordinator, Coordinator::Known { .. })
    }

    /// Not between JoinGroup and the answer to SyncGroup.
    fn is_out_of_rebalance(&self) -> bool {
        matches!(self.phase, Phase::Outside | Phase::Stable)
    }

    /// While a JoinGroup waits, heartbeats go on, on a connection of their own: not for the member's sake (the broker
    /// keeps it) but to notice a coordinator that is gone.
    fn may_heartbeat(&self) -> bool {
        !self.member_id.is_empty()
            && match self.phase {
                Phase::Stable
                | Phase::Joining { .. }
                | Phase::Assigning { .. }
                | Phase::Syncing { .. } => true,
                Phase::Outside => self.generation >= 0,
                Phase::Leaving { .. } | Phase::Over => false,
            }
    }

    /// From then on the broker may have given the partitions away.
    fn session_ends(&self) -> Option<Instant> {
        (self.generation >= 0).then(|| self.heartbeat.last_accepted + self.config.session_timeout)
    }

    fn send(&mut self, call: Call) -> Tag {
        let tag = Tag(self.next_tag);
        self.next_tag += 1;
        self.actions.push(Action::Send(tag, call));
        tag
    }

    fn backoff(&mut self, failures: u32) -> Duration {
        RETRY.delay(failures, self.jitter.next())
    }

    /// Ends a JoinGroup or SyncGroup that is on its way, or the leader's work between them.
    fn drop_rebalance(&mut self) {
        if let Phase::Joining { tag } | Phase::Syncing { tag } = self.phase {
            self.actions.push(Action::Abandon(tag));
        }
        if matches!(
            self.phase,
            Phase::Joining { .. } | Phase::Assigning { .. } | Phase::Syncing { .. }
        ) {
            self.phase = Phase::Outside;
        }
    }

    /// Looks for the coordinator again.
    fn coordinator_gone(&mut self, why: &str, now: Instant) {
        if let Some(node) = self.node() {
            tracing::info!(group = %self.config.group, coordinator = node, why, "looking for the group's coordinator");
        }
        self.find_failures += 1;
        if self.find_failures >= SILENT {
            let who = match self.node() {
                Some(node) => format!(
                    "its coordinator, broker {node}, does not answer at the address that it advertises"
                ),
                None => "its coordinator is not found".to_owned(),
            };
            self.problem = Some(format!("group {}: {who}: {why}", self.config.group));
        }
        let retry_at = now + self.backoff(self.find_failures);
        self.coordinator = Coordinator::Unknown { retry_at };
        self.heartbeat.in_flight = None;
        self.pending.forget_call();
        self.owners.forget_call();
        self.forget_review_call();
        if !self.is_out_of_rebalance() {
            self.drop_rebalance();
            self.join_again("the coordinator is gone", now);
        }
    }

    fn join_again(&mut self, reason: &'static str, at: Instant) {
        self.join = Some(match self.join {
            Some((earlier, reason)) if earlier <= at => (earlier, reason),
            _ => (at, reason),
        });
    }

    /// No longer a member: what was owned may be somebody else's.
    fn lose(&mut self, why: &'static str, now: Instant) {
        tracing::warn!(
            group = %self.config.group, member = %self.member_id, generation = self.generation, why,
            "lost the membership"
        );
        self.step_out();
        self.join_again(why, now);
    }

    /// Not a member: nothing is owned, and no heartbeat is sent.
    fn step_out(&mut self) {
        self.drop_rebalance();
        self.phase = Phase::Outside;
        self.generation = -1;
        self.assigned_in = -1;
        self.leader = false;
        self.watched = None;
        self.owners = Owners::default();
        self.review = None;
        self.heartbeat.in_flight = None;
        self.lose_partitions();
    }

    /// The group refuses this member. Others may change that, the other members or an operator: it is tried again at a
    /// modest pace, where the configuration does not say that it is the end.
    fn stand_back(&mut self, error: GroupError, now: Instant) {
        // Who is leaving does not come back, whatever an answer on its way says.
        if matches!(self.phase, Phase::Leaving { .. }) {
            return self.end();
        }
        let Some(mut pause) = self.config.refused_pause else {
            return self.fail(error);
        };
        if self.generation >= 0 {
            // It is in: each time it joins the others have to stop as well.
            pause *= PAUSES_OF_A_MEMBER;
        }
        let problem = error.to_string();
        if self.problem.as_ref() != Some(&problem) {
            tracing::error!("{problem}; trying again every {} s", pause.as_secs_f32());
            self.problem = Some(problem);
        }
        self.step_out();
        if let Coordinator::Finding { .. } = self.coordinator {
            self.coordinator = Coordinator::Unknown {
                retry_at: now + pause,
            };
        }
        self.join = Some((now + pause, "the group refused this member before"));
    }

    fn fail(&mut self, error: GroupError) {
        self.drop_rebalance();
        self.phase = Phase::Over;
        self.owned.clear();
        self.actions.push(Action::Fatal(error));
    }

    /// Another process has joined under the same static member id. Whose id was derived goes on without one, for good:
    /// joining under it again would fence the other, and so on.
    fn instance_fenced(&mut self, again: Instant) {
        let group = self.config.group.clone();
        match self.instance.take() {
            Some(member) if member.is_derived() => {
                tracing::error!(
                    %group, instance = member.id(), source = member.source(),
                    "another process has taken over this instance's static member id: joining again without one. \
                     Give each process a data folder, or an INSTANCE_NAME, of its own"
                );
                self.actions.push(Action::Fenced(member.clone()));
                self.fenced = Some(member);
                self.member_id.clear();
                self.lose("another process has taken over its static member id", again);
            }
            member => self.fail(GroupError::FencedInstance {
                group,
                instance: member.map_or_else(String::new, |member| member.id().to_owned()),
            }),
        }
    }

    fn refused(&mut self, doing: &'static str, reason: impl ToString, now: Instant) {
        let error = GroupError::Refused {
            group: self.config.group.clone(),
            doing,
            reason: reason.to_string(),
        };
        self.stand_back(error, now);
    }

    fn leave(&mut self, reason: &str, now: Instant) {
        if matches!(self.phase, Phase::Leaving { .. }) {
            return;
        }
        // A JoinGroup on its way may make it a member all the same; a static one can be named without its member id.
        let may_be_member = !self.member_id.is_empty()
            || (self.instance.is_some() && matches!(self.phase, Phase::Joining { .. }));
        self.drop_rebalance();
        self.join = None;
        self.review = None;
        self.revocation = None;
        self.owned.clear();
        self.pending.clear();
        // A static member leaves, too, unlike Java's: the next process may have another name, and would wait for the
        // session timeout of this one.
        if !may_be_member || !self.is_connected() {
            self.end();
            return;
        }
        let call = self.leave_call(reason);
        let tag = self.send(call);
        self.phase = Phase::Leaving {
            tag,
            until: now + LEAVE_TIMEOUT,
        };
    }

    fn end(&mut self) {
        self.phase = Phase::Over;
        self.actions.push(Action::Left);
    }
}

#[cfg(test)]
mod tests;
