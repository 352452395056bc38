//! Every topic of the contract that is spoken today: its name, the variable that renames it, and
//! the partitions it is created with.

/// A topic as the contract names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Topic {
    /// The name unless the environment gives another.
    pub name: &'static str,
    /// The environment variable that gives another name.
    pub variable: &'static str,
    /// Partitions if a service has to create it; one that exists is used with those it has.
    pub partitions: i32,
    /// What its key is, for help texts and diagnosis.
    pub key: &'static str,
}

/// Orders as the HTTP front door takes them, camelCase.
pub const ORDER_TOPIC: Topic = Topic {
    name: "order_topic",
    variable: "ORDER_TOPIC",
    partitions: 3,
    key: "orderId",
};

/// Orders in snake_case.
pub const ORDERS: Topic = Topic {
    name: "orders",
    variable: "ORDERS_TOPIC",
    partitions: 3,
    key: "order_id",
};

/// Every step of an order.
pub const ORDER_STATUS_TOPIC: Topic = Topic {
    name: "order_status_topic",
    variable: "ORDER_STATUS_TOPIC",
    partitions: 3,
    key: "orderId",
};

/// The final result of an order.
pub const NOTIFICATIONS: Topic = Topic {
    name: "notifications",
    variable: "NOTIFICATIONS_TOPIC",
    partitions: 3,
    key: "order_id",
};

/// What happens to users; the type of each event is in its header and in its body.
pub const USERS_EVENTS: Topic = Topic {
    name: "users.events",
    variable: "USERS_EVENTS_TOPIC",
    partitions: 3,
    key: "userId",
};

/// What happens to carts, likewise.
pub const CARTS_EVENTS: Topic = Topic {
    name: "carts.events",
    variable: "CARTS_EVENTS_TOPIC",
    partitions: 3,
    key: "userId",
};

/// Books that were looked at.
pub const BOOK_VIEWS: Topic = Topic {
    name: "book.views",
    variable: "BOOK_VIEWS_TOPIC",
    partitions: 3,
    key: "bookId",
};

/// Books that were downloaded.
pub const BOOK_DOWNLOADS: Topic = Topic {
    name: "book.downloads",
    variable: "BOOK_DOWNLOADS_TOPIC",
    partitions: 3,
    key: "userId",
};

/// Books that were bought.
pub const BOOK_PURCHASES: Topic = Topic {
    name: "book.purchases",
    variable: "BOOK_PURCHASES_TOPIC",
    partitions: 2,
    key: "userId",
};

/// Reviews of books.
pub const BOOK_REVIEWS: Topic = Topic {
    name: "book.reviews",
    variable: "BOOK_REVIEWS_TOPIC",
    partitions: 2,
    key: "bookId",
};

/// Ratings of books.
pub const BOOK_RATINGS: Topic = Topic {
    name: "book.ratings",
    variable: "BOOK_RATINGS_TOPIC",
    partitions: 2,
    key: "bookId",
};

/// What the events of books come to.
pub const AGGREGATED_STATS: Topic = Topic {
    name: "analytics.aggregated-stats",
    variable: "AGGREGATED_STATS_TOPIC",
    partitions: 2,
    key: "aggregationType",
};

/// Log records of every service, where `LOG_TOPIC` is set.
pub const LOGS: Topic = Topic {
    name: "logs",
    variable: "LOG_TOPIC",
    partitions: 3,
    key: "service",
};

/// What a topic of dead letters is called: its source's name and this.
pub const DEAD_LETTER_SUFFIX: &str = "-dlt";

/// What Spring for Apache Kafka called them before 3.3; since then it calls them as we do.
const OLD_SPRING_SUFFIX: &str = ".DLT";

/// Whether a topic holds dead letters, by its name.
pub fn is_of_dead_letters(topic: &str) -> bool {
    [DEAD_LETTER_SUFFIX, OLD_SPRING_SUFFIX]
        .iter()
        .any(|suffix| topic.len() > suffix.len() && topic.ends_with(suffix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_partitions_are_those_of_the_contract() {
        let listed = [
            ORDER_TOPIC,
            ORDERS,
            ORDER_STATUS_TOPIC,
            NOTIFICATIONS,
            USERS_EVENTS,
            CARTS_EVENTS,
            BOOK_VIEWS,
            BOOK_DOWNLOADS,
            BOOK_PURCHASES,
            BOOK_REVIEWS,
            BOOK_RATINGS,
            AGGREGATED_STATS,
            LOGS,
        ]
        .map(|topic| (topic.name, topic.variable, topic.partitions));
        assert_eq!(
            listed,
            [
                ("order_topic", "ORDER_TOPIC", 3),
                ("orders", "ORDERS_TOPIC", 3),
                ("order_status_topic", "ORDER_STATUS_TOPIC", 3),
                ("notifications", "NOTIFICATIONS_TOPIC", 3),
                ("users.events", "USERS_EVENTS_TOPIC", 3),
                ("carts.events", "CARTS_EVENTS_TOPIC", 3),
                ("book.views", "BOOK_VIEWS_TOPIC", 3),
                ("book.downloads", "BOOK_DOWNLOADS_TOPIC", 3),
                ("book.purchases", "BOOK_PURCHASES_TOPIC", 2),
                ("book.reviews", "BOOK_REVIEWS_TOPIC", 2),
                ("book.ratings", "BOOK_RATINGS_TOPIC", 2),
                ("analytics.aggregated-stats", "AGGREGATED_STATS_TOPIC", 2),
                ("logs", "LOG_TOPIC", 3),
            ]
        );
    }
}
