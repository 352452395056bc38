use kafka::TopicId;

use crate::db::Database;

/// What became of a row of the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    pub id: i64,
    pub topic: String,
    /// Milliseconds since 1970.
    pub created_at: i64,
    /// None: it waits for the relay.
    pub place: Option<Place>,
}

/// Where Kafka has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Of the topic that it was published to; None: not known.
    pub topic_id: Option<TopicId>,
    pub partition: i32,
    /// None where the broker confirmed an earlier attempt without saying where it lies.
    pub offset: Option<i64>,
    /// Milliseconds since 1970.
    pub published_at: i64,
}

/// The first event of `key` on `topic` that is still kept.
///
/// # Errors
/// The database does not answer.
pub async fn find(
    database: &Database,
    topic: &str,
    key: &str,
) -> Result<Option<Published>, sql::Error> {
    let query = sql::query(
        "SELECT id, topic, created_at, published_at, partition_no, record_offset, topic_id FROM outbox \
         WHERE record_key = $1 AND topic = $2 ORDER BY id LIMIT 1")
    .bind(key)
    .bind(topic)
    .fetch_optional(database.pool());
    let Some(row) = database.read(query).await? else {
        return Ok(None);
    };
    let published_at: Option<i64> = row.get(3)?;
    let partition: Option<i64> = row.get(4)?;
    let offset: Option<i64> = row.get(5)?;
    let topic_id: Option<String> = row.get(6)?;
    let place = published_at.map(|published_at| Place {
        topic_id: topic_id.and_then(|id| id.parse().ok()),
        partition: partition.and_then(|p| i32::try_from(p).ok()).unwrap_or(-1),
        offset: offset.filter(|offset| *offset >= 0),
        published_at,
    });
    Ok(Some(Published {
        id: row.get(0)?,
        topic: row.get(1)?,
        created_at: row.get(2)?,
        place,
    }))
}
