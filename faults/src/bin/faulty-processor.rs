//! An order processor in consumer-svc's place, with a bug that the checker must catch, or in trouble
//! with one order. `faults::processor` starts it.
//!
//! ```text
//! faulty-processor --bootstrap=… --group=… --session=SECONDS --orders=TOPIC,… --statuses=… --notifications=…
//!     [--bug=NAME] [--trouble=retries|stuck --trouble-with=ORDER] --trouble-over=FILE
//! ```
//!
//! Every order is CONFIRMED, in three records: CREATED, CONFIRMED, the notification.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kafka::{
    Client, ClientConfig, ConsumerRecord, DeadLetters, Handler, Outcome, OutgoingRecord,
    ProduceError, Producer, RetryPolicy,
};
use proto::{Notification, Order, OrderStatusEvent, Spelling, Status};
use tokio::signal::unix::{SignalKind, signal};

/// How much later than its commit an order is handled, with the bug that commits first.
const LATE: Duration = Duration::from_secs(1);

/// Short, so that the bug that commits first has done so whenever it is killed.
const COMMIT_INTERVAL: Duration = Duration::from_millis(50);

/// When a handler counts as stuck.
const MAX_PROCESSING_TIME: Duration = Duration::from_secs(1);

/// What is wrong with the processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bug {
    None,
    /// An order is *done* as soon as it is read, and handled later.
    CommitBeforeHandling,
    /// What is refused is forgotten.
    DroppedRetry,
    /// What is refused is sent again behind what comes after it.
    ReorderingRetry,
}

impl Bug {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "none" => Self::None,
            "commit-before-handling" => Self::CommitBeforeHandling,
            "dropped-retry" => Self::DroppedRetry,
            "reordering-retry" => Self::ReorderingRetry,
            _ => return None,
        })
    }
}

/// The records that an order makes, in their order.
#[derive(Debug, Clone, Copy)]
enum Step {
    Created,
    Confirmed,
    Told,
}

const STEPS: [Step; 3] = [Step::Created, Step::Confirmed, Step::Told];

/// Where an order's records go.
struct Desk {
    producer: Producer,
    statuses: String,
    notifications: String,
}

impl Desk {
    async fn send(&self, order: &Order<'_>, step: Step) -> Result<(), ProduceError> {
        let mut value = Vec::new();
        let status = |status: Status| OrderStatusEvent {
            order_id: order.order_id.as_ref().into(),
            status: status.into(),
            reason: None,
            updated_at: None,
        };
        let topic = match step {
            Step::Created => {
                status(Status::Created).write(&mut value);
                &self.statuses
            }
            Step::Confirmed => {
                status(Status::Confirmed).write(&mut value);
                &self.statuses
            }
            Step::Told => {
                let told = Notification {
                    order_id: order.order_id.as_ref().into(),
                    status: Status::Confirmed.into(),
                    user_id: order.user_id.as_deref().map(Into::into),
                    reason: None,
                };
                told.write(&mut value);
                &self.notifications
            }
        };
        let record = OutgoingRecord {
            topic,
            key: Some(order.order_id.as_bytes()),
            value: Some(&value),
            ..OutgoingRecord::default()
        };
        self.producer.send(&record).await.map(drop)
    }

    async fn in_order(&self, order: &Order<'_>) -> Outcome {
        for step in STEPS {
            if let Err(error) = self.send(order, step).await {
                return Outcome::Retry(error.to_string());
            }
        }
        Outcome::Done
    }

    async fn forgetting(&self, order: &Order<'_>) -> Outcome {
        for step in STEPS {
            let _ = self.send(order, step).await;
        }
        Outcome::Done
    }

    async fn reordering(&self, order: &Order<'_>) -> Outcome {
        let mut steps = VecDeque::from(STEPS);
        while let Some(step) = steps.pop_front() {
            if self.send(order, step).await.is_err() {
                steps.push_back(step);
            }
        }
        Outcome::Done
    }
}

/// One order that does harm for as long as a file is not there.
struct Trouble {
    with: String,
    stuck: bool,
    over: PathBuf,
}

impl Trouble {
    async fn pass(&self, order: &Order<'_>) -> Result<(), String> {
        if *self.with != *order.order_id {
            return Ok(());
        }
        while !self.over.exists() {
            if !self.stuck {
                return Err("in trouble with this order".to_owned());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }
}

struct Processor {
    bug: Bug,
    trouble: Option<Trouble>,
    desk: Arc<Desk>,
}

impl Handler for Processor {
    async fn handle(&self, record: &ConsumerRecord) -> Outcome {
        let value = record.value.clone().unwrap_or_default();
        let order = match Order::decode(&value, Spelling::Camel) {
            Ok(order) => order,
            Err(error) => return Outcome::Reject(error.to_string()),
        };
        if let Some(trouble) = &self.trouble
            && let Err(reason) = trouble.pass(&order).await
        {
            return Outcome::Retry(reason);
        }
        match self.bug {
            Bug::None => self.desk.in_order(&order).await,
            Bug::DroppedRetry => self.desk.forgetting(&order).await,
            Bug::ReorderingRetry => self.desk.reordering(&order).await,
            Bug::CommitBeforeHandling => {
                let desk = self.desk.clone();
                let value = value.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(LATE).await;
                    if let Ok(order) = Order::decode(&value, Spelling::Camel) {
                        desk.in_order(&order).await;
                    }
                });
                Outcome::Done
            }
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_ansi(false).init();
    let mut flags: HashMap<String, String> = HashMap::new();
    for argument in std::env::args().skip(1) {
        let flag = argument.strip_prefix("--").and_then(|f| f.split_once('='));
        let (name, value) = flag.ok_or_else(|| format!("{argument:?} is not --name=value"))?;
        flags.insert(name.to_owned(), value.to_owned());
    }
    let flag = |name: &str| {
        let value = flags.get(name).cloned();
        value.ok_or_else(|| format!("--{name} is missing"))
    };
    let bug = flag("bug").unwrap_or_else(|_| "none".to_owned());
    let bug = Bug::parse(&bug).ok_or_else(|| format!("--bug={bug} is unknown"))?;
    let trouble = match flags.get("trouble") {
        None => None,
        Some(kind) => Some(Trouble {
            with: flag("trouble-with")?,
            stuck: kind == "stuck",
            over: flag("trouble-over")?.into(),
        }),
    };
    let client = Client::new(ClientConfig::new(&flag("bootstrap")?)?);
    let producer = client.producer().build()?;
    let desk = Desk {
        producer: producer.clone(),
        statuses: flag("statuses")?,
        notifications: flag("notifications")?,
    };
    let consumer = client
        .consumer(&flag("group")?)
        .topics(flag("orders")?.split(','))
        .session_timeout(Duration::from_secs(flag("session")?.parse()?))
        .heartbeat_interval(Duration::from_millis(500))
        .commit_interval(COMMIT_INTERVAL)
        .max_processing_time(MAX_PROCESSING_TIME)
        .retry(RetryPolicy {
            max_attempts: 100,
            ..RetryPolicy::default()
        })
        .dead_letters(DeadLetters::new(producer))
        .build(Processor {
            bug,
            trouble,
            desk: Arc::new(desk),
        })?;
    let mut terminate = signal(SignalKind::terminate())?;
    let ended = consumer.run(async {
        terminate.recv().await;
    });
    let ended = ended.await?;
    println!("ended: {ended}");
    Ok(())
}
