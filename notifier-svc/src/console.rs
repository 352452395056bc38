//! Prints notifications to the console and to the log, each at least once.
//!
//! A stored notification is handed in, printed, and then marked as printed; what a crash left without
//! the mark is printed at the next start. Many are printed with one write and marked in one
//! transaction.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use service::CancellationToken;
use service::db::Database;
use tokio::sync::mpsc;

use crate::store::{self, StoredNotification};

/// Most notifications of one write and one transaction.
const BATCH: usize = 512;

/// Pause before a database that failed is asked again.
const PAUSE: Duration = Duration::from_millis(500);

/// Takes notifications to print. Clones hand in to the same console.
#[derive(Debug, Clone)]
pub struct Console {
    sender: mpsc::Sender<Arc<StoredNotification>>,
}

/// The printing side; [`Printer::run`] it.
#[derive(Debug)]
pub struct Printer<W> {
    receiver: mpsc::Receiver<Arc<StoredNotification>>,
    database: Database,
    out: W,
}

/// A console that writes to `out`.
pub fn console<W: Write + Send>(database: Database, out: W) -> (Console, Printer<W>) {
    let (sender, receiver) = mpsc::channel(4 * BATCH);
    let printer = Printer {
        receiver,
        database,
        out,
    };
    (Console { sender }, printer)
}

impl Console {
    /// Hands in what has been stored; waits while too much is waiting to be printed.
    pub async fn print(&self, notification: Arc<StoredNotification>) {
        // A printer that is gone has left it without its mark, so it is printed at the next start.
        let _ = self.sender.send(notification).await;
    }
}

impl<W: Write + Send> Printer<W> {
    /// Prints what an earlier run left, then what is handed in, until all [`Console`]s are dropped.
    /// Waits while the database is away, but not after `stop`: what has no mark then is printed
    /// again at the next start.
    pub async fn run(mut self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.print_leftovers() => {}
        }
        let mut batch = Vec::with_capacity(BATCH);
        while self.receiver.recv_many(&mut batch, BATCH).await > 0 {
            self.print(&batch);
            tokio::select! {
                () = mark(&self.database, &batch) => {}
                () = stop.cancelled() => {
                    let _ = try_mark(&self.database, &batch).await;
                }
            }
            batch.clear();
        }
    }

    async fn print_leftovers(&mut self) {
        let mut printed = 0;
        loop {
            self.database.ready().await;
            match store::unprinted(&self.database, BATCH as u32).await {
                Ok(rows) if rows.is_empty() => break,
                Ok(rows) => {
                    printed += rows.len();
                    self.print(&rows);
                    mark(&self.database, &rows).await;
                }
                Err(error) => {
                    tracing::warn!("notifications left to print cannot be read: {error}");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        if printed > 0 {
            tracing::info!(
                printed,
                "printed {printed} notifications that an earlier run left"
            );
        }
    }

    fn print(&mut self, batch: &[impl AsRef<StoredNotification> + Sync]) {
        let lines: String = batch.iter().map(|row| line(row.as_ref())).collect();
        // A console that is gone is no reason to stop storing.
        let _ = self.out.write_all(lines.as_bytes());
        let _ = self.out.flush();
        for row in batch.iter().map(AsRef::as_ref) {
            tracing::info!(
                order_id = %row.order_id,
                status = row.status.as_str(),
                topic = %row.topic,
                partition = row.partition,
                offset = row.offset,
                "notification"
            );
        }
    }
}

async fn mark(database: &Database, batch: &[impl AsRef<StoredNotification> + Sync]) {
    while let Err(error) = try_mark(database, batch).await {
        tracing::warn!("printed notifications cannot be marked: {error}; trying again");
        tokio::time::sleep(PAUSE).await;
        database.ready().await;
    }
}

async fn try_mark(
    database: &Database,
    batch: &[impl AsRef<StoredNotification> + Sync],
) -> Result<(), sqlx::Error> {
    let ids: Vec<&str> = batch
        .iter()
        .map(|row| row.as_ref().order_id.as_str())
        .collect();
    store::mark_printed(database, &ids).await
}

/// One line; what came from outside cannot break out of it.
fn line(notification: &StoredNotification) -> String {
    let StoredNotification {
        order_id,
        status,
        user_id,
        reason,
        ..
    } = notification;
    let mut line = format!("[NOTIFICATION] Order {order_id}: {}", status.as_str());
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
            partition: 0,
            offset: 0,
            received_at: 0,
        }
    }

    #[test]
    fn a_line_says_who_and_why() {
        assert_eq!(
            line(&notification(None, None)),
            "[NOTIFICATION] Order 12345: CONFIRMED\n"
        );
        assert_eq!(
            line(&notification(Some("quantity 1000 is above"), Some("u1"))),
            "[NOTIFICATION] Order 12345: REJECTED: quantity 1000 is above (user u1)\n"
        );
    }

    #[test]
    fn a_line_stays_one() {
        assert_eq!(
            line(&notification(Some("a\nb\u{1b}[2J"), Some("ё\r"))),
            "[NOTIFICATION] Order 12345: REJECTED: a\\nb\\u{1b}[2J (user ё\\r)\n"
        );
    }
}
