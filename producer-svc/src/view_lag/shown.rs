use std::fmt;
use std::time::Duration;

use service::metrics::{Collector, ConstGauge, DescriptorEncoder, EncodeMetric, MetricType};

use super::ViewLag;

/// The lag as metrics, read at every scrape.
pub(super) struct Shown(pub(super) ViewLag);

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shown").finish_non_exhaustive()
    }
}

impl Collector for Shown {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let inner = &self.0.0;
        let by_topic = inner.state.lock().partitions.by_topic(inner.now());
        {
            let help = "How long ago the topic held what the order view does not have yet, of all instances; 0 where it has all";
            let mut family = encoder.encode_descriptor(
                "order_view_lag_seconds",
                help,
                None,
                MetricType::Gauge,
            )?;
            for (topic, lag) in &by_topic {
                let labels = [("topic", &**topic)];
                ConstGauge::new(lag.time.as_secs_f64()).encode(family.encode_family(&labels)?)?;
            }
        }
        let help = "Records of the topic that the order view does not have yet, of all instances";
        let mut family =
            encoder.encode_descriptor("order_view_lag_records", help, None, MetricType::Gauge)?;
        for (topic, lag) in &by_topic {
            let labels = [("topic", &**topic)];
            ConstGauge::new(lag.records).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// A duration for people: 0.3 s, 75 s.
pub(super) struct Age(pub(super) Duration);

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs_f64();
        match seconds < 10.0 {
            true => write!(f, "{seconds:.1} s"),
            false => write!(f, "{seconds:.0} s"),
        }
    }
}
