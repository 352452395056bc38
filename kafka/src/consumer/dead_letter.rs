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
/// number where there is one, otherwise where its key belongs. What makes it larger than the topic
/// takes is left out, and the letter says so: its reason and its place come through in any case.
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
    let mut headers: Vec<_> = record.headers.iter().chain(added).collect();
    let place = OutgoingRecord {
        topic: &topic,
        partition: (record.partition < count).then_some(record.partition),
        timestamp: (record.timestamp >= 0).then_some(record.timestamp),
        ..OutgoingRecord::default()
    };
    let as_it_was = OutgoingRecord {
        key: record.key.as_deref(),
        value: record.value.as_deref(),
        headers: &headers,
        ..place
    };
    let sent = letters.producer.send(&as_it_was).await;
    let Some(error) = too_large(&sent) else {
        return Ok(sent?);
    };
    tracing::warn!(
        group, topic = %record.topic, partition = record.partition, offset = record.offset,
        "its dead letter does not hold the record's value: {error}"
    );
    headers.push((OMITTED.as_bytes(), Some(b"value")));
    let without_value = OutgoingRecord {
        key: record.key.as_deref(),
        headers: &headers,
        ..place
    };
    let sent = letters.producer.send(&without_value).await;
    let Some(error) = too_large(&sent) else {
        return Ok(sent?);
    };
    tracing::warn!(
        group, topic = %record.topic, partition = record.partition, offset = record.offset,
        "its dead letter holds nothing of the record but its place: {error}"
    );
    headers.pop();
    let mut headers = headers.split_off(headers.len() - texts.len());
    headers.push((OMITTED.as_bytes(), Some(b"key, value, headers")));
    let place_alone = OutgoingRecord {
        headers: &headers,
        ..place
    };
    Ok(letters.producer.send(&place_alone).await?)
}

fn too_large<T>(result: &Result<T, ProduceError>) -> Option<&ProduceError> {
    let error = result.as_ref().err()?;
    let size = matches!(
        error,
        ProduceError::RecordTooLarge { .. } | ProduceError::TooLargeForTopic { .. }
    );
    size.then_some(error)
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
