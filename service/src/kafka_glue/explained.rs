use kafka::{Error, Refusal};

/// The error with the variables to look at, where a broker refuses this client or the other way
/// round.
pub fn explained(error: &Error) -> String {
    match error.refusal().and_then(variables) {
        Some(variables) => format!("{error} (see {variables})"),
        None => error.to_string(),
    }
}

fn variables(refusal: &Refusal) -> Option<&'static str> {
    match refusal {
        Refusal::UntrustedCertificate => Some("KAFKA_SSL_CA_LOCATION"),
        Refusal::HostName { .. } => {
            Some("KAFKA_BOOTSTRAP_SERVERS and the broker's advertised.listeners")
        }
        Refusal::NoClientCertificate | Refusal::ClientCertificate { .. } => {
            Some("KAFKA_SSL_CERTIFICATE_LOCATION, KAFKA_SSL_KEY_LOCATION")
        }
        Refusal::NoTls | Refusal::OnlyTls | Refusal::ClosedInTls | Refusal::NoSasl => {
            Some("KAFKA_SECURITY_PROTOCOL, KAFKA_BOOTSTRAP_SERVERS")
        }
        Refusal::Mechanism { .. } => Some("KAFKA_SASL_MECHANISM"),
        Refusal::Credentials { .. } => Some("KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD"),
        Refusal::Sasl { .. } => Some("KAFKA_SASL_PASSWORD, KAFKA_BOOTSTRAP_SERVERS"),
        // The broker's own affair.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn what_to_set_is_named_however_deep_the_refusal_lies() {
        let refused = Error::Refused {
            address: "kafka:9093".into(),
            refusal: Arc::new(Refusal::UntrustedCertificate),
        };
        let text = explained(&Error::Unreachable {
            bootstrap: "kafka:9093".into(),
            last: Arc::new(refused),
        });
        assert!(text.contains("signed by nobody"), "{text}");
        assert!(text.ends_with("(see KAFKA_SSL_CA_LOCATION)"), "{text}");
        let text = explained(&Error::UnknownNode { node: 1 });
        assert!(!text.contains("see KAFKA"), "{text}");
    }
}
