use service::metrics::{Counter, Metrics};

use crate::rules::Verdict;

/// `orders_total` by outcome.
#[derive(Debug, Clone)]
pub struct OrderMetrics {
    pub confirmed: Counter,
    pub rejected: Counter,
    /// The same order again, with nothing left to do.
    pub duplicate: Counter,
    /// An order id that another order has.
    pub conflict: Counter,
    /// No order.
    pub invalid: Counter,
}

impl OrderMetrics {
    pub fn new(metrics: &Metrics) -> Self {
        let [confirmed, rejected, duplicate, conflict, invalid] = metrics.counters(
            "orders",
            "Orders by what became of them, repeats included",
            "outcome",
            ["confirmed", "rejected", "duplicate", "conflict", "invalid"],
        );
        Self {
            confirmed,
            rejected,
            duplicate,
            conflict,
            invalid,
        }
    }

    pub fn processed(&self, verdict: &Verdict) {
        match verdict {
            Verdict::Confirmed => self.confirmed.inc(),
            Verdict::Rejected(_) => self.rejected.inc(),
        };
    }
}
