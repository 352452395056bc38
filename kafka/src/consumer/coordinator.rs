//! Keeps a membership: a task that makes the calls that the state machine asks for and hands on what it decides.
//!
//! The task handles no records and waits for nobody who does, so heartbeats go out however slow the handlers are.
//! `calls` makes the calls. JoinGroup and SyncGroup wait for other members, so they have a connection of their own,
//! beside which heartbeats and commits go on.

pub(crate) mod calls;

use std::sync::Arc;
use std::time::Instant;

use futures::future::{AbortHandle, Abortable, BoxFuture};
use futures::stream::{FuturesUnordered, StreamExt as _};
use futures::{FutureExt as _, future};
use tokio::sync::{mpsc, oneshot, watch};

use self::calls::Calls;
use super::committer::Committer;
use super::group::{Group, GroupConfig, GroupEvent, GroupHandle, GroupState, LeaveRequest};
use super::membership::{Action, Call, Input, Membership, Tag, TopicCounts};
use super::standing::Standing;
use crate::backoff::Jitter;
use crate::cluster::{Cluster, ClusterView};

/// Joins the group, and stays in it until it is left, every handle is dropped, or something fatal happens. Returns at
/// once; no I/O before the runtime runs the tasks.
pub(crate) fn join(cluster: Arc<Cluster>, config: GroupConfig) -> Group {
    let (events, events_out) = mpsc::unbounded_channel();
    let (inbox, inbox_out) = mpsc::unbounded_channel();
    let (leave, leave_out) = mpsc::unbounded_channel();
    let (commits, commits_out) = mpsc::unbounded_channel();
    let standing = watch::Sender::new(Arc::new(Standing {
        generation: -1,
        ..Standing::default()
    }));
    let state = watch::Sender::new(Arc::new(GroupState {
        generation: -1,
        ..GroupState::default()
    }));
    let handle = GroupHandle::new(commits, leave, state.subscribe());

    let committer = Committer::new(cluster.clone(), &config, standing.subscribe(), inbox);
    tokio::spawn(committer.run(commits_out));
    let driver = Driver {
        calls: Calls::new(cluster.clone(), &config),
        membership: Membership::new(config.clone(), now(), Jitter::new()),
        group: config.group,
        topics: config.topics,
        cluster,
        running: FuturesUnordered::new(),
        meeting: None,
        events,
        leaving: Vec::new(),
        standing,
        state,
    };
    tokio::spawn(driver.run(inbox_out, leave_out));
    Group {
        events: events_out,
        handle,
    }
}

struct Driver {
    membership: Membership,
    group: Arc<str>,
    topics: Vec<Arc<str>>,
    cluster: Arc<Cluster>,
    calls: Calls,
    /// Calls on their way, and revocations that the consumer works on.
    running: FuturesUnordered<BoxFuture<'static, Option<Input>>>,
    /// The JoinGroup or SyncGroup on its way.
    meeting: Option<(Tag, AbortHandle)>,
    events: mpsc::UnboundedSender<GroupEvent>,
    leaving: Vec<oneshot::Sender<()>>,
    standing: watch::Sender<Arc<Standing>>,
    state: watch::Sender<Arc<GroupState>>,
}

impl Driver {
    async fn run(
        mut self,
        mut inbox: mpsc::UnboundedReceiver<Input>,
        mut leave: mpsc::UnboundedReceiver<LeaveRequest>,
    ) {
        let mut view = self.cluster.watch();
        let (cluster, topics) = (self.cluster.clone(), self.topics.clone());
        // Keeps the subscribed topics' metadata fresh from now on. If it fails, the cluster tries again by itself.
        self.running.push(
            async move {
                cluster
                    .ensure_topics(&topics)
                    .await
                    .ok()
                    .map(|view| changed(&view))
            }
            .boxed(),
        );
        let (mut input, mut dropped) = (Input::Tick, false);
        while self.step(input) {
            let wake = self.membership.wake_at();
            input = tokio::select! {
                Some(input) = self.running.next() => match input {
                    Some(input) => input,
                    None => Input::Tick,
                },
                Some(input) = inbox.recv() => input,
                request = leave.recv(), if !dropped => match request {
                    Some(request) => {
                        self.leaving.push(request.done);
                        Input::Leave(request.reason)
                    }
                    None => {
                        dropped = true;
                        Input::Leave("the consumer was dropped".to_owned())
                    }
                },
                Ok(()) = view.changed() => changed(&view.borrow_and_update().clone()),
                () = sleep_until(wake) => Input::Tick,
            };
        }
        self.standing
            .send_modify(|standing| Arc::make_mut(standing).over = true);
        for done in self.leaving {
            let _ = done.send(());
        }
    }

    /// Whether the membership goes on.
    fn step(&mut self, input: Input) -> bool {
        let actions = self.membership.handle(input, now());
        self.publish();
        let mut goes_on = true;
        for action in actions {
            match action {
                Action::Send(tag, call) => {
                    let (abort, registration) = AbortHandle::new_pair();
                    if matches!(call, Call::Join { .. } | Call::Sync { .. }) {
                        self.meeting = Some((tag, abort));
                    }
                    let call = self.calls.make(tag, call, self.membership.node());
                    self.running
                        .push(Abortable::new(call, registration).map(Result::ok).boxed());
                }
                Action::Abandon(tag) => {
                    if let Some((_, abort)) = self.meeting.take_if(|(meeting, _)| *meeting == tag) {
                        abort.abort();
                        self.calls.abandon_rendezvous();
                    }
                }
                Action::RefreshTopics => self.cluster.request_refresh(),
                Action::Assigned {
                    generation,
                    partitions,
                } => {
                    self.tell(GroupEvent::Assigned {
                        generation,
                        partitions,
                    });
                }
                Action::Revoke {
                    ticket,
                    partitions,
                    deadline,
                } => {
                    let (done, let_go) = oneshot::channel();
                    // A consumer that is gone has let go too.
                    self.running
                        .push(let_go.map(move |_| Some(Input::Revoked(ticket))).boxed());
                    self.tell(GroupEvent::Revoke {
                        partitions,
                        deadline,
                        done,
                    });
                }
                Action::Lost { partitions } => self.tell(GroupEvent::Lost { partitions }),
                Action::Fenced(member) => member.fenced_in(&self.group),
                Action::Left => goes_on = false,
                Action::Fatal(error) => {
                    self.tell(GroupEvent::Fatal(error));
                    goes_on = false;
                }
            }
        }
        goes_on
    }

    fn tell(&self, event: GroupEvent) {
        // Without a receiver the consumer is gone; its handles follow, and then this task leaves the group.
        let _ = self.events.send(event);
    }

    /// Before anybody hears of a change, commits follow it.
    fn publish(&mut self) {
        let claims = self.membership.owned().iter();
        let standing = Standing {
            member_id: self.membership.member_id().to_owned(),
            instance: self.membership.instance().map(str::to_owned),
            generation: self.membership.generation(),
            node: self.membership.node(),
            claims: claims
                .map(|(partition, owned)| (partition.clone(), (owned.claim, owned.new_in)))
                .collect(),
            over: false,
        };
        self.standing.send_if_modified(|current| {
            let differs = **current != standing;
            if differs {
                *current = Arc::new(standing);
            }
            differs
        });
        let state = self.membership.state();
        self.state.send_if_modified(|current| {
            let differs = **current != state;
            if differs {
                *current = Arc::new(state);
            }
            differs
        });
    }
}

/// The runtime's clock, which tests may stop.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => future::pending().await,
    }
}

fn changed(view: &ClusterView) -> Input {
    Input::TopicsChanged(counts(view))
}

pub(crate) fn counts(view: &ClusterView) -> TopicCounts {
    view.topics
        .iter()
        .map(|(name, topic)| (name.clone(), topic.partitions.len() as i32))
        .collect()
}
