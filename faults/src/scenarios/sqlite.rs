//! SQLite files that are locked, slow, full, or not where they were.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sql::Transaction;
use tempfile::TempDir;
use testkit::database::pool;
use testkit::eventually;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::database::{Trouble, at_start, passes};
use super::slow::{Drag, keeps_up};
use crate::checker::Verdict;
use crate::process::PATIENCE;
use crate::run::Run;
use crate::shop::{Databases, Instance, Shop};

/// Another writer holds the lock.
pub async fn locked(run: Run) -> Verdict {
    let files = Files::new();
    passes(run, files.databases(), Locked::new(files)).await
}

/// The services are ended and started while another writer holds the lock.
pub async fn locked_at_start(run: Run) -> Verdict {
    let files = Files::new();
    at_start(run, files.databases(), Locked::new(files)).await
}

/// Another writer holds the lock most of the time.
pub async fn slow(run: Run) -> Verdict {
    let files = Files::new();
    keeps_up(run, files.databases(), Shared::new(files)).await
}

/// No file of the services can grow: as on a full disk, but for these processes alone.
pub async fn full(run: Run) -> Verdict {
    let files = Files::new();
    passes(run, files.databases(), Full { _files: files }).await
}

/// The folder is moved away, and back.
pub async fn moved(run: Run) -> Verdict {
    let files = Files::new();
    passes(run, files.databases(), Moved { files }).await
}

/// The databases' files, all in one folder.
struct Files {
    home: TempDir,
}

impl Files {
    fn new() -> Self {
        Self {
            home: TempDir::with_prefix("databases-").expect("a folder for databases"),
        }
    }

    fn folder(&self) -> PathBuf {
        self.home.path().join("data")
    }

    fn paths(&self) -> [PathBuf; 2] {
        ["producer.db", "notifier.db"].map(|name| self.folder().join(name))
    }

    fn databases(&self) -> Databases {
        let [producer, notifier] = self
            .paths()
            .map(|path| format!("sqlite:{}", path.display()));
        Databases::at(producer, notifier)
    }
}

struct Locked {
    files: Files,
    holders: Vec<Transaction>,
}

impl Locked {
    fn new(files: Files) -> Self {
        Self {
            files,
            holders: Vec::new(),
        }
    }
}

impl Trouble for Locked {
    const WHAT: &'static str = "another writer holds the lock of the SQLite files";

    async fn begin(&mut self, _shop: &mut Shop) {
        for path in self.files.paths() {
            self.holders.push(hold(&path).await);
        }
    }

    async fn end(&mut self, _shop: &mut Shop) {
        for holder in self.holders.drain(..) {
            release(holder).await;
        }
    }
}

async fn hold(path: &Path) -> Transaction {
    let pool = pool(&format!("sqlite:{}?mode=rw", path.display()));
    // It waits its turn; the services leave it little.
    eventually(PATIENCE, || async { pool.begin().await.ok() }).await
}

async fn release(holder: Transaction) {
    holder.rollback().await.expect("a lock can be given back");
}

/// Shared with a writer that leaves little of the lock.
struct Shared {
    files: Files,
    busy: watch::Sender<bool>,
    writers: JoinSet<()>,
}

/// How long the lock is free between two holds.
const FREE: Duration = Duration::from_millis(200);

impl Shared {
    fn new(files: Files) -> Self {
        Self {
            files,
            busy: watch::Sender::new(false),
            writers: JoinSet::new(),
        }
    }
}

impl Drag for Shared {
    const WHAT: &'static str = "another writer holds the lock of the SQLite files most of the time";
    // SQLite gives the lock to whoever happens to ask: the others may get none for long.
    const WELL: Duration = Duration::ZERO;

    async fn begin(&mut self, late: Duration) {
        self.busy.send_replace(true);
        for path in self.files.paths() {
            let busy = self.busy.subscribe();
            self.writers.spawn(async move {
                while *busy.borrow() {
                    let holder = hold(&path).await;
                    sleep(late).await;
                    release(holder).await;
                    sleep(FREE).await;
                }
            });
        }
    }

    async fn end(&mut self) {
        self.busy.send_replace(false);
        while let Some(ended) = self.writers.join_next().await {
            ended.expect("a writer that ends well");
        }
    }
}

struct Full {
    _files: Files,
}

/// The longest that a file may be: the process's own log is to go on.
const LIMIT: u64 = 64 * 1024;

impl Trouble for Full {
    const WHAT: &'static str = "the SQLite files cannot grow";

    async fn begin(&mut self, shop: &mut Shop) {
        for instance in shop.producers.iter_mut().chain(&mut shop.notifiers) {
            instance.process.put_log_aside();
            limit(instance, Some(LIMIT));
        }
    }

    async fn end(&mut self, shop: &mut Shop) {
        for instance in shop.producers.iter().chain(&shop.notifiers) {
            limit(instance, None);
        }
    }
}

#[cfg(target_os = "linux")]
fn limit(instance: &Instance, bytes: Option<u64>) {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};

    let process = i32::try_from(instance.process.id())
        .ok()
        .and_then(Pid::from_raw);
    let wanted = Rlimit {
        current: bytes,
        maximum: None,
    };
    prlimit(process, Resource::Fsize, wanted).expect("a child's limit can be set");
}

#[cfg(not(target_os = "linux"))]
fn limit(_instance: &Instance, _bytes: Option<u64>) {
    panic!("only Linux lets one process set another's limits");
}

struct Moved {
    files: Files,
}

impl Moved {
    fn aside(&self) -> PathBuf {
        self.files.home.path().join("aside")
    }
}

impl Trouble for Moved {
    const WHAT: &'static str = "the folder of the SQLite files is moved away";

    async fn begin(&mut self, _shop: &mut Shop) {
        fs::rename(self.files.folder(), self.aside()).expect("a folder can be moved");
    }

    async fn end(&mut self, _shop: &mut Shop) {
        fs::rename(self.aside(), self.files.folder()).expect("a folder can be moved back");
    }
}
