//! A small append-only file of JSON records: what the broker knows besides the records themselves.
//!
//! One record a line, `<crc32c in hex> <json>`. A torn last line is cut off when the journal is
//! opened; the file is rewritten with what still counts when it has grown past its use.

use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Serialize, de::DeserializeOwned};

use crate::disk::{Disk, UNSOUND};

/// A rewrite is worth it only past this size, in bytes.
const REWRITE_FLOOR: u64 = 8 * 1024 * 1024;

pub(crate) struct Journal<R> {
    path: PathBuf,
    disk: Arc<Disk>,
    file: File,
    size: u64,
    /// Size after the last rewrite: growth is judged by it.
    base_size: u64,
    /// A failed append left bytes that could not be cut off yet.
    dirty: bool,
    /// The file was replaced by a shorter one that could not be opened yet: nothing may be appended to
    /// this one.
    replaced: bool,
    /// Bytes could not be forced to the device: this file is not to be trusted with more.
    unsound: bool,
    records: PhantomData<fn(R)>,
}

impl<R: Serialize + DeserializeOwned> Journal<R> {
    /// Opens or creates the journal and reads what it holds, oldest first.
    ///
    /// # Errors
    /// When the file cannot be read or written, or a line before the last is damaged: that is no
    /// torn write, and guessing what it held could undo an acknowledged change.
    pub(crate) fn open(path: &Path, disk: Arc<Disk>) -> io::Result<(Self, Vec<R>)> {
        let file = disk.open(path)?;
        let content = std::fs::read(path)?;
        let (records, valid) = parse(path, &content)?;
        if valid < content.len() {
            tracing::warn!(
                file = %path.display(),
                bytes = content.len() - valid,
                "cut a torn record off the end of the journal"
            );
            file.set_len(valid as u64)?;
        }
        let journal = Self {
            path: path.to_owned(),
            disk,
            file,
            size: valid as u64,
            // How much of it still counts is not known; the first rewrite will tell.
            base_size: 0,
            dirty: false,
            replaced: false,
            unsound: false,
            records: PhantomData,
        };
        Ok((journal, records))
    }

    /// Stores the records, all or none.
    pub(crate) fn append(&mut self, records: &[R]) -> io::Result<()> {
        self.store(records, false)
    }

    /// Stores the records on the device, all or none. When the device fails, nothing more is
    /// stored until the journal is opened anew.
    pub(crate) fn append_durably(&mut self, records: &[R]) -> io::Result<()> {
        self.store(records, true)
    }

    fn store(&mut self, records: &[R], durably: bool) -> io::Result<()> {
        if self.unsound {
            return Err(io::Error::other(UNSOUND));
        }
        if self.replaced {
            self.open_again()?;
        }
        if self.dirty {
            self.file.set_len(self.size)?;
            self.dirty = false;
        }
        let lines = encode(records)?;
        let mut written = self.disk.append(&self.file, &[&lines]);
        if written.is_ok() && durably {
            written = self.disk.sync(&self.file);
            self.unsound = written.is_err();
        }
        if let Err(error) = written {
            self.dirty = self.file.set_len(self.size).is_err();
            return Err(error);
        }
        self.size += lines.len() as u64;
        Ok(())
    }

    /// True once most of the file is likely outdated.
    pub(crate) fn overgrown(&self) -> bool {
        self.size > REWRITE_FLOOR && self.size > self.base_size.saturating_mul(4)
    }

    /// Replaces the whole content by these records.
    pub(crate) fn rewrite(&mut self, records: &[R]) -> io::Result<()> {
        let lines = encode(records)?;
        self.disk.replace_durably(&self.path, &lines)?;
        self.size = lines.len() as u64;
        self.base_size = self.size;
        self.dirty = false;
        self.open_again()
    }

    fn open_again(&mut self) -> io::Result<()> {
        self.replaced = true;
        self.file = self.disk.open(&self.path)?;
        self.replaced = false;
        Ok(())
    }

    /// Forces everything appended to the device.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.disk.sync(&self.file)
    }
}

fn encode<R: Serialize>(records: &[R]) -> io::Result<Vec<u8>> {
    let mut lines = Vec::new();
    for record in records {
        let json = serde_json::to_vec(record).map_err(io::Error::other)?;
        lines.extend_from_slice(format!("{:08x} ", crc32c::crc32c(&json)).as_bytes());
        lines.extend_from_slice(&json);
        lines.push(b'\n');
    }
    Ok(lines)
}

fn parse<R: DeserializeOwned>(path: &Path, content: &[u8]) -> io::Result<(Vec<R>, usize)> {
    let mut records = Vec::new();
    let mut valid = 0;
    while valid < content.len() {
        let rest = &content[valid..];
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
            break;
        };
        let line = &rest[..end];
        let Some(record) = decode_line(line) else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "{} is damaged at byte {valid}: move the data folder away or restore it",
                    path.display()
                ),
            ));
        };
        records.push(record);
        valid += end + 1;
    }
    Ok((records, valid))
}

fn decode_line<R: DeserializeOwned>(line: &[u8]) -> Option<R> {
    let crc = u32::from_str_radix(std::str::from_utf8(line.get(..8)?).ok()?, 16).ok()?;
    let json = line.get(9..)?;
    (crc32c::crc32c(json) == crc).then_some(())?;
    serde_json::from_slice(json).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::DiskFault;

    fn open(path: &Path, disk: &Arc<Disk>) -> (Journal<String>, Vec<String>) {
        Journal::open(path, disk.clone()).unwrap()
    }

    #[test]
    fn a_torn_last_record_is_cut_off_and_writing_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let disk = Arc::new(Disk::default());
        let (mut journal, _) = open(&path, &disk);
        journal.append(&["one".into(), "two".into()]).unwrap();
        drop(journal);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 3]).unwrap();

        let (mut journal, records) = open(&path, &disk);
        assert_eq!(records, ["one"]);
        journal.append(&["three".into()]).unwrap();
        let (_, records) = open(&path, &disk);
        assert_eq!(records, ["one", "three"]);
    }

    #[test]
    fn damage_in_the_middle_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let disk = Arc::new(Disk::default());
        let (mut journal, _) = open(&path, &disk);
        journal.append(&["one".into(), "two".into()]).unwrap();
        let mut whole = std::fs::read(&path).unwrap();
        whole[11] ^= 1;
        std::fs::write(&path, &whole).unwrap();
        assert!(Journal::<String>::open(&path, disk).is_err());
    }

    #[test]
    fn what_cannot_be_forced_to_the_device_is_not_there_and_nothing_follows_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let disk = Arc::new(Disk::default());
        let (mut journal, _) = open(&path, &disk);
        journal.append_durably(&["one".into()]).unwrap();
        disk.set_fault(Some(DiskFault::Unsynced));
        journal.append_durably(&["two".into()]).unwrap_err();
        disk.set_fault(None);
        journal.append_durably(&["three".into()]).unwrap_err();
        let (mut journal, records) = open(&path, &disk);
        assert_eq!(records, ["one"]);
        journal.append_durably(&["four".into()]).unwrap();
    }

    #[test]
    fn a_failed_append_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let disk = Arc::new(Disk::default());
        let (mut journal, _) = open(&path, &disk);
        journal.append(&["one".into()]).unwrap();
        disk.set_fault(Some(DiskFault::Full { after_bytes: 4 }));
        journal.append(&["two".into()]).unwrap_err();
        disk.set_fault(None);
        journal.append(&["three".into()]).unwrap();
        assert_eq!(open(&path, &disk).1, ["one", "three"]);
    }

    #[test]
    fn a_rewrite_keeps_only_what_it_is_given() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let disk = Arc::new(Disk::default());
        let (mut journal, _) = open(&path, &disk);
        journal.append(&["one".into(), "two".into()]).unwrap();
        journal.rewrite(&["two".into()]).unwrap();
        journal.append(&["three".into()]).unwrap();
        assert_eq!(open(&path, &disk).1, ["two", "three"]);
    }
}
