//! The contract's JSON, to the letter, and what is said of JSON that is not it.

use std::borrow::Cow;

use proto::{
    Aggregate, AggregateData, Amounts, Average, BookDetail, BookEvent, BookEventKind, CartChange,
    CartEvent, CartItem, Currency, DecodeError, Figures, FinalStatus, Notification, Order,
    OrderRequest, OrderStatusEvent, PopularBook, ReadAggregate, ReviewAction, Spelling, Status,
    UserCreated, UserEvent, order_id,
};

fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn order_in_camel_case() {
    let json = r#"{"orderId":"o-1","product":"Laptop","quantity":1,"userId":"u-1","createdAt":"2026-01-02T03:04:05.678Z"}"#;
    let order = Order::decode(json.as_bytes(), Spelling::Camel).unwrap();
    assert_eq!(
        order,
        Order {
            order_id: "o-1".into(),
            product: "Laptop".into(),
            quantity: 1,
            user_id: Some("u-1".into()),
            created_at: Some("2026-01-02T03:04:05.678Z".into()),
        }
    );
    assert_eq!(written(|out| order.write(Spelling::Camel, out)), json);
    let least = r#"{"orderId":"o-1","product":"Laptop","quantity":1}"#;
    let order = Order::decode(least.as_bytes(), Spelling::Camel).unwrap();
    assert_eq!(written(|out| order.write(Spelling::Camel, out)), least);
}

#[test]
fn order_in_snake_case() {
    let json = r#"{"order_id":"12345","user_id":"user789","item":"laptop","quantity":2}"#;
    let order = Order::decode(json.as_bytes(), Spelling::Snake).unwrap();
    assert_eq!(
        order,
        Order {
            order_id: "12345".into(),
            product: "laptop".into(),
            quantity: 2,
            user_id: Some("user789".into()),
            created_at: None,
        }
    );
    assert_eq!(written(|out| order.write(Spelling::Snake, out)), json);
}

#[test]
fn order_status() {
    let json = r#"{"orderId":"o-1","status":"REJECTED","reason":"too many","updatedAt":"2026-01-02T03:04:05.678Z"}"#;
    let event = OrderStatusEvent::decode(json.as_bytes()).unwrap();
    assert_eq!(event.status, Status::Rejected);
    assert_eq!(event.reason.as_deref(), Some("too many"));
    assert_eq!(written(|out| event.write(out)), json);
    let json = r#"{"orderId":"o-1","status":"CREATED","updatedAt":"2026-01-02T03:04:05Z"}"#;
    let event = OrderStatusEvent::decode(json.as_bytes()).unwrap();
    assert_eq!(event.status, Status::Created);
    assert_eq!(written(|out| event.write(out)), json);
}

#[test]
fn user_created() {
    let json = r#"{"type":"UserCreated","userId":1,"email":"a@example.com","createdAt":"2026-01-02T03:04:05.678Z"}"#;
    let created = UserCreated {
        user_id: 1,
        email: Some("a@example.com".into()),
        created_at: Some("2026-01-02T03:04:05.678Z".into()),
    };
    assert_eq!(written(|out| created.write(out)), json);
    assert!(!format!("{created:?}").contains("example.com"));
    let decode = |json: &'static str, header: Option<&'static str>| {
        UserEvent::decode(json.as_bytes(), header)
    };
    assert_eq!(decode(json, None), Ok(UserEvent::Created(created)));
    // The type of the header counts where the body has none, and a number may be a string.
    let Ok(UserEvent::Created(least)) = decode(r#"{"user_id":"7"}"#, Some("UserCreated")) else {
        panic!("refused");
    };
    assert_eq!((least.user_id, least.email), (7, None));
    // One topic for the entity: what else happens to a user is no error.
    let deleted = r#"{"type":"UserDeleted","userId":"not a number"}"#;
    assert_eq!(
        decode(deleted, Some("UserCreated")),
        Ok(UserEvent::Other("UserDeleted".into()))
    );
    for (json, problem) in [
        (r#"{"userId":1}"#, "type is missing"),
        (r#"{"type":"UserCreated"}"#, "userId is missing"),
        (
            r#"{"type":"UserCreated","userId":0}"#,
            "userId must be a whole number from 1 on",
        ),
        (
            r#"{"type":7,"userId":1}"#,
            "type must be a string, is an integer",
        ),
    ] {
        assert_eq!(
            decode(json, None).unwrap_err().to_string(),
            problem,
            "{json}"
        );
    }
}

#[test]
fn cart_events() {
    let item = || CartItem {
        id: 3,
        product: "Laptop".into(),
        quantity: 2,
        price: 99_900,
    };
    let tail = r#","itemId":3,"product":"Laptop","quantity":2,"price":99900,"updatedAt":"2026-01-02T03:04:05.678Z"}"#;
    for (change, json) in [
        (CartChange::ItemAdded(item()), "CartItemAdded"),
        (CartChange::ItemChanged(item()), "CartItemChanged"),
        (CartChange::ItemRemoved(item()), "CartItemRemoved"),
    ] {
        let json = format!(r#"{{"type":"{json}","cartId":1,"userId":2{tail}"#);
        let event = CartEvent {
            cart_id: 1,
            user_id: 2,
            change,
            updated_at: Some("2026-01-02T03:04:05.678Z".into()),
        };
        assert_eq!(written(|out| event.write(out)), json);
        assert_eq!(CartEvent::decode(json.as_bytes()).unwrap(), event);
    }
    let json = r#"{"type":"CartCreated","cartId":1,"userId":2}"#;
    let event = CartEvent::decode(json.as_bytes()).unwrap();
    assert_eq!(event.change, CartChange::Created);
    assert_eq!(written(|out| event.write(out)), json);
    let wrong = CartEvent::decode(br#"{"type":"CartItemAdded","cartId":1}"#).unwrap_err();
    let named: Vec<&str> = wrong.fields().iter().map(|error| error.field).collect();
    assert_eq!(named, ["userId", "itemId", "product", "quantity", "price"]);
}

#[test]
fn book_events() {
    let head =
        r#"{"eventId":"e-1","bookId":3,"userId":"u-1","timestamp":"2026-01-02T03:04:05.678Z""#;
    let rub = Currency::parse("RUB").unwrap();
    for (detail, tail) in [
        (BookDetail::Viewed, "}"),
        (BookDetail::Downloaded, "}"),
        (
            BookDetail::Purchased {
                amount: 99_900,
                currency: rub,
            },
            r#","amount":99900,"currency":"RUB"}"#,
        ),
        (
            BookDetail::Reviewed {
                text: "good".into(),
                action: ReviewAction::Created,
            },
            r#","text":"good","action":"created"}"#,
        ),
        (BookDetail::Rated(5), r#","rating":5}"#),
    ] {
        let json = format!("{head}{tail}");
        let event = BookEvent {
            event_id: Some("e-1".into()),
            book_id: 3,
            user_id: Some("u-1".into()),
            timestamp: Some("2026-01-02T03:04:05.678Z".into()),
            detail,
        };
        let kind = event.detail.kind();
        assert_eq!(written(|out| event.write(out)), json);
        let read = BookEvent::decode(json.as_bytes(), kind, Amounts::Minor);
        assert_eq!(read.unwrap(), event);
    }
    // Ids as numbers or strings, in either spelling; what is not ours is ignored.
    let json = br#"{"event_id":7,"book_id":"3","user_id":9,"rating":99,"x":{}}"#;
    let event = BookEvent::decode(json, BookEventKind::Downloaded, Amounts::Minor).unwrap();
    assert_eq!(event.event_id.as_deref(), Some("7"));
    assert_eq!((event.book_id, event.user_id.as_deref()), (3, Some("9")));
    let said = |json: &str, kind| {
        let error = BookEvent::decode(json.as_bytes(), kind, Amounts::Minor).unwrap_err();
        error.to_string()
    };
    assert_eq!(
        said("{}", BookEventKind::Purchased),
        "bookId is missing; userId is missing; amount is missing; currency is missing"
    );
    assert_eq!(
        said(
            r#"{"book_id":0,"timestamp":"now","text":1,"action":"x"}"#,
            BookEventKind::Reviewed
        ),
        "book_id must be a whole number from 1 on; text must be a string, is an integer; action \
         must be created or updated"
    );
    assert_eq!(said("{}", BookEventKind::Viewed), "bookId is missing");
}

#[test]
fn aggregates() {
    let at = r#"","generatedAt":"2026-01-02T03:04:05.678Z","data":"#;
    let figures = Figures {
        views: 1,
        downloads: 2,
        purchases: 3,
        revenue: [("USD", 7), ("RUB", 9_007_199_254_740_993)]
            .map(|(code, amount)| (Currency::parse(code).unwrap(), amount))
            .into(),
        reviews: 4,
        ratings: 2,
        average_rating: Average::of(9, 2),
    };
    let sums = r#""views":1,"downloads":2,"purchases":3,"revenue":{"RUB":9007199254740993,"USD":7},"reviews":4,"ratings":2,"averageRating":4.5}"#;
    let nothing = r#""views":0,"downloads":0,"purchases":0,"revenue":{},"reviews":0,"ratings":0,"averageRating":null}"#;
    let book = |figures| AggregateData::BookStats {
        book_id: 3,
        figures,
    };
    for (data, json) in [
        (
            book(figures.clone()),
            format!(r#"BOOK_STATS{at}{{"bookId":3,{sums}"#),
        ),
        (
            book(Figures::default()),
            format!(r#"BOOK_STATS{at}{{"bookId":3,{nothing}"#),
        ),
        (
            AggregateData::SystemOverview { books: 7, figures },
            format!(r#"SYSTEM_OVERVIEW{at}{{"books":7,{sums}"#),
        ),
        (
            AggregateData::PopularBooks(vec![PopularBook {
                rank: 1,
                book_id: 3,
                score: 12,
                views: 1,
                downloads: 2,
                purchases: 1,
            }]),
            format!(
                r#"POPULAR_BOOKS{at}[{{"rank":1,"bookId":3,"score":12,"views":1,"downloads":2,"purchases":1}}]"#
            ),
        ),
        (
            AggregateData::PopularBooks(Vec::new()),
            format!("POPULAR_BOOKS{at}[]"),
        ),
    ] {
        let json = format!(r#"{{"aggregationType":"{json}}}"#);
        let aggregate = Aggregate {
            generated_at: 1_767_323_045_678,
            data,
        };
        assert_eq!(written(|out| aggregate.write(out)), json);
        assert_eq!(
            Aggregate::decode(json.as_bytes()),
            Ok(ReadAggregate::Known(aggregate))
        );
    }
    assert_eq!(PopularBook::score_of(1, 2, 1), 12);
    // What a later version adds is no error for an earlier one.
    let later = br#"{"aggregationType":"AUTHOR_STATS","data":17}"#;
    assert_eq!(
        Aggregate::decode(later),
        Ok(ReadAggregate::Other("AUTHOR_STATS".to_owned()))
    );
    let wrong = br#"{"aggregationType":"BOOK_STATS","generatedAt":1,"data":{"bookId":0,"views":-1,"downloads":1.5,"purchases":1,"revenue":{"R":1},"reviews":1,"averageRating":9}}"#;
    let wrong = Aggregate::decode(wrong).unwrap_err();
    let named: Vec<&str> = wrong.fields().iter().map(|error| error.field).collect();
    assert_eq!(
        named,
        [
            "generatedAt",
            "data.bookId",
            "data.views",
            "data.downloads",
            "data.revenue",
            "data.ratings",
            "data.averageRating"
        ]
    );
}

#[test]
fn notification() {
    let json = r#"{"order_id":"12345","status":"CONFIRMED","user_id":"user789"}"#;
    let event = Notification::decode(json.as_bytes()).unwrap();
    assert_eq!(event.outcome(), Some(FinalStatus::Confirmed));
    assert_eq!(event.user_id.as_deref(), Some("user789"));
    assert_eq!(written(|out| event.write(out)), json);
    let json = r#"{"order_id":"12345","status":"REJECTED","reason":"too many"}"#;
    let event = Notification::decode(json.as_bytes()).unwrap();
    assert_eq!(written(|out| event.write(out)), json);
}

#[test]
fn either_spelling_on_either_topic_and_ids_as_numbers() {
    let same = [
        r#"{"orderId":"7","product":"x","quantity":2,"userId":"8"}"#,
        r#"{"order_id":7,"item":"x","quantity":2,"user_id":8}"#,
        r#" {"orderId":7,"item":"x","quantity":2,"userId":8,"order_id":"7","unknown":{"a":[1,{}]}} "#,
        r#"{"orderId":null,"order_id":"7","product":"x","quantity":2,"user_id":8,"createdAt":null}"#,
    ];
    let expected = Order::decode(same[0].as_bytes(), Spelling::Camel).unwrap();
    for json in same {
        for spelling in [Spelling::Camel, Spelling::Snake] {
            let order = Order::decode(json.as_bytes(), spelling).unwrap();
            assert_eq!(order, expected, "{json}");
            assert_eq!(order_id::peek(json.as_bytes()).as_deref(), Some("7"));
        }
    }
    let event =
        OrderStatusEvent::decode(br#"{"order_id":-7,"status":"CONFIRMED","updated_at":null}"#);
    assert_eq!(event.unwrap().order_id, "-7");
    let event = Notification::decode(
        br#"{"orderId":18446744073709551615,"status":"CONFIRMED","userId":9}"#,
    );
    let event = event.unwrap();
    assert_eq!(event.order_id, "18446744073709551615");
    assert_eq!(event.user_id.as_deref(), Some("9"));
}

#[test]
fn null_is_absent_before_and_after() {
    let json = br#"{"order_id":"7","orderId":null,"item":"x","product":null,"quantity":1}"#;
    let order = Order::decode(json, Spelling::Camel).unwrap();
    assert_eq!((&*order.order_id, &*order.product), ("7", "x"));
    let json = br#"{"order_id":null,"item":null,"quantity":null}"#;
    assert_eq!(
        Order::decode(json, Spelling::Snake)
            .unwrap_err()
            .to_string(),
        "order_id is missing; item is missing; quantity is missing"
    );
}

#[test]
fn plain_strings_are_borrowed() {
    let json = br#"{"orderId":"o-1","product":"Lap\"top","quantity":1,"userId":"u-1"}"#;
    let order = Order::decode(json, Spelling::Camel).unwrap();
    assert!(matches!(order.order_id, Cow::Borrowed(_)));
    assert!(matches!(order.user_id, Some(Cow::Borrowed(_))));
    assert!(matches!(order.product, Cow::Owned(_)));
}

/// Each wrong value and what is said of it.
#[test]
fn what_is_wrong_is_named() {
    for (json, expected) in [
        ("", "the value is empty"),
        (" \n", "the value is empty"),
        ("null", "the value is not a JSON object but null"),
        ("[1]", "the value is not a JSON object but an array"),
        ("\"a\"", "the value is not a JSON object but a string"),
        ("12", "the value is not a JSON object but an integer"),
        (
            "{}",
            "orderId is missing; product is missing; quantity is missing",
        ),
        (
            r#"{"order_id":true,"item":1,"quantity":"two","user_id":[],"created_at":"now"}"#,
            "order_id must be a string or an integer, is a boolean; item must be a string, is an \
             integer; quantity must be an integer, is another string; user_id must be a string or \
             an integer, is an array",
        ),
        (
            r#"{"orderId":"","product":" ","quantity":1.5}"#,
            "orderId must not be empty; product must not be empty; quantity must be an integer, is \
             a number with a fraction or beyond 64 bits",
        ),
        (
            r#"{"orderId":1.5,"product":"x","quantity":9223372036854775808}"#,
            "orderId must be a string or an integer, is a number with a fraction or beyond 64 \
             bits; quantity is too large",
        ),
        (
            r#"{"orderId":"a","order_id":"b","product":"x","quantity":1}"#,
            "orderId and order_id have different values",
        ),
        (
            r#"{"orderId":"a","orderId":"b","product":"x","quantity":1}"#,
            "orderId is given twice with different values",
        ),
        (
            r#"{"order_id":"a","product":"x","item":"y","quantity":1}"#,
            "product and item have different values",
        ),
        (
            "{\"orderId\":\"a\\u0000\",\"product\":\"x\",\"quantity\":1}",
            "orderId must consist of printable characters",
        ),
    ] {
        let error = Order::decode(json.as_bytes(), Spelling::Camel).unwrap_err();
        assert_eq!(error.to_string(), expected, "{json}");
    }
    for json in [
        "{",
        "{\"a\":1}x",
        "nul",
        "\u{feff}\u{feff}{}",
        "{\"orderId\":1e999}",
        "{'a':1}",
    ] {
        let error = Order::decode(json.as_bytes(), Spelling::Camel).unwrap_err();
        assert!(matches!(error, DecodeError::NotJson(_)), "{json}: {error}");
    }
    let error = Order::decode(b"{\"orderId\":\"\xff\"}", Spelling::Camel).unwrap_err();
    assert!(matches!(error, DecodeError::NotJson(_)), "{error}");
    let error = Order::decode(b"{}", Spelling::Snake).unwrap_err();
    assert_eq!(
        error.to_string(),
        "order_id is missing; item is missing; quantity is missing"
    );
    let error = OrderStatusEvent::decode(br#"{"orderId":"1","status":""}"#).unwrap_err();
    assert_eq!(error.to_string(), "status must not be empty");
    let error = Notification::decode(br#"{"status":7}"#).unwrap_err();
    assert_eq!(
        error.to_string(),
        "order_id is missing; status must be a string, is an integer"
    );
}

#[test]
fn deep_nesting_is_no_danger() {
    let deep = "[".repeat(100_000);
    for json in [
        deep.clone(),
        format!("{{\"unknown\":{deep}"),
        format!("{{\"orderId\":{deep}"),
    ] {
        let error = Order::decode(json.as_bytes(), Spelling::Camel).unwrap_err();
        assert!(matches!(error, DecodeError::NotJson(_)), "{error}");
    }
}

#[test]
fn intake_names_all_wrong_fields() {
    let refused = |json: &str| {
        OrderRequest::decode(json.as_bytes(), Spelling::Camel)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        refused(r#"{"product":"Laptop","quantity":0}"#),
        "quantity must be at least 1"
    );
    assert_eq!(
        refused(r#"{"product":"Laptop","quantity":-1}"#),
        "quantity must be at least 1"
    );
    assert_eq!(refused(r#"{"product":"Laptop"}"#), "quantity is missing");
    assert_eq!(
        refused(r#"{"item":"","quantity":"1","userId":"","orderId":"\n"}"#),
        "orderId must consist of printable characters; item must not be empty; quantity must be an \
         integer, is a string; userId must not be empty"
    );
    assert_eq!(
        refused(r#"{"product":"Laptop","quantity":2147483648}"#),
        "quantity must be at most 2147483647"
    );
    let error = OrderRequest::decode(b"{}", Spelling::Snake).unwrap_err();
    let fields: Vec<_> = error.fields().iter().map(|error| error.field).collect();
    assert_eq!(fields, ["item", "quantity"]);
    assert_eq!(
        serde_json::to_string(error.fields()).unwrap(),
        r#"[{"field":"item","problem":"is missing"},{"field":"quantity","problem":"is missing"}]"#
    );

    let request =
        OrderRequest::decode(br#"{"product":"Laptop","quantity":1}"#, Spelling::Camel).unwrap();
    assert_eq!(request.order_id, None);
    let request = OrderRequest::decode(
        br#"{"order_id":12345,"user_id":"user789","item":"laptop","quantity":2147483647}"#,
        Spelling::Snake,
    )
    .unwrap();
    assert_eq!(request.order_id.as_deref(), Some("12345"));
    assert_eq!(request.quantity, 2_147_483_647);
}

/// Times as Spring, FastAPI and Node write them, where no reader here asks for the time.
const TIMES: [&str; 8] = [
    "1767323045678",
    "1767323045.678000000",
    "[2026,1,2,3,4,5,678000000]",
    r#""2026-01-02T03:04:05.678""#,
    r#""2026-01-02 03:04:05""#,
    r#""""#,
    "{}",
    "true",
];

#[test]
fn a_time_that_no_reader_uses_is_no_reason_for_a_dead_letter() {
    for time in TIMES {
        let json = format!(r#"{{"orderId":"1","product":"x","quantity":1,"createdAt":{time}}}"#);
        let order = Order::decode(json.as_bytes(), Spelling::Camel).unwrap();
        assert_eq!(order.created_at, None, "{json}");
        let json = format!(r#"{{"orderId":"1","status":"CONFIRMED","updatedAt":{time}}}"#);
        let status = OrderStatusEvent::decode(json.as_bytes()).unwrap();
        assert_eq!(status.updated_at, None, "{json}");
        let json = format!(r#"{{"type":"UserCreated","userId":1,"createdAt":{time}}}"#);
        let Ok(UserEvent::Created(created)) = UserEvent::decode(json.as_bytes(), None) else {
            panic!("{json}");
        };
        assert_eq!(created.created_at, None, "{json}");
        let json = format!(r#"{{"eventId":"e","bookId":1,"timestamp":{time}}}"#);
        let event = BookEvent::decode(json.as_bytes(), BookEventKind::Viewed, Amounts::Minor);
        assert_eq!(event.unwrap().timestamp, None, "{json}");
        let json = format!(r#"{{"type":"CartCreated","cartId":1,"userId":1,"updatedAt":{time}}}"#);
        assert_eq!(CartEvent::decode(json.as_bytes()).unwrap().updated_at, None);
    }
}

#[test]
fn whole_numbers_in_every_spelling() {
    for two in ["2", "2.0", "2.000", "2e0", r#""2""#, r#""2.0""#] {
        let json = format!(r#"{{"orderId":"1","product":"x","quantity":{two}}}"#);
        let order = Order::decode(json.as_bytes(), Spelling::Camel).unwrap();
        assert_eq!(order.quantity, 2, "{json}");
        let json = format!(r#"{{"bookId":2.0,"rating":{two}}}"#);
        let event = BookEvent::decode(json.as_bytes(), BookEventKind::Rated, Amounts::Minor);
        let event = event.unwrap();
        assert_eq!((event.book_id, event.detail), (2, BookDetail::Rated(2)));
    }
    // The same number in both spellings is no contradiction.
    let json = br#"{"orderId":7.0,"order_id":"7","product":"x","quantity":1}"#;
    assert_eq!(Order::decode(json, Spelling::Camel).unwrap().order_id, "7");
    for wrong in [
        "1.5", r#""1.5""#, r#""2.""#, r#""two""#, r#""""#, "1e400", "[2]", "1e17",
    ] {
        let json = format!(r#"{{"orderId":"1","product":"x","quantity":{wrong}}}"#);
        let read = Order::decode(json.as_bytes(), Spelling::Camel);
        assert!(read.is_err(), "{wrong}");
    }
    // A request is held to the contract.
    for strict in ["2.0", r#""2""#] {
        let json = format!(r#"{{"product":"x","quantity":{strict}}}"#);
        let error = OrderRequest::decode(json.as_bytes(), Spelling::Camel).unwrap_err();
        assert_eq!(error.fields()[0].field, "quantity", "{json}");
    }
}

#[test]
fn amounts_are_in_minor_units_unless_it_is_said() {
    let read = |amount: &str, currency: &str, amounts| {
        let json =
            format!(r#"{{"bookId":1,"userId":"u","amount":{amount},"currency":"{currency}"}}"#);
        let event = BookEvent::decode(json.as_bytes(), BookEventKind::Purchased, amounts);
        event
            .map(|event| match event.detail {
                BookDetail::Purchased { amount, .. } => amount,
                other => panic!("{other:?}"),
            })
            .map_err(|error| error.to_string())
    };
    for amount in ["99900", r#""99900""#] {
        assert_eq!(read(amount, "RUB", Amounts::Minor), Ok(99_900));
    }
    // Roubles, probably.
    for amount in ["999.00", "999.99", "999.0", r#""999.00""#] {
        let error = read(amount, "RUB", Amounts::Minor).unwrap_err();
        assert!(
            error.starts_with("amount must be an integer in minor units"),
            "{error}"
        );
    }
    let error = read("999.00", "RUB", Amounts::Minor).unwrap_err();
    assert!(error.contains("BOOK_AMOUNTS=major"), "{error}");
    for (amount, currency, minor) in [
        ("999", "RUB", 99_900),
        ("999.00", "rub", 99_900),
        (r#""999.99""#, "EUR", 99_999),
        ("500", "JPY", 500),
        ("1.234", "KWD", 1_234),
    ] {
        assert_eq!(read(amount, currency, Amounts::Major), Ok(minor));
    }
    for (amount, currency) in [
        ("1.5", "JPY"),
        ("1.005", "RUB"),
        ("-1", "RUB"),
        ("[]", "RUB"),
    ] {
        assert!(read(amount, currency, Amounts::Major).is_err(), "{amount}");
    }
}

#[test]
fn words_in_any_case_and_statuses_of_other_systems() {
    for (text, status) in [
        ("confirmed", Status::Confirmed),
        ("Rejected", Status::Rejected),
        ("created", Status::Created),
    ] {
        let json = format!(r#"{{"orderId":"1","status":"{text}"}}"#);
        let event = OrderStatusEvent::decode(json.as_bytes()).unwrap();
        assert_eq!(event.status, status);
        let event = Notification::decode(json.as_bytes()).unwrap();
        assert_eq!(event.outcome(), status.outcome());
    }
    for word in ["PROCESSING", "Shipped", "в обработке"] {
        let json = format!(r#"{{"orderId":"1","status":"{word}","reason":{{"code":7}}}}"#);
        let event = OrderStatusEvent::decode(json.as_bytes()).unwrap();
        assert_eq!(
            (event.status.as_str(), event.status.outcome()),
            (word, None)
        );
        assert_eq!(event.reason, None);
        let event = Notification::decode(json.as_bytes()).unwrap();
        assert_eq!((event.status.as_str(), event.outcome()), (word, None));
    }
    let review = br#"{"bookId":1,"text":"good","action":"CREATED","userId":{"no":"id"}}"#;
    let event = BookEvent::decode(review, BookEventKind::Reviewed, Amounts::Minor).unwrap();
    assert_eq!(event.user_id, None, "nobody asks who wrote it");
    let aggregate =
        br#"{"aggregationType":"popular_books","generatedAt":"2026-01-02T03:04:05Z","data":[]}"#;
    assert!(matches!(
        Aggregate::decode(aggregate),
        Ok(ReadAggregate::Known(_))
    ));
}

#[test]
fn a_byte_order_mark_is_passed_over() {
    let json = "\u{feff}{\"orderId\":\"1\",\"product\":\"x\",\"quantity\":1}";
    let order = Order::decode(json.as_bytes(), Spelling::Camel).unwrap();
    assert_eq!(order.order_id, "1");
    assert_eq!(order_id::peek(json.as_bytes()).as_deref(), Some("1"));
    let json = "\u{feff}{\"aggregationType\":\"X\"}";
    assert_eq!(
        Aggregate::decode(json.as_bytes()),
        Ok(ReadAggregate::Other("X".to_owned()))
    );
}

#[test]
fn a_created_user_under_the_usual_names() {
    for (json, header) in [
        (r#"{"type":"USER_CREATED","userId":1}"#, None),
        (r#"{"type":"user.created","userId":"1"}"#, None),
        (r#"{"eventType":"UserCreatedEvent","user_id":1.0}"#, None),
        (r#"{"type":"com.example.UserCreated","userId":1}"#, None),
        (r#"{"userId":1}"#, Some("com.example.user.created.v1")),
        (
            r#"{"type":"UserCreated","userId":1,"email":{"value":"a@example.com"}}"#,
            None,
        ),
    ] {
        match UserEvent::decode(json.as_bytes(), header) {
            Ok(UserEvent::Created(created)) => assert_eq!(created.user_id, 1, "{json}"),
            other => panic!("{json}: {other:?}"),
        }
        assert!(proto::identity::is_in_value(json.as_bytes(), header));
    }
}
