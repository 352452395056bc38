//! A database of a test's own.

use tempfile::TempDir;

/// Names a PostgreSQL to test against.
const URL_VARIABLE: &str = "TEST_DATABASE_URL";

/// A database that no other test has: a schema of the PostgreSQL that `TEST_DATABASE_URL` names,
/// otherwise an SQLite file, which is not there until somebody opens it.
pub struct OwnDatabase {
    pub url: String,
    /// Gone with it.
    pub folder: TempDir,
}

impl OwnDatabase {
    /// # Panics
    /// When PostgreSQL cannot be reached.
    pub async fn new() -> Self {
        let folder = TempDir::with_prefix("database-").expect("a folder for a database");
        let url = match std::env::var(URL_VARIABLE) {
            Ok(url) if !url.is_empty() => {
                let schema = format!("t{}", uuid::Uuid::new_v4().simple());
                sql::query(format!("CREATE SCHEMA {schema}"))
                    .execute(&pool(&url))
                    .await
                    .unwrap_or_else(|error| panic!("{URL_VARIABLE}: {error}"));
                let joint = if url.contains('?') { '&' } else { '?' };
                format!("{url}{joint}options=-csearch_path%3D{schema}")
            }
            _ => format!("sqlite:{}", folder.path().join("test.db").display()),
        };
        Self { url, folder }
    }
}

/// What a test looks into a database with.
///
/// # Panics
/// When the URL cannot be read.
pub fn pool(url: &str) -> sql::Pool {
    let options = sql::Options::parse(url).expect("the URL of a database");
    sql::Pool::new(options, 2)
}
