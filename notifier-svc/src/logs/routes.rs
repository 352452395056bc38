//! `GET /api/logs`: what was collected, newest first.

use std::time::Duration;

use serde_json::{Value, json};
use service::auth::Gate;
use service::db::{Database, is_unavailable, storable_key};
use service::http::{Problem, Query, Request, Response, Router, StatusCode, json as answer};

use super::record::Level;
use super::store::{self, Cursor, LogFilter};

const DEFAULT_LIMIT: u32 = 100;
const MAX_LIMIT: u32 = 1_000;

/// What the route needs.
#[derive(Clone)]
pub struct LogRoutes {
    pub database: Database,
    /// `REQUEST_TIMEOUT`.
    pub timeout: Duration,
    /// Asks who may see what.
    pub gate: Gate,
}

impl LogRoutes {
    pub fn router(self) -> Router {
        Router::new()
            .get("/api/logs", self, list)
            .taking(&["service", "level", "since", "before", "limit"])
    }
}

async fn list(routes: LogRoutes, request: Request) -> Result<Response, Problem> {
    // They tell of all users; where users have to say who they are, they are for the shop's own services alone.
    if routes.gate.caller(&request)?.user().is_some() {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "log records are shown to who brings AUTH_SERVICE_TOKEN",
        ));
    }
    let filter = filter(request.checked_query())?;
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

fn filter(mut query: Query) -> Result<LogFilter, Problem> {
    let limit = query.limit(DEFAULT_LIMIT, MAX_LIMIT);
    let since = query.time("since");
    let level = query.get("level", |text| {
        Level::parse(text).ok_or_else(|| "must be trace, debug, info, warn or error".into())
    });
    let before = query.get("before", |text| {
        Cursor::parse(text).ok_or_else(|| "must be what an answer said as next".into())
    });
    // As it is stored.
    let service = query.text("service").map(|text| storable_key(text.into()));
    query.finish()?;
    Ok(LogFilter {
        service,
        level: level.unwrap_or(Level::Trace),
        since: since.unwrap_or(i64::MIN),
        before: before.unwrap_or(Cursor::NEWEST),
        limit,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &[(&str, &str)]) -> Result<LogFilter, Problem> {
        let text: Vec<String> = query
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        filter(Query::read(&text.join("&")))
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
