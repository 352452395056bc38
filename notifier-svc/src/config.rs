use std::time::Duration;

use proto::{groups, topics};
use service::config::{
    Common, Mistakes, Opt, Program, TopicName, Values, common_options, group, strategy_option,
};
use service::healthcheck;

use crate::NAME;

/// The strategies of the group that collects log records.
const LOG_STRATEGY: &str = "LOG_ASSIGNMENT_STRATEGY";

/// All that notifier-svc can be told.
#[derive(Debug, Clone)]
pub struct Config {
    pub common: Common,
    pub notifications_topic: TopicName,
    /// How long a notification is kept.
    pub retention: Duration,
    /// Notifications in the database's hands at a time.
    pub max_in_flight: usize,
    /// The group that collects log records.
    pub log_group_id: String,
    /// How long a log record is kept.
    pub log_retention: Duration,
}

/// The command line: options and subcommands.
pub fn program() -> Program {
    let mut options = common_options(
        "127.0.0.1:8082",
        groups::NOTIFICATION_GROUP,
        "sqlite:data/notifier-svc.db",
    );
    options.extend([
        Opt::new(
            "NOTIFICATION_RETENTION",
            "30d",
            group::SERVICE,
            "How long notifications are kept.",
        ),
        Opt::new(
            "LOG_RETENTION",
            "7d",
            group::SERVICE,
            "How long log records are kept that are collected from LOG_TOPIC.",
        ),
        Opt::new(
            "LOG_GROUP_ID",
            groups::LOG_COLLECTOR,
            group::KAFKA,
            "The group that collects log records.",
        ),
        strategy_option(LOG_STRATEGY),
        Opt::new(
            "KAFKA_MAX_IN_FLIGHT",
            "2048",
            group::KAFKA,
            "Most notifications in work at a time; they share transactions.",
        ),
        Opt::new(
            topics::NOTIFICATIONS.variable,
            topics::NOTIFICATIONS.name,
            group::TOPICS,
            "The final result of an order.",
        ),
    ]);
    Program {
        name: NAME,
        about: "Prints, stores and streams the notifications of the shop's orders.",
        options,
        commands: vec![healthcheck::command()],
    }
}

impl Config {
    /// # Errors
    /// All mistakes at once.
    pub fn read(mut values: Values) -> Result<Self, Mistakes> {
        let config = Self::take(&mut values);
        values.finish(config)
    }

    /// Takes the service's options out of `values`; mistakes are noted there.
    pub fn take(values: &mut Values) -> Self {
        let mut config = Self {
            common: Common::read(NAME, values),
            notifications_topic: values.get(topics::NOTIFICATIONS.variable),
            retention: values.checked(
                "NOTIFICATION_RETENTION",
                "must be longer than 0",
                |retention: &Duration| !retention.is_zero(),
            ),
            max_in_flight: values.checked("KAFKA_MAX_IN_FLIGHT", "must be at least 1", |n| *n > 0),
            log_group_id: values.get("LOG_GROUP_ID"),
            log_retention: values.positive("LOG_RETENTION"),
        };
        let kafka = &mut config.common.kafka;
        kafka.read_strategy(values, LOG_STRATEGY, &config.log_group_id);
        if config.common.log_topic.as_ref() == Some(&config.notifications_topic) {
            values.mistake("LOG_TOPIC", "must differ from NOTIFICATIONS_TOPIC");
        }
        config
    }
}
