//! A consumer of ours in a process of its own that says what it owns and what it handles, as
//! `java/GroupMember.java` does: `record PARTITION OFFSET`, and a line for each
//! [`Change`](faults::ownership::Change). `faults::members` starts it.
//!
//! ```text
//! group-member BOOTSTRAP-SERVERS GROUP TOPIC ASSIGNOR
//! ```
//!
//! It leaves the group on SIGTERM, and fails when it left anything undone.

use std::collections::HashMap;
use std::fmt::Debug;

use faults::members;
use faults::ownership::Change;
use kafka::{ConsumerRecord, Handler, Outcome};
use tokio::signal::unix::{SignalKind, signal};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// Where the consumer logs what is assigned and revoked.
const TARGET: &str = "kafka::consumer::runner::assignment";

struct Saying;

impl Handler for Saying {
    async fn handle(&self, record: &ConsumerRecord) -> Outcome {
        println!("record {} {}", record.partition, record.offset);
        Outcome::Done
    }
}

/// Says what the consumer logs of its partitions.
struct Changes;

impl<S: Subscriber> Layer<S> for Changes {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == TARGET
            && let Some(change) = change(event)
        {
            println!("{change}");
        }
    }
}

fn change(event: &Event<'_>) -> Option<Change> {
    let mut fields = Fields::default();
    event.record(&mut fields);
    let text = |name| fields.texts.get(name).map_or("", String::as_str);
    let partitions = text("partitions")
        .split_whitespace()
        .filter_map(|name| name.rsplit_once('-')?.1.parse().ok())
        .collect();
    match (text("message"), fields.numbers.get("generation").copied()) {
        ("partitions assigned", Some(generation)) => Some(Change::Assigned {
            generation,
            partitions,
        }),
        ("partitions revoked", Some(generation)) => Some(Change::Revoked {
            generation,
            partitions,
        }),
        (message, _) if message.starts_with("partitions lost") => Some(Change::Lost { partitions }),
        _ => None,
    }
}

#[derive(Default)]
struct Fields {
    texts: HashMap<&'static str, String>,
    numbers: HashMap<&'static str, i32>,
}

impl Visit for Fields {
    fn record_i64(&mut self, field: &Field, value: i64) {
        if let Ok(number) = i32::try_from(value) {
            self.numbers.insert(field.name(), number);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.texts.insert(field.name(), format!("{value:?}"));
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [bootstrap, group, topic, assignor] = &arguments[..] else {
        return Err("usage: group-member BOOTSTRAP-SERVERS GROUP TOPIC ASSIGNOR".into());
    };
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(Changes))?;
    let consumer = members::consumer(bootstrap, group, topic, assignor.parse()?).build(Saying)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let report = consumer
        .run(async {
            terminate.recv().await;
        })
        .await?;
    if report.is_clean() {
        Ok(())
    } else {
        Err(report.to_string().into())
    }
}
