//! All that was seen of a run: what was asked and answered, what lies in the topics, what was
//! committed and stored, and which faults were made. Nothing here does I/O.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kafka::TopicPartition;
use proto::FinalStatus;

/// Milliseconds since 1970, of this machine's clock: every process of a run has the same.
pub type Millis = i64;

/// The time of this machine's clock.
pub fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as Millis)
}

/// Everything that was seen of one run.
#[derive(Debug, Clone, Default)]
pub struct History {
    pub requests: Vec<Request>,
    /// Of both topics of orders.
    pub orders: Vec<Record<Placed>>,
    /// Of the status topic.
    pub steps: Vec<Record<Step>>,
    /// Of the topic of notifications.
    pub results: Vec<Record<Outcome>>,
    /// Of the status topic and that of notifications: what holds no event of ours.
    pub strangers: Vec<Record<Stranger>>,
    /// Of the dead-letter topics.
    pub letters: Vec<Record<Letter>>,
    /// What notifier-svc lists in the end.
    pub stored: Vec<Stored>,
    /// Every committed offset that was seen, in the order in which it was seen.
    pub commits: Vec<Commit>,
    /// Where each partition ended.
    pub ends: BTreeMap<TopicPartition, i64>,
    pub faults: Vec<Fault>,
    /// Copies of orders that the run itself put there.
    pub planted: Vec<Place>,
    /// Records without an event of ours that the run itself put there.
    pub poison: Vec<Place>,
    /// How long intake may take to answer, where the run holds it to that.
    pub answers_within: Option<Duration>,
}

/// Where a record lies.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    pub topic: Arc<str>,
    pub partition: i32,
    pub offset: i64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.topic, self.partition, self.offset)
    }
}

/// A request for an order, and what came of it.
#[derive(Debug, Clone)]
pub struct Request {
    pub order: Arc<str>,
    pub sent: Millis,
    /// When the answer came, or when the caller gave up.
    pub answered: Millis,
    pub answer: Answer,
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// 200, with where the order lies.
    Accepted(Place),
    /// Another status.
    Refused(Refusal),
    /// The connection broke, or nothing came in time: the order may have been taken.
    Silent,
    /// There was no connection, or it was closed before anything was sent.
    Unreached,
}

/// What a request is told whose order was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u64>,
    /// The order's id, by which it may be asked for again.
    pub order: Option<Arc<str>>,
}

/// A record in a topic.
#[derive(Debug, Clone)]
pub struct Record<E> {
    pub place: Place,
    /// When its producer made it.
    pub time: Millis,
    pub key: Option<Arc<str>>,
    /// `ce_id`.
    pub id: Option<Arc<str>>,
    pub event: E,
}

/// An order as it was placed.
#[derive(Debug, Clone)]
pub struct Placed {
    pub order: Arc<str>,
}

/// A step of an order; without an end it is the first, CREATED.
#[derive(Debug, Clone)]
pub struct Step {
    pub order: Arc<str>,
    pub end: Option<FinalStatus>,
}

/// What a customer is told.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub order: Arc<str>,
    pub end: FinalStatus,
}

/// A record that holds no event of ours.
#[derive(Debug, Clone)]
pub struct Stranger {
    /// The group that reads its topic, and has to put it aside.
    pub reader: Group,
}

/// A record that could not be handled.
#[derive(Debug, Clone)]
pub struct Letter {
    /// Where the record lies that it is a copy of.
    pub of: Place,
    /// The group that could not.
    pub group: Group,
}

/// A notification that is stored.
#[derive(Debug, Clone)]
pub struct Stored {
    pub order: Arc<str>,
    pub end: FinalStatus,
    pub received: Millis,
}

/// Which of the shop's groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Group {
    /// consumer-svc's, of the orders.
    Processing,
    /// notifier-svc's, of the notifications.
    Notification,
    /// producer-svc's, of the orders and their steps.
    View,
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Processing => "order-processing",
            Self::Notification => "notification-group",
            Self::View => "order-view",
        })
    }
}

/// A committed offset, when it was first seen. It was made before that.
#[derive(Debug, Clone)]
pub struct Commit {
    pub group: Group,
    pub partition: TopicPartition,
    pub offset: i64,
    pub seen: Millis,
}

/// Something that was done to the shop: from its beginning until its effects are over.
#[derive(Debug, Clone)]
pub struct Fault {
    pub what: String,
    pub from: Millis,
    pub to: Millis,
}
