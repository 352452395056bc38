//! What is wrong with bytes that should have been an event. No message repeats a value: dead
//! letters and logs must not carry personal data.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;

/// Why a value is no event of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The record carries no value (a tombstone).
    #[error("the value is null")]
    Null,
    /// No bytes, or blanks alone.
    #[error("the value is empty")]
    Empty,
    /// Not JSON, not UTF-8, or a number beyond what can be read.
    #[error("the value is not JSON: {0}")]
    NotJson(String),
    /// JSON of another shape; says which.
    #[error("the value is not a JSON object but {0}")]
    NotObject(&'static str),
    /// An object, but with missing or wrong fields.
    #[error("{0}")]
    Fields(FieldErrors),
}

impl DecodeError {
    /// The wrong fields, if it is they that are wrong.
    pub fn fields(&self) -> &[FieldError] {
        match self {
            DecodeError::Fields(errors) => &errors.0,
            _ => &[],
        }
    }
}

/// All wrong fields of one object, in the order of the contract.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct FieldErrors(pub Vec<FieldError>);

impl fmt::Display for FieldErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

/// One wrong field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{field} {problem}")]
pub struct FieldError {
    /// As the sender spelled it; as the topic spells it where it is missing.
    pub field: &'static str,
    /// What is wrong, to be read after the name: `is missing`, `must be at least 1`.
    pub problem: Cow<'static, str>,
}

impl FieldError {
    pub(crate) fn new(field: &'static str, problem: impl Into<Cow<'static, str>>) -> Self {
        Self {
            field,
            problem: problem.into(),
        }
    }
}
