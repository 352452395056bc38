use std::time::Duration;

use proto::order_id;
use service::auth::Caller;
use service::db::database_problem;
use service::http::{
    ANY_QUERY, FieldProblem, Problem, Request, Response, Router, StatusCode, json,
};
use tokio::time::{Instant, sleep};

use super::accepted::Accepted;
use super::order_state::{self, OrderEvents, OrderState};
use super::store::ViewStore;
use crate::callers::Callers;
use crate::view_lag::ViewLag;

/// How long `GET` waits for an order that has just been accepted to reach the view.
const PATIENCE: Duration = Duration::from_millis(750);

/// How often it looks meanwhile when another instance is the one that writes.
const LOOK: Duration = Duration::from_millis(100);

const ONE: &str = "/api/orders/{orderId}";
/// The same by `?orderId=`, for ids of other systems that no path can carry.
const BY_QUERY: &str = "/api/orders";

/// Orders as they are shown: what the view has of them, and until then what this instance has accepted. Clones share
/// it.
#[derive(Clone)]
pub(crate) struct Orders {
    pub(crate) store: ViewStore,
    pub(crate) accepted: Accepted,
    pub(crate) lag: ViewLag,
}

/// `GET /api/orders/{orderId}`.
pub(crate) fn routes(orders: &Orders, callers: &Callers) -> Router {
    let state = (orders.clone(), callers.clone());
    Router::new()
        .get(ONE, state.clone(), get)
        .get(BY_QUERY, state, get)
        .taking(&["orderId"])
}

/// The order that a request names in its path, or else by `?orderId=`.
///
/// # Errors
/// 422: in neither.
pub(crate) fn asked_id(request: &Request) -> Result<String, Problem> {
    let id = match request.parameter("orderId") {
        "" => request.query("orderId").unwrap_or_default(),
        id => id.to_owned(),
    };
    if id.is_empty() {
        let missing = "is missing: the id of the order that is asked for";
        return Err(Problem::unprocessable(vec![FieldProblem::new(
            "orderId", missing,
        )]));
    }
    Ok(id)
}

/// The same path on an instance that takes orders only.
pub(crate) fn routes_without_view() -> Router {
    let refuse = async |(), _: Request| {
        Err(Problem::not_found(
            "this instance takes orders only (ORDER_VIEW=false); ask one that keeps the order view",
        ))
    };
    Router::new()
        .get(ONE, (), refuse)
        .get(BY_QUERY, (), refuse)
        .taking(ANY_QUERY)
        .get("/api/orders/events", (), refuse)
        .taking(ANY_QUERY)
        .get("/api/orders/{orderId}/events", (), refuse)
}

async fn get((orders, callers): (Orders, Callers), request: Request) -> Result<Response, Problem> {
    let caller = callers.of(&request)?;
    let id = asked_id(&request)?;
    if let Err(wrong) = order_id::check(&id) {
        return Err(Problem::not_found(format!(
            "no order has such an id: it {wrong}"
        )));
    }
    let events = orders.shown_to(&caller, &id).await?;
    let state = OrderState::of(events).ok_or_else(not_seen)?;
    Ok(json(StatusCode::OK, &state))
}

impl Orders {
    /// An order's events, for whoever may see them. An order that has just been accepted is waited for
    /// a moment, unless the view is known to be behind; one that this instance has accepted is then read
    /// from the log.
    ///
    /// # Errors
    /// 403 for another user's; 404 for one that has not been seen, which for a user is one whose order
    /// itself has not been: a status alone does not say whose it is; 503 without the database.
    pub(crate) async fn shown_to(&self, caller: &Caller, id: &str) -> Result<OrderEvents, Problem> {
        let deadline = Instant::now() + PATIENCE;
        let mut commits = self.store.commits();
        loop {
            commits.mark_unchanged();
            // Before the database is asked: as of then it has all, and what the view had passed by then and does
            // not have, it has lost to retention.
            let lag = self.lag.seen();
            let accepted = self.accepted.find(id);
            let accepted = accepted.filter(|at| !self.lag.has_passed(&at.partition, at.offset));
            let mut events = self.store.events_of(id).await.map_err(|error| {
                let away = "the order view's database does not answer";
                database_problem(self.store.database(), &error, away)
            })?;
            if caller.user().is_none() && !events.events.is_empty() {
                return Ok(events);
            }
            if let Some(order) = order_state::content(&events.events) {
                caller.may_touch(order.user_id.as_deref())?;
                return Ok(events);
            }
            let is_late = Instant::now() >= deadline;
            if let Some(at) = accepted.filter(|_| is_late || self.lag.is_behind(PATIENCE)) {
                let read = self.accepted.read(id, &at).await.map_err(|error| {
                    tracing::debug!("{} offset {}: {error}", at.partition, at.offset);
                    away(
                        "the order is accepted, but has not reached the order view, and Kafka, where it lies, does \
                         not answer",
                    )
                })?;
                if let Some(order) = read {
                    let user = order.content.as_ref().and_then(|of| of.user_id.as_deref());
                    caller.may_touch(user)?;
                    events.events.push(order);
                    events.total += 1;
                    return Ok(events);
                }
            }
            if is_late {
                if !self.store.database().is_ready() {
                    return Err(away(
                        "the order view is behind, since its database takes nothing; an order with \
                         this id may be on its way",
                    ));
                }
                return Err(lag.shown_in(not_seen()));
            }
            tokio::select! {
                _ = commits.changed() => {}
                () = sleep(LOOK) => {}
            }
        }
    }
}

fn not_seen() -> Problem {
    Problem::not_found("not seen yet: no order with this id has reached the view")
}

fn away(detail: &'static str) -> Problem {
    Problem::unavailable(detail, Duration::from_secs(1))
}
