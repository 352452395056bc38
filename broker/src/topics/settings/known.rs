//! The settings that there are: their names and kinds, which values each takes, and what holds where nothing is set.

use super::super::Defaults;
use super::times::{AFTER_MAX_MS, BEFORE_MAX_MS};
use super::{SettingError, SettingKind};

/// Values of `message.timestamp.type`.
const CREATE_TIME: &str = "CreateTime";
pub(super) const LOG_APPEND_TIME: &str = "LogAppendTime";

/// A setting that topics have in Apache Kafka 4.3 (`TopicConfig` and `LogConfig`), all of them here.
pub(super) struct Known {
    pub(super) name: &'static str,
    pub(super) kind: SettingKind,
    /// What holds where nothing is set.
    default: Unset,
    accepts: Accepts,
    pub(super) documentation: &'static str,
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

pub(super) const NEVER: &str = "9223372036854775807";
pub(super) const CLEANUP_POLICY: &str = "cleanup.policy";
pub(super) const FLUSH_MESSAGES: &str = "flush.messages";
pub(super) const FLUSH_MS: &str = "flush.ms";
pub(super) const MAX_MESSAGE_BYTES: &str = "max.message.bytes";
pub(super) const AFTER_MAX: &str = "message.timestamp.after.max.ms";
pub(super) const BEFORE_MAX: &str = "message.timestamp.before.max.ms";
pub(super) const TIMESTAMP_TYPE: &str = "message.timestamp.type";
pub(super) const RETENTION_BYTES: &str = "retention.bytes";
pub(super) const RETENTION_MS: &str = "retention.ms";
pub(super) const SEGMENT_BYTES: &str = "segment.bytes";
pub(super) const SEGMENT_MS: &str = "segment.ms";

/// In the order of names.
pub(super) const KNOWN: &[Known] = &[
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
    pub(super) fn find(name: &str) -> Result<&'static Self, SettingError> {
        KNOWN
            .iter()
            .find(|known| known.name == name)
            .ok_or_else(|| SettingError(format!("unknown topic setting {name:?}")))
    }

    /// The value as it is stored, if it is one that this broker keeps to.
    pub(super) fn check(&self, value: &str) -> Result<String, SettingError> {
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

    pub(super) fn default(&self, defaults: &Defaults) -> String {
        match self.default {
            Unset::Kafka(value) => value.to_owned(),
            Unset::Broker(of) => of(defaults),
        }
    }
}

/// The entries of a list, each once.
pub(super) fn entries(list: &str) -> Vec<&str> {
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
