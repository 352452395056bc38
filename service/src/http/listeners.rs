use std::io;
use std::net::SocketAddr;

use tokio::net::TcpListener;

/// Bound sockets of one service: the main address first, then the extra ones that were free.
#[derive(Debug)]
pub struct Listeners {
    list: Vec<TcpListener>,
}

/// The main address could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen at {address} ({source}); choose another address with {variable}")]
pub struct BindError {
    pub address: SocketAddr,
    /// The variable that sets it.
    pub variable: String,
    #[source]
    pub source: io::Error,
}

impl Listeners {
    /// Binds all of `addresses`. One that is taken is an error where it is the first, and a
    /// warning in the log where it is an extra one (macOS holds port 5000).
    ///
    /// # Errors
    /// The first address cannot be bound.
    pub async fn bind(addresses: &[SocketAddr], variable: &str) -> Result<Self, BindError> {
        let mut list = Vec::with_capacity(addresses.len());
        for (index, &address) in addresses.iter().enumerate() {
            match TcpListener::bind(address).await {
                Ok(listener) => list.push(listener),
                Err(source) if index == 0 => {
                    return Err(BindError {
                        address,
                        variable: variable.to_owned(),
                        source,
                    });
                }
                Err(error) => tracing::warn!(
                    "extra address {address} is not served ({error}); {variable} lists it"
                ),
            }
        }
        Ok(Self { list })
    }

    /// Where the sockets are bound, port 0 resolved.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.list
            .iter()
            .filter_map(|l| l.local_addr().ok())
            .collect()
    }

    /// The addresses as text for people.
    pub fn names(&self) -> String {
        let names: Vec<String> = self
            .addresses()
            .iter()
            .map(|a| format!("http://{a}"))
            .collect();
        names.join(", ")
    }

    pub(crate) fn into_inner(self) -> Vec<TcpListener> {
        self.list
    }
}
