use std::borrow::Cow;

use crate::connection::{Answer, Executor, Statement};
use crate::error::Error;
use crate::row::{Column, Row};
use crate::value::{Argument, Arguments};

/// A statement and the values of its parameters.
#[derive(Clone, Debug)]
#[must_use = "it runs when it is executed or fetched"]
pub struct Query {
    text: Cow<'static, str>,
    arguments: Arguments,
}

/// A statement with the parameters `$1`, `$2` and so on, in the order in which they are bound. Never put into its text what
/// comes from outside.
pub fn query(text: impl Into<Cow<'static, str>>) -> Query {
    Query {
        text: text.into(),
        arguments: Arguments::default(),
    }
}

impl Query {
    /// The value of the next parameter.
    pub fn bind(mut self, value: impl Argument) -> Self {
        value.add_to(&mut self.arguments);
        self
    }

    /// Runs it; how many rows it has changed.
    ///
    /// Dropped, it may run nevertheless; the same holds for the other ways to run it.
    ///
    /// # Errors
    /// The database's.
    pub async fn execute(self, on: impl Executor) -> Result<u64, Error> {
        Ok(self.run(on).await?.changed)
    }

    /// Runs it; all rows of its answer.
    ///
    /// # Errors
    /// The database's.
    pub async fn fetch_all(self, on: impl Executor) -> Result<Vec<Row>, Error> {
        Ok(self.run(on).await?.rows)
    }

    /// Runs it; the first row of its answer, if there is one.
    ///
    /// # Errors
    /// The database's.
    pub async fn fetch_optional(self, on: impl Executor) -> Result<Option<Row>, Error> {
        Ok(self.run(on).await?.rows.into_iter().next())
    }

    /// Runs it; the first row of its answer.
    ///
    /// # Errors
    /// The database's, or there is none ([`Error::RowNotFound`]).
    pub async fn fetch_one(self, on: impl Executor) -> Result<Row, Error> {
        self.fetch_optional(on).await?.ok_or(Error::RowNotFound)
    }

    /// Runs it; the first column of its first row.
    ///
    /// # Errors
    /// The database's, or there is no row, or the column holds something else.
    pub async fn fetch_value<T: Column>(self, on: impl Executor) -> Result<T, Error> {
        self.fetch_one(on).await?.get(0)
    }

    async fn run(self, on: impl Executor) -> Result<Answer, Error> {
        on.run(Statement::One {
            text: self.text,
            arguments: self.arguments,
        })
        .await
    }
}
