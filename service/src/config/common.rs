use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use kafka::{Assignor, AutoOffsetReset, Compression, Security};

use super::option::{Opt, group};
use super::security::{read_security, security_options};
use super::value::{Secret, Value};
use super::values::Values;
use crate::db::{DatabaseKind, is_readable};
use crate::logging::{LogFilter, LogFormat};

/// What every service is configured by; its own options come on top.
#[derive(Clone, Debug)]
pub struct Common {
    /// Name of the service, such as `producer-svc`.
    pub service: &'static str,
    pub kafka: KafkaConfig,
    pub http: HttpConfig,
    /// Empty for a service without a database.
    pub database: DatabaseConfig,
    pub log_format: LogFormat,
    pub log_level: LogFilter,
    pub shutdown: ShutdownConfig,
    /// Threads that run the service; 0 = one a core.
    pub worker_threads: usize,
}

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
    pub group_instance_id: Option<String>,
    /// Without a heartbeat for this long, an instance's partitions go to others.
    pub session_timeout: Duration,
    /// A record that is worked on for longer is named in an error.
    pub max_processing_time: Duration,
    pub request_timeout: Duration,
    pub metadata_max_age: Duration,
    pub create_topics: bool,
    pub topic_replication_factor: i16,
    /// Bytes of records that may wait for acknowledgement.
    pub buffer_memory: usize,
    /// How what is sent is compressed.
    pub compression: Compression,
}

/// Listeners and the bounds of what they take.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// The first is the main address, the others are extra.
    pub addresses: Vec<SocketAddr>,
    pub max_body_bytes: usize,
    /// Longest wait of a request for what it needs, such as Kafka's acknowledgement.
    pub request_timeout: Duration,
    pub max_connections: usize,
    /// From the first byte of a request to the end of its head, and again to the end of its body.
    pub read_timeout: Duration,
    /// How long a connection without a request is kept.
    pub idle_timeout: Duration,
}

/// Where the service's database is.
#[derive(Clone, Debug)]
pub struct DatabaseConfig {
    pub kind: DatabaseKind,
    /// As sqlx reads it; may hold a password.
    pub url: Secret,
    pub pool_size: u32,
}

/// How long leaving may take.
#[derive(Clone, Copy, Debug)]
pub struct ShutdownConfig {
    /// Not ready, but still serving, so that load balancers notice.
    pub drain_delay: Duration,
    /// From the end of the drain delay to exit 1.
    pub timeout: Duration,
}

impl ShutdownConfig {
    /// How long a consumer may spend on records in its handler's hands: most of the time, with some
    /// left for the last commit and for the producer.
    pub fn drain(&self) -> Duration {
        self.timeout.mul_f64(0.7)
    }

    /// How long a database may take for what is being written: consumers are told in time that it
    /// was not, and end in order.
    pub fn writes(&self) -> Duration {
        self.timeout.mul_f64(0.5)
    }
}

/// The options that every service has.
pub fn common_options(
    http_addr: &'static str,
    group_id: &'static str,
    database_url: &'static str,
) -> Vec<Opt> {
    use group::{DATABASE, HTTP, KAFKA, LOGS};
    let database = if cfg!(feature = "embedded") {
        Opt::new(
            "DATABASE_URL",
            database_url,
            DATABASE,
            "sqlite:FILE or postgres://USER:PASSWORD@HOST:PORT/NAME; the folder of a file is made.",
        )
    } else {
        Opt::unset(
            "DATABASE_URL",
            DATABASE,
            "postgres://USER:PASSWORD@HOST:PORT/NAME; or set DB_HOST and its companions.",
        )
    };
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
            "How a group divides partitions, most wanted first: cooperative-sticky, range, \
             roundrobin. To share a group with others, list one that they have too.",
        ),
        Opt::unset(
            "KAFKA_GROUP_INSTANCE_ID",
            KAFKA,
            "Static membership: a name of this instance that outlives restarts, unique in the group.",
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
        Opt::new(
            "HTTP_ADDR",
            http_addr,
            HTTP,
            "Addresses to listen at, comma-separated. The first must be free; an extra one that is \
             taken is a warning. Containers set 0.0.0.0.",
        ),
        Opt::new(
            "MAX_BODY_BYTES",
            "64KiB",
            HTTP,
            "Longest request body; a longer one gets 413.",
        ),
        Opt::new(
            "REQUEST_TIMEOUT",
            "5s",
            HTTP,
            "Longest wait of a request for Kafka or the database; then 503 with Retry-After.",
        ),
        Opt::new(
            "HTTP_MAX_CONNECTIONS",
            "10000",
            HTTP,
            "Most open connections; beyond, the longest idle one makes room, or 503.",
        ),
        Opt::new(
            "HTTP_READ_TIMEOUT",
            "10s",
            HTTP,
            "Longest time for a request's head, and for its body, to arrive; also for a client to \
             take what is sent to it.",
        ),
        Opt::new(
            "HTTP_IDLE_TIMEOUT",
            "75s",
            HTTP,
            "How long a connection without a request is kept.",
        ),
        database.secret(),
        Opt::unset(
            "DB_HOST",
            DATABASE,
            "PostgreSQL host, instead of DATABASE_URL.",
        ),
        Opt::new(
            "DB_PORT",
            "5432",
            DATABASE,
            "PostgreSQL port, with DB_HOST.",
        ),
        Opt::unset("DB_USER", DATABASE, "PostgreSQL user, with DB_HOST."),
        Opt::unset(
            "DB_PASSWORD",
            DATABASE,
            "PostgreSQL password, with DB_HOST.",
        )
        .secret(),
        Opt::unset("DB_NAME", DATABASE, "PostgreSQL database, with DB_HOST."),
        Opt::new(
            "DATABASE_POOL_SIZE",
            "8",
            DATABASE,
            "Most connections to the database.",
        ),
        Opt::new(
            "LOG_FORMAT",
            "text",
            LOGS,
            "text for people, json for Elastic Common Schema.",
        ),
        Opt::new(
            "LOG_LEVEL",
            "info",
            LOGS,
            "error, warn, info, debug or trace; per module: info,kafka=debug.",
        ),
        Opt::new(
            "SHUTDOWN_TIMEOUT",
            "10s",
            LOGS,
            "Longest orderly shutdown; then exit status 1 and a line saying what was left.",
        ),
        Opt::new(
            "SHUTDOWN_DRAIN_DELAY",
            "0s",
            LOGS,
            "How long to serve on while already not ready, so that load balancers notice.",
        ),
        Opt::new(
            "WORKER_THREADS",
            "0",
            LOGS,
            "Threads that run the service; 0 is one a core.",
        ),
    ]);
    options
}

/// The common options of a service that has no database.
pub fn common_options_without_database(
    http_addr: &'static str,
    group_id: &'static str,
) -> Vec<Opt> {
    let mut options = common_options(http_addr, group_id, "");
    options.retain(|option| option.group != group::DATABASE);
    options
}

impl Common {
    /// Takes the common options out of `values`; mistakes are noted there.
    pub fn read(service: &'static str, values: &mut Values) -> Self {
        let addresses = values.get::<Vec<SocketAddr>>("HTTP_ADDR");
        if addresses.is_empty() {
            values.mistake("HTTP_ADDR", "must name at least one address");
        }
        Self {
            service,
            kafka: KafkaConfig::read(values),
            http: HttpConfig {
                addresses,
                max_body_bytes: values.get::<ByteSize>("MAX_BODY_BYTES").0,
                request_timeout: positive(values, "REQUEST_TIMEOUT"),
                max_connections: values.checked(
                    "HTTP_MAX_CONNECTIONS",
                    "must be at least 1",
                    |n| *n > 0,
                ),
                read_timeout: positive(values, "HTTP_READ_TIMEOUT"),
                idle_timeout: positive(values, "HTTP_IDLE_TIMEOUT"),
            },
            database: DatabaseConfig::read(values),
            log_format: values.get("LOG_FORMAT"),
            log_level: values.get("LOG_LEVEL"),
            shutdown: ShutdownConfig {
                drain_delay: values.get("SHUTDOWN_DRAIN_DELAY"),
                timeout: positive(values, "SHUTDOWN_TIMEOUT"),
            },
            worker_threads: values
                .checked("WORKER_THREADS", "must be at most 1024", |n| *n <= 1024),
        }
    }
}

/// What the producer's builder takes: an empty record with its batch, to what the protocol can say.
const BUFFER_MEMORY: RangeInclusive<usize> = 256..=i32::MAX as usize;

impl KafkaConfig {
    fn read(values: &mut Values) -> Self {
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
                "must name at least one strategy",
                |list: &Vec<_>| !list.is_empty(),
            ),
            group_instance_id: values.find("KAFKA_GROUP_INSTANCE_ID"),
            session_timeout: values.checked(
                "KAFKA_SESSION_TIMEOUT",
                "must be from 1s to 30m",
                |timeout: &Duration| {
                    (Duration::from_secs(1)..=Duration::from_secs(30 * 60)).contains(timeout)
                },
            ),
            max_processing_time: positive(values, "KAFKA_MAX_PROCESSING_TIME"),
            request_timeout: values.checked(
                "KAFKA_REQUEST_TIMEOUT",
                "must be at least 1s, longer than a fetch waits for records",
                |timeout: &Duration| *timeout >= Duration::from_secs(1),
            ),
            metadata_max_age: positive(values, "KAFKA_METADATA_MAX_AGE"),
            create_topics: values.get("KAFKA_CREATE_TOPICS"),
            topic_replication_factor: values.checked(
                "KAFKA_TOPIC_REPLICATION_FACTOR",
                "must be at least 1",
                |n| *n > 0,
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

impl DatabaseConfig {
    fn read(values: &mut Values) -> Self {
        if !values.has("DATABASE_URL") {
            return Self {
                kind: DatabaseKind::Postgres,
                url: Secret::new(""),
                pool_size: 0,
            };
        }
        let pool_size = values.checked("DATABASE_POOL_SIZE", "must be at least 1", |n| *n > 0);
        let host: Option<String> = values.find("DB_HOST");
        if host.is_some() && values.is_given("DATABASE_URL") {
            values.mistake(
                "DB_HOST",
                "and DATABASE_URL are both given; set one of them",
            );
        }
        let variable = if host.is_some() {
            "DB_HOST"
        } else {
            "DATABASE_URL"
        };
        let url = match host {
            Some(host) => Self::from_parts(&host, values),
            None => {
                for part in ["DB_USER", "DB_PASSWORD", "DB_NAME"] {
                    if values.is_given(part) && !values.is_given("DATABASE_URL") {
                        values.mistake(part, "needs DB_HOST");
                    }
                }
                values.find("DATABASE_URL").unwrap_or_default()
            }
        };
        let readable = |values: &mut Values, kind| {
            if !is_readable(kind, &url) {
                values.mistake(
                    variable,
                    "does not make a URL of a database (its value is not shown)",
                );
            }
            kind
        };
        let kind = match url.split_once(':').map(|(scheme, _)| scheme) {
            Some("postgres" | "postgresql") => readable(values, DatabaseKind::Postgres),
            Some("sqlite") if cfg!(feature = "embedded") => readable(values, DatabaseKind::Sqlite),
            Some("sqlite") => {
                values.mistake(
                    "DATABASE_URL",
                    "names SQLite, which this program is built without",
                );
                DatabaseKind::Postgres
            }
            None if url.is_empty() => {
                values.mistake("DATABASE_URL", "must be set, or DB_HOST and its companions");
                DatabaseKind::Postgres
            }
            _ => {
                values.mistake("DATABASE_URL", "must begin with sqlite: or postgres:");
                DatabaseKind::Postgres
            }
        };
        Self {
            kind,
            url: Secret::new(url),
            pool_size,
        }
    }

    fn from_parts(host: &str, values: &mut Values) -> String {
        let port: u16 = values.get("DB_PORT");
        let mut part = |variable: &'static str| match values.find::<String>(variable) {
            Some(text) => percent_encoded(&text),
            None => {
                values.mistake(variable, "must be set with DB_HOST");
                String::new()
            }
        };
        let (user, name) = (part("DB_USER"), part("DB_NAME"));
        let password = match values.find::<String>("DB_PASSWORD") {
            Some(password) => format!(":{}", percent_encoded(&password)),
            None => String::new(),
        };
        let host = if host.contains(':') && !host.starts_with('[') {
            format!("[{host}]")
        } else {
            host.to_owned()
        };
        format!("postgres://{user}{password}@{host}:{port}/{name}")
    }
}

fn positive(values: &mut Values, variable: &str) -> Duration {
    values.checked(variable, "must be longer than 0", |d: &Duration| {
        !d.is_zero()
    })
}

/// RFC 3986: everything but unreserved characters.
fn percent_encoded(text: &str) -> String {
    use std::fmt::Write;
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// `65536`, `64KiB`, `32MiB`, `1GiB`.
struct ByteSize(usize);

impl Value for ByteSize {
    fn parse(text: &str) -> Result<Self, String> {
        let expected = "must be a number of bytes such as 65536, 64KiB or 32MiB";
        let end = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let number: usize = number.parse().map_err(|_| expected)?;
        let scale = match unit.trim() {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return Err(expected.to_owned()),
        };
        match number.checked_mul(scale) {
            Some(bytes) if bytes > 0 => Ok(Self(bytes)),
            _ => Err(expected.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::program::{Parsed, Program};
    use super::*;

    fn read(vars: &[(&str, &str)]) -> Result<Common, String> {
        let program = Program {
            name: "cart-svc",
            about: "",
            options: common_options("127.0.0.1:5003", "cart", "sqlite:data/cart-svc.db"),
            commands: vec![],
        };
        let folder = tempfile::tempdir().unwrap();
        let vars = vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let Parsed::Invocation(mut invocation) = program.parse([], vars, folder.path()) else {
            panic!("printed");
        };
        let common = Common::read("cart-svc", &mut invocation.values);
        invocation.values.finish(common).map_err(|m| m.to_string())
    }

    #[test]
    fn defaults_parse() {
        let common = read(&[("DATABASE_URL", "postgres://localhost/carts")]).unwrap();
        assert_eq!(common.http.max_body_bytes, 65_536);
        assert_eq!(common.http.request_timeout, Duration::from_secs(5));
        assert_eq!(common.kafka.auto_offset_reset, AutoOffsetReset::Earliest);
        assert_eq!(
            common.kafka.assignment_strategy,
            [Assignor::CooperativeSticky]
        );
        assert_eq!(common.kafka.buffer_memory, 32 << 20);
        assert_eq!(
            common.kafka.max_processing_time,
            Duration::from_secs(5 * 60)
        );
        #[cfg(feature = "embedded")]
        assert_eq!(read(&[]).unwrap().database.kind, DatabaseKind::Sqlite);
    }

    #[test]
    fn a_service_may_have_no_database() {
        let program = Program {
            name: "mail-svc",
            about: "",
            options: common_options_without_database("127.0.0.1:5004", "mail"),
            commands: vec![],
        };
        let folder = tempfile::tempdir().unwrap();
        let Parsed::Invocation(mut invocation) =
            program.parse([], std::iter::empty(), folder.path())
        else {
            panic!("printed");
        };
        assert!(!invocation.values.has("DB_HOST"));
        assert!(invocation.values.has("HTTP_ADDR"));
        let common = Common::read("mail-svc", &mut invocation.values);
        assert_eq!(common.database.url.expose(), "");
        invocation.values.finish(()).unwrap();
    }

    #[test]
    fn a_database_may_be_given_in_parts() {
        let common = read(&[
            ("DB_HOST", "db"),
            ("DB_USER", "shop"),
            ("DB_PASSWORD", "p@ss/word"),
            ("DB_NAME", "carts"),
        ])
        .unwrap();
        assert_eq!(
            common.database.url.expose(),
            "postgres://shop:p%40ss%2Fword@db:5432/carts"
        );
        assert!(!format!("{common:?}").contains("p%40ss"));
    }

    #[test]
    fn contradictions_are_named() {
        let text = read(&[
            ("DB_HOST", "db"),
            ("DATABASE_URL", "postgres://me:hunter2@db/carts"),
            ("KAFKA_ASSIGNMENT_STRATEGY", "sticky"),
            ("KAFKA_BOOTSTRAP_SERVERS", "a:b:c"),
            ("KAFKA_TOPIC_REPLICATION_FACTOR", "0"),
            ("MAX_BODY_BYTES", "64KB"),
            ("LOG_LEVEL", "loud"),
            ("SHUTDOWN_TIMEOUT", "0s"),
        ])
        .unwrap_err();
        for part in [
            "DB_HOST and DATABASE_URL",
            "DB_USER must be set",
            "KAFKA_ASSIGNMENT_STRATEGY must name",
            "KAFKA_BOOTSTRAP_SERVERS",
            "KAFKA_TOPIC_REPLICATION_FACTOR",
            "MAX_BODY_BYTES",
            "LOG_LEVEL",
            "SHUTDOWN_TIMEOUT",
        ] {
            assert!(text.contains(part), "{part:?} missing in\n{text}");
        }
        assert!(!text.contains("hunter2"), "{text}");
        assert!(read(&[("DATABASE_URL", "mysql://x")]).is_err());
    }

    #[test]
    fn what_would_be_refused_at_the_start_is_a_mistake() {
        let refused = |variable: &str, value: &str| {
            let text = read(&[(variable, value)]).unwrap_err();
            assert!(text.contains(variable), "{variable}={value}: {text}");
        };
        for memory in ["2GiB", "100"] {
            refused("KAFKA_BUFFER_MEMORY", memory);
        }
        for url in [
            "postgres://u:hunter2@h:99999/x",
            "postgres://h/x?sslmode=loud",
            "postgres://h:port/x",
        ] {
            refused("DATABASE_URL", url);
        }
        let text = read(&[("DB_HOST", "a b"), ("DB_USER", "u"), ("DB_NAME", "n")]).unwrap_err();
        assert!(text.contains("DB_HOST"), "{text}");
    }
}
