use std::fmt;
use std::time::UNIX_EPOCH;

use kafka::{ConsumerStatsHandle, Producer};
use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use std::sync::Arc;

use crate::metrics::Metrics;

/// Kafka's statistics of one service, read at every scrape. Clones share the list.
#[derive(Clone, Default)]
pub struct KafkaStats {
    sources: Arc<Mutex<Sources>>,
}

#[derive(Default)]
struct Sources {
    producers: Vec<Producer>,
    consumers: Vec<ConsumerStatsHandle>,
}

impl KafkaStats {
    /// Registers the collector.
    pub fn new(metrics: &Metrics) -> Self {
        let stats = Self::default();
        metrics.register_collector(stats.clone());
        stats
    }

    pub fn add_producer(&self, producer: &Producer) {
        self.sources.lock().producers.push(producer.clone());
    }

    /// Takes the place of an earlier consumer of the same group.
    pub fn add_consumer(&self, stats: ConsumerStatsHandle) {
        let group = stats.snapshot().group.clone();
        let consumers = &mut self.sources.lock().consumers;
        consumers.retain(|earlier| earlier.snapshot().group != group);
        consumers.push(stats);
    }
}

impl fmt::Debug for KafkaStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaStats").finish_non_exhaustive()
    }
}

impl Collector for KafkaStats {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let sources = self.sources.lock();
        let (mut acknowledged, mut failed, mut retried, mut buffered) = (0, 0, 0, 0);
        for producer in &sources.producers {
            let stats = producer.stats();
            acknowledged += stats.acknowledged;
            failed += stats.failed;
            retried += stats.retried;
            buffered += stats.buffered_bytes;
        }
        let consumers: Vec<_> = sources.consumers.iter().map(|c| c.snapshot()).collect();
        drop(sources);

        {
            let help = "Records that were sent, by outcome";
            let mut family = encoder.encode_descriptor(
                "kafka_producer_records",
                help,
                None,
                MetricType::Counter,
            )?;
            for (outcome, count) in [("acknowledged", acknowledged), ("failed", failed)] {
                let labels = [("outcome", outcome)];
                ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
            }
        }
        {
            let help = "Times that records were sent again";
            let metric = encoder.encode_descriptor(
                "kafka_producer_retries",
                help,
                None,
                MetricType::Counter,
            )?;
            ConstCounter::new(retried).encode(metric)?;
        }
        {
            let help = "Bytes of records that wait for their acknowledgement";
            let metric = encoder.encode_descriptor(
                "kafka_producer_buffered_bytes",
                help,
                None,
                MetricType::Gauge,
            )?;
            ConstGauge::new(buffered).encode(metric)?;
        }
        {
            let help = "Records that a handler was given or that were passed over, by outcome";
            let mut family = encoder.encode_descriptor(
                "kafka_consumer_records",
                help,
                None,
                MetricType::Counter,
            )?;
            for stats in &consumers {
                for topic in &stats.topics {
                    let outcomes = &topic.outcomes;
                    for (outcome, count) in [
                        ("done", outcomes.done),
                        ("rejected", outcomes.rejected),
                        ("retried", outcomes.retried),
                        ("exhausted", outcomes.exhausted),
                        ("unavailable", outcomes.unavailable),
                        ("panicked", outcomes.panicked),
                        ("dead_lettered", outcomes.dead_lettered),
                        ("skipped", outcomes.skipped),
                        ("abandoned", outcomes.abandoned),
                    ] {
                        let labels = [
                            ("group", &*stats.group),
                            ("topic", &*topic.topic),
                            ("outcome", outcome),
                        ];
                        ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
                    }
                }
            }
        }
        {
            let help = "When the last dead letter of this instance was acknowledged, in seconds since 1970";
            let mut family = encoder.encode_descriptor(
                "kafka_consumer_last_dead_letter_timestamp_seconds",
                help,
                None,
                MetricType::Gauge,
            )?;
            for stats in &consumers {
                for topic in &stats.topics {
                    // 1970 where there was none.
                    let at = topic.outcomes.last_dead_letter;
                    let since = at.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
                    let since = since.unwrap_or_default();
                    let labels = [("group", &*stats.group), ("topic", &*topic.topic)];
                    ConstGauge::new(since.as_secs_f64()).encode(family.encode_family(&labels)?)?;
                }
            }
        }
        {
            let help =
                "1 where a batch that cannot be read holds a partition of this instance, else 0";
            let mut family = encoder.encode_descriptor(
                "kafka_consumer_partition_held",
                help,
                None,
                MetricType::Gauge,
            )?;
            for stats in &consumers {
                for partition in &stats.partitions {
                    let number = partition.partition.partition.to_string();
                    let labels = [
                        ("consumergroup", &*stats.group),
                        ("topic", &*partition.partition.topic),
                        ("partition", number.as_str()),
                    ];
                    let held = i64::from(partition.held.is_some());
                    ConstGauge::new(held).encode(family.encode_family(&labels)?)?;
                }
            }
        }
        {
            let help = "Records between a group's commit and the log's end, of partitions this instance owns";
            let mut family = encoder.encode_descriptor(
                "kafka_consumergroup_lag",
                help,
                None,
                MetricType::Gauge,
            )?;
            for stats in &consumers {
                for partition in &stats.partitions {
                    let Some(lag) = partition.lag() else { continue };
                    let number = partition.partition.partition.to_string();
                    let labels = [
                        ("consumergroup", &*stats.group),
                        ("topic", &*partition.partition.topic),
                        ("partition", number.as_str()),
                    ];
                    ConstGauge::new(lag).encode(family.encode_family(&labels)?)?;
                }
            }
        }
        {
            let help = "Records in handlers' hands";
            let mut family = encoder.encode_descriptor(
                "kafka_consumer_in_flight_records",
                help,
                None,
                MetricType::Gauge,
            )?;
            for stats in &consumers {
                let labels = [("group", &*stats.group)];
                let in_flight = i64::try_from(stats.in_flight).unwrap_or(i64::MAX);
                ConstGauge::new(in_flight).encode(family.encode_family(&labels)?)?;
            }
        }
        {
            let help = "Generations of the group that this instance has joined";
            let mut family = encoder.encode_descriptor(
                "kafka_consumer_rebalances",
                help,
                None,
                MetricType::Counter,
            )?;
            for stats in &consumers {
                let labels = [("group", &*stats.group)];
                ConstCounter::new(stats.rebalances).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}
