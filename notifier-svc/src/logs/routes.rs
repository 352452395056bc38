//! `GET /api/logs`: what was collected, newest first.

use std::time::Duration;

use chrono::DateTime;
use serde_json::{Value, json};
use service::db::{Database, is_unavailable, storable_key};
use service::http::{FieldProblem, Problem, Request, Response, Router, StatusCode, json as answer};

use super::record::Level;
use super::store::{self, Cursor, LogFilter};

const DEFAULT_LIMIT: u32 = 100;
const MAX_LIMIT: u32 = 1_000;

/// What the route needs.
#[derive(Debug, Clone)]
pub struct LogRoutes {
    pub database: Database,
    /// `REQUEST_TIMEOUT`.
    pub timeout: Duration,
}

impl LogRoutes {
    pub fn router(self) -> Router {
        Router::new().get("/api/logs", self, list)
    }
}

async fn list(routes: LogRoutes, request: Request) -> Result<Response, Problem> {
    let filter = filter(|name| request.query(name))?;
    let listed = tokio::time::timeout(routes.timeout, store::list(&routes.database, &filter)).await;
    match listed {
        Ok(Ok(rows)) => {
            // A full page may have one behind it.
            let full = rows.len() == filter.limit as usize;
            let next = rows
                .last()
                .filter(|_| full)
                .map(|row| row.cursor().to_string());
            let logs: Vec<Value> = rows.iter().map(store::StoredLog::shown).collect();
            Ok(answer(
                StatusCode::OK,
                &json!({ "logs": logs, "next": next }),
            ))
        }
        // Before the first migration the table is missing: that is the database away, too.
        Ok(Err(error)) if is_unavailable(&error) || !routes.database.is_ready() => Err(away()),
        Ok(Err(error)) => {
            tracing::error!("log records cannot be listed: {error}");
            Err(Problem::internal())
        }
        Err(_) => Err(away()),
    }
}

fn away() -> Problem {
    Problem::unavailable(
        "the database does not answer; log records are listed when it is back",
        Duration::from_secs(1),
    )
}

/// An empty parameter is one that is not given.
fn filter(query: impl Fn(&str) -> Option<String>) -> Result<LogFilter, Problem> {
    let mut problems = Vec::new();
    let mut read = |name: &'static str, expected: &str, parse: &dyn Fn(&str) -> Option<i64>| {
        let text = query(name).filter(|text| !text.is_empty())?;
        let value = parse(&text);
        if value.is_none() {
            problems.push(FieldProblem {
                field: name.into(),
                detail: expected.to_owned().into(),
            });
        }
        value
    };
    let limit = read(
        "limit",
        &format!("must be a number from 1 to {MAX_LIMIT}"),
        &|text| {
            text.parse()
                .ok()
                .filter(|limit| (1..=i64::from(MAX_LIMIT)).contains(limit))
        },
    );
    let since = read(
        "since",
        "must be a time as in RFC 3339, such as 2026-01-31T12:00:00Z",
        // The plus of an offset is a blank in a query that is not encoded.
        &|text| {
            let time = DateTime::parse_from_rfc3339(&text.replace(' ', "+")).ok()?;
            Some(time.timestamp_millis())
        },
    );
    let level = query("level").filter(|text| !text.is_empty());
    let level = match level.as_deref().map(Level::parse) {
        None => Level::Trace,
        Some(Some(level)) => level,
        Some(None) => {
            problems.push(FieldProblem {
                field: "level".into(),
                detail: "must be trace, debug, info, warn or error".into(),
            });
            Level::Trace
        }
    };
    let before = query("before").filter(|text| !text.is_empty());
    let before = match before.as_deref().map(Cursor::parse) {
        None => Cursor::NEWEST,
        Some(Some(cursor)) => cursor,
        Some(None) => {
            problems.push(FieldProblem {
                field: "before".into(),
                detail: "must be what an answer said as next".into(),
            });
            Cursor::NEWEST
        }
    };
    if !problems.is_empty() {
        return Err(Problem::unprocessable(problems));
    }
    Ok(LogFilter {
        // As it is stored.
        service: query("service")
            .filter(|text| !text.is_empty())
            .map(|text| storable_key(text.into())),
        level,
        since: since.unwrap_or(i64::MIN),
        before,
        limit: limit.map_or(DEFAULT_LIMIT, |limit| limit as u32),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &[(&str, &str)]) -> Result<LogFilter, Problem> {
        filter(|name| {
            let found = query.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn parameters_are_read_and_mistakes_told() {
        let everything = LogFilter {
            service: None,
            level: Level::Trace,
            since: i64::MIN,
            before: Cursor::NEWEST,
            limit: 100,
        };
        assert_eq!(read(&[]).unwrap(), everything);
        let empty = ["service", "level", "since", "before", "limit"].map(|name| (name, ""));
        assert_eq!(read(&empty).unwrap(), everything);
        let some = read(&[
            ("service", "consumer-svc"),
            ("level", "WARN"),
            ("since", "1970-01-01T01:00:01 01:00"),
            ("before", "5.1.-7"),
            ("limit", "1000"),
        ])
        .unwrap();
        assert_eq!(some.service.as_deref(), Some("consumer-svc"));
        assert_eq!(
            (some.level, some.since, some.limit),
            (Level::Warn, 1_000, 1_000)
        );
        assert_eq!(some.before.to_string(), "5.1.-7");
        for wrong in [
            ("limit", "0"),
            ("limit", "1001"),
            ("level", "loud"),
            ("since", "yesterday"),
            ("before", "1.2"),
            ("before", "1.2.3.4"),
        ] {
            let problem = read(&[wrong]).unwrap_err();
            assert_eq!(
                problem.status(),
                StatusCode::UNPROCESSABLE_ENTITY,
                "{wrong:?}"
            );
        }
    }
}
