//! Which times of records a topic takes.

/// How far a record's time may be from the broker's, in milliseconds; Kafka's defaults.
pub(super) const BEFORE_MAX_MS: i64 = i64::MAX;
pub(super) const AFTER_MAX_MS: i64 = 60 * 60 * 1000;

/// Which times of records a topic takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Times {
    /// The broker's own; what producers say does not matter.
    pub(crate) append_time: bool,
    /// How far a record's time may lie in the past and in the future, in milliseconds.
    pub(crate) before_max: i64,
    pub(crate) after_max: i64,
}

impl Times {
    /// Whether a record's own time, in milliseconds since the Unix epoch, is taken. Numbers wrap
    /// as they do in Java's `LogValidator`.
    pub(crate) fn take(&self, timestamp: i64, now: i64) -> bool {
        let age = now.wrapping_sub(timestamp);
        age <= self.before_max && age.wrapping_neg() <= self.after_max
    }
}
