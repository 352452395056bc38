//! Which leader epoch started at which offset (KIP-101), so that a client can tell whether what it
//! read is still there.

use std::io;
use std::path::{Path, PathBuf};

use crate::disk::Disk;

pub(super) struct Epochs(Vec<(i32, i64)>);

impl Epochs {
    /// Reads the partition's epochs; those past the end of the log are forgotten.
    pub(super) fn open(dir: &Path, end_offset: i64) -> io::Result<Self> {
        let mut epochs: Vec<(i32, i64)> = match std::fs::read(path(dir)) {
            Ok(content) => serde_json::from_slice(&content).map_err(io::Error::other)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        epochs.retain(|(_, start)| *start < end_offset);
        Ok(Self(epochs))
    }

    /// Notes, before it is stored, that a batch of `epoch` comes at `offset`.
    pub(super) fn note(
        &mut self,
        disk: &Disk,
        dir: &Path,
        epoch: i32,
        offset: i64,
    ) -> io::Result<()> {
        if self.0.last().is_some_and(|(last, _)| *last >= epoch) {
            return Ok(());
        }
        let mut next = self.0.clone();
        next.push((epoch, offset));
        let content = serde_json::to_vec(&next).map_err(io::Error::other)?;
        disk.replace(&path(dir), &content)?;
        self.0 = next;
        Ok(())
    }

    pub(super) fn end_of(&self, requested: i32, log_end: i64) -> Option<(i32, i64)> {
        let next = self.0.partition_point(|(epoch, _)| *epoch <= requested);
        let floor = next.checked_sub(1).map(|at| self.0[at].0);
        match self.0.get(next) {
            Some((_, start)) => Some((floor.unwrap_or(requested), *start)),
            None if floor == Some(requested) => Some((requested, log_end)),
            None => None,
        }
    }

    pub(super) fn of(&self, offset: i64) -> Option<i32> {
        let next = self.0.partition_point(|(_, start)| *start <= offset);
        next.checked_sub(1).map(|at| self.0[at].0)
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
        let epochs = Epochs(vec![(1, 0), (3, 10), (4, 25)]);
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
        assert_eq!(epochs.0, [(1, 0)]);
    }
}
