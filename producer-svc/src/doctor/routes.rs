use std::sync::Arc;
use std::time::Duration;

use service::http::{Problem, Request, Response, Router, StatusCode, json};
use tokio::sync::Semaphore;

use super::gather::Doctor;

const PATH: &str = "/api/admin/diagnostics/cart/{userId}";

/// Examinations at a time: each asks Kafka a dozen questions.
const AT_A_TIME: usize = 4;

/// `GET /api/admin/diagnostics/cart/{userId}`.
pub(crate) fn routes(doctor: Doctor) -> Router {
    let places = Arc::new(Semaphore::new(AT_A_TIME));
    Router::new().get(PATH, (doctor, places), examine)
}

/// The same path on an instance that keeps no users.
pub(crate) fn routes_without_users() -> Router {
    Router::new().get(PATH, (), async |(), _: Request| {
        Err(Problem::not_found(
            "this instance keeps no users (USERS=false); ask one that does",
        ))
    })
}

async fn examine(
    (doctor, places): (Doctor, Arc<Semaphore>),
    request: Request,
) -> Result<Response, Problem> {
    let id = request.id("userId")?;
    let Ok(_place) = places.try_acquire() else {
        return Err(Problem::unavailable(
            "others are being examined; ask again",
            Duration::from_secs(2),
        ));
    };
    Ok(json(StatusCode::OK, &doctor.examine(id).await))
}
