use service::metrics::{Counter, Metrics};

/// `carts_total` by what became of a `UserCreated`.
#[derive(Debug, Clone)]
pub(crate) struct CartMetrics {
    pub(crate) created: Counter,
    /// The user has a cart already.
    pub(crate) repeated: Counter,
    /// No event of a user.
    pub(crate) invalid: Counter,
}

impl CartMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let [created, repeated, invalid] = metrics.counters(
            "carts",
            "Events of users by what became of the cart",
            "outcome",
            ["created", "repeated", "invalid"],
        );
        Self {
            created,
            repeated,
            invalid,
        }
    }
}
