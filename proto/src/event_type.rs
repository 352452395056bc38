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

    /// Whether `text` names this event in one of the usual spellings: `UserCreated`, `USER_CREATED`, `user-created`,
    /// `user.created`, `user.created.v1`, `UserCreatedEvent`, and any of them with what comes before a name in its
    /// package, module or topic: `com.example.UserCreated`, `com.example.user.created`, `shop/user-created`,
    /// `Events$UserCreated`.
    pub fn is_named(self, text: &str) -> bool {
        let name = self.as_str();
        text == name || is_spelling_of(text, name)
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

/// What parts a name from what it is in.
const PATH: [char; 6] = ['.', '/', '$', ':', '#', '\\'];

fn is_spelling_of(text: &str, name: &str) -> bool {
    let mut parts = text.rsplit(PATH);
    let Some(mut last) = parts.next() else {
        return false;
    };
    if is_version(last) {
        last = parts.next().unwrap_or_default();
    }
    if last.eq_ignore_ascii_case("event") {
        last = parts.next().unwrap_or_default();
    }
    if is_joined(last, name) {
        return true;
    }
    // `user.created`: a word a part.
    let mut rest = name;
    loop {
        match rest.len().checked_sub(last.len()) {
            Some(at) if !last.is_empty() && rest.is_char_boundary(at) => {
                if !rest[at..].eq_ignore_ascii_case(last)
                    || !rest[at..].starts_with(char::is_uppercase)
                {
                    return false;
                }
                rest = &rest[..at];
            }
            _ => return false,
        }
        if rest.is_empty() {
            return true;
        }
        match parts.next() {
            Some(part) => last = part,
            None => return false,
        }
    }
}

/// `v1`, `1`.
fn is_version(part: &str) -> bool {
    let digits = part.strip_prefix(['v', 'V']).unwrap_or(part);
    !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit())
}

/// Whether a part is the name in any case, with or without `_`, `-` and blanks between its words, and `Event` behind it.
fn is_joined(part: &str, name: &str) -> bool {
    let joints = ['_', '-', ' '];
    let mut letters = part.chars().filter(|c| !joints.contains(c));
    for wanted in name.chars() {
        match letters.next() {
            Some(letter) if letter.eq_ignore_ascii_case(&wanted) => {}
            _ => return false,
        }
    }
    let mut suffix = letters.peekable();
    suffix.peek().is_none()
        || suffix
            .map(|letter| letter.to_ascii_lowercase())
            .eq("event".chars())
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
    fn names_in_their_usual_spellings() {
        for text in [
            "UserCreated",
            "userCreated",
            "USERCREATED",
            "USER_CREATED",
            "user_created",
            "user-created",
            "user created",
            "user.created",
            "User.Created",
            "user.created.v1",
            "user-created.v2",
            "USER_CREATED_EVENT",
            "UserCreatedEvent",
            "user.created.event",
            "com.example.UserCreated",
            "com.example.UserCreatedEvent",
            "com.example.user.created",
            "com.example.user.created.v1",
            "com.example.Events$UserCreated",
            "users/user-created",
            "urn:shop:UserCreated",
            "Shop.Events.UserCreated",
        ] {
            assert!(EventType::UserCreated.is_named(text), "{text}");
            assert!(!EventType::CartCreated.is_named(text), "{text}");
        }
        for text in [
            "",
            "created",
            "user",
            "UserCreate",
            "UserCreatedTwice",
            "AdminUserCreated",
            "admin_user_created",
            "user.re-created",
            "user.created.failed",
            "UserDeleted",
            "v1",
            ".v1",
            "event",
            "us.ercreated",
            "ПользовательСоздан",
        ] {
            assert!(!EventType::UserCreated.is_named(text), "{text}");
        }
        assert!(EventType::CartItemAdded.is_named("cart.item.added"));
        assert!(EventType::CartItemAdded.is_named("CART_ITEM_ADDED"));
        for event in EventType::ALL {
            assert!(event.is_named(event.as_str()));
        }
    }

    #[test]
    fn all_is_in_the_order_of_the_discriminants() {
        for (index, event) in EventType::ALL.into_iter().enumerate() {
            assert_eq!(event as usize, index);
        }
    }
}
