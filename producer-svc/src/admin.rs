//! What operators see and do: the page `/admin` and the API below `/api/admin`, behind HTTP Basic.
//!
//! - [`guard`]: who is let in, from where, and what may change something
//! - [`topics`]: topics and their partitions
//!
//! Routes of other modules that are an operator's are put behind the same guard: see [`Guard`].

mod guard;
mod kafka_problem;
mod topics;

use kafka::Client;
use service::http::Router;

pub(crate) use guard::{DEFAULT_PASSWORD, Guard};

use crate::Config;

/// All of it, not guarded yet.
pub(crate) fn routes(config: &Config, client: &Client) -> Router {
    let admin = client
        .admin()
        .with_timeout(config.common.http.request_timeout);
    topics::routes(admin)
}
