use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use kafka::{ProduceError, Producer};
use parking_lot::Mutex;
use sql::Type;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::append::Outbox;
use super::lease::{Lease, TERM};
use super::line::{LineSender, Sent, Waiting, lines};
use crate::db::Database;
use crate::health::HealthPart;
use crate::metrics::{Counter, Metrics};

/// Events that are read at a time, and marked by one statement.
const PASS: usize = 500;

/// How soon events of other instances are seen, if their own relay does not hold the lease.
const LOOK: Duration = Duration::from_secs(1);

/// How long the relay's producer should try: what it gives up is read again, and until then nothing
/// behind it is.
pub const DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);

/// Pauses after a failure.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// Told of each step of an event on its way to Kafka.
pub trait Announce: Send + Sync + 'static {
    fn sending(&self, _topic: &str, _body: &str) {}
    fn sent(&self, _topic: &str, _body: &str) {}
    fn failed(&self, _error: &ProduceError) {}
}

/// Says nothing.
#[derive(Debug, Clone, Copy)]
pub struct Silent;

impl Announce for Silent {}

/// Why a pass over the outbox did not publish all that it read.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    #[error("the outbox cannot be read or marked: {0}")]
    Database(#[from] sql::Error),
    #[error("event {id} of the outbox is not published to {topic}: {error}")]
    Kafka {
        id: i64,
        topic: String,
        error: ProduceError,
    },
    #[error("events of some keys could not be published")]
    LeftBehind,
    #[error("another instance's relay has taken over")]
    LeaseLost,
    #[error("the lease was not renewed in time")]
    LeaseLapsed,
}

/// Publishes what lies in the outbox, in order, while it holds the lease.
pub struct Relay<A> {
    outbox: Outbox,
    database: Database,
    producer: Producer,
    announce: A,
    lease: Lease,
    /// Acknowledged by Kafka, not yet marked.
    unmarked: Mutex<Vec<Sent>>,
    sweep: Sweep,
    published: Counter,
}

/// How far one walk over the outbox has come. What cannot be published stays behind and must not keep
/// the walk from what lies further on.
#[derive(Debug, Default)]
struct Sweep {
    /// The last id that was read, once something was left behind: until then each pass begins anew.
    after: i64,
}

impl<A: Announce> Relay<A> {
    /// `producer` is the relay's own, and closed when it ends. It should be idempotent, as it is by
    /// default: then a retry within it makes no repeat.
    pub fn new(
        outbox: Outbox,
        database: Database,
        producer: Producer,
        announce: A,
        metrics: &Metrics,
    ) -> Self {
        let published = Counter::default();
        metrics.register(
            "outbox_published",
            "Events of the outbox that Kafka has acknowledged",
            published.clone(),
        );
        Self {
            lease: Lease::new(database.clone(), TERM),
            outbox,
            database,
            producer,
            announce,
            unmarked: Mutex::default(),
            sweep: Sweep::default(),
            published,
        }
    }

    /// How long a relay that gives no sign of life keeps others from publishing: what a killed one
    /// leaves waits for so long. One that ends orderly makes nobody wait. Default: 10 s.
    pub fn lease_term(mut self, term: Duration) -> Self {
        self.lease = self.lease.with_term(term);
        self
    }

    /// Which instance of its service the relay is part of: a restart takes the lease that a killed run of this instance
    /// held at once, without waiting for its term. Default: none.
    pub fn of_instance(mut self, instance: Option<&str>) -> Self {
        if let Some(instance) = instance {
            self.lease = self.lease.of_instance(instance);
        }
        self
    }

    /// Publishes until `stop`; then waits at most `drain` for what is in Kafka's hands, marks it,
    /// and gives the lease back, for which the database must still take writes. Dropped instead, it
    /// leaves nothing half done: what Kafka has and is not marked is published once more by the next
    /// relay.
    pub async fn run(mut self, health: HealthPart, stop: CancellationToken, drain: Duration) {
        let mut pause = RETRY.0;
        while !stop.is_cancelled() {
            let rest = match self.turn(&stop, drain).await {
                Ok(Pass::Full(failure)) => {
                    match failure {
                        Some(error) => {
                            tracing::warn!("outbox: {error}; going on with other keys");
                            health.down(error.to_string());
                        }
                        None if self.sweep.after == 0 => {
                            health.up();
                            pause = RETRY.0;
                        }
                        // The walk's end says it.
                        None => {}
                    }
                    Duration::ZERO
                }
                Ok(Pass::Done) => {
                    health.up();
                    pause = RETRY.0;
                    LOOK
                }
                Ok(Pass::NotOurs) => {
                    health.up();
                    // Soon after another one gives it back.
                    self.lease.beat().min(LOOK)
                }
                Err(error) => {
                    let error = error.to_string();
                    if health.is_up() || pause == RETRY.1 {
                        tracing::warn!("outbox: {error}; trying again");
                    }
                    health.down(error);
                    let rest = pause;
                    pause = (pause * 2).min(RETRY.1);
                    rest
                }
            };
            if rest.is_zero() {
                continue;
            }
            let failed = !health.is_up();
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(rest) => {}
                // A new event does not make a failed one succeed.
                () = self.outbox.next(), if !failed => {}
            }
        }
        // What it still has is in the outbox; nothing of it is to land behind what the next relay sends.
        let _ = self.producer.close(Duration::ZERO).await;
        self.lease.release().await;
    }

    async fn turn(
        &mut self,
        stop: &CancellationToken,
        drain: Duration,
    ) -> Result<Pass, RelayError> {
        if !self.lease.is_held() {
            tokio::select! {
                () = stop.cancelled() => return Ok(Pass::NotOurs),
                () = self.database.ready() => {}
            }
            // After a time without the database nobody else may have wanted it.
            if !(self.lease.has_lapsed() && self.lease.renew().await?) {
                // Whoever took it publishes these again.
                self.unmarked.lock().clear();
                if !self.lease.take().await? {
                    return Ok(Pass::NotOurs);
                }
            }
        } else if self.lease.is_due() && !self.lease.renew().await? {
            return Err(RelayError::LeaseLost);
        }
        // The last pass may have ended without a database.
        self.mark().await?;
        let waiting = match self.waiting().await {
            Ok(waiting) => waiting,
            Err(error) => {
                // The walk may have become too long to go on with.
                self.sweep = Sweep::default();
                return Err(error.into());
            }
        };
        let full = waiting.len() == PASS;
        let last = waiting.last().map_or(0, |event| event.id);
        let result = self.publish(waiting, stop, drain).await;
        self.mark().await?;
        let failed_before = self.sweep.after > 0;
        if full && self.lease.is_held() {
            if failed_before || result.is_err() {
                self.sweep.after = last;
            }
            return Ok(Pass::Full(result.err()));
        }
        self.sweep = Sweep::default();
        result?;
        match failed_before {
            true => Err(RelayError::LeftBehind),
            false => Ok(Pass::Done),
        }
    }

    async fn waiting(&self) -> Result<Vec<Waiting>, sql::Error> {
        // Of what was left behind nothing is sent in this walk. So it is with what was not yet to be seen
        // when the walk came by: ids are given before transactions commit, and follow them of one key only.
        let query = sql::query(
            "SELECT id, topic, record_key, headers, body FROM outbox \
             WHERE published_at IS NULL AND id > $1 AND NOT EXISTS (SELECT 1 FROM outbox AS earlier \
             WHERE earlier.record_key = outbox.record_key AND earlier.topic = outbox.topic \
             AND earlier.published_at IS NULL AND earlier.id <= $1) ORDER BY id LIMIT $2",
        )
        .bind(self.sweep.after)
        .bind(PASS as i64)
        .fetch_all(self.database.pool());
        let rows = self.database.read_at_length(query).await?;
        rows.iter()
            .map(|row| {
                Ok(Waiting {
                    id: row.get(0)?,
                    topic: row.get(1)?,
                    key: row.get(2)?,
                    headers: row.get(3)?,
                    body: row.get(4)?,
                })
            })
            .collect()
    }

    /// Sends all, each key's one after another; the first failure of each key ends its line, and is the
    /// answer if it is the first of all.
    async fn publish(
        &mut self,
        waiting: Vec<Waiting>,
        stop: &CancellationToken,
        drain: Duration,
    ) -> Result<(), RelayError> {
        // Nothing is begun any more once this is cancelled.
        let halt = stop.child_token();
        let hold = self.lease.hold();
        let sender = LineSender {
            producer: &self.producer,
            announce: &self.announce,
            unmarked: &self.unmarked,
            halt: &halt,
            hold: &hold,
        };
        let mut lines: FuturesUnordered<_> = lines(waiting)
            .into_iter()
            .map(|line| sender.send_all(line))
            .collect();
        let overdue = async {
            stop.cancelled().await;
            sleep(drain).await;
        };
        tokio::pin!(overdue);
        let period = self.lease.beat();
        let mut beat = tokio::time::interval_at(Instant::now() + period, period);
        let (mut failure, mut lapsed) = (None, false);
        loop {
            tokio::select! {
                line = lines.next() => match line {
                    None => {
                        if lapsed && !stop.is_cancelled() {
                            failure = failure.or(Some(RelayError::LeaseLapsed));
                        }
                        return failure.map_or(Ok(()), Err);
                    }
                    Some(Ok(())) => {}
                    Some(Err(error)) => {
                        lapsed |= error.is_none();
                        failure = failure.or(error);
                    }
                },
                _ = beat.tick() => {
                    match self.lease.renew().await {
                        Ok(true) => {}
                        Ok(false) => failure = Some(RelayError::LeaseLost),
                        Err(error) if !self.lease.is_held() => failure = Some(error.into()),
                        Err(_) => {}
                    }
                    if !self.lease.is_held() {
                        halt.cancel();
                    }
                }
                () = &mut overdue => return failure.map_or(Ok(()), Err),
            }
        }
    }

    /// Marks what Kafka has acknowledged.
    async fn mark(&mut self) -> Result<(), RelayError> {
        let sent = self.unmarked.lock().clone();
        if sent.is_empty() {
            return Ok(());
        }
        let begin = Instant::now();
        let database = self.database.clone();
        let marked = database
            .write(async {
                let mut tx = database.begin_write().await?;
                if !self.lease.renew_in(&mut tx).await? {
                    return Ok(false);
                }
                mark_in(&mut tx, &sent, database.stamp()).await?;
                tx.commit().await?;
                Ok(true)
            })
            .await?;
        self.lease.renewed(marked, begin);
        if !marked {
            return Err(RelayError::LeaseLost);
        }
        self.unmarked.lock().clear();
        self.published.inc_by(sent.len() as u64);
        Ok(())
    }
}

/// What a turn came to.
enum Pass {
    /// There may be more. What was left behind, and why.
    Full(Option<RelayError>),
    Done,
    /// Another relay holds the lease.
    NotOurs,
}

async fn mark_in(
    connection: &mut sql::Connection,
    sent: &[Sent],
    now: i64,
) -> Result<(), sql::Error> {
    let mut query = sql::batch(
        "UPDATE outbox SET published_at = place.column5, partition_no = place.column2, \
         record_offset = place.column3, topic_id = place.column4 FROM ({rows}) AS place \
         WHERE outbox.id = place.column1 AND outbox.published_at IS NULL",
        &[
            Type::Bigint,
            Type::Bigint,
            Type::Bigint,
            Type::Text,
            Type::Bigint,
        ],
    );
    for sent in sent {
        query = query
            .bind(sent.id)
            .bind(i64::from(sent.partition))
            .bind(sent.offset)
            .bind(sent.topic_id.map_or_else(String::new, |id| id.to_string()))
            .bind(now);
    }
    query.execute(connection).await?;
    Ok(())
}
