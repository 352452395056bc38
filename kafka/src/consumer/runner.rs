//! One task that runs a consumer: it takes what is fetched, hands it to the handler lane by lane,
//! and commits what is done.
//!
//! ```text
//!   group events ─► assignment ─► slots (tracker, what is fetched) ─► dispatch ─► lanes ─► flights
//!   fetcher ──────────────────────►┘          ▲                         settle ◄────────────┘
//!                                             └── done, dead letter acknowledged
//!   slots ─► commits ─► group
//! ```
//!
//! Nothing here waits for anything but all of it at once, at the one `select!`; whatever is slow
//! (asking for offsets, commits, dead letters) is an operation on the side that ends in a [`Done`].
//! A record whose handler finishes at once passes through without an allocation, a lock or a wake-up.

mod assignment;
mod commits;
mod core;
mod handing_out;
mod holding;
mod letters;
mod listening;
mod quiet;
mod report;
mod resetting;
mod settling;
mod slot;
mod task;
mod watch;

use std::collections::{HashMap, VecDeque};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::time::Instant;

use self::core::{CommitState, Core, Done};
use self::quiet::Quiet;
use self::report::Airborne;
pub use self::report::Report;
use self::task::{Answer, Task, call};
use super::builder::Settings;
use super::error::ConsumerError;
use super::fetcher::Fetcher;
use super::flights::Flights;
use super::group::{Group, GroupEvent};
use super::handler::Handler;
use super::lanes::Lanes;
use super::stats::{ConsumerState, ConsumerStatsHandle};
use crate::backoff::{Jitter, Retries};
use crate::cluster::Cluster;

/// Records handed out before everything else is looked at again; also the stretch over which the
/// clock counts as standing still.
const QUANTUM: usize = 256;
/// Records that queue behind their lanes may take up this much; then a partition whose next record
/// would have to queue pauses, and the others go on. Records that wait for a retry may take up as
/// much again; then every partition pauses.
const MAX_PARKED_BYTES: usize = 32 * 1024 * 1024;
/// Partitions that paused are looked at again at least this often.
const STALLED_LOOK: Duration = Duration::from_secs(1);
/// Statistics are renewed at most this often.
const STATS_INTERVAL: Duration = Duration::from_millis(200);
/// First and longest wait before the handler is asked whether what it lacked is back.
const PROBE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));
/// A stuck handler is reported again after `max_processing_time`, and at least this often.
const STUCK_REPORT: Duration = Duration::from_secs(30);

/// Runs until `shutdown`, or until an error ends it.
pub(super) async fn run<H: Handler>(
    cluster: Arc<Cluster>,
    settings: Settings,
    handler: H,
    stats: ConsumerStatsHandle,
    group: Group,
    shutdown: impl Future<Output = ()>,
) -> Result<Report, ConsumerError> {
    let (fetcher, mut fetched) = Fetcher::new(cluster.clone(), settings.fetch.clone());
    let Group { mut events, handle } = group;
    let mut membership = handle.watch();
    let now = Instant::now();
    let core = Core {
        lanes: Lanes::new(settings.max_in_flight),
        commit: CommitState {
            next: now + settings.commit_interval,
            soon: false,
            in_flight: false,
            stored: 0,
            failures: 0,
        },
        settings: Arc::new(settings),
        cluster,
        group: handle,
        fetcher,
        slots: Vec::new(),
        index: HashMap::new(),
        first_ids: HashMap::new(),
        turn: VecDeque::new(),
        lives: 0,
        operations: FuturesUnordered::new(),
        revocations: Vec::new(),
        topics: Vec::new(),
        jitter: Jitter::new(),
        now,
        stats,
        joined: false,
        paused: None,
        draining: None,
        fatal: None,
        given_up: 0,
        quiet: Quiet::default(),
    };
    let mut runner = Runner {
        core,
        handler: &handler,
        launch: |task| call(&handler, task),
        flights: Flights::new(),
        airborne: Vec::new(),
        probe: None,
        probes: Retries::new(PROBE.0, PROBE.1),
        stats_due: now,
        stats_dirty: true,
        stuck_due: now,
        stuck: 0,
        stalled_due: now,
    };
    let mut shutdown = pin!(shutdown);
    let mut timer = pin!(tokio::time::sleep_until(now));
    loop {
        runner.core.now = Instant::now();
        let more = runner.round();
        if runner.is_over() {
            break;
        }
        let wake = runner.next_wake();
        if timer.deadline() != wake {
            timer.as_mut().reset(wake);
        }
        tokio::select! {
            biased;
            () = &mut shutdown, if runner.core.draining.is_none() => {
                tracing::info!(group = %runner.core.settings.group.group, "shutting down: finishing what is in flight");
                runner.core.drain();
            }
            Some(event) = events.recv() => runner.on_group(event),
            Some(done) = runner.core.operations.next(), if !runner.core.operations.is_empty() => runner.core.on_done(done),
            back = async { runner.probe.as_mut().expect("guarded").await }, if runner.probe.is_some() => runner.on_probe(back),
            (place, landed) = poll_fn(|cx| runner.flights.poll_landed(cx)) => {
                runner.land(place, landed);
                runner.land_more();
            }
            Some(batch) = fetched.recv() => {
                runner.core.on_fetched(batch);
                while let Ok(batch) = fetched.try_recv() {
                    runner.core.on_fetched(batch);
                }
            }
            // What the membership goes through without an event, such as a refusal, shows in the statistics.
            Ok(()) = membership.changed() => runner.core.note_topics(),
            () = &mut timer => {}
            () = tokio::task::yield_now(), if more => {}
        }
        runner.stats_dirty = true;
    }
    runner.end().await
}

struct Runner<'h, H, F: Future, L> {
    core: Core,
    handler: &'h H,
    /// Makes a handler's call out of a task.
    launch: L,
    flights: Flights<F>,
    /// What flies, by place.
    airborne: Vec<Option<Airborne>>,
    probe: Option<BoxFuture<'h, bool>>,
    probes: Retries,
    stats_due: Instant,
    stats_dirty: bool,
    stuck_due: Instant,
    stuck: usize,
    stalled_due: Instant,
}

impl<'h, H, F, L> Runner<'h, H, F, L>
where
    H: Handler,
    F: Future<Output = (Task, Answer)>,
    L: Fn(Task) -> F,
{
    /// Everything that can be done without waiting. True: there is more, after a look around.
    fn round(&mut self) -> bool {
        self.core.progress_revocations();
        self.watch_over();
        let more = self.core.draining.is_none() && self.dispatch();
        self.core.commit_if_due();
        self.core.tell_how_many_rejected();
        if self.core.now >= self.stalled_due {
            self.stalled_due = self.core.now + STALLED_LOOK;
            for at in 0..self.core.slots.len() {
                self.core.unstall(at);
            }
        }
        if self.stats_dirty && self.core.now >= self.stats_due {
            self.publish();
        }
        more
    }

    fn on_group(&mut self, event: GroupEvent) {
        self.stats_due = self.core.now;
        self.core.on_group(event);
    }

    fn is_over(&self) -> bool {
        self.core
            .draining
            .is_some_and(|until| self.core.lanes.in_flight() == 0 || self.core.now >= until)
    }

    /// Commits, leaves, reports.
    async fn end(mut self) -> Result<Report, ConsumerError> {
        self.core.now = Instant::now();
        let mut abandoned = Vec::new();
        for (place, since) in self.flights.under_way() {
            if let Some(Some(airborne)) = self.airborne.get(place) {
                abandoned.push(airborne.record(self.core.now - since));
            }
        }
        self.publish();
        let mut report = Report {
            given_up: self.core.given_up,
            abandoned,
            dead_letters: self
                .core
                .slots
                .iter()
                .flatten()
                .map(|slot| slot.dead_letters)
                .sum(),
            uncommitted: Vec::new(),
        };
        let member = !matches!(self.core.fatal, Some(ConsumerError::Group(_)));
        self.core.tell_last(member).await;
        if member {
            report.uncommitted = self.core.commit_last().await;
            for revocation in &mut self.core.revocations {
                if let Some(done) = revocation.done.take() {
                    let _ = done.send(());
                }
            }
            self.core.group.leave("the consumer was shut down").await;
        }
        let mut stats = self.core.snapshot();
        stats.state = ConsumerState::Stopped;
        self.core.stats.publish(stats);
        tracing::info!(group = %self.core.settings.group.group, "the consumer has stopped: {report}");
        match self.core.fatal.take() {
            Some(error) => Err(error),
            None => Ok(report),
        }
    }
}

impl Core {
    fn on_done(&mut self, done: Done) {
        match done {
            Done::Located(located) => self.on_located(located),
            Done::Asked(asked) => {
                if let Some(asked) = asked {
                    self.on_asked(*asked);
                }
            }
            Done::Handed { revocation } => self.commit_revocation(revocation),
            Done::Committed {
                sent,
                results,
                revocation,
            } => self.on_committed(sent, results, revocation),
            Done::Buried { letter, result } => self.on_buried(letter, result),
            Done::Resume { slot, life, looked } => {
                if let Some(found) = self.slot(slot, life) {
                    found.looked = looked;
                    self.start_fetching(slot);
                }
            }
            Done::Skip { slot, life, skip } => self.on_skip(slot, life, &skip),
        }
    }
}
