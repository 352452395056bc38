use std::io::Write;

use chrono::{SecondsFormat, Utc};
use serde_json::{Map, Value, json};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::Context;

use super::fields::Fields;

/// Version of the Elastic Common Schema that the field names are taken from.
const ECS_VERSION: &str = "8.17.0";

/// One log record in the Elastic Common Schema.
#[derive(Debug)]
pub struct EcsRecord<'a> {
    /// `info`, `warn` and so on.
    pub level: &'a str,
    /// The module that says it.
    pub logger: &'a str,
    /// The service whose record it is.
    pub service: &'a str,
    pub message: &'a str,
    pub error: Option<String>,
    pub trace_id: Option<String>,
    /// What else belongs to it; names without dots.
    pub labels: Map<String, Value>,
}

impl EcsRecord<'_> {
    /// One JSON object and a line feed; the time is now.
    pub fn line(self) -> String {
        let mut line = json!({
            "@timestamp": Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true),
            "log.level": self.level,
            "message": self.message,
            "ecs.version": ECS_VERSION,
            "log.logger": self.logger,
            "service.name": self.service,
            "process.pid": std::process::id(),
        });
        let object = line.as_object_mut().expect("built as an object");
        if let Some(error) = self.error {
            object.insert("error.message".to_owned(), Value::String(error));
        }
        if let Some(trace_id) = self.trace_id {
            object.insert("trace.id".to_owned(), Value::String(trace_id));
        }
        if !self.labels.is_empty() {
            object.insert("labels".to_owned(), Value::Object(self.labels));
        }
        let mut text = line.to_string();
        text.push('\n');
        text
    }
}

/// One JSON object a line, in the Elastic Common Schema. Fields of an event beyond message, error
/// and trace id go to `labels`.
pub(crate) struct EcsLayer<W> {
    writer: W,
    /// The process's own service.
    service: &'static str,
}

impl<W> EcsLayer<W> {
    pub(crate) fn new(writer: W, service: &'static str) -> Self {
        Self { writer, service }
    }
}

impl<S, W> Layer<S> for EcsLayer<W>
where
    S: Subscriber,
    W: for<'a> MakeWriter<'a> + 'static,
{
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let (_, line) = line_of(event, self.service);
        // Standard output gone: there is nowhere left to complain.
        let _ = self.writer.make_writer().write_all(line.as_bytes());
    }
}

/// Whose an event is (`process`: the process's own service), and its line.
pub(super) fn line_of(event: &Event<'_>, process: &'static str) -> (String, String) {
    let mut fields = Fields::default();
    event.record(&mut fields);
    let metadata = event.metadata();
    let service = service_of(metadata.target()).unwrap_or_else(|| process.to_owned());
    let record = EcsRecord {
        level: &metadata.level().as_str().to_ascii_lowercase(),
        logger: metadata.target(),
        service: &service,
        message: &fields.message,
        error: fields.error,
        trace_id: fields.trace_id,
        labels: fields.labels,
    };
    let line = record.line();
    (service, line)
}

/// `producer_svc::intake` is of `producer-svc`: several services may share a process. What a
/// library says (`kafka::consumer`) is of the process's own.
fn service_of(target: &str) -> Option<String> {
    let package = target.split("::").next()?;
    let service = package.strip_suffix("_svc")?;
    Some(format!("{}-svc", service.replace('_', "-")))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::io;
    use std::sync::Arc;

    use parking_lot::Mutex;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Field and type of each line of the table.
    fn ecs_fields() -> HashMap<&'static str, &'static str> {
        include_str!("ecs_fields.txt")
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split_once(' ').unwrap())
            .collect()
    }

    #[test]
    fn every_field_is_one_of_the_elastic_common_schema() {
        let known = ecs_fields();
        let full = EcsRecord {
            level: "warn",
            logger: "producer_svc::intake",
            service: "producer-svc",
            message: "said",
            error: Some("gone".to_owned()),
            trace_id: Some("0af7651916cd43dd8448eb211c80319c".to_owned()),
            labels: Map::from_iter([("partition".to_owned(), json!("3"))]),
        };
        let line: Map<String, Value> = serde_json::from_str(&full.line()).unwrap();
        assert_eq!(line.len(), 10);
        for (name, value) in &line {
            let kind = *known
                .get(name.as_str())
                .unwrap_or_else(|| panic!("{name} is no field of ECS {ECS_VERSION}"));
            let fits = match kind {
                "date" => value
                    .as_str()
                    .is_some_and(|time| chrono::DateTime::parse_from_rfc3339(time).is_ok()),
                "keyword" | "match_only_text" => value.is_string(),
                "long" => value.is_i64() || value.is_u64(),
                // `labels`: custom keys without dots, their values keywords.
                "object" => value.as_object().is_some_and(|labels| {
                    labels
                        .iter()
                        .all(|(key, value)| !key.contains('.') && value.is_string())
                }),
                other => panic!("{name} is {other}"),
            };
            assert!(fits, "{name} is a {kind}, not {value}");
        }
        assert_eq!(line["ecs.version"], ECS_VERSION);
        assert!(include_str!("ecs_fields.txt").contains(&format!("ECS {ECS_VERSION}")));
    }

    #[test]
    fn every_event_is_one_object_on_one_line() {
        let sink = Sink::default();
        let writer = sink.clone();
        let layer = EcsLayer::new(move || writer.clone(), "standalone");
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::warn!(target: "producer_svc::intake", error = "gone\naway", partition = 3, "two\nlines");
            tracing::info!(target: "kafka::consumer", "plain");
        });
        let text = String::from_utf8(sink.0.lock().clone()).unwrap();
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["log.level"], "warn");
        assert_eq!(lines[0]["message"], "two\nlines");
        assert_eq!(lines[0]["error.message"], "gone\naway");
        assert_eq!(lines[0]["labels"]["partition"], "3");
        assert_eq!(lines[0]["service.name"], "producer-svc");
        assert_eq!(lines[1]["service.name"], "standalone");
        assert!(lines[0]["@timestamp"].as_str().unwrap().ends_with('Z'));
    }
}
