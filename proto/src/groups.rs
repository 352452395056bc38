//! The consumer groups of the contract; `KAFKA_GROUP_ID` renames a service's first one.

/// consumer-svc on `order_topic` and `orders`.
pub const ORDER_PROCESSING: &str = "order-processing";

/// producer-svc on the orders and their statuses.
pub const ORDER_VIEW: &str = "order-view";

/// notifier-svc on `notifications`.
pub const NOTIFICATION_GROUP: &str = "notification-group";

/// consumer-svc on `users.events`.
pub const CART_SERVICE: &str = "cart-service";

/// consumer-svc on the topics of book events.
pub const ANALYTICS: &str = "analytics-service-group";

/// producer-svc on `analytics.aggregated-stats`.
pub const MAIN_APPLICATION: &str = "main-application";

/// notifier-svc on `logs`.
pub const LOG_COLLECTOR: &str = "log-collector";
