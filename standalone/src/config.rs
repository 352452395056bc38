use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use service::config::{Mistakes, Opt, Program, Values, group};

/// The program's name.
pub(crate) const NAME: &str = "standalone";

/// The configuration of everything in this process.
#[derive(Debug)]
pub(crate) struct Config {
    /// The folder of the default `DATA_DIR`, which is nobody else's: earlier versions left it open to all.
    pub(crate) to_be_closed: Option<PathBuf>,
    /// `None`: Kafka is elsewhere, no broker is started.
    pub(crate) broker: Option<BrokerConfig>,
    /// Where the databases lie.
    pub(crate) data: PathBuf,
    pub(crate) producer: producer_svc::Config,
    pub(crate) consumer: consumer_svc::Config,
    pub(crate) notifier: notifier_svc::Config,
}

#[derive(Debug)]
pub(crate) struct BrokerConfig {
    pub(crate) address: SocketAddr,
    pub(crate) data: PathBuf,
    /// Age at which records go, whole segments at a time.
    pub(crate) retention: Duration,
}

/// The variables of the services' addresses.
pub(crate) const PRODUCER_ADDR: &str = "PRODUCER_HTTP_ADDR";
pub(crate) const CONSUMER_ADDR: &str = "CONSUMER_HTTP_ADDR";
pub(crate) const NOTIFIER_ADDR: &str = "NOTIFIER_HTTP_ADDR";

/// What each service of this process has for itself, so that it cannot be set for all at once, and
/// what to do instead.
const NOT_SHARED: [(&str, &str); 11] = [
    (
        "HTTP_ADDR",
        "is each service's own; set PRODUCER_HTTP_ADDR, CONSUMER_HTTP_ADDR, NOTIFIER_HTTP_ADDR",
    ),
    (
        "CART_SERVICE_URL",
        "is for services that are processes of their own; here carts are in this one",
    ),
    (
        "NOTIFIER_SERVICE_URL",
        "is for services that are processes of their own; here notifications are in this one",
    ),
    ("KAFKA_GROUP_ID", OWN_PROCESSES),
    ("KAFKA_GROUP_INSTANCE_ID", OWN_PROCESSES),
    ("DATABASE_URL", IN_DATA_DIR),
    ("DB_HOST", IN_DATA_DIR),
    ("DB_PORT", IN_DATA_DIR),
    ("DB_USER", IN_DATA_DIR),
    ("DB_PASSWORD", IN_DATA_DIR),
    ("DB_NAME", IN_DATA_DIR),
];

const OWN_PROCESSES: &str =
    "is each service's own; to set it, run the services as processes of their own";
const IN_DATA_DIR: &str = "is each service's own; here they are SQLite files in DATA_DIR. For \
                           PostgreSQL run the services as processes of their own";

/// The command line: this program's own options, and every option that the services share.
pub(crate) fn program() -> Program {
    let mut options = vec![
        Opt::new(
            "DATA_DIR",
            "./data",
            group::SERVICE,
            "Folder of the broker's log, the databases, and what this process is known by after a restart.",
        ),
        Opt::new(
            "BROKER_ADDR",
            "127.0.0.1:9092",
            group::KAFKA,
            "Where the embedded broker listens. Not started with KAFKA_BOOTSTRAP_SERVERS set.",
        ),
        Opt::new(
            "BROKER_RETENTION",
            "7d",
            group::KAFKA,
            "How long the embedded broker keeps records.",
        ),
        Opt::new(
            PRODUCER_ADDR,
            "127.0.0.1:8080,127.0.0.1:8001,127.0.0.1:5000",
            group::HTTP,
            "Addresses of producer-svc. The first must be free; an extra one that is taken is a \
             warning.",
        ),
        Opt::new(
            CONSUMER_ADDR,
            "127.0.0.1:5003",
            group::HTTP,
            "Addresses of consumer-svc.",
        ),
        Opt::new(
            NOTIFIER_ADDR,
            "127.0.0.1:8082",
            group::HTTP,
            "Addresses of notifier-svc.",
        ),
    ];
    options.push(Opt::new(
        "LOG_LEVEL",
        "info,kafka=warn,broker=warn",
        group::LOGS,
        "error, warn, info, debug or trace; per module: info,kafka=debug.",
    ));
    for program in [
        producer_svc::program(),
        consumer_svc::program(),
        notifier_svc::program(),
    ] {
        for option in program.options {
            let known = options
                .iter()
                .any(|o: &Opt| o.variable() == option.variable());
            if known {
                continue;
            }
            let own = NOT_SHARED.iter().find(|(own, _)| *own == option.variable());
            options.push(match own {
                Some((variable, instead)) => Opt::foreign(variable, instead),
                None => option,
            });
        }
    }
    Program {
        name: NAME,
        about: "The whole shop in one process: embedded broker, three services, SQLite.",
        options,
        commands: vec![],
    }
}

impl Config {
    /// # Errors
    /// All mistakes at once.
    pub(crate) fn read(mut values: Values) -> Result<Self, Mistakes> {
        let data: String = values.get("DATA_DIR");
        let data = PathBuf::from(data);
        let is_ours = !values.is_given("DATA_DIR");
        let broker = BrokerConfig {
            address: values.get("BROKER_ADDR"),
            data: data.join("broker"),
            retention: values.checked(
                "BROKER_RETENTION",
                "must be longer than 0",
                |retention: &Duration| !retention.is_zero(),
            ),
        };
        let broker = (!values.is_given("KAFKA_BOOTSTRAP_SERVERS")).then_some(broker);

        let mut service = |program: Program, address: &str| {
            let list: Vec<SocketAddr> = values.get(address);
            if list.is_empty() {
                values.mistake(address, "must name at least one address");
            }
            let list: Vec<String> = list.iter().map(ToString::to_string).collect();
            let database = data.join(format!("{}.db", program.name));
            values.for_program(
                &program,
                &[
                    ("HTTP_ADDR", list.join(",")),
                    ("DATABASE_URL", format!("sqlite:{}", database.display())),
                ],
            )
        };
        let mut producer = service(producer_svc::program(), PRODUCER_ADDR);
        let mut consumer = service(consumer_svc::program(), CONSUMER_ADDR);
        let mut notifier = service(notifier_svc::program(), NOTIFIER_ADDR);
        let mut config = Self {
            to_be_closed: is_ours.then(|| data.clone()),
            broker,
            data: data.clone(),
            producer: producer_svc::Config::take(&mut producer),
            consumer: consumer_svc::Config::take(&mut consumer),
            notifier: notifier_svc::Config::take(&mut notifier),
        };
        let security = &config.producer.common.kafka.security;
        if config.broker.is_some() && (security.tls.is_some() || security.sasl.is_some()) {
            values.mistake(
                "KAFKA_SECURITY_PROTOCOL",
                "is for a Kafka elsewhere (KAFKA_BOOTSTRAP_SERVERS): the embedded broker has PLAINTEXT alone",
            );
        }
        // The process has one log.
        config.producer.common.log_level = values.get("LOG_LEVEL");
        for service in [producer, consumer, notifier] {
            values.adopt_mistakes(service);
        }
        values.finish(config)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use service::config::Parsed;

    use super::*;

    fn read(vars: &[(&str, &str)]) -> Result<Config, String> {
        let vars = vars.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        let folder = tempfile::tempdir().unwrap();
        let Parsed::Invocation(invocation) = program().parse([], vars, folder.path()) else {
            panic!("printed");
        };
        Config::read(invocation.values).map_err(|mistakes| mistakes.to_string())
    }

    #[test]
    fn what_each_service_has_for_itself_is_refused_with_advice() {
        for (variable, value, advice) in [
            ("HTTP_ADDR", "0.0.0.0:80", "PRODUCER_HTTP_ADDR"),
            ("DATABASE_URL", "postgres://u:hunter2@h/d", "DATA_DIR"),
            ("DB_PASSWORD", "hunter2", "DATA_DIR"),
            ("KAFKA_GROUP_ID", "g", "processes of their own"),
        ] {
            let text = read(&[(variable, value)]).unwrap_err();
            assert!(
                text.contains(variable) && text.contains(advice) && !text.contains("hunter2"),
                "{text}"
            );
        }
        assert!(read(&[]).is_ok());
    }

    #[test]
    fn the_brokers_log_has_a_retention() {
        let retention = |vars: &[(&str, &str)]| read(vars).map(|c| c.broker.unwrap().retention);
        let day = Duration::from_secs(24 * 60 * 60);
        assert_eq!(retention(&[]), Ok(7 * day));
        assert_eq!(retention(&[("BROKER_RETENTION", "36h")]), Ok(day * 3 / 2));
        assert!(retention(&[("BROKER_RETENTION", "0s")]).is_err());
    }

    #[test]
    fn the_example_file_has_every_option() {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join(".env.example");
        let example = std::fs::read_to_string(example).unwrap();
        assert_eq!(example, program().env_example());
    }
}
