use std::fmt;
use std::time::Duration;

use super::option::{Opt, flag_of};
use super::program::Program;
use super::source::Origin;
use super::value::Value;

/// Everything that is wrong with the configuration, each entry naming its variable.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Mistakes {
    list: Vec<(String, String)>,
}

impl Mistakes {
    pub(crate) fn add(&mut self, variable: &str, what: impl Into<String>) {
        let entry = (variable.to_owned(), what.into());
        if !self.list.contains(&entry) {
            self.list.push(entry);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Variable (or flag) and what is wrong with it.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.list
            .iter()
            .map(|(variable, what)| (variable.as_str(), what.as_str()))
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (variable, what) in &self.list {
            writeln!(f, "  {variable} {what}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

/// The texts of all options, read and not yet parsed.
///
/// Getters parse; a mistake is noted and the option's default stands in, so that reading goes on
/// and all mistakes are found at once. Nothing may be opened before [`Values::finish`].
#[derive(Debug)]
pub struct Values {
    pub(crate) rows: Vec<Row>,
    pub(crate) mistakes: Mistakes,
}

#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) option: Opt,
    pub(crate) text: Option<String>,
    pub(crate) origin: Origin,
}

impl Values {
    /// The value of an option that has a default.
    ///
    /// # Panics
    /// If the table has no such option, or its default is missing or does not parse: an error of
    /// the program, not of its user.
    pub fn get<T: Value>(&mut self, variable: &str) -> T {
        let row = self.row(variable);
        let default = row
            .option
            .default
            .unwrap_or_else(|| panic!("option {variable} has no default"));
        let text = row.text.clone().unwrap_or_else(|| default.to_owned());
        match T::parse(&text) {
            Ok(value) => value,
            Err(expected) => {
                self.mistaken(variable, &expected);
                T::parse(default)
                    .unwrap_or_else(|error| panic!("default of option {variable}: {error}"))
            }
        }
    }

    /// The value of an option, `None` where it is not set and has no default, or is mistaken.
    ///
    /// # Panics
    /// If the table has no such option.
    pub fn find<T: Value>(&mut self, variable: &str) -> Option<T> {
        let row = self.row(variable);
        let text = row.text.clone().or(row.option.default.map(str::to_owned))?;
        match T::parse(&text) {
            Ok(value) => Some(value),
            Err(expected) => {
                self.mistaken(variable, &expected);
                None
            }
        }
    }

    /// Like [`Values::get`], with a further condition; `expected` completes "VARIABLE …".
    pub fn checked<T: Value>(
        &mut self,
        variable: &str,
        expected: &str,
        holds: impl FnOnce(&T) -> bool,
    ) -> T {
        let value = self.get(variable);
        if !holds(&value) {
            self.mistaken(variable, expected);
        }
        value
    }

    /// A time longer than none.
    ///
    /// # Panics
    /// Like [`Values::get`].
    pub fn positive(&mut self, variable: &str) -> Duration {
        self.checked(variable, "must be longer than 0", |time: &Duration| {
            !time.is_zero()
        })
    }

    /// Whether a flag, the environment or the env file gave the option.
    pub fn is_given(&mut self, variable: &str) -> bool {
        self.row(variable).origin != Origin::Default
    }

    /// Notes a mistake found by the caller; `what` completes "VARIABLE …".
    pub fn mistake(&mut self, variable: &str, what: impl Into<String>) {
        self.mistakes.add(variable, what);
    }

    /// All good: `config`. Otherwise every mistake.
    pub fn finish<C>(self, config: C) -> Result<C, Mistakes> {
        if self.mistakes.is_empty() {
            Ok(config)
        } else {
            Err(self.mistakes)
        }
    }

    /// The values of another program that shares this one's options: what is given in `instead`
    /// counts as given, everything else is as it was read here, and what is unknown here is at its
    /// default. For a process that runs several services.
    pub fn for_program(&self, program: &Program, instead: &[(&str, String)]) -> Self {
        let row = |option: &Opt| {
            let replaced = instead
                .iter()
                .find(|(variable, _)| *variable == option.variable);
            let own = self
                .rows
                .iter()
                .find(|row| row.option.variable == option.variable);
            let (text, origin) = match (replaced, own) {
                (Some((_, text)), _) => (Some(text.clone()), Origin::Flag),
                (None, Some(own)) => (own.text.clone(), own.origin),
                (None, None) => (None, Origin::Default),
            };
            Row {
                option: *option,
                text,
                origin,
            }
        };
        Self {
            rows: program.options.iter().map(row).collect(),
            mistakes: Mistakes::default(),
        }
    }

    /// Adds another one's mistakes to these.
    pub fn adopt_mistakes(&mut self, other: Self) {
        for (variable, what) in other.mistakes.list {
            self.mistakes.add(&variable, what);
        }
    }

    fn row(&self, variable: &str) -> &Row {
        self.rows
            .iter()
            .find(|row| row.option.variable == variable)
            .unwrap_or_else(|| panic!("option {variable} is not in the table"))
    }

    fn mistaken(&mut self, variable: &str, expected: &str) {
        let row = self.row(variable);
        let what = match &row.text {
            Some(_) if row.option.secret => format!("{expected} (its value is not shown)"),
            Some(text) => format!("{expected}, not {text:?}"),
            None => expected.to_owned(),
        };
        let source = match row.origin {
            Origin::Flag => format!(" (from {})", flag_of(variable)),
            Origin::EnvFile => " (from the env file)".to_owned(),
            Origin::Environment | Origin::Default => String::new(),
        };
        self.mistakes.add(variable, what + &source);
    }
}
