//! Several members and a coordinator in one simulated world: calls and answers take random times, some answers are
//! lost, members come, leave, freeze and die. Nobody ever owns what another member in good standing owns, and once the
//! world is quiet, every partition has an owner.

use std::collections::{BTreeSet, VecDeque};

use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use proptest::prelude::*;

use super::*;

const PARTITIONS: i32 = 7;

/// An answer on its way to a member: the coordinator's, or `None` if the connection breaks.
type Reply = (usize, Tag, Input);

/// Kafka's classic group coordinator, as far as members can tell.
struct Coordinator {
    generation: i32,
    state: State,
    members: BTreeMap<String, Known>,
    ids_given: BTreeSet<String>,
    leader: String,
    assignments: BTreeMap<String, Bytes>,
    next_id: usize,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum State {
    Empty,
    Preparing { until: Instant },
    Completing,
    Stable,
}

struct Known {
    metadata: Bytes,
    seen: Instant,
    joining: Option<(usize, Tag)>,
    syncing: Option<(usize, Tag)>,
}

fn join_error(error: ResponseError, id: &str) -> JoinGroupResponse {
    JoinGroupResponse::default()
        .with_error_code(code(error))
        .with_member_id(text(id))
}

fn sync_error(error: ResponseError) -> SyncGroupResponse {
    SyncGroupResponse::default().with_error_code(code(error))
}

impl Coordinator {
    fn new() -> Self {
        Self {
            generation: 0,
            state: State::Empty,
            members: BTreeMap::new(),
            ids_given: BTreeSet::new(),
            leader: String::new(),
            assignments: BTreeMap::new(),
            next_id: 0,
        }
    }

    fn call(&mut self, from: usize, tag: Tag, call: Call, now: Instant) -> Vec<Reply> {
        let mut replies = Vec::new();
        match call {
            Call::FindCoordinator => replies.push((from, tag, Input::Coordinator(tag, Ok(NODE)))),
            Call::DescribeTopics(_) => {
                replies.push((
                    from,
                    tag,
                    Input::Described(tag, Ok(counts(&[("t", PARTITIONS)]))),
                ));
            }
            Call::DescribeGroup => {
                replies.push((from, tag, Input::GroupDescribed(tag, Err(closed()))));
            }
            Call::Review(_) => unreachable!("nobody here is a static member"),
            Call::FetchOffsets(_) => replies.push((from, tag, Input::Offsets(tag, Ok(Vec::new())))),
            Call::Join { request, .. } => self.join(from, tag, &request, now, &mut replies),
            Call::Sync { request, .. } => self.sync(from, tag, &request, now, &mut replies),
            Call::Heartbeat { request, .. } => {
                let state = self.state;
                let error = match self.members.get_mut(&*request.member_id) {
                    None => Some(ResponseError::UnknownMemberId),
                    Some(_) if request.generation_id != self.generation => {
                        Some(ResponseError::IllegalGeneration)
                    }
                    Some(member) => {
                        member.seen = now;
                        matches!(state, State::Preparing { .. })
                            .then_some(ResponseError::RebalanceInProgress)
                    }
                };
                let response = HeartbeatResponse::default().with_error_code(error.map_or(0, code));
                replies.push((from, tag, Input::Heartbeat(tag, Ok(response))));
            }
            Call::Leave { request, .. } => {
                self.remove(&request.members[0].member_id.clone(), now, &mut replies);
                replies.push((from, tag, Input::LeaveAnswered(tag)));
            }
        }
        replies
    }

    fn join(
        &mut self,
        from: usize,
        tag: Tag,
        request: &JoinGroupRequest,
        now: Instant,
        replies: &mut Vec<Reply>,
    ) {
        let metadata = request.protocols[0].metadata.clone();
        let id = request.member_id.to_string();
        if id.is_empty() {
            let id = format!("m{}", self.next_id);
            self.next_id += 1;
            self.ids_given.insert(id.clone());
            let answer = join_error(ResponseError::MemberIdRequired, &id);
            replies.push((from, tag, Input::Joined(tag, Ok(answer))));
            return;
        }
        if !self.members.contains_key(&id) && !self.ids_given.remove(&id) {
            let answer = join_error(ResponseError::UnknownMemberId, &id);
            replies.push((from, tag, Input::Joined(tag, Ok(answer))));
            return;
        }
        let same = self
            .members
            .get(&id)
            .is_some_and(|member| member.metadata == metadata);
        let known = Known {
            metadata,
            seen: now,
            joining: None,
            syncing: None,
        };
        let member = self.members.entry(id.clone()).or_insert(known);
        member.metadata = request.protocols[0].metadata.clone();
        member.seen = now;
        let current = match self.state {
            State::Stable => same && id != self.leader,
            State::Completing => same,
            _ => false,
        };
        if current {
            let answer = self.joined(&id);
            replies.push((from, tag, Input::Joined(tag, Ok(answer))));
            return;
        }
        member.joining = Some((from, tag));
        self.prepare(now, replies);
        self.complete_join(now, replies);
    }

    fn joined(&self, id: &str) -> JoinGroupResponse {
        let mut response = JoinGroupResponse::default()
            .with_generation_id(self.generation)
            .with_protocol_name(Some(text("cooperative-sticky")))
            .with_leader(text(&self.leader))
            .with_member_id(text(id));
        if id == self.leader {
            let member = |(id, known): (&String, &Known)| {
                JoinGroupResponseMember::default()
                    .with_member_id(text(id))
                    .with_metadata(known.metadata.clone())
            };
            response.members = self.members.iter().map(member).collect();
        }
        response
    }

    fn prepare(&mut self, now: Instant, replies: &mut Vec<Reply>) {
        if matches!(self.state, State::Preparing { .. }) {
            return;
        }
        self.state = State::Preparing {
            until: now + REBALANCE,
        };
        for member in self.members.values_mut() {
            if let Some((to, tag)) = member.syncing.take() {
                let answer = sync_error(ResponseError::RebalanceInProgress);
                replies.push((to, tag, Input::Synced(tag, Ok(answer))));
            }
        }
    }

    fn complete_join(&mut self, now: Instant, replies: &mut Vec<Reply>) {
        let State::Preparing { until } = self.state else {
            return;
        };
        if now >= until {
            self.members.retain(|_, member| member.joining.is_some());
        }
        if self.members.is_empty() {
            self.state = State::Empty;
            return;
        }
        if self.members.values().any(|member| member.joining.is_none()) {
            return;
        }
        self.generation += 1;
        self.state = State::Completing;
        self.assignments.clear();
        if !self.members.contains_key(&self.leader) {
            self.leader = self.members.keys().next().unwrap().clone();
        }
        let waiting: Vec<_> = self
            .members
            .iter_mut()
            .filter_map(|(id, member)| {
                member.seen = now;
                Some((id.clone(), member.joining.take()?))
            })
            .collect();
        for (id, (to, tag)) in waiting {
            replies.push((to, tag, Input::Joined(tag, Ok(self.joined(&id)))));
        }
    }

    fn sync(
        &mut self,
        from: usize,
        tag: Tag,
        request: &SyncGroupRequest,
        now: Instant,
        replies: &mut Vec<Reply>,
    ) {
        let id = request.member_id.to_string();
        let error = match (self.members.get(&id), self.state) {
            (None, _) => Some(ResponseError::UnknownMemberId),
            (Some(_), _) if request.generation_id != self.generation => {
                Some(ResponseError::IllegalGeneration)
            }
            (Some(_), State::Preparing { .. }) => Some(ResponseError::RebalanceInProgress),
            _ => None,
        };
        if let Some(error) = error {
            replies.push((from, tag, Input::Synced(tag, Ok(sync_error(error)))));
            return;
        }
        self.members.get_mut(&id).unwrap().seen = now;
        self.members.get_mut(&id).unwrap().syncing = Some((from, tag));
        if self.state == State::Completing && id == self.leader {
            self.assignments = request
                .assignments
                .iter()
                .map(|of| (of.member_id.to_string(), of.assignment.clone()))
                .collect();
            self.state = State::Stable;
        }
        if self.state == State::Stable {
            for (id, member) in &mut self.members {
                if let Some((to, tag)) = member.syncing.take() {
                    let assignment = self.assignments.get(id).cloned().unwrap_or_default();
                    let answer = SyncGroupResponse::default().with_assignment(assignment);
                    replies.push((to, tag, Input::Synced(tag, Ok(answer))));
                }
            }
        }
    }

    fn remove(&mut self, id: &str, now: Instant, replies: &mut Vec<Reply>) {
        if self.members.remove(id).is_some() {
            self.prepare(now, replies);
            self.complete_join(now, replies);
        }
    }

    /// Sessions and rebalances that are over.
    fn pass(&mut self, now: Instant) -> Vec<Reply> {
        let mut replies = Vec::new();
        let silent: Vec<_> = self
            .members
            .iter()
            .filter(|(_, member)| {
                member.joining.is_none() && member.syncing.is_none() && member.seen + SESSION <= now
            })
            .map(|(id, _)| id.clone())
            .collect();
        for id in silent {
            self.remove(&id, now, &mut replies);
        }
        self.complete_join(now, &mut replies);
        replies
    }
}

struct Node {
    member: Membership,
    /// From being told until let go of or lost.
    held: BTreeSet<TopicPartition>,
    revocations: VecDeque<(Ticket, Vec<TopicPartition>)>,
    frozen_until: Option<Instant>,
    dead: bool,
}

struct World {
    now: Instant,
    random: Jitter,
    coordinator: Coordinator,
    nodes: Vec<Node>,
    calls: Vec<(usize, Tag, Call)>,
    replies: Vec<Reply>,
    /// Nothing breaks any more, and nothing changes from outside.
    quiet: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            now: Instant::now(),
            random: Jitter::seeded(seed),
            coordinator: Coordinator::new(),
            nodes: Vec::new(),
            calls: Vec::new(),
            replies: Vec::new(),
            quiet: false,
        }
    }

    fn chance(&mut self, one_in: u64) -> bool {
        self.random.next().is_multiple_of(one_in)
    }

    fn pick(&mut self, count: usize) -> usize {
        (self.random.next() % count as u64) as usize
    }

    fn start(&mut self) {
        let jitter = Jitter::seeded(self.random.next());
        self.nodes.push(Node {
            member: Membership::new(config(&[Assignor::CooperativeSticky]), self.now, jitter),
            held: BTreeSet::new(),
            revocations: VecDeque::new(),
            frozen_until: None,
            dead: false,
        });
        let at = self.nodes.len() - 1;
        self.input(at, Input::TopicsChanged(counts(&[("t", PARTITIONS)])));
    }

    fn input(&mut self, at: usize, input: Input) {
        let now = self.now;
        let node = &mut self.nodes[at];
        for action in node.member.handle(input, now) {
            match action {
                Action::Send(tag, call) => self.calls.push((at, tag, call)),
                Action::Abandon(tag) => {
                    // What is sent may still arrive; the answer does not.
                    self.replies.retain(|(to, of, _)| (*to, *of) != (at, tag));
                }
                Action::RefreshTopics | Action::Fenced(_) => {}
                Action::Assigned { partitions, .. } => {
                    for given in partitions {
                        assert!(node.held.insert(given.partition), "given twice");
                    }
                }
                Action::Revoke {
                    ticket, partitions, ..
                } => node.revocations.push_back((ticket, partitions)),
                Action::Lost { partitions } => {
                    for lost in partitions {
                        assert!(node.held.remove(&lost), "lost what was not held");
                    }
                }
                Action::Left => node.dead = true,
                Action::Fatal(error) => panic!("{error}"),
            }
        }
        self.check();
    }

    /// A member in good standing is one that the coordinator knows.
    fn check(&self) {
        let mut owners: BTreeMap<&TopicPartition, usize> = BTreeMap::new();
        for (at, node) in self.nodes.iter().enumerate() {
            let known = self
                .coordinator
                .members
                .contains_key(node.member.member_id());
            if node.dead || !known {
                continue;
            }
            for held in &node.held {
                if let Some(other) = owners.insert(held, at) {
                    panic!(
                        "{held} is held by {other} and {at} in generation {}",
                        self.coordinator.generation
                    );
                }
            }
        }
    }

    /// One thing happens.
    fn step(&mut self) {
        self.now += Duration::from_millis(self.random.next() % 40);
        let replies = self.coordinator.pass(self.now);
        self.replies.extend(replies);
        if !self.quiet {
            self.disturb();
        }
        match self.pick(5) {
            0 | 1 if !self.calls.is_empty() => {
                let at = self.pick(self.calls.len());
                let (from, tag, call) = self.calls.remove(at);
                let (dead, lost) = (self.nodes[from].dead, !self.quiet && self.chance(60));
                if !dead && !lost {
                    let replies = self.coordinator.call(from, tag, call.clone(), self.now);
                    self.replies.extend(replies);
                } else if !dead {
                    self.replies.push((from, tag, broken(tag, &call)));
                }
            }
            2 if !self.replies.is_empty() => {
                let at = self.pick(self.replies.len());
                let (to, tag, reply) = self.replies.remove(at);
                let lost = !self.quiet && self.chance(60);
                let reply = if lost {
                    broken_reply(tag, &reply)
                } else {
                    reply
                };
                if !self.nodes[to].dead && self.awake(to) {
                    self.input(to, reply);
                } else if !self.nodes[to].dead {
                    self.replies.push((to, tag, reply));
                }
            }
            3 => {
                let at = self.pick(self.nodes.len());
                if self.awake(at)
                    && let Some((ticket, partitions)) = self.nodes[at].revocations.pop_front()
                {
                    // Unless it lost them meanwhile.
                    for partition in &partitions {
                        self.nodes[at].held.remove(partition);
                    }
                    self.input(at, Input::Revoked(ticket));
                }
            }
            _ => {}
        }
        for at in 0..self.nodes.len() {
            let due = self.nodes[at]
                .member
                .wake_at()
                .is_some_and(|wake| wake <= self.now);
            if due && !self.nodes[at].dead && self.awake(at) {
                self.input(at, Input::Tick);
            }
        }
    }

    fn awake(&self, at: usize) -> bool {
        self.nodes[at]
            .frozen_until
            .is_none_or(|until| until <= self.now)
    }

    fn disturb(&mut self) {
        if self.nodes.len() < 6 && self.chance(400) {
            self.start();
        }
        let at = self.pick(self.nodes.len());
        if self.nodes[at].dead {
            return;
        }
        match self.random.next() % 6000 {
            0..3 => self.nodes[at].dead = true,
            3..6 => {
                self.nodes[at].held.clear();
                self.input(at, Input::Leave("bye".to_owned()));
            }
            6..9 => self.nodes[at].frozen_until = Some(self.now + SESSION.mul_f64(1.5)),
            9..12 => {
                // The coordinator forgets its members, as after an unclean failover; its connections break.
                self.coordinator.generation += 5;
                for (_, member) in std::mem::take(&mut self.coordinator.members) {
                    if let Some((to, tag)) = member.joining {
                        self.replies
                            .push((to, tag, Input::Joined(tag, Err(closed()))));
                    }
                    if let Some((to, tag)) = member.syncing {
                        self.replies
                            .push((to, tag, Input::Synced(tag, Err(closed()))));
                    }
                }
                self.coordinator.state = State::Empty;
            }
            _ => {}
        }
    }
}

fn broken(tag: Tag, call: &Call) -> Input {
    match call {
        Call::FindCoordinator => Input::Coordinator(tag, Err(closed())),
        Call::Join { .. } => Input::Joined(tag, Err(closed())),
        Call::Sync { .. } => Input::Synced(tag, Err(closed())),
        Call::Heartbeat { .. } => Input::Heartbeat(tag, Err(closed())),
        Call::FetchOffsets(_) => Input::Offsets(tag, Err(closed())),
        Call::Leave { .. } => Input::LeaveAnswered(tag),
        Call::DescribeTopics(_) => Input::Described(tag, Err(closed())),
        Call::DescribeGroup => Input::GroupDescribed(tag, Err(closed())),
        Call::Review(_) => Input::Reviewed(tag, Err(closed())),
    }
}

fn broken_reply(tag: Tag, reply: &Input) -> Input {
    match reply {
        Input::Coordinator(..) => Input::Coordinator(tag, Err(closed())),
        Input::Joined(..) => Input::Joined(tag, Err(closed())),
        Input::Synced(..) => Input::Synced(tag, Err(closed())),
        Input::Heartbeat(..) => Input::Heartbeat(tag, Err(closed())),
        Input::Offsets(..) => Input::Offsets(tag, Err(closed())),
        Input::Described(..) => Input::Described(tag, Err(closed())),
        Input::GroupDescribed(..) => Input::GroupDescribed(tag, Err(closed())),
        _ => Input::LeaveAnswered(tag),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn nobody_owns_what_another_owns_and_in_the_end_everything_is_owned(seed in any::<u64>()) {
        let mut world = World::new(seed);
        world.start();
        for _ in 0..12_000 {
            world.step();
        }
        world.quiet = true;
        world.start();
        // Time enough for sessions to end and rebalances to settle.
        let quiet_until = world.now + 3 * (SESSION + REBALANCE);
        while world.now < quiet_until {
            world.step();
        }
        let live: Vec<_> = world.nodes.iter().filter(|node| !node.dead).collect();
        let mut held: Vec<_> = live.iter().flat_map(|node| node.held.iter().cloned()).collect();
        held.sort();
        let all: Vec<_> = (0..PARTITIONS).map(|number| TopicPartition::new("t", number)).collect();
        prop_assert_eq!(held, all);
        for node in &live {
            prop_assert!(node.held.len() <= PARTITIONS as usize / live.len() + 1);
            prop_assert!(matches!(node.member.phase, Phase::Stable), "{:?}", node.member);
            prop_assert_eq!(node.member.generation(), world.coordinator.generation);
        }
    }
}
