use std::time::Duration;

use proto::{EventHeaders, EventType, Rfc3339, Traceparent, UserCreated, UuidText, identity};
use service::db::{Database, storable};
use service::outbox::{NewEvent, Outbox};

/// The users' table on SQLite; `email_key` is the address without regard to case.
pub(crate) const SQLITE: &str = "\
CREATE TABLE users (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    email TEXT NOT NULL,
    email_key TEXT NOT NULL UNIQUE,
    password_hash TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
";

/// The same on PostgreSQL.
pub(crate) const POSTGRES: &str = "\
CREATE TABLE users (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email TEXT NOT NULL,
    email_key TEXT NOT NULL UNIQUE,
    password_hash TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
";

/// A column for what the `Idempotency-Key` of a registration stands for, on both databases.
pub(crate) const REQUEST_KEY: &str = "ALTER TABLE users ADD COLUMN request_key TEXT;";

/// A user to be.
#[derive(Clone, Copy)]
pub(super) struct NewUser<'a> {
    pub(super) email: &'a str,
    pub(super) password_hash: &'a str,
    /// What the request's `Idempotency-Key` stands for.
    pub(super) key: Option<&'a str>,
}

/// What tells a request that is sent again from another one.
pub(super) struct KnownUser {
    pub(super) id: i64,
    pub(super) password_hash: String,
    pub(super) key: Option<String>,
}

/// Keeps users, and leaves their events in the outbox.
#[derive(Debug, Clone)]
pub(crate) struct UserStore {
    pub(crate) database: Database,
    pub(crate) outbox: Outbox,
    /// Where `UserCreated` goes, and its `__TypeId__`.
    pub(crate) topic: String,
    pub(crate) type_id: Option<String>,
}

impl UserStore {
    /// Who has this address.
    ///
    /// # Errors
    /// The database's.
    pub(super) async fn find(&self, email: &str) -> Result<Option<KnownUser>, sql::Error> {
        let query =
            sql::query("SELECT id, password_hash, request_key FROM users WHERE email_key = $1")
                .bind(key_of(email))
                .fetch_optional(self.database.pool());
        let Some(row) = self.database.read(query).await? else {
            return Ok(None);
        };
        Ok(Some(KnownUser {
            id: row.get(0)?,
            password_hash: row.get(1)?,
            key: row.get(2)?,
        }))
    }

    /// The id of the new user; none where somebody has this address already. The user and the event
    /// are there, or neither.
    ///
    /// # Errors
    /// The database's, or that it did not answer in `limit`: then the user may be there.
    pub(super) async fn create(
        &self,
        user: &NewUser<'_>,
        limit: Duration,
        trace: &Traceparent,
    ) -> Result<Option<i64>, sql::Error> {
        let now = proto::now_millis();
        let create = async {
            let mut tx = self.database.begin_write().await?;
            let row = sql::query(
                "INSERT INTO users (email, email_key, password_hash, created_at, request_key) \
                 VALUES ($1, $2, $3, $4, $5) ON CONFLICT (email_key) DO NOTHING RETURNING id",
            )
            .bind(storable(user.email.into()))
            .bind(key_of(user.email))
            .bind(user.password_hash)
            .bind(now)
            .bind(user.key)
            .fetch_optional(&mut *tx)
            .await?;
            let Some(row) = row else {
                return Ok(None);
            };
            let id: i64 = row.get(0)?;
            // Nobody else knows the user yet, so this event is the first.
            self.leave_event(&mut tx, id, user.email, now, trace)
                .await?;
            tx.commit().await?;
            Ok(Some(id))
        };
        let created = self.database.write_within(limit, create).await?;
        if created.is_some() {
            self.outbox.committed();
        }
        Ok(created)
    }

    async fn leave_event(
        &self,
        connection: &mut sql::Connection,
        id: i64,
        email: &str,
        now: i64,
        trace: &Traceparent,
    ) -> Result<(), sql::Error> {
        let time = Rfc3339::from_millis(now);
        let mut body = Vec::with_capacity(128);
        UserCreated {
            user_id: id,
            email: Some(email.into()),
            created_at: Some(time.as_str().into()),
        }
        .write(&mut body);
        let headers = EventHeaders {
            id: &UuidText::new(identity::user_created(id)),
            event_type: EventType::UserCreated,
            source: crate::SOURCE,
            time: &time,
            trace,
            type_id: self.type_id.as_deref(),
        };
        let event = NewEvent {
            topic: &self.topic,
            key: &id.to_string(),
            headers: &headers.list(),
            body: &body,
        };
        self.outbox.append(connection, &event).await
    }
}

/// When a user registered, in milliseconds since 1970; none: there is no such user.
///
/// # Errors
/// The database's.
pub(crate) async fn registered_at(
    database: &Database,
    user_id: i64,
) -> Result<Option<i64>, sql::Error> {
    let query = sql::query("SELECT created_at FROM users WHERE id = $1")
        .bind(user_id)
        .fetch_optional(database.pool());
    let row = database.read(query).await?;
    row.map(|row| row.get(0)).transpose()
}

/// Two spellings of an address that differ in case alone are one. An address that is read here has
/// no NUL (`RegistrationRequest`).
fn key_of(email: &str) -> String {
    email.to_lowercase()
}
