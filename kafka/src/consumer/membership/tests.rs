//! One member against a scripted coordinator; `traps` holds what goes wrong, `group` several members together.

mod group;
mod lifecycle;
mod traps;

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::{
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, SyncGroupRequest,
    SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::topics::MISSING_TOPIC;
use super::*;
use crate::consumer::assignor::Plan;
use crate::consumer::group::{AssignedPartition, Committed, Start};
use crate::consumer::protocol::{Subscription, decode_assignment, encode_assignment};
use crate::error::Error;

const NODE: i32 = 7;
const HEARTBEAT: Duration = Duration::from_secs(3);
const SESSION: Duration = Duration::from_secs(45);
const REBALANCE: Duration = Duration::from_secs(60);

fn config(assignors: &[Assignor]) -> GroupConfig {
    GroupConfig {
        group: "g".into(),
        topics: vec!["t".into()],
        assignors: assignors.to_vec(),
        static_member: None,
        session_timeout: SESSION,
        heartbeat_interval: HEARTBEAT,
        rebalance_timeout: REBALANCE,
        refused_pause: None,
    }
}

fn partition(name: &str) -> TopicPartition {
    let (topic, number) = name.rsplit_once('-').unwrap();
    TopicPartition::new(topic, number.parse().unwrap())
}

fn partitions(names: &[&str]) -> Vec<TopicPartition> {
    names.iter().map(|name| partition(name)).collect()
}

fn counts(topics: &[(&str, i32)]) -> TopicCounts {
    topics
        .iter()
        .map(|(topic, count)| (Arc::from(*topic), *count))
        .collect()
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn code(error: ResponseError) -> i16 {
    error.code()
}

fn closed() -> Error {
    Error::Closed {
        address: "broker:9092".into(),
        api: kafka_protocol::messages::ApiKey::Heartbeat,
        elapsed: Duration::ZERO,
        reason: "gone".into(),
    }
}

/// A member, what it has asked for, and what it has told its consumer.
struct Script {
    member: Membership,
    now: Instant,
    calls: Vec<(Tag, Call)>,
    abandoned: Vec<Tag>,
    refreshes: usize,
    told: Vec<Action>,
}

impl Script {
    fn new(config: GroupConfig) -> Self {
        let now = Instant::now();
        let mut script = Self {
            member: Membership::new(config, now, Jitter::new()),
            now,
            calls: Vec::new(),
            abandoned: Vec::new(),
            refreshes: 0,
            told: Vec::new(),
        };
        script.input(Input::Tick);
        script
    }

    fn cooperative() -> Self {
        Self::new(config(&[Assignor::CooperativeSticky]))
    }

    fn eager() -> Self {
        Self::new(config(&[Assignor::Range]))
    }

    fn input(&mut self, input: Input) {
        for action in self.member.handle(input, self.now) {
            match action {
                Action::Send(tag, call) => self.calls.push((tag, call)),
                Action::Abandon(tag) => {
                    self.abandoned.push(tag);
                    self.calls.retain(|(of, _)| *of != tag);
                }
                Action::RefreshTopics => self.refreshes += 1,
                told => self.told.push(told),
            }
        }
    }

    /// Lets time pass, waking the member whenever it wants.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(wake) = self.member.wake_at().filter(|wake| *wake <= end) {
            self.now = self.now.max(wake);
            self.input(Input::Tick);
            assert!(
                self.member.wake_at().is_none_or(|next| next > self.now),
                "wakes again at once: {:?}",
                self.member
            );
        }
        self.now = end;
    }

    /// Takes the one call of this kind that is on its way.
    fn call<T>(&mut self, kind: impl Fn(&Call) -> Option<T>) -> (Tag, T) {
        let mut found: Vec<_> = self
            .calls
            .iter()
            .enumerate()
            .filter_map(|(at, (tag, call))| Some((at, *tag, kind(call)?)))
            .collect();
        assert_eq!(found.len(), 1, "{:?}", self.calls);
        let (at, tag, call) = found.remove(0);
        self.calls.remove(at);
        (tag, call)
    }

    fn has(&self, kind: impl Fn(&Call) -> bool) -> bool {
        self.calls.iter().any(|(_, call)| kind(call))
    }

    fn joins(&self) -> bool {
        self.has(|call| matches!(call, Call::Join { .. }))
    }

    fn finds(&self) -> bool {
        self.has(|call| matches!(call, Call::FindCoordinator))
    }

    fn is_over(&self) -> bool {
        matches!(self.member.phase, Phase::Over)
    }

    fn find(&mut self) {
        let (tag, ()) = self.call(|call| matches!(call, Call::FindCoordinator).then_some(()));
        self.input(Input::Coordinator(tag, Ok(NODE)));
    }

    fn join_request(&mut self) -> (Tag, JoinGroupRequest) {
        self.call(|call| match call {
            Call::Join { request, .. } => Some(request.clone()),
            _ => None,
        })
    }

    fn sync_request(&mut self) -> (Tag, SyncGroupRequest) {
        self.call(|call| match call {
            Call::Sync { request, .. } => Some(request.clone()),
            _ => None,
        })
    }

    fn heartbeat_request(&mut self) -> (Tag, HeartbeatRequest) {
        self.call(|call| match call {
            Call::Heartbeat { request, .. } => Some(request.clone()),
            _ => None,
        })
    }

    /// The subscription in the JoinGroup on its way, which stays there.
    fn subscription(&self) -> Subscription {
        let of = |call: &Call| match call {
            Call::Join { request, .. } => {
                Some(Subscription::decode(&request.protocols[0].metadata).unwrap())
            }
            _ => None,
        };
        self.calls.iter().find_map(|(_, call)| of(call)).unwrap()
    }

    fn refuse_join(&mut self, error: ResponseError) {
        let (tag, request) = self.join_request();
        let given = if error == ResponseError::MemberIdRequired {
            "m"
        } else {
            &*request.member_id
        };
        let response = JoinGroupResponse::default()
            .with_error_code(code(error))
            .with_member_id(text(given));
        self.input(Input::Joined(tag, Ok(response)));
    }

    /// JoinGroup is answered: another member leads.
    fn join_as_follower(&mut self, generation: i32) {
        let (tag, request) = self.join_request();
        let response = JoinGroupResponse::default()
            .with_generation_id(generation)
            .with_protocol_name(Some(request.protocols[0].name.clone()))
            .with_leader(text("other"))
            .with_member_id(text("m"));
        self.input(Input::Joined(tag, Ok(response)));
    }

    fn sync(&mut self, assignment: &[&str]) {
        let (tag, _) = self.sync_request();
        let response = SyncGroupResponse::default()
            .with_assignment(encode_assignment(&partitions(assignment)));
        self.input(Input::Synced(tag, Ok(response)));
    }

    fn refuse_sync(&mut self, error: ResponseError) {
        let (tag, _) = self.sync_request();
        self.input(Input::Synced(
            tag,
            Ok(SyncGroupResponse::default().with_error_code(code(error))),
        ));
    }

    /// Answers the heartbeat on its way, or waits for the next one first.
    fn beat(&mut self, error: Option<ResponseError>) {
        if !self.has(|call| matches!(call, Call::Heartbeat { .. })) {
            self.pass(HEARTBEAT);
        }
        let (tag, _) = self.heartbeat_request();
        let response = HeartbeatResponse::default().with_error_code(error.map_or(0, code));
        self.input(Input::Heartbeat(tag, Ok(response)));
    }

    /// Answers OffsetFetch: these offsets with these metadata, nothing for the others asked for.
    fn offsets(&mut self, committed: &[(&str, i64, &str)]) {
        let (tag, asked) = self.call(|call| match call {
            Call::FetchOffsets(asked) => Some(asked.clone()),
            _ => None,
        });
        let known: BTreeMap<_, _> = committed
            .iter()
            .map(|(name, offset, metadata)| (partition(name), (*offset, *metadata)))
            .collect();
        let answer = asked.into_iter().flat_map(|(topic, numbers)| {
            numbers
                .into_iter()
                .map(move |number| TopicPartition::new(topic.clone(), number))
        });
        let answer = answer.map(|partition| FetchedOffset {
            committed: known.get(&partition).map(|(offset, metadata)| Committed {
                offset: *offset,
                leader_epoch: -1,
                metadata: (*metadata).to_owned(),
            }),
            partition,
            error: None,
        });
        self.input(Input::Offsets(tag, Ok(answer.collect())));
    }

    /// A member in generation 1 with these partitions, started.
    fn stable(mut self, assignment: &[&str]) -> Self {
        self.find();
        self.refuse_join(ResponseError::MemberIdRequired);
        self.join_as_follower(1);
        self.sync(assignment);
        if !assignment.is_empty() {
            self.offsets(&[]);
        }
        self.told.clear();
        self
    }

    fn told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.told).iter().map(shown).collect()
    }

    fn revoked(&mut self) {
        let revocation = self.told.iter().rev().find_map(|told| match told {
            Action::Revoke { ticket, .. } => Some(*ticket),
            _ => None,
        });
        self.input(Input::Revoked(revocation.unwrap()));
    }

    fn owned(&self) -> Vec<String> {
        self.member
            .owned()
            .keys()
            .map(ToString::to_string)
            .collect()
    }
}

/// What the consumer is told, in short.
fn shown(action: &Action) -> String {
    let list = |partitions: &[TopicPartition]| {
        partitions
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" ")
    };
    match action {
        Action::Assigned {
            generation,
            partitions,
        } => {
            let of = |assigned: &AssignedPartition| {
                let start = match &assigned.start {
                    Start::Committed(committed) => committed.offset.to_string(),
                    Start::First => "first".to_owned(),
                    Start::Policy => "policy".to_owned(),
                };
                format!("{}@{start}", assigned.partition)
            };
            let list: Vec<_> = partitions.iter().map(of).collect();
            format!("assigned in {generation}: {}", list.join(" "))
        }
        Action::Revoke { partitions, .. } => format!("revoke: {}", list(partitions)),
        Action::Lost { partitions } => format!("lost: {}", list(partitions)),
        Action::Left => "left".to_owned(),
        Action::Fatal(error) => format!("fatal: {error}"),
        other => format!("{other:?}"),
    }
}
