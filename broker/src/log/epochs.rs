//! Which leader epoch started at which offset (KIP-101), so that a client can tell whether what it
//! read is still there.

use std::io;
use std::path::{Path, PathBuf};

use crate::disk::Disk;

pub(super) struct Epochs {
    /// Epochs and their first offsets, in ascending order of both.
    begun: Vec<(i32, i64)>,
    /// This many of them are on the disk. The newest is not before its first record: the next start
    /// would forget it, since then it begins at the end of the log.
    stored: usize,
}

impl Epochs {
    /// Reads the partition's epochs; those past the end of the log are forgotten.
    pub(super) fn open(dir: &Path, end_offset: i64) -> io::Result<Self> {
        let mut epochs: Vec<(i32, i64)> = match std::fs::read(path(dir)) {
            Ok(content) => serde_json::from_slice(&content).map_err(io::Error::other)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        epochs.retain(|(_, start)| *start < end_offset);
        Ok(Self {
            stored: epochs.len(),
            begun: epochs,
        })
    }

    /// Notes that `epoch` leads from `offset` on, the end of the log. Java's
    /// `LeaderEpochFileCache.assign`, which a new leader calls before it takes any record: a client
    /// asks about the last epoch that it saw, with records or without.
    pub(super) fn begin(&mut self, epoch: i32, offset: i64) {
        if self.begun.last().is_none_or(|(last, _)| *last < epoch) {
            self.begun.push((epoch, offset));
        }
    }

    /// Notes, before it is stored, that a batch of `epoch` comes at `offset`.
    pub(super) fn note(
        &mut self,
        disk: &Disk,
        dir: &Path,
        epoch: i32,
        offset: i64,
    ) -> io::Result<()> {
        self.begin(epoch, offset);
        if self.stored < self.begun.len() {
            let content = serde_json::to_vec(&self.begun).map_err(io::Error::other)?;
            disk.replace(&path(dir), &content)?;
            self.stored = self.begun.len();
        }
        Ok(())
    }

    pub(super) fn end_of(&self, requested: i32, log_end: i64) -> Option<(i32, i64)> {
        let next = self.begun.partition_point(|(epoch, _)| *epoch <= requested);
        let floor = next.checked_sub(1).map(|at| self.begun[at].0);
        match self.begun.get(next) {
            Some((_, start)) => Some((floor.unwrap_or(requested), *start)),
            None if floor == Some(requested) => Some((requested, log_end)),
            None => None,
        }
    }

    pub(super) fn of(&self, offset: i64) -> Option<i32> {
        let next = self.begun.partition_point(|(_, start)| *start <= offset);
        next.checked_sub(1).map(|at| self.begun[at].0)
    }
}

fn path(dir: &Path) -> PathBuf {
    dir.join("leader-epochs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_ends_where_the_next_one_starts() {
        let epochs = Epochs {
            begun: vec![(1, 0), (3, 10), (4, 25)],
            stored: 3,
        };
        assert_eq!(epochs.end_of(1, 30), Some((1, 10)));
        assert_eq!(epochs.end_of(2, 30), Some((1, 10)));
        assert_eq!(epochs.end_of(4, 30), Some((4, 30)));
        assert_eq!(epochs.end_of(0, 30), Some((0, 0)));
        assert_eq!(epochs.end_of(9, 30), None);
        assert_eq!(epochs.of(9), Some(1));
        assert_eq!(epochs.of(10), Some(3));
    }

    #[test]
    fn epochs_survive_and_those_past_the_end_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::default();
        let mut epochs = Epochs::open(dir.path(), 0).unwrap();
        epochs.note(&disk, dir.path(), 1, 0).unwrap();
        epochs.note(&disk, dir.path(), 1, 5).unwrap();
        epochs.note(&disk, dir.path(), 2, 10).unwrap();
        let epochs = Epochs::open(dir.path(), 10).unwrap();
        assert_eq!(epochs.begun, [(1, 0)]);
    }

    #[test]
    fn an_epoch_without_records_is_known_and_costs_the_disk_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::default();
        let mut epochs = Epochs::open(dir.path(), 0).unwrap();
        epochs.begin(1, 0);
        epochs.note(&disk, dir.path(), 1, 0).unwrap();
        // A start after which nothing is written.
        let mut epochs = Epochs::open(dir.path(), 10).unwrap();
        epochs.begin(2, 10);
        assert_eq!(epochs.end_of(2, 10), Some((2, 10)));
        // Another one, which takes a record before the log ends at 11.
        let mut epochs = Epochs::open(dir.path(), 10).unwrap();
        epochs.begin(3, 10);
        assert_eq!(epochs.end_of(2, 10), Some((1, 10)));
        epochs.note(&disk, dir.path(), 3, 10).unwrap();
        let epochs = Epochs::open(dir.path(), 11).unwrap();
        assert_eq!(epochs.begun, [(1, 0), (3, 10)]);
    }
}
