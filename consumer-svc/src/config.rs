use proto::{EventType, Topic, TypeIds, groups, topics};
use service::config::{
    Command, Common, Mistakes, Opt, Program, TopicName, Values, common_options_without_database,
    group,
};

use crate::NAME;
use crate::rules::Rules;

/// All that consumer-svc can be told.
#[derive(Debug, Clone)]
pub struct Config {
    pub common: Common,
    pub order_topic: TopicName,
    pub orders_topic: TopicName,
    pub order_status_topic: TopicName,
    pub notifications_topic: TopicName,
    pub type_ids: TypeIds,
    pub rules: Rules,
    /// Recent orders that are remembered.
    pub order_memory: usize,
    /// Most log lines a second for single orders.
    pub order_log_limit: u64,
    /// Orders in processing at a time.
    pub max_in_flight: usize,
}

/// The topics whose names can be set, with what they are for.
const TOPICS: [(Topic, &str); 4] = [
    (topics::ORDER_TOPIC, "Orders in camelCase."),
    (topics::ORDERS, "Orders in snake_case."),
    (topics::ORDER_STATUS_TOPIC, "Every step of an order."),
    (topics::NOTIFICATIONS, "The final result of an order."),
];

/// The command line: options and subcommands.
pub fn program() -> Program {
    let mut options = common_options_without_database("127.0.0.1:5003", groups::ORDER_PROCESSING);
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
            "KAFKA_MAX_IN_FLIGHT",
            "4096",
            group::KAFKA,
            "Most orders in processing at a time.",
        ),
        type_id(EventType::OrderStatusChanged),
        type_id(EventType::OrderResult),
    ]);
    options.extend(
        TOPICS.map(|(topic, what)| Opt::new(topic.variable, topic.name, group::TOPICS, what)),
    );
    Program {
        name: NAME,
        about: "Processes the shop's orders: CREATED, then CONFIRMED or REJECTED.",
        options,
        commands: commands(),
    }
}

fn type_id(event: EventType) -> Opt {
    let meaning = match event {
        EventType::OrderPlaced => "Class that Spring readers map OrderPlaced to (__TypeId__).",
        EventType::OrderStatusChanged => {
            "Class that Spring readers map OrderStatusChanged to (__TypeId__)."
        }
        EventType::OrderResult => "Class that Spring readers map OrderResult to (__TypeId__).",
    };
    Opt::unset(event.type_id_variable(), group::KAFKA, meaning)
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
            name: "healthcheck",
            arguments: "",
            about: "Ask the running service's own /livez; status 0 if it answers.",
            options: vec![],
        },
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
        let config = Self {
            common: Common::read(NAME, values),
            order_topic: values.get(topics::ORDER_TOPIC.variable),
            orders_topic: values.get(topics::ORDERS.variable),
            order_status_topic: values.get(topics::ORDER_STATUS_TOPIC.variable),
            notifications_topic: values.get(topics::NOTIFICATIONS.variable),
            type_ids: TypeIds::from_variables(|variable| match variable {
                // Of events that this service does not send.
                other if other == EventType::OrderPlaced.type_id_variable() => None,
                variable => values.find(variable),
            }),
            rules: Rules::new(max_quantity, unavailable.unwrap_or_default()),
            order_memory: values.get("ORDER_MEMORY"),
            order_log_limit: values.get("ORDER_LOG_LIMIT"),
            max_in_flight: values.checked("KAFKA_MAX_IN_FLIGHT", "must be at least 1", |n| *n > 0),
        };
        config.check_topics(values);
        config
    }

    /// The four topics, in the order of [`TOPICS`].
    fn topic_names(&self) -> [&str; 4] {
        [
            &self.order_topic,
            &self.orders_topic,
            &self.order_status_topic,
            &self.notifications_topic,
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
    }
}
