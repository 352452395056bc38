use std::borrow::Cow;

use super::problem::{FieldProblem, Problem};

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

    /// `limit`, from 1 to `most`; `default` where it is not given.
    pub fn limit(&mut self, default: u32, most: u32) -> u32 {
        let limit = self.get("limit", |text| match text.parse() {
            Ok(limit) if (1..=most).contains(&limit) => Ok(limit),
            _ => Err(format!("must be a number from 1 to {most}").into()),
        });
        limit.unwrap_or(default)
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
