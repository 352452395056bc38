//! A topic's configuration, by Kafka's names. What this broker acts on is what it says; what has no
//! meaning on one node is taken and shown, so that programs which set it run; a value that would be
//! a promise this broker does not keep is refused.

mod known;
mod times;

use std::collections::BTreeMap;

use self::known::{
    AFTER_MAX, BEFORE_MAX, CLEANUP_POLICY, FLUSH_MESSAGES, FLUSH_MS, KNOWN, Known, LOG_APPEND_TIME,
    MAX_MESSAGE_BYTES, RETENTION_BYTES, RETENTION_MS, SEGMENT_BYTES, SEGMENT_MS, TIMESTAMP_TYPE,
    entries,
};
pub(crate) use self::times::Times;
use self::times::{AFTER_MAX_MS, BEFORE_MAX_MS};
use super::Defaults;
use crate::log::LogOptions;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct SettingError(String);

/// The timestamp of a record that has none.
pub(crate) const NO_TIME: i64 = -1;

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
    Boolean = 1,
    String = 2,
    Int = 3,
    Long = 5,
    Double = 6,
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
        let value = Known::find(name)?.check(value)?;
        self.0.insert(name.to_owned(), value);
        Ok(())
    }

    /// Goes back to the broker's value.
    pub(crate) fn unset(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// Adds entries to a list.
    pub(crate) fn append(
        &mut self,
        name: &str,
        value: &str,
        defaults: &Defaults,
    ) -> Result<(), SettingError> {
        let now = self.list(name, defaults)?;
        self.set(name, &format!("{now},{value}"))
    }

    /// Takes entries from a list.
    pub(crate) fn subtract(
        &mut self,
        name: &str,
        value: &str,
        defaults: &Defaults,
    ) -> Result<(), SettingError> {
        let now = self.list(name, defaults)?;
        let less = entries(value);
        let mut left = entries(&now);
        left.retain(|entry| !less.contains(entry));
        self.set(name, &left.join(","))
    }

    fn list(&self, name: &str, defaults: &Defaults) -> Result<String, SettingError> {
        let known = Known::find(name)?;
        if known.kind != SettingKind::List {
            return Err(SettingError(format!(
                "{name} is not a list: it can only be set or deleted"
            )));
        }
        Ok(self.value(known, defaults))
    }

    /// Says that an operation on an entry is not one of the protocol's.
    pub(crate) fn refuse_operation(&self, name: &str, operation: i8) -> Result<(), SettingError> {
        Err(SettingError(format!(
            "{name}: there is no operation {operation} on a setting"
        )))
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn log_options(&self, defaults: &Defaults) -> LogOptions {
        let limit = |name: &str| self.number(name).map(|n| (n >= 0).then_some(n));
        let retention_ms = limit(RETENTION_MS).unwrap_or(defaults.log.retention_ms);
        let retention_bytes = limit(RETENTION_BYTES)
            .map_or(defaults.log.retention_bytes, |bytes| {
                bytes.map(|bytes| bytes as u64)
            });
        let deletes = self.deletes();
        LogOptions {
            segment_bytes: self
                .number(SEGMENT_BYTES)
                .map_or(defaults.log.segment_bytes, |bytes| bytes as u64),
            segment_ms: self.number(SEGMENT_MS).unwrap_or(defaults.log.segment_ms),
            retention_ms: retention_ms.filter(|_| deletes),
            retention_bytes: retention_bytes.filter(|_| deletes),
            append_time: self.has_append_time(),
            durable: defaults.log.durable || self.flushes(),
        }
    }

    fn has_append_time(&self) -> bool {
        self.0
            .get(TIMESTAMP_TYPE)
            .is_some_and(|kind| kind == LOG_APPEND_TIME)
    }

    /// Which times of records are taken.
    pub(crate) fn times(&self) -> Times {
        let span = |name, default| self.number(name).unwrap_or(default);
        Times {
            append_time: self.has_append_time(),
            before_max: span(BEFORE_MAX, BEFORE_MAX_MS),
            after_max: span(AFTER_MAX, AFTER_MAX_MS),
        }
    }

    pub(crate) fn max_message_bytes(&self, defaults: &Defaults) -> usize {
        self.number(MAX_MESSAGE_BYTES)
            .map_or(defaults.max_message_bytes, |bytes| bytes as usize)
    }

    /// Whether the topic wants its records on the device after so many of them, or so much time.
    pub(crate) fn flushes(&self) -> bool {
        [FLUSH_MESSAGES, FLUSH_MS]
            .iter()
            .any(|name| self.number(name).is_some_and(|limit| limit < i64::MAX))
    }

    /// Whether old records may be deleted: by age, by size, or because a client asks for it.
    pub(crate) fn deletes(&self) -> bool {
        self.has_policy("delete")
    }

    /// Whether every record needs a key, since the newest one of a key stands for it.
    pub(crate) fn compacts(&self) -> bool {
        self.has_policy("compact")
    }

    fn has_policy(&self, policy: &str) -> bool {
        let set = self.0.get(CLEANUP_POLICY).map_or("delete", String::as_str);
        set.split(',').any(|entry| entry == policy)
    }

    fn value(&self, known: &Known, defaults: &Defaults) -> String {
        self.0
            .get(known.name)
            .cloned()
            .unwrap_or_else(|| known.default(defaults))
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.0.get(name)?.parse().ok()
    }
}

/// Every entry of a topic, in the order of names.
pub(crate) fn list_settings(settings: &TopicSettings, defaults: &Defaults) -> Vec<Setting> {
    KNOWN
        .iter()
        .map(|known| Setting {
            name: known.name,
            value: settings.value(known, defaults),
            own: settings.0.contains_key(known.name),
            kind: known.kind,
            documentation: known.documentation,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::known::NEVER;
    use super::*;

    const DEFAULTS: Defaults = Defaults {
        log: LogOptions {
            segment_bytes: 4096,
            segment_ms: 500,
            retention_ms: Some(1000),
            retention_bytes: Some(2000),
            append_time: false,
            durable: false,
        },
        max_message_bytes: 100,
    };

    fn set(entries: &[(&str, &str)]) -> TopicSettings {
        let mut settings = TopicSettings::default();
        for (name, value) in entries {
            settings.set(name, value).unwrap();
        }
        settings
    }

    #[test]
    fn what_is_set_counts_and_minus_one_lifts_a_limit() {
        let mut settings = TopicSettings::default();
        assert_eq!(settings.log_options(&DEFAULTS), DEFAULTS.log);
        settings.set("retention.ms", "-1").unwrap();
        settings.set("retention.bytes", "5000").unwrap();
        settings.set("segment.ms", "70").unwrap();
        let options = settings.log_options(&DEFAULTS);
        assert_eq!(options.retention_ms, None);
        assert_eq!(options.retention_bytes, Some(5000));
        assert_eq!(options.segment_ms, 70);
        settings.unset("retention.ms");
        assert_eq!(settings.log_options(&DEFAULTS).retention_ms, Some(1000));
    }

    #[test]
    fn without_the_policy_delete_neither_time_nor_size_deletes() {
        for policy in ["compact", ""] {
            let options = set(&[("cleanup.policy", policy), ("retention.ms", "5")]);
            let options = options.log_options(&DEFAULTS);
            assert_eq!(options.retention_ms, None, "{policy:?}");
            assert_eq!(options.retention_bytes, None, "{policy:?}");
        }
        for policy in ["delete", "compact,delete", "delete, compact"] {
            let settings = set(&[("cleanup.policy", policy), ("retention.ms", "5")]);
            let options = settings.log_options(&DEFAULTS);
            assert_eq!(options.retention_ms, Some(5), "{policy:?}");
            assert_eq!(options.retention_bytes, Some(2000), "{policy:?}");
        }
    }

    #[test]
    fn a_topic_that_wants_to_be_flushed_is() {
        for (name, value, durable) in [
            ("flush.messages", "1", true),
            ("flush.messages", NEVER, false),
            ("flush.ms", "1000", true),
            ("flush.ms", NEVER, false),
        ] {
            let options = set(&[(name, value)]).log_options(&DEFAULTS);
            assert_eq!(options.durable, durable, "{name}={value}");
        }
    }

    /// Every topic setting of Apache Kafka 4.3 at its own default, as `kafka-configs --describe --all`
    /// shows them.
    #[test]
    fn kafkas_own_defaults_are_taken_and_shown() {
        let defaults = [
            ("cleanup.policy", "delete"),
            ("compression.gzip.level", "-1"),
            ("compression.lz4.level", "9"),
            ("compression.type", "producer"),
            ("compression.zstd.level", "3"),
            ("delete.retention.ms", "86400000"),
            ("file.delete.delay.ms", "60000"),
            ("flush.messages", NEVER),
            ("flush.ms", NEVER),
            ("follower.replication.throttled.replicas", ""),
            ("index.interval.bytes", "4096"),
            ("leader.replication.throttled.replicas", ""),
            ("local.retention.bytes", "-2"),
            ("local.retention.ms", "-2"),
            ("max.compaction.lag.ms", NEVER),
            ("max.message.bytes", "1048588"),
            ("message.timestamp.after.max.ms", "3600000"),
            ("message.timestamp.before.max.ms", NEVER),
            ("message.timestamp.type", "CreateTime"),
            ("min.cleanable.dirty.ratio", "0.5"),
            ("min.compaction.lag.ms", "0"),
            ("min.insync.replicas", "1"),
            ("preallocate", "false"),
            ("remote.log.copy.disable", "false"),
            ("remote.log.delete.on.disable", "false"),
            ("remote.storage.enable", "false"),
            ("retention.bytes", "-1"),
            ("retention.ms", "604800000"),
            ("segment.bytes", "1073741824"),
            ("segment.index.bytes", "10485760"),
            ("segment.jitter.ms", "0"),
            ("segment.ms", "604800000"),
            ("unclean.leader.election.enable", "false"),
        ];
        let settings = set(&defaults);
        let shown = list_settings(&settings, &DEFAULTS);
        let shown: Vec<_> = shown
            .iter()
            .map(|setting| (setting.name, setting.value.as_str()))
            .collect();
        assert_eq!(shown, defaults);
    }

    #[test]
    fn values_that_kafka_refuses_or_this_broker_cannot_keep_are_refused() {
        let mut settings = TopicSettings::default();
        for (name, value) in [
            ("cleanup.policy", "none"),
            ("compression.gzip.level", "0"),
            ("compression.lz4.level", "18"),
            ("compression.type", "none"),
            ("flush.messages", "0"),
            ("leader.replication.throttled.replicas", "x"),
            ("local.retention.ms", "-3"),
            ("max.compaction.lag.ms", "0"),
            ("min.cleanable.dirty.ratio", "1.1"),
            ("min.insync.replicas", "2"),
            ("preallocate", "yes"),
            ("remote.storage.enable", "true"),
            ("retention.ms", "soon"),
            ("segment.bytes", "1"),
            ("message.timestamp.type", "Sometimes"),
            ("message.timestamp.after.max.ms", "-1"),
            ("segment.bytes", "3000000000"),
            ("segment.ms", "0"),
            ("message.format.version", "3.0"),
        ] {
            let error = settings.set(name, value).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
        assert_eq!(settings, TopicSettings::default());
    }

    #[test]
    fn lists_grow_and_shrink_and_nothing_else_does() {
        let mut settings = TopicSettings::default();
        let policy = |settings: &TopicSettings| settings.0["cleanup.policy"].clone();
        settings
            .append("cleanup.policy", "compact", &DEFAULTS)
            .unwrap();
        assert_eq!(policy(&settings), "delete,compact");
        settings
            .subtract("cleanup.policy", "delete", &DEFAULTS)
            .unwrap();
        assert_eq!(policy(&settings), "compact");
        assert!(settings.append("retention.ms", "1", &DEFAULTS).is_err());
    }
}
