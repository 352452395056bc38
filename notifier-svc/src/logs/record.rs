//! A log record in the Elastic Common Schema, as ours are and those of other services may be.

use chrono::DateTime;
use serde_json::{Map, Value};

/// How grave a record is. Names of other loggers are read as the nearest of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Trace = 1,
    Debug = 2,
    Info = 3,
    Warn = 4,
    Error = 5,
}

impl Level {
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text.to_ascii_lowercase().as_str() {
            "trace" => Self::Trace,
            "debug" => Self::Debug,
            "info" | "information" | "notice" => Self::Info,
            "warn" | "warning" => Self::Warn,
            "error" | "fatal" | "critical" | "alert" | "emergency" | "panic" => Self::Error,
            _ => return None,
        })
    }
}

/// What of a record is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    /// Milliseconds since 1970.
    pub time: i64,
    pub service: String,
    pub level: Level,
    pub logger: Option<String>,
    pub message: String,
    pub error: Option<String>,
    pub trace_id: Option<String>,
    /// Custom fields as a JSON object; empty for none.
    pub labels: String,
}

impl LogRecord {
    /// Reads a record; fields may be dotted names or objects in objects, as ECS has both.
    ///
    /// # Errors
    /// What is missing or ill-typed.
    pub fn decode(value: &[u8]) -> Result<Self, String> {
        let object: Map<String, Value> =
            serde_json::from_slice(value).map_err(|error| format!("no JSON object: {error}"))?;
        let required =
            |name: &str| text(&object, name)?.ok_or_else(|| format!("{name} is missing"));
        let time = required("@timestamp")?;
        let time = DateTime::parse_from_rfc3339(&time)
            .map_err(|_| "@timestamp is no time as in RFC 3339".to_owned())?;
        let level = required("log.level")?;
        let level = Level::parse(&level).ok_or("log.level is no level")?;
        let labels = match field(&object, "labels") {
            None | Some(Value::Null) => String::new(),
            Some(Value::Object(labels)) => Value::Object(labels.clone()).to_string(),
            Some(_) => return Err("labels is no object".to_owned()),
        };
        Ok(Self {
            time: time.timestamp_millis(),
            service: required("service.name")?,
            level,
            logger: text(&object, "log.logger")?,
            message: text(&object, "message")?.unwrap_or_default(),
            error: text(&object, "error.message")?,
            trace_id: text(&object, "trace.id")?,
            labels,
        })
    }
}

/// `log.level` as it stands, or `level` in the object `log`.
fn field<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    object.get(name).or_else(|| {
        let (outer, inner) = name.split_once('.')?;
        object.get(outer)?.get(inner)
    })
}

fn text(object: &Map<String, Value>, name: &str) -> Result<Option<String>, String> {
    match field(object, name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(format!("{name} is no text")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dotted_names_and_nested_objects_are_read() {
        let dotted = br#"{"@timestamp":"2026-01-02T03:04:05.678Z","log.level":"warn","message":"m",
            "service.name":"cart","log.logger":"a::b","error.message":"e","trace.id":"t","labels":{"partition":"3"}}"#;
        let nested = br#"{"@timestamp":"2026-01-02T04:04:05.678+01:00","log":{"level":"WARNING","logger":"a::b"},
            "message":"m","service":{"name":"cart"},"error":{"message":"e"},"trace":{"id":"t"},"labels":{"partition":"3"}}"#;
        let record = LogRecord::decode(dotted).unwrap();
        assert_eq!(record.time, 1_767_323_045_678);
        assert_eq!(record.level, Level::Warn);
        assert_eq!(record.labels, r#"{"partition":"3"}"#);
        assert_eq!(LogRecord::decode(nested).unwrap(), record);
    }

    #[test]
    fn what_is_no_log_record_says_why() {
        for (value, why) in [
            ("no json", "no JSON object"),
            ("[]", "no JSON object"),
            (r#"{"log.level":"info"}"#, "@timestamp is missing"),
            (r#"{"@timestamp":"today"}"#, "RFC 3339"),
            (
                r#"{"@timestamp":"2026-01-02T03:04:05Z","log.level":"loud"}"#,
                "no level",
            ),
            (
                r#"{"@timestamp":"2026-01-02T03:04:05Z","log.level":"info"}"#,
                "service.name is missing",
            ),
            (
                r#"{"@timestamp":"2026-01-02T03:04:05Z","log.level":"info","service.name":7}"#,
                "service.name is no text",
            ),
        ] {
            let error = LogRecord::decode(value.as_bytes()).unwrap_err();
            assert!(error.contains(why), "{value}: {error}");
        }
    }
}
