use super::batch::testing::Build;
use super::*;
use crate::disk::DiskFault;
use bytes::BytesMut;

const OPTIONS: LogOptions = LogOptions {
    segment_bytes: 1 << 20,
    segment_ms: i64::MAX,
    retention_ms: None,
    retention_bytes: None,
    append_time: false,
    durable: false,
};

struct Place {
    dir: tempfile::TempDir,
    disk: Arc<Disk>,
}

fn place() -> Place {
    Place {
        dir: tempfile::tempdir().unwrap(),
        disk: Arc::new(Disk::default()),
    }
}

impl Place {
    fn open(&self, options: LogOptions) -> Log {
        Log::open(self.dir.path(), self.disk.clone(), options, 0).unwrap()
    }

    fn files(&self, extension: &str) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = std::fs::read_dir(self.dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|found| found == extension))
            .collect();
        files.sort();
        files
    }
}

fn append(log: &mut Log, build: Build) -> Result<Appended, AppendError> {
    append_at(log, build, 0)
}

fn append_at(log: &mut Log, build: Build, now: i64) -> Result<Appended, AppendError> {
    let bytes = build.bytes();
    let header = BatchHeader::parse(&bytes).unwrap();
    let appended = log.append(&bytes, &header, 1, now);
    for checkpoint in log.take_checkpoints() {
        checkpoint.write(&log.disk);
    }
    appended
}

fn plain(count: i32) -> Build {
    Build {
        count,
        ..Default::default()
    }
}

/// Base offsets of the batches read from `offset` on, until there are no more.
fn read_all(log: &mut Log, mut offset: i64, max_bytes: usize) -> Vec<i64> {
    let mut found = Vec::new();
    let mut buffer = BytesMut::new();
    while let Some(plan) = log.plan_read(offset).unwrap().unwrap() {
        let chunk = plan.read(max_bytes, true, &mut buffer).unwrap().unwrap();
        let mut rest = &chunk.bytes[..];
        while let Some(header) = BatchHeader::parse(rest) {
            found.push(header.base_offset);
            rest = &rest[header.size..];
        }
        assert!(rest.is_empty(), "whole batches only");
        log.remember(chunk.next_offset, chunk.segment, chunk.next_position);
        offset = chunk.next_offset;
    }
    found
}

#[test]
fn batches_get_the_next_offsets_and_come_back_whole() {
    let place = place();
    let mut log = place.open(OPTIONS);
    for (count, base) in [(2, 0), (1, 2), (3, 3)] {
        let appended = append(&mut log, plain(count)).unwrap();
        assert_eq!(appended.base_offset, base);
    }
    assert_eq!(log.end_offset(), 6);
    assert_eq!(read_all(&mut log, 0, 1 << 20), [0, 2, 3]);
    // In the middle of a batch: the batch that holds the offset.
    assert_eq!(read_all(&mut log, 4, 1 << 20), [3]);
    // The first batch comes whatever the limit.
    assert_eq!(read_all(&mut log, 0, 1), [0, 2, 3]);
    assert!(log.plan_read(7).unwrap().is_err());
    assert!(log.plan_read(-1).unwrap().is_err());
}

#[test]
fn a_limit_keeps_a_batch_back_unless_it_is_the_first() {
    let place = place();
    let mut log = place.open(OPTIONS);
    append(&mut log, plain(1)).unwrap();
    let plan = log.plan_read(0).unwrap().unwrap().unwrap();
    let mut buffer = BytesMut::new();
    assert!(plan.read(20, false, &mut buffer).unwrap().is_none());
    assert!(plan.read(20, true, &mut buffer).unwrap().is_some());
}

#[test]
fn stored_batches_carry_offset_and_epoch_and_their_checksum_still_holds() {
    let place = place();
    let mut log = place.open(OPTIONS);
    append(&mut log, plain(2)).unwrap();
    append(&mut log, plain(1)).unwrap();
    let plan = log.plan_read(2).unwrap().unwrap().unwrap();
    let chunk = plan
        .read(1 << 20, true, &mut BytesMut::new())
        .unwrap()
        .unwrap();
    let header = BatchHeader::parse(&chunk.bytes).unwrap();
    assert_eq!((header.base_offset, header.leader_epoch), (2, 1));
    assert!(batch::checksum_holds(&chunk.bytes, &header));
}

#[test]
fn a_torn_tail_is_cut_off_and_nothing_else() {
    for cut in [1, 30, 70] {
        let place = place();
        let mut log = place.open(OPTIONS);
        for _ in 0..3 {
            append(&mut log, plain(2)).unwrap();
        }
        drop(log);
        let file = &place.files("log")[0];
        let length = std::fs::metadata(file).unwrap().len();
        let options = std::fs::OpenOptions::new().write(true).open(file).unwrap();
        options.set_len(length - cut).unwrap();

        let mut log = place.open(OPTIONS);
        assert_eq!(log.end_offset(), 4, "cut by {cut}");
        assert_eq!(append(&mut log, plain(1)).unwrap().base_offset, 4);
        assert_eq!(read_all(&mut log, 0, 1 << 20), [0, 2, 4]);
    }
}

#[test]
fn a_tail_with_a_wrong_checksum_is_cut_off() {
    let place = place();
    let mut log = place.open(OPTIONS);
    append(&mut log, plain(1)).unwrap();
    append(&mut log, plain(1)).unwrap();
    drop(log);
    let file = &place.files("log")[0];
    let mut content = std::fs::read(file).unwrap();
    *content.last_mut().unwrap() ^= 1;
    std::fs::write(file, content).unwrap();
    assert_eq!(place.open(OPTIONS).end_offset(), 1);
}

#[test]
fn where_no_more_files_may_be_kept_open_they_are_opened_for_each_use() {
    let mut place = place();
    place.disk = Arc::new(Disk::keeping(0));
    let mut log = place.open(small_segments());
    for _ in 0..40 {
        append(&mut log, plain(1)).unwrap();
    }
    assert!(place.files("log").len() > 1, "several segments");
    assert_eq!(read_all(&mut log, 0, 1 << 20).len(), 40);
    drop(log);
    let mut log = place.open(small_segments());
    append(&mut log, plain(1)).unwrap();
    assert_eq!(read_all(&mut log, 0, 1 << 20).len(), 41);
    // What is given back may be kept again.
    let files = Disk::keeping(1).open_files();
    let first = files.keep();
    assert!(first.is_some() && files.keep().is_none());
    drop(first);
    assert!(files.keep().is_some());
}

fn small_segments() -> LogOptions {
    LogOptions {
        segment_bytes: 300,
        ..OPTIONS
    }
}

#[test]
fn segments_follow_one_another_and_survive() {
    let place = place();
    let mut log = place.open(small_segments());
    for _ in 0..20 {
        append(&mut log, plain(1)).unwrap();
    }
    assert!(place.files("log").len() > 3);
    assert!(!place.files("summary").is_empty());
    let expected: Vec<i64> = (0..20).collect();
    assert_eq!(read_all(&mut log, 0, 1 << 20), expected);
    drop(log);
    let mut log = place.open(small_segments());
    assert_eq!(read_all(&mut log, 0, 1 << 20), expected);
    assert_eq!(append(&mut log, plain(1)).unwrap().base_offset, 20);
    // Summaries only save time.
    drop(log);
    for summary in place.files("summary") {
        std::fs::remove_file(summary).unwrap();
    }
    let mut log = place.open(small_segments());
    assert_eq!(read_all(&mut log, 7, 1 << 20), (7..21).collect::<Vec<_>>());
}

#[test]
fn a_long_log_is_found_through_its_index() {
    let place = place();
    let options = LogOptions {
        segment_bytes: 400_000,
        ..OPTIONS
    };
    let mut log = place.open(options);
    for n in 0..3000 {
        let build = Build {
            count: 2,
            timestamp: 10_000 + n * 10,
            value_len: 200,
            ..Default::default()
        };
        append(&mut log, build).unwrap();
    }
    drop(log);
    let mut log = place.open(options);
    for offset in [0, 1, 2, 777, 2999, 3000, 5998, 5999] {
        let plan = log.plan_read(offset).unwrap().unwrap().unwrap();
        let chunk = plan.read(1, true, &mut BytesMut::new()).unwrap().unwrap();
        let header = BatchHeader::parse(&chunk.bytes).unwrap();
        assert_eq!(header.base_offset, offset / 2 * 2);
    }
    for (timestamp, found) in [
        (0, Some((0, 10_000))),
        (10_001, Some((1, 10_001))),
        (10_002, Some((2, 10_010))),
        (25_000, Some((3000, 25_000))),
        (39_991, Some((5999, 39_991))),
        (39_992, None),
    ] {
        assert_eq!(log.offset_for_timestamp(timestamp).unwrap(), found);
    }
    assert_eq!(log.max_timestamp().unwrap(), Some((5999, 39_991)));
}

#[test]
fn bytes_ahead_are_counted_for_a_reader_at_the_tail() {
    let place = place();
    let mut log = place.open(small_segments());
    let size = plain(1).bytes().len() as u64;
    for _ in 0..10 {
        append(&mut log, plain(1)).unwrap();
    }
    assert_eq!(log.bytes_from(10), 0);
    assert_eq!(log.bytes_from(9), size);
    assert_eq!(log.bytes_from(0), 10 * size);
}

#[test]
fn what_cannot_be_forced_to_the_device_is_not_there_and_nothing_follows_it() {
    let place = place();
    let options = LogOptions {
        durable: true,
        ..OPTIONS
    };
    let mut log = place.open(options);
    let batch = |base_sequence| Build {
        producer_id: 9,
        base_sequence,
        ..Default::default()
    };
    append(&mut log, batch(0)).unwrap();
    let size = log.size();
    place.disk.set_fault(Some(DiskFault::Unsynced));
    append(&mut log, batch(1)).unwrap_err();
    // The device says yes again, and the producer repeats its batch.
    place.disk.set_fault(None);
    let error = append(&mut log, batch(1)).unwrap_err().to_string();
    assert!(error.contains("restart"), "{error}");
    assert_eq!((log.end_offset(), log.size()), (1, size));
    assert_eq!(read_all(&mut log, 0, 1 << 20), [0]);
    drop(log);
    let mut log = place.open(options);
    assert_eq!(log.end_offset(), 1);
    let again = append(&mut log, batch(1)).unwrap();
    assert_eq!((again.base_offset, again.duplicate), (1, false));
}

#[test]
fn a_full_disk_refuses_and_leaves_the_log_as_it_was() {
    let place = place();
    let mut log = place.open(OPTIONS);
    append(&mut log, plain(1)).unwrap();
    place
        .disk
        .set_fault(Some(DiskFault::Full { after_bytes: 20 }));
    assert!(matches!(
        append(&mut log, plain(1)),
        Err(AppendError::Storage(_))
    ));
    assert_eq!(log.end_offset(), 1);
    place.disk.set_fault(None);
    assert_eq!(append(&mut log, plain(1)).unwrap().base_offset, 1);
    drop(log);
    let mut log = place.open(OPTIONS);
    assert_eq!(read_all(&mut log, 0, 1 << 20), [0, 1]);
}

fn sequenced(sequence: i32) -> Build {
    Build {
        producer_id: 5,
        producer_epoch: 0,
        base_sequence: sequence,
        ..Default::default()
    }
}

#[test]
fn producers_are_remembered_across_restarts_and_segments() {
    for orderly in [false, true] {
        let place = place();
        let mut log = place.open(small_segments());
        for sequence in 0..10 {
            append(&mut log, sequenced(sequence)).unwrap();
        }
        if orderly {
            log.checkpoint().unwrap().write(&place.disk);
        }
        drop(log);
        let mut log = place.open(small_segments());
        let repeated = append(&mut log, sequenced(8)).unwrap();
        assert_eq!((repeated.base_offset, repeated.duplicate), (8, true));
        assert!(matches!(
            append(&mut log, sequenced(11)),
            Err(AppendError::Sequence(SequenceError::OutOfOrder { .. }))
        ));
        assert_eq!(append(&mut log, sequenced(10)).unwrap().base_offset, 10);
        assert_eq!(log.end_offset(), 11);
    }
}

#[test]
fn retention_by_size_deletes_whole_segments() {
    let place = place();
    let mut log = place.open(LogOptions {
        retention_bytes: Some(500),
        ..small_segments()
    });
    for _ in 0..20 {
        append(&mut log, plain(1)).unwrap();
    }
    let deleted = log.enforce_retention(0).unwrap();
    assert!(deleted > 0);
    assert!(log.size() >= 500);
    let oldest = log.segments[0].size();
    assert!(log.size() - oldest < 500);
    assert!(log.start_offset() > 0);
    assert!(log.plan_read(0).unwrap().is_err());
    let start = log.start_offset();
    assert_eq!(read_all(&mut log, start, 1 << 20).len() as i64, 20 - start);
    drop(log);
    assert_eq!(place.open(small_segments()).start_offset(), start);
}

#[test]
fn retention_by_age_deletes_the_active_segment_too() {
    let place = place();
    let mut log = place.open(LogOptions {
        retention_ms: Some(1000),
        ..small_segments()
    });
    for n in 0..10 {
        let build = Build {
            timestamp: n * 100,
            ..Default::default()
        };
        append_at(&mut log, build, n * 100).unwrap();
    }
    assert_eq!(log.enforce_retention(900).unwrap(), 0);
    assert!(log.enforce_retention(1500).unwrap() > 0);
    assert!(log.start_offset() > 0 && log.start_offset() < 10);
    log.enforce_retention(10_000).unwrap();
    assert_eq!((log.start_offset(), log.end_offset()), (10, 10));
    assert_eq!(log.size(), 0);
    drop(log);
    let mut log = place.open(small_segments());
    assert_eq!(append(&mut log, plain(1)).unwrap().base_offset, 10);
}

#[test]
fn age_closes_segments_only_where_something_may_be_deleted() {
    for (retention_bytes, segments) in [(None, 1), (Some(1 << 20), 10)] {
        let place = place();
        let mut log = place.open(LogOptions {
            segment_ms: 5,
            retention_bytes,
            ..OPTIONS
        });
        for n in 0..9 {
            append_at(&mut log, plain(1), n * 10).unwrap();
            assert_eq!(log.enforce_retention(n * 10 + 9).unwrap(), 0);
        }
        assert_eq!(log.segments.len(), segments);
    }
}

#[test]
fn records_of_the_farthest_future_are_kept() {
    let place = place();
    let mut log = place.open(LogOptions {
        retention_ms: Some(1000),
        ..small_segments()
    });
    for _ in 0..10 {
        let build = Build {
            timestamp: i64::MAX - 1,
            ..Default::default()
        };
        append(&mut log, build).unwrap();
    }
    assert_eq!(log.enforce_retention(10_000).unwrap(), 0);
}

#[test]
fn deleted_records_stay_deleted() {
    let place = place();
    let mut log = place.open(small_segments());
    for _ in 0..10 {
        append(&mut log, plain(1)).unwrap();
    }
    log.delete_before(7).unwrap();
    assert_eq!(log.start_offset(), 7);
    drop(log);
    let mut log = place.open(small_segments());
    assert_eq!(log.start_offset(), 7);
    assert!(log.plan_read(6).unwrap().is_err());
    assert_eq!(read_all(&mut log, 7, 1 << 20), [7, 8, 9]);
    assert_eq!(log.offset_for_timestamp(0).unwrap(), Some((7, 1000)));
}

#[test]
fn epochs_tell_where_each_start_began() {
    let place = place();
    let mut log = place.open(OPTIONS);
    let bytes = plain(2).bytes();
    let header = BatchHeader::parse(&bytes).unwrap();
    for epoch in [1, 1, 3] {
        log.append(&bytes, &header, epoch, 0).unwrap();
    }
    drop(log);
    let log = place.open(OPTIONS);
    assert_eq!(log.epoch_end(1, 4), Some((1, 4)));
    assert_eq!(log.epoch_end(2, 4), Some((1, 4)));
    assert_eq!(log.epoch_end(3, 4), Some((3, 6)));
    assert_eq!(log.epoch_end(4, 4), Some((4, 6)));
    assert_eq!(log.epoch_end(5, 4), None);
    assert_eq!(log.epoch_of(3), Some(1));
}

mod random {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever is appended, wherever a crash cuts the last segment: the log is a prefix of
        /// what was appended, whole batches only, and can be read from every offset.
        #[test]
        fn a_recovered_log_is_a_prefix(
            counts in proptest::collection::vec(1i32..6, 1..40),
            cut in 0u64..400,
        ) {
            let place = place();
            let mut log = place.open(small_segments());
            let mut bases = Vec::new();
            for count in &counts {
                bases.push(append(&mut log, plain(*count)).unwrap().base_offset);
            }
            drop(log);
            let file = place.files("log").pop().unwrap();
            let length = std::fs::metadata(&file).unwrap().len();
            let options = std::fs::OpenOptions::new().write(true).open(&file).unwrap();
            options.set_len(length.saturating_sub(cut)).unwrap();

            let mut log = place.open(small_segments());
            let found = read_all(&mut log, 0, 500);
            prop_assert_eq!(&found[..], &bases[..found.len()]);
            if cut == 0 {
                prop_assert_eq!(found.len(), bases.len());
            }
            for offset in 0..log.end_offset() {
                let from = found.partition_point(|base| *base <= offset) - 1;
                prop_assert_eq!(&read_all(&mut log, offset, 300)[..], &found[from..]);
            }
        }
    }
}
