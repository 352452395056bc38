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

/// Of `SHUTDOWN_TIMEOUT`, how long the end may take: a Kafka that is away does not hold up leaving.
const LAST: f64 = 0.3;

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

/// Ships the process's log records until [`LogShipper::finish`].
#[derive(Debug)]
pub struct LogShipper {
    /// Of the thread; none where nothing is shipped, or somebody else in this process does it.
    thread: Option<(oneshot::Sender<()>, oneshot::Receiver<()>)>,
    /// How long the end may take.
    last: Duration,
}

impl LogShipper {
    /// Starts shipping to `LOG_TOPIC`, if it is set; counts in `metrics`. Of several services in one
    /// process the first ships for all.
    pub fn start(common: &Common, metrics: &Metrics) -> Self {
        let last = common.shutdown.timeout.mul_f64(LAST);
        let nothing = Self { thread: None, last };
        let (Some(topic), Some(shipping)) = (&common.log_topic, SHIPPING.get()) else {
            return nothing;
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
        let Some(lines) = shipping.receiver.lock().take() else {
            return nothing;
        };
        let (stop, stopped) = oneshot::channel();
        let (ended, end) = oneshot::channel();
        let (kafka, topic) = (common.kafka.clone(), topic.clone());
        let client_id = format!("{}-logs", common.service);
        let thread = std::thread::Builder::new()
            .name("log shipping".to_owned())
            .spawn(move || {
                SHIPS.set(true);
                run(shipping, lines, &kafka, &client_id, &topic, stopped, last);
                let _ = ended.send(());
            });
        match thread {
            Ok(_) => Self {
                thread: Some((stop, end)),
                last,
            },
            Err(error) => {
                tracing::warn!("log records are not shipped: {error}");
                nothing
            }
        }
    }

    /// Ships what was logged so far, for 0.3 of `SHUTDOWN_TIMEOUT` at most, and ends.
    pub async fn finish(self) {
        if let Some((stop, end)) = self.thread {
            let _ = stop.send(());
            // The thread goes by the same limit, and has something to say when it runs out.
            let _ = tokio::time::timeout(self.last + Duration::from_millis(500), end).await;
        }
    }
}

fn run(
    shipping: &Shipping,
    lines: mpsc::Receiver<Line>,
    kafka: &KafkaConfig,
    client_id: &str,
    topic: &TopicName,
    stopped: oneshot::Receiver<()>,
    last: Duration,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return tracing::warn!("log records are not shipped: {error}"),
    };
    runtime.block_on(async {
        let producer = kafka.client(client_id).and_then(|client| {
            let producer = client.producer().buffer_memory(QUEUE_BYTES);
            producer.delivery_timeout(DELIVERY).build()
        });
        match producer {
            Ok(producer) => ship(shipping, lines, &producer, topic, stopped, last).await,
            Err(error) => tracing::warn!("log records are not shipped: {error}"),
        }
    });
    // Without waiting for a name that is still being looked up.
    runtime.shutdown_background();
}

async fn ship(
    shipping: &Shipping,
    mut lines: mpsc::Receiver<Line>,
    producer: &Producer,
    topic: &TopicName,
    mut stopped: oneshot::Receiver<()>,
    last: Duration,
) {
    let mut said = Said::default();
    loop {
        tokio::select! {
            _ = &mut stopped => break,
            Some(line) = lines.recv() => send(shipping, producer, topic, &line),
            () = tokio::time::sleep_until(said.again), if said.of < shipping.dropped.get() => {}
        }
        said.look(shipping, producer);
    }
    // What was logged before; no more than that, however much is being logged.
    for _ in 0..QUEUE {
        let Ok(line) = lines.try_recv() else { break };
        send(shipping, producer, topic, &line);
    }
    if producer.close(last).await.is_err() {
        tracing::warn!("the last log records were not shipped");
    }
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
}
