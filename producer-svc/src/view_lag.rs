//! How far the order view is behind what the topics hold: measured, shown, and, with `INTAKE_MAX_VIEW_LAG`, bounded.
//!
//! Four times a second Kafka is asked where the view's topics end. How far the view is, the consumer of this instance
//! knows of its own partitions, and the group's commits tell of the others, about a second late. [`progress`] makes a
//! lag of both. Nothing is done for each record or order, but for one look at a number that says whether orders are
//! taken.

mod progress;
mod shown;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use futures::future::join_all;
use kafka::{Admin, AutoOffsetReset, Client, ConsumerStatsHandle, OffsetAt, TopicPartition};
use parking_lot::Mutex;
use proto::{Rfc3339, now_millis};
use service::CancellationToken;
use service::health::{Health, HealthPart};
use service::http::Problem;
use service::kafka_glue::explained;
use service::metrics::{Counter, Metrics};
use tokio::time::MissedTickBehavior;

use self::progress::{Moment, Partitions};
use self::shown::{Age, Shown};
use crate::Config;
use crate::acceptance::Log;

/// Between two looks. The consumer's statistics are as old at most.
const INTERVAL: Duration = Duration::from_millis(250);

/// How often it is asked which partitions there are.
const TOPICS_INTERVAL: Duration = Duration::from_secs(1);

/// From which lag on `/readyz` says so: longer than the restart of an instance, with its rebalance (Kafka's
/// `group.initial.rebalance.delay.ms` is 3 s).
const BEHIND: Duration = Duration::from_secs(10);

/// How long the lag may be unknown before `/readyz` says so.
const UNKNOWN: Duration = Duration::from_secs(30);

/// How long the record may take to read that says since when the view is behind.
const SINCE_TIMEOUT: Duration = Duration::from_secs(2);

/// The longest that a client is told to wait.
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// The lag of the order view. Clones share it.
#[derive(Clone)]
pub(crate) struct ViewLag(Arc<Inner>);

struct Inner {
    admin: Admin,
    group: String,
    topics: Vec<Arc<str>>,
    reset: AutoOffsetReset,
    /// `INTAKE_MAX_VIEW_LAG`; `None`: orders are taken whatever the lag.
    limit: Option<Duration>,
    /// Of the consumer that stores the view, where this instance has one.
    own: OnceLock<ConsumerStatsHandle>,
    began: Instant,
    state: Mutex<State>,
    /// The lag in milliseconds while it is beyond the limit, or 0.
    beyond: AtomicU64,
    shed: Counter,
    shed_log: Mutex<Log>,
}

#[derive(Default)]
struct State {
    partitions: Partitions,
    /// When all was known last, and what kept Kafka from telling since.
    known: Option<Instant>,
    problem: Option<String>,
}

/// The lag at one moment, and a time: the view has all that was in the topics then. Either may be unknown.
#[derive(Clone, Copy)]
pub(crate) struct SeenLag(Option<(Duration, Option<Rfc3339>)>);

impl SeenLag {
    /// `problem` with `viewLagSeconds` and `viewAsOf`.
    pub(crate) fn shown_in(self, problem: Problem) -> Problem {
        let Some((lag, as_of)) = self.0 else {
            return problem;
        };
        let problem = problem.with("viewLagSeconds", lag.as_secs_f64());
        match as_of {
            None => problem,
            Some(as_of) => problem.with("viewAsOf", as_of.as_str()),
        }
    }
}

/// Where the lag is reported.
struct Parts {
    view: HealthPart,
    intake: HealthPart,
}

impl ViewLag {
    /// Registers the metrics; nothing is asked before [`ViewLag::watch`].
    pub(crate) fn new(config: &Config, client: &Client, metrics: &Metrics) -> Self {
        let limit = config.intake_max_view_lag;
        let topics = [
            &config.order_topic,
            &config.orders_topic,
            &config.order_status_topic,
        ];
        let lag = Self(Arc::new(Inner {
            admin: client
                .admin()
                .with_timeout(config.common.http.request_timeout),
            group: config.common.kafka.group_id.clone(),
            topics: topics.map(|topic| Arc::from(topic.as_str())).to_vec(),
            reset: config.common.kafka.auto_offset_reset,
            limit: (!limit.is_zero()).then_some(limit),
            own: OnceLock::new(),
            began: Instant::now(),
            state: Mutex::default(),
            beyond: AtomicU64::new(0),
            shed: Counter::default(),
            shed_log: Mutex::default(),
        }));
        metrics.register_collector(Shown(lag.clone()));
        metrics.register(
            "orders_shed",
            "Orders refused because the order view is further behind than INTAKE_MAX_VIEW_LAG",
            lag.0.shed.clone(),
        );
        lag
    }

    /// The view's consumer in this instance, which knows of its partitions what the group's commits say a second later.
    pub(crate) fn is_stored_by(&self, consumer: ConsumerStatsHandle) {
        // There is one a service.
        let _ = self.0.own.set(consumer);
    }

    /// Measures until `stop`.
    pub(crate) async fn watch(self, health: Health, stop: CancellationToken) {
        let parts = Parts {
            view: health.optional("order view, up to date"),
            intake: health.optional("order intake"),
        };
        // Nothing is wrong before it is known.
        parts.view.up();
        parts.intake.up();
        tokio::select! {
            () = self.ask() => {}
            () = self.settle_regularly(&parts) => {}
            () = stop.cancelled() => {}
        }
    }

    /// What an order is answered while the view is too far behind; `None`: it is taken.
    #[inline]
    pub(crate) fn refusal(&self) -> Option<Problem> {
        match self.0.beyond.load(Relaxed) {
            0 => None,
            millis => Some(self.0.refuse(Duration::from_millis(millis))),
        }
    }

    /// Whether the view is further behind than `patience`, as far as is known.
    pub(crate) fn is_behind(&self, patience: Duration) -> bool {
        let state = self.0.state.lock();
        state.partitions.longest(self.0.now()) > patience
    }

    /// Whether the view has passed this place: what it has not got from there it will not get.
    pub(crate) fn has_passed(&self, partition: &TopicPartition, offset: i64) -> bool {
        let state = self.0.state.lock();
        let progress = state.partitions.get(partition);
        progress.is_some_and(|progress| progress.has_passed(offset))
    }

    /// The lag at this moment. Whoever says as of when the view is complete looks here before he looks into the view.
    pub(crate) fn seen(&self) -> SeenLag {
        let now = self.0.now();
        let lag = self.0.state.lock().partitions.lag(now);
        SeenLag(lag.map(|lag| (lag.time, lag.as_of.map(|as_of| self.0.time(as_of)))))
    }

    /// Asks Kafka where the topics end, and how far the group is.
    async fn ask(&self) {
        let mut interval = tokio::time::interval(INTERVAL);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut partitions = Vec::new();
        let mut described: Option<Instant> = None;
        loop {
            interval.tick().await;
            let asked = async {
                if described.is_none_or(|at| at.elapsed() >= TOPICS_INTERVAL) {
                    partitions = self.0.partitions().await?;
                    self.0.state.lock().partitions.are(&partitions);
                    described = Some(Instant::now());
                }
                self.0.look(&partitions).await
            };
            match asked.await {
                Ok(()) => {
                    let mut state = self.0.state.lock();
                    state.known = Some(Instant::now());
                    state.problem = None;
                }
                Err(error) => {
                    tracing::debug!("how far the order view is behind is not known: {error}");
                    self.0.state.lock().problem = Some(explained(&error));
                    // A topic may be gone.
                    described = None;
                }
            }
        }
    }

    /// Apart from [`ViewLag::ask`], which may wait for Kafka.
    async fn settle_regularly(&self, parts: &Parts) {
        let mut interval = tokio::time::interval(INTERVAL);
        let mut was_behind = false;
        loop {
            interval.tick().await;
            self.0.settle();
            let lag = self.0.report(parts);
            let is_behind = lag >= BEHIND;
            match (was_behind, is_behind) {
                (false, true) => tracing::warn!("the order view is {} behind", Age(lag)),
                (true, false) => {
                    tracing::info!("the order view has caught up: {} behind", Age(lag))
                }
                _ => {}
            }
            was_behind = is_behind;
        }
    }
}

/// The lag in milliseconds where it is beyond `limit`; 0: orders are taken. `looked`: how long ago Kafka
/// last said how far everybody is. What is older than the limit is not known any more, and would grow by itself.
fn beyond(lag: Duration, limit: Option<Duration>, looked: Option<Duration>) -> u64 {
    match (limit, looked) {
        (Some(limit), Some(looked)) if lag > limit && looked <= limit => {
            u64::try_from(lag.as_millis()).unwrap_or(u64::MAX).max(1)
        }
        _ => 0,
    }
}

impl Inner {
    fn now(&self) -> Moment {
        Moment(i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX))
    }

    /// By the machine's clock as it is now.
    fn time(&self, moment: Moment) -> Rfc3339 {
        let ago = self.now().0.saturating_sub(moment.0);
        Rfc3339::from_millis(now_millis().saturating_sub(ago))
    }

    /// The partitions of the view's topics; a topic that does not exist has none.
    async fn partitions(&self) -> Result<Vec<TopicPartition>, kafka::Error> {
        let names: Vec<&str> = self.topics.iter().map(|topic| &**topic).collect();
        let described = self.admin.describe_topics(&names).await?;
        let of = |topic: &kafka::TopicDescription| {
            let name = topic.name.clone();
            let partitions = topic.partitions.iter().map(|known| known.partition);
            let partitions =
                partitions.map(move |number| TopicPartition::new(name.clone(), number));
            partitions.collect::<Vec<_>>()
        };
        Ok(described.iter().flat_map(of).collect())
    }

    async fn look(&self, partitions: &[TopicPartition]) -> Result<(), kafka::Error> {
        // What is acknowledged before the question lies before the end that is the answer.
        let at = self.now();
        let ends = self.admin.offsets(partitions, OffsetAt::Latest).await?;
        let own = self.own();
        let committed = match partitions.iter().all(|known| own.contains_key(known)) {
            true => BTreeMap::new(),
            false => self.admin.committed_offsets(&self.group).await?,
        };
        let unknown = {
            let mut state = self.state.lock();
            for (partition, end) in ends {
                let Some(progress) = state.partitions.get_mut(&partition) else {
                    continue;
                };
                progress.ends(end, at);
                let committed = committed.get(&partition).map(|committed| committed.offset);
                let stored = own.get(&partition).copied().or(committed);
                progress.stored(stored.unwrap_or(match self.reset {
                    AutoOffsetReset::Earliest => 0,
                    // It will begin behind what is there.
                    _ => end,
                }));
            }
            state.partitions.unknown_since()
        };
        let since = unknown.into_iter().map(|(partition, offset)| async move {
            let since = self.written_at(&partition, offset).await;
            (partition, since)
        });
        for (partition, since) in join_all(since).await {
            if let Some(progress) = self.state.lock().partitions.get_mut(&partition) {
                progress.since(since);
            }
        }
        Ok(())
    }

    /// When the record at an offset was written, as its timestamp says; `None` where that cannot be read.
    async fn written_at(&self, of: &TopicPartition, offset: i64) -> Option<Moment> {
        let admin = self.admin.clone().with_timeout(SINCE_TIMEOUT);
        let read = admin.read_record(&of.topic, of.partition, offset).await;
        let timestamp = read.ok()??.timestamp;
        let ago = now_millis().saturating_sub(timestamp);
        (timestamp >= 0).then(|| Moment(self.now().0.saturating_sub(ago)))
    }

    /// How far the consumer of this instance is in its partitions.
    fn own(&self) -> HashMap<TopicPartition, i64> {
        let Some(own) = self.own.get() else {
            return HashMap::new();
        };
        let stats = own.snapshot();
        let partitions = stats.partitions.iter();
        partitions
            .filter_map(|known| {
                let stored = known.oldest_unfinished.or(known.position)?;
                Some((known.partition.clone(), stored))
            })
            .collect()
    }

    /// Takes in how far this instance's consumer is, and decides whether orders are taken.
    fn settle(&self) {
        let own = self.own();
        let mut state = self.state.lock();
        for (partition, stored) in own {
            if let Some(progress) = state.partitions.get_mut(&partition) {
                progress.stored(stored);
            }
        }
        let lag = state.partitions.longest(self.now());
        let looked = state.known.map(|at| at.elapsed());
        drop(state);
        self.beyond.store(beyond(lag, self.limit, looked), Relaxed);
    }

    /// Tells `/readyz`; gives the lag as far as is known.
    fn report(&self, parts: &Parts) -> Duration {
        let now = self.now();
        let state = self.state.lock();
        let lag = state.partitions.longest(now);
        let unknown_for = state.known.unwrap_or(self.began).elapsed();
        let problem = if lag >= BEHIND {
            let all = state.partitions.lag(now);
            let records = all.map_or(String::new(), |all| format!(", {} records", all.records));
            let as_of = all
                .and_then(|all| all.as_of)
                .map_or(String::new(), |as_of| {
                    format!("; it has what was in the topics at {}", self.time(as_of))
                });
            Some(format!(
                "the order view is {} behind{records}{as_of}",
                Age(lag)
            ))
        } else if unknown_for >= UNKNOWN {
            let why = state.problem.as_deref().unwrap_or("Kafka has not answered");
            Some(format!(
                "for {} it has not been known how far the order view is behind: {why}",
                Age(unknown_for)
            ))
        } else {
            None
        };
        drop(state);
        match problem {
            None => parts.view.up(),
            Some(problem) => parts.view.down(problem),
        };
        match self.beyond.load(Relaxed) {
            0 => parts.intake.up(),
            millis => parts.intake.down(format!(
                "orders are answered 503: {}",
                self.too_far(Duration::from_millis(millis))
            )),
        };
        lag
    }

    #[cold]
    fn refuse(&self, lag: Duration) -> Problem {
        self.shed.inc();
        let why = self.too_far(lag);
        match self.shed_log.lock().line(Instant::now()) {
            None => {}
            Some(0) => tracing::warn!("order not accepted: {why}"),
            Some(unsaid) => {
                tracing::warn!("order not accepted, nor were {unsaid} before it: {why}");
            }
        }
        let over = lag.saturating_sub(self.limit.unwrap_or_default());
        let detail = format!("{why}; send the order again with the same id");
        Problem::unavailable(detail, over.min(LONGEST_RETRY))
            .with("viewLagSeconds", lag.as_secs_f64())
    }

    fn too_far(&self, lag: Duration) -> String {
        format!(
            "the order view is {} behind, and INTAKE_MAX_VIEW_LAG allows {}",
            Age(lag),
            Age(self.limit.unwrap_or_default())
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_refused_by_a_lag_that_is_known_alone() {
        let second = Duration::from_secs(1);
        let beyond = |lag, limit: Option<u32>, looked: Option<u32>| {
            beyond(
                second * lag,
                limit.map(|s| second * s),
                looked.map(|s| second * s),
            )
        };
        assert_eq!(beyond(6, Some(5), Some(0)), 6_000);
        assert_eq!(beyond(5, Some(5), Some(0)), 0);
        assert_eq!(beyond(600, None, Some(0)), 0, "no limit");
        assert_eq!(beyond(600, Some(5), None), 0, "never known");
        assert_eq!(beyond(600, Some(5), Some(6)), 0, "not known any more");
    }
}
