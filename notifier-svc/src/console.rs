//! Prints each notification at least once: a line for people and a log record of its own, or with
//! `LOG_FORMAT=json` one object, whatever `LOG_LEVEL` is.
//!
//! A stored notification is handed in, printed, and then marked as printed; what a crash or a failed
//! write left without the mark is printed at the next start. Many are printed with one write and
//! marked in one transaction.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Map, Value};
use service::CancellationToken;
use service::db::Database;
use service::health::HealthPart;
use service::logging::{EcsRecord, LogFormat};
use tokio::sync::mpsc;

use crate::NAME;
use crate::store::{self, StoredNotification};

/// Most notifications of one write and one transaction.
const BATCH: usize = 512;

/// Pause before a database that failed is asked again.
const PAUSE: Duration = Duration::from_millis(500);

/// What is printed.
#[derive(Debug, Clone)]
enum Entry {
    /// Has a row, which is marked afterwards.
    Stored(Arc<StoredNotification>),
    /// `_waiting` is dropped with the last copy of the entry, when it has been printed.
    Step {
        step: Arc<Step>,
        _waiting: mpsc::Sender<()>,
    },
}

/// A step of another system on the way to a result, such as `PROCESSING`: it is shown as it is, and stored nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub order_id: String,
    pub status: String,
    pub user_id: Option<String>,
    pub reason: Option<String>,
    /// The record that it came with.
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
}

type Batch = Vec<Entry>;

/// Takes notifications to print. Clones hand in to the same console.
#[derive(Debug, Clone)]
pub struct Console {
    sender: mpsc::Sender<Entry>,
}

/// The printing side; [`Printer::run`] it.
#[derive(Debug)]
pub struct Printer<W> {
    receiver: mpsc::Receiver<Entry>,
    database: Database,
    format: LogFormat,
    health: HealthPart,
    /// Locked by the thread that writes: standard output may block for as long as it likes.
    out: Arc<Mutex<W>>,
}

/// A console that writes to `out`; `health` says whether it can.
pub fn console<W: Write + Send + 'static>(
    database: Database,
    format: LogFormat,
    health: HealthPart,
    out: W,
) -> (Console, Printer<W>) {
    let (sender, receiver) = mpsc::channel(4 * BATCH);
    let printer = Printer {
        receiver,
        database,
        format,
        health,
        out: Arc::new(Mutex::new(out)),
    };
    (Console { sender }, printer)
}

impl Console {
    /// Hands in what has been stored; waits while too much is waiting to be printed.
    pub async fn print(&self, notification: Arc<StoredNotification>) {
        // A printer that is gone has left it without its mark, so it is printed at the next start.
        let _ = self.sender.send(Entry::Stored(notification)).await;
    }

    /// Hands in a step and waits until it has been printed, or the console has shown that it cannot: nothing else
    /// remembers it.
    pub async fn print_step(&self, step: Step) {
        let (_waiting, mut printed) = mpsc::channel(1);
        let step = Arc::new(step);
        let entry = Entry::Step { step, _waiting };
        if self.sender.send(entry).await.is_ok() {
            // None as soon as nobody holds the entry.
            let _ = printed.recv().await;
        }
    }
}

impl<W: Write + Send + 'static> Printer<W> {
    /// Prints what an earlier run left, then what is handed in, until all [`Console`]s are dropped.
    /// Waits while the database is away, but not after `stop`: what has no mark then is printed
    /// again at the next start.
    pub async fn run(mut self, stop: CancellationToken) {
        self.health.up();
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.print_leftovers() => {}
        }
        let mut batch = Vec::with_capacity(BATCH);
        while self.receiver.recv_many(&mut batch, BATCH).await > 0 {
            if self.print(&batch).await {
                tokio::select! {
                    () = mark(&self.database, &batch) => {}
                    () = stop.cancelled() => {
                        let _ = try_mark(&self.database, &batch).await;
                    }
                }
            }
            batch.clear();
        }
    }

    /// Rows of before this start alone: newer ones are handed in, here or at another instance. What
    /// is handed in meanwhile is printed between them.
    async fn print_leftovers(&mut self) {
        self.database.ready().await;
        // As the rows are stamped.
        let started = self.database.stamp();
        let mut printed = 0;
        let mut after = (i64::MIN, String::new());
        loop {
            self.database.ready().await;
            let place = (after.0, &*after.1);
            match store::unprinted(&self.database, started, place, BATCH as u32).await {
                Ok(rows) => {
                    let Some(last) = rows.last() else { break };
                    after = (last.received_at, last.order_id.clone());
                    let rows: Batch = rows.into_iter().map(Arc::new).map(Entry::Stored).collect();
                    if !self.print(&rows).await {
                        // They are still there at the next start.
                        break;
                    }
                    printed += rows.len();
                    mark(&self.database, &rows).await;
                }
                Err(error) => {
                    tracing::warn!("notifications left to print cannot be read: {error}");
                    tokio::time::sleep(PAUSE).await;
                }
            }
            let mut new = Vec::new();
            while let Ok(notification) = self.receiver.try_recv() {
                new.push(notification);
            }
            if !new.is_empty() && self.print(&new).await {
                mark(&self.database, &new).await;
            }
        }
        if printed > 0 {
            tracing::info!(
                printed,
                "printed {printed} notifications that an earlier run left"
            );
        }
    }

    /// Whether all of it was written. A console that is gone is no reason to stop storing: what it
    /// did not take stays without its mark.
    async fn print(&self, batch: &[Entry]) -> bool {
        let (out, format, rows) = (self.out.clone(), self.format, batch.to_vec());
        let writing = tokio::task::spawn_blocking(move || write(&mut *out.lock(), format, &rows));
        match writing.await.unwrap_or_else(|error| Err(error.into())) {
            Ok(()) => {
                self.health.up();
                true
            }
            Err(error) => {
                let problem = format!(
                    "standard output takes no notifications ({error}); those since are printed at \
                     the next start"
                );
                if self.health.down(problem.clone()) {
                    tracing::warn!("{problem}");
                }
                false
            }
        }
    }
}

fn write(out: &mut impl Write, format: LogFormat, batch: &[Entry]) -> io::Result<()> {
    let form = match format {
        LogFormat::Text => line,
        LogFormat::Json => object,
    };
    let lines: String = batch.iter().map(|entry| form(&entry.shown())).collect();
    out.write_all(lines.as_bytes())?;
    out.flush()?;
    if format == LogFormat::Text {
        for row in batch.iter().map(Entry::shown) {
            tracing::info!(
                name: service::logging::LOCAL,
                order_id = %row.order_id,
                status = row.status,
                topic = %row.topic,
                partition = row.partition,
                offset = row.offset,
                "notification"
            );
        }
    }
    Ok(())
}

async fn mark(database: &Database, batch: &[Entry]) {
    while let Err(error) = try_mark(database, batch).await {
        tracing::warn!("printed notifications cannot be marked: {error}; trying again");
        tokio::time::sleep(PAUSE).await;
        database.ready().await;
    }
}

async fn try_mark(database: &Database, batch: &[Entry]) -> Result<(), sql::Error> {
    let ids: Vec<&str> = batch
        .iter()
        .filter_map(|entry| match entry {
            Entry::Stored(row) => Some(row.order_id.as_str()),
            Entry::Step { .. } => None,
        })
        .collect();
    store::mark_printed(database, &ids).await
}

/// What is shown of an entry.
struct Shown<'a> {
    order_id: &'a str,
    status: &'a str,
    user_id: Option<&'a str>,
    reason: Option<&'a str>,
    topic: &'a str,
    partition: i32,
    offset: i64,
}

impl Entry {
    fn shown(&self) -> Shown<'_> {
        match self {
            Entry::Stored(row) => shown_row(row),
            Entry::Step { step, .. } => Shown {
                order_id: &step.order_id,
                status: &step.status,
                user_id: step.user_id.as_deref(),
                reason: step.reason.as_deref(),
                topic: &step.topic,
                partition: step.partition,
                offset: step.offset,
            },
        }
    }
}

fn shown_row(row: &StoredNotification) -> Shown<'_> {
    Shown {
        order_id: &row.order_id,
        status: row.status.as_str(),
        user_id: row.user_id.as_deref(),
        reason: row.reason.as_deref(),
        topic: &row.topic,
        partition: row.partition,
        offset: row.offset,
    }
}

/// A log record that says what [`line`] says.
fn object(shown: &Shown<'_>) -> String {
    let Shown {
        order_id,
        status,
        user_id,
        reason,
        topic,
        partition,
        offset,
    } = *shown;
    let mut labels = Map::new();
    let mut label = |name: &str, text: String| labels.insert(name.to_owned(), Value::String(text));
    label("order_id", order_id.to_owned());
    label("status", status.to_owned());
    label("topic", topic.to_owned());
    label("partition", partition.to_string());
    label("offset", offset.to_string());
    for (name, text) in [("user_id", user_id), ("reason", reason)] {
        if let Some(text) = text {
            label(name, text.to_owned());
        }
    }
    EcsRecord {
        level: "info",
        logger: module_path!(),
        service: NAME,
        message: "notification",
        error: None,
        trace_id: None,
        labels,
    }
    .line()
}

/// One line; what came from outside cannot break out of it.
fn line(shown: &Shown<'_>) -> String {
    let Shown {
        order_id,
        status,
        user_id,
        reason,
        ..
    } = *shown;
    let mut line = format!("[NOTIFICATION] Order {order_id}: {status}");
    if let Some(reason) = reason {
        line.push_str(": ");
        push_safely(&mut line, reason);
    }
    if let Some(user) = user_id {
        line.push_str(" (user ");
        push_safely(&mut line, user);
        line.push(')');
    }
    line.push('\n');
    line
}

fn push_safely(line: &mut String, text: &str) {
    for c in text.chars() {
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
}

#[cfg(test)]
mod tests {
    use proto::FinalStatus;

    use super::*;

    fn notification(reason: Option<&str>, user: Option<&str>) -> StoredNotification {
        StoredNotification {
            order_id: "12345".into(),
            status: reason.map_or(FinalStatus::Confirmed, |_| FinalStatus::Rejected),
            user_id: user.map(Into::into),
            reason: reason.map(Into::into),
            topic: "notifications".into(),
            topic_id: None,
            partition: 0,
            offset: 0,
            received_at: 0,
        }
    }

    #[test]
    fn a_line_says_who_and_why() {
        assert_eq!(
            line(&shown_row(&notification(None, None))),
            "[NOTIFICATION] Order 12345: CONFIRMED\n"
        );
        assert_eq!(
            line(&shown_row(&notification(
                Some("quantity 1000 is above"),
                Some("u1")
            ))),
            "[NOTIFICATION] Order 12345: REJECTED: quantity 1000 is above (user u1)\n"
        );
    }

    #[test]
    fn a_line_stays_one() {
        assert_eq!(
            line(&shown_row(&notification(
                Some("a\nb\u{1b}[2J"),
                Some("ё\r")
            ))),
            "[NOTIFICATION] Order 12345: REJECTED: a\\nb\\u{1b}[2J (user ё\\r)\n"
        );
    }
}
