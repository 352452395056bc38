use std::borrow::Cow;
use std::fmt::Write;

use crate::connection::{Answer, Executor, Statement};
use crate::error::Error;
use crate::row::Row;
use crate::value::{Argument, Arguments, Type};

/// What stands for the rows in a batch's text.
const ROWS: &str = "{rows}";

/// A statement for many rows of values.
#[derive(Clone, Debug)]
#[must_use = "it runs when it is executed or fetched"]
pub struct Batch {
    text: Cow<'static, str>,
    columns: &'static [Type],
    arguments: Arguments,
}

/// A statement whose text has `{rows}` in it once, where a `VALUES` list or a query may stand: `INSERT INTO … {rows}`,
/// `… IN ({rows})`, `… FROM ({rows}) AS new`, where the columns are called `column1`, `column2` and so on.
///
/// PostgreSQL takes all rows at once, in their order. SQLite, which is in this process, takes some at a time, one statement
/// after another; so it may only say what is right for each row alone. Without rows nothing runs.
pub fn batch(text: impl Into<Cow<'static, str>>, columns: &'static [Type]) -> Batch {
    Batch {
        text: text.into(),
        columns,
        arguments: Arguments::default(),
    }
}

impl Batch {
    /// The next value: of the same row, or the first of the next one.
    pub fn bind(mut self, value: impl Argument) -> Self {
        value.add_to(&mut self.arguments);
        self
    }

    /// Runs it; how many rows it has changed.
    ///
    /// # Errors
    /// The database's; the values do not fit the columns.
    pub async fn execute(self, on: impl Executor) -> Result<u64, Error> {
        Ok(self.run(on).await?.changed)
    }

    /// Runs it; the rows of its answer.
    ///
    /// # Errors
    /// The database's; the values do not fit the columns.
    pub async fn fetch_all(self, on: impl Executor) -> Result<Vec<Row>, Error> {
        Ok(self.run(on).await?.rows)
    }

    async fn run(self, on: impl Executor) -> Result<Answer, Error> {
        self.check()?;
        if self.arguments.len() == 0 {
            return Ok(Answer::default());
        }
        on.run(Statement::Many {
            text: self.text,
            columns: self.columns,
            arguments: self.arguments,
        })
        .await
    }

    fn check(&self) -> Result<(), Error> {
        let columns = self.columns.len();
        let fits = columns > 0
            && self.arguments.len().is_multiple_of(columns)
            && (0..self.arguments.len())
                .all(|index| self.arguments.type_of(index) == self.columns[index % columns]);
        if fits {
            return Ok(());
        }
        let problem = format!(
            "{} values do not fit the columns {:?} of a batch",
            self.arguments.len(),
            self.columns
        );
        Err(Error::Encode(problem.into()))
    }
}

/// `text` with a parameter of an array for each column.
pub(crate) fn with_arrays(text: &str, columns: &[Type]) -> String {
    let mut rows = String::from("SELECT * FROM UNNEST(");
    // Writing to a String cannot fail.
    for (index, column) in columns.iter().enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        let name = match column {
            Type::Bigint => "bigint",
            Type::Double => "double precision",
            Type::Text => "text",
        };
        let _ = write!(rows, "{comma}${}::{name}[]", index + 1);
    }
    rows.push_str(") AS given(");
    for number in 1..=columns.len() {
        let comma = if number == 1 { "" } else { ", " };
        let _ = write!(rows, "{comma}column{number}");
    }
    rows.push(')');
    text.replacen(ROWS, &rows, 1)
}

/// `text` with a parameter for each column of so many rows.
#[cfg(feature = "sqlite")]
pub(crate) fn with_values(text: &str, columns: usize, rows: usize) -> String {
    let mut values = String::from("VALUES ");
    for number in 1..=rows * columns {
        let before = match (number - 1) % columns {
            0 if number == 1 => "(",
            0 => "), (",
            _ => ", ",
        };
        let _ = write!(values, "{before}${number}");
    }
    values.push(')');
    text.replacen(ROWS, &values, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: &[Type] = &[Type::Bigint, Type::Text];

    #[test]
    fn rows_are_arrays_or_one_after_another() {
        let text = "INSERT INTO t (a, b) {rows} ON CONFLICT DO NOTHING";
        assert_eq!(
            with_arrays(text, COLUMNS),
            "INSERT INTO t (a, b) SELECT * FROM UNNEST($1::bigint[], $2::text[]) \
             AS given(column1, column2) ON CONFLICT DO NOTHING"
        );
        #[cfg(feature = "sqlite")]
        assert_eq!(
            with_values(text, COLUMNS.len(), 2),
            "INSERT INTO t (a, b) VALUES ($1, $2), ($3, $4) ON CONFLICT DO NOTHING"
        );
    }

    #[test]
    fn values_that_do_not_make_up_rows_are_refused() {
        let batch = || batch("{rows}", COLUMNS);
        batch().check().unwrap();
        batch().bind(1).bind(None::<&str>).check().unwrap();
        for wrong in [
            batch().bind(1),
            batch().bind("one").bind("two"),
            batch().bind(1).bind("one").bind(2),
        ] {
            assert!(matches!(wrong.check(), Err(Error::Encode(_))));
        }
    }
}
