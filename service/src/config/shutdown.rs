use std::time::Duration;

use super::option::{Opt, group::LOGS};
use super::values::Values;

/// How long leaving may take.
#[derive(Clone, Copy, Debug)]
pub struct ShutdownConfig {
    /// Not ready, but still serving, so that load balancers notice.
    pub drain_delay: Duration,
    /// From the end of the drain delay to exit 1.
    pub timeout: Duration,
    /// Of `timeout`, what is kept for the last log records on their way to Kafka; zero where none
    /// are sent there.
    pub last_logs: Duration,
}

/// Of `SHUTDOWN_TIMEOUT`, the share of the last log records.
const LAST_LOGS: f64 = 0.1;

impl ShutdownConfig {
    /// How long a service's tasks may take to end, from the end of the drain delay.
    pub fn tasks(&self) -> Duration {
        self.timeout.saturating_sub(self.last_logs)
    }

    /// How long a consumer may spend on records in its handler's hands: most of the time, with some
    /// left for the last commit and for the producer.
    pub fn drain(&self) -> Duration {
        self.timeout.mul_f64(0.7)
    }

    /// How long an outbox may wait for what is in Kafka's hands: what is acknowledged by then can
    /// still be marked.
    pub fn relay(&self) -> Duration {
        self.timeout.mul_f64(0.3)
    }

    /// How long a database may take for what is being written: consumers are told in time that it
    /// was not, and end in order.
    pub fn writes(&self) -> Duration {
        self.timeout.mul_f64(0.5)
    }
}

pub(super) fn shutdown_options() -> Vec<Opt> {
    vec![
        Opt::new(
            "SHUTDOWN_TIMEOUT",
            "10s",
            LOGS,
            "Longest orderly shutdown; then exit status 1 and a line saying what was left.",
        ),
        Opt::new(
            "SHUTDOWN_DRAIN_DELAY",
            "0s",
            LOGS,
            "How long to serve on while already not ready, so that load balancers notice.",
        ),
    ]
}

impl ShutdownConfig {
    pub(super) fn read(values: &mut Values, logs_to_kafka: bool) -> Self {
        let timeout: Duration = values.positive("SHUTDOWN_TIMEOUT");
        Self {
            drain_delay: values.get("SHUTDOWN_DRAIN_DELAY"),
            timeout,
            last_logs: match logs_to_kafka {
                true => timeout.mul_f64(LAST_LOGS),
                false => Duration::ZERO,
            },
        }
    }
}
