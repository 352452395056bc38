use std::time::Duration;

use sql::Query;
use tokio_util::sync::CancellationToken;

use super::belief::LEAP;
use super::database::Database;

/// Longest pause between two rounds.
const ROUND: Duration = Duration::from_secs(60);

/// Rows of one transaction, so that other writers wait but shortly.
const CHUNK: i64 = 1_000;

/// Rows that go when they are old, by when they were stored: the time that an event says of itself may be
/// anything.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// What they are, for the log.
    pub what: &'static str,
    /// The variable that says how long they are kept.
    pub variable: &'static str,
    /// Deletes what was stored before `$1`, milliseconds since 1970: at least as many rows as there are, and at
    /// least `$2` where there are more.
    pub delete: &'static str,
    /// Gives a time to rows that have none, as an instance of an earlier version writes them, and to those whose
    /// time lies behind `$2`, as a wrong clock wrote it: with `$1`, now, for at most `$3` rows each. So none of
    /// them stays for ever.
    pub mend: &'static [&'static str],
}

impl Retention {
    /// Deletes what was stored longer ago than `age`, once a minute (more often for a shorter age), until `stop`.
    /// A database that is away is asked again next time, and while the clock is doubted
    /// ([`Database::believed_time`]) nothing is deleted.
    pub async fn run(self, database: Database, age: Duration, stop: CancellationToken) {
        let rounds = async {
            loop {
                database.ready().await;
                match self.round(&database, age).await {
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

    /// One round: deletes what was stored longer ago than `age`; returns how many rows. While the clock is
    /// doubted it deletes none; [`Database::watch_clock`] says so.
    ///
    /// # Errors
    /// The database's; what was deleted until then is gone.
    pub async fn round(&self, database: &Database, age: Duration) -> Result<u64, sql::Error> {
        let Ok(now) = database.believed_time().await? else {
            return Ok(0);
        };
        self.mend(database, now).await?;
        let millis = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        self.delete_before(database, now.saturating_sub(millis))
            .await
    }

    async fn mend(&self, database: &Database, now: i64) -> Result<(), sql::Error> {
        for mend in self.mend.iter().copied() {
            in_chunks(database, || {
                sql::query(mend)
                    .bind(now)
                    .bind(now.saturating_add(LEAP))
                    .bind(CHUNK)
            })
            .await?;
        }
        Ok(())
    }

    /// Deletes what was stored before `before`, milliseconds since 1970; returns how many rows.
    ///
    /// # Errors
    /// The database's; what was deleted until then is gone.
    pub async fn delete_before(&self, database: &Database, before: i64) -> Result<u64, sql::Error> {
        in_chunks(database, || {
            sql::query(self.delete).bind(before).bind(CHUNK)
        })
        .await
    }
}

/// Runs a statement, a transaction each, until it has not enough left to do for another one. Returns how many rows it
/// was in all.
async fn in_chunks(database: &Database, statement: impl Fn() -> Query) -> Result<u64, sql::Error> {
    let mut all = 0;
    loop {
        let chunk = async {
            let mut tx = database.begin_write().await?;
            let rows = statement().execute(&mut *tx).await?;
            tx.commit().await?;
            Ok(rows)
        };
        let rows = database.write(chunk).await?;
        all += rows;
        if rows < CHUNK as u64 {
            return Ok(all);
        }
    }
}
