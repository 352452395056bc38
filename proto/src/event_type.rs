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
}

impl EventType {
    /// All of them, for help texts.
    pub const ALL: [EventType; 3] = [
        EventType::OrderPlaced,
        EventType::OrderStatusChanged,
        EventType::OrderResult,
    ];

    /// The value of `ce_type`.
    pub const fn as_str(self) -> &'static str {
        match self {
            EventType::OrderPlaced => "OrderPlaced",
            EventType::OrderStatusChanged => "OrderStatusChanged",
            EventType::OrderResult => "OrderResult",
        }
    }

    /// The variable that names the class Spring readers map this event to.
    pub const fn type_id_variable(self) -> &'static str {
        match self {
            EventType::OrderPlaced => "KAFKA_TYPE_ID_ORDER_PLACED",
            EventType::OrderStatusChanged => "KAFKA_TYPE_ID_ORDER_STATUS_CHANGED",
            EventType::OrderResult => "KAFKA_TYPE_ID_ORDER_RESULT",
        }
    }
}

/// The `__TypeId__` of each kind of event; none unless configured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TypeIds([Option<Box<str>>; EventType::ALL.len()]);

impl TypeIds {
    /// Asks `lookup` for each [`EventType::type_id_variable`]; an empty answer is none.
    pub fn from_variables(mut lookup: impl FnMut(&'static str) -> Option<String>) -> Self {
        Self(EventType::ALL.map(|event| {
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
        let ids = TypeIds::from_variables(|name| match name {
            "KAFKA_TYPE_ID_ORDER_STATUS_CHANGED" => Some("com.shop.OrderStatusEvent".into()),
            "KAFKA_TYPE_ID_ORDER_RESULT" => Some(String::new()),
            _ => None,
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
