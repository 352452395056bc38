use sql::{DatabaseKind, Transaction};
use uuid::Uuid;

use super::database::Database;
use super::failure::is_refusal;

/// One step of the schema. Applied once, in order of `version`; never changed afterwards.
///
/// Statements are separated by `;` at the end of a line.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    pub version: i64,
    pub name: &'static str,
    pub sqlite: &'static str,
    pub postgres: &'static str,
}

/// Why the schema is not there.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    #[error(transparent)]
    Database(#[from] sql::Error),
    #[error("migration {version} ({name}) failed: {source}")]
    Step {
        version: i64,
        name: &'static str,
        source: sql::Error,
    },
    #[error(
        "migration {version} ({name}) was applied with another text; this program and the \
         database do not belong together"
    )]
    Changed { version: i64, name: &'static str },
    #[error(
        "the database has schema step {version}, which this program does not know: a newer program made it. \
         Start that version, or restore the database as it was before"
    )]
    Newer { version: i64 },
}

impl MigrateError {
    /// Whether only an operator can help: the configuration is refused, or program and database do
    /// not belong together. Anything else may pass by itself.
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            Self::Database(source) | Self::Step { source, .. } => is_refusal(source),
            Self::Changed { .. } | Self::Newer { .. } => true,
        }
    }
}

/// What to do about steps that only a newer program knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NewerSteps {
    /// The program was rolled back below the schema: it must not begin.
    Refused,
    /// This process has worked with the database before, and a newer program has added its steps in a
    /// rolling update since. Steps only add, so this process goes on.
    Accepted,
}

/// Key of PostgreSQL's advisory lock: "shop" in ASCII. One a database is enough, since a database
/// belongs to one service.
const LOCK_KEY: i64 = 0x7368_6f70;

impl Migration {
    fn text(&self, kind: DatabaseKind) -> &'static str {
        match kind {
            DatabaseKind::Sqlite => self.sqlite,
            DatabaseKind::Postgres => self.postgres,
        }
    }

    /// What is noted of the step in the database. SHA-1 based (UUIDv5): enough to notice a change, not
    /// to defend against one.
    pub fn checksum(&self, kind: DatabaseKind) -> String {
        Uuid::new_v5(&Uuid::NAMESPACE_OID, self.text(kind).as_bytes()).to_string()
    }
}

/// All steps in one transaction under a lock: instances that start together do not disturb each
/// other, and a failed step leaves nothing behind.
pub(super) async fn migrate(
    database: &Database,
    migrations: &'static [Migration],
    newer: NewerSteps,
) -> Result<(), MigrateError> {
    // On SQLite this is BEGIN IMMEDIATE, the lock.
    let mut tx = database.begin_write().await?;
    if database.kind() == DatabaseKind::Postgres {
        sql::query("SELECT pg_advisory_xact_lock($1)")
            .bind(LOCK_KEY)
            .execute(&mut tx)
            .await?;
    }
    sql::query(
        "CREATE TABLE IF NOT EXISTS schema_migrations (
            version BIGINT PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL)",
    )
    .execute(&mut tx)
    .await?;
    // What the watch over the database writes, see `Database::restore`.
    sql::query(
        "CREATE TABLE IF NOT EXISTS write_checks (id BIGINT PRIMARY KEY, filler TEXT NOT NULL)",
    )
    .execute(&mut tx)
    .await?;
    // See `Database::believed_time`.
    sql::query(
        "CREATE TABLE IF NOT EXISTS believed_time (
            id BIGINT PRIMARY KEY, believed BIGINT NOT NULL,
            claimed_from BIGINT NOT NULL, claimed_to BIGINT NOT NULL)",
    )
    .execute(&mut tx)
    .await?;
    let rows = sql::query("SELECT version, checksum FROM schema_migrations ORDER BY version")
        .fetch_all(&mut *tx)
        .await?;
    let mut applied = Vec::with_capacity(rows.len());
    for row in rows {
        let (version, checksum): (i64, String) = (row.get(0)?, row.get(1)?);
        let Some(known) = migrations.iter().find(|m| m.version == version) else {
            match newer {
                NewerSteps::Refused => return Err(MigrateError::Newer { version }),
                NewerSteps::Accepted => continue,
            }
        };
        if known.checksum(database.kind()) != checksum {
            return Err(MigrateError::Changed {
                version,
                name: known.name,
            });
        }
        applied.push(version);
    }
    for migration in migrations {
        if !applied.contains(&migration.version) {
            step(&mut tx, database.kind(), migration)
                .await
                .map_err(|source| MigrateError::Step {
                    version: migration.version,
                    name: migration.name,
                    source,
                })?;
            tracing::info!(
                "database: applied migration {} ({})",
                migration.version,
                migration.name
            );
        }
    }
    tx.commit().await?;
    Ok(())
}

async fn step(
    tx: &mut Transaction,
    kind: DatabaseKind,
    migration: &Migration,
) -> Result<(), sql::Error> {
    for statement in migration.text(kind).split(";\n").map(str::trim) {
        let statement = statement.trim_end_matches(';');
        if !statement.is_empty() {
            sql::query(statement).execute(&mut *tx).await?;
        }
    }
    sql::query("INSERT INTO schema_migrations (version, name, checksum) VALUES ($1, $2, $3)")
        .bind(migration.version)
        .bind(migration.name)
        .bind(migration.checksum(kind))
        .execute(&mut *tx)
        .await?;
    Ok(())
}
