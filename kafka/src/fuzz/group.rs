//! A member of a group whose coordinator and peers say whatever they like.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use kafka_protocol::{
    error::ResponseError,
    messages::{
        ApiKey, DescribeGroupsRequest, HeartbeatRequest, JoinGroupRequest, MetadataRequest,
        OffsetFetchRequest, SyncGroupRequest,
    },
};

use super::{answers::decode, input::Input as Bytes};
use crate::{
    admin::groups::describe_members,
    backoff::Jitter,
    cluster::ClusterView,
    connection::frame::encode,
    consumer::{
        Assignor, StaticMember,
        coordinator::{calls::fetched, counts},
        group::GroupConfig,
        membership::{Action, Call, Input, Membership, Reviewed, Tag, Ticket, TopicCounts},
    },
    error::Error,
};

/// A step a time: its kind, then what it needs. Answers go through the real decoders.
pub fn group(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let mut script = Script::new(bytes.byte());
    let mut steps = 0;
    while !bytes.is_empty() && steps < 200 {
        steps += 1;
        let input = match bytes.byte() % 8 {
            0 => {
                script.now += Duration::from_millis(u64::from(bytes.byte()) * 250);
                Some(Input::Tick)
            }
            1..=3 => script.answer(&mut bytes),
            4 => Some(Input::TopicsChanged(topics(&mut bytes))),
            5 => script.revocations.pop().map(Input::Revoked),
            6 => Some(Input::CommitRefused {
                code: ResponseError::try_from_code(bytes.byte().into())
                    .unwrap_or(ResponseError::UnknownMemberId),
                member_id: script.member.member_id().to_owned(),
                generation: script.member.generation(),
            }),
            _ => match bytes.byte() {
                0 => Some(Input::Leave("fuzzing".to_owned())),
                node => Some(Input::CoordinatorGone {
                    node: i32::from(node) % 3,
                }),
            },
        };
        if let Some(input) = input {
            script.input(input);
        }
    }
}

struct Script {
    member: Membership,
    now: Instant,
    calls: Vec<(Tag, Call)>,
    revocations: Vec<Ticket>,
    over: bool,
}

impl Script {
    fn new(kind: u8) -> Self {
        let assignors = match kind % 3 {
            0 => vec![Assignor::CooperativeSticky],
            1 => vec![Assignor::Range, Assignor::RoundRobin],
            _ => vec![Assignor::CooperativeSticky, Assignor::Range],
        };
        let config = GroupConfig {
            group: "g".into(),
            topics: vec!["t".into(), "u".into()],
            assignors,
            static_member: (kind & 0x80 != 0).then(|| StaticMember::derived("one", "here")),
            session_timeout: Duration::from_secs(45),
            heartbeat_interval: Duration::from_secs(3),
            rebalance_timeout: Duration::from_secs(60),
            refused_pause: None,
        };
        let now = Instant::now();
        let mut script = Self {
            member: Membership::new(config, now, Jitter::seeded(1)),
            now,
            calls: Vec::new(),
            revocations: Vec::new(),
            over: false,
        };
        script.input(Input::Tick);
        script
    }

    fn input(&mut self, input: Input) {
        for action in self.member.handle(input, self.now) {
            assert!(!self.over, "{action:?} after the end");
            match action {
                Action::Send(tag, call) => {
                    check_encodes(&call);
                    self.calls.push((tag, call));
                }
                Action::Abandon(tag) => self.calls.retain(|(of, _)| *of != tag),
                Action::Revoke { ticket, .. } => self.revocations.push(ticket),
                Action::Left | Action::Fatal(_) => self.over = true,
                Action::RefreshTopics
                | Action::Assigned { .. }
                | Action::Lost { .. }
                | Action::Fenced(_) => {}
            }
        }
        let state = self.member.state();
        assert_eq!(state.assignment.len(), self.member.owned().len());
        let waits = self.member.wake_at().is_some() || !self.calls.is_empty();
        assert!(
            self.over || waits || !self.revocations.is_empty(),
            "it waits for nothing: {state:?}"
        );
    }

    /// The answer to one of the calls on their way, or its failure.
    fn answer(&mut self, bytes: &mut Bytes<'_>) -> Option<Input> {
        let which = usize::from(bytes.byte());
        if self.calls.is_empty() {
            return None;
        }
        let (tag, call) = self.calls.swap_remove(which % self.calls.len());
        let version = bytes.byte();
        let frame = bytes.piece();
        let failed = || Error::Closed {
            address: "broker:9092".into(),
            api: ApiKey::JoinGroup,
            elapsed: Duration::ZERO,
            reason: "gone".into(),
        };
        Some(match call {
            Call::FindCoordinator => {
                let node = i32::from(version);
                Input::Coordinator(
                    tag,
                    if node > 250 {
                        Err(failed())
                    } else {
                        Ok(node % 3)
                    },
                )
            }
            Call::Join { .. } => {
                let answer = decode::<JoinGroupRequest>(frame, version);
                Input::Joined(tag, answer.ok_or_else(failed))
            }
            Call::Sync { .. } => {
                let answer = decode::<SyncGroupRequest>(frame, version);
                Input::Synced(tag, answer.ok_or_else(failed))
            }
            Call::Heartbeat { .. } => {
                let answer = decode::<HeartbeatRequest>(frame, version);
                Input::Heartbeat(tag, answer.ok_or_else(failed))
            }
            Call::FetchOffsets(topics) => {
                let asked: usize = topics.iter().map(|(_, partitions)| partitions.len()).sum();
                assert!(asked < 100_000, "asks for {asked} offsets");
                let answer = decode::<OffsetFetchRequest>(frame, version).ok_or_else(failed);
                Input::Offsets(tag, answer.and_then(|answer| fetched("g", answer)))
            }
            Call::Leave { .. } => Input::LeaveAnswered(tag),
            Call::DescribeGroup => {
                let described = decode::<DescribeGroupsRequest>(frame, version)
                    .ok_or_else(failed)
                    .and_then(|answer| {
                        let group = answer.groups.into_iter().next().unwrap_or_default();
                        describe_members("g", 1, group)
                    });
                Input::GroupDescribed(tag, described)
            }
            Call::DescribeTopics(_) => {
                let view = decode::<MetadataRequest>(frame, version)
                    .ok_or_else(failed)
                    .and_then(ClusterView::from_response);
                Input::Described(tag, view.map(|view| counts(&view)))
            }
            Call::Review(_) => {
                let view = decode::<MetadataRequest>(frame, version)
                    .ok_or_else(failed)
                    .and_then(ClusterView::from_response);
                let reviewed = view.map(|view| Reviewed {
                    counts: counts(&view),
                    assigned: self.member.owned().keys().cloned().collect(),
                });
                Input::Reviewed(tag, reviewed)
            }
        })
    }
}

fn topics(bytes: &mut Bytes<'_>) -> TopicCounts {
    ["t", "u"]
        .into_iter()
        .filter_map(|topic| {
            let count = bytes.byte() % 9;
            (count < 8).then(|| (Arc::from(topic), i32::from(count)))
        })
        .collect()
}

/// What a member sends can be sent, whatever it has heard.
fn check_encodes(call: &Call) {
    let client_id = Default::default();
    let encoded = match call {
        Call::Join { request, .. } => encode(request, ApiKey::JoinGroup, 9, 1, &client_id),
        Call::Sync { request, .. } => encode(request, ApiKey::SyncGroup, 5, 1, &client_id),
        Call::Heartbeat { request, .. } => encode(request, ApiKey::Heartbeat, 4, 1, &client_id),
        Call::Leave { request, .. } => encode(request, ApiKey::LeaveGroup, 5, 1, &client_id),
        Call::FindCoordinator
        | Call::FetchOffsets(_)
        | Call::DescribeTopics(_)
        | Call::DescribeGroup
        | Call::Review(_) => return,
    };
    assert!(encoded.is_ok(), "{:?}", encoded.err());
}
