//! Servers and certificates of a test's own.

// Each test file uses a part of it.
#![allow(dead_code)]

pub mod certificates;
pub mod interceptor;
pub mod pgbouncer;
pub mod postgres;
mod process;

use sql::{Error, Options, Pool, query};

/// Whether a connection to `url` is encrypted, as the server sees it.
pub async fn is_encrypted(url: &str) -> Result<bool, Error> {
    let pool = Pool::new(Options::parse(url)?, 1);
    let encrypted = "SELECT COUNT(*) FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl";
    let count: i64 = query(encrypted).fetch_value(&pool).await?;
    Ok(count == 1)
}
