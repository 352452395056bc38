//! Consumers of ours tell their changes by their log.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{LazyLock, Mutex, Once};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use super::Journal;
use crate::ownership::Change;

/// Where the consumer logs what is assigned and revoked.
const TARGET: &str = "kafka::consumer::runner::assignment";

static JOURNALS: LazyLock<Mutex<HashMap<String, Journal>>> = LazyLock::new(Mutex::default);

/// From now on what a consumer logs within a span whose field `member` is this name goes to the
/// journal.
pub fn listen(member: &str, journal: &Journal) {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let subscriber = tracing_subscriber::registry().with(Listener);
        tracing::subscriber::set_global_default(subscriber).expect("no other listener");
    });
    let mut journals = JOURNALS.lock().expect("not poisoned");
    let before = journals.insert(member.to_owned(), journal.clone());
    assert!(before.is_none(), "two members named {member}");
}

struct Listener;

/// What is kept of a span.
struct Member {
    name: String,
    journal: Journal,
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Listener {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        metadata.target() == TARGET || metadata.is_span()
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let journals = JOURNALS.lock().expect("not poisoned");
        if let Some(name) = fields.texts.remove("member")
            && let Some(journal) = journals.get(&name).cloned()
            && let Some(span) = context.span(id)
        {
            span.extensions_mut().insert(Member { name, journal });
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let text = |name| fields.texts.get(name).map_or("", String::as_str);
        let partitions = text("partitions")
            .split_whitespace()
            .filter_map(|name| name.rsplit_once('-')?.1.parse().ok())
            .collect();
        let generation = fields.numbers.get("generation").copied();
        let change = match (text("message"), generation) {
            ("partitions assigned", Some(generation)) => Change::Assigned {
                generation,
                partitions,
            },
            ("partitions revoked", Some(generation)) => Change::Revoked {
                generation,
                partitions,
            },
            (message, _) if message.starts_with("partitions lost") => Change::Lost { partitions },
            _ => return,
        };
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(member) = span.extensions().get::<Member>() {
                member.journal.changed(&member.name, &change);
            }
        }
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
