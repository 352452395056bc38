//! What a query answers with.

use crate::error::Error;
use crate::value::Value;

/// A row of an answer.
#[derive(Debug)]
pub struct Row(pub(crate) Cells);

#[derive(Debug)]
pub(crate) enum Cells {
    Postgres(tokio_postgres::Row),
    #[cfg(feature = "sqlite")]
    Sqlite(crate::sqlite::Cells),
}

/// What can be read from a column: `i64`, `i32`, `f64`, `String`, and options of them.
pub trait Column: Sized {
    /// For the error.
    #[doc(hidden)]
    const EXPECTED: &'static str;

    #[doc(hidden)]
    fn read(cell: Cell<'_>) -> Option<Self>;
}

/// What a column holds.
#[derive(Clone, Copy, Debug)]
pub struct Cell<'a>(pub(crate) Value<'a>);

impl Row {
    /// The value of a column; the first is 0.
    ///
    /// # Errors
    /// There is no such column, or it holds something else.
    pub fn get<T: Column>(&self, column: usize) -> Result<T, Error> {
        let value = match &self.0 {
            Cells::Postgres(row) => crate::postgres::cell(row, column)?,
            #[cfg(feature = "sqlite")]
            Cells::Sqlite(cells) => cells.get(column)?,
        };
        T::read(Cell(value)).ok_or_else(|| {
            let holds = match value {
                Value::Null => "null",
                Value::Bigint(_) => "an integer",
                Value::Double(_) => "a floating-point number",
                Value::Text(_) => "text",
            };
            Error::Decode(format!("column {column} holds {holds}, not {}", T::EXPECTED).into())
        })
    }
}

impl Column for i64 {
    const EXPECTED: &'static str = "an integer of 64 bits";

    fn read(cell: Cell<'_>) -> Option<Self> {
        match cell.0 {
            Value::Bigint(value) => Some(value),
            _ => None,
        }
    }
}

impl Column for i32 {
    const EXPECTED: &'static str = "an integer of 32 bits";

    fn read(cell: Cell<'_>) -> Option<Self> {
        i64::read(cell)?.try_into().ok()
    }
}

impl Column for f64 {
    const EXPECTED: &'static str = "a number";

    fn read(cell: Cell<'_>) -> Option<Self> {
        match cell.0 {
            Value::Double(value) => Some(value),
            // SQLite stores 4.0 as 4 in a column of no type.
            #[expect(
                clippy::cast_precision_loss,
                reason = "what a float was stored as is one"
            )]
            Value::Bigint(value) => Some(value as f64),
            _ => None,
        }
    }
}

impl Column for String {
    const EXPECTED: &'static str = "text";

    fn read(cell: Cell<'_>) -> Option<Self> {
        match cell.0 {
            Value::Text(value) => Some(value.to_owned()),
            _ => None,
        }
    }
}

impl<T: Column> Column for Option<T> {
    const EXPECTED: &'static str = T::EXPECTED;

    fn read(cell: Cell<'_>) -> Option<Self> {
        match cell.0 {
            Value::Null => Some(None),
            _ => T::read(cell).map(Some),
        }
    }
}
