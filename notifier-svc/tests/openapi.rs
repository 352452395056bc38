//! The service against its own document: no request makes it fail, and each answer is one that
//! `/openapi.json` promises.

#[path = "support/desk.rs"]
mod desk;

use desk::Desk;
use testkit::Kafka;
use testkit::openapi::Interface;

#[tokio::test]
async fn every_answer_is_as_documented_whatever_is_asked() {
    // What others have in a shared one is not asked about here.
    let kafka = Kafka::own_broker().await;
    let desk = Desk::new(&kafka).await;
    let service = desk.start(&["--request-timeout", "60s"]).await;
    service.ready().await;
    desk.confirmed("7", "user789").await;
    service.counted("stored", 1).await;
    let interface = Interface::new(include_str!("../src/openapi.json")).opaque(&[
        "Last-Event-ID",
        "before",
        "level",
    ]);
    interface.exercise(service.address).await;
    service.stop().await;
}
