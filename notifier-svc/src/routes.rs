//! `GET /api/notifications`: what is stored.

use std::time::Duration;

use proto::Rfc3339;
use serde::Serialize;
use service::db::{Database, is_unavailable, storable_key};
use service::http::{FieldProblem, Problem, Request, Response, Router, StatusCode, json};

use crate::store::{self, Filter, StoredNotification};

const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 1_000;

/// What the routes need.
#[derive(Debug, Clone)]
pub struct NotificationRoutes {
    pub database: Database,
    /// `REQUEST_TIMEOUT`.
    pub timeout: Duration,
}

/// A stored notification as the API shows it: the contract's fields, then when and where.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    order_id: &'a str,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    received_at: String,
    topic: &'a str,
    partition: i32,
    offset: i64,
}

impl<'a> From<&'a StoredNotification> for Shown<'a> {
    fn from(row: &'a StoredNotification) -> Self {
        Self {
            order_id: &row.order_id,
            status: row.status.as_str(),
            user_id: row.user_id.as_deref(),
            reason: row.reason.as_deref(),
            received_at: Rfc3339::from_millis(row.received_at).to_string(),
            topic: &row.topic,
            partition: row.partition,
            offset: row.offset,
        }
    }
}

impl NotificationRoutes {
    pub fn router(self) -> Router {
        Router::new().get("/api/notifications", self, list)
    }
}

async fn list(routes: NotificationRoutes, request: Request) -> Result<Response, Problem> {
    let filter = filter(request.query("userId"), request.query("limit"))?;
    let listed = tokio::time::timeout(routes.timeout, store::list(&routes.database, &filter)).await;
    match listed {
        Ok(Ok(rows)) => {
            let shown: Vec<Shown<'_>> = rows.iter().map(Shown::from).collect();
            Ok(json(StatusCode::OK, &shown))
        }
        // Before the first migration the table is missing: that is the database away, too.
        Ok(Err(error)) if is_unavailable(&error) || !routes.database.is_ready() => Err(away()),
        Ok(Err(error)) => {
            tracing::error!("notifications cannot be listed: {error}");
            Err(Problem::internal())
        }
        Err(_) => Err(away()),
    }
}

fn away() -> Problem {
    Problem::unavailable(
        "the database does not answer; notifications are listed when it is back",
        Duration::from_secs(1),
    )
}

/// An empty parameter is one that is not given.
fn filter(user_id: Option<String>, limit: Option<String>) -> Result<Filter, Problem> {
    let limit = match limit.filter(|text| !text.is_empty()) {
        None => DEFAULT_LIMIT,
        Some(text) => match text.parse() {
            Ok(limit) if (1..=MAX_LIMIT).contains(&limit) => limit,
            _ => {
                return Err(Problem::unprocessable(vec![FieldProblem {
                    field: "limit".into(),
                    detail: format!("must be a number from 1 to {MAX_LIMIT}").into(),
                }]));
            }
        },
    };
    let user_id = user_id.filter(|text| !text.is_empty());
    if user_id.as_ref().is_some_and(|user| user.contains('\0')) {
        // It is stored with a stand-in, so nobody has such an id.
        return Err(Problem::unprocessable(vec![FieldProblem {
            field: "userId".into(),
            detail: "must not contain a null character".into(),
        }]));
    }
    let user_id = user_id.map(|user| storable_key(user.into()));
    Ok(Filter { user_id, limit })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_checked_and_empty_is_not_given() {
        let read = |user: Option<&str>, limit: Option<&str>| {
            filter(user.map(Into::into), limit.map(Into::into))
        };
        assert_eq!(
            read(None, None).unwrap(),
            Filter {
                user_id: None,
                limit: 50
            }
        );
        assert_eq!(
            read(Some(""), Some("")).unwrap(),
            Filter {
                user_id: None,
                limit: 50
            }
        );
        assert_eq!(
            read(Some("u"), Some("1000")).unwrap(),
            Filter {
                user_id: Some("u".into()),
                limit: 1000
            }
        );
        for wrong in ["0", "1001", "-1", "x", "1e3"] {
            let problem = read(None, Some(wrong)).unwrap_err();
            assert_eq!(
                problem.status(),
                StatusCode::UNPROCESSABLE_ENTITY,
                "{wrong}"
            );
        }
        assert!(read(Some("a\0"), None).is_err());
    }
}
