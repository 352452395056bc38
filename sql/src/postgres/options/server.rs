//! Where a PostgreSQL is.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use rustls::pki_types::ServerName;

use super::super::tls::mistake;
use crate::Error;

/// PostgreSQL's port where nothing names another.
pub(super) const PORT: u16 = 5432;

/// Where a server's socket is by default: Debian's folder, Homebrew's, PostgreSQL's own.
const SOCKET_FOLDERS: [&str; 3] = ["/var/run/postgresql", "/private/tmp", "/tmp"];

/// One of the servers of a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::postgres) enum Server {
    /// The file of a local server's socket.
    Socket(PathBuf),
    Tcp {
        /// A name or an address: what the certificate has to be for.
        host: String,
        port: u16,
        /// Where to connect to instead of looking up the name.
        address: Option<IpAddr>,
    },
}

impl Server {
    /// Host and port, as a file of passwords has them.
    pub(super) fn login(&self) -> (String, String) {
        match self {
            Self::Tcp { host, port, .. } => (host.clone(), port.to_string()),
            Self::Socket(file) => {
                let folder = file.parent().unwrap_or(file).display().to_string();
                let port = file.extension().unwrap_or_default();
                let is_default = SOCKET_FOLDERS.contains(&folder.as_str());
                let host = if is_default {
                    "localhost".to_owned()
                } else {
                    folder
                };
                (host, port.display().to_string())
            }
        }
    }

    pub(super) fn check_name(&self) -> Result<(), Error> {
        match self {
            Self::Tcp { host, .. } if ServerName::try_from(host.as_str()).is_err() => Err(mistake(
                "host",
                "is no name that a certificate can be for (sslmode=verify-full)",
            )),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(file) => write!(f, "{}", file.display()),
            Self::Tcp { host, port, .. } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port, .. } => write!(f, "{host}:{port}"),
        }
    }
}

/// Where no host is named: a local server's socket, if there is one.
pub(super) fn default_server(port: u16) -> Server {
    let sockets = SOCKET_FOLDERS.map(|folder| socket(Path::new(folder), port));
    let found = sockets.into_iter().find(|socket| socket.exists());
    found.map_or_else(
        || Server::Tcp {
            host: "localhost".to_owned(),
            port,
            address: None,
        },
        Server::Socket,
    )
}

pub(super) fn socket(folder: &Path, port: u16) -> PathBuf {
    folder.join(format!(".s.PGSQL.{port}"))
}
