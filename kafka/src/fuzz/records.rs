//! Record batches as a fetch answer carries them, and the codecs within.

use bytes::Bytes;

use super::input::Input;
use crate::{
    consumer::fetcher::headers::read_headers,
    records::{
        Compression, MAX_OFFSET,
        compression::decompress,
        layout,
        walker::{IsolationLevel, WalkOptions, Walked, Walker},
    },
};

/// The codecs' output is bounded whatever they are given.
const LIMIT: usize = 1 << 20;

/// The offset asked for in the first byte, then batches. Their checksums are put right, which no
/// mutation would.
pub fn records(data: &[u8]) {
    let mut input = Input::new(data);
    let from = i64::from(input.byte());
    let mut batches = input.rest().to_vec();
    walk(batches.clone().into(), from, vec![(1, 0)]);
    put_checksums_right(&mut batches);
    walk(batches.into(), from, vec![(1, 0)]);
}

/// The codec by the first byte, then what it is to decompress.
pub fn compression(data: &[u8]) {
    let mut input = Input::new(data);
    let Ok(codec) = Compression::from_attributes(i16::from(input.byte() % 5)) else {
        return;
    };
    let packed = Bytes::copy_from_slice(input.rest());
    if let Ok(unpacked) = decompress(codec, packed.clone(), LIMIT)
        && codec != Compression::None
    {
        assert!(unpacked.len() <= LIMIT, "{codec:?}");
    }
}

/// Offsets grow, none is below the one asked for, and reading goes on behind the last.
pub(super) fn walk(records: Bytes, from: i64, aborted: Vec<(i64, i64)>) {
    let (ahead, _) = read_headers(&records);
    let options = WalkOptions {
        topic: "t".into(),
        partition: 0,
        fetch_offset: from,
        isolation: IsolationLevel::ReadCommitted,
        aborted,
        max_decompressed: LIMIT,
    };
    let mut walker = Walker::new(records, options);
    let (mut last, mut failed) = (from - 1, false);
    for walked in walker.by_ref() {
        let walked = match walked {
            Ok(walked) => walked,
            Err(_) => {
                failed = true;
                continue;
            }
        };
        assert!(walked.offset() > last, "offset {} again", walked.offset());
        last = walked.offset();
        if let Walked::Record(record) = walked {
            assert_eq!(record.headers.iter().count(), record.headers.len());
        }
    }
    let next = walker.next_offset();
    assert!(next > last && next <= MAX_OFFSET + 1);
    if let Some(ahead) = ahead
        && !failed
    {
        assert_eq!(
            next,
            ahead.max(from),
            "the next fetch is asked for from elsewhere"
        );
    }
}

fn put_checksums_right(batches: &mut [u8]) {
    let mut at = 0;
    while let Some(batch) = batches.get_mut(at..)
        && batch.len() >= layout::RECORDS
    {
        let mut length = [0; 4];
        length.copy_from_slice(&batch[layout::BATCH_LENGTH..][..4]);
        let Ok(length) = usize::try_from(i32::from_be_bytes(length)) else {
            return;
        };
        let size = length.saturating_add(layout::LENGTH_OVERHEAD);
        let Some(batch) = batch.get_mut(..size) else {
            return;
        };
        if size < layout::RECORDS {
            return;
        }
        let crc = crc32c::crc32c(&batch[layout::ATTRIBUTES..]);
        batch[layout::CRC..][..4].copy_from_slice(&crc.to_be_bytes());
        at += size;
    }
}
