use std::borrow::Cow;

use crate::error::{DatabaseError, Error};
use crate::options::{DatabaseKind, Options};
use crate::postgres;
use crate::row::Row;
#[cfg(feature = "sqlite")]
use crate::sqlite;
use crate::value::{Arguments, Type};

/// SQLSTATE `in_failed_sql_transaction`.
const FAILED_TRANSACTION: &str = "25P02";

/// A connection to a database, and what is known of the transaction on it.
#[derive(Debug)]
pub struct Connection {
    session: Session,
    transaction: Progress,
    /// A question was put whose answer was not waited for, so that it may still be at work.
    unanswered: bool,
}

#[derive(Debug)]
pub(crate) enum Session {
    Postgres(postgres::Session),
    #[cfg(feature = "sqlite")]
    Sqlite(sqlite::Session),
}

/// How far a transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    None,
    /// PostgreSQL is told with the first statement, which saves a round trip.
    Due,
    /// As far as is known: the server may have been told, and may have ended it.
    Open,
    /// A statement failed, or nobody waited for its answer: nothing of it is kept.
    Failed,
}

/// A statement as it is handed to a connection.
#[derive(Debug)]
pub enum Statement {
    One {
        text: Cow<'static, str>,
        arguments: Arguments,
    },
    /// For rows of values.
    Many {
        text: Cow<'static, str>,
        columns: &'static [Type],
        arguments: Arguments,
    },
}

/// What a statement came to.
#[derive(Debug, Default)]
pub struct Answer {
    pub(crate) rows: Vec<Row>,
    /// How many rows it changed; nothing that means anything where it only reads.
    pub(crate) changed: u64,
}

/// What a statement runs on: `&mut Connection`, `&mut Transaction`, or `&Pool`.
pub trait Executor: Send {
    #[doc(hidden)]
    fn run(self, statement: Statement) -> impl Future<Output = Result<Answer, Error>> + Send;
}

impl Executor for &mut Connection {
    async fn run(self, statement: Statement) -> Result<Answer, Error> {
        self.note_abandoned();
        let begins = self.transaction == Progress::Due;
        if begins {
            // Before it is sent: dropped half-way, it is open.
            self.transaction = Progress::Open;
        }
        self.unanswered = true;
        let answer = match &self.session {
            Session::Postgres(session) => session.run(statement, begins).await,
            #[cfg(feature = "sqlite")]
            Session::Sqlite(session) => session.run(statement).await,
        };
        self.unanswered = false;
        if answer.is_err() && self.transaction == Progress::Open {
            self.transaction = Progress::Failed;
        }
        answer
    }
}

impl Connection {
    pub(crate) async fn open(options: &Options) -> Result<Self, Error> {
        let session = match options {
            Options::Postgres(options) => {
                Session::Postgres(postgres::Session::open(options).await?)
            }
            #[cfg(feature = "sqlite")]
            Options::Sqlite(options) => Session::Sqlite(sqlite::Session::open(options).await?),
        };
        Ok(Self {
            session,
            transaction: Progress::None,
            unanswered: false,
        })
    }

    pub fn kind(&self) -> DatabaseKind {
        match self.session {
            Session::Postgres(_) => DatabaseKind::Postgres,
            #[cfg(feature = "sqlite")]
            Session::Sqlite(_) => DatabaseKind::Sqlite,
        }
    }

    /// Begins a transaction that will write: takes SQLite's lock at once, since one that has read first cannot wait for
    /// it later.
    pub(crate) async fn begin(&mut self) -> Result<(), Error> {
        match &self.session {
            Session::Postgres(_) => {
                self.transaction = Progress::Due;
                Ok(())
            }
            #[cfg(feature = "sqlite")]
            Session::Sqlite(session) => {
                self.transaction = Progress::Open;
                self.unanswered = true;
                let begun = session.tell("BEGIN IMMEDIATE").await;
                self.unanswered = false;
                begun
            }
        }
    }

    pub(crate) async fn commit(&mut self) -> Result<(), Error> {
        self.note_abandoned();
        if self.transaction == Progress::Failed {
            // PostgreSQL would roll it back and say that all is well.
            return Err(Error::Database(DatabaseError {
                code: FAILED_TRANSACTION.to_owned(),
                message: "a transaction with a failed or abandoned statement cannot be committed"
                    .to_owned(),
            }));
        }
        self.finish("COMMIT").await
    }

    /// What became of a statement whose answer was not waited for is not known: it may have failed.
    fn note_abandoned(&mut self) {
        if self.unanswered && self.transaction == Progress::Open {
            self.transaction = Progress::Failed;
        }
    }

    pub(crate) async fn roll_back(&mut self) -> Result<(), Error> {
        self.finish("ROLLBACK").await
    }

    async fn finish(&mut self, how: &'static str) -> Result<(), Error> {
        if self.is_in_transaction() {
            self.unanswered = true;
            let finished = match &self.session {
                Session::Postgres(session) => session.tell(how).await,
                #[cfg(feature = "sqlite")]
                Session::Sqlite(session) => session.tell(how).await,
            };
            self.unanswered = false;
            finished?;
        }
        self.transaction = Progress::None;
        Ok(())
    }

    /// Whether it can go to somebody else as it is.
    pub(crate) fn is_clean(&self) -> bool {
        !self.is_in_transaction() && !self.unanswered
    }

    pub(crate) fn is_in_transaction(&self) -> bool {
        matches!(self.transaction, Progress::Open | Progress::Failed)
    }

    /// As one that was just opened, or cleaned.
    pub(crate) fn cleaned(&mut self) {
        self.transaction = Progress::None;
        self.unanswered = false;
    }

    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    /// Waits for PostgreSQL to end what it was asked, and the transaction if there is one.
    pub(crate) async fn end(&self, in_transaction: bool) -> Result<(), Error> {
        match &self.session {
            Session::Postgres(session) => session.end(in_transaction).await,
            #[cfg(feature = "sqlite")]
            Session::Sqlite(_) => Ok(()),
        }
    }

    /// Ends it: SQLite when it is closed; PostgreSQL is told so by the connection's task, which nobody waits for.
    pub(crate) async fn close(self) {
        match self.session {
            Session::Postgres(session) => drop(session),
            #[cfg(feature = "sqlite")]
            Session::Sqlite(session) => session.close().await,
        }
    }
}
