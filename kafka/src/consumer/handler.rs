//! What a consumer does with its records, and what it says became of them.

use std::future::{Future, ready};

use super::lanes::Lane;
use super::record::ConsumerRecord;

/// What became of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Handled: its offset may be committed.
    Done,
    /// It will never succeed: to the dead letters at once, with this reason.
    Reject(String),
    /// It may succeed later: its lane waits with exponential back-off, the others go on. After the
    /// attempts of the [`RetryPolicy`](super::RetryPolicy) it goes to the dead letters.
    Retry(String),
    /// What the handler needs is down, whatever the record: the consumer pauses, probes, and
    /// resumes with this record. The attempt does not count.
    Unavailable(String),
}

/// What handles a consumer's records.
///
/// `handle` is polled in place before anything is set up for it, so one that finishes without
/// waiting costs next to nothing. Calls for different lanes overlap, up to `max_in_flight`.
///
/// A record may come again: after a crash, a rebalance or a drain that ran out, whatever was not
/// committed is delivered once more, so handling must bear repetition.
pub trait Handler: Send + Sync + 'static {
    /// Handles one record. A panic is caught and counts as [`Outcome::Retry`].
    ///
    /// The future is dropped half-way only if the consumer's `run` is dropped, or if it outlasts
    /// the drain at shutdown.
    fn handle(&self, record: &ConsumerRecord) -> impl Future<Output = Outcome> + Send;

    /// Where the record queues. Default: behind the records with the same key bytes, of any topic
    /// and partition; a null key is unordered. Must not depend on anything but the record.
    fn lane(&self, record: &ConsumerRecord) -> Lane {
        match &record.key {
            Some(key) => Lane::of(key),
            None => Lane::Unordered,
        }
    }

    /// After [`Outcome::Unavailable`]: whether what was missing is back. Asked with back-off; on
    /// `true` one record goes ahead, and the others follow when it was not *unavailable* again.
    /// Default: `true`, so that the record itself is the probe.
    fn probe(&self) -> impl Future<Output = bool> + Send {
        ready(true)
    }
}
