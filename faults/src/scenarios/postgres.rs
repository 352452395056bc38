//! PostgreSQL that is stopped, silent, or refuses.

use testkit::postgres::Postgres;

use super::database::{Trouble, at_start, passes};
use crate::checker::Verdict;
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

const ROLE: &str = "shop";

/// A server with a database for each service, and a role that owns both.
async fn fresh() -> (Postgres, Databases) {
    let postgres = Postgres::start().await;
    postgres.execute(&format!("CREATE ROLE {ROLE} LOGIN"));
    for name in ["producer", "notifier"] {
        postgres.execute(&format!("CREATE DATABASE {name} OWNER {ROLE}"));
    }
    let [producer, notifier] = ["producer", "notifier"].map(|name| postgres.url_of(ROLE, name));
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
    const HANGS: bool = true;
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
