use std::net::SocketAddr;
use std::time::Duration;

use super::byte_size::ByteSize;
use super::option::{Opt, group::HTTP};
use super::values::Values;

/// Listeners and the bounds of what they take.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// The first is the main address, the others are extra.
    pub addresses: Vec<SocketAddr>,
    pub max_body_bytes: usize,
    /// Longest wait of a request for what it needs, such as Kafka's acknowledgement.
    pub request_timeout: Duration,
    pub max_connections: usize,
    /// From the first byte of a request to the end of its head, and again to the end of its body.
    pub read_timeout: Duration,
    /// How long a connection without a request is kept.
    pub idle_timeout: Duration,
}

/// `addresses` is the default of where to listen.
pub(super) fn http_options(addresses: &'static str) -> Vec<Opt> {
    vec![
        Opt::new(
            "HTTP_ADDR",
            addresses,
            HTTP,
            "Addresses to listen at, comma-separated. The first must be free; an extra one that is \
             taken is a warning. Containers set 0.0.0.0.",
        ),
        Opt::new(
            "MAX_BODY_BYTES",
            "64KiB",
            HTTP,
            "Longest request body; a longer one gets 413.",
        ),
        Opt::new(
            "REQUEST_TIMEOUT",
            "5s",
            HTTP,
            "Longest wait of a request for Kafka or the database; then 503 with Retry-After.",
        ),
        Opt::new(
            "HTTP_MAX_CONNECTIONS",
            "10000",
            HTTP,
            "Most open connections; beyond, the longest idle one makes room, or 503.",
        ),
        Opt::new(
            "HTTP_READ_TIMEOUT",
            "10s",
            HTTP,
            "Longest time for a request's head, and for its body, to arrive; also for a client to \
             take what is sent to it.",
        ),
        Opt::new(
            "HTTP_IDLE_TIMEOUT",
            "75s",
            HTTP,
            "How long a connection without a request is kept.",
        ),
    ]
}

impl HttpConfig {
    pub(super) fn read(values: &mut Values) -> Self {
        let addresses = values.get::<Vec<SocketAddr>>("HTTP_ADDR");
        if addresses.is_empty() {
            values.mistake("HTTP_ADDR", "must name at least one address");
        }
        Self {
            addresses,
            max_body_bytes: values.get::<ByteSize>("MAX_BODY_BYTES").0,
            request_timeout: values.positive("REQUEST_TIMEOUT"),
            max_connections: values
                .checked("HTTP_MAX_CONNECTIONS", "must be at least 1", |n| *n > 0),
            read_timeout: values.positive("HTTP_READ_TIMEOUT"),
            idle_timeout: values.positive("HTTP_IDLE_TIMEOUT"),
        }
    }
}
