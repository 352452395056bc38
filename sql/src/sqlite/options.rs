use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
#[cfg(feature = "sqlite")]
use rusqlite::OpenFlags;

use crate::error::Error;

/// What stays as it is in the path of a URI.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Tells databases in memory apart.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Which database to open, and how, as its URL says: `sqlite:FILE`, `sqlite://FILE` or `sqlite::memory:`, with what SQLite
/// takes behind a question mark (<https://www.sqlite.org/uri.html>).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqliteOptions {
    /// `None`: in memory.
    file: Option<PathBuf>,
    mode: Mode,
    uri: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    ReadOnly,
    ReadWrite,
    /// Made where it is missing.
    Create,
}

impl SqliteOptions {
    /// The parameters it knows.
    pub const PARAMETERS: &'static [&'static str] = &["mode", "cache", "immutable", "vfs"];

    /// Reads a URL that begins with `sqlite:`.
    ///
    /// # Errors
    /// [`Error::Configuration`]: an unknown parameter, or a path that is not UTF-8.
    pub fn parse(url: &str) -> Result<Self, Error> {
        let name = url.trim_start_matches("sqlite:").trim_start_matches("//");
        let (path, query) = name.split_once('?').unwrap_or((name, ""));
        let path = percent_decode_str(path)
            .decode_utf8()
            .map_err(|_| refused("the path of SQLite's file is no UTF-8".to_owned()))?;
        let mut mode = Mode::Create;
        let mut in_memory = path.is_empty() || path == ":memory:";
        let mut rest = String::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match (name.as_ref(), value.as_ref()) {
                ("mode", "ro") => mode = Mode::ReadOnly,
                ("mode", "rw") => mode = Mode::ReadWrite,
                ("mode", "rwc") => mode = Mode::Create,
                ("mode", "memory") => in_memory = true,
                ("mode", _) => {
                    return Err(refused("mode is ro, rw, rwc or memory".to_owned()));
                }
                ("cache" | "immutable" | "vfs", value) => {
                    let value = utf8_percent_encode(value, NON_ALPHANUMERIC);
                    rest.push_str(&format!("&{name}={value}"));
                }
                _ => {
                    let known = Self::PARAMETERS.join(", ");
                    return Err(refused(format!(
                        "the URL has the unknown parameter {name:?} behind the question mark; known are {known}"
                    )));
                }
            }
        }
        let uri = if in_memory {
            // All connections of a pool have the same one.
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            format!("file:memory-{number}?mode=memory&cache=shared")
        } else {
            let path = utf8_percent_encode(&path, PATH);
            let mode = match mode {
                Mode::ReadOnly => "ro",
                Mode::ReadWrite => "rw",
                Mode::Create => "rwc",
            };
            format!("file:{path}?mode={mode}{rest}")
        };
        Ok(Self {
            file: (!in_memory).then(|| PathBuf::from(path.as_ref())),
            mode,
            uri,
        })
    }

    /// The file; `None` for a database in memory.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Whether it is written to.
    pub fn is_written(&self) -> bool {
        self.mode != Mode::ReadOnly
    }

    /// Whether the file is made where it is missing.
    pub fn is_made(&self) -> bool {
        self.mode == Mode::Create
    }

    /// What SQLite opens it by.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// Each connection stays on its thread.
    #[cfg(feature = "sqlite")]
    pub(crate) fn flags(&self) -> OpenFlags {
        let mode = match self.mode {
            Mode::ReadOnly => OpenFlags::SQLITE_OPEN_READ_ONLY,
            Mode::ReadWrite => OpenFlags::SQLITE_OPEN_READ_WRITE,
            Mode::Create => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
        };
        mode | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX
    }
}

fn refused(problem: String) -> Error {
    Error::Configuration(problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_file_and_how_to_open_it() {
        let read = |url: &str| SqliteOptions::parse(url).unwrap();
        for (url, uri) in [
            ("sqlite:data/shop.db", "file:data/shop.db?mode=rwc"),
            (
                "sqlite:///srv/a%20b.db?mode=rw",
                "file:/srv/a%20b.db?mode=rw",
            ),
            (
                "sqlite:x.db?mode=ro&immutable=1&vfs=unix-none",
                "file:x.db?mode=ro&immutable=1&vfs=unix%2Dnone",
            ),
            ("sqlite:odd%3Fname%23.db", "file:odd%3Fname%23.db?mode=rwc"),
        ] {
            assert_eq!(read(url).uri(), uri, "{url}");
        }
        let file = read("sqlite:///srv/a%20b.db?mode=rw");
        assert_eq!(file.file(), Some(Path::new("/srv/a b.db")));
        assert!(file.is_written() && !file.is_made());
        for url in ["sqlite::memory:", "sqlite:", "sqlite:x?mode=memory"] {
            assert_eq!(read(url).file(), None, "{url}");
        }
        assert_ne!(read("sqlite::memory:").uri(), read("sqlite::memory:").uri());
        for url in ["sqlite:x?mode=write", "sqlite:x?moed=ro"] {
            let error = SqliteOptions::parse(url);
            assert!(matches!(error, Err(Error::Configuration(_))), "{url}");
        }
    }
}
