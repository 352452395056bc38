//! Log records to Kafka as well (`LOG_TOPIC`), without ever standing in the way of the work.
//!
//! ```text
//!  any thread: event ─► line ─► Queue (bounded; full: dropped, counted)
//!                                 │
//!  thread "log shipping":         └─► producer of its own ─► LOG_TOPIC
//! ```
//!
//! What is logged on the shipping thread is not shipped, so that trouble with Kafka makes no records
//! that make more trouble; neither are `debug` and `trace`, as whoever collects the records says
//! something about each of them there, and what says that it is [`LOCAL`](super::LOCAL).

use std::cell::Cell;
use std::fmt::Display;
use std::future::Future;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kafka::{OutgoingRecord, Producer};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::ecs;
use crate::config::{Common, KafkaConfig, TopicName};
use crate::metrics::{Counter, Metrics};

/// Records that may wait for the shipping thread.
const QUEUE: usize = 4_096;

/// Their bytes, and as many again for what waits for Kafka's acknowledgement.
const QUEUE_BYTES: usize = 4 << 20;

/// How long a record may wait for its acknowledgement before it is dropped.
const DELIVERY: Duration = Duration::from_secs(30);

/// How often drops are said.
const SAID_EVERY: Duration = Duration::from_secs(60);

thread_local! {
    /// On the shipping thread.
    static SHIPS: Cell<bool> = const { Cell::new(false) };
}

/// The process's queue, if it ships its log records.
static SHIPPING: OnceLock<Shipping> = OnceLock::new();

struct Shipping {
    sender: mpsc::Sender<Line>,
    /// Taken by the one who ships.
    receiver: Mutex<Option<mpsc::Receiver<Line>>>,
    /// Of the lines in the queue.
    bytes: AtomicUsize,
    sent: Counter,
    dropped: Counter,
}

/// A record on its way: its service, and one JSON object.
struct Line {
    service: String,
    json: String,
}

impl Shipping {
    fn new() -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        Self {
            sender,
            receiver: Mutex::new(Some(receiver)),
            bytes: AtomicUsize::new(0),
            sent: Counter::default(),
            dropped: Counter::default(),
        }
    }

    /// Never waits.
    fn put(&self, line: Line) {
        let size = line.json.len();
        let before = self.bytes.fetch_add(size, Ordering::Relaxed);
        if before + size > QUEUE_BYTES || self.sender.try_send(line).is_err() {
            self.bytes.fetch_sub(size, Ordering::Relaxed);
            self.dropped.inc();
        }
    }
}

/// Puts what is logged into the process's queue.
pub(super) struct ShippingLayer {
    service: &'static str,
    shipping: &'static Shipping,
}

impl ShippingLayer {
    /// `service` is the process's own.
    pub(super) fn new(service: &'static str) -> Self {
        Self {
            service,
            shipping: SHIPPING.get_or_init(Shipping::new),
        }
    }
}

impl<S: Subscriber> Layer<S> for ShippingLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let of = event.metadata();
        if *of.level() > Level::INFO || of.name() == super::LOCAL || SHIPS.get() {
            return;
        }
        let (service, mut json) = ecs::line_of(event, self.service);
        // The line feed of standard output.
        json.pop();
        self.shipping.put(Line { service, json });
    }
}

/// Counts in `metrics` what is shipped and what is dropped, where the process ships its log records.
pub fn register_shipping(metrics: &Metrics) {
    let Some(shipping) = SHIPPING.get() else {
        return;
    };
    metrics.register(
        "log_records_shipped",
        "Log records of this process that Kafka has acknowledged",
        shipping.sent.clone(),
    );
    metrics.register(
        "log_records_dropped",
        "Log records that were not shipped: Kafka away, or too many at once",
        shipping.dropped.clone(),
    );
}

/// Runs `service`, and ships the process's log records to `LOG_TOPIC`, if it is set, up to the last
/// one: the error that `service` ends with, which is logged here. For that it waits a share of
/// `SHUTDOWN_TIMEOUT` at most ([`ShutdownConfig::last_logs`](crate::config::ShutdownConfig)).
///
/// # Errors
/// Those of `service`.
pub async fn shipped<E: Display>(
    common: &Common,
    service: impl Future<Output = Result<(), E>>,
) -> Result<(), E> {
    let shipper = Shipper::start(common);
    let result = service.await;
    if let Err(error) = &result {
        tracing::error!("{error}");
    }
    if let Some(shipper) = shipper {
        shipper.finish(common.shutdown.last_logs).await;
    }
    result
}

/// The thread that ships.
struct Shipper {
    stop: oneshot::Sender<Duration>,
    /// Whether it shipped everything.
    end: oneshot::Receiver<bool>,
}

impl Shipper {
    /// None where nothing is to be shipped.
    fn start(common: &Common) -> Option<Self> {
        let (topic, shipping) = (common.log_topic.clone()?, SHIPPING.get()?);
        let lines = shipping.receiver.lock().take()?;
        let (stop, stopped) = oneshot::channel();
        let (ended, end) = oneshot::channel();
        let kafka = common.kafka.clone();
        let client_id = format!("{}-logs", common.service);
        let thread = std::thread::Builder::new()
            .name("log shipping".to_owned())
            .spawn(move || {
                SHIPS.set(true);
                let _ = ended.send(run(shipping, lines, &kafka, &client_id, &topic, stopped));
            });
        thread
            .inspect_err(|error| tracing::warn!("log records are not shipped: {error}"))
            .ok()?;
        Some(Self { stop, end })
    }

    /// Ships what was logged so far, for `limit` at most, and ends.
    async fn finish(self, limit: Duration) {
        let _ = self.stop.send(limit);
        if !matches!(tokio::time::timeout(limit, self.end).await, Ok(Ok(true))) {
            tracing::warn!("the last log records were not shipped");
        }
    }
}

/// Whether everything was shipped.
fn run(
    shipping: &Shipping,
    lines: mpsc::Receiver<Line>,
    kafka: &KafkaConfig,
    client_id: &str,
    topic: &TopicName,
    stopped: oneshot::Receiver<Duration>,
) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::warn!("log records are not shipped: {error}");
            return false;
        }
    };
    let complete = runtime.block_on(async {
        let producer = kafka.client(client_id).and_then(|client| {
            let producer = client.producer().buffer_memory(QUEUE_BYTES);
            producer.delivery_timeout(DELIVERY).build()
        });
        match producer {
            Ok(producer) => ship(shipping, lines, &producer, topic, stopped).await,
            Err(error) => {
                tracing::warn!("log records are not shipped: {error}");
                false
            }
        }
    });
    // Without waiting for a name that is still being looked up.
    runtime.shutdown_background();
    complete
}

async fn ship(
    shipping: &Shipping,
    mut lines: mpsc::Receiver<Line>,
    producer: &Producer,
    topic: &TopicName,
    mut stopped: oneshot::Receiver<Duration>,
) -> bool {
    let mut said = Said::default();
    let limit = loop {
        tokio::select! {
            limit = &mut stopped => break limit.unwrap_or_default(),
            Some(line) = lines.recv() => send(shipping, producer, topic, &line),
            () = tokio::time::sleep_until(said.again), if said.of < shipping.dropped.get() => {}
        }
        said.look(shipping, producer);
    };
    // What was logged before; no more than that, however much is being logged.
    for _ in 0..QUEUE {
        let Ok(line) = lines.try_recv() else { break };
        send(shipping, producer, topic, &line);
    }
    producer.close(limit).await.is_ok()
}

fn send(shipping: &Shipping, producer: &Producer, topic: &TopicName, line: &Line) {
    shipping.bytes.fetch_sub(line.json.len(), Ordering::Relaxed);
    let delivery = producer.enqueue(&OutgoingRecord {
        topic,
        partition: None,
        key: Some(line.service.as_bytes()),
        value: Some(line.json.as_bytes()),
        headers: &[],
        timestamp: None,
    });
    match delivery {
        Ok(delivery) => {
            let (sent, dropped) = (shipping.sent.clone(), shipping.dropped.clone());
            tokio::spawn(async move {
                match delivery.await {
                    Ok(_) => sent.inc(),
                    Err(_) => dropped.inc(),
                }
            });
        }
        // Its memory is used up.
        Err(_) => {
            shipping.dropped.inc();
        }
    }
}

/// How many drops have been said, and when more may be.
struct Said {
    of: u64,
    again: Instant,
}

impl Default for Said {
    fn default() -> Self {
        Self {
            of: 0,
            again: Instant::now(),
        }
    }
}

impl Said {
    fn look(&mut self, shipping: &Shipping, producer: &Producer) {
        let dropped = shipping.dropped.get();
        if dropped == self.of || Instant::now() < self.again {
            return;
        }
        tracing::warn!(
            "{} log records were not shipped to Kafka, which is away or slower than they come \
             ({} bytes wait); they are on standard output alone",
            dropped - self.of,
            producer.stats().buffered_bytes
        );
        self.of = dropped;
        self.again = Instant::now() + SAID_EVERY;
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    fn line(bytes: usize) -> Line {
        Line {
            service: "s".to_owned(),
            json: "x".repeat(bytes),
        }
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_counted_and_nobody_waits() {
        let by_number = Shipping::new();
        for _ in 0..QUEUE + 7 {
            by_number.put(line(1));
        }
        assert_eq!(by_number.dropped.get(), 7);
        assert_eq!(by_number.bytes.load(Ordering::Relaxed), QUEUE);
        let by_size = Shipping::new();
        for _ in 0..6 {
            by_size.put(line(1 << 20));
        }
        assert_eq!(by_size.dropped.get(), 2);
        assert_eq!(by_size.bytes.load(Ordering::Relaxed), QUEUE_BYTES);
    }

    #[test]
    fn what_the_shipping_thread_says_is_not_shipped_nor_what_is_local_or_for_debugging() {
        let shipping: &'static Shipping = Box::leak(Box::new(Shipping::new()));
        let layer = ShippingLayer {
            service: "standalone",
            shipping,
        };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::warn!(target: "producer_svc::intake", "shipped");
            tracing::debug!(target: "producer_svc::intake", "too much");
            tracing::info!(name: super::super::LOCAL, "stored elsewhere");
            SHIPS.set(true);
            tracing::error!(target: "kafka::producer", "not shipped");
            SHIPS.set(false);
        });
        let mut lines = shipping.receiver.lock().take().unwrap();
        let line = lines.try_recv().unwrap();
        assert_eq!(line.service, "producer-svc");
        let object: serde_json::Value = serde_json::from_str(&line.json).unwrap();
        assert_eq!(object["message"], "shipped");
        assert!(lines.try_recv().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_takes_no_longer_than_its_limit() {
        let (stop, stopped) = oneshot::channel();
        // Of a thread that never ends.
        let (_ended, end) = oneshot::channel();
        let begun = Instant::now();
        let limit = Duration::from_secs(1);
        Shipper { stop, end }.finish(limit).await;
        assert_eq!(begun.elapsed().as_secs(), 1);
        assert_eq!(stopped.await, Ok(limit));
    }
}
