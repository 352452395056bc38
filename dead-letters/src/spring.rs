//! Dead letters that Spring for Apache Kafka wrote (`DeadLetterPublishingRecoverer`), so that both systems' letters are
//! listed and replayed alike while parts of one stand in for parts of the other.
//!
//! Names and forms of the headers: Spring's `KafkaHeaders.DLT_…` and `DeadLetterPublishingRecoverer`. Partition is an
//! `int`, offset and timestamp are `long`s, all big-endian bytes as Java's `ByteBuffer` writes them; the others are text.

use kafka::Headers;
use proto::dead_letter::Place;

const ORIGINAL_TOPIC: &str = "kafka_dlt-original-topic";
const ORIGINAL_PARTITION: &str = "kafka_dlt-original-partition";
const ORIGINAL_OFFSET: &str = "kafka_dlt-original-offset";
const ORIGINAL_TIMESTAMP: &str = "kafka_dlt-original-timestamp";
/// Since Spring for Apache Kafka 2.8.
const ORIGINAL_CONSUMER_GROUP: &str = "kafka_dlt-original-consumer-group";
const EXCEPTION: &str = "kafka_dlt-exception-fqcn";
/// The exception that the listener threw; the one above is Spring's around it.
const EXCEPTION_CAUSE: &str = "kafka_dlt-exception-cause-fqcn";
const EXCEPTION_MESSAGE: &str = "kafka_dlt-exception-message";

/// What all headers of such a letter begin with, `kafka_dlt-key-exception-…` among them.
const PREFIX: &[u8] = b"kafka_dlt-";
/// What `ErrorHandlingDeserializer` leaves for the recoverer: a serialised Java object.
const DESERIALIZER: &[u8] = b"springDeserializerException";

/// What a letter of Spring's says about itself.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SpringLetter {
    pub(crate) source: Place,
    /// Empty where it does not say.
    pub(crate) group: String,
    pub(crate) reason: String,
    /// Of the record, in milliseconds since 1970; -1 where the letter does not say.
    pub(crate) original_timestamp: i64,
}

impl SpringLetter {
    /// None if the headers are not those of one.
    pub(crate) fn read(headers: &Headers) -> Option<Self> {
        let text = |name| {
            let value = headers.get(name)?;
            Some(String::from_utf8_lossy(value).into_owned())
        };
        let partition = headers.get(ORIGINAL_PARTITION)?.try_into().ok()?;
        let offset = headers.get(ORIGINAL_OFFSET)?.try_into().ok()?;
        let source = Place {
            topic: text(ORIGINAL_TOPIC).filter(|topic| !topic.is_empty())?,
            partition: i32::from_be_bytes(partition),
            offset: i64::from_be_bytes(offset),
        };
        if source.partition < 0 || source.offset < 0 {
            return None;
        }
        let timestamp = headers
            .get(ORIGINAL_TIMESTAMP)
            .and_then(|bytes| bytes.try_into().ok());
        let exception = text(EXCEPTION_CAUSE).or_else(|| text(EXCEPTION));
        let reason = match (exception, text(EXCEPTION_MESSAGE)) {
            (Some(exception), Some(message)) => format!("{exception}: {message}"),
            (Some(said), None) | (None, Some(said)) => said,
            (None, None) => "the letter does not say why".to_owned(),
        };
        Some(Self {
            source,
            group: text(ORIGINAL_CONSUMER_GROUP).unwrap_or_default(),
            reason,
            original_timestamp: timestamp.map_or(-1, i64::from_be_bytes),
        })
    }
}

/// Whether a header is of the letter and not of the record.
pub(crate) fn is_of_letter(name: &[u8]) -> bool {
    name.starts_with(PREFIX) || name.starts_with(DESERIALIZER)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(partition: &[u8], offset: &[u8]) -> Headers {
        Headers::from_pairs([
            (ORIGINAL_TOPIC.as_bytes(), Some(&b"orders"[..])),
            (ORIGINAL_PARTITION.as_bytes(), Some(partition)),
            (ORIGINAL_OFFSET.as_bytes(), Some(offset)),
            (
                EXCEPTION.as_bytes(),
                Some(b"o.s.ListenerExecutionFailedException"),
            ),
            (
                EXCEPTION_CAUSE.as_bytes(),
                Some(b"java.lang.IllegalStateException"),
            ),
            (EXCEPTION_MESSAGE.as_bytes(), Some(b"no stock")),
        ])
    }

    #[test]
    fn place_and_reason_are_read_from_javas_bytes() {
        let read = SpringLetter::read(&headers(&2_i32.to_be_bytes(), &17_i64.to_be_bytes()));
        let read = read.unwrap();
        assert_eq!(read.source.to_string(), "orders/2/17");
        assert_eq!(read.reason, "java.lang.IllegalStateException: no stock");
        assert_eq!(read.group, "");
    }

    #[test]
    fn what_is_not_so_written_is_no_letter() {
        let offset = 17_i64.to_be_bytes();
        for partition in [&b"2"[..], &(-1_i32).to_be_bytes(), &offset] {
            assert_eq!(SpringLetter::read(&headers(partition, &offset)), None);
        }
        let partition = 2_i32.to_be_bytes();
        assert_eq!(SpringLetter::read(&headers(&partition, b"17")), None);
        assert_eq!(SpringLetter::read(&Headers::default()), None);
    }
}
