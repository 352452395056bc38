//! Files that their owner alone reads and writes: in them lies what clients have sent, and so e-mail
//! addresses and whatever else people tell a shop.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;

/// How to open a file; one that is made is its owner's alone.
pub(crate) fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Makes a folder, and those above it that are missing.
pub(crate) fn create_folder(path: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Takes a data folder that an earlier version left open to others, and all that lies in it, from them.
/// In a folder that is its owner's alone, nothing is looked at.
pub(crate) fn tighten(folder: &Path) {
    #[cfg(unix)]
    if let Err(error) = unix::tighten(folder) {
        tracing::warn!(
            "{} stays readable to others than its owner: {error}; chmod -R go= it",
            folder.display()
        );
    }
    #[cfg(not(unix))]
    let _ = folder;
}

#[cfg(unix)]
mod unix {
    use std::fs::Permissions;
    use std::io;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    pub(super) fn tighten(folder: &Path) -> io::Result<()> {
        let mode = std::fs::metadata(folder)?.permissions().mode();
        if mode & 0o077 == 0 {
            return Ok(());
        }
        // What lies in it first: cut short, it is begun again.
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let (kind, path) = (entry.file_type()?, entry.path());
            if kind.is_dir() {
                tighten(&path)?;
            } else if kind.is_file() {
                without_others(&path, entry.metadata()?.permissions().mode())?;
            }
        }
        without_others(folder, mode)
    }

    fn without_others(path: &Path, mode: u32) -> io::Result<()> {
        std::fs::set_permissions(path, Permissions::from_mode(mode & 0o7700))
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_others_could_read_they_cannot_any_more() {
        let root = tempfile::tempdir().unwrap();
        let data = root.path().join("data");
        let log = data.join("topics/users/0/00.log");
        std::fs::create_dir_all(log.parent().unwrap()).unwrap();
        std::fs::write(&log, "ann@example.com").unwrap();
        for (path, open) in [(&log, 0o644), (&data, 0o755)] {
            let open = std::fs::Permissions::from_mode(open);
            std::fs::set_permissions(path, open).unwrap();
        }
        tighten(&data);
        assert_eq!((mode(&log), mode(&data)), (0o600, 0o700));
        assert_eq!(mode(log.parent().unwrap()), 0o700);
        let new = data.join("a/b");
        create_folder(&new).unwrap();
        options()
            .create(true)
            .append(true)
            .open(new.join("c"))
            .unwrap();
        assert_eq!((mode(&new), mode(&new.join("c"))), (0o700, 0o600));
    }
}
