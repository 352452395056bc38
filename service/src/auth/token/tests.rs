use graviola::signing::{ecdsa, rsa};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;

use super::super::keys::{Jwks, SecretKey};
use super::*;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// 2026-01-02T03:04:05Z.
const NOW: i64 = 1_767_323_045_000;

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn signed(header: &Value, claims: &Value, sign: impl FnOnce(&str) -> Vec<u8>) -> String {
    let signed = format!(
        "{}.{}",
        encoded(header.to_string()),
        encoded(claims.to_string())
    );
    let signature = encoded(sign(&signed));
    format!("{signed}.{signature}")
}

fn hmac(key: &[u8]) -> impl FnOnce(&str) -> Vec<u8> {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key).unwrap();
    move |signed| {
        mac.update(signed.as_bytes());
        mac.finalize().into_bytes().to_vec()
    }
}

fn hs256(claims: &Value) -> String {
    signed(
        &json!({"alg": "HS256", "typ": "JWT"}),
        claims,
        hmac(SECRET.as_bytes()),
    )
}

fn claims(more: Value) -> Value {
    let mut claims = json!({"sub": "ann", "exp": NOW / 1_000 + 60});
    let more = more.as_object().cloned().unwrap_or_default();
    claims.as_object_mut().unwrap().extend(more);
    claims
}

fn with_secret() -> KeyRing {
    KeyRing::new(SecretKey::new(SECRET), None)
}

fn with_jwks(keys: &Value) -> KeyRing {
    let jwks = Jwks::parse(json!({"keys": keys}).to_string().as_bytes()).unwrap();
    KeyRing::new(None, Some(("unread".into(), jwks)))
}

fn expected() -> Expected {
    Expected {
        user_claim: "sub".into(),
        ..Expected::default()
    }
}

fn read(token: &str, keys: &KeyRing) -> Result<String, TokenError> {
    user(token, keys, &expected(), NOW)
}

#[test]
fn a_token_names_its_user() {
    let keys = with_secret();
    for (sub, user) in [(json!("ann"), "ann"), (json!(17), "17"), (json!("я"), "я")] {
        assert_eq!(
            read(&hs256(&claims(json!({"sub": sub}))), &keys),
            Ok(user.into())
        );
    }
    for sub in [
        json!(""),
        json!(1.5),
        json!(null),
        json!(["ann"]),
        json!("a\nb"),
        json!("x".repeat(129)),
    ] {
        let refused = read(&hs256(&claims(json!({"sub": sub}))), &keys);
        assert_eq!(refused, Err(TokenError::User("sub".into())), "{sub}");
    }
    let other = Expected {
        user_claim: "uid".into(),
        ..Expected::default()
    };
    let token = hs256(&claims(json!({"uid": 7})));
    assert_eq!(user(&token, &keys, &other, NOW), Ok("7".into()));
}

#[test]
fn a_token_is_in_time_give_or_take_a_minute() {
    let keys = with_secret();
    let at = NOW / 1_000;
    let read = |more| read(&hs256(&claims(more)), &keys);
    assert!(read(json!({"exp": at - 59})).is_ok());
    assert!(read(json!({"exp": at as f64 - 59.5})).is_ok());
    assert_eq!(read(json!({"exp": at - 60})), Err(TokenError::Expired));
    assert!(read(json!({"nbf": at + 60})).is_ok());
    assert_eq!(read(json!({"nbf": at + 61})), Err(TokenError::Early));
    assert_eq!(read(json!({"nbf": "soon"})), Err(TokenError::Early));
    for exp in [json!(null), json!("2027-01-01"), json!(true)] {
        assert_eq!(read(json!({"exp": exp})), Err(TokenError::Endless));
    }
}

#[test]
fn issuer_and_audience_are_checked_where_they_are_set() {
    let keys = with_secret();
    let expected = Expected {
        issuer: Some("https://id.example".into()),
        audience: Some("shop".into()),
        user_claim: "sub".into(),
    };
    let read = |more| user(&hs256(&claims(more)), &keys, &expected, NOW);
    let iss = "https://id.example";
    assert!(read(json!({"iss": iss, "aud": "shop"})).is_ok());
    assert!(read(json!({"iss": iss, "aud": ["mail", "shop"]})).is_ok());
    assert_eq!(read(json!({"aud": "shop"})), Err(TokenError::Issuer));
    assert_eq!(
        read(json!({"iss": "https://id.example/", "aud": "shop"})),
        Err(TokenError::Issuer)
    );
    for aud in [json!(null), json!("shops"), json!(["mail"]), json!([])] {
        let refused = read(json!({"iss": iss, "aud": aud}));
        assert_eq!(refused, Err(TokenError::Audience), "{aud}");
    }
}

#[test]
fn what_nobody_has_signed_is_refused() {
    let keys = with_secret();
    let good = hs256(&claims(json!({})));
    let [header, payload, signature] = good.split('.').collect::<Vec<_>>()[..] else {
        panic!("{good}");
    };
    let none = encoded(r#"{"alg":"none"}"#);
    for token in [
        format!("{none}.{payload}."),
        format!("{}.{payload}.", encoded(r#"{"alg":"None"}"#)),
        format!("{none}.{payload}.{signature}"),
    ] {
        assert_eq!(read(&token, &keys), Err(TokenError::Algorithm), "{token}");
    }
    let bob = encoded(claims(json!({"sub": "bob"})).to_string());
    for token in [
        format!("{header}.{bob}.{signature}"),
        format!("{header}.{payload}."),
        format!("{header}.{payload}.{}", &signature[..40]),
    ] {
        assert_eq!(read(&token, &keys), Err(TokenError::Signature), "{token}");
    }
    for token in [
        "",
        "..",
        "a.b",
        payload,
        &format!("{header}.{payload}.{signature}="),
        &format!("{header}.{payload}.{signature}.x"),
    ] {
        assert_eq!(read(token, &keys), Err(TokenError::Malformed), "{token}");
    }
    let critical = json!({"alg": "HS256", "crit": ["exp"]});
    let critical = signed(&critical, &claims(json!({})), hmac(SECRET.as_bytes()));
    assert_eq!(read(&critical, &keys), Err(TokenError::Critical));
    let other = signed(&json!({"alg": "HS256"}), &claims(json!({})), hmac(&[7; 32]));
    assert_eq!(read(&other, &keys), Err(TokenError::Signature));
}

/// Makes the signature of a text.
type Sign = Box<dyn Fn(&str) -> Vec<u8>>;

/// A key, its JWK, and how it signs.
struct Signer {
    jwk: Value,
    alg: &'static str,
    sign: Sign,
}

fn p256(kid: &str) -> Signer {
    let key = ecdsa::SigningKey::<ecdsa::P256>::generate().unwrap();
    let mut spki = [0; 256];
    let spki = key.to_spki_der(&mut spki).unwrap();
    let point = &spki[spki.len() - 64..];
    Signer {
        jwk: json!({"kty": "EC", "crv": "P-256", "kid": kid, "use": "sig",
                    "x": encoded(&point[..32]), "y": encoded(&point[32..])}),
        alg: "ES256",
        sign: Box::new(move |signed| {
            let mut out = [0; 64];
            key.sign::<graviola::hashing::Sha256>(&[signed.as_bytes()], &mut out)
                .unwrap()
                .to_vec()
        }),
    }
}

fn rsa(kid: &str) -> (Signer, Vec<u8>) {
    let key = rsa::SigningKey::generate(rsa::KeySize::Rsa2048).unwrap();
    let mut der = [0; 1_024];
    let der = key.public_key().to_pkcs1_der(&mut der).unwrap().to_vec();
    // SEQUENCE (4 bytes), INTEGER of 257 bytes (4 bytes, a zero), INTEGER 65537.
    let modulus = &der[9..9 + 256];
    let signer = Signer {
        jwk: json!({"kty": "RSA", "kid": kid, "alg": "RS256",
                    "n": encoded(modulus), "e": "AQAB"}),
        alg: "RS256",
        sign: Box::new(move |signed| {
            let mut out = [0; 256];
            key.sign_pkcs1_sha256(&mut out, signed.as_bytes())
                .unwrap()
                .to_vec()
        }),
    };
    (signer, der)
}

#[test]
fn the_key_of_a_jwks_decides_the_algorithm() {
    let (rsa, der) = rsa("r");
    let (ec, stranger) = (p256("e"), p256("e"));
    let keys = with_jwks(&json!([rsa.jwk, ec.jwk, {"kty": "OKP", "crv": "Ed25519", "x": "AA"}]));
    let by = |signer: &Signer, header: Value| signed(&header, &claims(json!({})), &signer.sign);
    for signer in [&rsa, &ec] {
        let kid = &signer.jwk["kid"];
        for header in [
            json!({"alg": signer.alg}),
            json!({"alg": signer.alg, "kid": kid}),
        ] {
            assert_eq!(
                read(&by(signer, header.clone()), &keys),
                Ok("ann".into()),
                "{header}"
            );
        }
        let unknown = by(signer, json!({"alg": signer.alg, "kid": "another"}));
        assert_eq!(read(&unknown, &keys), Err(TokenError::Signature));
    }
    let forged = by(&stranger, json!({"alg": "ES256", "kid": "e"}));
    assert_eq!(read(&forged, &keys), Err(TokenError::Signature));
    // The public key as the secret of HS256, which everybody could sign with.
    for secret in [der, rsa.jwk["n"].as_str().unwrap().as_bytes().to_vec()] {
        let confused = signed(
            &json!({"alg": "HS256", "kid": "r"}),
            &claims(json!({})),
            hmac(&secret),
        );
        assert_eq!(read(&confused, &keys), Err(TokenError::Algorithm));
    }
    // A signature of one kind under the other's name.
    assert_eq!(
        read(&by(&ec, json!({"alg": "RS256"})), &keys),
        Err(TokenError::Signature)
    );
    assert_eq!(
        read(&by(&rsa, json!({"alg": "ES256"})), &keys),
        Err(TokenError::Signature)
    );
    // With the secret alone, nothing else counts.
    assert_eq!(
        read(&by(&rsa, json!({"alg": "RS256"})), &with_secret()),
        Err(TokenError::Algorithm)
    );
}

#[test]
fn keys_that_are_for_something_else_are_not_used() {
    let ec = p256("e");
    for (name, value) in [
        ("use", json!("enc")),
        ("alg", json!("ES384")),
        ("crv", json!("P-384")),
        ("x", json!("AA")),
    ] {
        let mut jwk = ec.jwk.clone();
        jwk[name] = value;
        let set = json!({"keys": [jwk]}).to_string();
        let refused = Jwks::parse(set.as_bytes()).unwrap_err().to_string();
        assert!(
            refused.contains("no key that can be used"),
            "{name}: {refused}"
        );
    }
    assert!(Jwks::parse(b"{}").is_err());
    assert!(Jwks::parse(b"[]").is_err());
}

#[test]
fn a_file_that_changes_is_read_again_and_one_that_breaks_is_not() {
    let (old, new) = (p256("old"), p256("new"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jwks.json");
    let hour = std::time::Duration::from_secs(3_600);
    let write = |text: &str, hours: u32| {
        std::fs::write(&file, text).unwrap();
        // Whatever the file system's clock resolves.
        let at = std::time::SystemTime::UNIX_EPOCH + hour * hours;
        std::fs::File::open(&file)
            .unwrap()
            .set_modified(at)
            .unwrap();
    };
    let set = |signer: &Signer| json!({"keys": [signer.jwk]}).to_string();
    write(&set(&old), 1);
    let keys = KeyRing::new(None, Some((file.clone(), Jwks::of_file(&file).unwrap())));
    let token =
        |signer: &Signer| signed(&json!({"alg": "ES256"}), &claims(json!({})), &signer.sign);
    assert!(read(&token(&old), &keys).is_ok());
    assert!(read(&token(&new), &keys).is_err());
    write(&set(&new), 2);
    keys.look_again();
    assert!(read(&token(&old), &keys).is_err());
    assert!(read(&token(&new), &keys).is_ok());
    write("{", 3);
    keys.look_again();
    assert!(read(&token(&new), &keys).is_ok());
    // Right again, with the time that it had.
    write(&set(&old), 2);
    keys.look_again();
    assert!(read(&token(&old), &keys).is_ok());
}

/// One thread, which a read of the file on it would hold. The clock stands still while a file is read.
#[cfg(unix)]
#[tokio::test(start_paused = true)]
async fn a_file_that_nobody_writes_holds_up_no_request_and_is_fresh_ten_seconds_later() {
    use std::sync::mpsc;
    use std::time::Duration;

    let (old, new) = (p256("old"), p256("new"));
    let set = |signer: &Signer| json!({"keys": [signer.jwk]}).to_string();
    let token =
        |signer: &Signer| signed(&json!({"alg": "ES256"}), &claims(json!({})), &signer.sign);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jwks.json");
    std::fs::write(&file, set(&old)).unwrap();
    let keys = KeyRing::new(None, Some((file.clone(), Jwks::of_file(&file).unwrap())));
    tokio::spawn(keys.keep_fresh().unwrap());
    tokio::time::sleep(Duration::from_secs(1)).await;

    // Whoever opens it waits until somebody writes to it.
    std::fs::remove_file(&file).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&file).status();
    assert!(made.unwrap().success());
    let (checked, is_checked) = mpsc::channel();
    let writer = std::thread::spawn({
        let (file, text) = (file.clone(), set(&new));
        move || {
            // Opens when the other side does.
            let mut pipe = std::fs::File::options().write(true).open(file).unwrap();
            let in_time = is_checked.recv_timeout(Duration::from_secs(5)).is_ok();
            std::io::Write::write_all(&mut pipe, text.as_bytes()).unwrap();
            in_time
        }
    });
    tokio::time::advance(Duration::from_secs(10)).await;
    tokio::task::yield_now().await;
    assert!(read(&token(&old), &keys).is_ok());
    checked.send(()).unwrap();
    assert!(
        tokio::task::spawn_blocking(move || writer.join().unwrap())
            .await
            .unwrap(),
        "it waited for the file"
    );
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(read(&token(&new), &keys).is_ok());
    assert!(read(&token(&old), &keys).is_err());
}
