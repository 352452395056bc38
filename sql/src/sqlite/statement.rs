//! How a statement runs on SQLite.

use std::borrow::Cow;
use std::sync::Arc;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection, ToSql};

use super::session::error;
use crate::batch::with_values;
use crate::connection::{Answer, Statement};
use crate::error::Error;
use crate::row::Row;
use crate::value::{Arguments, Value};

/// A row of an answer.
#[derive(Debug)]
pub(crate) struct Cells {
    answer: Arc<Table>,
    /// The number of its first cell.
    from: usize,
}

/// All rows of an answer, texts one behind another.
#[derive(Debug, Default)]
struct Table {
    columns: usize,
    cells: Vec<Stored>,
    text: String,
}

#[derive(Clone, Copy, Debug)]
enum Stored {
    Null,
    Integer(i64),
    Real(f64),
    Text { from: usize, to: usize },
}

impl Cells {
    pub(crate) fn get(&self, column: usize) -> Result<Value<'_>, Error> {
        let Table {
            columns,
            cells,
            text,
        } = &*self.answer;
        if column >= *columns {
            return Err(Error::Decode(format!("there is no column {column}").into()));
        }
        Ok(match cells[self.from + column] {
            Stored::Null => Value::Null,
            Stored::Integer(value) => Value::Bigint(value),
            Stored::Real(value) => Value::Double(value),
            Stored::Text { from, to } => Value::Text(&text[from..to]),
        })
    }
}

impl Table {
    fn add(&mut self, value: ValueRef<'_>) -> Result<(), Error> {
        let stored = match value {
            ValueRef::Null => Stored::Null,
            ValueRef::Integer(value) => Stored::Integer(value),
            ValueRef::Real(value) => Stored::Real(value),
            ValueRef::Text(bytes) => {
                let text = str::from_utf8(bytes).map_err(|error| Error::Decode(error.into()))?;
                let from = self.text.len();
                self.text.push_str(text);
                let to = self.text.len();
                Stored::Text { from, to }
            }
            ValueRef::Blob(_) => {
                return Err(Error::Decode("a column holds bytes, not text".into()));
            }
        };
        self.cells.push(stored);
        Ok(())
    }

    fn into_rows(self) -> Vec<Row> {
        if self.columns == 0 {
            return Vec::new();
        }
        let (columns, cells) = (self.columns, self.cells.len());
        let answer = Arc::new(self);
        let row = |from| {
            let answer = answer.clone();
            Row(crate::row::Cells::Sqlite(Cells { answer, from }))
        };
        (0..cells).step_by(columns).map(row).collect()
    }
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match *self {
            Value::Null => ValueRef::Null,
            Value::Bigint(value) => ValueRef::Integer(value),
            Value::Double(value) => ValueRef::Real(value),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

pub(super) fn run(connection: &Connection, statement: &Statement) -> Result<Answer, Error> {
    match statement {
        Statement::One { text, arguments } => {
            let mut run = Run::new(connection, text)?;
            run.once(arguments, 0, arguments.len())?;
            Ok(run.answer())
        }
        Statement::Many {
            text,
            columns,
            arguments,
        } => many(connection, text, columns.len(), arguments),
    }
}

/// Rows of one statement of a batch. What it costs to begin and to end one, as the table in which `RETURNING` collects its
/// answer, is so a small part of it; and what is left over runs row by row, so that a batch of any length has but two
/// statements to prepare.
const ROWS: usize = 64;

fn many(
    connection: &Connection,
    text: &str,
    columns: usize,
    arguments: &Arguments,
) -> Result<Answer, Error> {
    let mut answer = Answer::default();
    let whole = arguments.len() - arguments.len() % (ROWS * columns);
    for (rows, part) in [(ROWS, 0..whole), (1, whole..arguments.len())] {
        if part.is_empty() {
            continue;
        }
        let count = rows * columns;
        let mut run = Run::new(connection, &with_values(text, columns, rows))?;
        for from in part.clone().step_by(count) {
            run.once(arguments, from, count)?;
        }
        let part = run.answer();
        answer.rows.extend(part.rows);
        answer.changed += part.changed;
    }
    Ok(answer)
}

/// A prepared statement, and what it has come to.
struct Run<'c> {
    connection: &'c Connection,
    statement: CachedStatement<'c>,
    reads: bool,
    table: Table,
    changed: u64,
}

impl<'c> Run<'c> {
    fn new(connection: &'c Connection, text: &str) -> Result<Self, Error> {
        let statement = connection.prepare_cached(&numbered(text)).map_err(error)?;
        Ok(Self {
            connection,
            reads: statement.readonly(),
            table: Table {
                columns: statement.column_count(),
                ..Table::default()
            },
            statement,
            changed: 0,
        })
    }

    /// With `count` of the arguments.
    fn once(&mut self, arguments: &Arguments, from: usize, count: usize) -> Result<(), Error> {
        for index in 0..count {
            let value = arguments.get(from + index);
            self.statement
                .raw_bind_parameter(index + 1, value)
                .map_err(error)?;
        }
        let mut rows = self.statement.raw_query();
        while let Some(row) = rows.next().map_err(error)? {
            for column in 0..self.table.columns {
                self.table.add(row.get_ref(column).map_err(error)?)?;
            }
        }
        drop(rows);
        if !self.reads {
            self.changed += self.connection.changes();
        }
        Ok(())
    }

    fn answer(self) -> Answer {
        Answer {
            rows: self.table.into_rows(),
            changed: self.changed,
        }
    }
}

/// `text` with `?1` for `$1`: to SQLite `$1` is a name, which stands for the first parameter that is not taken, whatever its
/// number. What is in quotes stays.
fn numbered(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let mut quote = None;
    let mut numbered = Vec::new();
    for (index, &byte) in bytes.iter().enumerate() {
        match quote {
            Some(open) if byte == open => quote = None,
            None if byte == b'\'' || byte == b'"' => quote = Some(byte),
            None if byte == b'$' && bytes.get(index + 1).is_some_and(u8::is_ascii_digit) => {
                if numbered.is_empty() {
                    numbered = bytes.to_vec();
                }
                numbered[index] = b'?';
            }
            _ => {}
        }
    }
    match numbered.is_empty() {
        true => Cow::Borrowed(text),
        // One byte of ASCII stands for another.
        false => Cow::Owned(String::from_utf8(numbered).unwrap_or_else(|_| text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_have_their_numbers() {
        for (text, expected) in [
            ("SELECT 1", "SELECT 1"),
            ("SELECT $2, $1", "SELECT ?2, ?1"),
            ("SELECT '$1', \"$2\", $3", "SELECT '$1', \"$2\", ?3"),
            ("SELECT 'it''s $1', $1", "SELECT 'it''s $1', ?1"),
        ] {
            assert_eq!(numbered(text), expected);
        }
    }
}
