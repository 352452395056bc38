//! `ce_type` of every event, and the optional `__TypeId__` for Spring readers.

/// The kinds of event that are sent today.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventType {
    /// On `order_topic` and `orders`.
    OrderPlaced,
    /// On `order_status_topic`.
    OrderStatusChanged,
    /// On `notifications`.
    OrderResult,
    /// On `users.events`.
    UserCreated,
    /// On `carts.events`, as are those below.
    CartCreated,
    CartItemAdded,
    CartItemChanged,
    CartItemRemoved,
    /// On `book.views`.
    BookViewed,
    /// On `book.downloads`.
    BookDownloaded,
    /// On `book.purchases`.
    BookPurchased,
    /// On `book.reviews`.
    BookReviewed,
    /// On `book.ratings`.
    BookRated,
    /// On `analytics.aggregated-stats`, as are those below.
    BookStats,
    SystemOverview,
    PopularBooks,
}

impl EventType {
    /// All of them, for help texts.
    pub const ALL: [EventType; 16] = [
        EventType::OrderPlaced,
        EventType::OrderStatusChanged,
        EventType::OrderResult,
        EventType::UserCreated,
        EventType::CartCreated,
        EventType::CartItemAdded,
        EventType::CartItemChanged,
        EventType::CartItemRemoved,
        EventType::BookViewed,
        EventType::BookDownloaded,
        EventType::BookPurchased,
        EventType::BookReviewed,
        EventType::BookRated,
        EventType::BookStats,
        EventType::SystemOverview,
        EventType::PopularBooks,
    ];

    /// The value of `ce_type`.
    pub const fn as_str(self) -> &'static str {
        match self {
            EventType::OrderPlaced => "OrderPlaced",
            EventType::OrderStatusChanged => "OrderStatusChanged",
            EventType::OrderResult => "OrderResult",
            EventType::UserCreated => "UserCreated",
            EventType::CartCreated => "CartCreated",
            EventType::CartItemAdded => "CartItemAdded",
            EventType::CartItemChanged => "CartItemChanged",
            EventType::CartItemRemoved => "CartItemRemoved",
            EventType::BookViewed => "BookViewed",
            EventType::BookDownloaded => "BookDownloaded",
            EventType::BookPurchased => "BookPurchased",
            EventType::BookReviewed => "BookReviewed",
            EventType::BookRated => "BookRated",
            EventType::BookStats => "BookStats",
            EventType::SystemOverview => "SystemOverview",
            EventType::PopularBooks => "PopularBooks",
        }
    }

    /// The reverse of [`EventType::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.as_str() == text)
    }

    /// The variable that names the class Spring readers map this event to.
    pub const fn type_id_variable(self) -> &'static str {
        match self {
            EventType::OrderPlaced => "KAFKA_TYPE_ID_ORDER_PLACED",
            EventType::OrderStatusChanged => "KAFKA_TYPE_ID_ORDER_STATUS_CHANGED",
            EventType::OrderResult => "KAFKA_TYPE_ID_ORDER_RESULT",
            EventType::UserCreated => "KAFKA_TYPE_ID_USER_CREATED",
            EventType::CartCreated => "KAFKA_TYPE_ID_CART_CREATED",
            EventType::CartItemAdded => "KAFKA_TYPE_ID_CART_ITEM_ADDED",
            EventType::CartItemChanged => "KAFKA_TYPE_ID_CART_ITEM_CHANGED",
            EventType::CartItemRemoved => "KAFKA_TYPE_ID_CART_ITEM_REMOVED",
            EventType::BookViewed => "KAFKA_TYPE_ID_BOOK_VIEWED",
            EventType::BookDownloaded => "KAFKA_TYPE_ID_BOOK_DOWNLOADED",
            EventType::BookPurchased => "KAFKA_TYPE_ID_BOOK_PURCHASED",
            EventType::BookReviewed => "KAFKA_TYPE_ID_BOOK_REVIEWED",
            EventType::BookRated => "KAFKA_TYPE_ID_BOOK_RATED",
            EventType::BookStats => "KAFKA_TYPE_ID_BOOK_STATS",
            EventType::SystemOverview => "KAFKA_TYPE_ID_SYSTEM_OVERVIEW",
            EventType::PopularBooks => "KAFKA_TYPE_ID_POPULAR_BOOKS",
        }
    }
}

/// The `__TypeId__` of each kind of event; none unless configured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TypeIds([Option<Box<str>>; EventType::ALL.len()]);

impl TypeIds {
    /// Asks `lookup` for the [`EventType::type_id_variable`] of each of `events`, which are those
    /// that a service sends; an empty answer is none.
    pub fn from_variables(
        events: &[EventType],
        mut lookup: impl FnMut(&'static str) -> Option<String>,
    ) -> Self {
        Self(EventType::ALL.map(|event| {
            if !events.contains(&event) {
                return None;
            }
            lookup(event.type_id_variable())
                .filter(|class| !class.is_empty())
                .map(String::into_boxed_str)
        }))
    }

    /// The class name to send with `event`, if any.
    pub fn get(&self, event: EventType) -> Option<&str> {
        self.0[event as usize].as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_has_its_own_type_id() {
        let sent = [EventType::OrderStatusChanged, EventType::OrderResult];
        let ids = TypeIds::from_variables(&sent, |name| match name {
            "KAFKA_TYPE_ID_ORDER_STATUS_CHANGED" => Some("com.shop.OrderStatusEvent".into()),
            "KAFKA_TYPE_ID_ORDER_RESULT" => Some(String::new()),
            other => panic!("{other} is not sent"),
        });
        assert_eq!(ids.get(EventType::OrderPlaced), None);
        assert_eq!(
            ids.get(EventType::OrderStatusChanged),
            Some("com.shop.OrderStatusEvent")
        );
        assert_eq!(ids.get(EventType::OrderResult), None);
    }

    #[test]
    fn all_is_in_the_order_of_the_discriminants() {
        for (index, event) in EventType::ALL.into_iter().enumerate() {
            assert_eq!(event as usize, index);
        }
    }
}
