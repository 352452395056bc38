//! What tests of TLS share.

pub mod interceptor;

use sql::{Error, Options, Pool, query};
use testkit::postgres::Postgres;

/// The URL of the server's superuser and first database.
pub fn url(server: &Postgres, host: &str, parameters: &str) -> String {
    server.url_at(host, "postgres", parameters)
}

/// Whether a connection to `url` is encrypted, as the server sees it.
pub async fn is_encrypted(url: &str) -> Result<bool, Error> {
    let pool = Pool::new(Options::parse(url)?, 1);
    let encrypted = "SELECT COUNT(*) FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl";
    let count: i64 = query(encrypted).fetch_value(&pool).await?;
    Ok(count == 1)
}
