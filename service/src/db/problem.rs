use std::time::Duration;

use super::{Database, is_unavailable};
use crate::http::Problem;

/// What a client is told when the database failed it: 503 with `away` and `Retry-After` where the
/// database is at fault, else 500. Before the first migration a table is missing: that is the
/// database away, too.
pub fn database_problem(database: &Database, error: &sql::Error, away: &'static str) -> Problem {
    if is_unavailable(error) || !database.is_ready() {
        tracing::debug!("database: {error}");
        Problem::unavailable(away, Duration::from_secs(1))
    } else {
        tracing::error!("database: {error}");
        Problem::internal()
    }
}
