//! Record batches (format version 2) made by hand: as other clients write them, as compaction leaves
//! them, and as a disk breaks them.
#![allow(dead_code, reason = "each test file uses its own part")]

use bytes::{BufMut, BytesMut};

/// Where a batch keeps its codec, its last offset delta, and its checksum.
const ATTRIBUTES: usize = 21;
const LAST_OFFSET_DELTA: usize = 23;
const CHECKSUM: usize = 17;

/// Name and value.
pub type Header<'a> = (&'a [u8], Option<&'a [u8]>);

/// The content of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Content<'a> {
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: &'a [Header<'a>],
}

impl Content<'_> {
    /// The record with this offset delta, without its length.
    pub fn record(&self, delta: i64) -> Vec<u8> {
        let mut record = vec![0];
        put_varint(&mut record, 0);
        put_varint(&mut record, delta);
        put_bytes(&mut record, self.key);
        put_bytes(&mut record, self.value);
        put_varint(&mut record, self.headers.len() as i64);
        for (name, value) in self.headers {
            put_bytes(&mut record, Some(name));
            put_bytes(&mut record, *value);
        }
        record
    }
}

/// A record with this offset delta, key and value, no headers.
pub fn record(delta: i64, key: &[u8], value: &[u8]) -> Vec<u8> {
    let content = Content {
        key: Some(key),
        value: Some(value),
        headers: &[],
    };
    content.record(delta)
}

/// A batch of these records as they are, each without its length.
pub fn batch(records: &[&[u8]]) -> BytesMut {
    packed(0, records, |body| body.to_vec())
}

/// A batch whose records went through a codec, by the number that Kafka has for it.
pub fn packed(codec: i16, records: &[&[u8]], compress: impl FnOnce(&[u8]) -> Vec<u8>) -> BytesMut {
    let mut body = Vec::new();
    for record in records {
        put_bytes(&mut body, Some(record));
    }
    let body = compress(&body);
    let mut batch = BytesMut::new();
    batch.put_i64(0);
    batch.put_i32(49 + body.len() as i32);
    batch.put_i32(0); // leader epoch
    batch.put_u8(2);
    batch.put_u32(0); // checksum, below
    batch.put_i16(codec);
    batch.put_i32(records.len() as i32 - 1);
    batch.put_i64(1_700_000_000_000);
    batch.put_i64(1_700_000_000_000);
    batch.put_i64(-1);
    batch.put_i16(-1);
    batch.put_i32(-1);
    batch.put_i32(records.len() as i32);
    batch.put_slice(&body);
    seal(&mut batch);
    batch
}

/// The batch, reaching to this offset delta, as if its last records were gone.
pub fn reaching(mut batch: BytesMut, last_offset_delta: i32) -> BytesMut {
    batch[LAST_OFFSET_DELTA..][..4].copy_from_slice(&last_offset_delta.to_be_bytes());
    seal(&mut batch);
    batch
}

/// The batch with its last but two bytes damaged, its checksum left as it was.
pub fn damaged(mut batch: BytesMut) -> BytesMut {
    let at = batch.len() - 3;
    batch[at] ^= 1;
    batch
}

/// Makes the checksum right.
pub fn seal(batch: &mut BytesMut) {
    let checksum = crc32c::crc32c(&batch[ATTRIBUTES..]);
    batch[CHECKSUM..][..4].copy_from_slice(&checksum.to_be_bytes());
}

fn put_bytes(target: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => {
            put_varint(target, bytes.len() as i64);
            target.extend_from_slice(bytes);
        }
        None => put_varint(target, -1),
    }
}

fn put_varint(target: &mut Vec<u8>, number: i64) {
    let mut left = ((number << 1) ^ (number >> 63)) as u64;
    while left >= 0x80 {
        target.push(left as u8 | 0x80);
        left >>= 7;
    }
    target.push(left as u8);
}
