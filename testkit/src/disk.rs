//! A disk that is full when it is told to be, for what must meet `ENOSPC` itself.

use std::path::Path;
use std::process::Command;

use rustix::fs::statvfs;
use tempfile::TempDir;

/// More than any test writes. Nothing of it is taken before it is written.
const ROOM: &str = "2g";

/// How often the disk may grow while it is made full.
const RACES: usize = 1_000;

/// A file system of its own (tmpfs), open to every user. Dropping it ends it, with what is on it.
#[derive(Debug)]
pub struct Disk {
    folder: TempDir,
}

impl Disk {
    /// Mounts one.
    ///
    /// # Panics
    /// Where that is not allowed: only root may mount, and in many containers not even root.
    pub fn mount() -> Self {
        let folder = TempDir::with_prefix("disk-").expect("a folder for a disk");
        let disk = Self { folder };
        disk.mount_with(&format!("size={ROOM},mode=0777"))
            .unwrap_or_else(|error| panic!("no disk of the test's own, which takes root: {error}"));
        disk
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// From now on there is no more room than is taken.
    ///
    /// # Panics
    /// When that cannot be done.
    pub fn fill(&self) {
        for _ in 0..RACES {
            let now = statvfs(self.path()).expect("a mounted disk");
            let taken = (now.f_blocks - now.f_bfree) * now.f_frsize;
            // It fails when more has been taken since.
            if self.mount_with(&format!("remount,size={taken}")).is_ok() {
                return;
            }
        }
        panic!("{} cannot be made full", self.path().display());
    }

    /// There is room again.
    ///
    /// # Panics
    /// When that cannot be done.
    pub fn make_room(&self) {
        let larger = self.mount_with(&format!("remount,size={ROOM}"));
        larger.expect("a disk can be made larger");
    }

    fn mount_with(&self, options: &str) -> Result<(), String> {
        let output = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(self.path())
            .output()
            .map_err(|error| format!("mount: {error}"))?;
        if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Also while a process of the test's is about to end on it.
        let _ = Command::new("umount")
            .arg("--lazy")
            .arg(self.path())
            .status();
    }
}
