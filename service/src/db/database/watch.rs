//! Looks at the database for as long as the service runs: brings it up, says when it is away, and tries whether it can be
//! written to again.

use std::time::Duration;

use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Database, late, within};
use crate::db::migration::{MigrateError, NewerSteps};
use crate::health::HealthPart;

/// Longest first migration: it may have an index to build.
const MIGRATION_LIMIT: Duration = Duration::from_secs(600);

/// Longest time for each half of [`Database::restore`], two transactions' worth.
const RESTORE_LIMIT: Duration = Duration::from_secs(60);

/// Longest wait for the answer to a look: to a ping, and to the query.
const LOOK_LIMIT: Duration = Duration::from_secs(10);

/// What is written to see whether writing is possible: enough not to fit into what a full disk has
/// left over.
const FILLER_BYTES: usize = 64 * 1024;

/// Pause between two looks at a database that answers.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// Pauses between attempts to reach one that does not.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

impl Database {
    /// Migrates as soon as the database answers, then looks every two seconds whether it still
    /// does, and whether it can be written to again after a write failed; reports all of it. Ends
    /// at `stop`; writes have `leave` from then on, so that a database that hangs keeps nobody from
    /// leaving.
    pub async fn watch_over(self, health: HealthPart, stop: CancellationToken, leave: Duration) {
        tokio::select! {
            () = stop.cancelled() => {
                self.leaves_at.send_replace(Some(Instant::now() + leave));
            }
            () = self.keep_watch(health) => {}
        }
    }

    async fn keep_watch(&self, health: HealthPart) {
        let mut trouble = self.trouble.subscribe();
        let mut migrated = false;
        let mut sound = false;
        let mut pause = RETRY.0;
        loop {
            let result = if sound {
                self.look().await.map_err(MigrateError::from)
            } else {
                trouble.mark_unchanged();
                self.restore(migrated).await
            };
            match result {
                Ok(()) => {
                    migrated = true;
                    sound = true;
                    self.admit();
                    if health.up() {
                        tracing::info!("database is ready");
                    }
                    pause = RETRY.0;
                    tokio::select! {
                        () = tokio::time::sleep(CHECK_INTERVAL) => {}
                        _ = trouble.changed() => {
                            sound = false;
                            let reason = trouble.borrow_and_update().clone().unwrap_or_default();
                            self.away(&health, reason);
                        }
                    }
                }
                Err(error) => {
                    sound = false;
                    if error.is_refusal() {
                        self.refused(&health, error.to_string());
                    } else {
                        self.away(&health, error.to_string());
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(RETRY.1);
                }
            }
        }
    }

    /// Asks the database now: `true` if it answers and is ready.
    pub async fn answers(&self) -> bool {
        self.is_ready() && self.look().await.is_ok()
    }

    /// Asks the database now, whether its schema can be read, whatever was known of it before.
    ///
    /// # Errors
    /// It does not answer in 10 s, nothing has been migrated yet, or SQLite's file is gone.
    pub async fn look(&self) -> Result<(), sql::Error> {
        if let Some(file) = &self.file {
            file.check()?;
        }
        let schema = sql::query("SELECT COUNT(*) FROM schema_migrations").execute(&self.pool);
        within(LOOK_LIMIT, schema).await.map(drop)
    }

    /// Brings the schema up, and writes: a full disk or a standby lets everything else pass.
    async fn restore(&self, migrated: bool) -> Result<(), MigrateError> {
        let (limit, newer) = if migrated {
            (RESTORE_LIMIT, NewerSteps::Accepted)
        } else {
            (MIGRATION_LIMIT, NewerSteps::Refused)
        };
        match timeout(limit, self.bring_up(newer)).await {
            Ok(result) => result?,
            Err(_) => return Err(late(limit).into()),
        }
        let filler: String = (0..FILLER_BYTES / 32)
            .map(|_| Uuid::new_v4().simple().to_string())
            .collect();
        within(RESTORE_LIMIT, async {
            self.write_filler(&filler).await?;
            self.write_filler("").await
        })
        .await?;
        Ok(())
    }

    async fn write_filler(&self, filler: &str) -> Result<(), sql::Error> {
        let mut tx = self.begin_write().await?;
        sql::query(
            "INSERT INTO write_checks (id, filler) VALUES (1, $1) \
             ON CONFLICT (id) DO UPDATE SET filler = excluded.filler",
        )
        .bind(filler)
        .execute(&mut *tx)
        .await?;
        tx.commit().await
    }
}
