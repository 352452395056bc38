use std::time::Duration;

use proto::{EventType, Topic, TypeIds, groups, topics};
use service::config::{
    Command, Common, Mistakes, Opt, Program, TopicName, Values, common_options, group,
    strategy_option,
};
use service::healthcheck;

use crate::NAME;
use crate::analytics::{self, AnalyticsConfig};
use crate::rules::Rules;

/// All that consumer-svc can be told.
#[derive(Debug, Clone)]
pub struct Config {
    pub common: Common,
    pub order_topic: TopicName,
    pub orders_topic: TopicName,
    pub order_status_topic: TopicName,
    pub notifications_topic: TopicName,
    pub users_topic: TopicName,
    pub carts_topic: TopicName,
    /// Whether this instance keeps carts.
    pub carts: bool,
    /// The group that creates carts.
    pub cart_group: String,
    pub analytics: AnalyticsConfig,
    /// How long published events are kept.
    pub outbox_retention: Duration,
    /// How long an `Idempotency-Key` is remembered.
    pub request_key_retention: Duration,
    pub type_ids: TypeIds,
    pub rules: Rules,
    /// Recent orders that are remembered.
    pub order_memory: usize,
    /// Most log lines a second for single orders.
    pub order_log_limit: u64,
    /// Orders in processing at a time.
    pub max_in_flight: usize,
}

/// The strategies of the group that creates carts.
const CART_STRATEGY: &str = "CART_ASSIGNMENT_STRATEGY";

/// The topics whose names can be set, with what they are for.
const TOPICS: [(Topic, &str); 12] = [
    (topics::ORDER_TOPIC, "Orders in camelCase."),
    (topics::ORDERS, "Orders in snake_case."),
    (topics::ORDER_STATUS_TOPIC, "Every step of an order."),
    (topics::NOTIFICATIONS, "The final result of an order."),
    (topics::USERS_EVENTS, "What happens to users."),
    (topics::CARTS_EVENTS, "What happens to carts."),
    analytics::TOPICS[0],
    analytics::TOPICS[1],
    analytics::TOPICS[2],
    analytics::TOPICS[3],
    analytics::TOPICS[4],
    analytics::TOPICS[5],
];

/// The events that this service sends, with the meaning of their `__TypeId__`.
const TYPE_IDS: [(EventType, &str); 9] = [
    (
        EventType::OrderStatusChanged,
        "Class that Spring readers map OrderStatusChanged to (__TypeId__).",
    ),
    (
        EventType::OrderResult,
        "Class that Spring readers map OrderResult to (__TypeId__).",
    ),
    (
        EventType::CartCreated,
        "Class that Spring readers map CartCreated to (__TypeId__).",
    ),
    (
        EventType::CartItemAdded,
        "Class that Spring readers map CartItemAdded to (__TypeId__).",
    ),
    (
        EventType::CartItemChanged,
        "Class that Spring readers map CartItemChanged to (__TypeId__).",
    ),
    (
        EventType::CartItemRemoved,
        "Class that Spring readers map CartItemRemoved to (__TypeId__).",
    ),
    analytics::TYPE_IDS[0],
    analytics::TYPE_IDS[1],
    analytics::TYPE_IDS[2],
];

/// The command line: options and subcommands.
pub fn program() -> Program {
    let mut options = common_options(
        "127.0.0.1:5003",
        groups::ORDER_PROCESSING,
        "sqlite:data/consumer-svc.db",
    );
    options.extend([
        Opt::new(
            "ORDER_MAX_QUANTITY",
            "100",
            group::SERVICE,
            "The largest quantity that is confirmed; orders above it are rejected.",
        ),
        Opt::unset(
            "ORDER_UNAVAILABLE_ITEMS",
            group::SERVICE,
            "Products that are rejected, comma-separated, without regard to case.",
        ),
        Opt::new(
            "ORDER_MEMORY",
            "100000",
            group::SERVICE,
            "Recent orders remembered (32 to 64 bytes each), so that a repeat costs nothing and a \
             conflict is noticed; 0: none.",
        ),
        Opt::new(
            "ORDER_LOG_LIMIT",
            "20",
            group::SERVICE,
            "Most log lines a second for single orders; what is beyond is summed up in one.",
        ),
        Opt::new(
            "CARTS",
            "true",
            group::SERVICE,
            "Keep the users' carts; needs the database. false: process orders only, without one.",
        ),
        Opt::new(
            "OUTBOX_RETENTION",
            "7d",
            group::SERVICE,
            "How long events are kept in the database after they are published.",
        ),
        Opt::new(
            "REQUEST_KEY_RETENTION",
            "1d",
            group::SERVICE,
            "How long the Idempotency-Key of an item is remembered.",
        ),
        Opt::new(
            "CART_GROUP_ID",
            groups::CART_SERVICE,
            group::KAFKA,
            "The consumer group that creates carts.",
        ),
        strategy_option(CART_STRATEGY),
        Opt::new(
            "KAFKA_MAX_IN_FLIGHT",
            "4096",
            group::KAFKA,
            "Most orders in processing at a time.",
        ),
    ]);
    options.extend(analytics::options());
    options.extend(
        TYPE_IDS.map(|(event, what)| Opt::unset(event.type_id_variable(), group::KAFKA, what)),
    );
    options.extend(
        TOPICS.map(|(topic, what)| Opt::new(topic.variable, topic.name, group::TOPICS, what)),
    );
    Program {
        name: NAME,
        about: "Processes the shop's orders, CREATED, then CONFIRMED or REJECTED, and keeps carts and statistics.",
        options,
        commands: commands(),
    }
}

fn commands() -> Vec<Command> {
    let topic = Opt::flag(
        "TOPIC",
        None,
        "This dead-letter topic alone; default: all of them.",
    );
    vec![
        Command {
            name: "dlt list",
            arguments: "",
            about: "List dead letters: topic, partition, offset, reason, body.",
            options: vec![topic],
        },
        Command {
            name: "dlt show",
            arguments: "TOPIC PARTITION OFFSET",
            about: "Show one dead letter in full.",
            options: vec![],
        },
        Command {
            name: "dlt replay",
            arguments: "[TOPIC PARTITION OFFSET]",
            about: "Send a dead letter to its source topic once more, or all of them with --all.",
            options: vec![
                topic,
                Opt::switch(
                    "ALL",
                    "Replay every dead letter that has not been replayed.",
                ),
                Opt::switch("FORCE", "Replay although it has been replayed before."),
            ],
        },
        Command {
            name: "dlt skip",
            arguments: "TOPIC PARTITION FROM TO",
            about: "Have a group pass over offsets that nobody can read, which hold their partition; FROM and TO \
                    are the first and the last, as /readyz and the log name them.",
            options: vec![
                Opt::flag(
                    "GROUP",
                    None,
                    "The group that is held; default: each group whose commit stands there.",
                ),
                Opt::flag("REASON", None, "Added to the reason in the dead letter."),
                Opt::switch(
                    "BEYOND",
                    "Also pass over what lies behind the batch that cannot be read.",
                ),
            ],
        },
        healthcheck::command(),
    ]
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
        let max_quantity = values.checked("ORDER_MAX_QUANTITY", "must be at least 1", |n| *n > 0);
        let unavailable: Option<Vec<String>> = values.find("ORDER_UNAVAILABLE_ITEMS");
        let mut config = Self {
            common: Common::read(NAME, values),
            order_topic: values.get(topics::ORDER_TOPIC.variable),
            orders_topic: values.get(topics::ORDERS.variable),
            order_status_topic: values.get(topics::ORDER_STATUS_TOPIC.variable),
            notifications_topic: values.get(topics::NOTIFICATIONS.variable),
            users_topic: values.get(topics::USERS_EVENTS.variable),
            carts_topic: values.get(topics::CARTS_EVENTS.variable),
            carts: values.get("CARTS"),
            cart_group: values.get("CART_GROUP_ID"),
            analytics: AnalyticsConfig::take(values),
            outbox_retention: values.checked(
                "OUTBOX_RETENTION",
                "must be longer than 0",
                |retention: &Duration| !retention.is_zero(),
            ),
            request_key_retention: values.positive("REQUEST_KEY_RETENTION"),
            type_ids: TypeIds::from_variables(&TYPE_IDS.map(|(event, _)| event), |variable| {
                values.find(variable)
            }),
            rules: Rules::new(max_quantity, unavailable.unwrap_or_default()),
            order_memory: values.get("ORDER_MEMORY"),
            order_log_limit: values.get("ORDER_LOG_LIMIT"),
            max_in_flight: values.checked("KAFKA_MAX_IN_FLIGHT", "must be at least 1", |n| *n > 0),
        };
        config.check_topics(values);
        let kafka = &mut config.common.kafka;
        kafka.read_strategy(values, CART_STRATEGY, &config.cart_group);
        kafka.read_strategy(values, analytics::STRATEGY, &config.analytics.group);
        if config.cart_group == config.common.kafka.group_id {
            values.mistake("CART_GROUP_ID", "must differ from KAFKA_GROUP_ID");
        }
        for (variable, group) in [
            ("KAFKA_GROUP_ID", &config.common.kafka.group_id),
            ("CART_GROUP_ID", &config.cart_group),
        ] {
            if config.analytics.group == *group {
                values.mistake("ANALYTICS_GROUP_ID", format!("must differ from {variable}"));
            }
        }
        config
    }

    /// The topics, in the order of [`TOPICS`].
    fn topic_names(&self) -> [&str; 12] {
        let [views, downloads, purchases, reviews, ratings, aggregated] =
            self.analytics.topic_names();
        [
            &self.order_topic,
            &self.orders_topic,
            &self.order_status_topic,
            &self.notifications_topic,
            &self.users_topic,
            &self.carts_topic,
            views,
            downloads,
            purchases,
            reviews,
            ratings,
            aggregated,
        ]
    }

    fn check_topics(&self, values: &mut Values) {
        let names = self.topic_names();
        for (index, ((topic, _), name)) in TOPICS.iter().zip(names).enumerate() {
            if let Some(other) = names[..index].iter().position(|other| *other == name) {
                let other = TOPICS[other].0.variable;
                values.mistake(topic.variable, format!("must differ from {other}"));
            }
        }
        // What is consumed must not grow by what is logged about it.
        let log_topic = self.common.log_topic.as_deref();
        if let Some(at) = names.iter().position(|name| log_topic == Some(&**name)) {
            let other = TOPICS[at].0.variable;
            values.mistake("LOG_TOPIC", format!("must differ from {other}"));
        }
    }
}
