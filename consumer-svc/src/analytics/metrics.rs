use service::metrics::{Counter, Gauge, Metrics};

/// What becomes of book events, and of what they come to.
#[derive(Debug, Clone)]
pub(crate) struct AnalyticsMetrics {
    /// Stored in the statistics.
    pub(super) counted: Counter,
    /// Known already.
    pub(super) repeated: Counter,
    /// No book event.
    pub(super) invalid: Counter,
    /// Not stored yet.
    pub(super) waiting: Gauge,
    /// Acknowledged by Kafka.
    pub(super) published: Counter,
    /// Partitions that another instance had claimed.
    pub(super) fenced: Counter,
}

impl AnalyticsMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let [counted, repeated, invalid] = metrics.counters(
            "analytics_events",
            "Book events by what became of them",
            "outcome",
            ["counted", "repeated", "invalid"],
        );
        let new = Self {
            counted,
            repeated,
            invalid,
            waiting: Gauge::default(),
            published: Counter::default(),
            fenced: Counter::default(),
        };
        metrics.register(
            "analytics_waiting_events",
            "Book events in memory that are not stored yet",
            new.waiting.clone(),
        );
        metrics.register(
            "analytics_published",
            "Aggregates that Kafka has acknowledged",
            new.published.clone(),
        );
        metrics.register(
            "analytics_fenced",
            "Partitions whose figures were dropped because another instance had claimed them",
            new.fenced.clone(),
        );
        new
    }
}
