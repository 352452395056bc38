//! PostgreSQL that is stopped, silent, slow, without room on its disk, or refuses.

use std::time::Duration;

use testkit::disk::Disk;
use testkit::postgres::Postgres;

use super::database::{Trouble, at_start, passes};
use super::slow::{Drag, keeps_up};
use crate::checker::Verdict;
use crate::proxy::Proxy;
use crate::run::Run;
use crate::shop::{Databases, Shop};

/// The server is stopped and started.
pub async fn stopped(run: Run) -> Verdict {
    let (postgres, databases) = fresh().await;
    passes(run, databases, Stopped(postgres)).await
}

/// The services are ended and started while the server is not there.
pub async fn stopped_at_start(run: Run) -> Verdict {
    let (postgres, databases) = fresh().await;
    at_start(run, databases, Stopped(postgres)).await
}

/// All its processes are stopped (SIGSTOP): connections stay open, and nothing is answered.
pub async fn frozen(run: Run) -> Verdict {
    let (postgres, databases) = fresh().await;
    passes(run, databases, Frozen(postgres)).await
}

/// The services are ended and started while it is.
pub async fn frozen_at_start(run: Run) -> Verdict {
    let (postgres, databases) = fresh().await;
    at_start(run, databases, Frozen(postgres)).await
}

/// It ends the services' connections, and lets their role open no new ones.
pub async fn terminated(run: Run) -> Verdict {
    let (postgres, databases) = fresh().await;
    passes(run, databases, Terminated(postgres)).await
}

/// It answers and takes no writes, as a standby does after a failover.
pub async fn read_only(run: Run) -> Verdict {
    let (postgres, databases) = fresh().await;
    passes(run, databases, ReadOnly(postgres)).await
}

/// Each of its answers comes late.
pub async fn slow(run: Run) -> Verdict {
    let (postgres, _) = with_databases(Postgres::start().await);
    let proxy = Proxy::bind().await;
    proxy.lead_to(postgres.address());
    let [producer, notifier] = DATABASES.map(|name| {
        let address = proxy.address();
        format!("postgres://{ROLE}@{address}/{name}")
    });
    let databases = Databases::at(producer, notifier);
    let drag = Distant {
        proxy,
        _postgres: postgres,
    };
    keeps_up(run, databases, drag).await
}

/// The disk of its tables is full.
pub async fn tables_full(run: Run) -> Verdict {
    let disk = Disk::mount();
    let (postgres, databases) = with_databases(Postgres::with_tables_on(&disk).await);
    let trouble = TablesFull {
        _postgres: postgres,
        disk,
    };
    passes(run, databases, trouble).await
}

/// The disk of its write-ahead log is full: it panics, cannot recover, and ends.
pub async fn log_full(run: Run) -> Verdict {
    let disk = Disk::mount();
    let (postgres, databases) = with_databases(Postgres::with_log_on(&disk).await);
    passes(run, databases, LogFull { postgres, disk }).await
}

const ROLE: &str = "shop";

/// Each service's.
const DATABASES: [&str; 2] = ["producer", "notifier"];

async fn fresh() -> (Postgres, Databases) {
    with_databases(Postgres::start().await)
}

/// A database for each service, and a role that owns both.
fn with_databases(postgres: Postgres) -> (Postgres, Databases) {
    postgres.execute(&format!("CREATE ROLE {ROLE} LOGIN"));
    for name in DATABASES {
        postgres.execute(&format!("CREATE DATABASE {name} OWNER {ROLE}"));
    }
    let [producer, notifier] = DATABASES.map(|name| postgres.url_of(ROLE, name));
    (postgres, Databases::at(producer, notifier))
}

fn terminate(postgres: &Postgres) {
    postgres.execute(&format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{ROLE}'"
    ));
}

struct Stopped(Postgres);

impl Trouble for Stopped {
    const WHAT: &'static str = "PostgreSQL is stopped";

    async fn begin(&mut self, _shop: &mut Shop) {
        self.0.stop().await;
    }

    async fn end(&mut self, _shop: &mut Shop) {
        self.0.start_again().await;
    }
}

struct Frozen(Postgres);

impl Trouble for Frozen {
    const WHAT: &'static str = "PostgreSQL answers nothing";

    async fn begin(&mut self, _shop: &mut Shop) {
        self.0.freeze();
    }

    async fn end(&mut self, _shop: &mut Shop) {
        self.0.thaw();
    }
}

struct Terminated(Postgres);

impl Trouble for Terminated {
    const WHAT: &'static str = "PostgreSQL ends its connections and takes no new ones";

    async fn begin(&mut self, _shop: &mut Shop) {
        self.0
            .execute(&format!("ALTER ROLE {ROLE} CONNECTION LIMIT 0"));
        terminate(&self.0);
    }

    async fn end(&mut self, _shop: &mut Shop) {
        self.0
            .execute(&format!("ALTER ROLE {ROLE} CONNECTION LIMIT -1"));
    }
}

struct ReadOnly(Postgres);

impl Trouble for ReadOnly {
    const WHAT: &'static str = "PostgreSQL is read-only";

    async fn begin(&mut self, _shop: &mut Shop) {
        self.0.execute(&format!(
            "ALTER ROLE {ROLE} SET default_transaction_read_only = on"
        ));
        // The setting counts for new connections.
        terminate(&self.0);
    }

    async fn end(&mut self, _shop: &mut Shop) {
        self.0.execute(&format!(
            "ALTER ROLE {ROLE} RESET default_transaction_read_only"
        ));
        terminate(&self.0);
    }
}

/// The server first: it is to end before its disk.
struct TablesFull {
    _postgres: Postgres,
    disk: Disk,
}

impl Trouble for TablesFull {
    const WHAT: &'static str = "the disk of PostgreSQL's tables is full";

    async fn begin(&mut self, _shop: &mut Shop) {
        self.disk.fill();
    }

    async fn end(&mut self, _shop: &mut Shop) {
        self.disk.make_room();
    }
}

struct LogFull {
    postgres: Postgres,
    disk: Disk,
}

/// A replica that does not come back: nothing of the log may be used again for its sake.
const LAGGARD: &str = "laggard";

impl Trouble for LogFull {
    const WHAT: &'static str = "the disk of PostgreSQL's write-ahead log is full";

    async fn begin(&mut self, _shop: &mut Shop) {
        self.postgres.execute(&format!(
            "SELECT pg_create_physical_replication_slot('{LAGGARD}', true)"
        ));
        self.disk.fill();
        // What there is of prepared segments is used up.
        let segment = "SELECT pg_logical_emit_message(false, '', ''), pg_switch_wal()";
        while self.postgres.try_execute(segment).is_ok() {}
        self.postgres.ended().await;
    }

    async fn end(&mut self, _shop: &mut Shop) {
        self.disk.make_room();
        self.postgres.start_again().await;
        self.postgres
            .execute(&format!("SELECT pg_drop_replication_slot('{LAGGARD}')"));
    }
}

/// Far away: half of an answer's time is the way there.
struct Distant {
    proxy: Proxy,
    _postgres: Postgres,
}

impl Drag for Distant {
    const WHAT: &'static str = "PostgreSQL answers late";
    const WELL: Duration = Duration::from_secs(1);

    async fn begin(&mut self, late: Duration) {
        self.proxy.slow(late / 2);
    }

    async fn end(&mut self) {
        self.proxy.slow(Duration::ZERO);
    }
}
