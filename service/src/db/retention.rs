use std::time::Duration;

use chrono::Utc;
use tokio_util::sync::CancellationToken;

use super::database::Database;

/// Longest pause between two rounds.
const ROUND: Duration = Duration::from_secs(60);

/// Rows of one transaction, so that other writers wait but shortly.
const CHUNK: i64 = 1_000;

/// Rows that go when they are old.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// What they are, for the log.
    pub what: &'static str,
    /// The variable that says how long they are kept.
    pub variable: &'static str,
    /// Deletes at most `$2` of those from before `$1`, milliseconds since 1970.
    pub delete: &'static str,
}

impl Retention {
    /// Deletes what is older than `age`, once a minute (more often for a shorter age), until `stop`.
    /// A database that is away is asked again next time.
    pub async fn run(self, database: Database, age: Duration, stop: CancellationToken) {
        let rounds = async {
            loop {
                database.ready().await;
                let millis = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
                let before = Utc::now().timestamp_millis().saturating_sub(millis);
                match self.delete_before(&database, before).await {
                    Ok(0) => {}
                    Ok(rows) => tracing::info!(
                        rows,
                        "deleted {rows} {} older than {}",
                        self.what,
                        self.variable
                    ),
                    Err(error) => {
                        tracing::warn!("old {} could not be deleted: {error}", self.what);
                    }
                }
                tokio::time::sleep(ROUND.min(age)).await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = rounds => {}
        }
    }

    /// Deletes what is from before `before`, milliseconds since 1970; returns how many rows.
    ///
    /// # Errors
    /// The database's; what was deleted until then is gone.
    pub async fn delete_before(
        &self,
        database: &Database,
        before: i64,
    ) -> Result<u64, sqlx::Error> {
        let mut deleted = 0;
        loop {
            let delete = async {
                let mut tx = database.begin_write().await?;
                let rows = sqlx::query(self.delete)
                    .bind(before)
                    .bind(CHUNK)
                    .execute(&mut *tx)
                    .await?
                    .rows_affected();
                tx.commit().await?;
                Ok(rows)
            };
            let rows = database.write(delete).await?;
            deleted += rows;
            if rows < CHUNK as u64 {
                return Ok(deleted);
            }
        }
    }
}
