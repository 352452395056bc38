//! A topic's configuration: the entries this broker acts on, by Kafka's names.

use std::collections::BTreeMap;

use super::Defaults;
use crate::log::LogOptions;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct SettingError(String);

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
            "message.timestamp.type" => only(&["CreateTime"])?,
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
            durable: defaults.log.durable,
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
            "message.timestamp.type",
            "CreateTime".to_owned(),
            SettingKind::String,
            "Records keep their producers' timestamps.",
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
            ("no.such.setting", "1"),
        ] {
            let error = settings.set(name, value).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
        assert_eq!(settings, TopicSettings::default());
    }
}
