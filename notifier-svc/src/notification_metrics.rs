use service::metrics::{Counter, Metrics};

/// `notifications_total` by outcome.
#[derive(Debug, Clone)]
pub struct NotificationMetrics {
    /// An order's first result.
    pub stored: Counter,
    /// The same result again.
    pub repeated: Counter,
    /// Another result than the first; it is not kept.
    pub contradicted: Counter,
    /// No notification.
    pub invalid: Counter,
}

impl NotificationMetrics {
    pub fn new(metrics: &Metrics) -> Self {
        let [stored, repeated, contradicted, invalid] = metrics.counters(
            "notifications",
            "Notifications by what became of them, repeats included",
            "outcome",
            ["stored", "repeated", "contradicted", "invalid"],
        );
        Self {
            stored,
            repeated,
            contradicted,
            invalid,
        }
    }
}
