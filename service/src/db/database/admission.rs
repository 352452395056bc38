//! Whether the database has let this instance in, and whether it serves at the moment; and who waits for it.

use std::time::Duration;

use tokio::time::timeout;

use super::Database;
use crate::health::HealthPart;

/// How long a group that needs no database waits for its first word: as long as a connection may take, so
/// that a slow refusal is heard as well.
const FIRST_WORD_LIMIT: Duration = sql::ACQUIRE_LIMIT;

/// Whether the database lets this instance in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// It was not asked yet.
    Unknown,
    /// It has not answered yet.
    Away,
    /// It refuses the configuration, and has never let this instance in.
    Refused,
    /// It has let this instance in. That stays so: what comes later is a loss, not a refusal.
    Admitted,
}

impl Database {
    /// Whether the schema is there, the database answered when last asked, and no write has failed
    /// since by its fault.
    pub fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    /// Waits until [`Database::is_ready`].
    pub async fn ready(&self) {
        // The sender is this handle's own, so it cannot be gone.
        let _ = self.ready.subscribe().wait_for(|ready| *ready).await;
    }

    /// Waits until the database has let this instance in once. A consumer group whose records are
    /// stored here is joined only then: an instance with a wrong password must take no partitions
    /// from instances that can store.
    pub async fn admitted(&self) {
        let admitted = |admission: &Admission| *admission == Admission::Admitted;
        // The sender is this handle's own, so it cannot be gone.
        let _ = self.admission.subscribe().wait_for(admitted).await;
    }

    /// Waits until the database has let this instance in or is merely away, which it also counts as
    /// when it says nothing for ten seconds. A group that needs no database is joined then, so that
    /// a configuration that is refused keeps the whole instance out, and a silent database does not.
    pub async fn not_refused(&self) {
        let mut admission = self.admission.subscribe();
        // The sender is this handle's own, so it cannot be gone.
        let known = admission.wait_for(|admission| *admission != Admission::Unknown);
        if timeout(FIRST_WORD_LIMIT, known).await.is_err() {
            return;
        }
        let _ = admission
            .wait_for(|admission| *admission != Admission::Refused)
            .await;
    }

    pub(super) fn admit(&self) {
        self.admission.send_replace(Admission::Admitted);
        self.ready.send_replace(true);
    }

    pub(super) fn away(&self, health: &HealthPart, reason: String) {
        self.lost(Admission::Away);
        if *self.admission.borrow() == Admission::Refused {
            tracing::warn!("database: {reason}; before that it refused the configuration");
            return;
        }
        if health.down(reason.clone()) {
            tracing::warn!("database: {reason}; trying again");
        }
    }

    pub(super) fn refused(&self, health: &HealthPart, reason: String) {
        self.lost(Admission::Refused);
        let problem = format!(
            "this configuration is refused: {reason}; look at DATABASE_URL, or DB_HOST, DB_USER, DB_PASSWORD and DB_NAME"
        );
        if health.refused(problem.clone()) {
            tracing::error!("database: {problem}; trying again");
        }
    }

    fn lost(&self, admission: Admission) {
        self.ready.send_replace(false);
        self.admission.send_if_modified(|now| {
            // A refusal stands until the database lets the instance in: one that restarts meanwhile must not
            // make it join a group.
            let news = matches!(*now, Admission::Unknown | Admission::Away) && *now != admission;
            if news {
                *now = admission;
            }
            news
        });
    }
}
