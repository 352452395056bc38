//! What members of a group tell each other, through the broker: subscriptions and assignments, in the form of the
//! Java client's `ConsumerProtocol` (its schemas `ConsumerProtocolSubscription` and `ConsumerProtocolAssignment`,
//! versions 0 to 3).
//!
//! A peer of any make writes these, so the reader allocates nothing on the word of a length, takes any newer version
//! as the newest known (as Java does), and ignores what follows.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::topic_partition::TopicPartition;

/// The protocol type of consumer groups.
pub(crate) const PROTOCOL_TYPE: &str = "consumer";

/// The newest version of both schemas, and the one written.
const VERSION: i16 = 3;

/// A member's subscription.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Subscription {
    pub(crate) topics: Vec<Arc<str>>,
    pub(crate) user_data: Option<Bytes>,
    /// What the member holds on to while it joins (from version 1, KIP-429).
    pub(crate) owned: Vec<TopicPartition>,
    /// The generation in which it got them (from version 2, KIP-792).
    pub(crate) generation: Option<i32>,
}

/// What a peer wrote is no subscription or assignment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed at byte {at} of {length}")]
pub(crate) struct Malformed {
    at: usize,
    length: usize,
}

impl Subscription {
    pub(crate) fn encode(&self) -> Bytes {
        let mut buf = BytesMut::new();
        buf.put_i16(VERSION);
        buf.put_i32(self.topics.len() as i32);
        for topic in &self.topics {
            put_string(&mut buf, topic);
        }
        put_bytes(&mut buf, self.user_data.as_deref());
        put_partitions(&mut buf, &self.owned);
        buf.put_i32(self.generation.unwrap_or(-1));
        // No rack: null.
        buf.put_i16(-1);
        buf.freeze()
    }

    pub(crate) fn decode(bytes: &Bytes) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let version = reader.version()?;
        let topics = reader.array(|reader| Ok(Arc::from(reader.string()?)))?;
        let user_data = reader.bytes()?;
        let owned = if version >= 1 {
            reader.partitions()?
        } else {
            Vec::new()
        };
        let generation = if version >= 2 {
            Some(reader.i32()?).filter(|generation| *generation >= 0)
        } else {
            None
        };
        Ok(Self {
            topics,
            user_data,
            owned,
            generation,
        })
    }
}

/// Writes a member's assignment.
pub(crate) fn encode_assignment(partitions: &[TopicPartition]) -> Bytes {
    let mut buf = BytesMut::new();
    buf.put_i16(VERSION);
    put_partitions(&mut buf, partitions);
    put_bytes(&mut buf, None);
    buf.freeze()
}

/// Reads a member's assignment; no bytes at all (a leader that has left the member out) are an empty one.
pub(crate) fn decode_assignment(bytes: &Bytes) -> Result<Vec<TopicPartition>, Malformed> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let mut reader = Reader::new(bytes);
    reader.version()?;
    reader.partitions()
}

fn put_string(buf: &mut BytesMut, text: &str) {
    buf.put_i16(text.len() as i16);
    buf.put_slice(text.as_bytes());
}

fn put_bytes(buf: &mut BytesMut, bytes: Option<&[u8]>) {
    match bytes {
        None => buf.put_i32(-1),
        Some(bytes) => {
            buf.put_i32(bytes.len() as i32);
            buf.put_slice(bytes);
        }
    }
}

/// Grouped by topic, in order.
fn put_partitions(buf: &mut BytesMut, partitions: &[TopicPartition]) {
    let mut sorted: Vec<_> = partitions.iter().collect();
    sorted.sort_unstable();
    let topics: Vec<_> = sorted.chunk_by(|a, b| a.topic == b.topic).collect();
    buf.put_i32(topics.len() as i32);
    for topic in topics {
        put_string(buf, &topic[0].topic);
        buf.put_i32(topic.len() as i32);
        for partition in topic {
            buf.put_i32(partition.partition);
        }
    }
}

struct Reader {
    rest: Bytes,
    length: usize,
}

impl Reader {
    fn new(bytes: &Bytes) -> Self {
        Self {
            rest: bytes.clone(),
            length: bytes.len(),
        }
    }

    fn malformed(&self) -> Malformed {
        Malformed {
            at: self.length - self.rest.len(),
            length: self.length,
        }
    }

    fn version(&mut self) -> Result<i16, Malformed> {
        let version = self.i16()?;
        if version < 0 {
            Err(self.malformed())
        } else {
            Ok(version.min(VERSION))
        }
    }

    fn i16(&mut self) -> Result<i16, Malformed> {
        self.rest.try_get_i16().map_err(|_| self.malformed())
    }

    fn i32(&mut self) -> Result<i32, Malformed> {
        self.rest.try_get_i32().map_err(|_| self.malformed())
    }

    fn take(&mut self, length: usize) -> Result<Bytes, Malformed> {
        if length > self.rest.len() {
            return Err(self.malformed());
        }
        Ok(self.rest.split_to(length))
    }

    fn string(&mut self) -> Result<String, Malformed> {
        let length = usize::try_from(self.i16()?).map_err(|_| self.malformed())?;
        let bytes = self.take(length)?;
        String::from_utf8(bytes.into()).map_err(|_| self.malformed())
    }

    fn bytes(&mut self) -> Result<Option<Bytes>, Malformed> {
        match self.i32()? {
            -1 => Ok(None),
            length => {
                let length = usize::try_from(length).map_err(|_| self.malformed())?;
                self.take(length).map(Some)
            }
        }
    }

    /// Grows with what is read, never with what a length promises.
    fn array<T>(
        &mut self,
        item: impl Fn(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let length = self.i32()?;
        if length < 0 {
            return Err(self.malformed());
        }
        let mut items = Vec::new();
        for _ in 0..length {
            items.push(item(self)?);
        }
        Ok(items)
    }

    fn partition(&mut self) -> Result<i32, Malformed> {
        let partition = self.i32()?;
        if partition < 0 {
            return Err(self.malformed());
        }
        Ok(partition)
    }

    fn partitions(&mut self) -> Result<Vec<TopicPartition>, Malformed> {
        let topics = self.array(|reader| {
            let topic: Arc<str> = Arc::from(reader.string()?);
            Ok((topic, reader.array(Self::partition)?))
        })?;
        Ok(topics
            .into_iter()
            .flat_map(|(topic, partitions)| {
                partitions
                    .into_iter()
                    .map(move |partition| TopicPartition::new(topic.clone(), partition))
            })
            .collect())
    }
}

#[cfg(test)]
mod tests;
