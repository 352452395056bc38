//! `GET /api/notifications`: what is stored.

use std::time::Duration;

use proto::Rfc3339;
use serde::Serialize;
use service::auth::{Caller, Gate};
use service::db::{Database, is_unavailable, storable_key};
use service::http::{Problem, Query, Request, Response, Router, StatusCode, json};

use crate::store::{self, Filter, StoredNotification};

const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 1_000;

/// What the routes need.
#[derive(Clone)]
pub struct NotificationRoutes {
    pub database: Database,
    /// `REQUEST_TIMEOUT`.
    pub timeout: Duration,
    /// Asks who may see what.
    pub gate: Gate,
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
        Router::new()
            .get("/api/notifications", self, list)
            .taking(&["userId", "limit"])
    }
}

async fn list(routes: NotificationRoutes, request: Request) -> Result<Response, Problem> {
    let caller = routes.gate.caller(&request)?;
    let filter = filter(request.checked_query(), &caller)?;
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

/// The user whose notifications are asked for; none: everybody's.
pub(crate) fn user(query: &mut Query) -> Option<String> {
    query.get("userId", |user| match user.contains('\0') {
        // It is stored with a stand-in, so nobody has such an id.
        true => Err("must not contain a null character".into()),
        false => Ok(user.to_owned()),
    })
}

fn filter(mut query: Query, caller: &Caller) -> Result<Filter, Problem> {
    let limit = query.limit(DEFAULT_LIMIT, MAX_LIMIT);
    let named = user(&mut query);
    query.finish()?;
    let user_id = caller.acting_for(named.as_deref())?;
    let user_id = user_id.map(|user| storable_key(user.into()));
    Ok(Filter { user_id, limit })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_checked_and_empty_is_not_given() {
        let read = |text| filter(Query::read(text), &Caller::Anyone);
        let filter = |user_id: Option<&str>, limit| Filter {
            user_id: user_id.map(str::to_owned),
            limit,
        };
        assert_eq!(read("").unwrap(), filter(None, 50));
        assert_eq!(read("userId=&limit=").unwrap(), filter(None, 50));
        assert_eq!(
            read("userId=u&limit=1000").unwrap(),
            filter(Some("u"), 1000)
        );
        for wrong in ["limit=0", "limit=1001", "userId=a%00"] {
            let status = read(wrong).unwrap_err().status();
            assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{wrong}");
        }
    }
}
