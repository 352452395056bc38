//! What operators see and do: the page `/admin` and the API below `/api/admin`, behind HTTP Basic.
//!
//! - [`guard`]: who is let in, from where, and what may change something
//! - [`page`]: the page itself, files in the binary
//! - [`topics`], [`groups`]: the cluster; [`cluster`] asks Kafka for both
//! - [`messages`]: a look at what lies in a topic; [`shown`] is how bytes are shown
//! - [`dead_letters`]: list, show, replay
//! - [`services`]: how each service of the shop is
//! - [`live`]: what changes, as server-sent events
//!
//! Routes of other modules that are an operator's are put behind the same guard: see [`Guard`].

mod cluster;
mod dead_letters;
mod groups;
mod guard;
mod kafka_problem;
mod live;
mod messages;
mod page;
mod services;
mod shown;
mod topics;

use kafka::{Client, ConfigError};
use service::http::Router;

pub(crate) use guard::{DEFAULT_PASSWORD, Guard};
pub(crate) use live::Live;

use crate::Config;

/// All of it, not guarded yet. What is live is so while [`Live::run`] runs.
pub(crate) fn routes(config: &Config, client: &Client, live: &Live) -> Result<Router, ConfigError> {
    let timeout = config.common.http.request_timeout;
    let admin = client.admin().with_timeout(timeout);
    let letters = dead_letters::routes(client, &config.common.kafka, timeout)?;
    Ok(topics::routes(admin.clone())
        .merge(groups::routes(admin.clone()))
        .merge(messages::routes(client, admin, timeout))
        .merge(letters)
        .merge(live::routes(live))
        .merge(page::routes()))
}
