//! PgBouncer in front of a PostgreSQL, as Debian installs it.

use rustix::process::Signal;
use tempfile::TempDir;

use super::certificates::Identity;
use super::postgres::{PASSWORD, PASSWORD_IN_URL, Postgres};
use super::process::{Process, as_server, folder, free_port, write};

/// Not everybody's path has it.
const PROGRAM: &str = "/usr/sbin/pgbouncer";

/// A PgBouncer on loopback that gives a server's connection to a client for a transaction. Dropping it ends it.
pub struct PgBouncer {
    _dir: TempDir,
    port: u16,
    process: Process,
}

impl PgBouncer {
    /// `connections` to the server for all clients; `identity`: it lets in only those who come with TLS.
    ///
    /// # Panics
    /// When it is not installed, or does not start.
    pub async fn start(server: &Postgres, connections: usize, identity: Option<&Identity>) -> Self {
        let dir = folder();
        let port = free_port();
        let users = dir.path().join("users");
        write(&users, &format!("\"postgres\" \"{PASSWORD}\"\n"));
        let mut settings = format!(
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
            server.port(),
            users.display(),
        );
        if let Some(identity) = identity {
            let certificate = dir.path().join("server.crt");
            let key = dir.path().join("server.key");
            write(&certificate, &identity.certificate);
            write(&key, &identity.key);
            settings += &format!(
                "client_tls_sslmode = require\n\
                 client_tls_cert_file = {}\n\
                 client_tls_key_file = {}\n",
                certificate.display(),
                key.display(),
            );
        }
        let file = dir.path().join("pgbouncer.ini");
        write(&file, &settings);
        let mut command = as_server(PROGRAM);
        command.current_dir(dir.path()).arg(file);
        let log = dir.path().join("pgbouncer.log");
        // At once, whatever its clients do.
        let process = Process::start(command, log, "process up", Signal::TERM).await;
        Self {
            _dir: dir,
            port,
            process,
        }
    }

    /// The URL of the server's superuser and first database, with these parameters.
    pub fn url(&self, parameters: &str) -> String {
        let port = self.port;
        format!("postgres://postgres:{PASSWORD_IN_URL}@localhost:{port}/postgres?{parameters}")
    }

    pub fn log(&self) -> String {
        self.process.log()
    }
}
