//! Appends records straight into a batch: no record object, no copy of a copy.

use bytes::{BufMut as _, Bytes, BytesMut};

use super::{Compression, OutgoingHeaders, compression, layout, varint};

/// One record's parts, borrowed from the caller.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RecordParts<'a> {
    /// Milliseconds since 1970.
    pub(crate) timestamp: i64,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: OutgoingHeaders<'a>,
}

impl RecordParts<'_> {
    /// Size of key, value and headers with their lengths: all that does not depend on the batch.
    pub(crate) fn payload_size(&self) -> usize {
        let nullable = |bytes: Option<&[u8]>| match bytes {
            Some(bytes) => varint::size(bytes.len() as i64) + bytes.len(),
            None => varint::size(-1),
        };
        nullable(self.key) + nullable(self.value) + self.headers.size()
    }
}

/// What a record adds at most to its payload in a batch, in bytes: length, attributes, timestamp and
/// offset delta (Java's `DefaultRecord.MAX_RECORD_OVERHEAD`).
pub(crate) const MAX_RECORD_OVERHEAD: usize =
    varint::MAX_INT + 1 + varint::MAX_LONG + varint::MAX_INT;

/// A batch being filled.
pub(crate) struct BatchBuilder {
    buf: BytesMut,
    base_timestamp: i64,
    max_timestamp: i64,
    count: i32,
}

/// Who produced a batch and where it stands in their sequence (KIP-98). -1 everywhere: not idempotent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProducerStamp {
    pub(crate) producer_id: i64,
    pub(crate) epoch: i16,
    pub(crate) base_sequence: i32,
}

impl ProducerStamp {
    pub(crate) const NONE: Self = Self {
        producer_id: -1,
        epoch: -1,
        base_sequence: -1,
    };
}

impl BatchBuilder {
    /// An empty batch in `buf`, whose contents are discarded and whose capacity is used.
    pub(crate) fn new(mut buf: BytesMut) -> Self {
        buf.clear();
        buf.put_bytes(0, layout::RECORDS);
        Self {
            buf,
            base_timestamp: 0,
            max_timestamp: i64::MIN,
            count: 0,
        }
    }

    /// Adds a record, whose [`RecordParts::payload_size`] is `payload`, and returns its index in the
    /// batch.
    #[inline]
    pub(crate) fn append(&mut self, record: &RecordParts<'_>, payload: usize) -> u32 {
        debug_assert_eq!(payload, record.payload_size());
        if self.count == 0 {
            self.base_timestamp = record.timestamp;
        }
        self.max_timestamp = self.max_timestamp.max(record.timestamp);
        let timestamp_delta = record.timestamp.wrapping_sub(self.base_timestamp);
        let offset_delta = i64::from(self.count);
        let size = 1 + varint::size(timestamp_delta) + varint::size(offset_delta) + payload;
        let buf = &mut self.buf;
        buf.reserve(size + varint::MAX_INT);
        varint::put(buf, size as i64);
        buf.put_u8(0);
        varint::put(buf, timestamp_delta);
        varint::put(buf, offset_delta);
        put_nullable(buf, record.key);
        put_nullable(buf, record.value);
        record.headers.put(buf);
        self.count += 1;
        (self.count - 1) as u32
    }

    /// Size so far in bytes, uncompressed, header included.
    pub(crate) fn len(&self) -> usize {
        self.buf.len()
    }

    pub(crate) fn count(&self) -> i32 {
        self.count
    }

    /// Compresses the records, into `spare`, and fills in all of the header but the stamp.
    pub(crate) fn close(self, codec: Compression, spare: impl FnOnce() -> BytesMut) -> ClosedBatch {
        let Self {
            mut buf,
            base_timestamp,
            max_timestamp,
            count,
        } = self;
        let mut left_over = None;
        if codec != Compression::None {
            let mut packed = spare();
            packed.clear();
            packed.put_bytes(0, layout::RECORDS);
            compression::compress(codec, &buf[layout::RECORDS..], &mut packed);
            left_over = Some(std::mem::replace(&mut buf, packed));
        }
        let mut set = |at: usize, bytes: &[u8]| buf[at..at + bytes.len()].copy_from_slice(bytes);
        set(layout::LEADER_EPOCH, &(-1_i32).to_be_bytes());
        set(layout::MAGIC, &[2]);
        set(layout::ATTRIBUTES, &codec.attributes().to_be_bytes());
        set(layout::LAST_OFFSET_DELTA, &(count - 1).to_be_bytes());
        set(layout::BASE_TIMESTAMP, &base_timestamp.to_be_bytes());
        set(layout::MAX_TIMESTAMP, &max_timestamp.to_be_bytes());
        set(layout::RECORD_COUNT, &count.to_be_bytes());
        let length = (buf.len() - layout::LENGTH_OVERHEAD) as i32;
        buf[layout::BATCH_LENGTH..][..4].copy_from_slice(&length.to_be_bytes());
        ClosedBatch {
            batch: buf.freeze(),
            left_over,
        }
    }
}

/// A full batch without its producer's stamp.
pub(crate) struct ClosedBatch {
    /// Only [`restamp`] makes it fit to be sent.
    pub(crate) batch: Bytes,
    /// The memory in which it was filled, where it is another.
    pub(crate) left_over: Option<BytesMut>,
}

/// Sets the stamp and with it the checksum, which covers it.
fn write_stamp(buf: &mut [u8], stamp: ProducerStamp) {
    buf[layout::PRODUCER_ID..][..8].copy_from_slice(&stamp.producer_id.to_be_bytes());
    buf[layout::PRODUCER_EPOCH..][..2].copy_from_slice(&stamp.epoch.to_be_bytes());
    buf[layout::BASE_SEQUENCE..][..4].copy_from_slice(&stamp.base_sequence.to_be_bytes());
    let crc = crc32c::crc32c(&buf[layout::ATTRIBUTES..]);
    buf[layout::CRC..][..4].copy_from_slice(&crc.to_be_bytes());
}

/// The same batch under another stamp. Copies only while somebody else still holds the bytes.
pub(crate) fn restamp(batch: Bytes, stamp: ProducerStamp) -> Bytes {
    let mut buf = batch
        .try_into_mut()
        .unwrap_or_else(|shared| BytesMut::from(&shared[..]));
    write_stamp(&mut buf, stamp);
    buf.freeze()
}

#[inline]
fn put_nullable(buf: &mut BytesMut, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => {
            varint::put(buf, bytes.len() as i64);
            buf.extend_from_slice(bytes);
        }
        None => varint::put(buf, -1),
    }
}
