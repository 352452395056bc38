//! The registry behind `/metrics`, in OpenMetrics text, which Prometheus reads.
//!
//! Names are those of the semantic conventions. A counter is registered without `_total`, which
//! the text format appends.

use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
pub use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
pub use prometheus_client::metrics::gauge::Gauge;
pub use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

/// The metrics of one service. Clones share the registry.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
}

impl Metrics {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a metric. `help` is a sentence without its full stop.
    pub fn register(&self, name: &str, help: &str, metric: impl Metric) {
        self.registry.lock().register(name, help, metric);
    }

    /// One counter for each of `values` of the label, so that counting costs no lookup. All of
    /// them show from the start, at 0.
    pub fn counters<const N: usize>(
        &self,
        name: &str,
        help: &str,
        label: &'static str,
        values: [&'static str; N],
    ) -> [Counter; N] {
        let family: Family<[(&'static str, &'static str); 1], Counter> = Family::default();
        let counters = values.map(|value| family.get_or_create(&[(label, value)]).clone());
        self.register(name, help, family);
        counters
    }

    /// Adds something that is asked at every scrape.
    pub fn register_collector(&self, collector: impl Collector) {
        self.registry.lock().register_collector(Box::new(collector));
    }

    /// Everything as text.
    pub fn render(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry.lock())
            .expect("writing to a String cannot fail");
        text
    }
}
