//! A program of the shop as a child process, with its output in a file.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use testkit::eventually;

use crate::programs;

/// How long a program may take to start or to end on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What a program says once it listens, before its address.
const LISTENING: [&str; 2] = ["listening at http://", "broker listens address="];

/// A program of the shop in a process of its own. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    arguments: Vec<String>,
    folder: PathBuf,
    log: PathBuf,
    /// The log before it was put aside.
    aside: Vec<u8>,
    /// Where this start's output begins in all of it.
    log_start: usize,
    child: Option<Child>,
}

impl Process {
    /// Starts `program` in `folder`, which is made, with nothing of this process's environment.
    /// `name` tells several instances apart in the folder.
    ///
    /// # Panics
    /// When the program was not built, or does not start.
    pub fn start(program: &str, name: &str, folder: &Path, arguments: &[String]) -> Self {
        fs::create_dir_all(folder).expect("a folder for a program");
        let mut process = Self {
            name: program.to_owned(),
            arguments: arguments.to_vec(),
            folder: folder.to_owned(),
            log: folder.join(format!("{name}.log")),
            aside: Vec::new(),
            log_start: 0,
            child: None,
        };
        process.start_again();
        process
    }

    /// Starts it again after it has ended, with the same arguments.
    ///
    /// # Panics
    /// When it still runs, or does not start.
    pub fn start_again(&mut self) {
        assert!(self.child.is_none(), "{} runs", self.name);
        let output = self.open_log().expect("a log file");
        self.log_start = self.all().len();
        let errors = output.try_clone().expect("a second handle of a file");
        let child = Command::new(programs::path(&self.name))
            .args(&self.arguments)
            .env_clear()
            .env("RUST_BACKTRACE", "1")
            .env("NO_COLOR", "1")
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn();
        self.child =
            Some(child.unwrap_or_else(|error| panic!("{} does not start: {error}", self.name)));
    }

    fn open_log(&self) -> io::Result<File> {
        OpenOptions::new().create(true).append(true).open(&self.log)
    }

    /// Its process id.
    ///
    /// # Panics
    /// When it has ended.
    pub fn id(&self) -> u32 {
        self.child.as_ref().expect("a running program").id()
    }

    /// Whether it was started and nothing here has ended it.
    pub fn runs(&self) -> bool {
        self.child.is_some()
    }

    /// All that it printed since its last start.
    pub fn output(&self) -> String {
        let all = self.all();
        let start = self.log_start.min(all.len());
        String::from_utf8_lossy(&all[start..]).into_owned()
    }

    /// All that it printed, through all its starts.
    pub fn whole_output(&self) -> String {
        String::from_utf8_lossy(&self.all()).into_owned()
    }

    fn all(&self) -> Vec<u8> {
        let mut all = self.aside.clone();
        all.extend(fs::read(&self.log).unwrap_or_default());
        all
    }

    /// Empties the file that it prints to. What it prints in this very moment may be lost.
    ///
    /// # Panics
    /// When the file cannot be emptied.
    pub fn put_log_aside(&mut self) {
        self.aside = self.all();
        // It is appended to, so the process goes on at its beginning.
        let log = self.open_log().expect("a log file");
        log.set_len(0).expect("a log can be emptied");
    }

    /// The first address it listens at, once it says so.
    ///
    /// # Panics
    /// When it ends, or does not say so in time.
    pub async fn address(&mut self) -> SocketAddr {
        self.eventually(PATIENCE, |output| {
            LISTENING.iter().find_map(|words| {
                let rest = output.split_once(words)?.1;
                // A line may be half written.
                let (address, _) = rest.split_once(['\n', ' '])?;
                address.parse().ok()
            })
        })
        .await
    }

    /// Waits for something in its output.
    ///
    /// # Panics
    /// When it ends first, or `deadline` passes; with its output.
    pub async fn eventually<T>(
        &mut self,
        deadline: Duration,
        look: impl Fn(&str) -> Option<T>,
    ) -> T {
        let finding = eventually(deadline, || {
            let output = self.output();
            let found = look(&output);
            if found.is_none() {
                self.expect_running();
            }
            async move { found }
        });
        finding.await
    }

    /// # Panics
    /// When it has ended by itself; with its output.
    pub fn expect_running(&mut self) {
        if let Some(status) = self.child.as_mut().and_then(|c| c.try_wait().ok()?) {
            panic!("{} ended with {status}:\n{}", self.name, self.output());
        }
    }

    /// Ends it with SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("a process of ours can be killed");
            child.wait().expect("a killed process ends");
        }
    }

    /// Asks it to end with SIGTERM, without waiting.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Asks it to end with SIGTERM and waits for it.
    ///
    /// # Panics
    /// When it does not end in time; with its output.
    pub async fn end(&mut self) -> ExitStatus {
        self.terminate();
        self.ended().await
    }

    /// Waits until it has ended by itself.
    ///
    /// # Panics
    /// When it does not end in time.
    pub async fn ended(&mut self) -> ExitStatus {
        let child = self.child.as_mut().expect("a running program");
        let status = eventually(PATIENCE, || {
            let status = child.try_wait().expect("its status can be asked for");
            async move { status }
        })
        .await;
        self.child = None;
        status
    }

    /// Stops it without ending it (SIGSTOP).
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Wakes it after [`Process::freeze`].
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("a running program");
        kill_process(Pid::from_child(child), signal).expect("a process of ours can be signalled");
    }

    /// The most memory it has had resident so far, in bytes (`VmHWM`).
    ///
    /// # Panics
    /// When it has ended, or where there is no `/proc`.
    pub fn peak_memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.id());
        let status = fs::read_to_string(&path).expect("a running process's status");
        let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
        let kibibytes: Option<u64> =
            line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok());
        1024 * kibibytes.unwrap_or_else(|| panic!("no VmHWM in {path}: {status}"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
