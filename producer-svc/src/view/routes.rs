use std::time::Duration;

use proto::order_id;
use service::db::database_problem;
use service::http::{Problem, Request, Response, Router, StatusCode, json};
use tokio::time::{Instant, sleep};

use super::order_state::OrderState;
use super::store::ViewStore;

/// How long `GET` waits for an order that has just been accepted to reach the view.
const PATIENCE: Duration = Duration::from_millis(750);

/// How often it looks meanwhile when another instance is the one that writes.
const LOOK: Duration = Duration::from_millis(100);

/// `GET /api/orders/{orderId}` from the view.
pub(crate) fn routes(store: &ViewStore) -> Router {
    Router::new().get("/api/orders/{orderId}", store.clone(), get)
}

/// The same path on an instance that takes orders only.
pub(crate) fn routes_without_view() -> Router {
    let refuse = async |(), _: Request| {
        Err(Problem::not_found(
            "this instance takes orders only (ORDER_VIEW=false); ask one that keeps the order view",
        ))
    };
    Router::new()
        .get("/api/orders/{orderId}", (), refuse)
        .get("/api/orders/events", (), refuse)
        .get("/api/orders/{orderId}/events", (), refuse)
}

async fn get(store: ViewStore, request: Request) -> Result<Response, Problem> {
    let id = request.parameter("orderId");
    if let Err(wrong) = order_id::check(id) {
        return Err(Problem::not_found(format!(
            "no order has such an id: it {wrong}"
        )));
    }
    let deadline = Instant::now() + PATIENCE;
    let mut commits = store.commits();
    loop {
        commits.mark_unchanged();
        let events = store.events_of(id).await.map_err(|error| {
            let away = "the order view's database does not answer";
            database_problem(store.database(), &error, away)
        })?;
        if let Some(state) = OrderState::of(events) {
            return Ok(json(StatusCode::OK, &state));
        }
        if Instant::now() >= deadline {
            if !store.database().is_ready() {
                return Err(away(
                    "the order view is behind, since its database takes nothing; an order with \
                     this id may be on its way",
                ));
            }
            return Err(Problem::not_found(
                "not seen yet: no order with this id has reached the view",
            ));
        }
        tokio::select! {
            _ = commits.changed() => {}
            () = sleep(LOOK) => {}
        }
    }
}

fn away(detail: &'static str) -> Problem {
    Problem::unavailable(detail, Duration::from_secs(1))
}
