//! What time it is for what is stored: the belief of [`Belief`], kept in the database.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Database, DatabaseKind};
use crate::clock::Clock;
use crate::db::belief::{Belief, ClockDoubt, SKEW};
use crate::health::HealthPart;

/// Pause between two looks at the clock.
const CLOCK_INTERVAL: Duration = Duration::from_secs(10);

impl Database {
    /// Takes the time of day from `clock`. Default: the operating system's.
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// The time for what is stored now, in milliseconds since 1970: this process's clock, or the database's
    /// where it has one; and where that is doubted, the time that was believed last and what has passed since.
    pub fn now(&self) -> i64 {
        let believed = *self.believed.lock();
        match believed {
            Some((time, at)) => {
                let passed = i64::try_from(at.elapsed().as_millis()).unwrap_or(i64::MAX);
                time.saturating_add(passed)
            }
            None => self.clock.now_millis(),
        }
    }

    /// The time to store a row with, in milliseconds since 1970. A clock that is doubted for being ahead may
    /// still be right, as after a long stop, and a row of now must not look old when it is believed in the
    /// end; so it is the later of [`Database::now`] and the clock. If the clock was wrong,
    /// [`Retention`](super::Retention) pulls its rows back to the time that is believed then.
    pub fn stamp(&self) -> i64 {
        self.now().max(self.clock.now_millis())
    }

    /// The time by which old rows are deleted, in milliseconds since 1970, or why no clock is believed: one that
    /// is wrong would delete everything for good. It is compared with the time that was believed last, which the
    /// database keeps, and on PostgreSQL the process's clock with the server's.
    ///
    /// # Errors
    /// The database's.
    pub async fn believed_time(&self) -> Result<Result<i64, ClockDoubt>, sql::Error> {
        let server = match self.kind() {
            DatabaseKind::Sqlite => "CAST(-1 AS BIGINT)",
            DatabaseKind::Postgres => {
                "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)"
            }
        };
        let text = format!(
            "SELECT {server}, believed, claimed_from, claimed_to FROM (SELECT 1 AS one) AS here \
             LEFT JOIN believed_time ON id = one"
        );
        let before = self.clock.now_millis();
        let query = sql::query(text).fetch_one(&self.pool);
        let row = self.read(query).await?;
        let after = self.clock.now_millis();
        let server: i64 = row.get(0)?;
        let known = match row.get::<Option<i64>>(1)? {
            Some(believed) => Some(Belief {
                believed,
                claimed_from: row.get(2)?,
                claimed_to: row.get(3)?,
            }),
            None => None,
        };
        let now = match self.kind() {
            DatabaseKind::Sqlite => after,
            DatabaseKind::Postgres => server,
        };
        // The answer may have taken long.
        if now < before.saturating_sub(SKEW) || now > after.saturating_add(SKEW) {
            if let Some(known) = known {
                self.believe_at_first(known.believed);
            }
            return Ok(Err(ClockDoubt::Differ {
                process: after,
                database: now,
            }));
        }
        let (belief, doubt) = match known {
            Some(known) => known.told(now),
            None => (Belief::first(now), None),
        };
        if known.is_none_or(|known| known.is_outdated_by(&belief)) {
            self.keep_belief(&belief).await?;
        }
        match doubt {
            None => {
                *self.believed.lock() = Some((now, std::time::Instant::now()));
                Ok(Ok(now))
            }
            Some(doubt) => {
                self.believe_at_first(belief.believed);
                Ok(Err(doubt))
            }
        }
    }

    /// Better than a clock that is doubted, where nothing was believed yet.
    fn believe_at_first(&self, time: i64) {
        let mut believed = self.believed.lock();
        believed.get_or_insert_with(|| (time, std::time::Instant::now()));
    }

    async fn keep_belief(&self, belief: &Belief) -> Result<(), sql::Error> {
        self.write(async {
            let mut tx = self.begin_write().await?;
            sql::query(
                "INSERT INTO believed_time (id, believed, claimed_from, claimed_to) \
                 VALUES (1, $1, $2, $3) ON CONFLICT (id) DO UPDATE SET believed = excluded.believed, \
                 claimed_from = excluded.claimed_from, claimed_to = excluded.claimed_to",
            )
            .bind(belief.believed)
            .bind(belief.claimed_from)
            .bind(belief.claimed_to)
            .execute(&mut *tx)
            .await?;
            tx.commit().await
        })
        .await
    }

    /// Looks at the clock every ten seconds, and says when it is doubted, until `stop`.
    pub async fn watch_clock(self, health: HealthPart, stop: CancellationToken) {
        let looks = async {
            let mut doubted = false;
            loop {
                self.ready().await;
                match self.believed_time().await {
                    Ok(Ok(_)) => {
                        health.up();
                        if std::mem::take(&mut doubted) {
                            tracing::info!("the clock is believed again");
                        }
                    }
                    Ok(Err(doubt)) => {
                        health.down(doubt.to_string());
                        if !std::mem::replace(&mut doubted, true) {
                            tracing::error!("{doubt}");
                        }
                    }
                    // The database's watch says so.
                    Err(_) => {}
                }
                tokio::time::sleep(CLOCK_INTERVAL).await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = looks => {}
        }
    }
}
