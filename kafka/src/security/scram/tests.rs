use proptest::prelude::*;

use super::{server::Server, *};

#[test]
fn the_exchange_of_rfc_7677() {
    let client = Scram::new(Hash::Sha256, "user", "pencil", "rOprNGfwEbeRWgbNEkqO");
    assert_eq!(client.first_message(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
    let (proven, message) = client
        .answer(b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096")
        .unwrap();
    assert_eq!(
        message,
        "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
         p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    );
    proven
        .finish(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
        .unwrap();
}

/// RFC 5802 gives an exchange for SHA-1 alone, which Kafka does not know; its messages are the same.
#[test]
fn the_messages_of_rfc_5802() {
    let client = Scram::new(Hash::Sha256, "user", "pencil", "fyko+d2lbbFgONRv9qkxdawL");
    assert_eq!(
        client.first_message(),
        "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL"
    );
    let server_first = b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096";
    let (_, message) = client.answer(server_first).unwrap();
    assert!(
        message.starts_with("c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p="),
        "{message}"
    );
}

/// PBKDF2-HMAC-SHA-512 with one block, by Python's `hashlib.pbkdf2_hmac("sha512", b"pencil",
/// b"salt", 4096)`, and SHA-256 beside it.
#[test]
fn salted_passwords_are_those_of_other_implementations() {
    let hex = |bytes: Vec<u8>| -> String { bytes.iter().map(|b| format!("{b:02x}")).collect() };
    assert_eq!(
        hex(Hash::Sha256.salted(b"pencil", b"salt", 4096)),
        "0997564f292923271312698037b6b0a06a8be7fbd912480847c5a1ace4b8d1c7"
    );
    assert_eq!(
        hex(Hash::Sha512.salted(b"pencil", b"salt", 4096)),
        "2cfe3a1c151662b1ea49d13f595674a1c666add70df15d3d02254e9905993878261da7407fd11c2fee4b0a30df5154b1a752f86a13380ddd4bdd9a7c958ec769"
    );
}

fn client() -> Scram {
    Scram::new(Hash::Sha512, "user", "pencil", "nonce")
}

#[test]
fn an_answer_that_is_not_to_be_trusted_is_refused() {
    use ScramError::{Extension, Malformed, Nonce, TooFewIterations, TooManyIterations};
    for (message, expected) in [
        ("", Malformed("no nonce")),
        ("r=", Malformed("no nonce")),
        ("r=nonce2", Malformed("no salt")),
        (
            "r=nonce2,s=%%,i=4096",
            Malformed("a salt that is not Base64"),
        ),
        ("r=nonce2,s=c2FsdA==", Malformed("no iteration count")),
        (
            "r=nonce2,s=c2FsdA==,i=many",
            Malformed("an iteration count that is no number"),
        ),
        (
            "r=nonce2,s=c2FsdA==,i=-4096",
            Malformed("an iteration count that is no number"),
        ),
        (
            "r=nonce 2,s=c2FsdA==,i=4096",
            Malformed("a nonce that is not printable"),
        ),
        ("m=new,r=nonce2,s=c2FsdA==,i=4096", Extension),
        // Not this client's, and this client's alone: a replay.
        ("r=other2,s=c2FsdA==,i=4096", Nonce),
        ("r=nonce,s=c2FsdA==,i=4096", Nonce),
        ("r=nonce2,s=c2FsdA==,i=4095", TooFewIterations(4095)),
        ("r=nonce2,s=c2FsdA==,i=262145", TooManyIterations(262_145)),
    ] {
        let error = client().answer(message.as_bytes()).err();
        assert_eq!(error, Some(expected), "{message}");
    }
    assert!(client().answer(b"r=nonce2,s=c2FsdA==,i=4096,x=new").is_ok());
    assert_eq!(
        client().answer(b"r=\xff").err(),
        Some(Malformed("it is not UTF-8"))
    );
}

#[test]
fn a_server_that_does_not_know_the_password_is_refused() {
    let (proven, _) = client().answer(b"r=nonce2,s=c2FsdA==,i=4096").unwrap();
    let other = BASE64.encode([7; 64]);
    for (message, expected) in [
        (format!("v={other}"), ScramError::Signature),
        ("v=".to_owned(), ScramError::Signature),
        ("v=%".to_owned(), ScramError::Malformed("no signature")),
        (String::new(), ScramError::Malformed("no signature")),
        (
            "e=invalid-proof".to_owned(),
            ScramError::Refused("invalid-proof".to_owned()),
        ),
    ] {
        assert_eq!(
            proven.finish(message.as_bytes()),
            Err(expected),
            "{message}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_right_password_is_proven_both_ways_and_a_wrong_one_is_not(
        sha512: bool,
        username in "[a-zа-я,=]{1,12}",
        password in "\\PC{1,20}",
        salt in proptest::collection::vec(any::<u8>(), 1..32),
    ) {
        let hash = if sha512 { Hash::Sha512 } else { Hash::Sha256 };
        let client = Scram::new(hash, &username, &password, "bm9uY2U");
        let first = client.first_message();
        // The name cannot forge attributes of its own.
        prop_assert_eq!(first.split(',').count(), 4);
        let server = Server::new(hash, &password, &salt, 4096);
        let challenge = server.challenge(&first);
        let (proven, message) = client.answer(challenge.as_bytes()).unwrap();
        let signature = server.check(&first, &challenge, &message).expect("the right proof");
        prop_assert_eq!(proven.finish(signature.as_bytes()), Ok(()));

        let stranger = Server::new(hash, &format!("{password}!"), &salt, 4096);
        prop_assert_eq!(stranger.check(&first, &challenge, &message), None);
    }

    #[test]
    fn whatever_a_server_says_is_no_panic(message in proptest::collection::vec(any::<u8>(), 0..80)) {
        let _ = client().answer(&message);
    }
}
