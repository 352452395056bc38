//! A topic's configuration: the entries this broker acts on, by Kafka's names.

use std::collections::BTreeMap;

use super::Defaults;
use crate::log::LogOptions;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct SettingError(String);

/// Values of `message.timestamp.type`.
const CREATE_TIME: &str = "CreateTime";
const LOG_APPEND_TIME: &str = "LogAppendTime";

/// How far a record's time may be from the broker's, in milliseconds; Kafka's defaults.
const BEFORE_MAX_MS: i64 = i64::MAX;
const AFTER_MAX_MS: i64 = 60 * 60 * 1000;

/// The timestamp of a record that has none.
pub(crate) const NO_TIME: i64 = -1;

/// Which times of records a topic takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Times {
    /// The broker's own; what producers say does not matter.
    pub(crate) append_time: bool,
    /// How far a record's time may lie in the past and in the future, in milliseconds.
    pub(crate) before_max: i64,
    pub(crate) after_max: i64,
}

impl Times {
    /// Whether a record's own time, in milliseconds since the Unix epoch, is taken. Numbers wrap
    /// as they do in Java's `LogValidator`.
    pub(crate) fn take(&self, timestamp: i64, now: i64) -> bool {
        let age = now.wrapping_sub(timestamp);
        age <= self.before_max && age.wrapping_neg() <= self.after_max
    }
}

/// What was set for a topic itself; the rest follows the broker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TopicSettings(BTreeMap<String, String>);

/// One entry as a client is told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) name: &'static str,
    pub(crate) value: String,
    /// Set for the topic, not taken from the broker.
    pub(crate) own: bool,
    pub(crate) kind: SettingKind,
    pub(crate) documentation: &'static str,
}

/// Numbers of `ConfigType` in DescribeConfigs answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SettingKind {
    String = 2,
    Int = 3,
    Long = 5,
    List = 7,
}

impl TopicSettings {
    pub(crate) fn from_stored(entries: BTreeMap<String, String>) -> Self {
        Self(entries)
    }

    pub(crate) fn stored(&self) -> BTreeMap<String, String> {
        self.0.clone()
    }

    /// Sets an entry, or refuses one that would be a promise this broker does not keep.
    pub(crate) fn set(&mut self, name: &str, value: &str) -> Result<(), SettingError> {
        let whole = |low: i64| match value.trim().parse::<i64>() {
            Ok(number) if number >= low => Ok(()),
            _ => Err(SettingError(format!(
                "{name} must be a whole number of at least {low}, not {value:?}"
            ))),
        };
        let only = |allowed: &[&str]| {
            if allowed.contains(&value.trim()) {
                Ok(())
            } else {
                Err(SettingError(format!(
                    "{name} can only be {} on this broker, not {value:?}",
                    allowed.join(" or ")
                )))
            }
        };
        match name {
            "retention.ms" | "retention.bytes" => whole(-1)?,
            "segment.bytes" => whole(1024)?,
            "max.message.bytes" => whole(0)?,
            "min.insync.replicas" => only(&["1"])?,
            "cleanup.policy" => only(&["delete"])?,
            "compression.type" => only(&["producer"])?,
            "message.timestamp.type" => only(&[CREATE_TIME, LOG_APPEND_TIME])?,
            "message.timestamp.before.max.ms" | "message.timestamp.after.max.ms" => whole(0)?,
            _ => {
                return Err(SettingError(format!(
                    "this broker has no topic setting {name:?}"
                )));
            }
        }
        self.0.insert(name.to_owned(), value.trim().to_owned());
        Ok(())
    }

    /// Goes back to the broker's value.
    pub(crate) fn unset(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// Says that an entry cannot be changed bit by bit.
    pub(crate) fn refuse_operation(&self, name: &str) -> Result<(), SettingError> {
        Err(SettingError(format!("{name} can only be set or deleted")))
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn log_options(&self, defaults: &Defaults) -> LogOptions {
        let limit = |name: &str| self.number(name).map(|n| (n >= 0).then_some(n));
        LogOptions {
            segment_bytes: self
                .number("segment.bytes")
                .map_or(defaults.log.segment_bytes, |bytes| bytes as u64),
            retention_ms: limit("retention.ms").unwrap_or(defaults.log.retention_ms),
            retention_bytes: limit("retention.bytes")
                .map_or(defaults.log.retention_bytes, |bytes| {
                    bytes.map(|bytes| bytes as u64)
                }),
            append_time: self.has_append_time(),
            durable: defaults.log.durable,
        }
    }

    fn has_append_time(&self) -> bool {
        self.0
            .get("message.timestamp.type")
            .is_some_and(|kind| kind == LOG_APPEND_TIME)
    }

    /// Which times of records are taken.
    pub(crate) fn times(&self) -> Times {
        let span = |name, default| self.number(name).unwrap_or(default);
        Times {
            append_time: self.has_append_time(),
            before_max: span("message.timestamp.before.max.ms", BEFORE_MAX_MS),
            after_max: span("message.timestamp.after.max.ms", AFTER_MAX_MS),
        }
    }

    pub(crate) fn max_message_bytes(&self, defaults: &Defaults) -> usize {
        self.number("max.message.bytes")
            .map_or(defaults.max_message_bytes, |bytes| bytes as usize)
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.0.get(name)?.parse().ok()
    }
}

/// Every entry of a topic, in the order of names.
pub(crate) fn list_settings(settings: &TopicSettings, defaults: &Defaults) -> Vec<Setting> {
    let options = settings.log_options(defaults);
    let times = settings.times();
    let or_unlimited = |value: Option<i64>| value.unwrap_or(-1).to_string();
    let entry = |name, value, kind, documentation| Setting {
        name,
        value,
        own: settings.0.contains_key(name),
        kind,
        documentation,
    };
    vec![
        entry(
            "cleanup.policy",
            "delete".to_owned(),
            SettingKind::List,
            "Old segments are deleted; there is no compaction.",
        ),
        entry(
            "compression.type",
            "producer".to_owned(),
            SettingKind::String,
            "Batches are stored as they came.",
        ),
        entry(
            "max.message.bytes",
            settings.max_message_bytes(defaults).to_string(),
            SettingKind::Int,
            "Largest record batch taken, in bytes.",
        ),
        entry(
            "message.timestamp.after.max.ms",
            times.after_max.to_string(),
            SettingKind::Long,
            "Milliseconds that a record's time may be ahead of the broker's.",
        ),
        entry(
            "message.timestamp.before.max.ms",
            times.before_max.to_string(),
            SettingKind::Long,
            "Milliseconds that a record's time may be behind the broker's.",
        ),
        entry(
            "message.timestamp.type",
            if times.append_time {
                LOG_APPEND_TIME
            } else {
                CREATE_TIME
            }
            .to_owned(),
            SettingKind::String,
            "CreateTime: records keep their producers' times; LogAppendTime: they carry the time \
             of their append.",
        ),
        entry(
            "min.insync.replicas",
            "1".to_owned(),
            SettingKind::Int,
            "There is one replica.",
        ),
        entry(
            "retention.bytes",
            or_unlimited(options.retention_bytes.map(|bytes| bytes as i64)),
            SettingKind::Long,
            "Bytes of a partition past which its oldest segments are deleted; -1 for no limit.",
        ),
        entry(
            "retention.ms",
            or_unlimited(options.retention_ms),
            SettingKind::Long,
            "Milliseconds after which segments are deleted; -1 for never.",
        ),
        entry(
            "segment.bytes",
            options.segment_bytes.to_string(),
            SettingKind::Int,
            "Size at which a segment is closed, in bytes.",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULTS: Defaults = Defaults {
        log: LogOptions {
            segment_bytes: 4096,
            retention_ms: Some(1000),
            retention_bytes: None,
            append_time: false,
            durable: true,
        },
        max_message_bytes: 100,
    };

    #[test]
    fn what_is_set_counts_and_minus_one_lifts_a_limit() {
        let mut settings = TopicSettings::default();
        assert_eq!(settings.log_options(&DEFAULTS), DEFAULTS.log);
        settings.set("retention.ms", "-1").unwrap();
        settings.set("retention.bytes", "5000").unwrap();
        let options = settings.log_options(&DEFAULTS);
        assert_eq!(options.retention_ms, None);
        assert_eq!(options.retention_bytes, Some(5000));
        settings.unset("retention.ms");
        assert_eq!(settings.log_options(&DEFAULTS).retention_ms, Some(1000));
    }

    #[test]
    fn promises_that_cannot_be_kept_are_refused() {
        let mut settings = TopicSettings::default();
        for (name, value) in [
            ("cleanup.policy", "compact"),
            ("min.insync.replicas", "2"),
            ("retention.ms", "soon"),
            ("segment.bytes", "1"),
            ("message.timestamp.type", "Sometimes"),
            ("message.timestamp.after.max.ms", "-1"),
            ("no.such.setting", "1"),
        ] {
            let error = settings.set(name, value).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
        assert_eq!(settings, TopicSettings::default());
    }
}
