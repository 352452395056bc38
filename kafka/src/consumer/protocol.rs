//! What members of a group tell each other, through the broker: subscriptions and assignments, in the form of the
//! Java client's `ConsumerProtocol` (its schemas `ConsumerProtocolSubscription` and `ConsumerProtocolAssignment`,
//! versions 0 to 3).
//!
//! A peer of any make writes these, so the reader allocates nothing on the word of a length, takes any newer version
//! as the newest known (as Java does), and ignores what follows. A subscription that ends early counts for what is
//! there.

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

    /// Reads a member's subscription. Its topics must be whole. What follows them is taken as far as it can be read,
    /// and the rest as absent: some clients write a version and leave out the fields that it added, and a member
    /// that is refused for it would be given nothing.
    pub(crate) fn decode(bytes: &Bytes) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let version = reader.version()?;
        let topics = reader.array(|reader| Ok(Arc::from(reader.string()?)))?;
        let mut subscription = Self {
            topics,
            ..Self::default()
        };
        if let Err(malformed) = subscription.decode_rest(&mut reader, version) {
            tracing::debug!(%malformed, version, "a subscription ends early: the rest is taken as absent");
        }
        Ok(subscription)
    }

    fn decode_rest(&mut self, reader: &mut Reader, version: i16) -> Result<(), Malformed> {
        self.user_data = reader.bytes()?;
        if version >= 1 {
            reader.partitions_into(&mut self.owned)?;
        }
        if version >= 2 {
            self.generation = Some(reader.i32()?).filter(|generation| *generation >= 0);
        }
        Ok(())
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
    total: usize,
}

impl Reader {
    fn new(bytes: &Bytes) -> Self {
        Self {
            rest: bytes.clone(),
            total: bytes.len(),
        }
    }

    fn malformed(&self) -> Malformed {
        Malformed {
            at: self.total - self.rest.len(),
            length: self.total,
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
        let mut items = Vec::new();
        for _ in 0..self.length()? {
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// How many elements an array says it has.
    fn length(&mut self) -> Result<i32, Malformed> {
        let length = self.i32()?;
        if length < 0 {
            return Err(self.malformed());
        }
        Ok(length)
    }

    fn partition(&mut self) -> Result<i32, Malformed> {
        let partition = self.i32()?;
        if partition < 0 {
            return Err(self.malformed());
        }
        Ok(partition)
    }

    fn partitions(&mut self) -> Result<Vec<TopicPartition>, Malformed> {
        let mut partitions = Vec::new();
        self.partitions_into(&mut partitions)?;
        Ok(partitions)
    }

    /// Adds one partition after another, so that those before an error are known.
    fn partitions_into(&mut self, partitions: &mut Vec<TopicPartition>) -> Result<(), Malformed> {
        for _ in 0..self.length()? {
            let topic: Arc<str> = Arc::from(self.string()?);
            for _ in 0..self.length()? {
                partitions.push(TopicPartition::new(topic.clone(), self.partition()?));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
