//! A record as a handler sees it.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::records::Headers;
use crate::records::walker::WalkedRecord;
use crate::topic_id::TopicId;

/// A fetched record. Key, value and headers are slices of the answer it came in; a clone shares
/// them. One that is kept keeps the whole answer in memory, unless it is detached.
#[derive(Clone, Debug)]
pub struct ConsumerRecord {
    /// The topic it lies in.
    pub topic: Arc<str>,
    /// The id of that topic: with partition and offset it names this record for ever, whereas the
    /// topic's name may be another topic's tomorrow. `None` from a broker before Kafka 2.8.
    pub topic_id: Option<TopicId>,
    /// The partition it lies in.
    pub partition: i32,
    /// Its place in the partition.
    pub offset: i64,
    /// Milliseconds since 1970: the producer's, or the broker's where the topic has
    /// `message.timestamp.type=LogAppendTime`. -1 = its producer gave none.
    pub timestamp: i64,
    /// The leader epoch it was appended in; -1 = not known.
    pub leader_epoch: i32,
    /// `None` is a null key.
    pub key: Option<Bytes>,
    /// `None` is a null value, a tombstone in compacted topics.
    pub value: Option<Bytes>,
    /// In their order, repeated names and null values kept.
    pub headers: Headers,
    /// How often the handler has been given this record, this time included; 1 = first. Times it
    /// answered *unavailable* do not count.
    pub attempt: u32,
}

impl ConsumerRecord {
    pub(crate) fn new(
        topic: Arc<str>,
        topic_id: Option<TopicId>,
        partition: i32,
        walked: WalkedRecord,
    ) -> Self {
        Self {
            topic,
            topic_id,
            partition,
            offset: walked.offset,
            timestamp: walked.timestamp,
            leader_epoch: walked.leader_epoch,
            key: walked.key,
            value: walked.value,
            headers: walked.headers,
            attempt: 1,
        }
    }

    /// Bytes of key, value and headers.
    pub fn size(&self) -> usize {
        let headers: usize = self
            .headers
            .iter()
            .map(|(name, value)| name.len() + value.map_or(0, <[u8]>::len))
            .sum();
        self.key.as_ref().map_or(0, Bytes::len)
            + self.value.as_ref().map_or(0, Bytes::len)
            + headers
    }

    /// Copies what it refers to, so that it no longer keeps the answer in memory that it came in.
    pub fn detach(&mut self) {
        let key = self.key.as_ref().map_or(0, Bytes::len);
        let mut copy = BytesMut::with_capacity(key + self.value.as_ref().map_or(0, Bytes::len));
        for part in [&self.key, &self.value].into_iter().flatten() {
            copy.extend_from_slice(part);
        }
        let copy = copy.freeze();
        self.key = self.key.is_some().then(|| copy.slice(..key));
        self.value = self.value.is_some().then(|| copy.slice(key..));
        if !self.headers.is_empty() {
            self.headers = Headers::from_pairs(self.headers.iter());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detached_record_is_the_same_but_shares_nothing() {
        let answer = Bytes::from_static(b"keyvalueheader");
        let mut record = ConsumerRecord {
            topic: "t".into(),
            topic_id: None,
            partition: 0,
            offset: 3,
            timestamp: 4,
            leader_epoch: -1,
            key: Some(answer.slice(..3)),
            value: Some(answer.slice(3..8)),
            headers: Headers::from_pairs([(&b"a"[..], None), (b"a", Some(&b"1"[..]))]),
            attempt: 1,
        };
        let before = record.clone();
        record.detach();
        assert_eq!((&record.key, &record.value), (&before.key, &before.value));
        assert_eq!(record.headers, before.headers);
        assert!(
            !answer
                .as_ptr_range()
                .contains(&record.value.as_ref().unwrap().as_ptr())
        );
        assert_eq!(record.size(), 3 + 5 + 3);

        record.key = None;
        record.value = None;
        record.detach();
        assert_eq!((record.key, record.value), (None, None));
    }
}
