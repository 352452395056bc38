use std::sync::{Arc, mpsc};
use std::{io, thread};

use rusqlite::InterruptHandle;
use tokio::sync::oneshot;

use super::options::SqliteOptions;
use super::statement;
use crate::connection::{Answer, Statement};
use crate::error::{DatabaseError, Error};

/// How long a statement waits for another process's lock before it fails as busy, in milliseconds.
const BUSY_TIMEOUT_MS: u32 = 5_000;

/// Statements that stay prepared.
const STATEMENTS: usize = 128;

/// What the thread of a connection is asked to do, one after another.
type Job = Box<dyn FnOnce(&rusqlite::Connection) + Send>;

/// A connection, on a thread of its own: SQLite waits for the disk.
pub(crate) struct Session {
    jobs: mpsc::Sender<Job>,
    interrupt: Arc<InterruptHandle>,
    thread: thread::JoinHandle<()>,
    /// Resolves when the thread has closed it.
    closed: oneshot::Receiver<()>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

/// A way to give a connection its last job, for who has moved the connection.
pub(crate) struct Last {
    jobs: mpsc::Sender<Job>,
    interrupt: Arc<InterruptHandle>,
}

impl Session {
    pub(crate) async fn open(options: &SqliteOptions) -> Result<Self, Error> {
        let (jobs, work) = mpsc::channel::<Job>();
        let (opened, is_open) = oneshot::channel();
        let (ended, closed) = oneshot::channel();
        let options = options.clone();
        let run = move || {
            let connection = match open(&options) {
                Ok(connection) => connection,
                Err(error) => {
                    // Nobody waits for it any more.
                    let _ = opened.send(Err(error));
                    return;
                }
            };
            if opened.send(Ok(connection.get_interrupt_handle())).is_err() {
                return;
            }
            while let Ok(job) = work.recv() {
                job(&connection);
            }
            drop(connection);
            let _ = ended.send(());
        };
        let thread = thread::Builder::new()
            .name("sqlite".to_owned())
            .spawn(run)
            .map_err(Error::Io)?;
        let interrupt = is_open.await.unwrap_or_else(|_| Err(gone()))?;
        Ok(Self {
            jobs,
            interrupt: Arc::new(interrupt),
            thread,
            closed,
        })
    }

    pub(crate) async fn run(&self, statement: Statement) -> Result<Answer, Error> {
        self.call(move |connection| statement::run(connection, &statement))
            .await
    }

    /// A statement that answers with nothing.
    pub(crate) async fn tell(&self, text: &'static str) -> Result<(), Error> {
        self.call(move |connection| execute(connection, text)).await
    }

    async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&rusqlite::Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (answer, result) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            // Who has given up waits for no answer.
            let _ = answer.send(work(connection));
        });
        self.jobs.send(job).map_err(|_| gone())?;
        result.await.unwrap_or_else(|_| Err(gone()))
    }

    pub(crate) fn last(&self) -> Last {
        Last {
            jobs: self.jobs.clone(),
            interrupt: self.interrupt.clone(),
        }
    }

    /// Whether nothing can be asked of it any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.thread.is_finished()
    }

    /// Behind everything that it was asked to do.
    pub(crate) async fn close(self) {
        drop(self.jobs);
        let _ = self.closed.await;
    }
}

impl Last {
    /// Does `then` when the connection is done with what it was asked, and its transaction is rolled back if it has one.
    /// What runs outside of a transaction is broken off: nobody waits for it.
    pub(crate) fn run(self, in_transaction: bool, then: impl FnOnce() + Send + 'static) {
        if !in_transaction {
            self.interrupt.interrupt();
        }
        let job: Job = Box::new(move |connection| {
            // A commit that meets a full disk has ended it already.
            if !connection.is_autocommit()
                && let Err(error) = execute(connection, "ROLLBACK")
            {
                // It is dropped, and closing it rolls back.
                tracing::warn!("SQLite: a transaction cannot be rolled back: {error}");
                return;
            }
            then();
        });
        // Where the thread is gone, so is the connection.
        let _ = self.jobs.send(job);
    }
}

fn open(options: &SqliteOptions) -> Result<rusqlite::Connection, Error> {
    let flags = options.flags();
    let connection = rusqlite::Connection::open_with_flags(options.uri(), flags).map_err(error)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // Readers do not wait for the writer in WAL mode; FULL keeps what was committed through a power failure.
    let pragmas = format!(
        "PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
         PRAGMA foreign_keys = ON;"
    );
    connection.execute_batch(&pragmas).map_err(error)?;
    Ok(connection)
}

fn execute(connection: &rusqlite::Connection, text: &'static str) -> Result<(), Error> {
    let mut statement = connection.prepare_cached(text).map_err(error)?;
    statement.raw_execute().map_err(error)?;
    Ok(())
}

fn gone() -> Error {
    Error::Io(io::Error::new(
        io::ErrorKind::BrokenPipe,
        "the thread of a connection to SQLite has ended",
    ))
}

pub(super) fn error(error: rusqlite::Error) -> Error {
    let said = |code: &rusqlite::ffi::Error, message: String| {
        Error::Database(DatabaseError {
            code: code.extended_code.to_string(),
            message,
        })
    };
    match error {
        rusqlite::Error::SqliteFailure(code, message) => {
            said(&code, message.unwrap_or_else(|| code.to_string()))
        }
        rusqlite::Error::SqlInputError { error, msg, .. } => said(&error, msg),
        other => Error::Protocol(other.to_string()),
    }
}
