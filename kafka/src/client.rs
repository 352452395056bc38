//! The handle that everything starts from: where the cluster is and how patient to be with it.

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    cluster::Cluster,
    error::{ConfigError, Error},
    security::Security,
};

/// Where the cluster is and how patient to be with it. Defaults are those of the Java client unless
/// a field says otherwise.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// `host:port` of some brokers; the rest of the cluster is learned from them.
    pub bootstrap_servers: Vec<String>,
    /// Named in the broker's logs, quotas and metrics. Default `kafka-client`.
    pub client_id: String,
    /// How long one request may take. Default 30 s (Java `request.timeout.ms`).
    pub request_timeout: Duration,
    /// How long opening a connection may take, with TLS, login and version negotiation. Default 10 s (Java
    /// `socket.connection.setup.timeout.ms`).
    pub connect_timeout: Duration,
    /// How old cluster metadata may become. Default 5 min (Java `metadata.max.age.ms`).
    pub metadata_max_age: Duration,
    /// Pause before the second attempt to connect to a broker; doubles with each further one, with
    /// 20 % jitter. Default 50 ms (Java `reconnect.backoff.ms`).
    pub reconnect_backoff: Duration,
    /// Longest pause between two attempts. Default 1 s (Java `reconnect.backoff.max.ms`).
    pub reconnect_backoff_max: Duration,
    /// Pause after a broker was reached and refused ([`Error::Refused`]): a wrong password tried too
    /// often locks users out. Until it is over, calls fail at once with what was said. Default 5 s,
    /// with 20 % jitter.
    pub refused_backoff: Duration,
    /// TLS and SASL, on every connection alike. Default neither.
    pub security: Security,
    /// Largest answer that is accepted, in bytes; a larger one closes the connection. Default
    /// 100 MiB, the limit that brokers have for requests (`socket.request.max.bytes`).
    pub max_frame_bytes: usize,
}

impl ClientConfig {
    /// From a comma-separated list of `host`, `host:port` or `[v6]:port`; the port defaults to 9092.
    ///
    /// # Errors
    /// An empty list, an empty host, or a port that is not a number from 1 to 65535.
    pub fn new(bootstrap_servers: &str) -> Result<Self, ConfigError> {
        let bootstrap_servers = bootstrap_servers
            .split(',')
            .map(str::trim)
            .filter(|server| !server.is_empty())
            .map(with_port)
            .collect::<Result<Vec<_>, _>>()?;
        if bootstrap_servers.is_empty() {
            return Err(ConfigError::new(
                "bootstrap_servers",
                "is empty; name at least one broker as host:port",
            ));
        }
        Ok(Self {
            bootstrap_servers,
            client_id: "kafka-client".to_owned(),
            request_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            metadata_max_age: Duration::from_secs(300),
            reconnect_backoff: Duration::from_millis(50),
            reconnect_backoff_max: Duration::from_secs(1),
            refused_backoff: Duration::from_secs(5),
            security: Security::default(),
            max_frame_bytes: 100 * 1024 * 1024,
        })
    }
}

const DEFAULT_PORT: u16 = 9092;

fn with_port(server: &str) -> Result<String, ConfigError> {
    let wrong =
        |problem: &str| ConfigError::new("bootstrap_servers", format!("{server:?} {problem}"));
    let (host, port) = match server.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest
                .split_once(']')
                .ok_or_else(|| wrong("lacks the closing bracket of its address"))?;
            let port = match rest.strip_prefix(':') {
                Some(port) => Some(port),
                None if rest.is_empty() => None,
                None => return Err(wrong("is not [address]:port")),
            };
            (format!("[{host}]"), port)
        }
        None => match server.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                return Err(wrong(
                    "has several colons; write an IPv6 address as [address]:port",
                ));
            }
            Some((host, port)) => (host.to_owned(), Some(port)),
            None => (server.to_owned(), None),
        },
    };
    if host.is_empty() || host == "[]" {
        return Err(wrong("has no host"));
    }
    let port = match port {
        None => DEFAULT_PORT,
        Some(port) => match port.parse::<u16>() {
            Ok(port) if port > 0 => port,
            _ => return Err(wrong("has a port that is not a number from 1 to 65535")),
        },
    };
    Ok(format!("{host}:{port}"))
}

/// A cheap handle to one cluster. Clones share connections and metadata.
///
/// Creating it does no I/O; the first call that needs a broker connects. The last handle dropped, with
/// the producers and consumers made from it, closes the connections.
#[derive(Clone)]
pub struct Client {
    cluster: Arc<Cluster>,
}

impl Client {
    /// A client for the cluster of `config`, not connected yet.
    pub fn new(config: ClientConfig) -> Self {
        Self {
            cluster: Cluster::new(config),
        }
    }

    /// Asks any broker for fresh metadata.
    ///
    /// # Errors
    /// [`Error::Unreachable`] when neither a known broker nor a bootstrap address answers, after at
    /// most `connect_timeout` + `request_timeout`. Dropping the future is harmless.
    pub async fn ready(&self) -> Result<(), Error> {
        self.cluster.refresh().await.map(|_| ())
    }

    /// The configuration this client was made with.
    pub fn config(&self) -> &ClientConfig {
        self.cluster.config()
    }

    pub(crate) fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("bootstrap_servers", &self.config().bootstrap_servers)
            .field("client_id", &self.config().client_id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_servers_is_read_with_default_ports() {
        let config = ClientConfig::new("a, b:9093 ,[::1],[::1]:19092").unwrap();
        assert_eq!(
            config.bootstrap_servers,
            ["a:9092", "b:9093", "[::1]:9092", "[::1]:19092"]
        );
    }

    #[test]
    fn mistakes_are_named() {
        for (list, expected) in [
            ("", "bootstrap_servers: is empty"),
            (" , ", "is empty"),
            (":9092", "has no host"),
            ("a:0", "port"),
            ("a:http", "port"),
            ("::1", "several colons"),
            ("[::1", "bracket"),
            ("[::1]9092", "[address]:port"),
        ] {
            let error = ClientConfig::new(list).unwrap_err().to_string();
            assert!(error.contains(expected), "{list:?}: {error}");
        }
    }
}
