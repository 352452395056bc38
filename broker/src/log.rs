//! The log of one partition: record batches as they came, in segment files.
//!
//! Reading path: [`Log::append`] puts a batch behind the last one; [`Log::plan_read`] says where in
//! which file an offset lies, and [`ReadPlan::read`] reads there without holding the log.
//! Invariants: segments follow one another without overlap, the last one is the active one and is
//! the only one written; what lies before a segment's `size` is whole batches.

pub(crate) mod batch;
mod epochs;
pub(crate) mod producers;
mod read;
mod retention;
mod segment;

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::disk::{Disk, UNSOUND};
use batch::{BatchHeader, HEADER_LEN, stored_header};
use epochs::Epochs;
use producers::{Producers, SequenceError, Verdict};
pub(crate) use read::ReadPlan;
pub(crate) use segment::Checkpoint;
use segment::Segment;

/// Where readers that follow the log left off: this many of them find their place at once.
const CURSORS: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogOptions {
    /// A segment is closed before it grows past this, in bytes.
    pub(crate) segment_bytes: u64,
    /// A segment is closed at this age at the latest, in milliseconds.
    pub(crate) segment_ms: i64,
    /// Records older than this may go, in milliseconds; `None` keeps them.
    pub(crate) retention_ms: Option<i64>,
    /// Old segments go while the log stays at least this large, in bytes; `None` keeps them.
    pub(crate) retention_bytes: Option<u64>,
    /// Records carry the time of their append, not their producers'.
    pub(crate) append_time: bool,
    /// A batch is forced to the device before it counts.
    pub(crate) durable: bool,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum AppendError {
    #[error(transparent)]
    Sequence(#[from] SequenceError),
    #[error("the log cannot be written: {0}")]
    Storage(#[from] io::Error),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Appended {
    pub(crate) base_offset: i64,
    /// When it was appended, in milliseconds since the Unix epoch, where its records carry that.
    pub(crate) append_time: Option<i64>,
    /// Stored by an earlier request; nothing was written now.
    pub(crate) duplicate: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OutOfRange;

pub(crate) struct Log {
    dir: PathBuf,
    disk: Arc<Disk>,
    options: LogOptions,
    /// Never empty.
    segments: VecDeque<Segment>,
    /// First offset a reader may ask for.
    start_offset: i64,
    end_offset: i64,
    producers: Producers,
    epochs: Epochs,
    cursors: VecDeque<Cursor>,
    /// Of segments that were closed.
    checkpoints: Vec<Checkpoint>,
    /// A failed append left bytes behind that could not be cut off yet.
    torn: bool,
    /// Bytes could not be forced to the device.
    unsound: bool,
}

struct Cursor {
    offset: i64,
    segment: i64,
    position: u64,
}

impl Log {
    /// Opens a partition's folder, created if missing, and cuts off what a crash left half-written.
    ///
    /// `now` is in milliseconds since the Unix epoch.
    pub(crate) fn open(
        dir: &Path,
        disk: Arc<Disk>,
        options: LogOptions,
        now: i64,
    ) -> io::Result<Self> {
        disk.create_dir_all(dir)?;
        let bases = segment::list(dir)?;
        let mut producers = Producers::default();
        let mut segments = VecDeque::with_capacity(bases.len().max(1));
        for base in &bases {
            let segment = Segment::open(dir, *base, &disk, &mut producers, now)?;
            segments.push_back(segment);
        }
        if segments.is_empty() {
            segments.push_back(Segment::create(dir, 0, &disk, now)?);
        }
        let end_offset = segments.back().map_or(0, Segment::end_offset);
        let first = segments.front().map_or(0, Segment::base);
        let start_offset = read_start_offset(dir)?.clamp(first, end_offset.max(first));
        let epochs = Epochs::open(dir, end_offset)?;
        Ok(Self {
            dir: dir.to_owned(),
            disk,
            options,
            segments,
            start_offset,
            end_offset,
            producers,
            epochs,
            cursors: VecDeque::new(),
            checkpoints: Vec::new(),
            torn: false,
            unsound: false,
        })
    }

    pub(crate) fn start_offset(&self) -> i64 {
        self.start_offset
    }

    /// Offset of the next record; with one replica also high watermark and last stable offset.
    pub(crate) fn end_offset(&self) -> i64 {
        self.end_offset
    }

    pub(crate) fn size(&self) -> u64 {
        self.segments.iter().map(Segment::size).sum()
    }

    /// Begins the epoch that the broker leads with, at the end of the log: it is known from now on,
    /// also while it has no records.
    pub(crate) fn lead(&mut self, leader_epoch: i32) {
        self.epochs.begin(leader_epoch, self.end_offset);
    }

    pub(crate) fn set_options(&mut self, options: LogOptions) {
        self.options = options;
    }

    /// Stores a validated batch under the next offsets; `header` is the batch's, with its newest
    /// record's time. `now` is in milliseconds since the Unix epoch.
    ///
    /// When this returns an error nothing was stored: what a failed write left is cut off, or the
    /// log refuses to go on until it can be. After bytes could not be forced to the device it takes
    /// no more until it is opened anew: that device may say yes to the next attempt and have lost
    /// them (Kafka takes the folder offline).
    pub(crate) fn append(
        &mut self,
        batch: &Bytes,
        header: &BatchHeader,
        leader_epoch: i32,
        now: i64,
    ) -> Result<Appended, AppendError> {
        if let Verdict::Duplicate {
            base_offset,
            append_time,
        } = self.producers.check(header)?
        {
            return Ok(Appended {
                base_offset,
                append_time,
                duplicate: true,
            });
        }
        let base_offset = self.end_offset;
        let header = if self.options.append_time {
            header.with_append_time(now)
        } else {
            *header
        };
        self.write(batch, &header, base_offset, leader_epoch, now)?;
        self.producers.record(&header, base_offset, now);
        Ok(Appended {
            base_offset,
            append_time: header.has_append_time().then_some(header.max_timestamp),
            duplicate: false,
        })
    }

    /// Stores bytes that call themselves a batch at `base_offset`, unchecked; for tests that need
    /// a damaged or unusual log.
    pub(crate) fn plant(
        &mut self,
        batch: &Bytes,
        header: &BatchHeader,
        base_offset: i64,
        leader_epoch: i32,
        now: i64,
    ) -> io::Result<i64> {
        let base_offset = base_offset.max(self.end_offset);
        self.write(batch, header, base_offset, leader_epoch, now)?;
        Ok(base_offset)
    }

    fn write(
        &mut self,
        batch: &Bytes,
        header: &BatchHeader,
        base_offset: i64,
        leader_epoch: i32,
        now: i64,
    ) -> io::Result<()> {
        if self.unsound {
            return Err(io::Error::other(UNSOUND));
        }
        self.mend()?;
        let full = {
            let active = self.active();
            active.size() > 0 && active.size() + batch.len() as u64 > self.options.segment_bytes
        };
        if full {
            self.roll(now)?;
        }
        self.epochs
            .note(&self.disk, &self.dir, leader_epoch, base_offset)?;
        let stored = BatchHeader {
            base_offset,
            leader_epoch,
            ..*header
        };
        let head = stored_header(batch, &stored);
        let disk = self.disk.clone();
        let file = self.active_mut().file()?;
        let mut written = disk.append(&file, &[&head, &batch[HEADER_LEN..]]);
        if written.is_ok() && self.options.durable {
            written = disk.sync(&file);
            self.unsound = written.is_err();
        }
        if let Err(error) = written {
            self.torn = true;
            // The error that matters is the first; a failed cut is tried again before the next write.
            let _ = self.mend();
            return Err(error);
        }
        self.active_mut().note_batch(&stored, now);
        self.end_offset = stored.next_offset();
        Ok(())
    }

    /// Cuts off what a failed write left behind the last whole batch.
    fn mend(&mut self) -> io::Result<()> {
        if self.torn {
            let active = self.active_mut();
            let size = active.size();
            active.file()?.set_len(size)?;
            self.torn = false;
        }
        Ok(())
    }

    fn roll(&mut self, now: i64) -> io::Result<()> {
        let fresh = Segment::create(&self.dir, self.end_offset, &self.disk, now)?;
        let checkpoint = self.checkpoint()?;
        self.checkpoints.push(checkpoint);
        self.active_mut().close();
        self.segments.push_back(fresh);
        Ok(())
    }

    /// What a start needs to know of the active segment, so that it need not be read.
    pub(crate) fn checkpoint(&mut self) -> io::Result<Checkpoint> {
        let last = self.segments.len() - 1;
        self.segments[last].checkpoint(&self.producers)
    }

    /// Summaries of segments closed since the last call, to be written where it may take time.
    pub(crate) fn take_checkpoints(&mut self) -> Vec<Checkpoint> {
        std::mem::take(&mut self.checkpoints)
    }

    /// The active segment's file, to force it to the device.
    pub(crate) fn active_file(&mut self) -> io::Result<Arc<File>> {
        self.active_mut().file()
    }

    /// Says where `offset` lies; `Ok(None)` at the end of the log.
    pub(crate) fn plan_read(
        &mut self,
        offset: i64,
    ) -> io::Result<Result<Option<ReadPlan>, OutOfRange>> {
        if offset < self.start_offset || offset > self.end_offset {
            return Ok(Err(OutOfRange));
        }
        if offset == self.end_offset {
            return Ok(Ok(None));
        }
        let at = self.segment_of(offset);
        let cursor = self.cursor(offset, self.segments[at].base());
        let segment = &mut self.segments[at];
        let (position, exact) = match cursor {
            Some(position) => (position, true),
            None => segment.position(offset),
        };
        let plan = ReadPlan {
            file: segment.file()?,
            position,
            exact,
            offset,
            segment: segment.base(),
            segment_size: segment.size(),
        };
        self.close_idle(at);
        Ok(Ok(Some(plan)))
    }

    /// Bytes from `offset` to the end, counting from the last place known before it.
    pub(crate) fn bytes_from(&self, offset: i64) -> u64 {
        if offset >= self.end_offset {
            return 0;
        }
        let at = self.segment_of(offset);
        let segment = &self.segments[at];
        let position = self
            .cursor(offset, segment.base())
            .unwrap_or_else(|| segment.position(offset).0);
        let later: u64 = self.segments.iter().skip(at + 1).map(Segment::size).sum();
        segment.size() - position + later
    }

    /// Remembers where a reader left off.
    pub(crate) fn remember(&mut self, offset: i64, segment: i64, position: u64) {
        if self.cursors.iter().any(|cursor| cursor.offset == offset) {
            return;
        }
        if self.cursors.len() == CURSORS {
            self.cursors.pop_front();
        }
        self.cursors.push_back(Cursor {
            offset,
            segment,
            position,
        });
    }

    fn cursor(&self, offset: i64, segment: i64) -> Option<u64> {
        self.cursors
            .iter()
            .find(|cursor| cursor.offset == offset && cursor.segment == segment)
            .map(|cursor| cursor.position)
    }

    /// First record at or after `timestamp`: its offset and timestamp, both in the log's terms.
    pub(crate) fn offset_for_timestamp(
        &mut self,
        timestamp: i64,
    ) -> io::Result<Option<(i64, i64)>> {
        for at in 0..self.segments.len() {
            let segment = &mut self.segments[at];
            if segment.max_timestamp() < timestamp {
                continue;
            }
            let found = segment.find_timestamp(timestamp, self.start_offset)?;
            self.close_idle(at);
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The record with the greatest timestamp (the first of them): its offset and timestamp.
    pub(crate) fn max_timestamp(&mut self) -> io::Result<Option<(i64, i64)>> {
        let greatest = self
            .segments
            .iter()
            .filter(|segment| segment.size() > 0)
            .map(Segment::max_timestamp)
            .max();
        match greatest {
            Some(timestamp) if timestamp >= 0 => self.offset_for_timestamp(timestamp),
            _ => Ok(None),
        }
    }

    /// Last epoch not after `requested` and the offset where the next one starts; Java's
    /// `LeaderEpochFileCache.endOffsetFor`. `current` is the epoch the broker leads with.
    pub(crate) fn epoch_end(&self, requested: i32, current: i32) -> Option<(i32, i64)> {
        if requested == current {
            return Some((current, self.end_offset));
        }
        self.epochs.end_of(requested, self.end_offset)
    }

    /// Epoch under which the record at `offset` was stored.
    pub(crate) fn epoch_of(&self, offset: i64) -> Option<i32> {
        self.epochs.of(offset)
    }

    /// Forgets idempotent producers silent since before `limit` (milliseconds since the Unix epoch).
    pub(crate) fn expire_producers(&mut self, limit: i64) {
        self.producers.expire(limit);
    }

    fn active(&self) -> &Segment {
        &self.segments[self.segments.len() - 1]
    }

    fn active_mut(&mut self) -> &mut Segment {
        let last = self.segments.len() - 1;
        &mut self.segments[last]
    }

    fn segment_of(&self, offset: i64) -> usize {
        self.segments
            .partition_point(|segment| segment.base() <= offset)
            .saturating_sub(1)
    }

    /// Keeps the files of the active segment and of `used` open, no others: open files are scarce.
    fn close_idle(&mut self, used: usize) {
        let last = self.segments.len() - 1;
        for (at, segment) in self.segments.iter_mut().enumerate() {
            if at != used && at != last {
                segment.close();
            }
        }
    }
}

fn start_offset_path(dir: &Path) -> PathBuf {
    dir.join("log-start-offset")
}

fn read_start_offset(dir: &Path) -> io::Result<i64> {
    match std::fs::read_to_string(start_offset_path(dir)) {
        Ok(text) => text.trim().parse().map_err(io::Error::other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
