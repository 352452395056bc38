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
    /// A step of another system on the way to a result (`PROCESSING`); it is shown and not stored.
    pub step: Counter,
    /// No notification.
    pub invalid: Counter,
}

impl NotificationMetrics {
    pub fn new(metrics: &Metrics) -> Self {
        let [stored, repeated, contradicted, step, invalid] = metrics.counters(
            "notifications",
            "Notifications by what became of them, repeats included",
            "outcome",
            ["stored", "repeated", "contradicted", "step", "invalid"],
        );
        Self {
            stored,
            repeated,
            contradicted,
            step,
            invalid,
        }
    }
}
