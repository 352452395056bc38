//! Records that a consumer cannot handle go to `<topic>-dlt`, as they were, with the reason.

use std::sync::Arc;
use std::time::SystemTime;

use chrono::{DateTime, SecondsFormat, Utc};

use super::record::ConsumerRecord;
use crate::cluster::Cluster;
use crate::error::Error;
use crate::producer::{OutgoingRecord, ProduceError, Producer, RecordMetadata};

/// Header: the topic the record was read from.
pub const ORIGINAL_TOPIC: &str = "dlt-original-topic";
/// Header: its partition there, in decimal.
pub const ORIGINAL_PARTITION: &str = "dlt-original-partition";
/// Header: its offset there, in decimal.
pub const ORIGINAL_OFFSET: &str = "dlt-original-offset";
/// Header: the group that could not handle it.
pub const CONSUMER_GROUP: &str = "dlt-consumer-group";
/// Header: why.
pub const REASON: &str = "dlt-reason";
/// Header: how often the handler was given it, in decimal; 0 = it could not even be read.
pub const ATTEMPTS: &str = "dlt-attempts";
/// Header: when, RFC 3339 in UTC.
pub const TIME: &str = "dlt-time";

/// Longest reason that is sent, in bytes: it often quotes the record.
const MAX_REASON: usize = 2000;

/// Where rejected records go.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    /// Sends them. It must write to the cluster that the consumer reads from.
    pub producer: Producer,
    /// Appended to the source topic's name. Default `-dlt`.
    pub suffix: String,
}

impl DeadLetters {
    /// To `<topic>-dlt`, by this producer.
    pub fn new(producer: Producer) -> Self {
        Self {
            producer,
            suffix: "-dlt".to_owned(),
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
    let texts = [
        (ORIGINAL_TOPIC, record.topic.to_string()),
        (ORIGINAL_PARTITION, record.partition.to_string()),
        (ORIGINAL_OFFSET, record.offset.to_string()),
        (CONSUMER_GROUP, group.to_owned()),
        (REASON, shortened(reason).to_owned()),
        (ATTEMPTS, attempts.to_string()),
        (
            TIME,
            DateTime::<Utc>::from(SystemTime::now()).to_rfc3339_opts(SecondsFormat::Millis, true),
        ),
    ];
    let added = texts
        .iter()
        .map(|(name, value)| (name.as_bytes(), Some(value.as_bytes())));
    let headers: Vec<_> = record.headers.iter().chain(added).collect();
    let outgoing = OutgoingRecord {
        topic: &topic,
        partition: (record.partition < count).then_some(record.partition),
        key: record.key.as_deref(),
        value: record.value.as_deref(),
        headers: &headers,
        timestamp: (record.timestamp >= 0).then_some(record.timestamp),
    };
    Ok(letters.producer.send(&outgoing).await?)
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
