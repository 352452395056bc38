use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kafka::{Admin, Client, ConsumerRecord, TopicPartition, Unreadable};
use proto::Rfc3339;
use serde::Serialize;
use service::http::{Problem, Request, Response, Router, StatusCode, json};
use service::kafka_glue::{Scan, ScanError};
use tokio::sync::Semaphore;

use super::kafka_problem::kafka_problem;
use super::shown::{self, Shown, ShownHeader};

/// Messages that are shown unless the request says otherwise, and at most.
const LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 200;

/// Bytes that are shown of a key or a value.
const BYTES: usize = 4 * 1024;

/// Offsets that are read of all partitions together, for each message that is shown.
const READ_AHEAD: usize = 16;

/// Looks at a time: each may hold a few answers of Kafka in memory.
const LOOKS: usize = 4;

#[derive(Clone)]
struct Messages {
    client: Client,
    admin: Admin,
    timeout: Duration,
    looks: Arc<Semaphore>,
}

/// `GET /api/admin/topics/{topic}/messages?limit=&partition=`.
pub(super) fn routes(client: &Client, admin: Admin, timeout: Duration) -> Router {
    let messages = Messages {
        client: client.clone(),
        admin,
        timeout,
        looks: Arc::new(Semaphore::new(LOOKS)),
    };
    Router::new()
        .get("/api/admin/topics/{topic}/messages", messages, list)
        .taking(&["limit", "partition"])
}

#[derive(Debug, Serialize)]
struct Found {
    /// The newest first.
    messages: Vec<Message>,
    /// What lies among them and cannot be read.
    unreadable: Vec<Unread>,
    /// False where the time was up before all was read.
    complete: bool,
}

#[derive(Debug, Serialize)]
struct Unread {
    partition: i32,
    /// The record, or the first one of a batch.
    offset: i64,
    problem: String,
    /// A whole batch: what lies behind it in its partition is not shown either.
    batch: bool,
}

#[derive(Debug, Serialize)]
struct Message {
    partition: i32,
    offset: i64,
    time: String,
    key: Option<Shown>,
    value: Option<Shown>,
    headers: Vec<ShownHeader>,
}

async fn list(messages: Messages, request: Request) -> Result<Response, Problem> {
    let topic = request.parameter("topic");
    let mut query = request.checked_query();
    let limit = query.limit(LIMIT, MAX_LIMIT) as usize;
    let partition = query.get("partition", |text| {
        let partition = text.parse().ok().filter(|partition: &i32| *partition >= 0);
        partition.ok_or_else(|| "must be a whole number from 0 on".into())
    });
    query.finish()?;
    let busy = |_| Problem::unavailable("too many looks at topics at once", messages.timeout);
    let permit = tokio::time::timeout(messages.timeout, messages.looks.acquire()).await;
    let _permit = permit.map_err(busy)?;
    let found = messages
        .newest(topic, partition, limit)
        .await
        .map_err(|error| match error {
            ScanError::Kafka(error) => kafka_problem(&error),
            other => Problem::unavailable(other.to_string(), Duration::from_secs(1)),
        })?;
    Ok(json(StatusCode::OK, &found))
}

impl Messages {
    /// The newest messages of a topic, or of one partition, by time. Gaps in the offsets (transactions,
    /// compaction) make them fewer.
    async fn newest(
        &self,
        topic: &str,
        partition: Option<i32>,
        limit: usize,
    ) -> Result<Found, ScanError> {
        let described = self.admin.describe_topics(&[topic]).await?;
        let unknown = || kafka::Error::UnknownTopic {
            topic: topic.into(),
        };
        let described = described.first().ok_or_else(unknown)?;
        let count = described.partitions.len();
        let partitions: Vec<_> = match partition {
            Some(partition) => vec![TopicPartition::new(topic, partition)],
            None => (0..count as i32)
                .map(|partition| TopicPartition::new(topic, partition))
                .collect(),
        };
        let each = (limit * READ_AHEAD / partitions.len().max(1)).clamp(1, limit);
        let (scan, _) = Scan::newest(&self.client, &self.admin, &partitions, each as i64).await?;
        let mut scan = scan.leaving_what_is_held();
        let mut newest = BTreeMap::new();
        let reading = async {
            while let Some(records) = scan.next().await? {
                for record in records {
                    let place = (record.timestamp, record.partition, record.offset);
                    newest.insert(place, Message::of(&record));
                    if newest.len() > limit {
                        newest.pop_first();
                    }
                }
            }
            Ok::<_, ScanError>(())
        };
        // An open transaction, or a partition that does not answer, keeps the others from no one.
        let complete = match tokio::time::timeout(self.timeout, reading).await {
            Ok(read) => read.map(|()| true)?,
            Err(_) => false,
        };
        let unread = |it: Unreadable| Unread {
            partition: it.partition.partition,
            offset: it.offset,
            problem: it.problem,
            batch: it.holds,
        };
        Ok(Found {
            messages: newest.into_values().rev().collect(),
            unreadable: scan.unreadable().into_iter().map(unread).collect(),
            complete,
        })
    }
}

impl Message {
    fn of(record: &ConsumerRecord) -> Self {
        let shown = |bytes: &Option<bytes::Bytes>| bytes.as_deref().map(|b| Shown::new(b, BYTES));
        Self {
            partition: record.partition,
            offset: record.offset,
            time: Rfc3339::from_millis(record.timestamp).to_string(),
            key: shown(&record.key),
            value: shown(&record.value),
            headers: shown::headers(&record.headers),
        }
    }
}
