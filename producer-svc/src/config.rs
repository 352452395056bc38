use std::time::Duration;

use proto::{BookEventKind, EventType, Topic, TypeIds, groups, topics};
use service::config::{
    Command, Common, Mistakes, Opt, Program, Secret, TopicName, Values, common_options, group,
    strategy_option,
};
use service::healthcheck;
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
    /// Recent ids of orders and book events that are remembered.
    pub intake_memory: usize,
    /// How far the order view may be behind before orders are refused; zero: as far as it likes.
    pub intake_max_view_lag: Duration,
    /// Whether this instance registers users and publishes their events.
    pub users: bool,
    pub users_topic: TopicName,
    /// Passwords that are hashed at a time; 0: half of the cores.
    pub password_hashes: usize,
    /// How long published events are kept.
    pub outbox_retention: Duration,
    /// Whether this instance takes events of books.
    pub books: bool,
    /// Their topics, in the order of [`BookEventKind::ALL`].
    pub book_topics: [TopicName; 5],
    /// Whether this instance stores the bookstore's figures.
    pub analytics: bool,
    /// The group that stores them.
    pub analytics_group: String,
    pub analytics_retention: Duration,
    pub aggregates_topic: TopicName,
    /// Who may use the admin page and its API.
    pub admin_user: String,
    pub admin_password: Secret,
    /// Where notifier-svc listens: for the admin page alone.
    pub notifier_service: ServiceUrl,
    /// Where consumer-svc listens, and the group that creates its carts: for the admin page and the diagnosis.
    pub cart_service: ServiceUrl,
    pub cart_group: String,
    pub type_ids: TypeIds,
}

/// The strategies of the group that stores the figures.
const AGGREGATES_STRATEGY: &str = "AGGREGATES_ASSIGNMENT_STRATEGY";

/// The topics whose names can be set, with what they are for.
const TOPICS: [(Topic, &str); 10] = [
    (topics::ORDER_TOPIC, "Orders in camelCase."),
    (topics::ORDERS, "Orders in snake_case."),
    (topics::ORDER_STATUS_TOPIC, "Every step of an order."),
    (topics::USERS_EVENTS, "What happens to users."),
    (topics::BOOK_VIEWS, "Books that were looked at."),
    (topics::BOOK_DOWNLOADS, "Books that were downloaded."),
    (topics::BOOK_PURCHASES, "Books that were bought."),
    (topics::BOOK_REVIEWS, "Reviews of books."),
    (topics::BOOK_RATINGS, "Ratings of books."),
    (
        topics::AGGREGATED_STATS,
        "What the events of books come to.",
    ),
];

/// The events that this service sends, with the meaning of their `__TypeId__`.
const TYPE_IDS: [(EventType, &str); 7] = [
    (
        EventType::UserCreated,
        "Class that Spring readers map UserCreated events to, sent as __TypeId__.",
    ),
    (
        EventType::OrderPlaced,
        "Class that Spring readers map OrderPlaced events to, sent as __TypeId__.",
    ),
    (
        EventType::BookViewed,
        "Class that Spring readers map BookViewed events to, sent as __TypeId__.",
    ),
    (
        EventType::BookDownloaded,
        "Class that Spring readers map BookDownloaded events to, sent as __TypeId__.",
    ),
    (
        EventType::BookPurchased,
        "Class that Spring readers map BookPurchased events to, sent as __TypeId__.",
    ),
    (
        EventType::BookReviewed,
        "Class that Spring readers map BookReviewed events to, sent as __TypeId__.",
    ),
    (
        EventType::BookRated,
        "Class that Spring readers map BookRated events to, sent as __TypeId__.",
    ),
];

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
            "INTAKE_MEMORY",
            "100000",
            group::SERVICE,
            "Recent ids of orders and book events remembered (32 to 64 bytes each), so that one that \
             comes again with other content is refused, and where recent orders lie (16 to 32), so \
             that they are shown before the order view has them; 0: none.",
        ),
        Opt::new(
            "INTAKE_MAX_VIEW_LAG",
            "0",
            group::SERVICE,
            "How far the order view may be behind, such as 5s, before orders are answered 503 until \
             it has caught up; 0: as far as it likes.",
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
            "BOOKS",
            "true",
            group::SERVICE,
            "Take events of books: views, downloads, purchases, reviews, ratings.",
        ),
        Opt::new(
            "ANALYTICS",
            "true",
            group::SERVICE,
            "The bookstore's figures: consumer-svc computes them, producer-svc stores and shows \
             them; needs the database.",
        ),
        Opt::new(
            "ANALYTICS_RETENTION",
            "30d",
            group::SERVICE,
            "How long older figures are kept, a row a book and interval that changed it; the \
             newest of each book always are.",
        ),
        Opt::new(
            "AGGREGATES_GROUP_ID",
            groups::MAIN_APPLICATION,
            group::KAFKA,
            "The consumer group that stores the bookstore's figures.",
        ),
        strategy_option(AGGREGATES_STRATEGY),
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
            "Where consumer-svc is asked how it is, and why a user has no cart.",
        ),
        Opt::new(
            "NOTIFIER_SERVICE_URL",
            "http://localhost:8082",
            group::SERVICE,
            "Where notifier-svc is asked how it is, for the admin page.",
        ),
        Opt::new(
            "CART_GROUP_ID",
            groups::CART_SERVICE,
            group::KAFKA,
            "The consumer group that creates carts.",
        ),
    ]);
    options.extend(
        TYPE_IDS.map(|(event, what)| Opt::unset(event.type_id_variable(), group::SERVICE, what)),
    );
    options.extend(
        TOPICS.map(|(topic, what)| Opt::new(topic.variable, topic.name, group::TOPICS, what)),
    );
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
            healthcheck::command(),
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
        let mut config = Self {
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
            intake_memory: values.get("INTAKE_MEMORY"),
            // It is measured to 0.75 s.
            intake_max_view_lag: values.checked(
                "INTAKE_MAX_VIEW_LAG",
                "must be 0 or at least 1s",
                |lag: &Duration| lag.is_zero() || *lag >= Duration::from_secs(1),
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
            books: values.get("BOOKS"),
            book_topics: BookEventKind::ALL.map(|kind| values.get(kind.topic().variable)),
            analytics: values.get("ANALYTICS"),
            analytics_group: values.get("AGGREGATES_GROUP_ID"),
            analytics_retention: values.positive("ANALYTICS_RETENTION"),
            aggregates_topic: values.get(topics::AGGREGATED_STATS.variable),
            // As RFC 7617 has it: the first colon ends the name.
            admin_user: values.checked(
                "ADMIN_USER",
                "must be without colons and control characters",
                |name: &String| !name.contains(|c: char| c == ':' || c.is_control()),
            ),
            admin_password: values.get("ADMIN_PASSWORD"),
            notifier_service: values.get("NOTIFIER_SERVICE_URL"),
            cart_service: values.get("CART_SERVICE_URL"),
            cart_group: values.get("CART_GROUP_ID"),
            type_ids: TypeIds::from_variables(&TYPE_IDS.map(|(event, _)| event), |variable| {
                values.find(variable)
            }),
        };
        config.check_topics(values);
        let kafka = &mut config.common.kafka;
        kafka.read_strategy(values, AGGREGATES_STRATEGY, &config.analytics_group);
        if config.analytics_group == config.common.kafka.group_id {
            values.mistake("AGGREGATES_GROUP_ID", "must differ from KAFKA_GROUP_ID");
        }
        config
    }

    /// The topic of the events of a kind.
    pub fn book_topic(&self, kind: BookEventKind) -> &TopicName {
        &self.book_topics[kind as usize]
    }

    fn check_topics(&self, values: &mut Values) {
        let [views, downloads, purchases, reviews, ratings] = &self.book_topics;
        // In the order of [`TOPICS`].
        let names = [
            &self.order_topic,
            &self.orders_topic,
            &self.order_status_topic,
            &self.users_topic,
            views,
            downloads,
            purchases,
            reviews,
            ratings,
            &self.aggregates_topic,
        ];
        for (index, ((topic, _), name)) in TOPICS.iter().zip(names).enumerate() {
            if let Some(other) = names[..index].iter().position(|other| *other == name) {
                let other = TOPICS[other].0.variable;
                values.mistake(topic.variable, format!("must differ from {other}"));
            }
        }
        // What is consumed must not grow by what is logged about it.
        let log_topic = self.common.log_topic.as_deref();
        if let Some(at) = names.iter().position(|name| log_topic == Some(&***name)) {
            let other = TOPICS[at].0.variable;
            values.mistake("LOG_TOPIC", format!("must differ from {other}"));
        }
    }
}
