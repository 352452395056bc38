use std::time::Duration;

use proto::order_id;
use service::auth::Caller;
use service::db::database_problem;
use service::http::{
    ANY_QUERY, FieldProblem, Problem, Request, Response, Router, StatusCode, json,
};
use tokio::time::{Instant, sleep};

use super::order_state::{self, OrderEvents, OrderState};
use super::store::ViewStore;
use crate::callers::Callers;

/// How long `GET` waits for an order that has just been accepted to reach the view.
const PATIENCE: Duration = Duration::from_millis(750);

/// How often it looks meanwhile when another instance is the one that writes.
const LOOK: Duration = Duration::from_millis(100);

const ONE: &str = "/api/orders/{orderId}";
/// The same by `?orderId=`, for ids of other systems that no path can carry.
const BY_QUERY: &str = "/api/orders";

/// `GET /api/orders/{orderId}` from the view.
pub(crate) fn routes(store: &ViewStore, callers: &Callers) -> Router {
    let state = (store.clone(), callers.clone());
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

async fn get(
    (store, callers): (ViewStore, Callers),
    request: Request,
) -> Result<Response, Problem> {
    let caller = callers.of(&request)?;
    let id = asked_id(&request)?;
    if let Err(wrong) = order_id::check(&id) {
        return Err(Problem::not_found(format!(
            "no order has such an id: it {wrong}"
        )));
    }
    let events = store.shown_to(&caller, &id).await?;
    let state = OrderState::of(events).ok_or_else(not_seen)?;
    Ok(json(StatusCode::OK, &state))
}

impl ViewStore {
    /// An order's events, for whoever may see them. An order that has just been accepted is waited for
    /// a moment.
    ///
    /// # Errors
    /// 403 for another user's; 404 for one that has not been seen, which for a user is one whose order
    /// itself has not been: a status alone does not say whose it is; 503 without the database.
    pub(crate) async fn shown_to(&self, caller: &Caller, id: &str) -> Result<OrderEvents, Problem> {
        let deadline = Instant::now() + PATIENCE;
        let mut commits = self.commits();
        loop {
            commits.mark_unchanged();
            let events = self.events_of(id).await.map_err(|error| {
                let away = "the order view's database does not answer";
                database_problem(self.database(), &error, away)
            })?;
            if caller.user().is_none() && !events.events.is_empty() {
                return Ok(events);
            }
            if let Some(order) = order_state::content(&events.events) {
                caller.may_touch(order.user_id.as_deref())?;
                return Ok(events);
            }
            if Instant::now() >= deadline {
                if !self.database().is_ready() {
                    return Err(away(
                        "the order view is behind, since its database takes nothing; an order with \
                         this id may be on its way",
                    ));
                }
                return Err(not_seen());
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
