use std::fs;

use testkit::certificates::Authority;

use super::*;

fn problems(builder: &TlsBuilder) -> Vec<String> {
    let mistakes = builder.build().unwrap_err();
    mistakes.iter().map(ToString::to_string).collect()
}

#[test]
fn what_is_given_is_trusted_and_shown() {
    let authority = Authority::new();
    let client = authority.client("shop");
    let builder = Tls::builder().ca_location(authority.ca());
    assert!(!builder.build().unwrap().shows_certificate());
    let builder = builder
        .certificate_location(&client.certificate)
        .key_location(&client.key);
    assert!(builder.build().unwrap().shows_certificate());
}

#[test]
fn all_mistakes_come_at_once_and_name_file_and_setting() {
    let authority = Authority::new();
    let builder = Tls::builder()
        .ca_location("/nowhere/ca.pem")
        .certificate_location(authority.client("shop").key)
        .key_location(authority.ca());
    let problems = problems(&builder);
    assert_eq!(problems.len(), 3, "{problems:?}");
    assert!(
        problems[0].starts_with("ca_location: /nowhere/ca.pem cannot be read"),
        "{problems:?}"
    );
    assert!(
        problems[1].starts_with("certificate_location: ")
            && problems[1].ends_with("holds no certificate in PEM"),
        "{problems:?}"
    );
    assert!(
        problems[2].starts_with("key_location: ") && problems[2].contains("no private key"),
        "{problems:?}"
    );
}

#[test]
fn a_certificate_needs_its_own_key() {
    let authority = Authority::new();
    let (one, other) = (authority.client("one"), authority.client("other"));
    let builder = Tls::builder().ca_location(authority.ca());
    let alone = builder.clone().certificate_location(&one.certificate);
    assert!(problems(&alone)[0].starts_with("key_location: is missing"));
    let alone = builder.clone().key_location(&one.key);
    assert!(problems(&alone)[0].starts_with("certificate_location: is missing"));
    let mixed = builder
        .certificate_location(&one.certificate)
        .key_location(&other.key);
    assert!(
        problems(&mixed)[0].starts_with("key_location: does not go with the certificate"),
        "{:?}",
        problems(&mixed)
    );
}

#[test]
fn damaged_files_are_named_and_not_shown() {
    let authority = Authority::new();
    let client = authority.client("shop");
    let key = fs::read_to_string(&client.key).unwrap();
    fs::write(&client.key, key.replace("-----END", "-----ENDE")).unwrap();
    let builder = Tls::builder()
        .ca_location(authority.ca())
        .certificate_location(&client.certificate)
        .key_location(&client.key);
    let problem = &problems(&builder)[0];
    assert!(problem.ends_with("is not well-formed PEM"), "{problem}");
}
