//! What a service says of itself while Kafka does not let it in.

use std::time::Duration;

use kafka::{Client, ClientConfig, Sasl, SaslMechanism};
use service::health::Health;
use service::kafka_glue::watch_kafka;
use testkit::eventually;
use testkit::guard::Rules;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_wrong_password_is_named_with_its_variable_until_it_is_put_right() {
    let guard = Rules::default().plain("shop", "old", None).start().await;
    let mut config = ClientConfig::new(&guard.bootstrap()).unwrap();
    let login = Sasl::new(SaslMechanism::Plain, "shop", "new").unwrap();
    config.security.sasl = Some(login);
    config.refused_backoff = Duration::from_millis(100);
    let health = Health::new();
    let stop = CancellationToken::new();
    let watching = tokio::spawn(watch_kafka(
        Client::new(config),
        health.required("kafka"),
        stop.clone(),
    ));
    let problem = eventually(PATIENCE, async || {
        let problem = health.report().missing.pop()?.problem;
        problem.contains("refused").then_some(problem)
    })
    .await;
    for part in [
        "it refused name or password (PLAIN)",
        "see KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD",
    ] {
        assert!(problem.contains(part), "{problem}");
    }
    guard.set_password("new");
    eventually(PATIENCE, async || health.report().ready.then_some(())).await;
    stop.cancel();
    watching.await.unwrap();
}
