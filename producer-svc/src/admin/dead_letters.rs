use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use dead_letters::{DeadLetterError, Entry, Letter, Mailbox, Skip, replay};
use kafka::{Client, ConfigError, SkipError};
use proto::dead_letter::Place;
use serde::Serialize;
use service::config::KafkaConfig;
use service::http::{Problem, Request, Response, Router, StatusCode, json};
use service::kafka_glue::ScanError;
use tokio::sync::Semaphore;

use super::kafka_problem::kafka_problem;
use super::shown::{self, Shown, ShownHeader};

const ALL: &str = "/api/admin/dead-letters";
const ONE: &str = "/api/admin/dead-letters/{topic}/{partition}/{offset}";
const SKIP: &str = "/api/admin/dead-letters/skip";
const REPLAY: &str = "/api/admin/dead-letters/{topic}/{partition}/{offset}/replay";

/// Letters that are listed, the newest.
const LISTED: usize = 200;
/// Entries that are read of each partition for it: letters, and what became of them.
const READ: i64 = 1_000;
/// Bytes of a value that are shown in the list, and of one letter.
const BYTES_IN_LIST: usize = 256;
const BYTES: usize = 64 * 1024;

/// How long reading the topics may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a replay may take. It may be given up at any point, and the next one does not send twice.
const REPLAY_PATIENCE: Duration = Duration::from_secs(60);
/// Lists and replays at a time, each.
const AT_ONCE: usize = 2;

#[derive(Clone)]
struct DeadLetters {
    mailbox: Arc<Mailbox>,
    lists: Arc<Semaphore>,
    replays: Arc<Semaphore>,
}

/// The newest letters, one in full, and its replay.
pub(super) fn routes(
    client: &Client,
    kafka: &KafkaConfig,
    timeout: Duration,
) -> Result<Router, ConfigError> {
    let letters = DeadLetters {
        mailbox: Arc::new(Mailbox::new(client.clone(), kafka, timeout)?),
        lists: Arc::new(Semaphore::new(AT_ONCE)),
        replays: Arc::new(Semaphore::new(AT_ONCE)),
    };
    Ok(Router::new()
        .get(ALL, letters.clone(), list)
        .taking(&["topic"])
        .get(ONE, letters.clone(), show)
        .post(SKIP, letters.clone(), pass_over)
        .taking(&["first", "last", "group", "reason", "beyond"])
        .post(REPLAY, letters, send_again)
        .taking(&["force"]))
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    /// The newest first.
    letters: Vec<Summary>,
    /// Whether there are older ones, which `consumer-svc dlt list` has.
    older: bool,
    /// False where the time was up before all was read.
    complete: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    #[serde(flatten)]
    place: At,
    source: At,
    /// The group that could not handle the record, and alone acts on its replay.
    group: String,
    reason: String,
    attempts: String,
    time: String,
    /// When the record was written first; null if it has no time.
    original_time: Option<String>,
    key: Option<Shown>,
    value: Option<Shown>,
    /// What of the record was too large for a letter, and lies at its source alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    omitted: Option<String>,
    /// The last offset that was passed over, where it says that: then there is no record to replay.
    #[serde(skip_serializing_if = "Option::is_none")]
    passed_over_to: Option<i64>,
    /// Null for one that has not been replayed.
    replayed_to: Option<At>,
}

#[derive(Debug, Serialize)]
struct InFull {
    #[serde(flatten)]
    summary: Summary,
    headers: Vec<ShownHeader>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct At {
    topic: String,
    partition: i32,
    offset: i64,
}

impl From<&Place> for At {
    fn from(place: &Place) -> Self {
        Self {
            topic: place.topic.clone(),
            partition: place.partition,
            offset: place.offset,
        }
    }
}

impl Summary {
    fn of(letter: &Letter, bytes: usize) -> Self {
        let text = |text: &str| Shown::new(text.as_bytes(), BYTES_IN_LIST * 4).text();
        Self {
            place: At::from(&letter.place),
            source: At::from(&letter.source),
            group: text(&letter.group),
            reason: text(&letter.reason),
            attempts: text(&letter.attempts),
            time: text(&letter.time),
            original_time: letter.original_time(),
            key: letter.key.as_deref().map(|key| Shown::new(key, bytes)),
            value: letter
                .value
                .as_deref()
                .map(|value| Shown::new(value, bytes)),
            omitted: letter.omitted().map(text),
            passed_over_to: letter.passed_over(),
            replayed_to: None,
        }
    }
}

/// Of all topics, or of the one that `?topic=` names.
async fn list(letters: DeadLetters, request: Request) -> Result<Response, Problem> {
    let _permit = permit(&letters.lists).await?;
    let listed = letters.list(request.query("topic").as_deref()).await;
    let listed = listed.map_err(|error| problem(&error))?;
    Ok(json(StatusCode::OK, &listed))
}

async fn show(letters: DeadLetters, request: Request) -> Result<Response, Problem> {
    let place = place(&request)?;
    let letter = letters.mailbox.letter(&place).await;
    let letter = letter.map_err(|error| problem(&error))?;
    let mut summary = Summary::of(&letter, BYTES);
    let _permit = permit(&letters.lists).await?;
    let replayed = letters.replayed(&place).await;
    summary.replayed_to = replayed.map_err(|error| problem(&error))?;
    let headers = shown::headers(&letter.headers);
    Ok(json(StatusCode::OK, &InFull { summary, headers }))
}

/// Goes on when the client has gone: a letter is better replayed than half replayed.
async fn send_again(letters: DeadLetters, request: Request) -> Result<Response, Problem> {
    let place = place(&request)?;
    let mut query = request.checked_query();
    let force = query.get("force", true_or_false);
    query.finish()?;
    let force = force.unwrap_or(false);
    let permit = tokio::time::timeout(PATIENCE, letters.replays.clone().acquire_owned()).await;
    let permit = permit.map_err(|_| busy())?;
    let letter = place.clone();
    let replaying = tokio::spawn(async move {
        let _permit = permit;
        let replaying = replay::one(&letters.mailbox, &letter, force);
        tokio::time::timeout(REPLAY_PATIENCE, replaying).await
    });
    let replayed = match replaying.await {
        Ok(Ok(replayed)) => replayed.map_err(|error| problem(&error))?,
        Ok(Err(_)) => {
            return Err(left_off(&place));
        }
        Err(panic) => {
            tracing::error!("replaying {place}: {panic}");
            return Err(Problem::internal());
        }
    };
    tracing::info!("{replayed}");
    let answer = Replayed {
        letter: At::from(&place),
        replayed_to: At::from(replayed.replayed_to()),
    };
    Ok(json(StatusCode::OK, &answer))
}

/// What the query asks to be passed over.
fn wanted(request: &Request) -> Result<Skip, Problem> {
    let mut query = request.checked_query();
    let first = query.required("first", |text| {
        Place::parse(text).ok_or_else(|| {
            "must be the first offset that nobody can read, such as orders/0/17".into()
        })
    });
    let last = query.required("last", |text| match text.parse() {
        Ok(last) if last >= 0 => Ok(last),
        _ => {
            Err("must be the last offset that nobody can read, a whole number of at least 0".into())
        }
    });
    // An empty variable of a script is not "each group".
    let group = query.text_or_absent(
        "group",
        "must name a group; leave it out for each group whose commit stands there",
    );
    let beyond = query.get("beyond", true_or_false);
    let reason = query.text("reason").unwrap_or_default().to_owned();
    query.finish()?;
    // Neither is missing now.
    let (Some(first), Some(last)) = (first, last) else {
        return Err(Problem::internal());
    };
    Ok(Skip {
        topic: first.topic,
        partition: first.partition,
        first: first.offset,
        last,
        group,
        reason,
        beyond: beyond.unwrap_or(false),
    })
}

fn true_or_false(text: &str) -> Result<bool, Cow<'static, str>> {
    text.parse().map_err(|_| "must be true or false".into())
}

#[derive(Debug, Serialize)]
struct PassedOver {
    told: Vec<Told>,
}

/// A group, and the letter that tells it.
#[derive(Debug, Serialize)]
struct Told {
    group: String,
    letter: At,
}

/// Goes on when the client has gone, as a replay does.
async fn pass_over(letters: DeadLetters, request: Request) -> Result<Response, Problem> {
    let wanted = wanted(&request)?;
    let permit = tokio::time::timeout(PATIENCE, letters.replays.clone().acquire_owned()).await;
    let permit = permit.map_err(|_| busy())?;
    let skipping = tokio::spawn(async move {
        let _permit = permit;
        tokio::time::timeout(REPLAY_PATIENCE, letters.mailbox.skip(&wanted)).await
    });
    let told = match skipping.await {
        Ok(Ok(told)) => told.map_err(|error| problem(&error))?,
        Ok(Err(_)) => {
            return Err(Problem::unavailable(
                "this took longer than a minute and was left off; to say it again does no harm",
                Duration::from_secs(1),
            ));
        }
        Err(panic) => {
            tracing::error!("passing over: {panic}");
            return Err(Problem::internal());
        }
    };
    let told = told.into_iter().map(|told| {
        tracing::warn!(group = %told.group, letter = %told.letter, "an operator has offsets passed over");
        Told {
            group: told.group,
            letter: At::from(&told.letter),
        }
    });
    let told = told.collect();
    Ok(json(StatusCode::OK, &PassedOver { told }))
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Replayed {
    letter: At,
    replayed_to: At,
}

async fn permit(of: &Semaphore) -> Result<tokio::sync::SemaphorePermit<'_>, Problem> {
    match tokio::time::timeout(PATIENCE, of.acquire()).await {
        Ok(Ok(permit)) => Ok(permit),
        _ => Err(busy()),
    }
}

/// The next one may have as much to read: whether it gets further, nobody knows.
fn left_off(letter: &Place) -> Problem {
    let Place {
        topic,
        partition,
        offset,
    } = letter;
    Problem::unavailable(
        format!(
            "the replay took longer than a minute and was left off, sent or not. Where Kafka is well, there is \
             too much to read behind the letter: `consumer-svc dlt replay {topic} {partition} {offset}` takes \
             its time, and does not send again what was sent"
        ),
        Duration::from_secs(1),
    )
}

fn busy() -> Problem {
    Problem::unavailable(
        "others are at the dead letters; try again",
        Duration::from_secs(1),
    )
}

/// The letter that the path names.
fn place(request: &Request) -> Result<Place, Problem> {
    let part = |name| request.parameter(name);
    Place::parse(&format!(
        "{}/{}/{}",
        part("topic"),
        part("partition"),
        part("offset")
    ))
    .ok_or_else(|| Problem::not_found("a dead letter's path ends with topic, partition, offset"))
}

fn problem(error: &DeadLetterError) -> Problem {
    let conflict = |detail: String| Problem::new(StatusCode::CONFLICT, detail);
    match error {
        DeadLetterError::Kafka(error) | DeadLetterError::Scan(ScanError::Kafka(error)) => {
            kafka_problem(error)
        }
        DeadLetterError::NoTopic(_) => Problem::not_found(error.to_string()),
        DeadLetterError::NoLetter(place) => {
            Problem::not_found(format!("{place} is no dead letter (any more)"))
        }
        DeadLetterError::AlreadyReplayed {
            letter,
            replayed_to,
        } => conflict(format!(
            "{letter} has already been replayed, to {replayed_to}; ?force=true replays it again"
        ))
        .with("replayedTo", serde_json::json!(At::from(replayed_to))),
        DeadLetterError::Skip(SkipError::Kafka(error)) => kafka_problem(error),
        DeadLetterError::Skip(SkipError::NoLetters(_)) => Problem::not_found(error.to_string()),
        DeadLetterError::Skip(
            SkipError::Readable { .. }
            | SkipError::Beyond { .. }
            | SkipError::BehindTheLog { .. }
            | SkipError::NoRange { .. },
        )
        | DeadLetterError::NobodyHeld { .. }
        | DeadLetterError::PassedOver { .. } => conflict(error.to_string()),
        DeadLetterError::Gone { .. }
        | DeadLetterError::NoSource { .. }
        | DeadLetterError::NotThere { .. } => conflict(error.to_string()),
        _ => Problem::unavailable(error.to_string(), Duration::from_secs(1)),
    }
}

impl DeadLetters {
    async fn list(&self, topic: Option<&str>) -> Result<Listed, DeadLetterError> {
        let topics = self.mailbox.topics(topic).await?;
        let (mut scan, older) = self.mailbox.newest(&topics, READ).await?;
        let mut newest: BTreeMap<(String, Place), Summary> = BTreeMap::new();
        let mut replayed: HashMap<Place, Place> = HashMap::new();
        let mut left_out = false;
        let reading = async {
            while let Some(records) = scan.next().await? {
                for record in records {
                    match Entry::of(record) {
                        Entry::Letter(letter) => {
                            let summary = Summary::of(&letter, BYTES_IN_LIST);
                            newest.insert((summary.time.clone(), letter.place), summary);
                        }
                        Entry::Marker(marker) => {
                            replayed.insert(marker.replay_of, marker.replayed_to);
                        }
                        Entry::Claim(_) | Entry::Unknown(_) => {}
                    }
                    if newest.len() > LISTED {
                        newest.pop_first();
                        left_out = true;
                    }
                }
            }
            Ok::<_, DeadLetterError>(())
        };
        let complete = match tokio::time::timeout(PATIENCE, reading).await {
            Ok(read) => read.map(|()| true)?,
            Err(_) => false,
        };
        let letters = newest.into_iter().rev().map(|((_, place), mut summary)| {
            summary.replayed_to = replayed.get(&place).map(At::from);
            summary
        });
        Ok(Listed {
            letters: letters.collect(),
            older: older || left_out,
            complete,
        })
    }

    /// Where a letter has been replayed to, as far as its topic's newest entries say.
    async fn replayed(&self, place: &Place) -> Result<Option<At>, DeadLetterError> {
        let topics = std::slice::from_ref(&place.topic);
        let (mut scan, _) = self.mailbox.newest(topics, READ).await?;
        let mut replayed = None;
        let reading = async {
            while let Some(records) = scan.next().await? {
                for record in records {
                    if let Entry::Marker(marker) = Entry::of(record)
                        && marker.replay_of == *place
                    {
                        replayed = Some(At::from(&marker.replayed_to));
                    }
                }
            }
            Ok::<_, DeadLetterError>(())
        };
        if let Ok(read) = tokio::time::timeout(PATIENCE, reading).await {
            read?;
        }
        Ok(replayed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replay_that_is_left_off_names_the_command_that_takes_its_time() {
        let letter = Place::parse("orders-dlt/2/17").unwrap();
        let problem = format!("{:?}", left_off(&letter));
        let command = "consumer-svc dlt replay orders-dlt 2 17";
        assert!(problem.contains(command), "{problem}");
    }
}
