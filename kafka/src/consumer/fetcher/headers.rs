//! What the headers of fetched batches tell before any record is read.

use bytes::Bytes;

use crate::consumer::lineage::Lineage;
use crate::records::layout;

/// The offset after the last whole batch and the batches' epochs, by headers alone. `None` without
/// one, or where a header contradicts itself: the walker will say what is wrong.
pub(crate) fn read_headers(records: &Bytes) -> (Option<i64>, Lineage) {
    let mut lineage = Lineage::default();
    let next = headers(records, |epoch, from, to| lineage.read(epoch, from, to));
    (next, lineage)
}

/// Shows each whole batch's epoch, first offset and the one behind it.
fn headers(records: &Bytes, mut show: impl FnMut(i32, i64, i64)) -> Option<i64> {
    let mut rest = &records[..];
    let mut next: Option<i64> = None;
    while rest.len() >= layout::RECORDS {
        let base = i64::from_be_bytes(rest[layout::BASE_OFFSET..][..8].try_into().ok()?);
        let length = i32::from_be_bytes(rest[layout::BATCH_LENGTH..][..4].try_into().ok()?);
        let delta = i32::from_be_bytes(rest[layout::LAST_OFFSET_DELTA..][..4].try_into().ok()?);
        let size = usize::try_from(length)
            .ok()?
            .checked_add(layout::LENGTH_OVERHEAD)?;
        if rest[layout::MAGIC] != 2 || size < layout::RECORDS || delta < 0 {
            return next;
        }
        if rest.len() < size {
            break;
        }
        let end = base.checked_add(i64::from(delta))?.checked_add(1)?;
        if next.is_none_or(|next| next <= base) {
            let epoch = &rest[layout::LEADER_EPOCH..][..4];
            show(i32::from_be_bytes(epoch.try_into().ok()?), base, end);
        }
        next = next.max(Some(end));
        rest = &rest[size..];
    }
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next_offset(records: &Bytes) -> Option<i64> {
        read_headers(records).0
    }

    /// The header of an empty batch with this base offset and last offset delta, and `body` bytes.
    fn batch(base: i64, delta: i32, body: usize) -> Vec<u8> {
        let mut batch = vec![0; layout::RECORDS + body];
        let length = (batch.len() - layout::LENGTH_OVERHEAD) as i32;
        batch[layout::BASE_OFFSET..][..8].copy_from_slice(&base.to_be_bytes());
        batch[layout::BATCH_LENGTH..][..4].copy_from_slice(&length.to_be_bytes());
        batch[layout::MAGIC] = 2;
        batch[layout::LAST_OFFSET_DELTA..][..4].copy_from_slice(&delta.to_be_bytes());
        batch
    }

    #[test]
    fn the_next_offset_follows_the_last_whole_batch() {
        let mut records = batch(10, 4, 100);
        assert_eq!(next_offset(&records.clone().into()), Some(15));
        records.extend(batch(20, 0, 0));
        assert_eq!(next_offset(&records.clone().into()), Some(21));
        records.extend(&batch(21, 5, 50)[..80]);
        assert_eq!(
            next_offset(&records.into()),
            Some(21),
            "the last one is cut off"
        );
        assert_eq!(next_offset(&Bytes::new()), None);
        assert_eq!(
            next_offset(&batch(5, 0, 10)[..65].to_vec().into()),
            None,
            "nothing whole"
        );
    }

    #[test]
    fn each_batch_is_of_its_epoch() {
        let epoch = |mut batch: Vec<u8>, epoch: i32| {
            batch[layout::LEADER_EPOCH..][..4].copy_from_slice(&epoch.to_be_bytes());
            batch
        };
        let records = [
            epoch(batch(10, 4, 0), 2),
            epoch(batch(15, 0, 0), 2),
            epoch(batch(16, 3, 0), 5),
        ];
        let (next, lineage) = read_headers(&records.concat().into());
        assert_eq!(next, Some(20));
        let found = [10, 11, 16, 17, 20, 21].map(|position| lineage.before(position));
        assert_eq!(found, [-1, 2, 2, 5, 5, -1]);
    }

    #[test]
    fn a_batch_out_of_order_does_not_take_it_back() {
        let records = [batch(10, 4, 0), batch(3, 0, 0)].concat();
        assert_eq!(next_offset(&records.into()), Some(15));
    }

    #[test]
    fn a_header_that_contradicts_itself_ends_it() {
        for (at, byte) in [
            (layout::MAGIC, 1),
            (layout::BATCH_LENGTH, 0xff),
            (layout::LAST_OFFSET_DELTA, 0x80),
        ] {
            let mut records = batch(10, 4, 0);
            let mut broken = batch(15, 0, 0);
            broken[at] = byte;
            records.extend(broken);
            assert!(
                next_offset(&records.into()).is_none_or(|next| next == 15),
                "byte {at}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(bytes: Vec<u8>) {
            next_offset(&bytes.into());
        }
    }
}
