//! A SASL exchange as a state machine without I/O: tokens in, tokens out.

use super::{
    Refusal, Sasl, SaslMechanism,
    scram::{Hash, Proven, Scram, ScramError},
};

/// The client's side of one exchange.
pub(crate) struct Exchange {
    mechanism: SaslMechanism,
    state: State,
}

enum State {
    /// The password was sent: any answer without an error is the end.
    Plain,
    First(Scram),
    Final(Proven),
    Over,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Send(Vec<u8>),
    /// The broker knows this client, and this client the broker where the mechanism can tell.
    Done,
}

impl Exchange {
    /// The exchange with its first token. `nonce` is printable, without commas, and used once.
    pub(crate) fn begin(sasl: &Sasl, nonce: &str) -> (Self, Vec<u8>) {
        let (username, password) = (sasl.username(), sasl.password());
        let scram = |hash| {
            let scram = Scram::new(hash, username, password, nonce);
            let first = scram.first_message().into_bytes();
            (State::First(scram), first)
        };
        let (state, first) = match sasl.mechanism() {
            SaslMechanism::Plain => (
                State::Plain,
                format!("\0{username}\0{password}").into_bytes(),
            ),
            SaslMechanism::ScramSha256 => scram(Hash::Sha256),
            SaslMechanism::ScramSha512 => scram(Hash::Sha512),
        };
        let mechanism = sasl.mechanism();
        (Self { mechanism, state }, first)
    }

    /// Takes the broker's answer. May compute for some milliseconds.
    pub(crate) fn receive(&mut self, token: &[u8]) -> Result<Step, Refusal> {
        let mechanism = self.mechanism;
        let refused = |error: ScramError| match error {
            ScramError::Refused(message) => Refusal::Credentials {
                mechanism,
                message: Some(message.into()),
            },
            other => Refusal::Sasl {
                mechanism,
                problem: other.to_string().into(),
            },
        };
        match std::mem::replace(&mut self.state, State::Over) {
            State::Plain => Ok(Step::Done),
            State::First(scram) => {
                let (proven, message) = scram.answer(token).map_err(refused)?;
                self.state = State::Final(proven);
                Ok(Step::Send(message.into_bytes()))
            }
            State::Final(proven) => proven.finish(token).map_err(refused).map(|()| Step::Done),
            State::Over => Err(Refusal::Sasl {
                mechanism,
                problem: "the broker goes on after the exchange is over".into(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(mechanism: SaslMechanism, nonce: &str) -> (Exchange, Vec<u8>) {
        Exchange::begin(&Sasl::new(mechanism, "user", "pencil").unwrap(), nonce)
    }

    #[test]
    fn plain_is_one_token() {
        let (mut exchange, first) = begin(SaslMechanism::Plain, "unused");
        assert_eq!(first, b"\0user\0pencil");
        assert_eq!(exchange.receive(b""), Ok(Step::Done));
        assert!(exchange.receive(b"").is_err());
    }

    #[test]
    fn scram_is_two_tokens_and_ends_with_the_brokers_proof() {
        let (mut exchange, first) = begin(SaslMechanism::ScramSha256, "rOprNGfwEbeRWgbNEkqO");
        assert_eq!(first, b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let challenge = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let Ok(Step::Send(proof)) = exchange.receive(challenge) else {
            panic!("no proof");
        };
        assert!(proof.ends_with(b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="));
        let signature = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
        assert_eq!(exchange.receive(signature), Ok(Step::Done));
        assert!(exchange.receive(signature).is_err());
    }

    #[test]
    fn a_broker_that_ends_scram_early_is_not_believed() {
        let (mut exchange, _) = begin(SaslMechanism::ScramSha512, "nonce");
        assert!(matches!(exchange.receive(b""), Err(Refusal::Sasl { .. })));
        let (mut exchange, _) = begin(SaslMechanism::ScramSha512, "nonce");
        exchange.receive(b"r=nonce2,s=c2FsdA==,i=4096").unwrap();
        assert!(matches!(exchange.receive(b""), Err(Refusal::Sasl { .. })));
    }

    #[test]
    fn a_refused_proof_is_about_name_and_password() {
        let (mut exchange, _) = begin(SaslMechanism::ScramSha512, "nonce");
        exchange.receive(b"r=nonce2,s=c2FsdA==,i=4096").unwrap();
        assert_eq!(
            exchange.receive(b"e=unknown-user"),
            Err(Refusal::Credentials {
                mechanism: SaslMechanism::ScramSha512,
                message: Some("unknown-user".into()),
            })
        );
    }
}
