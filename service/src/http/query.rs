use std::borrow::Cow;

use chrono::DateTime;

use super::problem::{FieldProblem, Problem};
use super::router::ANY_QUERY;

/// Unknown parameters that a refusal names, and the characters it shows of each.
const NAMED: usize = 8;
const NAME_CHARS: usize = 64;

/// The query parameters of a request. Each is checked as it is taken, and all wrong ones are named
/// together at the end. One that is given without a value is one that is not given; of several with
/// one name the first counts.
#[derive(Debug)]
pub struct Query {
    parameters: Vec<(String, String)>,
    wrong: Vec<FieldProblem>,
}

impl Query {
    /// Reads what follows the `?`.
    pub fn read(text: &str) -> Self {
        Self {
            parameters: form_urlencoded::parse(text.as_bytes())
                .into_owned()
                .collect(),
            wrong: Vec::new(),
        }
    }

    /// A parameter's decoded text.
    pub fn text(&self, name: &str) -> Option<&str> {
        let (_, value) = self.parameters.iter().find(|(n, _)| n == name)?;
        Some(value.as_str()).filter(|value| !value.is_empty())
    }

    /// A parameter's value; `parse` says what is wrong with it, to be read after its name.
    pub fn get<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, Cow<'static, str>>,
    ) -> Option<T> {
        match parse(self.text(name)?) {
            Ok(value) => Some(value),
            Err(what) => {
                self.wrong.push(FieldProblem::new(name, what));
                None
            }
        }
    }

    /// A parameter's value, which has to be given: `parse` gets an empty text where it is not.
    pub fn required<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, Cow<'static, str>>,
    ) -> Option<T> {
        let text = self.text(name).unwrap_or_default();
        match parse(text) {
            Ok(value) => Some(value),
            Err(what) => {
                self.wrong.push(FieldProblem::new(name, what));
                None
            }
        }
    }

    /// A parameter's text, for one that means something else where it is not given: given without a value it is
    /// wrong, and `what` says what it must be.
    pub fn text_or_absent(&mut self, name: &'static str, what: &'static str) -> Option<String> {
        let (_, value) = self.parameters.iter().find(|(n, _)| n == name)?;
        if value.is_empty() {
            self.wrong.push(FieldProblem::new(name, what));
            return None;
        }
        Some(value.clone())
    }

    /// `limit`, from 1 to `most`; `default` where it is not given.
    pub fn limit(&mut self, default: u32, most: u32) -> u32 {
        let limit = self.get("limit", |text| match text.parse() {
            Ok(limit) if (1..=most).contains(&limit) => Ok(limit),
            _ => Err(format!("must be a number from 1 to {most}").into()),
        });
        limit.unwrap_or(default)
    }

    /// A parameter that is a time of RFC 3339 with any offset, as milliseconds since 1970.
    pub fn time(&mut self, name: &'static str) -> Option<i64> {
        self.get(name, |text| {
            // The plus of an offset is a blank in a query that is not encoded.
            let time = DateTime::parse_from_rfc3339(&text.replace(' ', "+"));
            time.map(|time| time.timestamp_millis()).map_err(|_| {
                "must be a time as in RFC 3339, such as 2026-01-31T12:00:00Z or \
                 2026-01-31T15:00:00+03:00"
                    .into()
            })
        })
    }

    /// To be asked after all parameters were taken.
    ///
    /// # Errors
    /// 422 with all wrong parameters.
    pub fn finish(self) -> Result<(), Problem> {
        if self.wrong.is_empty() {
            Ok(())
        } else {
            Err(Problem::unprocessable(self.wrong))
        }
    }
}

/// Whether all parameters of a query are among those that are known.
///
/// # Errors
/// 422 with those that are not.
pub(super) fn check_names(text: &str, known: &[&str]) -> Result<(), Problem> {
    if std::ptr::eq(known, ANY_QUERY) {
        return Ok(());
    }
    let mut unknown: Vec<String> = Vec::new();
    for (name, _) in form_urlencoded::parse(text.as_bytes()) {
        let name: String = name.chars().take(NAME_CHARS).collect();
        if !known.contains(&&*name) && unknown.len() < NAMED && !unknown.contains(&name) {
            unknown.push(name);
        }
    }
    if unknown.is_empty() {
        return Ok(());
    }
    let taken = match known {
        [] => "no query parameter".to_owned(),
        known => format!("the query parameters {}", known.join(", ")),
    };
    let wrong = unknown.into_iter().map(|name| FieldProblem {
        field: name.into(),
        detail: format!("is unknown: this route takes {taken}").into(),
    });
    Err(Problem::unprocessable(wrong.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_checked_and_empty_is_not_given() {
        let limit = |text: &str| {
            let mut query = Query::read(text);
            let limit = query.limit(50, 1_000);
            query.finish().ok().map(|()| limit)
        };
        assert_eq!(limit(""), Some(50));
        assert_eq!(limit("limit=&limit=3"), Some(50));
        assert_eq!(limit("limit=1000"), Some(1_000));
        for wrong in ["0", "1001", "-1", "x", "1e3", " 1"] {
            assert_eq!(limit(&format!("limit={wrong}")), None, "{wrong}");
        }
    }

    #[test]
    fn a_time_has_any_offset() {
        let time = |text: &str| {
            let mut query = Query::read(text);
            let time = query.time("since");
            query.finish().ok().map(|()| time)
        };
        assert_eq!(time(""), Some(None));
        for same in [
            "1970-01-01T00:00:01Z",
            "1970-01-01T03:00:01%2B03:00",
            // The plus as it is, which a query reads as a blank.
            "1970-01-01T03:00:01+03:00",
            "1969-12-31T18:30:01-05:30",
            "1970-01-01t00:00:01.000z",
        ] {
            assert_eq!(time(&format!("since={same}")), Some(Some(1_000)), "{same}");
        }
        for wrong in ["yesterday", "1970-01-01", "1970-01-01T00:00:01", "1"] {
            assert_eq!(time(&format!("since={wrong}")), None, "{wrong}");
        }
    }

    #[test]
    fn all_wrong_parameters_are_named() {
        let mut query = Query::read("limit=0&sort=x%26y&plain=a+b");
        assert_eq!(query.limit(1, 2), 1);
        let sort = query.get("sort", |text| {
            assert_eq!(text, "x&y");
            Err::<(), _>("must be one of ours".into())
        });
        assert_eq!(sort, None);
        assert_eq!(query.text("plain"), Some("a b"));
        let problem = format!("{:?}", query.finish().unwrap_err());
        assert!(
            problem.contains("limit") && problem.contains("sort"),
            "{problem}"
        );
    }
}
