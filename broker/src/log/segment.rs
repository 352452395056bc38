//! One file of a partition's log, with what is kept in memory of it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::batch::{BatchHeader, HEADER_LEN, checksum_holds};
use super::producers::Producers;
use super::read::Walk;
use crate::disk::{Disk, Kept, OpenFiles};
use crate::records;

/// Log bytes between two index entries: 24 bytes of memory for each.
const INDEX_INTERVAL: u64 = 32 * 1024;

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct IndexEntry {
    offset: i64,
    position: u64,
    /// Greatest timestamp of all batches before this entry.
    max_timestamp_before: i64,
}

pub(super) struct Segment {
    base: i64,
    path: PathBuf,
    /// Open while in use; the log decides, and the number of files that may be.
    file: Option<(Arc<File>, Kept)>,
    open_files: Arc<OpenFiles>,
    size: u64,
    end_offset: i64,
    /// -1 while no record has one.
    max_timestamp: i64,
    /// When the first batch came and when the last one did, milliseconds since the Unix epoch.
    created: i64,
    written: i64,
    index: Vec<IndexEntry>,
    /// Every batch since the last index entry, so that followers of the tail find theirs at once.
    recent: Vec<(i64, u64)>,
}

/// What a start reads instead of the segment's first `size` bytes.
#[derive(Serialize, Deserialize)]
struct Summary<P> {
    size: u64,
    end_offset: i64,
    max_timestamp: i64,
    created: i64,
    index: Vec<IndexEntry>,
    /// Producer state of the partition after these bytes.
    producers: P,
}

/// A summary to be written; takes as long as the device does, so the log is not held for it.
pub(crate) struct Checkpoint {
    segment: Arc<File>,
    path: PathBuf,
    content: Vec<u8>,
}

impl Checkpoint {
    /// Forces the segment to the device and writes its summary. A failure only costs time: the
    /// next start reads the segment instead.
    pub(crate) fn write(self, disk: &Disk) {
        // The summary vouches for the bytes it covers: they must be on the device before it is.
        let written = disk
            .sync(&self.segment)
            .and_then(|()| disk.replace(&self.path, &self.content));
        if let Err(error) = written
            // Its topic may have been deleted meanwhile.
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(file = %self.path.display(), %error, "cannot write the segment's summary");
        }
    }
}

/// Base offsets of the segments in a folder, in order.
pub(super) fn list(dir: &Path) -> io::Result<Vec<i64>> {
    let mut bases = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            let base = path
                .file_stem()
                .and_then(|stem| stem.to_str())
                .and_then(|stem| stem.parse().ok());
            bases.extend::<Option<i64>>(base);
        }
    }
    bases.sort_unstable();
    Ok(bases)
}

impl Segment {
    pub(super) fn create(dir: &Path, base: i64, disk: &Disk, now: i64) -> io::Result<Self> {
        let path = dir.join(format!("{base:020}.log"));
        let file = disk.open(&path)?;
        // A segment of this name can only be what a failed roll left.
        file.set_len(0)?;
        Ok(Self::empty(base, path, disk, now))
    }

    fn empty(base: i64, path: PathBuf, disk: &Disk, now: i64) -> Self {
        Self {
            base,
            path,
            file: None,
            open_files: disk.open_files(),
            size: 0,
            end_offset: base,
            max_timestamp: -1,
            created: now,
            written: now,
            index: Vec::new(),
            recent: Vec::new(),
        }
    }

    /// Opens a segment of an earlier run: trusts its summary for the bytes that covers, reads and
    /// checks the rest, and cuts off a torn tail. `producers` takes up what the batches say.
    pub(super) fn open(
        dir: &Path,
        base: i64,
        disk: &Disk,
        producers: &mut Producers,
        now: i64,
    ) -> io::Result<Self> {
        let path = dir.join(format!("{base:020}.log"));
        let file = disk.open(&path)?;
        let metadata = file.metadata()?;
        let length = metadata.len();
        let modified = metadata
            .modified()
            .ok()
            .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
            .map_or(now, |since| since.as_millis() as i64);
        let mut segment = Self::empty(base, path, disk, modified);
        if let Some(summary) = segment.read_summary(length) {
            segment.size = summary.size;
            segment.end_offset = summary.end_offset;
            segment.max_timestamp = summary.max_timestamp;
            segment.created = summary.created;
            segment.index = summary.index;
            *producers = summary.producers;
        }
        segment.recover(&file, length, producers, modified)?;
        Ok(segment)
    }

    fn recover(
        &mut self,
        file: &File,
        length: u64,
        producers: &mut Producers,
        modified: i64,
    ) -> io::Result<()> {
        let mut batch = Vec::new();
        let mut head = [0; HEADER_LEN];
        while self.size + HEADER_LEN as u64 <= length {
            file.read_exact_at(&mut head, self.size)?;
            let header = BatchHeader::parse(&head)
                .filter(|header| header.size as u64 <= length - self.size)
                .filter(|header| header.base_offset >= self.end_offset);
            let Some(header) = header else { break };
            batch.resize(header.size, 0);
            file.read_exact_at(&mut batch, self.size)?;
            if !checksum_holds(&batch, &header) {
                break;
            }
            self.note_batch(&header, modified);
            producers.record(&header, header.base_offset, modified);
        }
        if self.size < length {
            tracing::warn!(
                segment = %self.path.display(),
                offset = self.end_offset,
                bytes = length - self.size,
                "cut a torn or damaged tail off the log"
            );
            file.set_len(self.size)?;
        }
        Ok(())
    }

    /// Takes a batch that was just written into account.
    pub(super) fn note_batch(&mut self, header: &BatchHeader, now: i64) {
        if self.size == 0 {
            self.created = now;
        }
        let since = self.index.last().map_or(0, |entry| entry.position);
        if self.size >= since + INDEX_INTERVAL {
            self.index.push(IndexEntry {
                offset: header.base_offset,
                position: self.size,
                max_timestamp_before: self.max_timestamp,
            });
            self.recent.clear();
        }
        self.recent.push((header.base_offset, self.size));
        self.size += header.size as u64;
        self.end_offset = header.next_offset();
        self.max_timestamp = self.max_timestamp.max(header.max_timestamp);
        self.written = now;
    }

    /// Position of a batch at or before `offset`, and whether it is the one that holds it.
    pub(super) fn position(&self, offset: i64) -> (u64, bool) {
        if self.recent.first().is_some_and(|(base, _)| *base <= offset) {
            let after = self.recent.partition_point(|(base, _)| *base <= offset);
            return (self.recent[after - 1].1, true);
        }
        let after = self.index.partition_point(|entry| entry.offset <= offset);
        let position = after.checked_sub(1).map_or(0, |at| self.index[at].position);
        (position, false)
    }

    /// First record with at least this timestamp, at or after offset `from`.
    pub(super) fn find_timestamp(
        &mut self,
        timestamp: i64,
        from: i64,
    ) -> io::Result<Option<(i64, i64)>> {
        let after = self
            .index
            .partition_point(|entry| entry.max_timestamp_before < timestamp);
        let start = after.checked_sub(1).map_or(0, |at| self.index[at].position);
        let file = self.file()?;
        let mut walk = Walk::new(&file, start, self.size);
        while let Some((position, header)) = walk.next()? {
            if header.max_timestamp < timestamp || header.last_offset() < from {
                continue;
            }
            let mut batch = vec![0; header.size];
            file.read_exact_at(&mut batch, position)?;
            let found = records::first_at_or_after(&batch, &header, timestamp, from);
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// What a start needs to know of the segment as it is now, to be written down.
    pub(super) fn checkpoint(&mut self, producers: &Producers) -> io::Result<Checkpoint> {
        let summary = Summary {
            size: self.size,
            end_offset: self.end_offset,
            max_timestamp: self.max_timestamp,
            created: self.created,
            index: self.index.clone(),
            producers,
        };
        Ok(Checkpoint {
            content: serde_json::to_vec(&summary).map_err(io::Error::other)?,
            segment: self.file()?,
            path: self.summary_path(),
        })
    }

    fn read_summary(&self, length: u64) -> Option<Summary<Producers>> {
        let content = std::fs::read(self.summary_path()).ok()?;
        let summary: Summary<Producers> = serde_json::from_slice(&content).ok()?;
        (summary.size <= length).then_some(summary)
    }

    fn summary_path(&self) -> PathBuf {
        self.path.with_extension("summary")
    }

    pub(super) fn delete(&self) -> io::Result<()> {
        match std::fs::remove_file(self.summary_path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        std::fs::remove_file(&self.path)
    }

    /// The open file.
    pub(super) fn file(&mut self) -> io::Result<Arc<File>> {
        if let Some((file, _)) = &self.file {
            return Ok(file.clone());
        }
        let file = File::options().append(true).read(true).open(&self.path)?;
        let file = Arc::new(file);
        self.file = self.open_files.keep().map(|kept| (file.clone(), kept));
        Ok(file)
    }

    pub(super) fn close(&mut self) {
        self.file = None;
    }

    pub(super) fn base(&self) -> i64 {
        self.base
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn end_offset(&self) -> i64 {
        self.end_offset
    }

    pub(super) fn max_timestamp(&self) -> i64 {
        self.max_timestamp
    }

    pub(super) fn created(&self) -> i64 {
        self.created
    }

    /// Age of the segment for retention: its newest timestamp, or its last write if it has none.
    pub(super) fn newest_record(&self) -> i64 {
        if self.max_timestamp >= 0 {
            self.max_timestamp
        } else {
            self.written
        }
    }
}
