//! The page in Chromium: what happens appears, a letter is replayed by a click, nothing that comes from
//! outside becomes HTML, and it fits a phone. With the feature `browser`.

#[path = "support/browser.rs"]
mod browser;
#[path = "support/letter.rs"]
mod letter;
#[path = "support/scene.rs"]
mod scene;

use browser::Browser;
use scene::{Running, Scene};
use serde_json::{Value, json};
use testkit::Kafka;

/// What would run, were it taken for HTML.
const EVIL: &str = "<img src=x onerror='window.taken=1'><script>window.taken=1</script>";

/// The page of a shop of its own, with a broker that nobody else fills.
struct Shown {
    scene: Scene,
    service: Running,
    browser: Browser,
    _kafka: Kafka,
}

impl Shown {
    async fn new() -> Self {
        let kafka = Kafka::own_broker().await;
        let scene = Scene::new(&kafka).await;
        let service = scene.start_ready(&[]).await;
        let browser = Browser::start().await;
        let shown = Self {
            scene,
            service,
            browser,
            _kafka: kafka,
        };
        shown.open().await;
        shown
    }

    /// As somebody who has the password.
    async fn open(&self) {
        let address = self.service.address;
        let url = format!("http://admin:admin@{address}/admin");
        self.browser.open(&url).await;
        self.browser
            .until("document.querySelector('#connection').textContent === 'live'")
            .await;
        // The orders' stream is open, too.
        self.browser
            .until("document.querySelector('#orders-list').dataset.state === 'live'")
            .await;
    }

    /// Waits until a part of the page says something.
    async fn says(&self, selector: &str, text: &str) {
        let (selector, text) = (json!(selector), json!(text));
        self.browser
            .until(&format!(
                "[...document.querySelectorAll({selector})].some(e => e.textContent.includes({text}))"
            ))
            .await;
    }

    /// consumer-svc has computed these figures, at this time of day.
    async fn has_figures(&self, kind: &str, time: &str, data: Value) {
        let time = format!("2026-01-31T{time}Z");
        let value = json!({"aggregationType": kind, "generatedAt": time, "data": data}).to_string();
        let topic = &self.scene.aggregates_topic;
        scene::send(&self.scene.producer(), topic, kind, &value).await;
    }

    async fn end(self) {
        assert_eq!(self.browser.complaints().await, Vec::<String>::new());
        self.service.end().await.unwrap();
    }
}

#[tokio::test]
async fn what_happens_appears_by_itself() {
    let shown = Shown::new().await;
    shown.says("#tiles .tile", "ready").await;
    shown.says("#orders-list .empty", "/api/orders").await;
    shown.says("#groups-list h3", &shown.scene.group).await;
    shown
        .says("#topics-list td", &shown.scene.order_topic)
        .await;

    let id = shown.service.place().await;
    let producer = shown.scene.producer();
    shown.scene.send_status(&producer, &id, "CREATED").await;
    shown.says("#orders-list .id", &id).await;
    shown.scene.send_status(&producer, &id, "REJECTED").await;
    shown.says("#orders-list .chip", "REJECTED").await;
    shown.says("#orders-list p", "too many").await;
    let rows = "return document.querySelectorAll('#orders-list li').length";
    assert_eq!(shown.browser.run(rows).await, 1, "one order, one line");
    // The topic has grown, as the stream of the cluster says.
    let grown = format!(
        "[...document.querySelectorAll('#topics-list tr')].some(row =>
            row.cells[0].textContent === {} && row.cells[2].textContent === '1')",
        json!(shown.scene.order_topic)
    );
    shown.browser.until(&grown).await;
    shown.end().await;
}

#[tokio::test]
async fn figures_are_drawn_as_they_come() {
    let shown = Shown::new().await;
    shown.says("#popular .empty", "/api/books/1/views").await;
    let sums = |views: i64| {
        json!({"views": views, "downloads": 2, "purchases": 1, "revenue": {"RUB": 34_500},
            "reviews": 1, "ratings": 4, "averageRating": 4.25})
    };
    let with = |mut figures: Value, name: &str, number: i64| {
        figures[name] = json!(number);
        figures
    };
    for (kind, time, data) in [
        ("BOOK_STATS", "12:00:00", with(sums(7), "bookId", 3)),
        ("BOOK_STATS", "12:01:00", with(sums(1_204), "bookId", 3)),
        ("SYSTEM_OVERVIEW", "12:01:00", with(sums(1_204), "books", 1)),
        (
            "POPULAR_BOOKS",
            "12:01:00",
            json!([{"rank": 1, "bookId": 3, "score": 1_215, "views": 1_204, "downloads": 2, "purchases": 1}]),
        ),
    ] {
        shown.has_figures(kind, time, data).await;
    }
    shown.says("#popular .name", "Book 3").await;
    shown.says("#popular .score", "1,215").await;
    shown.says("#tiles .tile", "1,204").await;
    // Its three parts as a bar, and its history as three lines of two points.
    let drawn = "document.querySelectorAll('#popular svg rect').length === 3 &&
        [...document.querySelectorAll('#history svg path')]
            .map(line => line.getAttribute('d').split('L').length).join() === '2,2,2'";
    shown.browser.until(drawn).await;
    shown.says("#history dd", "₽345.00").await;
    shown.end().await;
}

/// There are 170 currencies, and one book may have been sold in each.
#[tokio::test]
async fn a_book_sold_in_many_currencies_shows_the_first_and_counts_the_others() {
    let shown = Shown::new().await;
    let codes = [
        "AUD", "CAD", "CHF", "CNY", "CZK", "DKK", "EUR", "GBP", "JPY",
    ];
    let revenue: std::collections::BTreeMap<_, _> = codes.map(|code| (code, 1_000)).into();
    let figures = json!({"bookId": 3, "views": 1, "downloads": 0, "purchases": 9, "revenue": revenue,
        "reviews": 0, "ratings": 0, "averageRating": null});
    shown.has_figures("BOOK_STATS", "12:00:00", figures).await;
    let popular =
        json!([{"rank": 1, "bookId": 3, "score": 1, "views": 1, "downloads": 0, "purchases": 9}]);
    shown
        .has_figures("POPULAR_BOOKS", "12:00:00", popular)
        .await;
    shown.says("#history dd", "and 3 more currencies").await;
    let bounded = "[...document.querySelectorAll('#history dd')]
        .some(one => one.textContent.split(' · ').length === 7)";
    shown.browser.until(bounded).await;
    shown.end().await;
}

#[tokio::test]
async fn a_dead_letter_is_replayed_by_a_click() {
    let shown = Shown::new().await;
    shown.says("#letters-list .empty", "No dead letters").await;
    let place = letter::add(&shown.scene, EVIL, EVIL).await;
    shown.says("#letters-list p", EVIL).await;
    shown.says("#letters-list pre", EVIL).await;
    shown.says("#tiles .tile", "not replayed").await;
    shown.browser.click("#letters-list button.main").await;
    shown.says("#letters-status", "was replayed to").await;
    // It leaves the list of those that are open.
    shown.says("#letters-list .empty", "No dead letters").await;
    let records = shown.scene.records(&shown.scene.orders_topic, 1).await;
    assert_eq!(
        records[0].headers.get_str("dlt-replay-of"),
        Some(&*place.to_string())
    );
    shown.browser.click("#letters-replayed").await;
    shown.says("#letters-list .chip", "replayed to").await;
    shown.end().await;
}

#[tokio::test]
async fn nothing_from_outside_becomes_html_and_all_fits_a_phone_and_the_dark() {
    let shown = Shown::new().await;
    letter::add(&shown.scene, EVIL, EVIL).await;
    let producer = shown.scene.producer();
    shown.scene.send_status(&producer, EVIL, "CREATED").await;
    shown.says("#orders-list .id", EVIL).await;
    shown.says("#letters-list pre", EVIL).await;
    let topic = json!(format!("Look into {}-dlt", shown.scene.orders_topic));
    shown
        .browser
        .until(&format!("document.querySelector('[aria-label={topic}]')"))
        .await;
    shown.browser.click(&format!("[aria-label={topic}]")).await;
    shown.says("#messages-list pre", EVIL).await;
    let made = "return [window.taken ?? null,
        document.querySelectorAll('body img, body script, body iframe').length]";
    assert_eq!(shown.browser.run(made).await, json!([null, 0]));
    shown.browser.click("#messages-close").await;

    let background = "return getComputedStyle(document.body).backgroundColor";
    let light = shown.browser.run(background).await;
    let dark = json!({"features": [{"name": "prefers-color-scheme", "value": "dark"}]});
    shown
        .browser
        .devtools("Emulation.setEmulatedMedia", dark)
        .await;
    assert_eq!(light, "rgb(245, 245, 242)");
    assert_eq!(shown.browser.run(background).await, "rgb(16, 18, 21)");

    let phone = json!({"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": true});
    shown
        .browser
        .devtools("Emulation.setDeviceMetricsOverride", phone)
        .await;
    shown.browser.click("#groups-list summary").await;
    shown.browser.until("innerWidth === 360").await;
    let widest = "return [document.documentElement.scrollWidth,
        Math.max(...[...document.querySelectorAll('main > *')].map(e => e.getBoundingClientRect().right))]";
    let widths = shown.browser.run(widest).await;
    for width in widths.as_array().unwrap() {
        assert!(width.as_f64().unwrap() <= 360.0, "{widths}");
    }
    shown.end().await;
}

#[tokio::test]
async fn what_is_shown_is_marked_old_when_the_service_is_gone() {
    let shown = Shown::new().await;
    shown.says("#tiles .tile", "ready").await;
    shown.service.end().await.unwrap();
    shown
        .browser
        .until("document.querySelector('#problem').textContent.includes('What is shown is as of')")
        .await;
    let good = "return document.querySelectorAll('#tiles .tile.good').length";
    assert_eq!(shown.browser.run(good).await, 0);
    let old = "return document.querySelector('main').classList.contains('old')";
    assert_eq!(shown.browser.run(old).await, true);
}

#[tokio::test]
async fn a_login_that_is_not_valid_any_more_is_named() {
    let shown = Shown::new().await;
    let address = shown.service.address.to_string();
    shown.service.end().await.unwrap();
    let changed = [("HTTP_ADDR", &*address), ("ADMIN_PASSWORD", "another")];
    let service = shown.scene.start_ready(&changed).await;
    shown
        .browser
        .until(
            "document.querySelector('#connection').textContent.includes('the login is not valid')",
        )
        .await;
    service.end().await.unwrap();
}

#[tokio::test]
async fn figures_that_nobody_computes_any_more_are_marked_old() {
    let shown = Shown::new().await;
    let data = json!({"books": 1, "views": 1, "downloads": 0, "purchases": 0, "revenue": {},
        "reviews": 0, "ratings": 0, "averageRating": null});
    shown.has_figures("SYSTEM_OVERVIEW", "12:01:00", data).await;
    shown
        .says(
            "#books-age.old-figures",
            "nobody has computed figures since",
        )
        .await;
    shown.end().await;
}
