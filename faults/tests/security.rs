//! TLS and SASL on Apache Kafka: every path of the client, and what is said to who is not let in.

#[path = "../../kafka/tests/support/round_trip.rs"]
mod round_trip;

use std::time::Duration;

use faults::run::Run;
use faults::shop::{Instance, Service, Shop, Stage};
use kafka::{Client, ClientConfig, Refusal, Sasl, SaslMechanism, Security, Tls};
use round_trip::{record, round_trip};
use testkit::apache::{ApacheKafka, ApacheKafkaBuilder};
use testkit::certificates::{Authority, Identity};
use testkit::{eventually, http, unique};

const PATIENCE: Duration = Duration::from_secs(60);

/// Between two tries to log in where nothing says otherwise.
const MODEST: Duration = Duration::from_millis(200);

const SCRAM: [&str; 2] = ["scram-sha-256", "scram-sha-512"];

/// A node with a listener of each protocol, and the user shop by each mechanism.
fn node(identity: &Identity, authority: &Authority) -> ApacheKafkaBuilder {
    let plain = "org.apache.kafka.common.security.plain.PlainLoginModule required";
    let scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
    let keystore = identity.keystore.display().to_string();
    let truststore = authority.ca().display().to_string();
    let mut builder = ApacheKafka::builder()
        .listener("SSL", "SSL")
        .listener("SASL_PLAINTEXT", "SASL_PLAINTEXT")
        .listener("SASL_SSL", "SASL_SSL")
        .listener("MUTUAL", "SSL")
        .setting("listener.name.mutual.ssl.client.auth", "required")
        .setting("ssl.keystore.type", "PEM")
        .setting("ssl.keystore.location", keystore)
        .setting("ssl.truststore.type", "PEM")
        .setting("ssl.truststore.location", truststore)
        .setting(
            "sasl.enabled.mechanisms",
            "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
        )
        .format_argument("--add-scram")
        .format_argument("SCRAM-SHA-256=[name=shop,password=secret]")
        .format_argument("--add-scram")
        .format_argument("SCRAM-SHA-512=[name=shop,password=secret]");
    for listener in ["sasl_plaintext", "sasl_ssl"] {
        let prefix = format!("listener.name.{listener}");
        builder = builder.setting(
            format!("{prefix}.plain.sasl.jaas.config"),
            format!("{plain} user_shop=\"secret\";"),
        );
        for mechanism in SCRAM {
            builder = builder.setting(format!("{prefix}.{mechanism}.sasl.jaas.config"), scram);
        }
    }
    builder
}

fn sasl(mechanism: SaslMechanism, password: &str) -> Option<Sasl> {
    Some(Sasl::new(mechanism, "shop", password).unwrap())
}

fn trusting(authority: &Authority) -> Option<Tls> {
    Some(Tls::builder().ca_location(authority.ca()).build().unwrap())
}

fn config(address: &str, tls: Option<Tls>, sasl: Option<Sasl>) -> ClientConfig {
    let mut config = ClientConfig::new(address).unwrap();
    config.security = Security { tls, sasl };
    config.refused_backoff = MODEST;
    config
}

async fn refusal(address: &str, tls: Option<Tls>, sasl: Option<Sasl>) -> (Refusal, String) {
    let error = Client::new(config(address, tls, sasl))
        .ready()
        .await
        .unwrap_err();
    let refusal = error.refusal().unwrap_or_else(|| panic!("{error}"));
    (refusal.clone(), error.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_path_and_mechanism_works_and_every_stranger_is_told_why_not() {
    use SaslMechanism::{Plain, ScramSha256, ScramSha512};
    let authority = Authority::new();
    let identity = authority.server(&["127.0.0.1"]);
    let kafka = node(&identity, &authority).start().await;
    let [ssl, sasl_plaintext, sasl_ssl, mutual] =
        ["SSL", "SASL_PLAINTEXT", "SASL_SSL", "MUTUAL"].map(|name| kafka.bootstrap_of(name));

    let tls = || trusting(&authority);
    round_trip(&Client::new(config(&ssl, tls(), None))).await;
    for mechanism in [Plain, ScramSha256, ScramSha512] {
        let login = || sasl(mechanism, "secret");
        round_trip(&Client::new(config(&sasl_plaintext, None, login()))).await;
        round_trip(&Client::new(config(&sasl_ssl, tls(), login()))).await;
    }
    let client = authority.client("shop");
    let shown = Tls::builder()
        .ca_location(authority.ca())
        .certificate_location(&client.certificate)
        .key_location(&client.key)
        .build()
        .unwrap();
    round_trip(&Client::new(config(&mutual, Some(shown), None))).await;

    for mechanism in [Plain, ScramSha256, ScramSha512] {
        let (refused, words) = refusal(&sasl_ssl, tls(), sasl(mechanism, "hunter2")).await;
        assert!(matches!(refused, Refusal::Credentials { .. }), "{words}");
        assert!(words.contains(mechanism.name()), "{words}");
        assert!(!words.contains("hunter2"), "{words}");
    }
    let unknown = Sasl::new(ScramSha256, "stranger", "secret").unwrap();
    let (refused, words) = refusal(&sasl_plaintext, None, Some(unknown)).await;
    assert!(matches!(refused, Refusal::Credentials { .. }), "{words}");

    let (refused, words) = refusal(&ssl, trusting(&Authority::new()), None).await;
    assert_eq!(refused, Refusal::UntrustedCertificate, "{words}");
    // The same node by a name that its certificate does not have.
    let port = ssl.rsplit(':').next().unwrap();
    let (refused, words) = refusal(&format!("localhost:{port}"), tls(), None).await;
    assert!(matches!(refused, Refusal::HostName { .. }), "{words}");
    assert!(words.contains("not for localhost"), "{words}");

    let (refused, words) = refusal(&mutual, tls(), None).await;
    assert_eq!(refused, Refusal::NoClientCertificate, "{words}");
    let other = Authority::new();
    let stranger = other.client("stranger");
    let shown = Tls::builder()
        .ca_location(authority.ca())
        .certificate_location(&stranger.certificate)
        .key_location(&stranger.key)
        .build()
        .unwrap();
    let (refused, words) = refusal(&mutual, Some(shown), None).await;
    assert!(
        matches!(refused, Refusal::ClientCertificate { .. }),
        "{words}"
    );

    let (refused, words) = refusal(&ssl, None, None).await;
    assert_eq!(refused, Refusal::OnlyTls, "{words}");
    let (refused, words) = refusal(&sasl_plaintext, tls(), None).await;
    assert_eq!(refused, Refusal::ClosedInTls, "{words}");
    let (refused, words) = refusal(&kafka.bootstrap(), None, sasl(Plain, "secret")).await;
    assert_eq!(refused, Refusal::NoSasl, "{words}");
    let error = Client::new(config(&sasl_plaintext, None, None))
        .ready()
        .await
        .unwrap_err();
    let hint = "as a listener with SASL does to a client without";
    assert!(error.to_string().contains(hint), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mechanism_that_the_broker_lacks_is_named_and_a_password_put_right_is_noticed() {
    let authority = Authority::new();
    let identity = authority.server(&["127.0.0.1"]);
    let kafka = node(&identity, &authority)
        .setting("sasl.enabled.mechanisms", "SCRAM-SHA-256")
        .start()
        .await;
    let address = kafka.bootstrap_of("SASL_PLAINTEXT");
    let (_, words) = refusal(&address, None, sasl(SaslMechanism::ScramSha512, "secret")).await;
    let offer = "does not offer SCRAM-SHA-512, but SCRAM-SHA-256";
    assert!(words.contains(offer), "{words}");

    let login = sasl(SaslMechanism::ScramSha256, "changed");
    let client = Client::new(config(&address, None, login));
    client.ready().await.unwrap_err();
    kafka.tool(
        "kafka.admin.ConfigCommand",
        &[
            "--bootstrap-server",
            &kafka.bootstrap(),
            "--alter",
            "--entity-type",
            "users",
            "--entity-name",
            "shop",
            "--add-config",
            "SCRAM-SHA-256=[password=changed]",
        ],
    );
    eventually(PATIENCE, || async { client.ready().await.ok() }).await;
    round_trip(&client).await;
}

/// KIP-368: Kafka closes a connection on the first request after its session's end, and counts it.
#[tokio::test(flavor = "multi_thread")]
async fn connections_are_replaced_before_kafka_closes_them() {
    let authority = Authority::new();
    let identity = authority.server(&["127.0.0.1"]);
    let kafka = node(&identity, &authority)
        .setting("connections.max.reauth.ms", "5000")
        .start()
        .await;
    let address = kafka.bootstrap_of("SASL_SSL");
    let login = sasl(SaslMechanism::ScramSha256, "secret");
    let client = Client::new(config(&address, trusting(&authority), login));
    let topic = unique("session");
    client
        .admin()
        .create_topics(&[kafka::NewTopic::new(&topic, 1, 1)])
        .await
        .unwrap();
    let producer = client.producer().build().unwrap();
    let started = tokio::time::Instant::now();
    let mut sent = 0_u64;
    while started.elapsed() < Duration::from_secs(12) {
        producer.send(&record(&topic, b"value")).await.unwrap();
        sent += 1;
    }
    let stats = producer.stats();
    assert_eq!((stats.acknowledged, stats.retried), (sent, 0));
    round_trip(&client).await;
}

/// The services as programs, each with a login over TLS; and one that is not let in.
#[tokio::test(flavor = "multi_thread")]
async fn the_shop_works_over_tls_and_says_what_keeps_it_out() {
    let authority = Authority::new();
    let identity = authority.server(&["127.0.0.1"]);
    let kafka = node(&identity, &authority).start().await;
    let address = kafka.bootstrap_of("SASL_SSL");
    let ca = authority.ca().display().to_string();
    let flags = |password| {
        [
            ("kafka-bootstrap-servers", &*address),
            ("kafka-security-protocol", "SASL_SSL"),
            ("kafka-sasl-mechanism", "SCRAM-SHA-512"),
            ("kafka-sasl-username", "shop"),
            ("kafka-sasl-password", password),
            ("kafka-ssl-ca-location", &*ca),
        ]
    };
    let mut shop = Shop::open_with(Stage::of(kafka), &flags("secret")).await;
    let run = Run {
        orders: 300,
        ..Run::short()
    };
    let plan = run.plan();
    let load = shop.load(plan.clone());
    let (_, verdict) = shop.settle(&plan, load).await;
    verdict.assert_clean();
    assert_eq!(verdict.accepted as u64, run.orders);

    let wrong: Vec<_> = flags("hunter2")
        .into_iter()
        .chain([("http-addr", "127.0.0.1:0")])
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let locked_out = Instance::start(Service::Consumer, 9, shop.folder(), &wrong).await;
    let words = "it refused name or password (SCRAM-SHA-512)";
    let variables = "see KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD";
    eventually(PATIENCE, || async {
        let answer = http::get(locked_out.address, "/readyz").await;
        let told = answer.body.contains(words) && answer.body.contains(variables);
        (answer.status == 503 && told).then_some(())
    })
    .await;
    let log = locked_out.process.output();
    assert!(log.contains(words) && log.contains(variables), "{log}");
    assert!(!log.contains("hunter2"), "{log}");
}
