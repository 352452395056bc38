use service::http::StatusCode;
use service::metrics::{Counter, Metrics};

/// What became of a request to take an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Accepted,
    /// The client's doing: unreadable, wrong, too large, too slow.
    Refused,
    /// Kafka away, too slow, or the send buffer full.
    Unavailable,
}

impl Outcome {
    pub(super) fn of(status: StatusCode) -> Self {
        if status.is_server_error() {
            Self::Unavailable
        } else {
            Self::Refused
        }
    }
}

/// `orders_total{outcome}`, without a lookup an order.
#[derive(Clone, Debug)]
pub(super) struct Counters([Counter; 3]);

impl Counters {
    pub(super) fn new(metrics: &Metrics) -> Self {
        Self(metrics.counters(
            "orders",
            "Orders asked for over HTTP, by outcome",
            "outcome",
            ["accepted", "refused", "unavailable"],
        ))
    }

    pub(super) fn count(&self, outcome: Outcome) {
        self.0[outcome as usize].inc();
    }
}
