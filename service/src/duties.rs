//! The tasks of a service, and leaving in order.

use std::collections::HashMap;
use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use tokio::task::{Id, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::ShutdownConfig;
use crate::health::Health;

/// The tasks of one service. Each runs until [`Duties::stop`] is cancelled and then ends by itself
/// after finishing what is in flight.
#[derive(Debug)]
pub struct Duties {
    tasks: JoinSet<Result<(), String>>,
    names: HashMap<Id, &'static str>,
    stop: CancellationToken,
    health: Health,
    config: ShutdownConfig,
}

/// Why a service ended other than well.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("{task} failed: {reason}")]
    Failed { task: &'static str, reason: String },
    #[error(
        "shutdown could not be finished within {} s (SHUTDOWN_TIMEOUT); left unfinished: {}",
        .timeout.as_secs_f64(), .left.join(", ")
    )]
    Overdue {
        timeout: Duration,
        left: Vec<&'static str>,
    },
    #[error("{0}")]
    Start(String),
}

impl Duties {
    pub fn new(health: Health, config: ShutdownConfig) -> Self {
        Self {
            tasks: JoinSet::new(),
            names: HashMap::new(),
            stop: CancellationToken::new(),
            health,
            config,
        }
    }

    /// Cancelled when intake ends: servers stop accepting, event streams end, consumers drain.
    pub fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Adds a task. It may end early only with an error, which ends the service.
    pub fn spawn<E: Display>(
        &mut self,
        name: &'static str,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let stop = self.stop.clone();
        let handle = self.tasks.spawn(async move {
            match task.await {
                Ok(()) if stop.is_cancelled() => Ok(()),
                Ok(()) => Err("it ended although nothing asked it to".to_owned()),
                Err(error) => Err(error.to_string()),
            }
        });
        self.names.insert(handle.id(), name);
    }

    /// Like [`Duties::spawn`], for a task that cannot fail.
    pub fn spawn_quiet(
        &mut self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        self.spawn(name, async move {
            task.await;
            Ok::<(), std::convert::Infallible>(())
        });
    }

    /// Runs until `shutdown`, or until a task fails. Then: not ready for the drain delay → stop
    /// intake → wait for the tasks → `last` (flush the producer, close the database), all within
    /// the shutdown timeout, less what of it is for the last log records.
    ///
    /// # Errors
    /// The first failure of a task, or what was left at the timeout. Either way everything has
    /// been tried; remaining tasks are aborted.
    pub async fn run(
        mut self,
        shutdown: impl Future<Output = ()>,
        last: impl Future<Output = ()>,
    ) -> Result<(), RunError> {
        let mut failure = None;
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                Some(ended) = self.tasks.join_next_with_id(), if !self.tasks.is_empty() => {
                    failure = self.ended(ended);
                    if failure.is_some() {
                        break;
                    }
                }
            }
        }
        self.health.shut_down();
        match &failure {
            None => {
                tracing::info!("shutting down");
                tokio::time::sleep(self.config.drain_delay).await;
            }
            Some(error) => tracing::error!("{error}; shutting down"),
        }
        self.stop.cancel();
        let deadline = Instant::now() + self.config.tasks();
        while !self.tasks.is_empty() {
            match tokio::time::timeout_at(deadline, self.tasks.join_next_with_id()).await {
                Ok(Some(ended)) => {
                    let late = self.ended(ended);
                    failure = failure.or(late);
                }
                Ok(None) => break,
                Err(_) => return Err(failure.unwrap_or_else(|| self.overdue())),
            }
        }
        match tokio::time::timeout_at(deadline, last).await {
            Ok(()) => failure.map_or(Ok(()), Err),
            Err(_) => Err(failure.unwrap_or(RunError::Overdue {
                timeout: self.config.timeout,
                left: vec![
                    "records not yet acknowledged by Kafka, or a database that does not close",
                ],
            })),
        }
    }

    fn ended(
        &mut self,
        ended: Result<(Id, Result<(), String>), tokio::task::JoinError>,
    ) -> Option<RunError> {
        let (id, result) = match ended {
            Ok((id, result)) => (id, result),
            Err(error) => (error.id(), Err(format!("it panicked ({error})"))),
        };
        let task = self.names.remove(&id).unwrap_or("a task");
        result.err().map(|reason| RunError::Failed { task, reason })
    }

    fn overdue(&self) -> RunError {
        let mut left: Vec<_> = self.names.values().copied().collect();
        left.sort_unstable();
        RunError::Overdue {
            timeout: self.config.timeout,
            left,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn config(timeout_ms: u64) -> ShutdownConfig {
        ShutdownConfig {
            drain_delay: Duration::from_millis(5),
            timeout: Duration::from_millis(timeout_ms),
            last_logs: Duration::ZERO,
        }
    }

    fn good() -> Result<(), String> {
        Ok(())
    }

    #[tokio::test]
    async fn leaves_in_order() {
        let health = Health::new();
        let mut duties = Duties::new(health.clone(), config(5_000));
        let stop = duties.stop();
        let finished = Arc::new(AtomicBool::new(false));
        let ready_at_stop = Arc::new(AtomicBool::new(true));
        duties.spawn("worker", {
            let (finished, ready_at_stop) = (finished.clone(), ready_at_stop.clone());
            async move {
                stop.cancelled().await;
                ready_at_stop.store(health.report().ready, Ordering::SeqCst);
                tokio::task::yield_now().await;
                finished.store(true, Ordering::SeqCst);
                good()
            }
        });
        let flushed_after_work = Arc::new(AtomicBool::new(false));
        let flushed = flushed_after_work.clone();
        duties
            .run(std::future::ready(()), async {
                flushed.store(finished.load(Ordering::SeqCst), Ordering::SeqCst);
            })
            .await
            .unwrap();
        assert!(flushed_after_work.load(Ordering::SeqCst));
        assert!(!ready_at_stop.load(Ordering::SeqCst));
    }

    #[tokio::test]
    async fn says_what_was_left() {
        let mut duties = Duties::new(Health::new(), config(20));
        duties.spawn("stuck worker", std::future::pending::<Result<(), String>>());
        let error = duties
            .run(std::future::ready(()), std::future::ready(()))
            .await
            .unwrap_err();
        assert!(error.to_string().contains("stuck worker"), "{error}");
        let duties = Duties::new(Health::new(), config(20));
        let error = duties
            .run(std::future::ready(()), std::future::pending())
            .await
            .unwrap_err();
        assert!(
            error.to_string().contains("not yet acknowledged"),
            "{error}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_kept_for_the_last_log_records_is_not_taken() {
        let config = ShutdownConfig {
            last_logs: Duration::from_secs(1),
            ..config(10_000)
        };
        let mut duties = Duties::new(Health::new(), config);
        duties.spawn("stuck worker", std::future::pending::<Result<(), String>>());
        let begun = Instant::now() + config.drain_delay;
        let error = duties.run(std::future::ready(()), std::future::ready(()));
        let error = error.await.unwrap_err().to_string();
        assert_eq!(begun.elapsed().as_secs(), 9);
        assert!(error.contains("within 10 s (SHUTDOWN_TIMEOUT)"), "{error}");
    }

    #[tokio::test]
    async fn a_failed_task_ends_the_service() {
        let mut duties = Duties::new(Health::new(), config(5_000));
        let stop = duties.stop();
        duties.spawn("bystander", async move {
            stop.cancelled().await;
            good()
        });
        duties.spawn("consumer", async { Err("fenced") });
        let error = duties
            .run(std::future::pending(), std::future::ready(()))
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "consumer failed: fenced");
    }

    #[tokio::test]
    async fn a_task_that_ends_for_no_reason_is_a_failure() {
        let mut duties = Duties::new(Health::new(), config(5_000));
        duties.spawn("consumer", async { good() });
        let error = duties
            .run(std::future::pending(), std::future::ready(()))
            .await
            .unwrap_err();
        assert!(
            error.to_string().contains("although nothing asked"),
            "{error}"
        );
    }
}
