//! PostgreSQL that is stopped, silent, slow, or refuses.

use std::time::Duration;

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
    let (postgres, _) = fresh().await;
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

const ROLE: &str = "shop";

/// Each service's.
const DATABASES: [&str; 2] = ["producer", "notifier"];

/// A server with a database for each service, and a role that owns both.
async fn fresh() -> (Postgres, Databases) {
    let postgres = Postgres::start().await;
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

/// Far away: half of an answer's time is the way there.
struct Distant {
    proxy: Proxy,
    _postgres: Postgres,
}

impl Drag for Distant {
    const WHAT: &'static str = "PostgreSQL answers late";

    async fn begin(&mut self, late: Duration) {
        self.proxy.slow(late / 2);
    }

    async fn end(&mut self) {
        self.proxy.slow(Duration::ZERO);
    }
}
