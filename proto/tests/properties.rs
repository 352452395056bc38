//! Whatever is written is read again; whatever arrives never panics.

use std::borrow::Cow;

use proptest::option;
use proptest::prelude::*;
use proto::{
    Aggregate, AggregateData, Amounts, Average, BookDetail, BookEvent, BookEventKind,
    BookEventRequest, CartEvent, CartItemChange, Currency, Figures, MAX_AMOUNT, NewCartItem,
    Notification, Order, OrderRequest, OrderStatusEvent, ReadAggregate, RegistrationRequest,
    ReviewAction, Rfc3339, Spelling, Status, StatusWord, UserEvent, order_id,
};
use serde_json::{Map, Value, json};

fn id() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~]{1,128}",
        "\\PC{1,128}",
        any::<u64>().prop_map(|n| n.to_string())
    ]
    .prop_filter("an order id", |id| order_id::check(id).is_ok())
}

fn product() -> impl Strategy<Value = String> {
    any::<String>().prop_filter("not empty", |text| !text.trim().is_empty())
}

prop_compose! {
    fn order()(
        order_id in id(),
        product in product(),
        quantity: i64,
        user_id in option::of(any::<String>()),
        created_at in option::of(any::<i64>()),
    ) -> Order<'static> {
        Order {
            order_id: order_id.into(),
            product: product.into(),
            quantity,
            user_id: user_id.map(Cow::Owned),
            created_at: created_at.map(|millis| Rfc3339::from_millis(millis).to_string().into()),
        }
    }
}

fn spelling() -> impl Strategy<Value = Spelling> {
    prop_oneof![Just(Spelling::Camel), Just(Spelling::Snake)]
}

/// JSON that is near enough to ours to get past the first check.
fn near_json() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        Just("orderId"),
        Just("order_id"),
        Just("product"),
        Just("item"),
        Just("quantity"),
        Just("userId"),
        Just("user_id"),
        Just("status"),
        Just("reason"),
        Just("createdAt"),
        Just("updatedAt"),
        Just("bookId"),
        Just("amount"),
        Just("currency"),
        Just("rating"),
        Just("aggregationType"),
        Just("data"),
        Just("x"),
    ];
    let value = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("{}".to_owned()),
        Just("[[1],{\"a\":2}]".to_owned()),
        Just("\"CONFIRMED\"".to_owned()),
        any::<i64>().prop_map(|n| n.to_string()),
        any::<f64>().prop_map(|n| n.to_string()),
        "[0-9]{1,40}",
        any::<String>().prop_map(|text| json!(text).to_string()),
    ];
    proptest::collection::vec((name, value), 0..8).prop_map(|fields| {
        let fields: Vec<_> = fields.iter().map(|(n, v)| format!("\"{n}\":{v}")).collect();
        format!("{{{}}}", fields.join(","))
    })
}

fn decode_all(bytes: &[u8]) {
    for spelling in [Spelling::Camel, Spelling::Snake] {
        if let Ok(order) = Order::decode(bytes, spelling) {
            assert_eq!(order_id::peek(bytes), Some(order.order_id));
        }
        let _ = OrderRequest::decode(bytes, spelling);
    }
    let _ = order_id::peek(bytes);
    if let Ok(event) = OrderStatusEvent::decode(bytes) {
        assert_eq!(order_id::peek(bytes), Some(event.order_id));
    }
    if let Ok(event) = Notification::decode(bytes) {
        assert_eq!(order_id::peek(bytes), Some(event.order_id));
    }
    let _ = UserEvent::decode(bytes, None);
    let _ = CartEvent::decode(bytes);
    let _ = (NewCartItem::decode(bytes), CartItemChange::decode(bytes));
    let _ = RegistrationRequest::decode(bytes).is_ok();
    for kind in BookEventKind::ALL {
        for amounts in [Amounts::Minor, Amounts::Major] {
            let _ = BookEvent::decode(bytes, kind, amounts);
        }
        let _ = BookEventRequest::decode(bytes, kind);
    }
    let _ = Aggregate::decode(bytes);
}

fn status() -> impl Strategy<Value = StatusWord<'static>> {
    prop_oneof![
        Just(Status::Created.into()),
        Just(Status::Confirmed.into()),
        Just(Status::Rejected.into()),
        id().prop_map(|word| StatusWord::of(word.into())),
    ]
}

fn currency() -> impl Strategy<Value = Currency> {
    proptest::sample::select(Currency::all().collect::<Vec<_>>())
}

fn detail() -> impl Strategy<Value = BookDetail<'static>> {
    prop_oneof![
        Just(BookDetail::Viewed),
        Just(BookDetail::Downloaded),
        (0..=MAX_AMOUNT, currency())
            .prop_map(|(amount, currency)| BookDetail::Purchased { amount, currency }),
        (product(), any::<bool>()).prop_map(|(text, new)| BookDetail::Reviewed {
            text: text.into(),
            action: if new {
                ReviewAction::Created
            } else {
                ReviewAction::Updated
            },
        }),
        (1..=5u8).prop_map(BookDetail::Rated),
    ]
}

prop_compose! {
    fn figures()(
        counts in proptest::array::uniform5(0..i64::MAX),
        revenue in proptest::collection::btree_map(currency(), 0..i64::MAX, 0..4),
        average in option::of(100..=500i64),
    ) -> Figures {
        let [views, downloads, purchases, reviews, ratings] = counts;
        let average_rating = average.and_then(Average::from_hundredths);
        Figures { views, downloads, purchases, revenue, reviews, ratings, average_rating }
    }
}

proptest! {
    #[test]
    fn book_events_come_back(
        event_id in option::of(id()),
        book_id in 1..i64::MAX,
        user_id in id(),
        millis: i64,
        detail in detail(),
    ) {
        let event = BookEvent {
            event_id: event_id.map(Cow::Owned),
            book_id,
            user_id: Some(user_id.into()),
            timestamp: Some(Rfc3339::from_millis(millis).to_string().into()),
            detail,
        };
        let mut out = Vec::new();
        event.write(&mut out);
        let read = BookEvent::decode(&out, event.detail.kind(), Amounts::Minor);
        prop_assert_eq!(read.unwrap(), event);
    }

    #[test]
    fn aggregates_come_back(
        generated_at in 0..4_000_000_000_000i64,
        id in 1..i64::MAX,
        figures in figures(),
        of_a_book: bool,
    ) {
        let data = if of_a_book {
            AggregateData::BookStats { book_id: id, figures }
        } else {
            AggregateData::SystemOverview { books: id, figures }
        };
        let aggregate = Aggregate { generated_at, data };
        let mut out = Vec::new();
        aggregate.write(&mut out);
        prop_assert_eq!(Aggregate::decode(&out), Ok(ReadAggregate::Known(aggregate)));
    }

    #[test]
    fn orders_come_back(order in order(), spelling in spelling(), missing_as in spelling()) {
        let mut out = Vec::new();
        order.write(spelling, &mut out);
        let read = Order::decode(&out, missing_as).unwrap();
        let content = |of: &Order<'_>| {
            let text = [&of.order_id, &of.product].map(ToString::to_string);
            (text, of.quantity, of.user_id.as_deref().map(str::to_owned))
        };
        prop_assert_eq!(content(&read), content(&order));
        if spelling == Spelling::Camel {
            prop_assert_eq!(&read, &order);
        }
        prop_assert_eq!(order_id::peek(&out), Some(read.order_id));
    }

    #[test]
    fn any_mix_of_spellings_is_the_same_order(
        order in order(),
        choice in proptest::array::uniform4(0..3usize),
        numbers: bool,
    ) {
        let mut object = Map::new();
        let as_id = |id: &str| match id.parse::<u64>() {
            Ok(number) if numbers && number.to_string() == id => json!(number),
            _ => json!(id),
        };
        let mut put = |choice: usize, names: [&str; 2], value: Option<Value>| {
            for (index, name) in names.iter().enumerate() {
                if let Some(value) = &value && (choice == index || choice == 2) {
                    object.insert((*name).to_owned(), value.clone());
                }
            }
        };
        put(choice[0], ["orderId", "order_id"], Some(as_id(&order.order_id)));
        put(choice[1], ["product", "item"], Some(json!(order.product)));
        put(choice[2], ["userId", "user_id"], order.user_id.as_deref().map(as_id));
        put(choice[3], ["createdAt", "created_at"], order.created_at.as_ref().map(|t| json!(t)));
        object.insert("quantity".into(), json!(order.quantity));
        let bytes = serde_json::to_vec(&object).unwrap();
        prop_assert_eq!(Order::decode(&bytes, Spelling::Snake).unwrap(), order);
    }

    #[test]
    fn statuses_come_back(
        order_id in id(),
        status in status(),
        reason in option::of(any::<String>()),
        millis: i64,
    ) {
        let event = OrderStatusEvent {
            order_id: order_id.into(),
            status,
            reason: reason.map(Cow::Owned),
            updated_at: Some(Rfc3339::from_millis(millis).to_string().into()),
        };
        let mut out = Vec::new();
        event.write(&mut out);
        prop_assert_eq!(OrderStatusEvent::decode(&out).unwrap(), event);
    }

    #[test]
    fn notifications_come_back(
        order_id in id(),
        status in status(),
        user_id in option::of(any::<String>()),
        reason in option::of(any::<String>()),
    ) {
        let event = Notification {
            order_id: order_id.into(),
            status,
            user_id: user_id.map(Cow::Owned),
            reason: reason.map(Cow::Owned),
        };
        let mut out = Vec::new();
        event.write(&mut out);
        prop_assert_eq!(Notification::decode(&out).unwrap(), event);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        decode_all(&bytes);
    }

    #[test]
    fn what_is_nearly_ours_never_panics(json in near_json()) {
        decode_all(json.as_bytes());
    }

    #[test]
    fn a_broken_order_never_panics(order in order(), cut: prop::sample::Index, byte: u8) {
        let mut out = Vec::new();
        order.write(Spelling::Camel, &mut out);
        let at = cut.index(out.len());
        decode_all(&out[..at]);
        out[at] = byte;
        decode_all(&out);
    }
}
