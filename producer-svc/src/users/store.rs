use proto::{EventHeaders, EventType, Rfc3339, Traceparent, UserCreated, UuidText, identity};
use service::db::{Database, storable};
use service::outbox::{NewEvent, Outbox};
use sqlx::Row;

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
    /// Whether somebody has this address already.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn is_taken(&self, email: &str) -> Result<bool, sqlx::Error> {
        let query = sqlx::query("SELECT id FROM users WHERE email_key = $1")
            .bind(key_of(email))
            .fetch_optional(self.database.pool());
        Ok(self.database.read(query).await?.is_some())
    }

    /// The id of the new user; none where somebody has this address already. The user and the event
    /// are there, or neither.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn create(
        &self,
        email: &str,
        password_hash: &str,
        trace: &Traceparent,
    ) -> Result<Option<i64>, sqlx::Error> {
        let now = proto::now_millis();
        let create = async {
            let mut tx = self.database.begin_write().await?;
            let row = sqlx::query(
                "INSERT INTO users (email, email_key, password_hash, created_at) \
                 VALUES ($1, $2, $3, $4) ON CONFLICT (email_key) DO NOTHING RETURNING id",
            )
            .bind(storable(email.into()))
            .bind(key_of(email))
            .bind(password_hash)
            .bind(now)
            .fetch_optional(&mut *tx)
            .await?;
            let Some(row) = row else {
                return Ok(None);
            };
            let id: i64 = row.try_get(0)?;
            // Nobody else knows the user yet, so this event is the first.
            self.leave_event(&mut tx, id, email, now, trace).await?;
            tx.commit().await?;
            Ok(Some(id))
        };
        let created = self.database.write(create).await?;
        if created.is_some() {
            self.outbox.committed();
        }
        Ok(created)
    }

    async fn leave_event(
        &self,
        connection: &mut sqlx::AnyConnection,
        id: i64,
        email: &str,
        now: i64,
        trace: &Traceparent,
    ) -> Result<(), sqlx::Error> {
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

/// Two spellings of an address that differ in case alone are one. An address that is read here has
/// no NUL (`RegistrationRequest`).
fn key_of(email: &str) -> String {
    email.to_lowercase()
}
