use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// SQLite's file, and whether it is still the one that was opened: a file that was moved or deleted
/// is written to as if nothing had happened, and lost with the last connection.
#[derive(Clone, Debug)]
pub(super) struct DatabaseFile {
    path: PathBuf,
    opened: Arc<OnceLock<Identity>>,
}

/// What every file of SQLite 3 begins with.
const FORMAT: &[u8] = b"SQLite format 3\0";

/// Device and inode; nothing where the system has no such thing.
type Identity = (u64, u64);

impl DatabaseFile {
    /// The file that a `sqlite:` URL names.
    pub(super) fn of(url: &str) -> Self {
        let path = url.trim_start_matches("sqlite:").trim_start_matches("//");
        Self {
            path: PathBuf::from(path.split('?').next().unwrap_or_default()),
            opened: Arc::default(),
        }
    }

    /// Looks whether a file that is there is one of SQLite's, as the pool would try to open another one
    /// until it says that it has no connection. An empty file becomes a database.
    ///
    /// # Errors
    /// It begins otherwise (<https://www.sqlite.org/fileformat.html>, 1.3.1).
    pub(super) fn check_format(&self) -> Result<(), sqlx::Error> {
        use std::io::Read;
        let mut head = Vec::new();
        let Ok(file) = std::fs::File::open(&self.path) else {
            // Opening the database says why.
            return Ok(());
        };
        let read = file.take(FORMAT.len() as u64).read_to_end(&mut head);
        if read.is_ok() && !head.is_empty() && head != FORMAT {
            let problem = format!("{} is no SQLite database", self.path.display());
            return Err(sqlx::Error::Configuration(problem.into()));
        }
        Ok(())
    }

    /// Makes the folder.
    pub(super) fn make_folder(&self) -> Result<(), sqlx::Error> {
        let Some(folder) = self.path.parent() else {
            return Ok(());
        };
        if folder.as_os_str().is_empty() {
            return Ok(());
        }
        std::fs::create_dir_all(folder).map_err(|error| {
            fault(
                error.kind(),
                format!("cannot make the folder {}: {error}", folder.display()),
            )
        })
    }

    /// From now on this is the file that must stay.
    pub(super) fn opened(&self) {
        // A database in memory has none, and needs no watching.
        if let Ok(identity) = identity(&self.path) {
            let _ = self.opened.set(identity);
        }
    }

    /// # Errors
    /// It is no longer where it was opened, or another one is there.
    pub(super) fn check(&self) -> Result<(), sqlx::Error> {
        let Some(opened) = self.opened.get() else {
            return Ok(());
        };
        let path = self.path.display();
        match identity(&self.path) {
            Ok(now) if now == *opened => Ok(()),
            Ok(_) => Err(fault(
                io::ErrorKind::NotFound,
                format!("another file lies at {path}; put the one in use back, or restart"),
            )),
            Err(error) => Err(fault(
                error.kind(),
                format!("the file in use is gone from {path} ({error}); put it back, or restart"),
            )),
        }
    }
}

#[cfg(unix)]
fn identity(path: &Path) -> io::Result<Identity> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).map(|file| (file.dev(), file.ino()))
}

#[cfg(not(unix))]
fn identity(path: &Path) -> io::Result<Identity> {
    std::fs::metadata(path).map(|_| (0, 0))
}

fn fault(kind: io::ErrorKind, text: String) -> sqlx::Error {
    sqlx::Error::Io(io::Error::new(kind, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_moved_or_replaced_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/shop.db");
        let file = DatabaseFile::of(&format!("sqlite://{}?mode=rwc", path.display()));
        file.make_folder().unwrap();
        file.check().unwrap();
        std::fs::write(&path, "one").unwrap();
        file.opened();
        file.check().unwrap();
        let away = folder.path().join("away");
        std::fs::rename(&path, &away).unwrap();
        let gone = file.check().unwrap_err().to_string();
        assert!(gone.contains("gone from"), "{gone}");
        std::fs::write(&path, "two").unwrap();
        let other = file.check().unwrap_err().to_string();
        assert!(other.contains("another file"), "{other}");
        std::fs::rename(&away, &path).unwrap();
        file.check().unwrap();
    }
}
