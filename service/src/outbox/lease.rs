//! Which relay publishes: one row that names the holder.
//!
//! No clock is compared with another machine's. The holder raises `beat` now and then; whoever wants
//! the lease watches the row, and takes it when it has not changed for a term by his own clock.
//! Each taking raises the epoch (`turn` in its row), and all that a holder writes asks for its epoch, so a holder that was
//! asleep past its term writes nothing any more.
//!
//! A process that was killed and is back need not wait for its own former self: the holder's name begins with the
//! [instance](crate::instance) it is, and at its first look a process takes what that instance held. One look only, so
//! that two processes that have one name by mistake take the lease from each other no more often than they are started;
//! the one that lost it notices at its next sign of life or mark, and what it sends until then are repeats.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sql::Connection;
use tokio::time::Instant;
use uuid::Uuid;

use crate::db::Database;

/// How long a holder that gives no sign of life keeps the lease, unless told otherwise.
pub(super) const TERM: Duration = Duration::from_secs(10);

/// Signs of life in a term: two may fail.
const BEATS: u32 = 3;

/// A claim on the lease, and what it has seen of others' claims.
#[derive(Debug)]
pub(super) struct Lease {
    database: Database,
    term: Duration,
    /// The instance, if this process is one, and what tells its runs apart.
    me: String,
    instance: Option<String>,
    /// The row was looked at.
    looked: bool,
    held: Arc<Mutex<Option<Held>>>,
    watched: Watched,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    epoch: i64,
    /// Before the last sign of life was sent.
    renewed: Instant,
}

/// What is known of a lease, for who does not renew it. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Hold {
    held: Arc<Mutex<Option<Held>>>,
    term: Duration,
}

impl Hold {
    /// Whether it is held, as far as can be known without asking: for a whole term after the last
    /// sign of life nobody else takes it.
    pub(super) fn is_held(&self) -> bool {
        let held = *self.held.lock();
        held.is_some_and(|held| held.renewed.elapsed() < self.term)
    }
}

/// The row as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    holder: String,
    epoch: i64,
    beat: i64,
}

/// Since when the row has been as it is.
#[derive(Debug, Default)]
struct Watched(Option<(Found, Instant)>);

/// What stands between an instance's id and the id of its run in a holder's name.
const RUN: char = '/';

impl Found {
    /// Whether the holder is, or was, this instance.
    fn is_of(&self, instance: &str) -> bool {
        self.holder
            .rsplit_once(RUN)
            .is_some_and(|(holder, _)| holder == instance)
    }
}

impl Watched {
    /// Whether the row, found at `now`, may be taken.
    fn may_take(&mut self, found: &Found, now: Instant, me: &str, term: Duration) -> bool {
        if found.holder.is_empty() || found.holder == me {
            return true;
        }
        match &self.0 {
            Some((before, since)) if before == found => now - *since >= term,
            _ => {
                self.0 = Some((found.clone(), now));
                false
            }
        }
    }
}

impl Lease {
    pub(super) fn new(database: Database, term: Duration) -> Self {
        Self {
            database,
            term,
            me: Uuid::new_v4().to_string(),
            instance: None,
            looked: false,
            held: Arc::default(),
            watched: Watched::default(),
        }
    }

    /// The lease of this instance: what an earlier run of it held is its own.
    pub(super) fn of_instance(self, instance: &str) -> Self {
        Self {
            me: format!("{instance}{RUN}{}", Uuid::new_v4()),
            instance: Some(instance.to_owned()),
            ..self
        }
    }

    pub(super) fn with_term(self, term: Duration) -> Self {
        Self { term, ..self }
    }

    /// For who sends while it is renewed.
    pub(super) fn hold(&self) -> Hold {
        Hold {
            held: self.held.clone(),
            term: self.term,
        }
    }

    /// See [`Hold::is_held`].
    pub(super) fn is_held(&self) -> bool {
        self.hold().is_held()
    }

    /// Whether it was held, and may be still if nobody has taken it since.
    pub(super) fn has_lapsed(&self) -> bool {
        self.held.lock().is_some() && !self.is_held()
    }

    /// Whether the next sign of life is due.
    pub(super) fn is_due(&self) -> bool {
        let held = *self.held.lock();
        held.is_some_and(|held| held.renewed.elapsed() >= self.beat())
    }

    /// How often the holder shows that it lives.
    pub(super) fn beat(&self) -> Duration {
        self.term / BEATS
    }

    /// Holds it from now on if nobody else does.
    ///
    /// # Errors
    /// The database's.
    pub(super) async fn take(&mut self) -> Result<bool, sql::Error> {
        let now = Instant::now();
        *self.held.lock() = None;
        let found = self.find().await?;
        let first_look = !std::mem::replace(&mut self.looked, true);
        let was_ours = first_look && self.instance.as_ref().is_some_and(|id| found.is_of(id));
        if !was_ours && !self.watched.may_take(&found, now, &self.me, self.term) {
            return Ok(false);
        }
        let update = async {
            let mut tx = self.database.begin_write().await?;
            let rows = sql::query(
                "UPDATE outbox_lease SET holder = $1, turn = turn + 1, beat = beat + 1 \
                 WHERE id = 1 AND turn = $2 AND beat = $3",
            )
            .bind(&self.me)
            .bind(found.epoch)
            .bind(found.beat)
            .execute(&mut *tx)
            .await?;
            tx.commit().await?;
            Ok(rows)
        };
        if self.database.write(update).await? == 1 {
            *self.held.lock() = Some(Held {
                epoch: found.epoch + 1,
                renewed: now,
            });
        }
        Ok(self.held.lock().is_some())
    }

    async fn find(&self) -> Result<Found, sql::Error> {
        let query = sql::query("SELECT holder, turn, beat FROM outbox_lease WHERE id = 1")
            .fetch_one(self.database.pool());
        let row = self.database.read(query).await?;
        Ok(Found {
            holder: row.get(0)?,
            epoch: row.get(1)?,
            beat: row.get(2)?,
        })
    }

    /// Shows that the holder lives. `false`: another one holds it.
    ///
    /// # Errors
    /// The database's; the lease is held until its term is over.
    pub(super) async fn renew(&mut self) -> Result<bool, sql::Error> {
        let now = Instant::now();
        let database = self.database.clone();
        let renewed = database
            .write(async {
                let mut tx = database.begin_write().await?;
                let renewed = self.renew_in(&mut tx).await?;
                tx.commit().await?;
                Ok(renewed)
            })
            .await?;
        self.renewed(renewed, now);
        Ok(renewed)
    }

    /// The same as a part of a transaction, which must be given up at `false`. Tell
    /// [`Lease::renewed`] after the commit.
    pub(super) async fn renew_in(&self, connection: &mut Connection) -> Result<bool, sql::Error> {
        let Some(held) = *self.held.lock() else {
            return Ok(false);
        };
        let rows = sql::query("UPDATE outbox_lease SET beat = beat + 1 WHERE id = 1 AND turn = $1")
            .bind(held.epoch)
            .execute(connection)
            .await?;
        Ok(rows == 1)
    }

    /// What became of a renewal that began at `since`.
    pub(super) fn renewed(&mut self, renewed: bool, since: Instant) {
        let mut held = self.held.lock();
        match &mut *held {
            Some(held) if renewed => held.renewed = since,
            _ => *held = None,
        }
    }

    /// Gives it back, so that the next one need not wait. A failure costs that wait alone.
    pub(super) async fn release(&mut self) {
        let Some(held) = self.held.lock().take() else {
            return;
        };
        let update = async {
            let mut tx = self.database.begin_write().await?;
            sql::query("UPDATE outbox_lease SET holder = '' WHERE id = 1 AND turn = $1")
                .bind(held.epoch)
                .execute(&mut *tx)
                .await?;
            tx.commit().await
        };
        if let Err(error) = self.database.write(update).await {
            tracing::debug!("outbox: the lease is not given back: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(holder: &str, epoch: i64, beat: i64) -> Found {
        Found {
            holder: holder.to_owned(),
            epoch,
            beat,
        }
    }

    #[test]
    fn a_holder_names_its_instance_and_its_run() {
        assert!(found("pod-1/0b7c", 7, 9).is_of("pod-1"));
        assert!(found("a/b/0b7c", 7, 9).is_of("a/b"));
        for other in ["", "pod-1", "pod-11/0b7c", "0b7c"] {
            assert!(!found(other, 7, 9).is_of("pod-1"), "{other}");
        }
        assert!(!found("/0b7c", 7, 9).is_of("pod-1"));
    }

    #[test]
    fn only_what_nobody_holds_or_what_stood_still_for_a_term_is_taken() {
        let begin = Instant::now();
        let after = |seconds| begin + Duration::from_secs(seconds);
        let mut watched = Watched::default();
        let mut take = |found: &Found, now| watched.may_take(found, now, "me", TERM);
        assert!(take(&found("", 7, 9), begin));
        // Taken without hearing of it.
        assert!(take(&found("me", 7, 9), begin));
        assert!(!take(&found("other", 7, 9), begin));
        assert!(!take(&found("other", 7, 9), after(9)));
        assert!(!take(&found("other", 7, 10), after(11)), "it lives");
        assert!(!take(&found("other", 7, 10), after(20)));
        assert!(!take(&found("third", 8, 11), after(21)), "taken");
        assert!(take(&found("third", 8, 11), after(31)));
    }
}
