//! How a consumer is to work.

use std::sync::Arc;
use std::time::Duration;

use super::Consumer;
use super::assignor::Assignor;
use super::dead_letter::DeadLetters;
use super::fetcher::FetchConfig;
use super::group::GroupConfig;
use super::handler::Handler;
use super::listener::{Listener, PartitionListener};
use super::static_member::StaticMember;
use super::stats::ConsumerStatsHandle;
use crate::cluster::Cluster;
use crate::error::ConfigError;
use crate::records::walker::IsolationLevel;

/// Where a partition starts for which the group has no commit, or whose commit lies outside the log.
///
/// A partition that appears while the group already has commits on its topic starts at its first
/// record, whatever the policy: it is new, and nothing of it was seen. So does each partition of a topic
/// that is deleted and created again while the consumer runs, also with [`Latest`](Self::Latest): what was
/// written before the consumer noticed the change would be lost otherwise. With [`None`](Self::None) the
/// consumer ends with an error then, because records of the deleted topic may be unread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AutoOffsetReset {
    /// At the first record that is still there. The default: no record is passed over.
    #[default]
    Earliest,
    /// Behind the last record.
    Latest,
    /// Nowhere: the consumer ends with an error.
    None,
}

impl std::str::FromStr for AutoOffsetReset {
    type Err = ConfigError;

    /// As `KAFKA_AUTO_OFFSET_RESET` spells it.
    fn from_str(name: &str) -> Result<Self, ConfigError> {
        match name.trim() {
            "earliest" => Ok(Self::Earliest),
            "latest" => Ok(Self::Latest),
            "none" => Ok(Self::None),
            other => Err(ConfigError::new(
                "auto_offset_reset",
                format!("{other:?} is unknown; use earliest, latest or none"),
            )),
        }
    }
}

/// How often and how soon a record is tried again after [`Outcome::Retry`](super::Outcome::Retry).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Times the handler gets the record before it goes to the dead letters. Default 10, as
    /// Spring's `DefaultErrorHandler`.
    pub max_attempts: u32,
    /// Wait before the second attempt; doubles with each further one, with 20 % jitter. Default
    /// 100 ms (Java `retry.backoff.ms`).
    pub backoff: Duration,
    /// Longest wait. Default 10 s.
    pub backoff_max: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 10,
            backoff: Duration::from_millis(100),
            backoff_max: Duration::from_secs(10),
        }
    }
}

/// What happens to records that are rejected, unreadable, or out of attempts.
#[derive(Clone, Debug)]
pub(crate) enum Rejected {
    DeadLetters(DeadLetters),
    Discarded,
}

/// Everything that a running consumer goes by.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) group: GroupConfig,
    pub(crate) reset: AutoOffsetReset,
    pub(crate) fetch: FetchConfig,
    pub(crate) max_in_flight: usize,
    pub(crate) max_ahead: u64,
    pub(crate) commit_interval: Duration,
    pub(crate) retry: RetryPolicy,
    pub(crate) rejected: Rejected,
    pub(crate) revocation_drain: Duration,
    pub(crate) shutdown_drain: Duration,
    pub(crate) max_processing_time: Duration,
    pub(crate) listener: Option<Listener>,
}

/// Builds a [`Consumer`]. Durations and sizes have the Java client's defaults unless said otherwise.
#[derive(Clone)]
pub struct ConsumerBuilder {
    cluster: Arc<Cluster>,
    settings: Settings,
    rejected: Option<Rejected>,
    rebalance_timeout: Option<Duration>,
}

impl ConsumerBuilder {
    pub(crate) fn new(cluster: Arc<Cluster>, group: &str) -> Self {
        let settings = Settings {
            group: GroupConfig {
                group: group.into(),
                topics: Vec::new(),
                assignors: vec![Assignor::CooperativeSticky],
                static_member: None,
                session_timeout: Duration::from_secs(45),
                heartbeat_interval: Duration::from_secs(3),
                rebalance_timeout: Duration::from_secs(300),
                refused_pause: None,
            },
            reset: AutoOffsetReset::default(),
            fetch: FetchConfig::default(),
            max_in_flight: 256,
            max_ahead: 100_000,
            commit_interval: Duration::from_secs(1),
            retry: RetryPolicy::default(),
            rejected: Rejected::Discarded,
            revocation_drain: Duration::from_secs(10),
            shutdown_drain: Duration::from_secs(5),
            max_processing_time: Duration::from_secs(300),
            listener: None,
        };
        Self {
            cluster,
            settings,
            rejected: None,
            rebalance_timeout: None,
        }
    }

    /// The topics to read. At least one.
    pub fn topics<T: AsRef<str>>(mut self, topics: impl IntoIterator<Item = T>) -> Self {
        let mut topics: Vec<Arc<str>> = topics
            .into_iter()
            .map(|topic| topic.as_ref().into())
            .collect();
        topics.sort();
        topics.dedup();
        self.settings.group.topics = topics;
        self
    }

    /// Where to start without a commit. Default earliest (Java: latest).
    pub fn auto_offset_reset(mut self, reset: AutoOffsetReset) -> Self {
        self.settings.reset = reset;
        self
    }

    /// Strategies this member offers, preferred first. Default cooperative-sticky alone. Members
    /// of other kinds in the same group must share one, such as range or roundrobin.
    pub fn assignors(mut self, assignors: impl IntoIterator<Item = Assignor>) -> Self {
        self.settings.group.assignors = assignors.into_iter().collect();
        self
    }

    /// Static membership (KIP-345): a process that was killed and is back within the session timeout gets its
    /// partitions back without a rebalance. One that ends in order leaves its group all the same (Java's does not), so
    /// that nobody waits for it. Default none.
    pub fn static_member(mut self, member: Option<StaticMember>) -> Self {
        self.settings.group.static_member = member;
        self
    }

    /// How long the broker waits for a heartbeat before it gives the partitions to others. Default
    /// 45 s (KIP-735).
    pub fn session_timeout(mut self, timeout: Duration) -> Self {
        self.settings.group.session_timeout = timeout;
        self
    }

    /// Time between heartbeats. Default 3 s.
    pub fn heartbeat_interval(mut self, interval: Duration) -> Self {
        self.settings.group.heartbeat_interval = interval;
        self
    }

    /// How long the others wait for this member in a rebalance. Default `max_processing_time`, as
    /// Java's `max.poll.interval.ms` is both.
    pub fn rebalance_timeout(mut self, timeout: Duration) -> Self {
        self.rebalance_timeout = Some(timeout);
        self
    }

    /// Tries to join again so long after the group has refused this member (no strategy in common with the others, a
    /// missing right, an assignment that cannot be read), six times as long where it was taken in first. The reason
    /// is an error in the log and [`ConsumerStats::group_problem`](super::ConsumerStats::group_problem). Default: a
    /// refusal ends the consumer with [`ConsumerError::Group`](super::ConsumerError::Group). Another consumer under
    /// the same static member id always does.
    pub fn retry_refused(mut self, pause: Duration) -> Self {
        self.settings.group.refused_pause = Some(pause);
        self
    }

    /// A handler that has had a record for longer is reported, again and again, as an error with
    /// topic, partition, offset and age. It is not stopped, and the others go on. Default 5 min.
    pub fn max_processing_time(mut self, time: Duration) -> Self {
        self.settings.max_processing_time = time;
        self
    }

    /// Records in the handler's hands at a time. Default 256.
    pub fn max_in_flight(mut self, records: usize) -> Self {
        self.settings.max_in_flight = records;
        self
    }

    /// Offsets that may be handled beyond a partition's commit before the partition pauses: how
    /// far one waiting record lets the others get ahead. Default 100,000 (an eighth of a megabyte
    /// at most in bookkeeping).
    pub fn max_ahead(mut self, offsets: u64) -> Self {
        self.settings.max_ahead = offsets;
        self
    }

    /// Time between commits. Default 1 s (Java `auto.commit.interval.ms`: 5 s): what a crash
    /// makes run twice at most, beside what is in flight.
    pub fn commit_interval(mut self, interval: Duration) -> Self {
        self.settings.commit_interval = interval;
        self
    }

    /// How often and how soon a record is tried again.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.settings.retry = policy;
        self
    }

    /// Sends what cannot be handled to the dead-letter topics. Either this or
    /// [`discard_rejected`](Self::discard_rejected) must be chosen.
    pub fn dead_letters(mut self, letters: DeadLetters) -> Self {
        self.rejected = Some(Rejected::DeadLetters(letters));
        self
    }

    /// What cannot be handled is logged as an error with its place and reason, counted, and passed
    /// over: for consumers that only look on.
    pub fn discard_rejected(mut self) -> Self {
        self.rejected = Some(Rejected::Discarded);
        self
    }

    /// Whether records of open and aborted transactions are seen. Default read committed (Java:
    /// read uncommitted).
    pub fn isolation(mut self, isolation: IsolationLevel) -> Self {
        self.settings.fetch.isolation = isolation;
        self
    }

    /// Most bytes of one answer. Default 50 MiB. A first batch that is larger comes whole (KIP-74).
    pub fn fetch_max_bytes(mut self, bytes: usize) -> Self {
        self.settings.fetch.max_bytes = i32::try_from(bytes).unwrap_or(i32::MAX);
        self
    }

    /// Bytes that may be fetched and not yet handed out. While more than half of them are, no more are
    /// asked for, and then no more than is left; a batch that is larger comes whole, and each further
    /// broker may bring as much. Default 4 MiB. (A record in the handler's hands keeps the
    /// answer it came in in memory; one that waits for its turn or a retry is copied.)
    pub fn prefetch_bytes(mut self, bytes: usize) -> Self {
        self.settings.fetch.buffer_bytes = bytes;
        self
    }

    /// Most bytes of one partition in one answer. Default 1 MiB.
    pub fn partition_fetch_max_bytes(mut self, bytes: usize) -> Self {
        self.settings.fetch.partition_max_bytes = i32::try_from(bytes).unwrap_or(i32::MAX);
        self
    }

    /// How long a broker waits for `fetch_min_bytes`. Default 500 ms.
    pub fn fetch_max_wait(mut self, wait: Duration) -> Self {
        self.settings.fetch.max_wait = wait;
        self
    }

    /// How many bytes a broker waits for. Default 1.
    pub fn fetch_min_bytes(mut self, bytes: usize) -> Self {
        self.settings.fetch.min_bytes = i32::try_from(bytes).unwrap_or(i32::MAX);
        self
    }

    /// How long records of a revoked partition may still be worked on; then their results are
    /// dropped and never committed. Default 10 s; the group's own deadline ends it sooner.
    pub fn revocation_drain(mut self, drain: Duration) -> Self {
        self.settings.revocation_drain = drain;
        self
    }

    /// How long records may still be worked on after the shutdown began. Default 5 s.
    pub fn shutdown_drain(mut self, drain: Duration) -> Self {
        self.settings.shutdown_drain = drain;
        self
    }

    /// Lets the application say where partitions start, and hear of it before they go. Default: the group's commit says
    /// it.
    pub fn listener(mut self, listener: impl PartitionListener) -> Self {
        self.settings.listener = Some(Listener(Arc::new(listener)));
        self
    }

    /// A consumer that gives its records to `handler`. No I/O before [`Consumer::run`].
    ///
    /// # Errors
    /// The first setting that cannot work, by name.
    pub fn build<H: Handler>(mut self, handler: H) -> Result<Consumer<H>, ConfigError> {
        self.settings.group.rebalance_timeout = self
            .rebalance_timeout
            .unwrap_or(self.settings.max_processing_time);
        let group = &self.settings.group;
        let wrong = |setting, problem: &str| Err(ConfigError::new(setting, problem));
        if group.group.is_empty() {
            return wrong("group", "is empty");
        }
        if group.topics.is_empty() {
            return wrong("topics", "name at least one topic");
        }
        if group.assignors.is_empty() {
            return wrong("assignors", "name at least one strategy");
        }
        if group.heartbeat_interval.is_zero()
            || group.heartbeat_interval * 2 > group.session_timeout
        {
            return wrong(
                "heartbeat_interval",
                "must be above zero and at most half of session_timeout",
            );
        }
        let settings = &self.settings;
        if settings.max_in_flight == 0 {
            return wrong("max_in_flight", "must be at least 1");
        }
        if settings.max_ahead == 0 {
            return wrong("max_ahead", "must be at least 1");
        }
        if settings.retry.max_attempts == 0 {
            return wrong("retry.max_attempts", "must be at least 1");
        }
        if settings.commit_interval.is_zero() {
            return wrong("commit_interval", "must be above zero");
        }
        if settings.max_processing_time.is_zero() {
            return wrong("max_processing_time", "must be above zero");
        }
        if settings.fetch.max_bytes < 1 || settings.fetch.partition_max_bytes < 1 {
            return wrong("fetch_max_bytes", "must be at least 1");
        }
        let Some(rejected) = self.rejected else {
            return wrong(
                "dead_letters",
                "say where records go that cannot be handled: dead_letters(DeadLetters::new(producer)), \
                 or discard_rejected() to log and pass over them",
            );
        };
        self.settings.rejected = rejected;
        let stats = ConsumerStatsHandle::new(self.settings.group.group.clone());
        Ok(Consumer::new(self.cluster, self.settings, handler, stats))
    }
}
