use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use sql::SqliteOptions;

/// SQLite's file, and whether it is still the one that was opened: a file that was moved or deleted
/// is written to as if nothing had happened, and lost with the last connection.
#[derive(Clone, Debug)]
pub(super) struct DatabaseFile {
    path: PathBuf,
    is_written: bool,
    /// Whether one that is missing is made.
    is_made: bool,
    opened: Arc<OnceLock<Identity>>,
}

/// What every file of SQLite 3 begins with.
const FORMAT: &[u8] = b"SQLite format 3\0";

/// The file of a `sqlite:` URL; `None` for a database in memory, and for a URL that cannot be read.
pub(crate) fn sqlite_file(url: &str) -> Option<PathBuf> {
    let options = SqliteOptions::parse(url).ok()?;
    options.file().map(Path::to_owned)
}

/// Makes a folder, its owner's alone; one that is there stays as it is.
pub(crate) fn make_private_folder(folder: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Device and inode; nothing where the system has no such thing.
type Identity = (u64, u64);

impl DatabaseFile {
    /// `None` for a database in memory.
    #[cfg(any(feature = "embedded", test))]
    pub(super) fn of(options: &SqliteOptions) -> Option<Self> {
        Some(Self {
            path: options.file()?.to_owned(),
            is_written: options.is_written(),
            is_made: options.is_made(),
            opened: Arc::default(),
        })
    }

    /// Looks whether a file that is there is one of SQLite's, as the pool would try to open another one
    /// until it says that it has no connection. An empty file becomes a database.
    ///
    /// # Errors
    /// It begins otherwise (<https://www.sqlite.org/fileformat.html>, 1.3.1).
    pub(super) fn check_format(&self) -> Result<(), sql::Error> {
        use std::io::Read;
        let mut head = Vec::new();
        let Ok(file) = std::fs::File::open(&self.path) else {
            // Opening the database says why.
            return Ok(());
        };
        let read = file.take(FORMAT.len() as u64).read_to_end(&mut head);
        if read.is_ok() && !head.is_empty() && head != FORMAT {
            let problem = format!("{} is no SQLite database", self.path.display());
            return Err(sql::Error::Configuration(problem));
        }
        Ok(())
    }

    /// Makes the file, where it is to be made and is not there, so that its owner alone reads it (what
    /// SQLite puts beside it, `-wal` and `-shm`, takes after it); and takes one that others could read from
    /// them. In a shop's database are e-mail addresses and hashes of passwords.
    pub(super) fn keep_to_owner(&self) -> Result<(), sql::Error> {
        // One that was opened and is gone is to be put back, not made anew.
        if !self.is_written || self.opened.get().is_some() {
            return Ok(());
        }
        let cannot = |error: io::Error| {
            let path = self.path.display();
            fault(
                error.kind(),
                format!("cannot make the file {path}: {error}"),
            )
        };
        if self.is_made {
            let mut options = std::fs::OpenOptions::new();
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            // An empty file is an empty database.
            match options.write(true).create_new(true).open(&self.path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(cannot(error));
                }
                _ => {}
            }
        }
        #[cfg(unix)]
        for suffix in ["", "-wal", "-shm", "-journal"] {
            let mut path = self.path.clone().into_os_string();
            path.push(suffix);
            if let Err(error) = without_others(Path::new(&path)) {
                tracing::warn!(
                    "{} stays readable to others than its owner: {error}; chmod go= it",
                    path.display()
                );
            }
        }
        Ok(())
    }

    /// Makes the folder, its owner's alone.
    pub(super) fn make_folder(&self) -> Result<(), sql::Error> {
        let Some(folder) = self.path.parent() else {
            return Ok(());
        };
        if folder.as_os_str().is_empty() {
            return Ok(());
        }
        make_private_folder(folder).map_err(|error| {
            fault(
                error.kind(),
                format!("cannot make the folder {}: {error}", folder.display()),
            )
        })
    }

    /// From now on this is the file that must stay.
    pub(super) fn opened(&self) {
        if let Ok(identity) = identity(&self.path) {
            let _ = self.opened.set(identity);
        }
    }

    /// # Errors
    /// It is no longer where it was opened, or another one is there.
    pub(super) fn check(&self) -> Result<(), sql::Error> {
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

/// Nothing where there is no such file.
#[cfg(unix)]
fn without_others(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = match std::fs::metadata(path) {
        Ok(about) if about.is_file() => about.permissions().mode(),
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    match mode & 0o077 {
        0 => Ok(()),
        _ => std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode & 0o7700)),
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

fn fault(kind: io::ErrorKind, text: String) -> sql::Error {
    sql::Error::Io(io::Error::new(kind, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(url: &str) -> Option<DatabaseFile> {
        DatabaseFile::of(&SqliteOptions::parse(url).unwrap())
    }

    #[cfg(unix)]
    #[test]
    fn a_file_is_its_owners_alone_made_or_found() {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/shop.db");
        let file = file(&format!("sqlite:{}", path.display())).unwrap();
        file.make_folder().unwrap();
        file.keep_to_owner().unwrap();
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        assert_eq!(mode(&path), 0o600);
        let wal = folder.path().join("new/shop.db-wal");
        std::fs::write(&wal, "ann@example.com").unwrap();
        for path in [&path, &wal] {
            let open = std::fs::Permissions::from_mode(0o644);
            std::fs::set_permissions(path, open).unwrap();
        }
        file.keep_to_owner().unwrap();
        assert_eq!((mode(&path), mode(&wal)), (0o600, 0o600));
        // What is not to be made is not.
        for url in ["x.db?mode=rw", "x.db?mode=ro"] {
            let url = format!("sqlite:{}/{url}", folder.path().display());
            self::file(&url).unwrap().keep_to_owner().unwrap();
        }
        assert!(!folder.path().join("x.db").exists());
        for url in ["sqlite::memory:", "sqlite:x.db?mode=memory"] {
            assert!(self::file(url).is_none(), "{url}");
        }
    }

    #[test]
    fn a_file_that_was_moved_or_replaced_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/shop.db");
        let file = file(&format!("sqlite://{}?mode=rwc", path.display())).unwrap();
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
