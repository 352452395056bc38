use sql::Pool;

use testkit::database::pool;

/// Keeps a relay from marking what it has published, as the service's readiness then says.
pub struct HeldMarks {
    pool: Pool,
    release: &'static [&'static str],
}

impl HeldMarks {
    /// What the database answers to a relay that marks.
    pub const REASON: &'static str = "nothing is marked for now";

    /// From now on, in the database of this URL.
    ///
    /// # Panics
    /// When the database takes no trigger.
    pub async fn hold(url: &str) -> Self {
        let pool = pool(url);
        let (hold, release): (&[_], &[_]) = if url.starts_with("sqlite:") {
            (
                &[
                    "CREATE TRIGGER marks_held BEFORE UPDATE OF published_at ON outbox \
                   BEGIN SELECT RAISE(ABORT, 'nothing is marked for now'); END",
                ],
                &["DROP TRIGGER marks_held"],
            )
        } else {
            (
                &[
                    "CREATE FUNCTION hold_marks() RETURNS trigger LANGUAGE plpgsql AS \
                     $$ BEGIN RAISE EXCEPTION 'nothing is marked for now'; END $$",
                    "CREATE TRIGGER marks_held BEFORE UPDATE OF published_at ON outbox \
                     FOR EACH ROW EXECUTE FUNCTION hold_marks()",
                ],
                &[
                    "DROP TRIGGER marks_held ON outbox",
                    "DROP FUNCTION hold_marks",
                ],
            )
        };
        run(&pool, hold).await;
        Self { pool, release }
    }

    /// Marks are taken again.
    ///
    /// # Panics
    /// When the database does not let go of its trigger.
    pub async fn release(self) {
        run(&self.pool, self.release).await;
    }
}

async fn run(pool: &Pool, statements: &[&'static str]) {
    for statement in statements {
        let done = sql::query(*statement).execute(pool).await;
        done.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
}
