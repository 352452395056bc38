use super::database::{DatabaseConfig, database_options};
use super::http::{HttpConfig, http_options};
use super::kafka::{KafkaConfig, kafka_options};
use super::option::{Opt, group};
use super::shutdown::{ShutdownConfig, shutdown_options};
use super::topic_name::TopicName;
use super::values::Values;
use crate::auth::{AuthConfig, auth_options};
use crate::clock::Clock;
use crate::logging::{LogFilter, LogFormat};

/// What every service is configured by; its own options come on top.
#[derive(Clone, Debug)]
pub struct Common {
    /// Name of the service, such as `producer-svc`.
    pub service: &'static str,
    pub kafka: KafkaConfig,
    pub http: HttpConfig,
    pub auth: AuthConfig,
    pub database: DatabaseConfig,
    pub log_format: LogFormat,
    pub log_level: LogFilter,
    /// Where log records are shipped to as well.
    pub log_topic: Option<TopicName>,
    pub shutdown: ShutdownConfig,
    /// Threads that run the service; 0 = one a core.
    pub worker_threads: usize,
    /// Where the time of day comes from; no option sets it.
    pub clock: Clock,
}

/// The options that every service has.
pub fn common_options(
    http_addr: &'static str,
    group_id: &'static str,
    database_url: &'static str,
) -> Vec<Opt> {
    use group::LOGS;
    let mut options = kafka_options(group_id);
    options.extend(http_options(http_addr));
    options.extend(auth_options());
    options.extend(database_options(database_url));
    options.extend([
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
        Opt::unset(
            "LOG_TOPIC",
            LOGS,
            "Topic that log records of info and above are sent to as well, such as logs; \
             notifier-svc collects them.",
        ),
    ]);
    options.extend(shutdown_options());
    options.push(Opt::new(
        "WORKER_THREADS",
        "0",
        LOGS,
        "Threads that run the service; 0 is one a core.",
    ));
    options
}

impl Common {
    /// Takes the common options out of `values`; mistakes are noted there.
    pub fn read(service: &'static str, values: &mut Values) -> Self {
        let log_topic = values.find("LOG_TOPIC");
        Self {
            service,
            kafka: KafkaConfig::read(values),
            http: HttpConfig::read(values),
            auth: AuthConfig::read(values),
            database: DatabaseConfig::read(values),
            log_format: values.get("LOG_FORMAT"),
            log_level: values.get("LOG_LEVEL"),
            shutdown: ShutdownConfig::read(values, log_topic.is_some()),
            log_topic,
            worker_threads: values
                .checked("WORKER_THREADS", "must be at most 1024", |n| *n <= 1024),
            clock: Clock::system(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kafka::{Assignor, AutoOffsetReset};

    use super::super::program::{Parsed, Program};
    use super::*;
    #[cfg(feature = "embedded")]
    use crate::db::DatabaseKind;

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
    fn a_tenth_of_leaving_is_for_log_records_that_go_to_kafka() {
        let postgres = ("DATABASE_URL", "postgres://localhost/carts");
        let shutdown = |more: &[(&'static str, &'static str)]| {
            let common = read(&[&[postgres], more].concat());
            common.unwrap().shutdown
        };
        let logs = shutdown(&[("LOG_TOPIC", "logs"), ("SHUTDOWN_TIMEOUT", "20s")]);
        assert_eq!(logs.last_logs, Duration::from_secs(2));
        assert_eq!(logs.tasks() + logs.last_logs, logs.timeout);
        let none = shutdown(&[]);
        assert_eq!(none.tasks(), none.timeout);
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
        for (url, name) in [
            ("postgres://u:hunter2@h/x?sslmod=require", "\"sslmod\""),
            ("postgres://h/x?sslmode=require&SSLMODE=x", "\"SSLMODE\""),
            (
                "postgres://h/x?connect_timeout=hunter2",
                "\"connect_timeout\"",
            ),
            ("postgres://h/x?hunter2@=1", "not shown"),
            ("postgres://h/x?%73slmod=require", "\"sslmod\""),
        ] {
            let text = read(&[("DATABASE_URL", url)]).unwrap_err();
            for part in ["DATABASE_URL", name, "known are sslmode, "] {
                assert!(text.contains(part), "{part} of {url}: {text}");
            }
            assert!(!text.contains("hunter2"), "{text}");
        }
        for url in [
            "postgres://h/x?sslmode=disable&application_name=a&options[search_path]=b",
            "postgres://h/x?ssl-mode=disable#sslmod=",
            "postgres://h/x?",
        ] {
            read(&[("DATABASE_URL", url)]).unwrap();
        }
        let text = read(&[("DB_HOST", "a b"), ("DB_USER", "u"), ("DB_NAME", "n")]).unwrap_err();
        assert!(text.contains("DB_HOST"), "{text}");
    }
}
