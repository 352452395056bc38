//! Records as clients other than ours write them, frame by frame: every codec in the framings that are
//! about, headers repeated, null, empty and no text. The consumer, the reader and the admin all show
//! them as they are.

#[path = "support/batch.rs"]
mod batch;
#[path = "support/consumer.rs"]
mod support;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;

use batch::{Content, Header, packed};
use bytes::BytesMut;
use kafka::{ConsumerRecord, Outcome, ResponseError};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ProduceRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use parking_lot::Mutex;
use support::{PATIENCE, Running, Scripted, World};

const CONTENTS: &[Content] = &[
    Content {
        key: Some(b"key"),
        value: Some(b"no headers"),
        headers: &[],
    },
    Content {
        key: None,
        value: Some(b"null key"),
        headers: &[(b"name", Some(b"content"))],
    },
    Content {
        key: Some(b"null value"),
        value: None,
        headers: &[],
    },
    Content {
        key: Some(b""),
        value: Some(b""),
        headers: &[(b"empty", Some(b""))],
    },
    Content {
        key: Some(b"null header value"),
        value: Some(b"{}"),
        headers: &[(b"null", None), (b"behind", Some(b"it"))],
    },
    Content {
        key: Some(b"repeated header"),
        value: Some(b"{}"),
        headers: &[
            (b"a", Some(b"1")),
            (b"b", None),
            (b"a", Some(b"2")),
            (b"a", Some(b"1")),
        ],
    },
    Content {
        key: Some(b"\xff\0\xfe"),
        value: Some(b"\0\0\0\0\x01 a schema's number"),
        headers: &[(b"", Some(b"no name")), (b"\xc3\x28", Some(b"\xff"))],
    },
    Content {
        key: None,
        value: None,
        headers: &[],
    },
];

/// A codec's number, and what another client makes of the records with it.
type Codec = (&'static str, i16, fn(&[u8]) -> Vec<u8>);

const CODECS: &[Codec] = &[
    ("none", 0, |records| records.to_vec()),
    ("gzip", 1, |records| {
        let mut encoder = flate2::GzBuilder::new()
            .filename("a name")
            .write(Vec::new(), flate2::Compression::best());
        encoder.write_all(records).expect("gzip");
        encoder.finish().expect("gzip")
    }),
    // librdkafka and franz-go write one bare block.
    ("snappy, bare", 2, |records| {
        snap::raw::Encoder::new()
            .compress_vec(records)
            .expect("snappy")
    }),
    // snappy-java: a header, then blocks with their sizes; here each of 10 bytes.
    ("snappy, framed", 2, |records| {
        let mut stream = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
        for block in records.chunks(10) {
            let block = snap::raw::Encoder::new()
                .compress_vec(block)
                .expect("snappy");
            stream.extend((block.len() as u32).to_be_bytes());
            stream.extend(block);
        }
        stream
    }),
    ("lz4", 3, |records| {
        let info = lz4_flex::frame::FrameInfo::new()
            .block_size(lz4_flex::frame::BlockSize::Max4MB)
            .block_checksums(true)
            .content_checksum(true);
        let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(records).expect("lz4");
        encoder.finish().expect("lz4")
    }),
    ("zstd, uncompressed blocks", 4, |records| {
        ruzstd::encoding::compress_to_vec(records, ruzstd::encoding::CompressionLevel::Uncompressed)
    }),
    ("zstd", 4, |records| {
        ruzstd::encoding::compress_to_vec(records, ruzstd::encoding::CompressionLevel::Fastest)
    }),
];

fn records() -> Vec<Vec<u8>> {
    let contents = CONTENTS.iter().enumerate();
    contents
        .map(|(delta, content)| content.record(delta as i64))
        .collect()
}

/// Sends a batch as it is.
async fn produce(world: &World, partition: i32, batch: BytesMut) {
    let data = PartitionProduceData::default()
        .with_index(partition)
        .with_records(Some(batch.freeze()));
    let topic = TopicProduceData::default()
        .with_name(TopicName(StrBytes::from_string(world.topic.clone())))
        .with_partition_data(vec![data]);
    let request = ProduceRequest::default()
        .with_acks(-1)
        .with_timeout_ms(30_000)
        .with_topic_data(vec![topic]);
    testkit::eventually(PATIENCE, || async {
        let response = world.kafka.connect().await.call(&request, 9).await;
        let answer = &response.responses[0].partition_responses[0];
        // Apache Kafka names a leader before that has heard of it.
        let not_yet = ResponseError::NotLeaderOrFollower.code();
        if answer.error_code == not_yet {
            return None;
        }
        let reason = &answer.error_message;
        assert_eq!(answer.error_code, 0, "partition {partition}: {reason:?}");
        Some(())
    })
    .await;
}

fn headers(record: &ConsumerRecord) -> Vec<Header<'_>> {
    record.headers.iter().collect()
}

/// Each content once, in order.
fn assert_as_written(how: &str, records: &[ConsumerRecord]) {
    assert_eq!(records.len(), CONTENTS.len(), "{how}");
    for (offset, (record, written)) in records.iter().zip(CONTENTS).enumerate() {
        assert_eq!(record.offset, offset as i64, "{how}");
        assert_eq!(
            (record.key.as_deref(), record.value.as_deref()),
            (written.key, written.value),
            "{how}, offset {offset}"
        );
        assert_eq!(headers(record), written.headers, "{how}, offset {offset}");
        assert_eq!(record.timestamp, 1_700_000_000_000, "{how}");
    }
}

#[tokio::test]
async fn records_of_other_clients_are_read_as_they_are() {
    let world = World::new(CODECS.len() as i32).await;
    let records = records();
    let records: Vec<_> = records.iter().map(Vec::as_slice).collect();
    for (partition, (_, number, compress)) in CODECS.iter().enumerate() {
        produce(
            &world,
            partition as i32,
            packed(*number, &records, compress),
        )
        .await;
    }

    let count = CODECS.len() * CONTENTS.len();
    let handled: Arc<Mutex<BTreeMap<(i32, i64), ConsumerRecord>>> = Arc::default();
    let kept = handled.clone();
    let handler = Scripted::new(move |record| {
        let twice = kept
            .lock()
            .insert((record.partition, record.offset), record);
        async move {
            assert!(twice.is_none(), "{twice:?}");
            Outcome::Done
        }
    });
    let running = Running::start(world.consumer(), handler.clone());
    handler.until_calls(count).await;
    assert!(running.stop().await.is_clean());
    let read = world.read(&world.topic, count).await;
    let admin = world.client.admin();
    for (partition, (name, ..)) in CODECS.iter().enumerate() {
        let partition = partition as i32;
        let of = |record: &&ConsumerRecord| record.partition == partition;
        let handled: Vec<_> = handled.lock().values().filter(of).cloned().collect();
        assert_as_written(&format!("{name}, handled"), &handled);
        let read: Vec<_> = read.iter().filter(of).cloned().collect();
        assert_as_written(&format!("{name}, read"), &read);
        let mut single = Vec::new();
        for offset in 0..CONTENTS.len() as i64 {
            let record = admin.read_record(&world.topic, partition, offset).await;
            single.push(record.expect("an answer").expect("a record"));
        }
        assert_as_written(&format!("{name}, one by one"), &single);
        assert_eq!(
            world.committed().await[&partition].0,
            CONTENTS.len() as i64,
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_repeated_header_has_its_last_value_and_a_null_one_none() {
    let world = World::new(1).await;
    produce(&world, 0, batch::batch(&[&CONTENTS[5].record(0)])).await;
    let read = world.read(&world.topic, 1).await;
    assert_eq!(read[0].headers.get_str("a"), Some("1"));
    assert_eq!(read[0].headers.get("b"), None);
    let names: Vec<_> = read[0].headers.iter().map(|(name, _)| name).collect();
    assert_eq!(names, [&b"a"[..], b"b", b"a", b"a"]);
}

#[tokio::test]
async fn they_lie_in_the_dead_letters_as_they_were() {
    let world = World::new(1).await.with_dead_letters(1).await;
    let records = records();
    let records: Vec<_> = records.iter().map(Vec::as_slice).collect();
    produce(&world, 0, batch::batch(&records)).await;
    let handler = Scripted::new(|_| async { Outcome::Reject("not ours".to_owned()) });
    let running = Running::start(world.consumer().dead_letters(world.letters()), handler);
    let letters = world.read(&world.dlt(), CONTENTS.len()).await;
    assert!(running.stop().await.is_clean());
    let by_offset: BTreeMap<i64, &ConsumerRecord> = letters
        .iter()
        .map(|letter| {
            let offset = letter.headers.get_str(kafka::dead_letter::ORIGINAL_OFFSET);
            (
                offset.expect("its place").parse().expect("a number"),
                letter,
            )
        })
        .collect();
    for (offset, written) in CONTENTS.iter().enumerate() {
        let letter = by_offset[&(offset as i64)];
        assert_eq!(
            (letter.key.as_deref(), letter.value.as_deref()),
            (written.key, written.value),
            "offset {offset}"
        );
        assert_eq!(
            headers(letter)[..written.headers.len()],
            *written.headers,
            "offset {offset}"
        );
    }
}
