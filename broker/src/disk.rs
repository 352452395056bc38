//! The one way bytes reach the disk, and the place where a disk can be made to fail.

use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::owner_only;

/// How the disk misbehaves from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskFault {
    /// Takes this many bytes more, then every write fails with "no space left on device". A write
    /// that does not fit whole is stored in part, as a real disk does it.
    Full {
        /// Bytes that still fit.
        after_bytes: u64,
    },
    /// Every write fails with an input/output error, and nothing of it is stored.
    Broken,
    /// Writes succeed, and what was written cannot be forced to the device.
    Unsynced,
}

/// Why a file takes no more after [`Disk::sync`] failed.
pub(crate) const UNSOUND: &str =
    "bytes could not be forced to the device; look at it, and restart the broker";

/// Writes for every file of a broker's data folder.
///
/// Bytes are handed to the operating system before a call returns: they survive the death of the
/// process, and the death of the machine only after [`Disk::sync`].
#[derive(Debug, Default)]
pub(crate) struct Disk {
    /// Read on every write, so that a healthy disk costs no lock.
    faulty: AtomicBool,
    fault: Mutex<Option<DiskFault>>,
    open_files: Arc<OpenFiles>,
}

/// How many files of logs are kept open between two uses. Beyond the limit a file is opened for each use:
/// slower, and it leaves descriptors for the clients.
#[derive(Debug)]
pub(crate) struct OpenFiles {
    kept: AtomicUsize,
    most: usize,
}

impl Default for OpenFiles {
    fn default() -> Self {
        Self {
            kept: AtomicUsize::new(0),
            most: usize::MAX,
        }
    }
}

impl OpenFiles {
    /// Permission to keep one file open, until it is dropped; `None` where as many are open as may be.
    pub(crate) fn keep(self: &Arc<Self>) -> Option<Kept> {
        if self.kept.fetch_add(1, Ordering::Relaxed) < self.most {
            return Some(Kept(self.clone()));
        }
        self.kept.fetch_sub(1, Ordering::Relaxed);
        None
    }
}

/// One file that is kept open.
#[derive(Debug)]
pub(crate) struct Kept(Arc<OpenFiles>);

impl Drop for Kept {
    fn drop(&mut self) {
        self.0.kept.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Disk {
    /// With this many files of logs kept open at most.
    pub(crate) fn keeping(most: usize) -> Self {
        Self {
            open_files: Arc::new(OpenFiles {
                most,
                ..OpenFiles::default()
            }),
            ..Self::default()
        }
    }

    pub(crate) fn open_files(&self) -> Arc<OpenFiles> {
        self.open_files.clone()
    }

    pub(crate) fn set_fault(&self, fault: Option<DiskFault>) {
        let mut current = self.fault.lock();
        *current = fault;
        self.faulty.store(fault.is_some(), Ordering::Release);
    }

    /// Opens for appending and reading; creates what is missing.
    pub(crate) fn open(&self, path: &Path) -> io::Result<File> {
        if !path.exists() {
            self.admit(0)?;
        }
        owner_only::options()
            .create(true)
            .append(true)
            .read(true)
            .open(path)
    }

    pub(crate) fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.admit(0)?;
        owner_only::create_folder(path)
    }

    /// Appends all parts, or fails; after a failure some of them may be in the file.
    pub(crate) fn append(&self, file: &File, parts: &[&[u8]]) -> io::Result<()> {
        let total: usize = parts.iter().map(|part| part.len()).sum();
        let (allowed, verdict) = if self.faulty.load(Ordering::Acquire) {
            self.admit_part(total)
        } else {
            (total, Ok(()))
        };
        let mut slices: Vec<IoSlice<'_>> = Vec::with_capacity(parts.len());
        let mut left = allowed;
        for part in parts {
            let take = part.len().min(left);
            left -= take;
            if take > 0 {
                slices.push(IoSlice::new(&part[..take]));
            }
        }
        let mut slices = slices.as_mut_slice();
        let mut file = file;
        while !slices.is_empty() {
            match file.write_vectored(slices) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut slices, written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        verdict
    }

    /// Replaces a small file in one step: after the death of the process it holds the old content
    /// or the new one.
    pub(crate) fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        self.swap_in(path, content, false)
    }

    /// Like [`Disk::replace`], after the death of the machine too.
    pub(crate) fn replace_durably(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        self.swap_in(path, content, true)
    }

    fn swap_in(&self, path: &Path, content: &[u8], durably: bool) -> io::Result<()> {
        self.admit(content.len())?;
        let fresh = path.with_extension("tmp");
        let mut file = owner_only::options()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&fresh)?;
        file.write_all(content)?;
        if durably {
            // The new name must not reach the device before the bytes do.
            file.sync_data()?;
        }
        std::fs::rename(&fresh, path)
    }

    /// Forces a file's bytes to the device.
    pub(crate) fn sync(&self, file: &File) -> io::Result<()> {
        let failing = [Some(DiskFault::Broken), Some(DiskFault::Unsynced)];
        if self.faulty.load(Ordering::Acquire) && failing.contains(&self.fault.lock()) {
            return Err(broken());
        }
        file.sync_data()
    }

    fn admit(&self, bytes: usize) -> io::Result<()> {
        if !self.faulty.load(Ordering::Acquire) {
            return Ok(());
        }
        match *self.fault.lock() {
            None | Some(DiskFault::Unsynced) => Ok(()),
            Some(DiskFault::Broken) => Err(broken()),
            Some(DiskFault::Full { after_bytes })
                if after_bytes == 0 || (bytes as u64) > after_bytes =>
            {
                Err(io::ErrorKind::StorageFull.into())
            }
            Some(DiskFault::Full { .. }) => Ok(()),
        }
    }

    fn admit_part(&self, bytes: usize) -> (usize, io::Result<()>) {
        match self.fault.lock().as_mut() {
            None | Some(DiskFault::Unsynced) => (bytes, Ok(())),
            Some(DiskFault::Broken) => (0, Err(broken())),
            Some(DiskFault::Full { after_bytes }) => {
                if bytes as u64 <= *after_bytes {
                    *after_bytes -= bytes as u64;
                    (bytes, Ok(()))
                } else {
                    let part = *after_bytes as usize;
                    *after_bytes = 0;
                    (part, Err(io::ErrorKind::StorageFull.into()))
                }
            }
        }
    }
}

fn broken() -> io::Error {
    io::Error::other("input/output error (injected)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_stores_what_fits_and_says_no() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let disk = Disk::default();
        let file = disk.open(&path).unwrap();
        disk.set_fault(Some(DiskFault::Full { after_bytes: 5 }));
        disk.append(&file, &[b"abc"]).unwrap();
        let error = disk.append(&file, &[b"d", b"efg"]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(std::fs::read(&path).unwrap(), b"abcde");
        disk.set_fault(None);
        disk.append(&file, &[b"f"]).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"abcdef");
    }
}
