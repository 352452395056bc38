//! One TCP connection to one broker: requests go out in the order of their calls, several at a time,
//! and answers are matched by correlation id.
//!
//! `stream` is the socket, with TLS or without; `opening` agrees on versions and proves who this client
//! is; then `driver`, a task, moves the bytes of `frame`s, and this file is the handle. The task ends
//! when the last handle is dropped, the broker hangs up, or a call times out.

pub(crate) mod driver;
pub(crate) mod frame;
pub(crate) mod opening;
pub(crate) mod stream;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use kafka_protocol::protocol::{Request, StrBytes};
use tokio::sync::oneshot;
use wire::Shape;

use self::{
    driver::Shared,
    frame::{api_key, decode, encode},
    opening::Opening,
};
use crate::{
    client::ClientConfig,
    error::Error,
    versions::{self, BrokerVersions},
};

/// A handle to an open, version-negotiated connection. Clones share the connection.
#[derive(Clone)]
pub(crate) struct Connection {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    client_id: StrBytes,
    versions: BrokerVersions,
    /// When to be replaced, because the session as a user ends soon after (KIP-368).
    renew_at: Option<Instant>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.close("every handle was dropped");
    }
}

impl Connection {
    /// Opens a connection, with TLS and as a user where `security` says so, and asks the broker for
    /// its versions, all within `connect_timeout`.
    ///
    /// # Errors
    /// [`Error::Refused`] when the two do not accept each other; [`Error::Connect`] for what may pass.
    pub(crate) async fn open(address: &Arc<str>, config: &ClientConfig) -> Result<Self, Error> {
        let mut opening = Opening::new(address.clone(), config);
        let opened = tokio::time::timeout(config.connect_timeout, opening.run()).await;
        let opened = opened.unwrap_or_else(|_| Err(opening.timed_out()))?;
        let shared = driver::start(address.clone(), opened.stream, config);
        Ok(Self {
            inner: Arc::new(Inner {
                shared,
                client_id: StrBytes::from_string(config.client_id.clone()),
                versions: opened.versions,
                renew_at: opened.renew_at,
            }),
        })
    }

    /// Sends `request` at the newest common version and waits for the answer, at most `timeout`.
    ///
    /// # Errors
    /// A call that times out closes the connection, because a late answer would be in the way of the
    /// next one's time; every other waiting call is answered with [`Error::Closed`].
    ///
    /// # Cancellation
    /// A dropped call leaves the connection usable; its request may still reach the broker.
    pub(crate) async fn call<R: Request<Response: Shape>>(
        &self,
        request: R,
        timeout: Duration,
    ) -> Result<R::Response, Error> {
        self.call_up_to(i16::MAX, request, timeout).await
    }

    /// [`Connection::call`] in no later version than `newest`, for a request that cannot be told in those.
    pub(crate) async fn call_up_to<R: Request<Response: Shape>>(
        &self,
        newest: i16,
        request: R,
        timeout: Duration,
    ) -> Result<R::Response, Error> {
        let (oldest, ours) = versions::ours::<R>();
        let ours = (oldest, ours.min(newest));
        let version =
            self.inner
                .versions
                .choose(R::KEY, ours)
                .ok_or_else(|| Error::UnsupportedVersion {
                    address: self.inner.shared.address().clone(),
                    api: api_key::<R>(),
                    ours,
                    broker: self.inner.versions.range(R::KEY),
                })?;
        self.inner.call_at(&request, version, timeout).await
    }

    /// The version at which `R` is spoken with this broker; `None` if there is no common one.
    pub(crate) fn version<R: Request>(&self) -> Option<i16> {
        self.inner.versions.choose(R::KEY, versions::ours::<R>())
    }

    /// `host:port`.
    pub(crate) fn address(&self) -> &Arc<str> {
        self.inner.shared.address()
    }

    /// Whether new calls may use it: it is open, and its session does not end soon. What is in flight
    /// on a connection that is not usable any more still gets its answer, unless it is closed.
    pub(crate) fn is_usable(&self) -> bool {
        let due = |at: Instant| at <= Instant::now();
        !self.inner.renew_at.is_some_and(due) && !self.inner.shared.is_closed()
    }

    /// Ends the connection; waiting calls are answered with [`Error::Closed`] and this reason.
    pub(crate) fn close(&self, reason: &str) {
        self.inner.shared.close(reason);
    }
}

impl Inner {
    async fn call_at<R: Request<Response: Shape>>(
        &self,
        request: &R,
        version: i16,
        timeout: Duration,
    ) -> Result<R::Response, Error> {
        let api = api_key::<R>();
        let started = Instant::now();
        let frame = |correlation| encode(request, api, version, correlation, &self.client_id);
        let answer = self
            .shared
            .send(api, started, frame)
            .map_err(|reason| reason.into_error(self.shared.address(), api))?;
        let body = match tokio::time::timeout(timeout, answer).await {
            Ok(Ok(body)) => body?,
            Ok(Err(_)) => {
                return Err(Error::Closed {
                    address: self.shared.address().clone(),
                    api,
                    elapsed: started.elapsed(),
                    reason: "the connection's task ended".into(),
                });
            }
            Err(_) => {
                let elapsed = started.elapsed();
                self.shared.close(&format!(
                    "{api:?} had no answer within {} ms",
                    elapsed.as_millis()
                ));
                return Err(Error::Timeout {
                    address: self.shared.address().clone(),
                    api,
                    elapsed,
                });
            }
        };
        decode::<R>(body, version).map_err(|reason| Error::Malformed {
            address: self.shared.address().clone(),
            api,
            reason: reason.into(),
        })
    }
}

/// What a call waits for.
pub(crate) type Answer = oneshot::Receiver<Result<Bytes, Error>>;

#[cfg(test)]
pub(crate) mod tests;
