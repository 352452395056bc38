//! Why a record was not delivered.

use std::{sync::Arc, time::Duration};

use crate::error::{CodeName, Error, LookAt, Millis, ResponseError};

/// Why a record was not delivered. Cheap to clone: the records of a batch share their fate.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ProduceError {
    /// Refused at once, not sent: the records under way use up the memory they may.
    #[error(
        "a record for {topic} does not fit: the {limit} bytes of buffer_memory are used up by records not \
         acknowledged yet; try again later, or raise buffer_memory if the brokers are not slow"
    )]
    BufferFull {
        /// The record's topic.
        topic: Arc<str>,
        /// `buffer_memory` in bytes.
        limit: usize,
    },

    /// Refused at once, not sent: larger than this producer sends.
    #[error(
        "a record of {size} bytes for {topic} is larger than max_request_size ({limit} bytes); raise it \
         together with the topic's max.message.bytes"
    )]
    RecordTooLarge {
        /// The record's topic.
        topic: Arc<str>,
        /// The record's size in a batch, in bytes.
        size: usize,
        /// `max_request_size` in bytes, or `buffer_memory` if that is smaller.
        limit: usize,
    },

    /// Refused by the broker: larger than the topic takes. Not written.
    #[error(
        "a record of {size} bytes is larger than {topic}-{partition} takes (its max.message.bytes, or the \
         broker's message.max.bytes, about 1 MB by default)"
    )]
    TooLargeForTopic {
        /// The topic.
        topic: Arc<str>,
        /// The partition.
        partition: i32,
        /// The size of a batch with this record alone, in bytes.
        size: usize,
    },

    /// Refused at once, not sent: the topic does not have this partition.
    #[error("a record names {topic}-{partition}, but the topic has {count} partitions (from 0)")]
    UnknownPartition {
        /// The topic.
        topic: Arc<str>,
        /// The partition named.
        partition: i32,
        /// How many the topic has.
        count: i32,
    },

    /// Placed in a partition that is gone: the topic was deleted, and created again with fewer. It is not in
    /// the topic of now; sent again it is placed anew, behind what was sent meanwhile.
    #[error(
        "a record was on its way to {topic}-{partition}, but the topic was created anew with {count} partitions; \
         send it again"
    )]
    PartitionGone {
        /// The topic.
        topic: Arc<str>,
        /// The partition it was placed in.
        partition: i32,
        /// How many the topic has now.
        count: i32,
    },

    /// Not acknowledged within `delivery_timeout`.
    #[error(
        "a record for {} was not acknowledged within {} (delivery_timeout){}{}",
        Place(topic, *partition),
        Millis(*elapsed),
        if *may_be_written { "; it may have been written all the same" } else { "; it was not written" },
        Cause(cause)
    )]
    Timeout {
        /// The topic.
        topic: Arc<str>,
        /// The partition; `None` if the topic's partitions never became known.
        partition: Option<i32>,
        /// Since the record (or the first of its batch) was enqueued.
        elapsed: Duration,
        /// Whether it was sent at least once without a definite answer.
        may_be_written: bool,
        /// The last failure on the way.
        cause: Option<Arc<Error>>,
    },

    /// Refused by the broker for a reason that trying again does not change.
    #[error(
        "a record for {topic}-{partition} was refused: {}{}{}",
        CodeName(*code), Explained(message), LookAt(Some(*code))
    )]
    Rejected {
        /// The topic.
        topic: Arc<str>,
        /// The partition.
        partition: i32,
        /// Why.
        code: ResponseError,
        /// The broker's explanation, where it gives one.
        message: Option<Arc<str>>,
        /// Whether an earlier attempt may have been written.
        may_be_written: bool,
    },

    /// The broker takes no producer that is idempotent, or not this one.
    #[error(
        "no producer id for a record of {topic}: {cause}; see the rights of this client, or turn idempotence off"
    )]
    NoProducerId {
        /// The topic.
        topic: Arc<str>,
        /// What the broker said.
        cause: Arc<Error>,
    },

    /// The producer was closed before the record was acknowledged, or before it was enqueued.
    #[error("a record for {topic}: the producer is closed")]
    Closed {
        /// The topic.
        topic: Arc<str>,
    },

    /// `close` ran out of time.
    #[error("the producer was closed after {} with {records} records not acknowledged; they have failed", Millis(*elapsed))]
    CloseTimeout {
        /// How many records failed.
        records: u64,
        /// How long `close` waited.
        elapsed: Duration,
    },
}

impl ProduceError {
    /// Whether sending the same record again later can succeed. After [`ProduceError::Timeout`] with
    /// `may_be_written` it can also duplicate the record.
    pub fn is_retriable(&self) -> bool {
        matches!(
            self,
            Self::BufferFull { .. } | Self::Timeout { .. } | Self::PartitionGone { .. }
        )
    }

    /// Whether the broker or this producer objects to the record itself: another one may be taken. Otherwise
    /// the broker, the topic or this client's rights have to change first.
    ///
    /// For whoever makes the record, with the present as its time and of an ordinary size, such a refusal is
    /// a matter of clocks and of the topic's settings all the same: see [`ProduceError::refused_size`] and
    /// [`ProduceError::is_refused_time`].
    pub fn blames_record(&self) -> bool {
        match self {
            Self::RecordTooLarge { .. }
            | Self::TooLargeForTopic { .. }
            | Self::UnknownPartition { .. } => true,
            Self::Rejected { code, .. } => matches!(
                code,
                ResponseError::InvalidRecord
                    | ResponseError::CorruptMessage
                    | ResponseError::InvalidTimestamp
            ),
            _ => false,
        }
    }

    /// The size in bytes of a record that was refused for being too large.
    pub fn refused_size(&self) -> Option<usize> {
        match self {
            Self::RecordTooLarge { size, .. } | Self::TooLargeForTopic { size, .. } => Some(*size),
            _ => None,
        }
    }

    /// Whether the broker refuses the record for its time: too far ahead of the broker's clock
    /// (`message.timestamp.after.max.ms`, 1 h by default from Kafka 4 on), or too far behind it
    /// (`message.timestamp.before.max.ms`).
    pub fn is_refused_time(&self) -> bool {
        let time = ResponseError::InvalidTimestamp;
        matches!(self, Self::Rejected { code, .. } if *code == time)
    }

    /// Whether the record may be in the log in spite of the error.
    pub fn may_be_written(&self) -> bool {
        match self {
            Self::Timeout { may_be_written, .. } | Self::Rejected { may_be_written, .. } => {
                *may_be_written
            }
            // What was in flight is given up without an answer.
            Self::Closed { .. } | Self::CloseTimeout { .. } => true,
            Self::BufferFull { .. }
            | Self::RecordTooLarge { .. }
            | Self::TooLargeForTopic { .. }
            | Self::UnknownPartition { .. }
            | Self::PartitionGone { .. }
            | Self::NoProducerId { .. } => false,
        }
    }
}

struct Place<'a>(&'a str, Option<i32>);

impl std::fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.1 {
            Some(partition) => write!(f, "{}-{partition}", self.0),
            None => write!(
                f,
                "{} (whose partitions are not known; does the topic exist?)",
                self.0
            ),
        }
    }
}

struct Cause<'a>(&'a Option<Arc<Error>>);

impl std::fmt::Display for Cause<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.as_ref().map_or(Ok(()), |cause| {
            let look_at = LookAt(cause.code());
            write!(f, "; the last failure: {cause}{look_at}")
        })
    }
}

struct Explained<'a>(&'a Option<Arc<str>>);

impl std::fmt::Display for Explained<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.as_ref().map_or(Ok(()), |text| write!(f, ": {text}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_what_to_look_at() {
        let refused = |code| ProduceError::Rejected {
            topic: "t".into(),
            partition: 0,
            code,
            message: Some("Timestamp 7 is out of range.".into()),
            may_be_written: false,
        };
        let error = refused(ResponseError::InvalidTimestamp);
        let text = error.to_string();
        for part in [
            "t-0",
            "INVALID_TIMESTAMP (32): Timestamp 7 is out of range.",
            "look at message.timestamp.after.max.ms and message.timestamp.before.max.ms",
        ] {
            assert!(text.contains(part), "{text}");
        }
        assert!(error.is_refused_time());
        assert_eq!(error.refused_size(), None);
        let error = refused(ResponseError::TopicAuthorizationFailed);
        assert!(
            error
                .to_string()
                .ends_with("look at the rights (ACLs) of this client")
        );
        assert!(!error.is_refused_time());
        let api = kafka_protocol::messages::ApiKey::Produce;
        let cause = Error::response(api, ResponseError::NotEnoughReplicas, "t-0");
        let late = ProduceError::Timeout {
            topic: "t".into(),
            partition: Some(0),
            elapsed: Duration::from_secs(1),
            may_be_written: false,
            cause: Some(Arc::new(cause)),
        };
        assert!(
            late.to_string().contains("look at min.insync.replicas"),
            "{late}"
        );
        let large = ProduceError::TooLargeForTopic {
            topic: "t".into(),
            partition: 0,
            size: 5000,
        };
        assert_eq!(large.refused_size(), Some(5000));
        assert!(large.to_string().contains("max.message.bytes"));
    }
}
