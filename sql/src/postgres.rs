//! PostgreSQL: a connection over TCP or a socket, encrypted where the URL asks for it.

mod address;
mod connect;
mod failure;
mod options;
mod tls;
mod types;

use std::sync::atomic::{AtomicBool, Ordering};

use futures::{StreamExt as _, future};
use tokio::task::AbortHandle;
use tokio_postgres::Client;
use tokio_postgres::types::{BorrowToSql, Type as ServerType};

use self::connect::Opened;
pub(crate) use self::failure::CANNOT_CONNECT_NOW;
pub use self::options::PostgresOptions;
pub(crate) use self::types::cell;
use self::types::{Array, One, array_type, server_type};
use crate::batch::with_arrays;
use crate::connection::{Answer, Statement};
use crate::error::Error;
use crate::row::{Cells, Row};

/// A connection.
pub(crate) struct Session {
    client: Client,
    task: AbortHandle,
    /// It was asked something that it has not answered.
    asked: AtomicBool,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

impl Session {
    pub(crate) async fn open(options: &PostgresOptions) -> Result<Self, Error> {
        let Opened { client, task } = connect::connect(options).await?;
        Ok(Self {
            client,
            task,
            asked: AtomicBool::new(false),
        })
    }

    /// Begins a transaction in the same round trip, if `begins`.
    pub(crate) async fn run(&self, statement: Statement, begins: bool) -> Result<Answer, Error> {
        let answer = async {
            match &statement {
                Statement::One { text, arguments } => {
                    let one = |index| {
                        let one = One { arguments, index };
                        (one, server_type(arguments.type_of(index)))
                    };
                    self.answer(text, (0..arguments.len()).map(one)).await
                }
                Statement::Many {
                    text,
                    columns,
                    arguments,
                } => {
                    let array = |(column, of): (usize, &_)| {
                        let array = Array {
                            arguments,
                            column,
                            columns: columns.len(),
                        };
                        (array, array_type(*of))
                    };
                    let text = with_arrays(text, columns);
                    let arrays = columns.iter().enumerate().map(array);
                    self.answer(&text, arrays).await
                }
            }
        };
        self.asked.store(true, Ordering::Relaxed);
        let answer = match begins {
            false => answer.await,
            true => {
                // In this order: each is sent when it is first asked for. A server that takes the statement has taken BEGIN
                // before it.
                let (begun, answer) = future::join(self.send("BEGIN"), answer).await;
                begun.and(answer)
            }
        };
        self.asked.store(false, Ordering::Relaxed);
        answer
    }

    async fn answer<P: BorrowToSql>(
        &self,
        text: &str,
        parameters: impl ExactSizeIterator<Item = (P, ServerType)>,
    ) -> Result<Answer, Error> {
        let stream = self.client.query_typed_raw(text, parameters).await;
        let mut stream = std::pin::pin!(stream.map_err(failure::error)?);
        let mut rows = Vec::new();
        while let Some(row) = stream.next().await {
            rows.push(Row(Cells::Postgres(row.map_err(failure::error)?)));
        }
        Ok(Answer {
            rows,
            changed: stream.rows_affected().unwrap_or(0),
        })
    }

    /// A statement that answers with nothing.
    pub(crate) async fn tell(&self, text: &str) -> Result<(), Error> {
        self.asked.store(true, Ordering::Relaxed);
        let told = self.send(text).await;
        self.asked.store(false, Ordering::Relaxed);
        told
    }

    async fn send(&self, text: &str) -> Result<(), Error> {
        let sent = self.client.batch_execute(text).await;
        sent.map_err(failure::error)
    }

    /// Ends what it was asked, with the transaction if there is one.
    pub(crate) async fn end(&self, in_transaction: bool) -> Result<(), Error> {
        self.tell(if in_transaction { "ROLLBACK" } else { "" })
            .await
    }

    pub(crate) async fn ping(&self) -> Result<(), Error> {
        self.tell("").await
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }
}

impl Drop for Session {
    /// The server is told by the connection's task. One that hangs would never hear of it, and the connection stay.
    fn drop(&mut self) {
        if self.asked.load(Ordering::Relaxed) {
            self.task.abort();
        }
    }
}
