//! What can go wrong between this client and the brokers.
//!
//! Every variant names what failed and where; [`Error::is_retriable`] tells whether the same call may
//! succeed later. Errors are cheap to clone, because one broken connection answers many calls.

use std::{fmt, io, sync::Arc, time::Duration};

pub use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::ApiKey;

use crate::{records::BatchError, security::Refusal};

/// A mistake in a configuration value, found before anything is opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting}: {problem}")]
pub struct ConfigError {
    /// The setting, by the name of its field or builder method.
    pub setting: &'static str,
    /// What is wrong with it, and what would be right.
    pub problem: String,
}

impl ConfigError {
    pub(crate) fn new(setting: &'static str, problem: impl Into<String>) -> Self {
        Self {
            setting,
            problem: problem.into(),
        }
    }
}

/// Why a call to Kafka did not succeed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A configuration value is not usable.
    #[error(transparent)]
    Config(#[from] ConfigError),

    /// The TCP connection could not be made.
    #[error("cannot connect to Kafka broker {address} ({}): {source}", Millis(*elapsed))]
    Connect {
        /// `host:port`.
        address: Arc<str>,
        /// Since the attempt began.
        elapsed: Duration,
        /// What the operating system said.
        source: Arc<io::Error>,
    },

    /// The broker was reached, but the two do not accept each other: certificate, password, or a port
    /// that speaks another protocol. Tried again at a modest pace (`refused_backoff`), because it may
    /// be put right on the broker's side.
    #[error("Kafka broker {address} cannot be used: {refusal}")]
    Refused {
        /// `host:port`.
        address: Arc<str>,
        /// Why.
        refusal: Arc<Refusal>,
    },

    /// No answer in time. The connection is closed: a later answer could no longer be told apart.
    #[error("Kafka broker {address} did not answer {api:?} within {}", Millis(*elapsed))]
    Timeout {
        /// `host:port`.
        address: Arc<str>,
        /// The request.
        api: ApiKey,
        /// How long the call waited.
        elapsed: Duration,
    },

    /// The connection ended while the call waited, or before it was sent. Whether the broker acted on
    /// the request is not known.
    #[error("connection to Kafka broker {address} closed while {api:?} waited ({}): {reason}", Millis(*elapsed))]
    Closed {
        /// `host:port`.
        address: Arc<str>,
        /// The request.
        api: ApiKey,
        /// How long the call had waited.
        elapsed: Duration,
        /// Why the connection ended.
        reason: Arc<str>,
    },

    /// A request that cannot be encoded at the negotiated version, or an answer that cannot be decoded.
    #[error("{api:?} with Kafka broker {address}: {reason}")]
    Malformed {
        /// `host:port`.
        address: Arc<str>,
        /// The request.
        api: ApiKey,
        /// What is wrong.
        reason: Arc<str>,
    },

    /// Broker and client share no version of this request.
    #[error(
        "Kafka broker {address} does not speak {api:?} in a version this client knows (client {}..={}, broker {})",
        ours.0, ours.1, Range(*broker)
    )]
    UnsupportedVersion {
        /// `host:port`.
        address: Arc<str>,
        /// The request.
        api: ApiKey,
        /// First and last version of this client.
        ours: (i16, i16),
        /// First and last version of the broker; `None`: it does not know the request at all.
        broker: Option<(i16, i16)>,
    },

    /// Neither a known broker nor a bootstrap address answered.
    #[error(
        "no Kafka broker is reachable (bootstrap servers {bootstrap}); the last attempt: {last}"
    )]
    Unreachable {
        /// The configured bootstrap servers.
        bootstrap: Arc<str>,
        /// The last failure.
        last: Arc<Error>,
    },

    /// A broker id that the cluster's metadata does not list (yet).
    #[error("broker {node} is not in the cluster's metadata; it may be down or still starting")]
    UnknownNode {
        /// The broker's id.
        node: i32,
    },

    /// A topic that does not exist, or that this client may not describe.
    #[error(
        "topic {topic} does not exist; create it (topics are never created by asking for them)"
    )]
    UnknownTopic {
        /// The topic.
        topic: Arc<str>,
    },

    /// A partition that the topic does not have.
    #[error("{topic}-{partition} does not exist: the topic has {count} partitions (0 to {})", count - 1)]
    UnknownPartition {
        /// The topic.
        topic: Arc<str>,
        /// The partition asked for.
        partition: i32,
        /// How many the topic has.
        count: i32,
    },

    /// A partition without a leader at the moment.
    #[error("{topic}-{partition} has no leader at the moment")]
    NoLeader {
        /// The topic.
        topic: Arc<str>,
        /// The partition.
        partition: i32,
    },

    /// The broker answered with an error code.
    #[error("{api:?} for {what}: {}{}", CodeName(*code), Suffix(message.as_deref()))]
    Response {
        /// The request.
        api: ApiKey,
        /// The code.
        code: ResponseError,
        /// The topic, partition or group that it is about.
        what: Arc<str>,
        /// The broker's own explanation, where it gives one.
        message: Option<Arc<str>>,
    },

    /// An operation of several steps did not finish in time.
    #[error("{what} did not finish within {}{}", Millis(*elapsed), Suffix(last.as_ref().map(ToString::to_string).as_deref()))]
    Deadline {
        /// The operation.
        what: Arc<str>,
        /// How long it was tried.
        elapsed: Duration,
        /// The last failure on the way, if there was one.
        last: Option<Arc<Error>>,
    },

    /// A record batch that cannot be read.
    #[error(transparent)]
    Batch(#[from] BatchError),
}

impl Error {
    pub(crate) fn response(api: ApiKey, code: ResponseError, what: impl Into<Arc<str>>) -> Self {
        Self::Response {
            api,
            code,
            what: what.into(),
            message: None,
        }
    }

    /// `Ok` for code 0, otherwise the error with its place.
    pub(crate) fn check(
        api: ApiKey,
        code: i16,
        message: Option<&str>,
        what: impl FnOnce() -> String,
    ) -> Result<(), Self> {
        match ResponseError::try_from_code(code) {
            None => Ok(()),
            Some(code) => Err(Self::Response {
                api,
                code,
                what: what().into(),
                message: message.filter(|text| !text.is_empty()).map(Into::into),
            }),
        }
    }

    /// The broker's error code, if the broker answered with one.
    pub fn code(&self) -> Option<ResponseError> {
        match self {
            Self::Response { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Why the broker cannot be used, where that is what is behind this error.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused { refusal, .. } => Some(refusal),
            Self::Unreachable { last, .. } => last.refusal(),
            Self::Deadline { last, .. } => last.as_ref()?.refusal(),
            _ => None,
        }
    }

    /// Whether trying again later can help: the network, a moved leader or coordinator, a broker that
    /// is starting, a password that is put right. Codes as in Kafka's table (`org.apache.kafka.common.protocol.Errors`).
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Connect { .. }
            | Self::Refused { .. }
            | Self::Timeout { .. }
            | Self::Closed { .. }
            | Self::Unreachable { .. }
            | Self::UnknownNode { .. }
            | Self::UnknownTopic { .. }
            | Self::NoLeader { .. }
            | Self::Deadline { .. } => true,
            Self::Response { code, .. } => code.is_retriable(),
            Self::Config(_)
            | Self::Malformed { .. }
            | Self::UnsupportedVersion { .. }
            | Self::UnknownPartition { .. }
            | Self::Batch(_) => false,
        }
    }

    /// Whether the connection to the broker is at fault rather than the request.
    pub fn is_connection(&self) -> bool {
        matches!(
            self,
            Self::Connect { .. }
                | Self::Refused { .. }
                | Self::Timeout { .. }
                | Self::Closed { .. }
                | Self::Malformed { .. }
                | Self::Unreachable { .. }
                | Self::UnknownNode { .. }
        )
    }
}

/// A duration in milliseconds, as Kafka's own settings give them.
pub(crate) struct Millis(pub(crate) Duration);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0.as_millis())
    }
}

/// An error code by the name that Kafka's documentation uses: `NOT_LEADER_OR_FOLLOWER (6)`.
pub(crate) struct CodeName(pub(crate) ResponseError);

impl fmt::Display for CodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let ResponseError::Unknown(code) = self.0 {
            return write!(f, "unknown error code {code}");
        }
        // The enum's names are Kafka's in camel case.
        for (at, letter) in format!("{:?}", self.0).char_indices() {
            if at > 0 && letter.is_ascii_uppercase() {
                f.write_str("_")?;
            }
            write!(f, "{}", letter.to_ascii_uppercase())?;
        }
        write!(f, " ({})", self.0.code())
    }
}

/// What to look at where a broker refuses what a producer sends, as the end of an error's text; nothing
/// where the code says all.
pub(crate) struct LookAt(pub(crate) Option<ResponseError>);

impl LookAt {
    fn what(&self) -> Option<&'static str> {
        use ResponseError as E;
        Some(match self.0? {
            E::InvalidTimestamp => {
                "message.timestamp.after.max.ms and message.timestamp.before.max.ms of the topic, and \
                 the clocks of this machine and of the broker"
            }
            E::InvalidRecord => {
                "cleanup.policy of the topic (a compacted topic takes no record without a key), and \
                 whatever checks records before the brokers do"
            }
            E::PolicyViolation => "the policies that the cluster's operator has set",
            E::NotEnoughReplicas | E::NotEnoughReplicasAfterAppend => {
                "min.insync.replicas of the topic, and which brokers are down"
            }
            E::TopicAuthorizationFailed | E::ClusterAuthorizationFailed => {
                "the rights (ACLs) of this client"
            }
            E::UnsupportedCompressionType => "the compression of this producer",
            E::MessageTooLarge | E::RecordListTooLarge => {
                "max.message.bytes of the topic, or message.max.bytes of the broker"
            }
            _ => return None,
        })
    }
}

impl fmt::Display for LookAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.what()
            .map_or(Ok(()), |what| write!(f, "; look at {what}"))
    }
}

struct Suffix<'a>(Option<&'a str>);

impl fmt::Display for Suffix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |text| write!(f, ": {text}"))
    }
}

struct Range(Option<(i16, i16)>);

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some((min, max)) => write!(f, "{min}..={max}"),
            None => f.write_str("none"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_carry_the_names_of_kafkas_documentation() {
        let error = Error::response(
            ApiKey::Produce,
            ResponseError::NotLeaderOrFollower,
            "orders-3",
        );
        assert_eq!(
            error.to_string(),
            "Produce for orders-3: NOT_LEADER_OR_FOLLOWER (6)"
        );
        assert!(error.is_retriable());
        assert_eq!(
            CodeName(ResponseError::Unknown(1234)).to_string(),
            "unknown error code 1234"
        );
    }

    #[test]
    fn an_error_names_broker_request_and_time() {
        let error = Error::Closed {
            address: "kafka:9092".into(),
            api: ApiKey::Fetch,
            elapsed: Duration::from_millis(1200),
            reason: "end of stream".into(),
        };
        assert_eq!(
            error.to_string(),
            "connection to Kafka broker kafka:9092 closed while Fetch waited (1200 ms): end of stream"
        );
    }

    #[test]
    fn code_zero_is_no_error() {
        assert!(Error::check(ApiKey::Fetch, 0, None, String::new).is_ok());
        let error = Error::check(ApiKey::CreateTopics, 41, Some("go away"), || {
            "topic t".into()
        })
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "CreateTopics for topic t: NOT_CONTROLLER (41): go away"
        );
    }
}
