use std::sync::Arc;

use chrono::Utc;
use sql::Connection;
use tokio::sync::Notify;

/// An event as it is to be published.
#[derive(Debug, Clone, Copy)]
pub struct NewEvent<'a> {
    pub topic: &'a str,
    /// Text, as all keys of the contract are; events of one key keep their order.
    pub key: &'a str,
    /// Names and values; all of them text.
    pub headers: &'a [(&'a [u8], Option<&'a [u8]>)],
    /// JSON.
    pub body: &'a [u8],
}

/// Where transactions leave events. Clones wake the same relay.
#[derive(Debug, Clone, Default)]
pub struct Outbox {
    waiting: Arc<Notify>,
}

impl Outbox {
    /// Adds `event` to the transaction of `connection`, which must hold a lock on the entity that
    /// the event's key names. Call [`Outbox::committed`] after the commit.
    ///
    /// # Errors
    /// The database's. Headers or a body that are no text count as such.
    pub async fn append(
        &self,
        connection: &mut Connection,
        event: &NewEvent<'_>,
    ) -> Result<(), sql::Error> {
        sql::query(
            "INSERT INTO outbox (topic, record_key, headers, body, created_at) \
             VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(event.topic)
        .bind(event.key)
        .bind(headers(event)?)
        .bind(text(event.body)?)
        .bind(Utc::now().timestamp_millis())
        .execute(connection)
        .await?;
        Ok(())
    }

    /// Wakes the relay of this process; one of another process looks by itself.
    pub fn committed(&self) {
        self.waiting.notify_one();
    }

    /// Resolves at the next [`Outbox::committed`], or at once if there was one since the last time.
    pub(super) async fn next(&self) {
        self.waiting.notified().await;
    }
}

/// A JSON list of pairs: names may repeat, and their order is kept.
fn headers(event: &NewEvent<'_>) -> Result<String, sql::Error> {
    let mut pairs: Vec<(&str, Option<&str>)> = Vec::with_capacity(event.headers.len());
    for (name, value) in event.headers {
        pairs.push((text(name)?, value.map(text).transpose()?));
    }
    serde_json::to_string(&pairs).map_err(|error| sql::Error::Encode(error.into()))
}

fn text(bytes: &[u8]) -> Result<&str, sql::Error> {
    std::str::from_utf8(bytes).map_err(|error| sql::Error::Encode(error.into()))
}
