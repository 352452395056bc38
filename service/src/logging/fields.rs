use std::fmt;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};

/// The fields of one event: its message, its error, and the rest as text.
#[derive(Default)]
pub(crate) struct Fields {
    pub(crate) message: String,
    pub(crate) error: Option<String>,
    pub(crate) trace_id: Option<String>,
    pub(crate) labels: Map<String, Value>,
}

impl Fields {
    fn put(&mut self, field: &Field, text: String) {
        match field.name() {
            "message" => self.message = text,
            "error" => self.error = Some(text),
            "trace_id" => self.trace_id = Some(text),
            name => {
                // A label with dots would become an object in the index.
                self.labels
                    .insert(name.replace('.', "_"), Value::String(text));
            }
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.to_owned());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, value.to_string());
    }
}
