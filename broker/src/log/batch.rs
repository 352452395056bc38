//! The header of a record batch (message format v2), read in place.
//!
//! Layout: Apache Kafka's `DefaultRecordBatch`. The checksum covers everything from the attributes
//! on, so that a broker may set the base offset and the leader epoch without touching it.

/// Bytes before a batch's records.
pub(crate) const HEADER_LEN: usize = 61;
/// Bytes before the part that the length field counts.
pub(crate) const LENGTH_END: usize = 12;
/// The bytes before what never changes: base offset, length, leader epoch.
const PREFIX_LEN: usize = 16;
pub(crate) const MAGIC_AT: usize = 16;
const CRC_AT: usize = 17;
const CRC_FROM: usize = 21;
const MAX_TIMESTAMP_AT: usize = 35;
/// Attribute of a batch that carries the time of its append.
const APPEND_TIME: i16 = 0b1000;

pub(crate) const NO_PRODUCER: i64 = -1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    pub(crate) base_offset: i64,
    /// Size of the whole batch in bytes, this header included.
    pub(crate) size: usize,
    pub(crate) leader_epoch: i32,
    pub(crate) magic: i8,
    pub(crate) crc: u32,
    pub(crate) attributes: i16,
    pub(crate) last_offset_delta: i32,
    pub(crate) base_timestamp: i64,
    pub(crate) max_timestamp: i64,
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    pub(crate) base_sequence: i32,
    pub(crate) count: i32,
}

impl BatchHeader {
    /// Reads a header; `None` when there are too few bytes or the length cannot be true.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; HEADER_LEN] = bytes.get(..HEADER_LEN)?.try_into().ok()?;
        let length = i32_at(bytes, 8);
        let size = usize::try_from(length).ok()? + LENGTH_END;
        if size < HEADER_LEN {
            return None;
        }
        Some(Self {
            base_offset: i64_at(bytes, 0),
            size,
            leader_epoch: i32_at(bytes, 12),
            magic: bytes[16] as i8,
            crc: i32_at(bytes, 17) as u32,
            attributes: i16_at(bytes, 21),
            last_offset_delta: i32_at(bytes, 23),
            base_timestamp: i64_at(bytes, 27),
            max_timestamp: i64_at(bytes, 35),
            producer_id: i64_at(bytes, 43),
            producer_epoch: i16_at(bytes, 51),
            base_sequence: i32_at(bytes, 53),
            count: i32_at(bytes, 57),
        })
    }

    pub(crate) fn last_offset(&self) -> i64 {
        self.base_offset + i64::from(self.last_offset_delta)
    }

    pub(crate) fn next_offset(&self) -> i64 {
        self.last_offset() + 1
    }

    pub(crate) fn compression(&self) -> i16 {
        self.attributes & 0b111
    }

    pub(crate) fn is_transactional(&self) -> bool {
        self.attributes & 0b1_0000 != 0
    }

    pub(crate) fn is_control(&self) -> bool {
        self.attributes & 0b10_0000 != 0
    }

    /// Whether `max_timestamp` is the time of the append and stands for every record's.
    pub(crate) fn has_append_time(&self) -> bool {
        self.attributes & APPEND_TIME != 0
    }

    /// The batch with the time `now` of its append in place of its records' times.
    pub(crate) fn with_append_time(self, now: i64) -> Self {
        Self {
            attributes: self.attributes | APPEND_TIME,
            max_timestamp: now,
            ..self
        }
    }

    /// The batch with its records' own times, `newest` the greatest of them.
    pub(crate) fn with_create_time(self, newest: i64) -> Self {
        Self {
            attributes: self.attributes & !APPEND_TIME,
            max_timestamp: newest,
            ..self
        }
    }

    /// Sequence of the last record; sequences wrap from `i32::MAX` to 0.
    pub(crate) fn last_sequence(&self) -> i32 {
        add_sequence(self.base_sequence, self.last_offset_delta)
    }
}

/// Java's `DefaultRecordBatch.incrementSequence`.
pub(crate) fn add_sequence(sequence: i32, increment: i32) -> i32 {
    if sequence > i32::MAX - increment {
        increment - (i32::MAX - sequence) - 1
    } else {
        sequence + increment
    }
}

/// Whether a whole batch carries the checksum of its bytes.
pub(crate) fn checksum_holds(batch: &[u8], header: &BatchHeader) -> bool {
    crc32c::crc32c(&batch[CRC_FROM..]) == header.crc
}

/// Writes the checksum of a whole batch's bytes into it, which no mutation would get right.
#[cfg(any(test, fuzzing))]
pub(crate) fn put_checksum_right(batch: &mut [u8]) {
    if batch.len() >= HEADER_LEN {
        let crc = crc32c::crc32c(&batch[CRC_FROM..]);
        batch[CRC_AT..CRC_FROM].copy_from_slice(&crc.to_be_bytes());
    }
}

/// The header under which a whole batch is stored: `header` says its place in the log and its
/// times. The checksum is computed again only where it covers a change.
pub(crate) fn stored_header(batch: &[u8], header: &BatchHeader) -> [u8; HEADER_LEN] {
    let mut stored = [0; HEADER_LEN];
    stored.copy_from_slice(&batch[..HEADER_LEN]);
    stored[..PREFIX_LEN].copy_from_slice(&prefix(
        header.base_offset,
        header.size,
        header.leader_epoch,
    ));
    stored[CRC_FROM..CRC_FROM + 2].copy_from_slice(&header.attributes.to_be_bytes());
    stored[MAX_TIMESTAMP_AT..MAX_TIMESTAMP_AT + 8]
        .copy_from_slice(&header.max_timestamp.to_be_bytes());
    if stored[CRC_FROM..] != batch[CRC_FROM..HEADER_LEN] {
        let crc = crc32c::crc32c(&stored[CRC_FROM..]);
        let crc = crc32c::crc32c_append(crc, &batch[HEADER_LEN..]);
        stored[CRC_AT..CRC_FROM].copy_from_slice(&crc.to_be_bytes());
    }
    stored
}

fn prefix(base_offset: i64, size: usize, leader_epoch: i32) -> [u8; PREFIX_LEN] {
    let mut prefix = [0; PREFIX_LEN];
    prefix[..8].copy_from_slice(&base_offset.to_be_bytes());
    prefix[8..12].copy_from_slice(&((size - LENGTH_END) as i32).to_be_bytes());
    prefix[12..].copy_from_slice(&leader_epoch.to_be_bytes());
    prefix
}

fn i16_at(bytes: &[u8; HEADER_LEN], at: usize) -> i16 {
    i16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn i32_at(bytes: &[u8; HEADER_LEN], at: usize) -> i32 {
    i32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn i64_at(bytes: &[u8; HEADER_LEN], at: usize) -> i64 {
    let mut eight = [0; 8];
    eight.copy_from_slice(&bytes[at..at + 8]);
    i64::from_be_bytes(eight)
}

#[cfg(test)]
pub(crate) mod testing {
    //! Batches for tests, built by hand so that each field can be wrong.

    use super::*;

    #[derive(Clone, Copy)]
    pub(crate) struct Build {
        pub(crate) count: i32,
        pub(crate) producer_id: i64,
        pub(crate) producer_epoch: i16,
        pub(crate) base_sequence: i32,
        pub(crate) timestamp: i64,
        pub(crate) attributes: i16,
        pub(crate) value_len: usize,
    }

    impl Default for Build {
        fn default() -> Self {
            Self {
                count: 1,
                producer_id: NO_PRODUCER,
                producer_epoch: -1,
                base_sequence: -1,
                timestamp: 1_000,
                attributes: 0,
                value_len: 10,
            }
        }
    }

    fn varint(out: &mut Vec<u8>, value: i64) {
        let mut zigzag = ((value << 1) ^ (value >> 63)) as u64;
        while zigzag >= 0x80 {
            out.push((zigzag as u8) | 0x80);
            zigzag >>= 7;
        }
        out.push(zigzag as u8);
    }

    impl Build {
        /// Record `n` has timestamp `timestamp + n`.
        pub(crate) fn bytes(self) -> bytes::Bytes {
            let mut records = Vec::new();
            for n in 0..self.count {
                let mut record = vec![0];
                varint(&mut record, i64::from(n));
                varint(&mut record, i64::from(n));
                varint(&mut record, -1);
                varint(&mut record, self.value_len as i64);
                record.resize(record.len() + self.value_len, b'v');
                varint(&mut record, 0);
                varint(&mut records, record.len() as i64);
                records.extend_from_slice(&record);
            }
            let mut tail = Vec::new();
            tail.extend_from_slice(&self.attributes.to_be_bytes());
            tail.extend_from_slice(&(self.count - 1).to_be_bytes());
            tail.extend_from_slice(&self.timestamp.to_be_bytes());
            tail.extend_from_slice(&(self.timestamp + i64::from(self.count) - 1).to_be_bytes());
            tail.extend_from_slice(&self.producer_id.to_be_bytes());
            tail.extend_from_slice(&self.producer_epoch.to_be_bytes());
            tail.extend_from_slice(&self.base_sequence.to_be_bytes());
            tail.extend_from_slice(&self.count.to_be_bytes());
            tail.extend_from_slice(&records);
            let size = CRC_FROM + tail.len();
            let mut batch = prefix(0, size, -1).to_vec();
            batch.push(2);
            batch.extend_from_slice(&crc32c::crc32c(&tail).to_be_bytes());
            batch.extend_from_slice(&tail);
            batch.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_it_was_written() {
        let bytes = testing::Build {
            count: 3,
            producer_id: 7,
            producer_epoch: 2,
            base_sequence: 11,
            ..Default::default()
        }
        .bytes();
        let header = BatchHeader::parse(&bytes).unwrap();
        assert_eq!(header.size, bytes.len());
        assert_eq!(header.count, 3);
        assert_eq!(header.next_offset(), 3);
        assert_eq!((header.producer_id, header.producer_epoch), (7, 2));
        assert_eq!(header.last_sequence(), 13);
        assert!(checksum_holds(&bytes, &header));
        let mut broken = bytes.to_vec();
        *broken.last_mut().unwrap() ^= 1;
        assert!(!checksum_holds(&broken, &header));
    }

    #[test]
    fn sequences_wrap_to_zero() {
        assert_eq!(add_sequence(i32::MAX, 1), 0);
        assert_eq!(add_sequence(i32::MAX - 1, 3), 1);
        assert_eq!(add_sequence(5, 2), 7);
    }

    #[test]
    fn a_negative_length_is_no_header() {
        let mut bytes = testing::Build::default().bytes().to_vec();
        bytes[8..12].copy_from_slice(&(-1i32).to_be_bytes());
        assert_eq!(BatchHeader::parse(&bytes), None);
    }
}
