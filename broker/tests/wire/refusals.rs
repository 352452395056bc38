//! Batches that Kafka refuses, byte by byte, and the codes that it refuses them with.

use std::io::Write;

use kafka_protocol::error::ResponseError;
use testkit::Kafka;

use crate::common::{Batch, latest, produce};

/// Where a batch keeps what is wrong here.
const LENGTH: usize = 8;
const MAGIC: usize = 16;
const CHECKSUM: usize = 17;
const ATTRIBUTES: usize = 21;
const LAST_OFFSET_DELTA: usize = 23;
const COUNT: usize = 57;
const RECORDS: usize = 61;

fn set(batch: &mut [u8], at: usize, number: i32) {
    batch[at..at + 4].copy_from_slice(&number.to_be_bytes());
}

/// The batch with its length and checksum put right.
fn sealed(mut batch: Vec<u8>) -> Vec<u8> {
    let length = batch.len() as i32 - 12;
    set(&mut batch, LENGTH, length);
    let checksum = crc32c::crc32c(&batch[ATTRIBUTES..]);
    batch[CHECKSUM..ATTRIBUTES].copy_from_slice(&checksum.to_be_bytes());
    batch
}

/// A good batch of so many records, changed, with a checksum that holds.
fn changed(records: usize, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let values = vec!["a"; records];
    let mut batch = Batch::of(&values).bytes();
    change(&mut batch);
    sealed(batch)
}

fn counting(records: usize, count: i32, last_offset_delta: i32) -> Vec<u8> {
    changed(records, |batch| {
        set(batch, COUNT, count);
        set(batch, LAST_OFFSET_DELTA, last_offset_delta);
    })
}

/// The records of `batch` through gzip, with another count.
fn zipped(records: usize, count: i32) -> Vec<u8> {
    changed(records, |batch| {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&batch[RECORDS..]).unwrap();
        batch.truncate(RECORDS);
        batch.extend(gzip.finish().unwrap());
        batch[ATTRIBUTES + 1] = 1;
        set(batch, COUNT, count);
        set(batch, LAST_OFFSET_DELTA, count - 1);
    })
}

/// A batch of garbage under a codec, with a header and a checksum that are right.
fn garbage(codec: u8) -> Vec<u8> {
    changed(1, |batch| {
        batch[ATTRIBUTES + 1] = codec;
        batch.truncate(RECORDS);
        batch.extend([0x2a; 60]);
    })
}

#[tokio::test]
async fn what_kafka_refuses_is_refused_with_its_code_and_moves_nothing() {
    use ResponseError::{CorruptMessage, InvalidRecord, UnknownServerError};
    let kafka = Kafka::start().await;
    let topic = testkit::unique("refusals");
    kafka.create_topic(&topic, 1).await;
    let mut connection = kafka.connect().await;
    let good = Batch::of(&["a"]).bytes();
    let unsealed = |at: usize, number: i32| {
        let mut batch = good.clone();
        set(&mut batch, at, number);
        batch
    };
    let magic = |magic: u8| {
        let mut batch = good.clone();
        batch[MAGIC] = magic;
        batch
    };
    let cases = [
        ("nothing", Vec::new(), InvalidRecord),
        (
            "the beginning of a header",
            good[..16].to_vec(),
            InvalidRecord,
        ),
        ("a header alone", good[..RECORDS].to_vec(), InvalidRecord),
        (
            "a batch cut short",
            good[..good.len() - 1].to_vec(),
            InvalidRecord,
        ),
        ("two batches", [&good[..], &good].concat(), InvalidRecord),
        (
            "zeros behind it",
            [&good[..], &[0; 20]].concat(),
            CorruptMessage,
        ),
        ("a length of 0", unsealed(LENGTH, 0), CorruptMessage),
        ("a negative length", unsealed(LENGTH, -1), CorruptMessage),
        (
            "a length below a header's",
            unsealed(LENGTH, 30),
            CorruptMessage,
        ),
        ("format 1", magic(1), InvalidRecord),
        ("format 3", magic(3), CorruptMessage),
        ("a wrong checksum", unsealed(CHECKSUM, 1), CorruptMessage),
        (
            "a base offset",
            changed(1, |batch| batch[7] = 5),
            InvalidRecord,
        ),
        ("no records", counting(1, 0, -1), InvalidRecord),
        ("a negative count", counting(1, -1, 0), InvalidRecord),
        (
            "a count beyond its offsets",
            counting(1, 2, 0),
            InvalidRecord,
        ),
        ("offsets beyond its count", counting(1, 1, 5), InvalidRecord),
        (
            "a count that moves the log",
            counting(1, i32::MAX, i32::MAX - 1),
            InvalidRecord,
        ),
        (
            "a record more than there is",
            counting(1, 2, 1),
            InvalidRecord,
        ),
        (
            "a record less than there is",
            counting(2, 1, 0),
            InvalidRecord,
        ),
        ("gzip of a record less", zipped(2, 1), InvalidRecord),
        ("gzip of a record more", zipped(1, 2), InvalidRecord),
        (
            "a record too short",
            changed(1, |batch| batch[RECORDS] -= 2),
            InvalidRecord,
        ),
        (
            "a record too long",
            changed(1, |batch| batch[RECORDS] += 2),
            InvalidRecord,
        ),
        ("121 bytes of garbage", garbage(0), InvalidRecord),
        ("no gzip", garbage(1), UnknownServerError),
        ("no snappy", garbage(2), UnknownServerError),
        ("no lz4", garbage(3), UnknownServerError),
        ("no zstd", garbage(4), UnknownServerError),
        ("codec 5", garbage(5), UnknownServerError),
        (
            "a control batch",
            changed(1, |batch| batch[ATTRIBUTES + 1] = 0x20),
            InvalidRecord,
        ),
    ];
    for (name, batch, error) in cases {
        let (found, _) = produce(&mut connection, &topic, 0, &batch).await;
        assert_eq!(found, error.code(), "{name}");
    }
    assert_eq!(latest(&mut connection, &topic, 0).await, 0);
    // As Kafka does: what is too short for another batch is passed over.
    let trailing = [&good[..], b"abc"].concat();
    assert_eq!(produce(&mut connection, &topic, 0, &trailing).await, (0, 0));
    assert_eq!(
        produce(&mut connection, &topic, 0, &zipped(3, 3)).await,
        (0, 1)
    );
    assert_eq!(latest(&mut connection, &topic, 0).await, 4);
}
