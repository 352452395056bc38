//! TLS and SASL, with a guard before the embedded broker: who is let in, and what is said to who is not.

#[path = "support/round_trip.rs"]
mod round_trip;

use std::time::Duration;

use kafka::{Client, ClientConfig, Error, Refusal, Sasl, SaslMechanism, Security, Tls};
use kafka_protocol::messages::ApiKey;
use round_trip::{record, round_trip};
use testkit::certificates::Authority;
use testkit::guard::Rules;
use testkit::{Kafka, eventually, unique};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const PATIENCE: Duration = Duration::from_secs(30);

/// What the guards here are found by.
const HOST: &[&str] = &["127.0.0.1"];

fn trusting(authority: &Authority) -> Tls {
    Tls::builder().ca_location(authority.ca()).build().unwrap()
}

fn plain(password: &str) -> Sasl {
    Sasl::new(SaslMechanism::Plain, "shop", password).unwrap()
}

fn config(address: &str, tls: Option<Tls>, sasl: Option<Sasl>) -> ClientConfig {
    let mut config = ClientConfig::new(address).unwrap();
    config.security = Security { tls, sasl };
    config
}

/// Why a client of `config` cannot use the broker, and the words for it.
async fn refusal(config: ClientConfig) -> (Refusal, String) {
    let error = Client::new(config).ready().await.unwrap_err();
    assert!(error.is_retriable(), "it may be put right: {error}");
    let refusal = error.refusal().unwrap_or_else(|| panic!("{error}"));
    (refusal.clone(), error.to_string())
}

#[tokio::test]
async fn every_path_goes_through_tls_and_a_login() {
    let authority = Authority::new();
    let guard = Rules::default()
        .tls(&authority.server(HOST), None)
        .plain("shop", "secret", None)
        .start()
        .await;
    let (tls, sasl) = (trusting(&authority), plain("secret"));
    let client = Client::new(config(&guard.bootstrap(), Some(tls), Some(sasl)));
    round_trip(&client).await;
    for api in [
        ApiKey::Metadata,
        ApiKey::CreateTopics,
        ApiKey::InitProducerId,
        ApiKey::Produce,
        ApiKey::FindCoordinator,
        ApiKey::JoinGroup,
        ApiKey::Heartbeat,
        ApiKey::Fetch,
        ApiKey::OffsetCommit,
        ApiKey::ListOffsets,
    ] {
        // A heartbeat is due only after a while.
        assert!(
            guard.passed(api) || api == ApiKey::Heartbeat,
            "{api:?} took another way"
        );
    }
    assert_eq!(guard.refused(), 0);
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_refused() {
    let (authority, other) = (Authority::new(), Authority::new());
    let identity = authority.server(HOST);
    let guard = Rules::default().tls(&identity, None).start().await;
    let tls = trusting(&other);
    let (refusal, words) = refusal(config(&guard.bootstrap(), Some(tls), None)).await;
    assert_eq!(refusal, Refusal::UntrustedCertificate);
    assert!(words.contains(&guard.bootstrap()), "{words}");
    assert!(words.contains("trust the certificate"), "{words}");
}

#[tokio::test]
async fn a_certificate_for_another_host_is_refused() {
    let authority = Authority::new();
    let identity = authority.server(&["kafka.example", "10.1.2.3"]);
    let guard = Rules::default().tls(&identity, None).start().await;
    let tls = trusting(&authority);
    let (refusal, words) = refusal(config(&guard.bootstrap(), Some(tls), None)).await;
    assert!(matches!(refusal, Refusal::HostName { .. }), "{words}");
    assert!(words.contains("not for 127.0.0.1 but for"), "{words}");
    assert!(words.contains("kafka.example"), "{words}");
}

#[tokio::test]
async fn a_certificate_out_of_date_is_refused() {
    let authority = Authority::new();
    let identity = authority.expired_server(HOST);
    let guard = Rules::default().tls(&identity, None).start().await;
    let tls = trusting(&authority);
    let (refusal, words) = refusal(config(&guard.bootstrap(), Some(tls), None)).await;
    assert!(matches!(refusal, Refusal::Certificate { .. }), "{words}");
    assert!(words.contains("expired"), "{words}");
}

#[tokio::test]
async fn a_client_certificate_is_shown_where_it_is_wanted() {
    let (authority, other) = (Authority::new(), Authority::new());
    let identity = authority.server(HOST);
    let guard = Rules::default()
        .tls(&identity, Some(&authority))
        .start()
        .await;
    let address = guard.bootstrap();
    let showing = |identity: &testkit::certificates::Identity| {
        Tls::builder()
            .ca_location(authority.ca())
            .certificate_location(&identity.certificate)
            .key_location(&identity.key)
            .build()
            .unwrap()
    };
    let none = refusal(config(&address, Some(trusting(&authority)), None)).await;
    assert_eq!(none.0, Refusal::NoClientCertificate);
    let stranger = showing(&other.client("stranger"));
    let (refusal, words) = refusal(config(&address, Some(stranger), None)).await;
    assert!(
        matches!(refusal, Refusal::ClientCertificate { .. }),
        "{words}"
    );
    let friend = showing(&authority.client("shop"));
    let client = Client::new(config(&address, Some(friend), None));
    client.ready().await.unwrap();
}

#[tokio::test]
async fn a_client_without_tls_is_told_that_the_port_wants_it() {
    let authority = Authority::new();
    let identity = authority.server(HOST);
    let guard = Rules::default().tls(&identity, None).start().await;
    let (refusal, words) = refusal(config(&guard.bootstrap(), None, None)).await;
    assert_eq!(refusal, Refusal::OnlyTls, "{words}");
}

#[tokio::test]
async fn a_client_with_tls_is_told_that_the_port_has_none() {
    let tls = trusting(&Authority::new());
    let kafka = Kafka::own_broker().await;
    let (refused, words) = refusal(config(kafka.bootstrap(), Some(tls.clone()), None)).await;
    assert_eq!(refused, Refusal::ClosedInTls, "{words}");

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let web = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.read_u8().await.unwrap();
        socket
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .unwrap();
        socket.read_to_end(&mut Vec::new()).await
    };
    let ((refused, words), _) = tokio::join!(refusal(config(&address, Some(tls), None)), web);
    assert_eq!(refused, Refusal::NoTls, "{words}");
}

#[tokio::test]
async fn a_login_that_the_port_does_not_want_is_named() {
    let kafka = Kafka::own_broker().await;
    let (refusal, words) = refusal(config(kafka.bootstrap(), None, Some(plain("x")))).await;
    assert_eq!(refusal, Refusal::NoSasl, "{words}");
}

#[tokio::test]
async fn a_missing_login_is_named() {
    let guard = Rules::default().plain("shop", "secret", None).start().await;
    let client = Client::new(config(&guard.bootstrap(), None, None));
    let error = client.ready().await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains("as a listener with SASL does to a client without"),
        "{error}"
    );
}

#[tokio::test]
async fn a_mechanism_that_is_not_offered_is_named_with_those_that_are() {
    let guard = Rules::default().plain("shop", "secret", None).start().await;
    let sasl = Sasl::new(SaslMechanism::ScramSha512, "shop", "secret").unwrap();
    let (_, words) = refusal(config(&guard.bootstrap(), None, Some(sasl))).await;
    assert!(
        words.contains("does not offer SCRAM-SHA-512, but PLAIN"),
        "{words}"
    );
}

#[tokio::test]
async fn a_wrong_password_is_said_at_once_and_tried_at_a_modest_pace() {
    let guard = Rules::default().plain("shop", "secret", None).start().await;
    let mut config = config(&guard.bootstrap(), None, Some(plain("hunter2")));
    config.refused_backoff = Duration::from_secs(600);
    let client = Client::new(config);
    for _ in 0..5 {
        let error = client.ready().await.unwrap_err();
        let credentials = matches!(error.refusal(), Some(Refusal::Credentials { .. }));
        assert!(credentials, "{error}");
        let words = error.to_string();
        assert!(
            words.contains("it refused name or password (PLAIN)"),
            "{words}"
        );
        assert!(words.contains("Invalid username or password"), "{words}");
        assert!(!words.contains("hunter2"), "{words}");
    }
    assert_eq!(guard.refused(), 1, "one attempt, five answers");
    // An operator is not kept waiting for what cannot pass by itself.
    let error = client.admin().topics().await.unwrap_err();
    assert!(matches!(error.refusal(), Some(Refusal::Credentials { .. })));
    assert!(!format!("{client:?}{:?}", client.config()).contains("hunter2"));
}

#[tokio::test]
async fn a_password_that_is_put_right_on_the_brokers_side_is_noticed() {
    let guard = Rules::default().plain("shop", "old", None).start().await;
    let mut config = config(&guard.bootstrap(), None, Some(plain("new")));
    config.refused_backoff = Duration::from_millis(100);
    let client = Client::new(config);
    client.ready().await.unwrap_err();
    let topic = unique("waiting");
    guard.kafka().create_topic(&topic, 1).await;
    let producer = client.producer().build().unwrap();
    let waiting = producer.enqueue(&record(&topic, b"patient")).unwrap();
    guard.set_password("new");
    waiting.await.unwrap();
    assert!(guard.refused() > 0);
}

/// KIP-368: no request is sent in a session that is over, and none fails because one ends.
#[tokio::test]
async fn connections_are_replaced_before_their_sessions_end() {
    let lifetime = Duration::from_secs(4);
    let guard = Rules::default()
        .plain("shop", "secret", Some(lifetime))
        .start()
        .await;
    let client = Client::new(config(&guard.bootstrap(), None, Some(plain("secret"))));
    let topic = unique("session");
    guard.kafka().create_topic(&topic, 1).await;
    let producer = client.producer().build().unwrap();
    producer.send(&record(&topic, b"first")).await.unwrap();
    let at_first = guard.logins();
    eventually(PATIENCE, async || {
        producer.send(&record(&topic, b"next")).await.unwrap();
        (guard.logins() > at_first).then_some(())
    })
    .await;
    producer.send(&record(&topic, b"last")).await.unwrap();
    assert_eq!(guard.late(), 0);
    assert_eq!(producer.stats().retried, 0);
}
