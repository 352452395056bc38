use std::ops::RangeInclusive;
use std::time::Duration;

use kafka::{Assignor, AutoOffsetReset, Compression, Security};

use super::byte_size::ByteSize;
use super::option::{Opt, group::KAFKA};
use super::security::{read_security, security_options};
use super::value::Retention;
use super::values::Values;
use crate::instance::{Instance, is_instance_name};

/// Where Kafka is and how groups behave.
#[derive(Clone, Debug)]
pub struct KafkaConfig {
    /// `host:port`, comma-separated, as written by the user and already checked.
    pub bootstrap_servers: String,
    /// TLS and login; its files are read.
    pub security: Security,
    /// The service's first group.
    pub group_id: String,
    /// Where a group without a committed offset begins.
    pub auto_offset_reset: AutoOffsetReset,
    /// How a group divides partitions, most wanted first.
    pub assignment_strategy: Vec<Assignor>,
    /// Groups that have strategies of their own.
    group_strategies: Vec<(String, Vec<Assignor>)>,
    /// The static member id that somebody chose.
    pub group_instance_id: Option<String>,
    /// The name of the pod or container, or `hostname`.
    pub instance_name: Option<String>,
    /// What this process is known by ([`Common::claim_instance`](super::Common::claim_instance)); `None` before it is
    /// claimed.
    pub instance: Option<Instance>,
    /// Without a heartbeat for this long, an instance's partitions go to others.
    pub session_timeout: Duration,
    /// A record that is worked on for longer is named in an error.
    pub max_processing_time: Duration,
    pub request_timeout: Duration,
    pub metadata_max_age: Duration,
    pub create_topics: bool,
    pub topic_replication_factor: i16,
    /// How long topics of dead letters that are created keep them.
    pub dead_letter_retention: Retention,
    /// Bytes of records that may wait for acknowledgement.
    pub buffer_memory: usize,
    /// How what is sent is compressed.
    pub compression: Compression,
}

/// `group_id` is the default of the service's first group.
pub(super) fn kafka_options(group_id: &'static str) -> Vec<Opt> {
    let bootstrap_servers = Opt::new(
        "KAFKA_BOOTSTRAP_SERVERS",
        "localhost:9092",
        KAFKA,
        "Brokers to learn the cluster from: host:port, comma-separated.",
    )
    .aliases(&["KAFKA_BROKERS"]);
    let mut options = vec![bootstrap_servers];
    options.extend(security_options());
    options.extend([
        Opt::new(
            "KAFKA_GROUP_ID",
            group_id,
            KAFKA,
            "The service's first consumer group.",
        ),
        Opt::new(
            "KAFKA_AUTO_OFFSET_RESET",
            "earliest",
            KAFKA,
            "Where a group without a committed offset begins: earliest, latest, or none (an error).",
        ),
        Opt::new(
            "KAFKA_ASSIGNMENT_STRATEGY",
            "cooperative-sticky",
            KAFKA,
            "How groups divide partitions, most wanted first: cooperative-sticky, range, roundrobin, \
             RoundRobinAssigner (kafkajs). To share a group with others, list one that they have too; \
             a list that mixes cooperative-sticky with others stops all of a group in each rebalance.",
        ),
        Opt::unset(
            "KAFKA_GROUP_INSTANCE_ID",
            KAFKA,
            "Static membership: a name of this instance that outlives restarts, unique in the group. Without it one is \
             kept in the folder of the SQLite database, or INSTANCE_NAME taken.",
        ),
        Opt::unset(
            "INSTANCE_NAME",
            KAFKA,
            "Name of the pod or container that this process runs in, of one process at a time and the same after its \
             restart, so that it takes up its partitions at once; hostname: the machine's host name, which in a \
             container is its own.",
        ),
        Opt::new(
            "KAFKA_SESSION_TIMEOUT",
            "45s",
            KAFKA,
            "How long after its last heartbeat a dead instance's partitions go to others; within \
             the broker's bounds (group.min.session.timeout.ms, 6 s).",
        ),
        Opt::new(
            "KAFKA_MAX_PROCESSING_TIME",
            "5m",
            KAFKA,
            "How long one record may be worked on before an error in the log names it, with its \
             topic, partition, offset and age; it is not given up.",
        ),
        Opt::new(
            "KAFKA_REQUEST_TIMEOUT",
            "30s",
            KAFKA,
            "How long a request to Kafka may take before its connection is given up.",
        ),
        Opt::new(
            "KAFKA_METADATA_MAX_AGE",
            "5m",
            KAFKA,
            "How soon partitions that are added to a topic are seen.",
        ),
        Opt::new(
            "KAFKA_CREATE_TOPICS",
            "true",
            KAFKA,
            "Create missing topics at start.",
        ),
        Opt::new(
            "KAFKA_TOPIC_REPLICATION_FACTOR",
            "1",
            KAFKA,
            "Replicas of topics that are created; 3 on a cluster.",
        ),
        Opt::new(
            "DEAD_LETTER_RETENTION",
            "unlimited",
            KAFKA,
            "How long the topics of dead letters that this service creates keep them, such as 90d; \
             unlimited: until somebody deletes them.",
        ),
        Opt::new(
            "KAFKA_BUFFER_MEMORY",
            "32MiB",
            KAFKA,
            "Most bytes of records that may wait for their acknowledgement.",
        ),
        Opt::new(
            "KAFKA_COMPRESSION",
            "none",
            KAFKA,
            "How what is sent is compressed: none, gzip, snappy, lz4, zstd. lz4 spares the broker \
             most; every reader must know the codec.",
        ),
    ]);
    options
}

/// What the producer's builder takes: an empty record with its batch, to what the protocol can say.
const BUFFER_MEMORY: RangeInclusive<usize> = 256..=i32::MAX as usize;

/// What is wrong with a list of strategies.
const NO_STRATEGY: &str = "must name at least one strategy";

/// The option for the strategies of one group of a service.
pub fn strategy_option(variable: &'static str) -> Opt {
    Opt::unset(
        variable,
        KAFKA,
        "How that group divides partitions; default: as KAFKA_ASSIGNMENT_STRATEGY says.",
    )
}

impl KafkaConfig {
    /// Takes the strategies of `group` out of `values`; not set, it has those of all groups.
    pub fn read_strategy(&mut self, values: &mut Values, variable: &str, group: &str) {
        let Some(strategies) = values.find::<Vec<Assignor>>(variable) else {
            return;
        };
        if strategies.is_empty() {
            values.mistake(variable, NO_STRATEGY);
        }
        self.group_strategies.push((group.to_owned(), strategies));
    }

    /// How `group` divides partitions, most wanted first.
    pub fn strategies(&self, group: &str) -> &[Assignor] {
        self.group_strategies
            .iter()
            .find(|(of, _)| of == group)
            .map_or(&self.assignment_strategy, |(_, strategies)| strategies)
    }

    pub(super) fn read(values: &mut Values) -> Self {
        let bootstrap_servers: String = values.get("KAFKA_BOOTSTRAP_SERVERS");
        if let Err(wrong) = kafka::ClientConfig::new(&bootstrap_servers) {
            values.mistake("KAFKA_BOOTSTRAP_SERVERS", wrong.problem);
        }
        Self {
            bootstrap_servers,
            security: read_security(values),
            group_id: values.get("KAFKA_GROUP_ID"),
            auto_offset_reset: values.get("KAFKA_AUTO_OFFSET_RESET"),
            assignment_strategy: values.checked(
                "KAFKA_ASSIGNMENT_STRATEGY",
                NO_STRATEGY,
                |list: &Vec<_>| !list.is_empty(),
            ),
            group_strategies: Vec::new(),
            group_instance_id: values.find("KAFKA_GROUP_INSTANCE_ID"),
            instance_name: {
                let name: Option<String> = values.find("INSTANCE_NAME");
                if name.as_deref().is_some_and(|name| !is_instance_name(name)) {
                    values.mistake(
                        "INSTANCE_NAME",
                        "must be 1 to 249 letters, digits, '.', '_' or '-'",
                    );
                }
                name
            },
            instance: None,
            session_timeout: values.checked(
                "KAFKA_SESSION_TIMEOUT",
                "must be from 1s to 30m",
                |timeout: &Duration| {
                    (Duration::from_secs(1)..=Duration::from_secs(30 * 60)).contains(timeout)
                },
            ),
            max_processing_time: values.positive("KAFKA_MAX_PROCESSING_TIME"),
            request_timeout: values.checked(
                "KAFKA_REQUEST_TIMEOUT",
                "must be at least 1s, longer than a fetch waits for records",
                |timeout: &Duration| *timeout >= Duration::from_secs(1),
            ),
            metadata_max_age: values.positive("KAFKA_METADATA_MAX_AGE"),
            create_topics: values.get("KAFKA_CREATE_TOPICS"),
            topic_replication_factor: values.checked(
                "KAFKA_TOPIC_REPLICATION_FACTOR",
                "must be at least 1",
                |n| *n > 0,
            ),
            dead_letter_retention: values.checked(
                "DEAD_LETTER_RETENTION",
                "must be longer than 0, or unlimited",
                |retention: &Retention| retention.0 != Some(Duration::ZERO),
            ),
            buffer_memory: values
                .checked(
                    "KAFKA_BUFFER_MEMORY",
                    "must be from 256 bytes to 2147483647",
                    |memory: &ByteSize| BUFFER_MEMORY.contains(&memory.0),
                )
                .0,
            compression: values.get("KAFKA_COMPRESSION"),
        }
    }
}
