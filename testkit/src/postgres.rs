//! PostgreSQL of a test's own: for what stops, freezes or configures the server.
//!
//! It is started from `TEST_POSTGRES_BIN`, the folder of `initdb` and `postgres` (`scripts/postgres
//! bin` prints it), and ends with the [`Postgres`] that started it.

use std::fs::{self, File, Permissions};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::apache::free_address;
use crate::certificates::{Authority, Identity};
use crate::disk::Disk;
use crate::eventually;

/// The folder of the server's programs.
const BIN_VARIABLE: &str = "TEST_POSTGRES_BIN";

/// How long the server may take to start, or to end, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// The superuser's, of a [`Postgres::guarded`], with characters that a URL has to encode.
pub const PASSWORD: &str = "p@ss/w:rd";
pub(crate) const LOGIN: &str = "postgres:p%40ss%2Fw%3Ard";

/// Whom `pg_hba.conf` lets in over TCP.
pub mod rules {
    pub const ANY: &str = "host all all 127.0.0.1/32 scram-sha-256";
    pub const ONLY_TLS: &str = "hostssl all all 127.0.0.1/32 scram-sha-256";
    pub const ONLY_PLAIN: &str = "hostnossl all all 127.0.0.1/32 scram-sha-256";
    pub const ONLY_WITH_CERTIFICATE: &str =
        "hostssl all all 127.0.0.1/32 scram-sha-256 clientcert=verify-ca";
}

/// A server on loopback and on a socket that lets everybody in, unless it is guarded. Dropping it ends it and deletes its data.
pub struct Postgres {
    dir: TempDir,
    data: PathBuf,
    port: u16,
    /// The superuser's, as URLs have it.
    login: &'static str,
    /// `None` while it is not running.
    process: Option<Child>,
}

impl Postgres {
    /// A fresh server.
    ///
    /// # Panics
    /// When `TEST_POSTGRES_BIN` is not set, or the server does not start.
    pub async fn start() -> Self {
        let dir = folder();
        let [data, wal] = ["data", "wal"].map(|name| dir.path().join(name));
        Self::start_in(dir, data, wal).await
    }

    /// One whose tables lie on `disk`, and its log elsewhere.
    ///
    /// # Panics
    /// When `TEST_POSTGRES_BIN` is not set, or the server does not start.
    pub async fn with_tables_on(disk: &Disk) -> Self {
        let dir = folder();
        let wal = dir.path().join("wal");
        Self::start_in(dir, disk.path().join("data"), wal).await
    }

    /// One whose write-ahead log lies on `disk`, and its tables elsewhere.
    ///
    /// # Panics
    /// When `TEST_POSTGRES_BIN` is not set, or the server does not start.
    pub async fn with_log_on(disk: &Disk) -> Self {
        let dir = folder();
        let data = dir.path().join("data");
        Self::start_in(dir, data, disk.path().join("wal")).await
    }

    /// A fresh server that wants the superuser's password ([`PASSWORD`], SCRAM), and over TCP lets in only whom
    /// one of the [`rules`] does. `identity`: it speaks TLS; `clients`: the authority of clients' certificates.
    ///
    /// # Panics
    /// When `TEST_POSTGRES_BIN` is not set, or the server does not start.
    pub async fn guarded(
        rules: &str,
        identity: Option<&Identity>,
        clients: Option<&Authority>,
    ) -> Self {
        let dir = folder();
        let [data, wal] = ["data", "wal"].map(|name| dir.path().join(name));
        let password = dir.path().join("password");
        write(&password, PASSWORD);
        let file = format!("--pwfile={}", password.display());
        let mut postgres = Self::initialised(dir, data, wal, &["--auth=scram-sha-256", &file]);
        postgres.login = LOGIN;
        let hba = format!("local all all scram-sha-256\n{rules}\n");
        write(&postgres.data.join("pg_hba.conf"), &hba);
        let mut settings = String::new();
        if let Some(identity) = identity {
            copy(&identity.certificate, &postgres.data.join("server.crt"));
            copy(&identity.key, &postgres.data.join("server.key"));
            settings += "ssl = on\n";
        }
        if let Some(authority) = clients {
            copy(&authority.ca(), &postgres.data.join("clients.crt"));
            settings += "ssl_ca_file = 'clients.crt'\n";
        }
        write(&postgres.data.join("postgresql.auto.conf"), &settings);
        postgres.start_again().await;
        postgres
    }

    async fn start_in(dir: TempDir, data: PathBuf, wal: PathBuf) -> Self {
        let mut postgres = Self::initialised(dir, data, wal, &["--auth=trust"]);
        postgres.start_again().await;
        postgres
    }

    /// One that has not been started yet.
    fn initialised(dir: TempDir, data: PathBuf, wal: PathBuf, access: &[&str]) -> Self {
        let output = program("initdb", dir.path())
            .args(["--username=postgres", "--encoding=UTF8"])
            .args(["--locale=C.UTF-8", "--no-sync", "--wal-segsize=1"])
            .args(access)
            .arg("-D")
            .arg(&data)
            .arg("--waldir")
            .arg(wal)
            .output()
            .expect("initdb runs");
        assert!(
            output.status.success(),
            "initdb failed: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Self {
            dir,
            data,
            // It is to be there again after a restart.
            port: free_address().port(),
            login: "postgres",
            process: None,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The folder of its socket.
    pub fn folder(&self) -> &Path {
        self.dir.path()
    }

    /// What it has said since its last start.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn log_file(&self) -> PathBuf {
        self.dir.path().join("server.log")
    }

    /// Its URL, with its superuser and first database.
    pub fn url(&self) -> String {
        self.url_at("127.0.0.1", "postgres", "")
    }

    /// The URL of its superuser at a name of its host, with a database and parameters.
    pub fn url_at(&self, host: &str, database: &str, parameters: &str) -> String {
        let Self { login, port, .. } = self;
        let mark = if parameters.is_empty() { "" } else { "?" };
        format!("postgres://{login}@{host}:{port}/{database}{mark}{parameters}")
    }

    /// The URL of another role or database; not of a server that is guarded.
    pub fn url_of(&self, role: &str, database: &str) -> String {
        format!("postgres://{role}@127.0.0.1:{}/{database}", self.port)
    }

    /// Runs a statement as the superuser.
    ///
    /// # Panics
    /// When it fails.
    pub fn execute(&self, statement: &str) {
        if let Err(error) = self.try_execute(statement) {
            panic!("{statement}: {error}");
        }
    }

    /// Runs a statement as the superuser.
    ///
    /// # Errors
    /// The server's, or that there is none.
    pub fn try_execute(&self, statement: &str) -> Result<(), String> {
        let output = program("psql", self.dir.path())
            .args([
                "--no-psqlrc",
                "--quiet",
                "--tuples-only",
                "--set=ON_ERROR_STOP=1",
            ])
            .args(["--command", statement, &self.url()])
            .output()
            .expect("psql runs");
        if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// Ends the server in order, without waiting for its clients ("fast").
    ///
    /// # Panics
    /// When it does not end in time.
    pub async fn stop(&mut self) {
        if let Some(process) = &self.process {
            signal(process.id(), Signal::INT);
        }
        self.ended().await;
    }

    /// Ends the server without a checkpoint ("immediate"): it recovers from its log when it starts again.
    ///
    /// # Panics
    /// When it does not end in time.
    pub async fn stop_at_once(&mut self) {
        if let Some(process) = &self.process {
            signal(process.id(), Signal::QUIT);
        }
        self.ended().await;
    }

    /// Waits until it has ended by itself.
    ///
    /// # Panics
    /// When that takes too long.
    pub async fn ended(&mut self) {
        let Some(mut process) = self.process.take() else {
            return;
        };
        eventually(PATIENCE, || {
            let ended = process.try_wait().expect("its status can be asked for");
            async move { ended }
        })
        .await;
    }

    /// Starts it again after it has ended, on its data and its port.
    ///
    /// # Panics
    /// When it runs, or does not start.
    pub async fn start_again(&mut self) {
        assert!(self.process.is_none(), "PostgreSQL runs");
        let log = self.log_file();
        let output = File::create(&log).expect("a file for its log");
        let errors = output.try_clone().expect("a second handle of a file");
        let child = program("postgres", self.dir.path())
            .arg("-D")
            .arg(&self.data)
            .args(["-p", &self.port.to_string()])
            .args(["-c", "listen_addresses=127.0.0.1"])
            .arg("-c")
            .arg(format!(
                "unix_socket_directories={}",
                self.dir.path().display()
            ))
            .args(["-c", "fsync=off"])
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .expect("postgres runs");
        let process = self.process.insert(child);
        let port = self.port;
        eventually(PATIENCE, || {
            let text = fs::read_to_string(&log).unwrap_or_default();
            if let Ok(Some(status)) = process.try_wait() {
                panic!("PostgreSQL ended with {status}: {text}");
            }
            let ready = text.contains("ready to accept connections");
            async move {
                if ready {
                    TcpStream::connect(("127.0.0.1", port)).await.ok().map(drop)
                } else {
                    None
                }
            }
        })
        .await;
    }

    /// Stops all its processes without ending them (SIGSTOP): its connections stay open and silent.
    pub fn freeze(&self) {
        self.signal_all(Signal::STOP);
    }

    /// Wakes it after [`Postgres::freeze`].
    pub fn thaw(&self) {
        self.signal_all(Signal::CONT);
    }

    /// The postmaster first, so that it starts no further ones meanwhile.
    fn signal_all(&self, wanted: Signal) {
        let postmaster = self.process.as_ref().expect("a running server").id();
        signal(postmaster, wanted);
        for child in children(postmaster) {
            signal(child, wanted);
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            self.process = None;
            // Its children end with it only if they are awake.
            let family: Vec<u32> = children(process.id());
            for child in family.iter().chain([&process.id()]) {
                signal(*child, Signal::CONT);
            }
            signal(process.id(), Signal::QUIT);
            let _ = process.wait();
        }
    }
}

/// A program of the server.
fn program(name: &str, folder: &Path) -> Command {
    let bin = std::env::var_os(BIN_VARIABLE).unwrap_or_else(|| {
        panic!(
            "{BIN_VARIABLE} must name the folder of PostgreSQL's programs (scripts/postgres bin)"
        )
    });
    as_server(&PathBuf::from(bin).join(name), folder)
}

/// A program of a server's kind, in `folder`. They refuse to run as root: then it runs as PostgreSQL's
/// package's user, else as nobody.
pub(crate) fn as_server(path: &Path, folder: &Path) -> Command {
    let mut command = match server_user() {
        Some(user) => {
            let mut command = Command::new("setpriv");
            command
                .args([
                    "--reuid",
                    &user,
                    "--regid",
                    &group_of(&user),
                    "--clear-groups",
                    "--",
                ])
                .arg(path);
            command
        }
        None => Command::new(path),
    };
    // Not the home of root, whose files they may not read.
    command.current_dir(folder).env("HOME", folder);
    command
}

fn server_user() -> Option<String> {
    rustix::process::geteuid().is_root().then(|| {
        let there = Command::new("id").args(["-u", "postgres"]).output();
        let there = there.is_ok_and(|output| output.status.success());
        if there { "postgres" } else { "nobody" }.to_owned()
    })
}

fn group_of(user: &str) -> String {
    let output = Command::new("id")
        .args(["-g", user])
        .output()
        .expect("id runs");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// One that the server's user may have.
pub(crate) fn folder() -> TempDir {
    let folder = TempDir::with_prefix("postgres-").expect("a folder for PostgreSQL");
    give_to_server(folder.path());
    folder
}

/// A file that the server's user may read, and nobody else.
pub(crate) fn write(file: &Path, text: &str) {
    fs::write(file, text).expect("a file for PostgreSQL");
    fs::set_permissions(file, Permissions::from_mode(0o600)).expect("a file of ours");
    give_to_server(file);
}

/// The same, with what lies in another.
pub(crate) fn copy(from: &Path, to: &Path) {
    write(to, &fs::read_to_string(from).expect("a file to copy"));
}

fn give_to_server(path: &Path) {
    if let Some(user) = server_user() {
        let status = Command::new("chown").arg(user).arg(path).status();
        assert!(status.is_ok_and(|status| status.success()), "chown failed");
    }
}

fn children(of: u32) -> Vec<u32> {
    let path = format!("/proc/{of}/task/{of}/children");
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace()
        .filter_map(|id| id.parse().ok())
        .collect()
}

/// A process that has ended meanwhile needs no signal.
pub(crate) fn signal(id: u32, wanted: Signal) {
    if let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, wanted);
    }
}
