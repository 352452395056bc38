//! The old end of a log: what may go, and what was told to.

use std::io;

use super::segment::Segment;
use super::{Log, start_offset_path};

impl Log {
    /// Moves the log's start up to `offset`; whole segments before it are deleted.
    pub(crate) fn delete_before(&mut self, offset: i64) -> io::Result<()> {
        if offset > self.start_offset {
            self.disk
                .replace(&start_offset_path(&self.dir), offset.to_string().as_bytes())?;
            self.start_offset = offset;
            while self.segments.len() > 1 && self.segments[1].base() <= offset {
                self.delete_oldest()?;
            }
        }
        Ok(())
    }

    /// Deletes whole segments that retention no longer covers; says how many.
    pub(crate) fn enforce_retention(&mut self, now: i64) -> io::Result<usize> {
        let segment_ms = self.options.segment_ms;
        let age = self
            .options
            .retention_ms
            .map_or(segment_ms, |keep| keep.min(segment_ms));
        // A closed segment serves retention alone: a table that keeps all would become a heap of files.
        let deletes = self.options.retention_ms.is_some() || self.options.retention_bytes.is_some();
        if deletes && self.active().size() > 0 && now - self.active().created() > age {
            self.mend()?;
            self.roll(now)?;
        }
        let mut deleted = 0;
        while self.segments.len() > 1 {
            let oldest = &self.segments[0];
            // A producer may write any time, also one at which adding to it would overflow.
            let expired = self
                .options
                .retention_ms
                .is_some_and(|keep| oldest.newest_record() < now.saturating_sub(keep));
            let surplus = self
                .options
                .retention_bytes
                .is_some_and(|keep| self.size() - oldest.size() >= keep);
            if !expired && !surplus {
                break;
            }
            self.delete_oldest()?;
            deleted += 1;
        }
        Ok(deleted)
    }

    fn delete_oldest(&mut self) -> io::Result<()> {
        if let Some(oldest) = self.segments.front() {
            oldest.delete()?;
            self.segments.pop_front();
        }
        let first = self.segments.front().map_or(self.end_offset, Segment::base);
        self.start_offset = self.start_offset.max(first);
        self.cursors.retain(|cursor| cursor.segment >= first);
        Ok(())
    }
}
