// Each test binary uses its part.
#![allow(dead_code)]

use service::config::{DatabaseConfig, Secret};
use service::db::DatabaseKind;

/// A database of the test's own: a file, or a schema of the PostgreSQL that `TEST_DATABASE_URL` names.
pub struct OwnDatabase {
    pub url: String,
    pub folder: tempfile::TempDir,
}

impl OwnDatabase {
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = match std::env::var("TEST_DATABASE_URL") {
            Ok(url) => {
                let schema = format!("t{}", uuid::Uuid::new_v4().simple());
                sqlx::any::install_default_drivers();
                let pool = sqlx::AnyPool::connect(&url).await.unwrap();
                sqlx::query(sqlx::AssertSqlSafe(format!("CREATE SCHEMA {schema}")))
                    .execute(&pool)
                    .await
                    .unwrap();
                let joint = if url.contains('?') { '&' } else { '?' };
                format!("{url}{joint}options=-csearch_path%3D{schema}")
            }
            Err(_) => format!("sqlite:{}", folder.path().join("test.db").display()),
        };
        Self { url, folder }
    }

    pub fn config(&self) -> DatabaseConfig {
        DatabaseConfig {
            kind: if self.url.starts_with("sqlite") {
                DatabaseKind::Sqlite
            } else {
                DatabaseKind::Postgres
            },
            url: Secret::new(self.url.clone()),
            pool_size: 4,
        }
    }
}
