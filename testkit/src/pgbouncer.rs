//! PgBouncer in front of a [`Postgres`] of a test's own, as Debian installs it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::apache::free_address;
use crate::certificates::Identity;
use crate::eventually;
use crate::postgres::{LOGIN, PASSWORD, Postgres, as_server, copy, folder, signal, write};

/// Not everybody's path has it.
const PROGRAM: &str = "/usr/sbin/pgbouncer";

/// How long it may take to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A PgBouncer on loopback that gives a server's connection to a client for a transaction. Dropping it ends it.
pub struct PgBouncer {
    dir: TempDir,
    port: u16,
    process: Child,
}

impl PgBouncer {
    /// `server`: a guarded one whose superuser the clients are; `connections`: to each of its databases, for all
    /// clients; `identity`: it lets in only those who come with TLS.
    ///
    /// # Panics
    /// When it is not installed, or does not start.
    pub async fn start(server: &Postgres, connections: usize, identity: Option<&Identity>) -> Self {
        let dir = folder();
        let [users, certificate, key, settings] =
            ["users", "server.crt", "server.key", "pgbouncer.ini"]
                .map(|name| dir.path().join(name));
        let port = free_address().port();
        write(&users, &format!("\"postgres\" \"{PASSWORD}\"\n"));
        let mut text = format!(
            "[databases]\n\
             * = host={} port={}\n\
             [pgbouncer]\n\
             listen_addr = 127.0.0.1\n\
             listen_port = {port}\n\
             unix_socket_dir =\n\
             auth_type = scram-sha-256\n\
             auth_file = {}\n\
             pool_mode = transaction\n\
             default_pool_size = {connections}\n",
            server.folder().display(),
            server.address().port(),
            users.display(),
        );
        if let Some(identity) = identity {
            copy(&identity.certificate, &certificate);
            copy(&identity.key, &key);
            text += &format!(
                "client_tls_sslmode = require\n\
                 client_tls_cert_file = {}\n\
                 client_tls_key_file = {}\n",
                certificate.display(),
                key.display(),
            );
        }
        write(&settings, &text);
        let log = File::create(log_file(&dir)).expect("a file for its log");
        let errors = log.try_clone().expect("a second handle of a file");
        let child = as_server(Path::new(PROGRAM), dir.path())
            .arg(settings)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .expect("pgbouncer runs");
        let mut pgbouncer = Self {
            dir,
            port,
            process: child,
        };
        eventually(PATIENCE, || {
            let log = pgbouncer.log();
            if let Ok(Some(status)) = pgbouncer.process.try_wait() {
                panic!("PgBouncer ended with {status}: {log}");
            }
            let up = log.contains("process up").then_some(());
            async move { up }
        })
        .await;
        pgbouncer
    }

    /// The URL of the server's superuser, with a database and parameters.
    pub fn url(&self, database: &str, parameters: &str) -> String {
        let port = self.port;
        format!("postgres://{LOGIN}@localhost:{port}/{database}?{parameters}")
    }

    /// What it has said so far.
    pub fn log(&self) -> String {
        fs::read_to_string(log_file(&self.dir)).unwrap_or_default()
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        // At once, whatever its clients do.
        signal(self.process.id(), Signal::TERM);
        let _ = self.process.wait();
    }
}

fn log_file(dir: &TempDir) -> PathBuf {
    dir.path().join("pgbouncer.log")
}
