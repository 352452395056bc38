//! TLS to PostgreSQL and what each `sslmode` takes, against servers of the tests' own.

mod support;

use std::path::Path;

use sql::Error;

use support::interceptor::Interceptor;
use support::{is_encrypted, url};
use testkit::certificates::{Authority, Identity};
use testkit::postgres::{Postgres, rules};

/// The text of an error that only an operator can mend: what TLS refused.
async fn tls_refusal(url: &str) -> String {
    match is_encrypted(url).await {
        Err(Error::Tls(text)) => text,
        other => panic!("no refusal of TLS: {other:?}"),
    }
}

/// The code and the text with which the server refused.
async fn server_refusal(url: &str) -> (String, String) {
    match is_encrypted(url).await {
        Err(Error::Database(error)) => (error.code, error.message),
        other => panic!("no refusal of the server: {other:?}"),
    }
}

async fn mistake(url: &str) -> String {
    match is_encrypted(url).await {
        Err(Error::Configuration(text)) => text,
        other => panic!("no error of the configuration: {other:?}"),
    }
}

fn trusting(mode: &str, authority: &Path) -> String {
    format!("sslmode={mode}&sslrootcert={}", authority.display())
}

fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in: {text}");
    }
}

#[tokio::test]
async fn a_server_without_tls_is_taken_unless_tls_is_demanded() {
    let authority = Authority::new();
    let server = Postgres::guarded(rules::ANY, None, None).await;
    for parameters in ["", "sslmode=disable", "sslmode=allow", "sslmode=prefer"] {
        let encrypted = is_encrypted(&url(&server, "localhost", parameters)).await;
        assert!(!encrypted.unwrap(), "{parameters}");
    }
    for mode in ["require", "verify-ca", "verify-full"] {
        let parameters = trusting(mode, &authority.ca());
        let text = tls_refusal(&url(&server, "localhost", &parameters)).await;
        assert_says(&text, &["localhost:", "does not speak TLS", "sslmode"]);
    }
    let text = tls_refusal(&url(&server, "localhost", "sslmode=require")).await;
    assert_says(&text, &["does not speak TLS"]);
}

#[tokio::test]
async fn a_server_that_demands_tls_has_it_in_every_mode_but_disable() {
    let authority = Authority::new();
    let identity = authority.server(&["localhost"]);
    let server = Postgres::guarded(rules::ONLY_TLS, Some(&identity), None).await;
    for parameters in ["", "sslmode=allow", "sslmode=prefer", "sslmode=require"] {
        let encrypted = is_encrypted(&url(&server, "localhost", parameters)).await;
        assert!(encrypted.unwrap(), "{parameters}");
    }
    for mode in ["prefer", "require", "verify-ca", "verify-full"] {
        let parameters = trusting(mode, &authority.ca());
        let encrypted = is_encrypted(&url(&server, "localhost", &parameters)).await;
        assert!(encrypted.unwrap(), "{mode}");
    }
    let (code, text) = server_refusal(&url(&server, "localhost", "sslmode=disable")).await;
    assert_eq!(code, "28000");
    assert_says(&text, &["no encryption", "set sslmode=require"]);
}

#[tokio::test]
async fn a_certificate_is_for_its_names_alone_where_they_are_checked() {
    let authority = Authority::new();
    let identity = authority.server(&["localhost", "db.example"]);
    let server = Postgres::guarded(rules::ONLY_TLS, Some(&identity), None).await;
    let full = trusting("verify-full", &authority.ca());
    let text = tls_refusal(&url(&server, "127.0.0.1", &full)).await;
    assert_says(
        &text,
        &[
            "127.0.0.1:",
            "not for this host but for localhost, db.example;",
        ],
    );
    for mode in ["require", "verify-ca"] {
        let parameters = trusting(mode, &authority.ca());
        let encrypted = is_encrypted(&url(&server, "127.0.0.1", &parameters)).await;
        assert!(encrypted.unwrap(), "{mode}");
    }
    // The name is that of the host, whatever its address.
    let elsewhere = format!("{full}&hostaddr=127.0.0.1");
    assert!(
        is_encrypted(&url(&server, "db.example", &elsewhere))
            .await
            .unwrap()
    );
    let text = tls_refusal(&url(&server, "other.example", &elsewhere)).await;
    assert_says(
        &text,
        &["other.example:", "not for this host", "db.example"],
    );
}

#[tokio::test]
async fn a_certificate_for_an_address_is_taken_at_the_address() {
    let authority = Authority::new();
    let identity = authority.server(&["127.0.0.1"]);
    let server = Postgres::guarded(rules::ONLY_TLS, Some(&identity), None).await;
    let full = trusting("verify-full", &authority.ca());
    assert!(
        is_encrypted(&url(&server, "127.0.0.1", &full))
            .await
            .unwrap()
    );
    let text = tls_refusal(&url(&server, "localhost", &full)).await;
    assert_says(&text, &["not for this host but for 127.0.0.1;"]);
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused_where_an_authority_is_named() {
    let identity = Authority::named("authority").server(&["localhost"]);
    let server = Postgres::guarded(rules::ONLY_TLS, Some(&identity), None).await;
    let other = Authority::new();
    let namesake = Authority::named("authority");
    for mode in ["require", "verify-ca", "verify-full"] {
        for authority in [&other, &namesake] {
            let parameters = trusting(mode, &authority.ca());
            let text = tls_refusal(&url(&server, "localhost", &parameters)).await;
            assert_says(&text, &["localhost:", "signed by nobody", "sslrootcert"]);
        }
    }
    // The system does not know it either, if it knows any.
    for parameters in [
        "sslmode=verify-ca",
        "sslmode=verify-full",
        "sslrootcert=system",
        "sslmode=require&sslrootcert=system",
    ] {
        match is_encrypted(&url(&server, "localhost", parameters)).await {
            Err(Error::Tls(text)) => assert_says(&text, &["signed by nobody"]),
            Err(Error::Configuration(text)) => assert_says(&text, &["no certificates to trust"]),
            other => panic!("{parameters}: {other:?}"),
        }
    }
    for parameters in ["sslmode=require", &trusting("prefer", &other.ca())] {
        let encrypted = is_encrypted(&url(&server, "localhost", parameters)).await;
        assert!(encrypted.unwrap(), "{parameters}");
    }
}

#[tokio::test]
async fn an_expired_certificate_is_refused_where_certificates_are_checked() {
    let authority = Authority::new();
    let identity = authority.expired_server(&["localhost"]);
    let server = Postgres::guarded(rules::ONLY_TLS, Some(&identity), None).await;
    for mode in ["require", "verify-ca", "verify-full"] {
        let parameters = trusting(mode, &authority.ca());
        let text = tls_refusal(&url(&server, "localhost", &parameters)).await;
        assert_says(&text, &["localhost:", "expired"]);
    }
    assert!(
        is_encrypted(&url(&server, "localhost", "sslmode=require"))
            .await
            .unwrap()
    );
}

/// As `openssl req -x509` makes them, and PostgreSQL's manual.
#[tokio::test]
async fn a_certificate_that_signs_itself_is_taken_where_it_is_named() {
    let identity = Identity::self_signed(&["localhost"]);
    let server = Postgres::guarded(rules::ONLY_TLS, Some(&identity), None).await;
    for mode in ["require", "verify-ca", "verify-full"] {
        let parameters = trusting(mode, &identity.certificate);
        let encrypted = is_encrypted(&url(&server, "localhost", &parameters)).await;
        assert!(encrypted.unwrap(), "{mode}");
    }
    let full = trusting("verify-full", &identity.certificate);
    let text = tls_refusal(&url(&server, "127.0.0.1", &full)).await;
    assert_says(&text, &["not for this host"]);
    // Of the same name, with another key.
    let other = Identity::self_signed(&["localhost"]);
    for mode in ["require", "verify-ca", "verify-full"] {
        let parameters = trusting(mode, &other.certificate);
        let text = tls_refusal(&url(&server, "localhost", &parameters)).await;
        assert_says(&text, &["sslrootcert"]);
    }
}

#[tokio::test]
async fn a_certificate_that_signs_itself_expires_like_others() {
    let identity = Identity::expired_self_signed(&["localhost"]);
    let server = Postgres::guarded(rules::ONLY_TLS, Some(&identity), None).await;
    for mode in ["require", "verify-ca", "verify-full"] {
        let parameters = trusting(mode, &identity.certificate);
        let text = tls_refusal(&url(&server, "localhost", &parameters)).await;
        assert_says(&text, &["expired"]);
    }
}

/// As PostgreSQL's manual makes them with older versions of OpenSSL.
#[tokio::test]
async fn a_certificate_of_version_1_is_taken_where_none_is_checked() {
    let identity = Identity::of_version_1();
    let server = Postgres::guarded(rules::ONLY_TLS, Some(&identity), None).await;
    for parameters in ["", "sslmode=require", "channel_binding=require"] {
        let encrypted = is_encrypted(&url(&server, "localhost", parameters)).await;
        assert!(encrypted.unwrap(), "{parameters}");
    }
    let authority = Authority::new();
    for mode in ["require", "verify-ca", "verify-full"] {
        let parameters = trusting(mode, &authority.ca());
        let text = tls_refusal(&url(&server, "localhost", &parameters)).await;
        assert_says(&text, &["version 1", "subject alternative names"]);
    }
}

#[tokio::test]
async fn a_server_that_wants_a_certificate_gets_that_of_the_url() {
    let authority = Authority::new();
    let identity = authority.server(&["localhost"]);
    let clients = Authority::named("clients");
    let server = Postgres::guarded(
        rules::ONLY_WITH_CERTIFICATE,
        Some(&identity),
        Some(&clients),
    )
    .await;
    for parameters in [
        String::new(),
        "sslmode=require".to_owned(),
        trusting("verify-full", &authority.ca()),
    ] {
        let (code, text) = server_refusal(&url(&server, "localhost", &parameters)).await;
        assert_eq!(code, "28000", "{text}");
        assert_says(&text, &["client certificate", "set sslcert and sslkey"]);
    }
    let own = |identity: &Identity| {
        format!(
            "{}&sslcert={}&sslkey={}",
            trusting("verify-full", &authority.ca()),
            identity.certificate.display(),
            identity.key.display(),
        )
    };
    let client = clients.client("postgres");
    assert!(
        is_encrypted(&url(&server, "localhost", &own(&client)))
            .await
            .unwrap()
    );
    for stranger in [Authority::new(), Authority::named("clients")] {
        let stranger = stranger.client("postgres");
        let text = tls_refusal(&url(&server, "localhost", &own(&stranger))).await;
        assert_says(&text, &["does not accept this client's certificate"]);
    }
}

#[tokio::test]
async fn a_server_that_lets_nobody_in_with_tls_has_none_where_it_is_only_preferred() {
    let authority = Authority::new();
    let identity = authority.server(&["localhost"]);
    let server = Postgres::guarded(rules::ONLY_PLAIN, Some(&identity), None).await;
    for parameters in ["", "sslmode=allow", "sslmode=disable"] {
        let encrypted = is_encrypted(&url(&server, "localhost", parameters)).await;
        assert!(!encrypted.unwrap(), "{parameters}");
    }
    let (code, text) = server_refusal(&url(&server, "localhost", "sslmode=require")).await;
    assert_eq!(code, "28000", "{text}");
}

#[tokio::test]
async fn a_socket_is_never_encrypted() {
    let authority = Authority::new();
    let identity = authority.server(&["localhost"]);
    let server = Postgres::guarded(rules::ONLY_TLS, Some(&identity), None).await;
    let folder = server.folder().display().to_string();
    for parameters in [
        "",
        "sslmode=require",
        &trusting("verify-full", &authority.ca()),
    ] {
        for url in [
            url(&server, "", &format!("host={folder}&{parameters}")),
            url(&server, &folder.replace('/', "%2F"), parameters),
        ] {
            assert!(!is_encrypted(&url).await.unwrap(), "{parameters}");
        }
    }
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_a_missing_one_is_asked_for() {
    let authority = Authority::new();
    let identity = authority.server(&["localhost"]);
    let server = Postgres::guarded(rules::ANY, Some(&identity), None).await;
    for mode in ["disable", "prefer", "require"] {
        let port = server.address().port();
        let wrong = format!("postgres://postgres:wrong@localhost:{port}/postgres?sslmode={mode}");
        let (code, text) = server_refusal(&wrong).await;
        assert_eq!(code, "28P01");
        assert!(!text.contains("wrong"), "{text}");
        let none = format!("postgres://postgres@localhost:{port}/postgres?sslmode={mode}");
        assert_says(&mistake(&none).await, &["password: "]);
    }
    let unknown = url(&server, "localhost", "user=nobody&sslmode=disable");
    assert_eq!(server_refusal(&unknown).await.0, "28P01");
}

#[tokio::test]
async fn the_password_is_bound_to_the_certificate() {
    let authority = Authority::new();
    let identity = authority.server(&["localhost"]);
    let server = Postgres::guarded(rules::ANY, Some(&identity), None).await;
    for mode in ["prefer", "require"] {
        let parameters = format!("sslmode={mode}&channel_binding=require");
        let encrypted = is_encrypted(&url(&server, "localhost", &parameters)).await;
        assert!(encrypted.unwrap(), "{mode}");
    }
    let disabled = url(
        &server,
        "localhost",
        "sslmode=require&channel_binding=disable",
    );
    assert!(is_encrypted(&disabled).await.unwrap());
    let plain = url(
        &server,
        "localhost",
        "sslmode=disable&channel_binding=require",
    );
    assert_says(&mistake(&plain).await, &["channel_binding: "]);
}

/// It shows the client a certificate of its own, and passes on what the two say to each other.
#[tokio::test]
async fn who_stands_between_is_found_out_by_the_password() {
    let identity = Authority::new().server(&["localhost"]);
    let server = Postgres::guarded(rules::ONLY_TLS, Some(&identity), None).await;
    let other = Authority::new().server(&["localhost"]);
    let between = Interceptor::start(server.address().port(), &other).await;
    let parameters = format!("port={}&sslmode=require", between.port());
    let trusting = format!("{parameters}&channel_binding=disable");
    assert!(
        is_encrypted(&url(&server, "localhost", &trusting))
            .await
            .unwrap()
    );
    for binding in ["prefer", "require"] {
        let parameters = format!("{parameters}&channel_binding={binding}");
        let (code, text) = server_refusal(&url(&server, "localhost", &parameters)).await;
        assert_eq!(code, "28000", "{text}");
        assert_says(&text, &["channel binding"]);
    }
}
