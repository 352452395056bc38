//! One instance of a service.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitStatus;

use serde_json::Value;
use testkit::{eventually, http, metrics};

use crate::process::{PATIENCE, Process};

/// Which service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    Producer,
    Consumer,
    Notifier,
}

impl Service {
    /// The name of its program.
    pub fn program(self) -> &'static str {
        match self {
            Self::Producer => "producer-svc",
            Self::Consumer => "consumer-svc",
            Self::Notifier => "notifier-svc",
        }
    }
}

/// A process of a service; its address stays the same through restarts.
pub struct Instance {
    pub service: Service,
    pub process: Process,
    pub address: SocketAddr,
}

impl Instance {
    /// Starts one in a folder of its own below `folder`, and waits until it listens.
    ///
    /// # Panics
    /// When it does not.
    pub async fn start(
        service: Service,
        number: usize,
        folder: &Path,
        flags: &[(String, String)],
    ) -> Self {
        let program = service.program();
        // A port that is asked for by number is there again after a restart.
        let address = testkit::apache::free_address();
        let arguments: Vec<_> = flags
            .iter()
            .map(|(name, value)| match (&**name, &**value) {
                ("http-addr", "127.0.0.1:0") => format!("--http-addr={address}"),
                (name, value) => format!("--{name}={value}"),
            })
            .collect();
        let folder = folder.join(format!("{program}-{number}"));
        let mut process = Process::start(program, program, &folder, &arguments);
        process.address().await;
        Self {
            service,
            process,
            address,
        }
    }

    /// Waits until it lacks nothing.
    ///
    /// # Panics
    /// When it ends, or that takes too long.
    pub async fn ready(&mut self) {
        eventually(PATIENCE, || {
            self.process.expect_running();
            let address = self.address;
            async move { (http::get(address, "/readyz?strict").await.status == 200).then_some(()) }
        })
        .await;
    }

    /// Waits until it is ready, and says that its database is missing.
    ///
    /// # Panics
    /// When that takes too long.
    pub async fn names_its_database(&self) {
        eventually(PATIENCE, || async {
            let answer = http::get(self.address, "/readyz").await;
            let report: Value = serde_json::from_str(&answer.body).expect("a report in JSON");
            let degraded = report["degraded"].as_array()?;
            let named = degraded.iter().find(|part| part["name"] == "database")?;
            let said = named["problem"]
                .as_str()
                .is_some_and(|problem| problem != "not reached yet");
            (answer.status == 200 && said).then_some(())
        })
        .await;
    }

    /// Ends it with SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Ends it with SIGTERM.
    ///
    /// # Panics
    /// When it does not end in time.
    pub async fn end(&mut self) -> ExitStatus {
        self.process.end().await
    }

    /// Starts it again after it ended, and waits until it listens.
    ///
    /// # Panics
    /// When it does not.
    pub async fn start_again(&mut self) {
        self.process.start_again();
        self.process.address().await;
    }

    /// What a path of the admin's says; none while that is not found or has to wait.
    ///
    /// # Panics
    /// When it is answered otherwise.
    pub async fn admin(&self, path: &str) -> Option<Value> {
        // admin, admin
        let login = [("authorization", "Basic YWRtaW46YWRtaW4=")];
        let answer = http::request(self.address, "GET", path, &login, "").await;
        match answer.status {
            200 => Some(serde_json::from_str(&answer.body).expect("JSON")),
            404 | 503 => None,
            _ => panic!("{path}: {answer:?}"),
        }
    }

    /// The value of a metric, by its name with its labels; none while it is not there.
    pub async fn metric(&self, name: &str) -> Option<f64> {
        metrics::value(self.address, name).await
    }
}
