use std::ops::{Deref, DerefMut};

use crate::connection::{Answer, Connection, Executor, Statement};
use crate::error::Error;
use crate::pool::PooledConnection;

/// A transaction on a connection of its own. Dropped before [`Transaction::commit`] has come back, it is rolled back, unless
/// the commit had gone through already.
#[derive(Debug)]
pub struct Transaction {
    connection: PooledConnection,
}

impl Transaction {
    pub(crate) fn new(connection: PooledConnection) -> Self {
        Self { connection }
    }

    /// Makes its changes last, and seen by others.
    ///
    /// # Errors
    /// A statement of it has failed, or was dropped before its answer, and so nothing of it is kept. Or the database's: where
    /// the connection broke off, it may have been committed nevertheless.
    pub async fn commit(mut self) -> Result<(), Error> {
        self.connection.commit().await
    }

    /// Takes its changes back, and waits until they are.
    ///
    /// # Errors
    /// The database's: then they are gone with the connection.
    pub async fn rollback(mut self) -> Result<(), Error> {
        self.connection.roll_back().await
    }
}

impl Deref for Transaction {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }
}

impl Executor for &mut Transaction {
    async fn run(self, statement: Statement) -> Result<Answer, Error> {
        (&mut *self.connection).run(statement).await
    }
}
