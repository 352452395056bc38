//! What the process takes of its machine, by the names of Prometheus's own client libraries.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::metrics::Metrics;

/// Adds `process_resident_memory_bytes`, `process_cpu_seconds_total` and `process_open_fds`, read at
/// every scrape; on Linux, and nothing elsewhere.
pub fn register(metrics: &Metrics) {
    metrics.register_collector(Process);
}

#[derive(Debug)]
struct Process;

/// A reading of `/proc/self`.
struct Reading {
    resident_bytes: i64,
    cpu_seconds: f64,
    open_descriptors: i64,
}

impl Reading {
    /// None where there is no such thing.
    fn take() -> Option<Self> {
        let read = |name| std::fs::read_to_string(format!("/proc/self/{name}")).ok();
        let memory = read("statm")?;
        let pages: i64 = memory.split(' ').nth(1)?.parse().ok()?;
        let stat = read("stat")?;
        // proc(5): the name, in parentheses, is the second field and may hold anything; utime and
        // stime are the 14th and the 15th.
        let mut times = stat.rsplit_once(") ")?.1.split(' ').skip(11);
        let mut ticks = || times.next()?.parse::<f64>().ok();
        let ticks = ticks()? + ticks()?;
        let open = std::fs::read_dir("/proc/self/fd").ok()?.count();
        Some(Self {
            resident_bytes: pages * i64::try_from(rustix::param::page_size()).ok()?,
            cpu_seconds: ticks / rustix::param::clock_ticks_per_second() as f64,
            // Without the one that counts them.
            open_descriptors: i64::try_from(open).ok()? - 1,
        })
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(reading) = Reading::take() else {
            return Ok(());
        };
        let mut gauge = |name: &str, help: &str, value: i64| {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(value).encode(metric)
        };
        gauge(
            "process_resident_memory_bytes",
            "Memory that is resident, in bytes",
            reading.resident_bytes,
        )?;
        gauge(
            "process_open_fds",
            "Open file descriptors",
            reading.open_descriptors,
        )?;
        let metric = encoder.encode_descriptor(
            "process_cpu_seconds",
            "Processor time of user and system, in seconds",
            None,
            MetricType::Counter,
        )?;
        ConstCounter::new(reading.cpu_seconds).encode(metric)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_process_is_seen_as_it_is() {
        let before = Reading::take().unwrap();
        // A test takes megabytes, not gigabytes, and a page at least.
        assert!((1 << 20..8 << 30).contains(&before.resident_bytes));
        let file = std::fs::File::open("/proc/self/stat").unwrap();
        let metrics = Metrics::new();
        register(&metrics);
        let text = metrics.render();
        for name in [
            "process_resident_memory_bytes ",
            "process_open_fds ",
            "process_cpu_seconds_total ",
        ] {
            assert!(text.contains(&format!("\n{name}")), "{name} in\n{text}");
        }
        drop(file);
    }
}
