//! Records that a consumer cannot handle go to `<topic>-dlt`, as they were, with the reason.

use std::sync::Arc;
use std::time::SystemTime;

use chrono::{DateTime, SecondsFormat, Utc};

use super::record::ConsumerRecord;
use crate::cluster::Cluster;
use crate::error::Error;
use crate::producer::{NO_TIMESTAMP, OutgoingRecord, ProduceError, Producer, RecordMetadata};

/// Header: the topic the record was read from.
pub const ORIGINAL_TOPIC: &str = "dlt-original-topic";
/// Header: the id of that topic, as [`TopicId`](crate::TopicId) is written; absent where it is not known.
pub const ORIGINAL_TOPIC_ID: &str = "dlt-original-topic-id";
/// Header: its partition there, in decimal.
pub const ORIGINAL_PARTITION: &str = "dlt-original-partition";
/// Header: its offset there, in decimal.
pub const ORIGINAL_OFFSET: &str = "dlt-original-offset";
/// Header: the record's time in milliseconds since 1970, in decimal; -1 if it had none. The letter's own time
/// is that of its sending. A record that was replayed keeps the time that it had first.
pub const ORIGINAL_TIMESTAMP: &str = "dlt-original-timestamp";
/// Header: the group that could not handle it.
pub const CONSUMER_GROUP: &str = "dlt-consumer-group";
/// Header: why.
pub const REASON: &str = "dlt-reason";
/// Header: how often the handler was given it, in decimal; 0 = it could not even be read.
pub const ATTEMPTS: &str = "dlt-attempts";
/// Header: when, RFC 3339 in UTC.
pub const TIME: &str = "dlt-time";

pub use super::skip::{BEYOND, LAST_OFFSET};

/// Header: what the record has and the letter has not, since it was larger than the dead-letter topic
/// takes: `value`, or `key, value, headers`. The record lies at its original place for as long as its
/// topic keeps it.
pub const OMITTED: &str = "dlt-omitted";

/// Longest reason that is sent, in bytes: it often quotes the record.
const MAX_REASON: usize = 2000;

/// Where rejected records go.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    /// Sends them. It must write to the cluster that the consumer reads from.
    pub producer: Producer,
    /// Appended to the source topic's name. Default [`DeadLetters::SUFFIX`].
    pub suffix: String,
}

impl DeadLetters {
    /// What a topic of dead letters is called: its source's name and this.
    pub const SUFFIX: &'static str = "-dlt";

    /// To `<topic>-dlt`, by this producer.
    pub fn new(producer: Producer) -> Self {
        Self {
            producer,
            suffix: Self::SUFFIX.to_owned(),
        }
    }

    /// The dead-letter topic of `topic`.
    pub fn topic(&self, topic: &str) -> String {
        format!("{topic}{}", self.suffix)
    }
}

/// Why a dead letter was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeadLetterError {
    #[error(transparent)]
    Cluster(#[from] Error),
    #[error("its dead-letter topic {0} does not exist: create it")]
    NoTopic(String),
    #[error(transparent)]
    Produce(#[from] ProduceError),
}

/// Sends one record, once; resolves with the acknowledgement. It lies in the partition of the same
/// number where there is one, otherwise where its key belongs.
///
/// The letter's own time is that of its sending, so that it is kept for the whole retention of its topic,
/// however old its record is; the record's time is in a header. What makes the letter larger than the topic
/// takes is left out, and it says so. If the topic refuses it for its time (the clock of this machine is
/// wrong), it is sent without one. So its reason and its place come through in any case.
pub(crate) async fn send(
    letters: &DeadLetters,
    cluster: &Arc<Cluster>,
    group: &str,
    record: &ConsumerRecord,
    attempts: u32,
    reason: &str,
) -> Result<RecordMetadata, DeadLetterError> {
    let topic = letters.topic(&record.topic);
    let view = cluster.ensure_topics(&[topic.as_str().into()]).await?;
    let Some(count) = view.partition_count(&topic) else {
        cluster.request_refresh();
        return Err(DeadLetterError::NoTopic(topic));
    };
    // A record that was a dead letter before and was replayed says when it was written first.
    let original = record.headers.get_str(ORIGINAL_TIMESTAMP);
    let original = original.and_then(|time| time.parse().ok());
    let mut added = vec![
        (ORIGINAL_TOPIC, record.topic.to_string()),
        (ORIGINAL_PARTITION, record.partition.to_string()),
        (ORIGINAL_OFFSET, record.offset.to_string()),
        (
            ORIGINAL_TIMESTAMP,
            original.unwrap_or(record.timestamp).to_string(),
        ),
        (CONSUMER_GROUP, group.to_owned()),
        (REASON, shortened(reason).to_owned()),
        (ATTEMPTS, attempts.to_string()),
        (
            TIME,
            DateTime::<Utc>::from(SystemTime::now()).to_rfc3339_opts(SecondsFormat::Millis, true),
        ),
    ];
    if let Some(id) = record.topic_id {
        added.push((ORIGINAL_TOPIC_ID, id.to_string()));
    }
    let (mut body, mut time) = (Body::Whole, Time::OfSending);
    loop {
        let mut headers: Vec<_> = match body {
            Body::PlaceAlone => Vec::new(),
            Body::Whole | Body::WithoutValue => record.headers.iter().collect(),
        };
        let texts = added.iter();
        headers.extend(texts.map(|(name, value)| (name.as_bytes(), Some(value.as_bytes()))));
        headers.extend(body.omitted().map(|what| (OMITTED.as_bytes(), Some(what))));
        let letter = OutgoingRecord {
            topic: &topic,
            partition: (record.partition < count).then_some(record.partition),
            key: record.key.as_deref().filter(|_| body != Body::PlaceAlone),
            value: record.value.as_deref().filter(|_| body == Body::Whole),
            headers: &headers,
            timestamp: match time {
                Time::OfSending => None,
                Time::None => Some(NO_TIMESTAMP),
            },
        };
        let error = match letters.producer.send(&letter).await {
            Ok(written) => return Ok(written),
            Err(error) => error,
        };
        let lacks = if error.refused_size().is_some() {
            let Some(smaller) = body.smaller() else {
                return Err(error.into());
            };
            body = smaller;
            smaller.lacks()
        } else if error.is_refused_time() && time == Time::OfSending {
            time = Time::None;
            "has no time of its own"
        } else {
            return Err(error.into());
        };
        tracing::warn!(
            group, topic = %record.topic, partition = record.partition, offset = record.offset,
            "the record's dead letter {lacks}: {error}"
        );
    }
}

/// The time of a letter.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Time {
    OfSending,
    None,
}

/// How much of its record a letter holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Body {
    Whole,
    WithoutValue,
    PlaceAlone,
}

impl Body {
    /// The next one where this one is too large.
    fn smaller(self) -> Option<Self> {
        match self {
            Self::Whole => Some(Self::WithoutValue),
            Self::WithoutValue => Some(Self::PlaceAlone),
            Self::PlaceAlone => None,
        }
    }

    /// The value of [`OMITTED`].
    fn omitted(self) -> Option<&'static [u8]> {
        match self {
            Self::Whole => None,
            Self::WithoutValue => Some(b"value"),
            Self::PlaceAlone => Some(b"key, value, headers"),
        }
    }

    /// The same for people.
    fn lacks(self) -> &'static str {
        match self {
            Self::Whole => "lacks nothing",
            Self::WithoutValue => "does not hold its value",
            Self::PlaceAlone => "holds nothing of it but its place",
        }
    }
}

fn shortened(reason: &str) -> &str {
    &reason[..reason.floor_char_boundary(MAX_REASON)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let reason = "ы".repeat(MAX_REASON);
        assert_eq!(shortened(&reason).len(), MAX_REASON);
        let odd = format!("x{reason}");
        assert_eq!(shortened(&odd).len(), MAX_REASON - 1);
        assert_eq!(shortened("short"), "short");
    }
}
