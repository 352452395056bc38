//! Connections by address and purpose, reopened with exponential back-off, and replaced before their
//! sessions end.

use std::{collections::HashMap, sync::Arc, time::Instant};

use parking_lot::Mutex;

use super::Purpose;
use crate::{
    backoff::Backoff, client::ClientConfig, connection::Connection, error::Error, security::Refusal,
};

/// `host:port` and what for.
type Key = (Arc<str>, Purpose);

type Refused = HashMap<Arc<str>, (Instant, Error)>;

pub(crate) struct Pool {
    slots: Mutex<HashMap<Key, Arc<Slot>>>,
    /// Brokers that refused this client, and until when that is believed without asking again.
    refused: Arc<Mutex<Refused>>,
}

#[derive(Default)]
struct Slot {
    current: Mutex<Option<Connection>>,
    /// Held while connecting, so that callers share one attempt.
    opening: tokio::sync::Mutex<Attempts>,
}

#[derive(Default)]
struct Attempts {
    failures: u32,
    not_before: Option<Instant>,
    /// When the last one failed, and why.
    failed: Option<(Instant, Error)>,
}

impl Slot {
    fn open(&self) -> Option<Connection> {
        self.current.lock().clone().filter(Connection::is_usable)
    }
}

impl Pool {
    pub(super) fn new() -> Self {
        Self {
            slots: Mutex::default(),
            refused: Arc::default(),
        }
    }

    /// Connections apart from these, to the same brokers: what one pool is refused, both know.
    pub(super) fn sibling(&self) -> Self {
        Self {
            slots: Mutex::default(),
            refused: self.refused.clone(),
        }
    }

    /// Whether a connection to `address` is open.
    pub(super) fn is_connected(&self, address: &Arc<str>) -> bool {
        let slots = self.slots.lock();
        slots
            .iter()
            .any(|((of, _), slot)| of == address && slot.open().is_some())
    }

    pub(super) async fn connection(
        &self,
        address: &Arc<str>,
        purpose: Purpose,
        config: &ClientConfig,
    ) -> Result<Connection, Error> {
        let slot = self
            .slots
            .lock()
            .entry((address.clone(), purpose))
            .or_default()
            .clone();
        if let Some(connection) = slot.open() {
            return Ok(connection);
        }
        let asked = Instant::now();
        let mut attempts = slot.opening.lock().await;
        // Somebody else may have opened it meanwhile, or failed to: each that waited would otherwise
        // wait for an attempt of its own, behind all others.
        if let Some(connection) = slot.open() {
            return Ok(connection);
        }
        if let Some((at, error)) = &attempts.failed
            && *at >= asked
        {
            return Err(error.clone());
        }
        if let Some(at) = attempts.not_before {
            tokio::time::sleep_until(at.into()).await;
        }
        match self.open(address, config).await {
            Ok(connection) => {
                *attempts = Attempts::default();
                *slot.current.lock() = Some(connection.clone());
                Ok(connection)
            }
            // It has a pace of its own.
            Err(error) if is_refusal(&error) => Err(error),
            Err(error) => {
                attempts.failures += 1;
                let backoff = Backoff::new(config.reconnect_backoff, config.reconnect_backoff_max);
                let pause = backoff.random_delay(attempts.failures);
                let now = Instant::now();
                attempts.not_before = Some(now + pause);
                attempts.failed = Some((now, error.clone()));
                Err(error)
            }
        }
    }

    /// A connection that is nobody else's. One attempt, at once; none for `refused_backoff` after the
    /// broker refused this client.
    pub(super) async fn open(
        &self,
        address: &Arc<str>,
        config: &ClientConfig,
    ) -> Result<Connection, Error> {
        if let Some((until, error)) = self.refused.lock().get(address)
            && Instant::now() < *until
        {
            return Err(error.clone());
        }
        let opened = Connection::open(address, config).await;
        let mut refused = self.refused.lock();
        match &opened {
            Err(error) if is_refusal(error) => {
                let backoff = Backoff::new(config.refused_backoff, config.refused_backoff);
                let pause = backoff.random_delay(1);
                refused.insert(address.clone(), (Instant::now() + pause, error.clone()));
            }
            Err(_) => {}
            Ok(_) => {
                refused.remove(address);
            }
        }
        opened
    }
}

fn is_refusal(error: &Error) -> bool {
    error.refusal().is_some_and(Refusal::is_certain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn callers_share_an_attempt_that_fails() {
        // No connection can be made to that port.
        let address: Arc<str> = "127.0.0.1:1".into();
        let config = ClientConfig::new(&address).unwrap();
        let pool = Pool::new();
        let ask = || pool.connection(&address, Purpose::Admin, &config);
        let all = futures::future::join_all((0..20).map(|_| ask())).await;
        assert!(all.iter().all(Result::is_err));
        let slot = pool.slots.lock()[&(address.clone(), Purpose::Admin)].clone();
        assert_eq!(slot.opening.lock().await.failures, 1);
        // Who asks afterwards has an attempt.
        assert!(ask().await.is_err());
        assert_eq!(slot.opening.lock().await.failures, 2);
    }
}
