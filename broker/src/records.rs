//! The few questions that need a look into a batch's records.

mod codec;
mod survey;

use crate::log::batch::{BatchHeader, HEADER_LEN};
pub(crate) use survey::{Fault, survey};

/// First record of a batch with at least `timestamp`, at or after offset `from`: its offset and
/// timestamp. When the records cannot be read (a codec this broker does not know), the batch's
/// base offset and greatest timestamp stand for them.
pub(crate) fn first_at_or_after(
    batch: &[u8],
    header: &BatchHeader,
    timestamp: i64,
    from: i64,
) -> Option<(i64, i64)> {
    if header.has_append_time() {
        let first = (header.base_offset.max(from), header.max_timestamp);
        return (header.max_timestamp >= timestamp).then_some(first);
    }
    let decoded = codec::decompress(&batch[HEADER_LEN..], header.compression());
    let Some(records) = decoded else {
        return Some((header.base_offset.max(from), header.max_timestamp));
    };
    let mut rest: &[u8] = &records;
    for _ in 0..header.count {
        let Some((delta, time_delta)) = next_record(&mut rest) else {
            return Some((header.base_offset.max(from), header.max_timestamp));
        };
        // A producer may write any numbers: nobody has looked into the records before.
        let offset = header.base_offset.saturating_add(delta);
        let time = header.base_timestamp.saturating_add(time_delta);
        if time >= timestamp && offset >= from {
            return Some((offset, time));
        }
    }
    None
}

/// Offset delta and timestamp delta of the record at the front, which is taken off.
fn next_record(rest: &mut &[u8]) -> Option<(i64, i64)> {
    let length = usize::try_from(varint(rest)?).ok()?;
    let (mut record, after) = rest.split_at_checked(length)?;
    *rest = after;
    // The attributes, unused.
    record = record.get(1..)?;
    let time_delta = varint(&mut record)?;
    let offset_delta = varint(&mut record)?;
    Some((offset_delta, time_delta))
}

/// Zigzag-coded integer of at most ten bytes.
fn varint(bytes: &mut &[u8]) -> Option<i64> {
    let mut value = 0u64;
    for (at, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            *bytes = &bytes[at + 1..];
            return Some(((value >> 1) as i64) ^ -((value & 1) as i64));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::log::batch::testing::Build;

    /// A batch of ten records whose timestamps are 1000 to 1009, with its records coded anew.
    fn batch(codec: i16, code: impl FnOnce(&[u8]) -> Vec<u8>) -> (Vec<u8>, BatchHeader) {
        let plain = Build {
            count: 10,
            attributes: codec,
            ..Default::default()
        }
        .bytes();
        let mut header = BatchHeader::parse(&plain).unwrap();
        header.base_offset = 100;
        let mut batch = plain[..HEADER_LEN].to_vec();
        batch.extend(code(&plain[HEADER_LEN..]));
        (batch, header)
    }

    fn finds((batch, header): (Vec<u8>, BatchHeader)) {
        let find = |timestamp, from| first_at_or_after(&batch, &header, timestamp, from);
        assert_eq!(find(1004, 0), Some((104, 1004)));
        assert_eq!(find(0, 107), Some((107, 1007)));
        assert_eq!(find(1010, 0), None);
    }

    #[test]
    fn the_record_is_found_in_every_codec() {
        finds(batch(0, <[u8]>::to_vec));
        finds(batch(1, |records| {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(records).unwrap();
            gzip.finish().unwrap()
        }));
        finds(batch(2, |records| {
            snap::raw::Encoder::new().compress_vec(records).unwrap()
        }));
        finds(batch(2, |records| {
            // As snappy-java frames it: magic, two versions, blocks with their lengths.
            let mut framed = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
            for part in records.chunks(100) {
                let block = snap::raw::Encoder::new().compress_vec(part).unwrap();
                framed.extend((block.len() as u32).to_be_bytes());
                framed.extend(block);
            }
            framed
        }));
        finds(batch(3, |records| {
            let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
            lz4.write_all(records).unwrap();
            lz4.finish().unwrap()
        }));
        finds(batch(4, |records| {
            ruzstd::encoding::compress_to_vec(records, ruzstd::encoding::CompressionLevel::Fastest)
        }));
    }

    #[test]
    fn where_the_append_time_counts_it_is_every_records_time() {
        let (batch, header) = batch(0, <[u8]>::to_vec);
        let header = header.with_append_time(5000);
        let find = |timestamp, from| first_at_or_after(&batch, &header, timestamp, from);
        assert_eq!(find(1004, 0), Some((100, 5000)));
        assert_eq!(find(5000, 107), Some((107, 5000)));
        assert_eq!(find(5001, 0), None);
    }

    #[test]
    fn numbers_that_cannot_be_overflow_nothing() {
        let (batch, mut header) = batch(0, <[u8]>::to_vec);
        header.base_timestamp = i64::MAX;
        header.base_offset = i64::MAX - 3;
        let found = first_at_or_after(&batch, &header, i64::MAX, 0);
        assert_eq!(found, Some((i64::MAX - 3, i64::MAX)));
    }

    #[test]
    fn what_cannot_be_read_is_answered_by_the_batch() {
        for codec in 1..=5 {
            let (batch, header) = batch(codec, |_| b"no such thing".to_vec());
            let found = first_at_or_after(&batch, &header, 1004, 0);
            assert_eq!(found, Some((100, 1009)), "codec {codec}");
        }
        let (mut batch, header) = batch(0, <[u8]>::to_vec);
        batch.truncate(HEADER_LEN + 20);
        let found = first_at_or_after(&batch, &header, 1004, 0);
        assert_eq!(found, Some((100, 1009)));
    }
}
