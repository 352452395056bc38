//! Values as PostgreSQL's binary format has them.

use std::error::Error as StdError;

use bytes::{BufMut, BytesMut};
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type as ServerType, to_sql_checked};

use crate::error::Error;
use crate::value::{Arguments, Type, Value};

/// What the server calls a type.
pub(super) fn server_type(of: Type) -> ServerType {
    match of {
        Type::Bigint => ServerType::INT8,
        Type::Double => ServerType::FLOAT8,
        Type::Text => ServerType::TEXT,
    }
}

pub(super) fn array_type(of: Type) -> ServerType {
    match of {
        Type::Bigint => ServerType::INT8_ARRAY,
        Type::Double => ServerType::FLOAT8_ARRAY,
        Type::Text => ServerType::TEXT_ARRAY,
    }
}

/// One of the arguments.
#[derive(Clone, Copy, Debug)]
pub(super) struct One<'a> {
    pub(super) arguments: &'a Arguments,
    pub(super) index: usize,
}

/// A column of a batch's arguments.
#[derive(Clone, Copy, Debug)]
pub(super) struct Array<'a> {
    pub(super) arguments: &'a Arguments,
    pub(super) column: usize,
    pub(super) columns: usize,
}

/// Writes a value; none is written for null.
fn write(value: Value<'_>, out: &mut BytesMut) -> IsNull {
    match value {
        Value::Null => return IsNull::Yes,
        Value::Bigint(value) => out.put_i64(value),
        Value::Double(value) => out.put_f64(value),
        Value::Text(text) => out.put_slice(text.as_bytes()),
    }
    IsNull::No
}

impl ToSql for One<'_> {
    fn to_sql(
        &self,
        _: &ServerType,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        Ok(write(self.arguments.get(self.index), out))
    }

    fn accepts(_: &ServerType) -> bool {
        true
    }

    to_sql_checked!();
}

impl ToSql for Array<'_> {
    /// `array_recv` in PostgreSQL's `arrayfuncs.c`: dimensions, whether there are nulls, the type of the elements, the length
    /// and the number of the first; then each with its length in front, which is -1 for null.
    fn to_sql(
        &self,
        of: &ServerType,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        let length = i32::try_from(self.arguments.len() / self.columns)?;
        let element = match *of {
            ServerType::INT8_ARRAY => ServerType::INT8,
            ServerType::FLOAT8_ARRAY => ServerType::FLOAT8,
            _ => ServerType::TEXT,
        };
        out.put_i32(1);
        out.put_i32(1);
        out.put_u32(element.oid());
        out.put_i32(length);
        out.put_i32(1);
        for index in (self.column..self.arguments.len()).step_by(self.columns) {
            let at = out.len();
            out.put_i32(-1);
            if let IsNull::No = write(self.arguments.get(index), out) {
                let length = i32::try_from(out.len() - at - 4)?;
                out[at..at + 4].copy_from_slice(&length.to_be_bytes());
            }
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &ServerType) -> bool {
        true
    }

    to_sql_checked!();
}

/// The value of a column.
pub(crate) fn cell(row: &Row, column: usize) -> Result<Value<'_>, Error> {
    fn get<'a, T: FromSql<'a>>(row: &'a Row, column: usize) -> Result<Option<T>, Error> {
        row.try_get(column)
            .map_err(|error| Error::Decode(error.into()))
    }
    let Some(about) = row.columns().get(column) else {
        return Err(Error::Decode(format!("there is no column {column}").into()));
    };
    let value = match *about.type_() {
        ServerType::INT2 => get::<i16>(row, column)?.map(|value| Value::Bigint(value.into())),
        ServerType::INT4 => get::<i32>(row, column)?.map(|value| Value::Bigint(value.into())),
        ServerType::INT8 => get::<i64>(row, column)?.map(Value::Bigint),
        ServerType::FLOAT4 => get::<f32>(row, column)?.map(|value| Value::Double(value.into())),
        ServerType::FLOAT8 => get::<f64>(row, column)?.map(Value::Double),
        ServerType::TEXT
        | ServerType::VARCHAR
        | ServerType::BPCHAR
        | ServerType::NAME
        | ServerType::UNKNOWN => get::<&str>(row, column)?.map(Value::Text),
        ref other => {
            let problem = format!("column {column} is of the type {other}, which is not read");
            return Err(Error::Decode(problem.into()));
        }
    };
    Ok(value.unwrap_or(Value::Null))
}
