//! A topic's configuration, by Kafka's names. What this broker acts on is what it says; what has no
//! meaning on one node is taken and shown, so that programs which set it run; a value that would be
//! a promise this broker does not keep is refused.

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
    Boolean = 1,
    String = 2,
    Int = 3,
    Long = 5,
    Double = 6,
    List = 7,
}

/// A setting that topics have in Apache Kafka 4.3 (`TopicConfig` and `LogConfig`), all of them here.
struct Known {
    name: &'static str,
    kind: SettingKind,
    /// What holds where nothing is set.
    default: Unset,
    accepts: Accepts,
    documentation: &'static str,
}

/// Where the value of a setting comes from that was not set for the topic.
enum Unset {
    /// Kafka's own default.
    Kafka(&'static str),
    /// This broker's configuration.
    Broker(fn(&Defaults) -> String),
}

/// Which values a setting takes. The bounds are Kafka's, so that it refuses the same ones.
enum Accepts {
    /// Whole numbers between these two.
    Whole(i64, i64),
    /// Numbers from 0 to 1.
    Share,
    Boolean,
    OneOf(&'static [&'static str]),
    /// Any selection of these, none included.
    ListOf(&'static [&'static str]),
    /// `*`, or `partition:broker` pairs.
    Replicas,
    /// This value alone; what stands in the way of others.
    Only(&'static str, &'static str),
}

/// Whole numbers from this one on.
const fn from(low: i64) -> Accepts {
    Accepts::Whole(low, i64::MAX)
}

/// Whole numbers from this one to the greatest of 32 bits.
const fn int_from(low: i64) -> Accepts {
    Accepts::Whole(low, i32::MAX as i64)
}

const NEVER: &str = "9223372036854775807";
const CLEANUP_POLICY: &str = "cleanup.policy";
const FLUSH_MESSAGES: &str = "flush.messages";
const FLUSH_MS: &str = "flush.ms";
const MAX_MESSAGE_BYTES: &str = "max.message.bytes";
const AFTER_MAX: &str = "message.timestamp.after.max.ms";
const BEFORE_MAX: &str = "message.timestamp.before.max.ms";
const TIMESTAMP_TYPE: &str = "message.timestamp.type";
const RETENTION_BYTES: &str = "retention.bytes";
const RETENTION_MS: &str = "retention.ms";
const SEGMENT_BYTES: &str = "segment.bytes";
const SEGMENT_MS: &str = "segment.ms";

/// In the order of names.
const KNOWN: &[Known] = &[
    known(
        CLEANUP_POLICY,
        SettingKind::List,
        Unset::Kafka("delete"),
        Accepts::ListOf(&["compact", "delete"]),
        "With delete, old segments are deleted by time and size. With compact alone, or with an \
         empty list, everything is kept: this broker never removes superseded records.",
    ),
    known(
        "compression.gzip.level",
        SettingKind::Int,
        Unset::Kafka("-1"),
        Accepts::OneOf(&["-1", "1", "2", "3", "4", "5", "6", "7", "8", "9"]),
        NOT_RECOMPRESSED,
    ),
    known(
        "compression.lz4.level",
        SettingKind::Int,
        Unset::Kafka("9"),
        Accepts::Whole(1, 17),
        NOT_RECOMPRESSED,
    ),
    known(
        "compression.type",
        SettingKind::String,
        Unset::Kafka("producer"),
        Accepts::OneOf(&["producer", "uncompressed", "gzip", "snappy", "lz4", "zstd"]),
        NOT_RECOMPRESSED,
    ),
    known(
        "compression.zstd.level",
        SettingKind::Int,
        Unset::Kafka("3"),
        Accepts::Whole(-131_072, 22),
        NOT_RECOMPRESSED,
    ),
    known(
        "delete.retention.ms",
        SettingKind::Long,
        Unset::Kafka("86400000"),
        from(0),
        NOT_COMPACTED,
    ),
    known(
        "file.delete.delay.ms",
        SettingKind::Long,
        Unset::Kafka("60000"),
        from(0),
        "Has no effect: a segment's file is deleted at once.",
    ),
    known(
        FLUSH_MESSAGES,
        SettingKind::Long,
        Unset::Broker(|defaults| flush_default(defaults, "1")),
        from(1),
        FLUSH,
    ),
    known(
        FLUSH_MS,
        SettingKind::Long,
        Unset::Broker(|defaults| flush_default(defaults, "0")),
        from(0),
        FLUSH,
    ),
    known(
        "follower.replication.throttled.replicas",
        SettingKind::List,
        Unset::Kafka(""),
        Accepts::Replicas,
        ONE_REPLICA,
    ),
    known(
        "index.interval.bytes",
        SettingKind::Int,
        Unset::Kafka("4096"),
        int_from(0),
        OWN_INDEX,
    ),
    known(
        "leader.replication.throttled.replicas",
        SettingKind::List,
        Unset::Kafka(""),
        Accepts::Replicas,
        ONE_REPLICA,
    ),
    known(
        "local.retention.bytes",
        SettingKind::Long,
        Unset::Kafka("-2"),
        from(-2),
        NOT_TIERED,
    ),
    known(
        "local.retention.ms",
        SettingKind::Long,
        Unset::Kafka("-2"),
        from(-2),
        NOT_TIERED,
    ),
    known(
        "max.compaction.lag.ms",
        SettingKind::Long,
        Unset::Kafka(NEVER),
        from(1),
        NOT_COMPACTED,
    ),
    known(
        MAX_MESSAGE_BYTES,
        SettingKind::Int,
        Unset::Broker(|defaults| defaults.max_message_bytes.to_string()),
        int_from(0),
        "Largest record batch taken, in bytes.",
    ),
    known(
        AFTER_MAX,
        SettingKind::Long,
        Unset::Broker(|_| AFTER_MAX_MS.to_string()),
        from(0),
        "Milliseconds that a record's time may be ahead of the broker's.",
    ),
    known(
        BEFORE_MAX,
        SettingKind::Long,
        Unset::Broker(|_| BEFORE_MAX_MS.to_string()),
        from(0),
        "Milliseconds that a record's time may be behind the broker's.",
    ),
    known(
        TIMESTAMP_TYPE,
        SettingKind::String,
        Unset::Kafka(CREATE_TIME),
        Accepts::OneOf(&[CREATE_TIME, LOG_APPEND_TIME]),
        "CreateTime: records keep their producers' times; LogAppendTime: they carry the time of \
         their append.",
    ),
    known(
        "min.cleanable.dirty.ratio",
        SettingKind::Double,
        Unset::Kafka("0.5"),
        Accepts::Share,
        NOT_COMPACTED,
    ),
    known(
        "min.compaction.lag.ms",
        SettingKind::Long,
        Unset::Kafka("0"),
        from(0),
        NOT_COMPACTED,
    ),
    known(
        "min.insync.replicas",
        SettingKind::Int,
        Unset::Kafka("1"),
        Accepts::Only(
            "1",
            "there is one replica, so that no record with acks=all would ever be acknowledged",
        ),
        "There is one replica.",
    ),
    known(
        "preallocate",
        SettingKind::Boolean,
        Unset::Kafka("false"),
        Accepts::Boolean,
        "Has no effect: files grow as records come.",
    ),
    known(
        "remote.log.copy.disable",
        SettingKind::Boolean,
        Unset::Kafka("false"),
        Accepts::Boolean,
        NOT_TIERED,
    ),
    known(
        "remote.log.delete.on.disable",
        SettingKind::Boolean,
        Unset::Kafka("false"),
        Accepts::Boolean,
        NOT_TIERED,
    ),
    known(
        "remote.storage.enable",
        SettingKind::Boolean,
        Unset::Kafka("false"),
        Accepts::Only("false", "this broker has no tiered storage"),
        "There is no tiered storage.",
    ),
    known(
        RETENTION_BYTES,
        SettingKind::Long,
        Unset::Broker(|defaults| {
            let bytes = defaults.log.retention_bytes.map(|bytes| bytes as i64);
            bytes.unwrap_or(-1).to_string()
        }),
        from(-1),
        "Bytes of a partition past which its oldest segments are deleted; -1 for no limit.",
    ),
    known(
        RETENTION_MS,
        SettingKind::Long,
        Unset::Broker(|defaults| defaults.log.retention_ms.unwrap_or(-1).to_string()),
        from(-1),
        "Milliseconds after which segments are deleted; -1 for never.",
    ),
    known(
        SEGMENT_BYTES,
        SettingKind::Int,
        Unset::Broker(|defaults| defaults.log.segment_bytes.to_string()),
        int_from(1024),
        "Size at which a segment is closed, in bytes.",
    ),
    known(
        "segment.index.bytes",
        SettingKind::Int,
        Unset::Kafka("10485760"),
        int_from(4),
        OWN_INDEX,
    ),
    known(
        "segment.jitter.ms",
        SettingKind::Long,
        Unset::Kafka("0"),
        from(0),
        "Has no effect: segments are closed at exactly segment.ms.",
    ),
    known(
        SEGMENT_MS,
        SettingKind::Long,
        Unset::Broker(|defaults| defaults.log.segment_ms.to_string()),
        from(1),
        "Age at which a segment is closed, in milliseconds.",
    ),
    known(
        "unclean.leader.election.enable",
        SettingKind::Boolean,
        Unset::Kafka("false"),
        Accepts::Boolean,
        ONE_REPLICA,
    ),
];

const NOT_RECOMPRESSED: &str =
    "Has no effect: batches are stored and served as their producers compressed them.";
const NOT_COMPACTED: &str = "Has no effect: this broker never removes superseded records.";
const NOT_TIERED: &str = "Has no effect: there is no tiered storage.";
const ONE_REPLICA: &str = "Has no effect: there is one replica.";
const OWN_INDEX: &str = "Has no effect: this broker's index has a fixed spacing.";
const FLUSH: &str = "With any value below the greatest, every batch is forced to the device before it is acknowledged.";

const fn known(
    name: &'static str,
    kind: SettingKind,
    default: Unset,
    accepts: Accepts,
    documentation: &'static str,
) -> Known {
    Known {
        name,
        kind,
        default,
        accepts,
        documentation,
    }
}

fn flush_default(defaults: &Defaults, always: &str) -> String {
    let value = if defaults.log.durable { always } else { NEVER };
    value.to_owned()
}

impl Known {
    fn find(name: &str) -> Result<&'static Self, SettingError> {
        KNOWN
            .iter()
            .find(|known| known.name == name)
            .ok_or_else(|| SettingError(format!("unknown topic setting {name:?}")))
    }

    /// The value as it is stored, if it is one that this broker keeps to.
    fn check(&self, value: &str) -> Result<String, SettingError> {
        let value = value.trim();
        let refuse = |wanted: String| {
            let name = self.name;
            SettingError(format!("{name} must be {wanted}, not {value:?}"))
        };
        let accepted = match self.accepts {
            Accepts::Whole(low, high) => value
                .parse::<i64>()
                .is_ok_and(|number| (low..=high).contains(&number))
                .then(|| value.to_owned())
                .ok_or_else(|| match high {
                    i64::MAX => format!("a whole number of at least {low}"),
                    _ => format!("a whole number from {low} to {high}"),
                }),
            Accepts::Share => value
                .parse::<f64>()
                .is_ok_and(|number| (0.0..=1.0).contains(&number))
                .then(|| value.to_owned())
                .ok_or_else(|| "a number from 0 to 1".to_owned()),
            Accepts::Boolean => Some(value.to_ascii_lowercase())
                .filter(|value| matches!(value.as_str(), "true" | "false"))
                .ok_or_else(|| "true or false".to_owned()),
            Accepts::OneOf(allowed) => allowed
                .contains(&value)
                .then(|| value.to_owned())
                .ok_or_else(|| format!("one of {}", allowed.join(", "))),
            Accepts::ListOf(allowed) => Some(entries(value))
                .filter(|entries| entries.iter().all(|entry| allowed.contains(entry)))
                .map(|entries| entries.join(","))
                .ok_or_else(|| format!("a list of {}", allowed.join(" and "))),
            Accepts::Replicas => Some(entries(value))
                .filter(|entries| entries[..] == ["*"] || entries.iter().all(is_replica))
                .map(|entries| entries.join(","))
                .ok_or_else(|| "* or a list of partition:broker pairs".to_owned()),
            Accepts::Only(allowed, reason) => value
                .eq_ignore_ascii_case(allowed)
                .then(|| allowed.to_owned())
                .ok_or_else(|| format!("{allowed} on this broker ({reason})")),
        };
        accepted.map_err(refuse)
    }

    fn default(&self, defaults: &Defaults) -> String {
        match self.default {
            Unset::Kafka(value) => value.to_owned(),
            Unset::Broker(of) => of(defaults),
        }
    }
}

/// The entries of a list, each once.
fn entries(list: &str) -> Vec<&str> {
    let mut entries = Vec::new();
    for entry in list.split(',').map(str::trim) {
        if !entry.is_empty() && !entries.contains(&entry) {
            entries.push(entry);
        }
    }
    entries
}

fn is_replica(entry: &&str) -> bool {
    entry.split_once(':').is_some_and(|(partition, broker)| {
        partition.parse::<u32>().is_ok() && broker.parse::<u32>().is_ok()
    })
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
