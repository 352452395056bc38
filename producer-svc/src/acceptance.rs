//! What taking an order and taking a book event have in common: a receipt only after the broker's
//! acknowledgement, and else a refusal that can be tried again.

use std::time::Duration;

use kafka::ProduceError;
use service::http::{Problem, Response, StatusCode};
use service::metrics::{Counter, Metrics};

/// How long a client should wait before it sends again what was refused.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What a client is told whose `what` (order, event) Kafka did not confirm; its id, with which it is
/// the same one when it is sent again, is the document's `member`.
pub(crate) fn not_accepted(
    error: &ProduceError,
    what: &'static str,
    member: &str,
    id: &str,
) -> Problem {
    tracing::debug!("{what} not accepted: {error}");
    let problem = match error {
        ProduceError::RecordTooLarge { .. } | ProduceError::TooLargeForTopic { .. } => {
            Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the {what} is larger than Kafka takes"),
            )
        }
        ProduceError::BufferFull { .. } => Problem::unavailable(
            format!("too many {what}s wait for Kafka; send the {what} again with the same id"),
            RETRY_AFTER,
        ),
        _ => Problem::unavailable(
            format!("Kafka did not confirm the {what} in time; send it again with the same id"),
            RETRY_AFTER,
        ),
    };
    problem.with(member, id)
}

/// Counts what became of requests, by `outcome`, without a lookup a request.
#[derive(Clone, Debug)]
pub(crate) struct Outcomes {
    accepted: Counter,
    /// The client's doing: unreadable, wrong, too large, too slow.
    refused: Counter,
    /// Kafka away, too slow, or the send buffer full.
    unavailable: Counter,
}

impl Outcomes {
    /// Registers `<name>_total{outcome}`.
    pub(crate) fn new(metrics: &Metrics, name: &str, help: &str) -> Self {
        let values = ["accepted", "refused", "unavailable"];
        let [accepted, refused, unavailable] = metrics.counters(name, help, "outcome", values);
        Self {
            accepted,
            refused,
            unavailable,
        }
    }

    pub(crate) fn count(&self, result: &Result<Response, Problem>) {
        match result {
            Ok(_) => &self.accepted,
            Err(problem) if problem.status().is_server_error() => &self.unavailable,
            Err(_) => &self.refused,
        }
        .inc();
    }
}
