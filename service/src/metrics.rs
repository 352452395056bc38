//! The registry behind `/metrics`, as Prometheus text or as OpenMetrics.
//!
//! Names are those of the semantic conventions. A counter is registered without `_total`, which
//! the text format appends.

use std::sync::Arc;

use parking_lot::Mutex;
pub use prometheus_client::collector::Collector;
pub use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
pub use prometheus_client::metrics::MetricType;
pub use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
pub use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
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

    /// Everything as Prometheus text, version 0.0.4.
    pub fn render(&self) -> String {
        prometheus_text(&self.render_openmetrics())
    }

    /// Everything as OpenMetrics text, version 1.0.0.
    pub fn render_openmetrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry.lock())
            .expect("writing to a String cannot fail");
        text
    }
}

/// Samples look alike in both formats. What differs is said of them: here a counter is described by
/// its samples' name, with `_total`, and there are no units and no mark of the end.
fn prometheus_text(openmetrics: &str) -> String {
    let mut text = String::with_capacity(openmetrics.len());
    // A description comes before the type, which decides the name.
    let mut help = None;
    for line in openmetrics.lines() {
        if let Some(described) = line.strip_prefix("# HELP ") {
            help = described.split_once(' ');
        } else if let Some((name, kind)) = line
            .strip_prefix("# TYPE ")
            .and_then(|typed| typed.split_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                kind => ("", kind),
            };
            if let Some((_, help)) = help.take().filter(|(of, _)| *of == name) {
                text.push_str(&format!("# HELP {name}{suffix} {help}\n"));
            }
            text.push_str(&format!("# TYPE {name}{suffix} {kind}\n"));
        } else if !line.starts_with('#') {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prometheus_text_describes_counters_by_their_samples() {
        let metrics = Metrics::new();
        let counter = Counter::<u64>::default();
        counter.inc_by(3);
        metrics.register("orders", "Orders", counter);
        metrics.register("waiting", "Who waits", Gauge::<i64>::default());
        assert_eq!(
            metrics.render(),
            "# HELP orders_total Orders.\n# TYPE orders_total counter\norders_total 3\n\
             # HELP waiting Who waits.\n# TYPE waiting gauge\nwaiting 0\n"
        );
        assert_eq!(
            metrics.render_openmetrics(),
            "# HELP orders Orders.\n# TYPE orders counter\norders_total 3\n\
             # HELP waiting Who waits.\n# TYPE waiting gauge\nwaiting 0\n# EOF\n"
        );
    }
}
