//! What a broker is told at its start.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// When stored bytes are forced to the device.
///
/// With any policy an acknowledged record survives the death of the process; the policy decides
/// about the death of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fsync {
    /// Whenever the operating system likes; Kafka's own default.
    Never,
    /// At least this often, in the background.
    Interval(Duration),
    /// Before every acknowledgement of records and commits.
    Always,
}

/// Where clients are told to connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advertised {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// A broker's settings. [`Config::new`] gives the defaults; fields are public to change.
#[derive(Debug, Clone)]
pub struct Config {
    /// Address to listen on; port 0 takes a free one. Default 127.0.0.1:0.
    pub listen: SocketAddr,
    /// What metadata answers name. Default: the address the asking client connected to.
    pub advertised: Option<Advertised>,
    /// Folder of everything stored; created if missing, and held by one broker at a time.
    pub data_dir: PathBuf,
    /// This broker's id in the cluster of one. Default 1.
    pub node_id: i32,
    /// Partitions of a topic created without a number. Default 1 (Kafka's `num.partitions`).
    pub default_partitions: i32,
    /// Whether a metadata request may create a topic. Default true (`auto.create.topics.enable`).
    pub auto_create_topics: bool,
    /// Age after which whole segments are deleted. Default 7 days (`log.retention.hours`).
    pub retention: Option<Duration>,
    /// Bytes of a partition past which its oldest segments are deleted. Default none
    /// (`log.retention.bytes`).
    pub retention_bytes: Option<u64>,
    /// Size at which a segment is closed, in bytes. Default 64 MiB, so that retention by size has
    /// steps smaller than Kafka's 1 GiB.
    pub segment_bytes: u64,
    /// Time between two looks at retention. Default 60 s (Kafka: 5 min).
    pub retention_check_interval: Duration,
    /// Largest record batch taken, in bytes. Default 1,048,588 (`message.max.bytes`).
    pub max_message_bytes: usize,
    /// Largest request taken, in bytes. Default 100 MiB (`socket.request.max.bytes`).
    pub max_frame_bytes: usize,
    /// Most bytes of records in one answer to a fetch. Default 55 MiB (`fetch.max.bytes`).
    pub max_fetch_bytes: usize,
    /// Connections at a time; further ones are closed at once. Default 4,096, and never more than half of
    /// what the operating system lets the process open.
    pub max_connections: usize,
    /// A connection on which nothing is asked for this long is closed. Default 10 min
    /// (`connections.max.idle.ms`).
    pub connections_max_idle: Duration,
    /// Partitions of all topics together; more are not created, those that are there are kept. Default
    /// 4,000: each costs files, memory and time at a start.
    pub max_partitions: usize,
    /// When stored bytes are forced to the device. Default [`Fsync::Never`].
    pub fsync: Fsync,
    /// Consumer groups.
    pub group: GroupConfig,
}

/// Settings of the group coordinator.
#[derive(Debug, Clone)]
pub struct GroupConfig {
    /// Shortest session timeout a member may ask for. Default 6 s (`group.min.session.timeout.ms`).
    pub min_session_timeout: Duration,
    /// Longest session timeout a member may ask for. Default 30 min
    /// (`group.max.session.timeout.ms`).
    pub max_session_timeout: Duration,
    /// How long an empty group waits for more members before its first assignment. Default 0, so
    /// that a first member starts at once (Kafka: 3 s, `group.initial.rebalance.delay.ms`).
    pub initial_rebalance_delay: Duration,
    /// How long the commits of an empty group are kept. Default 7 days
    /// (`offsets.retention.minutes`).
    pub offsets_retention: Duration,
    /// Longest metadata of a commit, in bytes. Default 4,096 (`offset.metadata.max.bytes`).
    pub max_offset_metadata_bytes: usize,
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self {
            min_session_timeout: Duration::from_secs(6),
            max_session_timeout: Duration::from_secs(30 * 60),
            initial_rebalance_delay: Duration::ZERO,
            offsets_retention: Duration::from_secs(7 * 24 * 60 * 60),
            max_offset_metadata_bytes: 4096,
        }
    }
}

impl Config {
    /// Defaults, with everything stored in `data_dir`.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            advertised: None,
            data_dir: data_dir.into(),
            node_id: 1,
            default_partitions: 1,
            auto_create_topics: true,
            retention: Some(Duration::from_secs(7 * 24 * 60 * 60)),
            retention_bytes: None,
            segment_bytes: 64 * 1024 * 1024,
            retention_check_interval: Duration::from_secs(60),
            max_message_bytes: 1_048_588,
            max_frame_bytes: 100 * 1024 * 1024,
            max_fetch_bytes: 55 * 1024 * 1024,
            max_connections: 4096,
            connections_max_idle: Duration::from_secs(10 * 60),
            max_partitions: 4000,
            fsync: Fsync::Never,
            group: GroupConfig::default(),
        }
    }

    /// Every mistake in the settings, in words.
    pub(crate) fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        let mut check = |holds: bool, text: &str| {
            if !holds {
                mistakes.push(text.to_owned());
            }
        };
        check(self.node_id >= 0, "node_id must not be negative");
        check(
            (1..=crate::topics::MAX_PARTITIONS).contains(&self.default_partitions),
            "default_partitions must be between 1 and 10000",
        );
        check(
            self.segment_bytes >= 1024,
            "segment_bytes must be at least 1024",
        );
        check(
            self.max_message_bytes <= self.max_frame_bytes,
            "max_message_bytes must not be above max_frame_bytes",
        );
        check(
            (1024..=i32::MAX as usize).contains(&self.max_frame_bytes),
            "max_frame_bytes must be between 1024 and 2147483647",
        );
        check(
            self.max_connections >= 1,
            "max_connections must be at least 1",
        );
        check(
            !self.connections_max_idle.is_zero(),
            "connections_max_idle must not be zero",
        );
        check(
            self.max_partitions >= 1,
            "max_partitions must be at least 1",
        );
        check(
            self.group.min_session_timeout <= self.group.max_session_timeout,
            "group.min_session_timeout must not be above group.max_session_timeout",
        );
        check(
            !self.retention_check_interval.is_zero(),
            "retention_check_interval must not be zero",
        );
        check(
            self.fsync != Fsync::Interval(Duration::ZERO),
            "an fsync interval must not be zero",
        );
        mistakes
    }
}
