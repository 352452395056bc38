use kafka::{Sasl, SaslMechanism, Security, Tls};

use super::option::{Opt, group::KAFKA};
use super::value::{Secret, Value};
use super::values::Values;

/// `KAFKA_SECURITY_PROTOCOL`, by the names of Kafka's `security.protocol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SecurityProtocol {
    Plaintext,
    Ssl,
    SaslPlaintext,
    SaslSsl,
}

impl Value for SecurityProtocol {
    fn parse(text: &str) -> Result<Self, String> {
        match text.to_ascii_uppercase().as_str() {
            "PLAINTEXT" => Ok(Self::Plaintext),
            "SSL" => Ok(Self::Ssl),
            "SASL_PLAINTEXT" => Ok(Self::SaslPlaintext),
            "SASL_SSL" => Ok(Self::SaslSsl),
            _ => Err("must be PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL".to_owned()),
        }
    }
}

impl Value for SaslMechanism {
    fn parse(text: &str) -> Result<Self, String> {
        text.to_ascii_uppercase()
            .parse()
            .map_err(|_| "must be PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512".to_owned())
    }
}

const PROTOCOL: &str = "KAFKA_SECURITY_PROTOCOL";
const MECHANISM: &str = "KAFKA_SASL_MECHANISM";
const USERNAME: &str = "KAFKA_SASL_USERNAME";
const PASSWORD: &str = "KAFKA_SASL_PASSWORD";
const CA: &str = "KAFKA_SSL_CA_LOCATION";
const CERTIFICATE: &str = "KAFKA_SSL_CERTIFICATE_LOCATION";
const KEY: &str = "KAFKA_SSL_KEY_LOCATION";

/// How connections to Kafka are protected.
pub(super) fn security_options() -> [Opt; 7] {
    [
        Opt::new(
            PROTOCOL,
            "PLAINTEXT",
            KAFKA,
            "What the brokers' listener speaks: PLAINTEXT, SSL (TLS), SASL_PLAINTEXT (a login without \
             TLS), SASL_SSL (both).",
        ),
        Opt::unset(
            MECHANISM,
            KAFKA,
            "How to log in: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512.",
        ),
        Opt::unset(USERNAME, KAFKA, "Name to log in with."),
        Opt::unset(PASSWORD, KAFKA, "Password to log in with.").secret(),
        Opt::unset(
            CA,
            KAFKA,
            "PEM file of the certificates to trust; unset, those that the system trusts.",
        ),
        Opt::unset(
            CERTIFICATE,
            KAFKA,
            "PEM file of this client's certificate, where brokers want one.",
        ),
        Opt::unset(
            KEY,
            KAFKA,
            "PEM file of the certificate's private key, not encrypted.",
        ),
    ]
}

/// Reads them, and the files that they name; mistakes are noted in `values`.
pub(super) fn read_security(values: &mut Values) -> Security {
    let Some(protocol) = values.find::<SecurityProtocol>(PROTOCOL) else {
        return Security::default();
    };
    use SecurityProtocol::{SaslPlaintext, SaslSsl, Ssl};
    let tls = if matches!(protocol, Ssl | SaslSsl) {
        read_tls(values)
    } else {
        unused(values, &[CA, CERTIFICATE, KEY], "SSL or SASL_SSL");
        None
    };
    let sasl = if matches!(protocol, SaslPlaintext | SaslSsl) {
        read_sasl(values)
    } else {
        let wanted = "SASL_SSL or SASL_PLAINTEXT";
        unused(values, &[MECHANISM, USERNAME, PASSWORD], wanted);
        None
    };
    Security { tls, sasl }
}

fn read_tls(values: &mut Values) -> Option<Tls> {
    let mut builder = Tls::builder();
    if let Some(file) = values.find::<String>(CA) {
        builder = builder.ca_location(file);
    }
    if let Some(file) = values.find::<String>(CERTIFICATE) {
        builder = builder.certificate_location(file);
    }
    if let Some(file) = values.find::<String>(KEY) {
        builder = builder.key_location(file);
    }
    match builder.build() {
        Ok(tls) => Some(tls),
        Err(mistakes) => {
            for mistake in mistakes {
                let variable = match mistake.setting {
                    "ca_location" => CA,
                    "certificate_location" => CERTIFICATE,
                    "key_location" => KEY,
                    _ => PROTOCOL,
                };
                values.mistake(variable, mistake.problem);
            }
            None
        }
    }
}

fn read_sasl(values: &mut Values) -> Option<Sasl> {
    let missing = "must be set to log in (KAFKA_SECURITY_PROTOCOL)";
    for variable in [MECHANISM, USERNAME, PASSWORD] {
        if !values.is_given(variable) {
            values.mistake(variable, missing);
        }
    }
    let mechanism = values.find::<SaslMechanism>(MECHANISM);
    let username = values.find::<String>(USERNAME);
    let password = values.find::<Secret>(PASSWORD);
    let (mechanism, username, password) = (mechanism?, username?, password?);
    match Sasl::new(mechanism, &username, password.expose()) {
        Ok(sasl) => Some(sasl),
        Err(mistake) => {
            let variable = if mistake.setting == "password" {
                PASSWORD
            } else {
                USERNAME
            };
            values.mistake(variable, mistake.problem);
            None
        }
    }
}

/// What is set without effect is a connection less protected than its owner thinks.
fn unused(values: &mut Values, variables: &[&str], wanted: &str) {
    for variable in variables {
        if values.is_given(variable) {
            values.mistake(
                variable,
                format!("has no effect unless KAFKA_SECURITY_PROTOCOL is {wanted}"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use testkit::certificates::Authority;

    use super::super::program::{Parsed, Program};
    use super::*;

    fn read(vars: &[(&str, &str)]) -> Result<Security, String> {
        let program = Program {
            name: "cart-svc",
            about: "",
            options: security_options().to_vec(),
            commands: vec![],
        };
        let folder = tempfile::tempdir().unwrap();
        let vars = vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let Parsed::Invocation(mut invocation) = program.parse([], vars, folder.path()) else {
            panic!("printed");
        };
        let security = read_security(&mut invocation.values);
        let finished = invocation.values.finish(security);
        finished.map_err(|mistakes| mistakes.to_string())
    }

    #[test]
    fn unset_is_neither_tls_nor_login() {
        let security = read(&[]).unwrap();
        assert!(security.tls.is_none() && security.sasl.is_none());
        assert!(read(&[(PROTOCOL, "plaintext")]).is_ok());
    }

    #[test]
    fn both_at_once() {
        let authority = Authority::new();
        let ca = authority.ca();
        let security = read(&[
            (PROTOCOL, "SASL_SSL"),
            (MECHANISM, "scram-sha-512"),
            (USERNAME, "shop"),
            (PASSWORD, "hunter2"),
            (CA, ca.to_str().unwrap()),
        ])
        .unwrap();
        let text = format!("{security:?}");
        assert!(
            text.contains("ScramSha512") && text.contains("Tls"),
            "{text}"
        );
        assert!(!text.contains("hunter2"), "{text}");
    }

    #[test]
    fn all_that_is_missing_is_named_at_once() {
        let text = read(&[(PROTOCOL, "SASL_SSL"), (CA, "/nowhere/ca.pem")]).unwrap_err();
        for part in [
            "KAFKA_SASL_MECHANISM must be set",
            "KAFKA_SASL_USERNAME must be set",
            "KAFKA_SASL_PASSWORD must be set",
            "KAFKA_SSL_CA_LOCATION /nowhere/ca.pem cannot be read",
        ] {
            assert!(text.contains(part), "{part:?} missing in\n{text}");
        }
    }

    #[test]
    fn what_would_have_no_effect_is_a_mistake() {
        let text =
            read(&[(USERNAME, "shop"), (PASSWORD, "hunter2"), (KEY, "key.pem")]).unwrap_err();
        for part in [
            "KAFKA_SASL_USERNAME has no effect unless KAFKA_SECURITY_PROTOCOL is SASL_SSL",
            "KAFKA_SASL_PASSWORD has no effect",
            "KAFKA_SSL_KEY_LOCATION has no effect unless KAFKA_SECURITY_PROTOCOL is SSL",
        ] {
            assert!(text.contains(part), "{part:?} missing in\n{text}");
        }
    }

    #[test]
    fn values_that_are_wrong_are_named_and_the_password_is_not_shown() {
        let text = read(&[(PROTOCOL, "TLS")]).unwrap_err();
        assert!(text.contains("must be PLAINTEXT, SSL"), "{text}");
        let text = read(&[
            (PROTOCOL, "SASL_PLAINTEXT"),
            (MECHANISM, "GSSAPI"),
            (USERNAME, "shop"),
            (PASSWORD, "hunter2\n"),
        ])
        .unwrap_err();
        assert!(
            text.contains("KAFKA_SASL_MECHANISM must be PLAIN"),
            "{text}"
        );
        let text = read(&[
            (PROTOCOL, "SASL_PLAINTEXT"),
            (MECHANISM, "PLAIN"),
            (USERNAME, "shop"),
            (PASSWORD, "hunter2\n"),
        ])
        .unwrap_err();
        assert!(
            text.contains("KAFKA_SASL_PASSWORD holds a control character"),
            "{text}"
        );
        assert!(!text.contains("hunter2"), "{text}");
    }
}
