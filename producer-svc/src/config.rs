use std::time::Duration;

use proto::{EventType, TypeIds, groups, topics};
use service::config::{
    Command, Common, Mistakes, Opt, Program, Secret, TopicName, Values, common_options, group,
};
use service::http::ServiceUrl;

use crate::NAME;
use crate::admin::DEFAULT_PASSWORD;

/// All that producer-svc can be told.
#[derive(Clone, Debug)]
pub struct Config {
    pub common: Common,
    pub order_topic: TopicName,
    pub orders_topic: TopicName,
    pub order_status_topic: TopicName,
    /// Whether this instance keeps the order view and its event streams.
    pub order_view: bool,
    pub order_view_retention: Duration,
    /// Whether this instance registers users and publishes their events.
    pub users: bool,
    pub users_topic: TopicName,
    /// Passwords that are hashed at a time; 0: half of the cores.
    pub password_hashes: usize,
    /// How long published events are kept.
    pub outbox_retention: Duration,
    /// Who may use the admin page and its API.
    pub admin_user: String,
    pub admin_password: Secret,
    /// Where consumer-svc listens, and the group that creates its carts: for the diagnosis alone.
    pub cart_service: ServiceUrl,
    pub cart_group: String,
    pub type_ids: TypeIds,
}

/// The command line: options and subcommands.
pub fn program() -> Program {
    let mut options = common_options(
        "127.0.0.1:8080,127.0.0.1:8001,127.0.0.1:5000",
        groups::ORDER_VIEW,
        "sqlite:data/producer-svc.db",
    );
    options.extend([
        Opt::new(
            "ORDER_VIEW",
            "true",
            group::SERVICE,
            "Keep the order view and stream events; needs the database.",
        ),
        Opt::new(
            "ORDER_VIEW_RETENTION",
            "30d",
            group::SERVICE,
            "How long the order view keeps what happened to an order.",
        ),
        Opt::new(
            "USERS",
            "true",
            group::SERVICE,
            "Register users and publish their events; needs the database.",
        ),
        Opt::new(
            "PASSWORD_HASHES",
            "0",
            group::SERVICE,
            "Passwords hashed at a time, 19 MiB each; 0: half of the cores.",
        ),
        Opt::new(
            "OUTBOX_RETENTION",
            "7d",
            group::SERVICE,
            "How long events are kept in the database after they are published.",
        ),
        Opt::new(
            "ADMIN_USER",
            "admin",
            group::SERVICE,
            "Who may use /admin and /api/admin.",
        ),
        Opt::new(
            "ADMIN_PASSWORD",
            DEFAULT_PASSWORD,
            group::SERVICE,
            "The password for it. With the default they answer on this machine alone: loopback, \
             nothing forwarded.",
        )
        .secret(),
        Opt::new(
            "CART_SERVICE_URL",
            "http://localhost:5003",
            group::SERVICE,
            "Where consumer-svc is asked why a user has no cart.",
        ),
        Opt::new(
            "CART_GROUP_ID",
            groups::CART_SERVICE,
            group::KAFKA,
            "The consumer group that creates carts.",
        ),
        Opt::unset(
            EventType::UserCreated.type_id_variable(),
            group::SERVICE,
            "Class that Spring readers map UserCreated events to, sent as __TypeId__.",
        ),
        Opt::unset(
            EventType::OrderPlaced.type_id_variable(),
            group::SERVICE,
            "Class that Spring readers map OrderPlaced events to, sent as __TypeId__.",
        ),
        Opt::new(
            topics::ORDER_TOPIC.variable,
            topics::ORDER_TOPIC.name,
            group::TOPICS,
            "Orders in camelCase.",
        ),
        Opt::new(
            topics::ORDERS.variable,
            topics::ORDERS.name,
            group::TOPICS,
            "Orders in snake_case.",
        ),
        Opt::new(
            topics::ORDER_STATUS_TOPIC.variable,
            topics::ORDER_STATUS_TOPIC.name,
            group::TOPICS,
            "Every step of an order.",
        ),
        Opt::new(
            topics::USERS_EVENTS.variable,
            topics::USERS_EVENTS.name,
            group::TOPICS,
            "What happens to users.",
        ),
    ]);
    Program {
        name: NAME,
        about: "The shop's HTTP front door: takes orders, shows their state, streams their events.",
        options,
        commands: vec![
            Command {
                name: "doctor",
                arguments: "",
                about: "Say why a user has no cart; status 0 if the cart is there, 1 if not.",
                options: vec![Opt::flag("USER", None, "The user's id.")],
            },
            Command {
                name: "healthcheck",
                arguments: "",
                about: "Ask the running service's own /livez; status 0 if it answers.",
                options: vec![],
            },
        ],
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
        let config = Self {
            common: Common::read(NAME, values),
            order_topic: values.get(topics::ORDER_TOPIC.variable),
            orders_topic: values.get(topics::ORDERS.variable),
            order_status_topic: values.get(topics::ORDER_STATUS_TOPIC.variable),
            order_view: values.get("ORDER_VIEW"),
            order_view_retention: values.checked(
                "ORDER_VIEW_RETENTION",
                "must be longer than 0",
                |retention: &Duration| !retention.is_zero(),
            ),
            users: values.get("USERS"),
            users_topic: values.get(topics::USERS_EVENTS.variable),
            password_hashes: values
                .checked("PASSWORD_HASHES", "must be at most 1024", |n| *n <= 1024),
            outbox_retention: values.checked(
                "OUTBOX_RETENTION",
                "must be longer than 0",
                |retention: &Duration| !retention.is_zero(),
            ),
            // As RFC 7617 has it: the first colon ends the name.
            admin_user: values.checked(
                "ADMIN_USER",
                "must be without colons and control characters",
                |name: &String| !name.contains(|c: char| c == ':' || c.is_control()),
            ),
            admin_password: values.get("ADMIN_PASSWORD"),
            cart_service: values.get("CART_SERVICE_URL"),
            cart_group: values.get("CART_GROUP_ID"),
            type_ids: TypeIds::from_variables(
                &[EventType::OrderPlaced, EventType::UserCreated],
                |variable| values.find(variable),
            ),
        };
        let names = [
            &config.order_topic,
            &config.orders_topic,
            &config.order_status_topic,
            &config.users_topic,
        ];
        if (1..names.len()).any(|at| names[..at].contains(&names[at])) {
            values.mistake(
                "ORDER_TOPIC",
                "ORDERS_TOPIC, ORDER_STATUS_TOPIC and USERS_EVENTS_TOPIC must differ",
            );
        }
        config
    }
}
