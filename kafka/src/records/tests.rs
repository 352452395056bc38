//! Encoder and walker against each other, and the walker against what brokers and other clients do.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::{
    BatchProblem, Compression, Headers, OutgoingHeaders,
    encoder::{BatchBuilder, MAX_RECORD_OVERHEAD, ProducerStamp, RecordParts, restamp},
    layout,
    walker::{IsolationLevel, MAX_DECOMPRESSED, WalkOptions, Walked, Walker},
};

type OwnedHeaders = Vec<(Vec<u8>, Option<Vec<u8>>)>;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Owned {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: OwnedHeaders,
}

fn value(text: &str) -> Owned {
    Owned {
        timestamp: 1000,
        key: None,
        value: Some(text.into()),
        headers: Vec::new(),
    }
}

fn options(fetch_offset: i64) -> WalkOptions {
    WalkOptions {
        topic: "orders".into(),
        partition: 3,
        fetch_offset,
        isolation: IsolationLevel::ReadCommitted,
        aborted: Vec::new(),
        max_decompressed: MAX_DECOMPRESSED,
    }
}

fn encode(records: &[Owned], codec: Compression) -> Vec<u8> {
    let mut batch = BatchBuilder::new(BytesMut::new());
    for (index, record) in records.iter().enumerate() {
        let headers: Vec<_> = record
            .headers
            .iter()
            .map(|(name, value)| (&name[..], value.as_deref()))
            .collect();
        let parts = RecordParts {
            timestamp: record.timestamp,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: OutgoingHeaders::Pairs(&headers),
        };
        let before = batch.len();
        let payload = parts.payload_size();
        assert_eq!(batch.append(&parts, payload), index as u32);
        assert!(batch.len() - before <= payload + MAX_RECORD_OVERHEAD);
    }
    let stamp = ProducerStamp {
        producer_id: 9,
        epoch: 1,
        base_sequence: 77,
    };
    restamp(batch.close(codec, BytesMut::new).batch, stamp).to_vec()
}

/// As a broker stores it: base offset and epoch lie outside the checksum.
fn stored(records: &[Owned], base_offset: i64) -> Vec<u8> {
    let mut batch = encode(records, Compression::None);
    batch[..8].copy_from_slice(&base_offset.to_be_bytes());
    batch[layout::LEADER_EPOCH..][..4].copy_from_slice(&5_i32.to_be_bytes());
    batch
}

/// Changes a header field, and the checksum with it.
fn patch(batch: &mut [u8], at: usize, bytes: &[u8]) {
    batch[at..at + bytes.len()].copy_from_slice(bytes);
    let crc = crc32c::crc32c(&batch[layout::ATTRIBUTES..]);
    batch[layout::CRC..][..4].copy_from_slice(&crc.to_be_bytes());
}

fn transactional(batch: Vec<u8>, producer_id: i64) -> Vec<u8> {
    flagged(batch, producer_id, layout::TRANSACTIONAL)
}

fn marker(base_offset: i64, producer_id: i64) -> Vec<u8> {
    flagged(
        stored(&[value("marker")], base_offset),
        producer_id,
        layout::TRANSACTIONAL | layout::CONTROL,
    )
}

fn flagged(mut batch: Vec<u8>, producer_id: i64, flags: i16) -> Vec<u8> {
    patch(&mut batch, layout::ATTRIBUTES, &flags.to_be_bytes());
    patch(&mut batch, layout::PRODUCER_ID, &producer_id.to_be_bytes());
    batch
}

/// What the walk shows and where it ends.
fn walk(data: Vec<u8>, options: WalkOptions) -> (Vec<(i64, String)>, i64) {
    let mut walker = Walker::new(data.into(), options);
    let seen = walker
        .by_ref()
        .map(|walked| match walked.expect("the batches are good") {
            Walked::Record(record) => (
                record.offset,
                String::from_utf8(record.value.unwrap_or_default().to_vec()).unwrap(),
            ),
            Walked::Unreadable { offset, reason, .. } => (offset, format!("<{reason}>")),
        })
        .collect();
    (seen, walker.next_offset())
}

fn shown(items: &[(i64, &str)]) -> Vec<(i64, String)> {
    items
        .iter()
        .map(|(offset, text)| (*offset, (*text).to_owned()))
        .collect()
}

#[test]
fn records_before_the_asked_offset_are_passed_over() {
    let data = [
        stored(&[value("a"), value("b"), value("c")], 10),
        stored(&[value("d")], 13),
    ]
    .concat();
    assert_eq!(
        walk(data.clone(), options(12)),
        (shown(&[(12, "c"), (13, "d")]), 14)
    );
    assert_eq!(walk(data, options(13)), (shown(&[(13, "d")]), 14));
}

#[test]
fn a_cut_off_last_batch_is_left_for_the_next_fetch() {
    let whole = stored(&[value("a")], 0);
    let next = stored(&[value("b")], 1);
    for cut in 1..next.len() {
        let data = [&whole[..], &next[..cut]].concat();
        assert_eq!(
            walk(data, options(0)),
            (shown(&[(0, "a")]), 1),
            "cut at {cut}"
        );
    }
    let mut walker = Walker::new(Bytes::from(next[..40].to_vec()), options(1));
    assert!(walker.next().is_none());
    assert!(walker.is_cut_off());
    assert_eq!(walker.next_offset(), 1);
}

#[test]
fn compacted_batches_move_the_position_past_their_gaps() {
    // Two records left of ten: offset deltas 0 and 1, last offset delta 9.
    let mut batch = stored(&[value("a"), value("b")], 100);
    patch(&mut batch, layout::LAST_OFFSET_DELTA, &9_i32.to_be_bytes());
    assert_eq!(
        walk(batch, options(100)),
        (shown(&[(100, "a"), (101, "b")]), 110)
    );
    // Nothing left at all.
    let mut empty = stored(&[], 100);
    patch(&mut empty, layout::LAST_OFFSET_DELTA, &9_i32.to_be_bytes());
    patch(&mut empty, layout::RECORD_COUNT, &0_i32.to_be_bytes());
    assert_eq!(walk(empty, options(105)), (vec![], 110));
}

#[test]
fn markers_are_passed_and_aborted_records_hidden() {
    let data = [
        transactional(stored(&[value("gone")], 0), 1),
        transactional(stored(&[value("kept")], 1), 2),
        stored(&[value("plain")], 2),
        marker(3, 1),
        marker(4, 2),
        transactional(stored(&[value("next transaction")], 5), 1),
        marker(6, 1),
    ]
    .concat();
    let mut committed = options(0);
    committed.aborted = vec![(1, 0)];
    let kept = shown(&[(1, "kept"), (2, "plain"), (5, "next transaction")]);
    assert_eq!(walk(data.clone(), committed), (kept, 7));
    let mut everything = options(0);
    everything.isolation = IsolationLevel::ReadUncommitted;
    everything.aborted = vec![(1, 0)];
    let all = shown(&[
        (0, "gone"),
        (1, "kept"),
        (2, "plain"),
        (5, "next transaction"),
    ]);
    assert_eq!(walk(data, everything), (all, 7));
}

#[test]
fn damage_is_an_error_with_its_place() {
    let mut data = [stored(&[value("a")], 41), stored(&[value("b")], 42)].concat();
    let last = data.len() - 2;
    data[last] ^= 1;
    let mut walker = Walker::new(data.into(), options(41));
    assert!(matches!(walker.next(), Some(Ok(Walked::Record(_)))));
    let error = walker.next().unwrap().unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("the record batch at orders-3 offset 42 cannot be read: its checksum")
    );
    assert_eq!(walker.next_offset(), 42);
    assert!(walker.next().is_none());
}

#[test]
fn old_and_future_formats_are_refused() {
    for magic in [0_u8, 1, 3] {
        let mut data = stored(&[value("a")], 7);
        data[layout::MAGIC] = magic;
        let error = Walker::new(data.into(), options(7))
            .next()
            .unwrap()
            .unwrap_err();
        assert_eq!(error.problem, BatchProblem::Magic(magic as i8));
        assert_eq!(error.offset, 7);
    }
}

#[test]
fn log_append_time_counts_for_every_record() {
    let mut batch = stored(&[value("a"), value("b")], 0);
    patch(
        &mut batch,
        layout::ATTRIBUTES,
        &layout::LOG_APPEND_TIME.to_be_bytes(),
    );
    patch(&mut batch, layout::MAX_TIMESTAMP, &555_i64.to_be_bytes());
    for walked in Walker::new(batch.into(), options(0)) {
        let Ok(Walked::Record(record)) = walked else {
            panic!("{walked:?}")
        };
        assert_eq!((record.timestamp, record.leader_epoch), (555, 5));
    }
}

#[test]
fn a_record_that_contradicts_itself_is_shown_raw() {
    let good = value("good");
    let mut batch = stored(&[good.clone(), good.clone(), good], 0);
    // The second record: length, attributes, timestamp delta, offset delta, then the key's length.
    let record = (batch.len() - layout::RECORDS) / 3;
    let at = layout::RECORDS + record + 4;
    patch(&mut batch, at, &[0x7e]);
    let seen: Vec<_> = Walker::new(batch.clone().into(), options(0))
        .map(Result::unwrap)
        .collect();
    assert_eq!(seen.len(), 3);
    let Walked::Unreadable {
        offset,
        raw,
        reason,
        ..
    } = &seen[1]
    else {
        panic!("{seen:?}")
    };
    assert_eq!((*offset, *reason), (1, "its key's length is broken"));
    assert_eq!(raw[..], batch[layout::RECORDS + record + 1..][..record - 1]);
    assert_eq!(seen[2].offset(), 2);
}

#[test]
fn lost_record_boundaries_are_an_error() {
    let mut too_long = stored(&[value("a")], 0);
    patch(&mut too_long, layout::RECORDS, &[0x7e]);
    let mut too_many = stored(&[value("a")], 0);
    patch(&mut too_many, layout::RECORD_COUNT, &2_i32.to_be_bytes());
    let mut too_few = stored(&[value("a"), value("b")], 0);
    patch(&mut too_few, layout::RECORD_COUNT, &1_i32.to_be_bytes());
    let mut negative = stored(&[value("a")], 0);
    patch(&mut negative, layout::RECORD_COUNT, &(-1_i32).to_be_bytes());
    for data in [too_long, too_many, too_few, negative] {
        let error = Walker::new(data.into(), options(0))
            .find_map(Result::err)
            .expect("an error");
        assert!(
            matches!(error.problem, BatchProblem::Malformed(_)),
            "{error}"
        );
    }
}

#[test]
fn restamping_keeps_the_records() {
    let batch = Bytes::from(encode(&[value("a")], Compression::None));
    let again = ProducerStamp {
        producer_id: 10,
        epoch: 0,
        base_sequence: 0,
    };
    let shared = batch.clone();
    let restamped = restamp(batch, again);
    assert_ne!(shared, restamped, "the shared bytes are not changed");
    assert_eq!(restamped[layout::PRODUCER_ID..][..8], 10_i64.to_be_bytes());
    assert_eq!(
        walk(restamped.to_vec(), options(0)),
        (shown(&[(0, "a")]), 1)
    );
}

fn any_record() -> impl Strategy<Value = Owned> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..200);
    let headers = proptest::collection::vec((bytes(), proptest::option::of(bytes())), 0..5);
    let parts = (
        any::<i64>(),
        proptest::option::of(bytes()),
        proptest::option::of(bytes()),
        headers,
    );
    parts.prop_map(|(timestamp, key, value, headers)| Owned {
        timestamp: timestamp >> 2,
        key,
        value,
        headers,
    })
}

fn any_codec() -> impl Strategy<Value = Compression> {
    prop_oneof![
        Just(Compression::None),
        Just(Compression::Gzip),
        Just(Compression::Snappy),
        Just(Compression::Lz4),
        Just(Compression::Zstd),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read(records in proptest::collection::vec(any_record(), 1..40), codec in any_codec()) {
        let data = encode(&records, codec);
        let mut walker = Walker::new(data.into(), options(0));
        for (offset, expected) in records.iter().enumerate() {
            let Some(Ok(Walked::Record(record))) = walker.next() else { panic!("record {offset} is missing") };
            let read = Owned {
                timestamp: record.timestamp,
                key: record.key.as_deref().map(<[u8]>::to_vec),
                value: record.value.as_deref().map(<[u8]>::to_vec),
                headers: owned(&record.headers),
            };
            prop_assert_eq!(&read, expected);
            prop_assert_eq!(record.offset, offset as i64);
        }
        prop_assert!(walker.next().is_none());
        prop_assert_eq!(walker.next_offset(), records.len() as i64);
    }

    #[test]
    fn arbitrary_bytes_end_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Walker::new(bytes.into(), options(0)).count() < 300);
    }

    #[test]
    fn damage_behind_the_checksum_ends_without_panic(
        records in proptest::collection::vec(any_record(), 1..5),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        codec in any_codec(),
    ) {
        let mut data = encode(&records, codec);
        for (at, byte) in damage {
            let at = layout::ATTRIBUTES + at.index(data.len() - layout::ATTRIBUTES);
            patch(&mut data, at, &[byte]);
        }
        let mut walker = Walker::new(data.into(), options(0));
        let mut last = -1;
        while let Some(Ok(walked)) = walker.next() {
            prop_assert!(walked.offset() > last);
            last = walked.offset();
        }
        prop_assert!(walker.next_offset() > last);
    }
}

fn owned(headers: &Headers) -> OwnedHeaders {
    headers
        .iter()
        .map(|(name, value)| (name.to_vec(), value.map(<[u8]>::to_vec)))
        .collect()
}

/// Why the walk over these batches ends.
fn refused(data: Vec<u8>) -> String {
    let error = Walker::new(data.into(), options(0)).find_map(Result::err);
    error.expect("a broken batch").to_string()
}

#[test]
fn batches_whose_offsets_cannot_be_are_refused() {
    let near_the_end = stored(&[value("a")], i64::MAX - 1);
    let said = refused(near_the_end);
    assert!(
        said.contains("goes from offset 9223372036854775806"),
        "{said}"
    );
    let overlapping = [
        stored(&[value("a"), value("b")], 0),
        stored(&[value("c")], 1),
    ];
    let said = refused(overlapping.concat());
    assert!(said.contains("in front of it ends at offset 1"), "{said}");
    let mut crowded = stored(&[value("a"), value("b"), value("c")], 0);
    patch(
        &mut crowded,
        layout::LAST_OFFSET_DELTA,
        &1_i32.to_be_bytes(),
    );
    let said = refused(crowded);
    assert!(
        said.contains("1 records follow the one at its last offset"),
        "{said}"
    );
}
