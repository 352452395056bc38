//! PostgreSQL, started from `TEST_POSTGRES_BIN` (`scripts/postgres bin` prints it).

use std::path::{Path, PathBuf};

use rustix::process::Signal;
use tempfile::TempDir;

use super::certificates::Identity;
use super::process::{Process, as_server, folder, free_port, write};

/// The folder of the server's programs.
const BIN_VARIABLE: &str = "TEST_POSTGRES_BIN";

/// The superuser's, with characters that a URL has to encode.
pub const PASSWORD: &str = "p@ss/w:rd";
pub const PASSWORD_IN_URL: &str = "p%40ss%2Fw%3Ard";

/// What `pg_hba.conf` lets in over TCP.
pub mod rules {
    pub const ANY: &str = "host all all 127.0.0.1/32 scram-sha-256";
    pub const ONLY_TLS: &str = "hostssl all all 127.0.0.1/32 scram-sha-256";
    pub const ONLY_PLAIN: &str = "hostnossl all all 127.0.0.1/32 scram-sha-256";
    pub const ONLY_WITH_CERTIFICATE: &str =
        "hostssl all all 127.0.0.1/32 scram-sha-256 clientcert=verify-ca";
}

/// A server on loopback and on a socket, whose passwords are of SCRAM. Dropping it ends it and deletes its data.
pub struct Postgres {
    dir: TempDir,
    port: u16,
    process: Process,
}

impl Postgres {
    /// `identity`: with TLS; `client_authority`: the PEM of the authority of clients.
    ///
    /// # Panics
    /// When `TEST_POSTGRES_BIN` is not set, or the server does not start.
    pub async fn start(
        rules: &str,
        identity: Option<&Identity>,
        client_authority: Option<&str>,
    ) -> Self {
        let dir = folder();
        let data = dir.path().join("data");
        let password = dir.path().join("password");
        write(&password, PASSWORD);
        let output = as_server(program("initdb"))
            .current_dir(dir.path())
            .args([
                "--username=postgres",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
            ])
            .args(["--locale=C.UTF-8", "--no-sync", "--wal-segsize=1"])
            .arg("--pwfile")
            .arg(password)
            .arg("-D")
            .arg(&data)
            .output()
            .expect("initdb runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "initdb failed: {errors}");
        let hba = data.join("pg_hba.conf");
        write(&hba, &format!("local all all scram-sha-256\n{rules}\n"));
        let port = free_port();
        let mut command = as_server(program("postgres"));
        command
            .current_dir(dir.path())
            .arg("-D")
            .arg(&data)
            .args(["-p", &port.to_string()])
            .args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"])
            .arg("-c")
            .arg(format!("unix_socket_directories={}", dir.path().display()));
        if let Some(identity) = identity {
            write(&data.join("server.crt"), &identity.certificate);
            write(&data.join("server.key"), &identity.key);
            command.args(["-c", "ssl=on"]);
        }
        if let Some(authority) = client_authority {
            write(&data.join("clients.crt"), authority);
            command.args(["-c", "ssl_ca_file=clients.crt"]);
        }
        let log = dir.path().join("server.log");
        // At once, without a checkpoint.
        let end = Signal::QUIT;
        let process = Process::start(command, log, "ready to accept connections", end).await;
        Self { dir, port, process }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder of its socket.
    pub fn folder(&self) -> &Path {
        self.dir.path()
    }

    /// The URL of its superuser and first database, with these parameters.
    pub fn url(&self, host: &str, parameters: &str) -> String {
        let port = self.port;
        format!("postgres://postgres:{PASSWORD_IN_URL}@{host}:{port}/postgres?{parameters}")
    }

    pub fn log(&self) -> String {
        self.process.log()
    }
}

fn program(name: &str) -> PathBuf {
    let bin = std::env::var_os(BIN_VARIABLE).unwrap_or_else(|| {
        panic!(
            "{BIN_VARIABLE} must name the folder of PostgreSQL's programs (scripts/postgres bin)"
        )
    });
    PathBuf::from(bin).join(name)
}
