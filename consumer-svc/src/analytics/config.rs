use std::time::Duration;

use proto::{Amounts, BookEventKind, EventType, Topic, groups, topics};
use service::config::{Opt, TopicName, Values, group, strategy_option};

/// How the statistics are kept.
#[derive(Debug, Clone)]
pub struct AnalyticsConfig {
    /// Whether this instance keeps them.
    pub enabled: bool,
    pub group: String,
    /// Between two rounds of aggregates.
    pub interval: Duration,
    /// Books in POPULAR_BOOKS.
    pub top: i64,
    /// How long an event's id is known.
    pub dedup_window: Duration,
    /// The unit of other systems' amounts.
    pub amounts: Amounts,
    /// By [`BookEventKind::ALL`].
    pub topics: [TopicName; 5],
    /// Where aggregates go.
    pub aggregated_topic: TopicName,
}

/// The topics whose names can be set, with what they are for.
pub(crate) const TOPICS: [(Topic, &str); 6] = [
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

/// The events that are sent, with the meaning of their `__TypeId__`.
pub(crate) const TYPE_IDS: [(EventType, &str); 3] = [
    (
        EventType::BookStats,
        "Class that Spring readers map BookStats to (__TypeId__).",
    ),
    (
        EventType::SystemOverview,
        "Class that Spring readers map SystemOverview to (__TypeId__).",
    ),
    (
        EventType::PopularBooks,
        "Class that Spring readers map PopularBooks to (__TypeId__).",
    ),
];

/// The strategies of the group that keeps the statistics.
pub(crate) const STRATEGY: &str = "ANALYTICS_ASSIGNMENT_STRATEGY";

/// Most books in POPULAR_BOOKS: its record must stay far below Kafka's 1 MiB.
const MAX_TOP: i64 = 1_000;

pub(crate) fn options() -> Vec<Opt> {
    vec![
        Opt::new(
            "ANALYTICS",
            "true",
            group::SERVICE,
            "Keep the bookstore's statistics; needs the database. false: an instance without.",
        ),
        Opt::new(
            "ANALYTICS_INTERVAL",
            "60s",
            group::SERVICE,
            "How often the statistics are published.",
        ),
        Opt::new(
            "ANALYTICS_TOP",
            "10",
            group::SERVICE,
            "How many books POPULAR_BOOKS names, 1 to 1000.",
        ),
        Opt::new(
            "BOOK_AMOUNTS",
            "minor",
            group::SERVICE,
            "Unit of the amounts in other systems' purchases: minor (kopecks; a fraction is a dead letter) or major \
             (roubles, with the decimals that ISO 4217 gives the currency). Those of producer-svc are always minor.",
        ),
        Opt::new(
            "ANALYTICS_DEDUP_WINDOW",
            "1d",
            group::SERVICE,
            "How long the id of a book event is kept (a row each), so that a repeat counts once.",
        ),
        Opt::new(
            "ANALYTICS_GROUP_ID",
            groups::ANALYTICS,
            group::KAFKA,
            "The consumer group that keeps the statistics.",
        ),
        strategy_option(STRATEGY),
    ]
}

impl AnalyticsConfig {
    /// Takes the options out of `values`; mistakes are noted there.
    pub(crate) fn take(values: &mut Values) -> Self {
        Self {
            enabled: values.get("ANALYTICS"),
            group: values.get("ANALYTICS_GROUP_ID"),
            interval: values.checked(
                "ANALYTICS_INTERVAL",
                "must be longer than 0",
                |interval: &Duration| !interval.is_zero(),
            ),
            top: values.checked("ANALYTICS_TOP", "must be 1 to 1000", |top: &i64| {
                (1..=MAX_TOP).contains(top)
            }),
            dedup_window: values.checked(
                "ANALYTICS_DEDUP_WINDOW",
                "must be longer than 0",
                |window: &Duration| !window.is_zero(),
            ),
            amounts: values.get("BOOK_AMOUNTS"),
            topics: BookEventKind::ALL.map(|kind| values.get(kind.topic().variable)),
            aggregated_topic: values.get(topics::AGGREGATED_STATS.variable),
        }
    }

    /// All topics, in the order of [`TOPICS`].
    pub(crate) fn topic_names(&self) -> [&str; 6] {
        let [views, downloads, purchases, reviews, ratings] = &self.topics;
        [
            views,
            downloads,
            purchases,
            reviews,
            ratings,
            &self.aggregated_topic,
        ]
    }
}
