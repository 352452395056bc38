//! Programs of other people, as processes that end with the test.

use std::collections::HashSet;
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// How long a server may take to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that is ended when it is dropped.
pub struct Process {
    child: Child,
    log: PathBuf,
    /// Tells it to end at once.
    end: Signal,
}

impl Process {
    /// Starts it and waits until its log holds `ready`.
    pub async fn start(mut command: Command, log: PathBuf, ready: &str, end: Signal) -> Self {
        let output = File::create(&log).expect("a file for a server's log");
        let errors = output.try_clone().expect("a second handle of a file");
        let child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut process = Self { child, log, end };
        let begin = Instant::now();
        while !process.log().contains(ready) {
            if let Ok(Some(status)) = process.child.try_wait() {
                panic!("{command:?} ended with {status}: {}", process.log());
            }
            assert!(begin.elapsed() < PATIENCE, "{command:?} does not start");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        process
    }

    /// What it has said so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), self.end);
        let _ = self.child.wait();
    }
}

/// A port of loopback where nobody listens and that no other test of this process was given; below the ephemeral
/// range, so that no outgoing connection takes it meanwhile.
pub fn free_port() -> u16 {
    static GIVEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);
    loop {
        let port = fastrand::u16(12_000..19_000);
        let is_free = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        if is_free && GIVEN.lock().expect("not poisoned").insert(port) {
            return port;
        }
    }
}

/// Servers refuse to run as root: then this runs as the package's user.
pub fn as_server(program: impl AsRef<Path>) -> Command {
    let program = program.as_ref();
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command
        .args([
            "--reuid=postgres",
            "--regid=postgres",
            "--clear-groups",
            "--",
        ])
        .arg(program);
    command
}

/// A folder that servers may have.
pub fn folder() -> TempDir {
    let folder = TempDir::with_prefix("sql-").expect("a folder for a server");
    give_to_server(folder.path());
    folder
}

/// A file that servers may read, and nobody else.
pub fn write(file: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(file, text).expect("a file for a server");
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).expect("a file of ours");
    give_to_server(file);
}

fn give_to_server(path: &Path) {
    if rustix::process::geteuid().is_root() {
        let status = Command::new("chown")
            .arg("postgres:postgres")
            .arg(path)
            .status();
        assert!(status.is_ok_and(|status| status.success()), "chown failed");
    }
}
