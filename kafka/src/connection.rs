//! One TCP connection to one broker: requests go out in the order of their calls, several at a time,
//! and answers are matched by correlation id.
//!
//! `stream` opens the socket, `driver` is the task that moves bytes, this file is the handle. The task
//! ends when the last handle is dropped, the broker hangs up, or a call times out.

mod driver;
mod stream;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use kafka_protocol::{
    error::ResponseError,
    messages::{ApiKey, ApiVersionsRequest, RequestHeader, ResponseHeader},
    protocol::{Decodable, Encodable as _, HeaderVersion as _, Request, StrBytes},
};
use tokio::sync::oneshot;

use self::driver::Shared;
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
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.close("every handle was dropped");
    }
}

impl Connection {
    /// Opens a connection and asks the broker for its versions, within `connect_timeout`.
    pub(crate) async fn open(address: &Arc<str>, config: &ClientConfig) -> Result<Self, Error> {
        let started = Instant::now();
        let opening = async {
            let stream = stream::connect(address)
                .await
                .map_err(|source| Error::Connect {
                    address: address.clone(),
                    elapsed: started.elapsed(),
                    source: Arc::new(source),
                })?;
            let shared = driver::start(address.clone(), stream, config.max_frame_bytes);
            let mut inner = Inner {
                shared,
                client_id: StrBytes::from_string(config.client_id.clone()),
                versions: BrokerVersions::default(),
            };
            inner.negotiate(config.connect_timeout).await?;
            Ok(Self {
                inner: Arc::new(inner),
            })
        };
        match tokio::time::timeout(config.connect_timeout, opening).await {
            Ok(opened) => opened,
            Err(_) => Err(Error::Connect {
                address: address.clone(),
                elapsed: started.elapsed(),
                source: Arc::new(std::io::ErrorKind::TimedOut.into()),
            }),
        }
    }

    /// Sends `request` at the newest common version and waits for the answer, at most `timeout`.
    ///
    /// # Errors
    /// A call that times out closes the connection, because a late answer would be in the way of the
    /// next one's time; every other waiting call is answered with [`Error::Closed`].
    ///
    /// # Cancellation
    /// A dropped call leaves the connection usable; its request may still reach the broker.
    pub(crate) async fn call<R: Request>(
        &self,
        request: R,
        timeout: Duration,
    ) -> Result<R::Response, Error> {
        let ours = versions::ours::<R>();
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

    /// Whether the connection has ended; a closed one never opens again.
    pub(crate) fn is_closed(&self) -> bool {
        self.inner.shared.is_closed()
    }

    /// Ends the connection; waiting calls are answered with [`Error::Closed`] and this reason.
    pub(crate) fn close(&self, reason: &str) {
        self.inner.shared.close(reason);
    }
}

impl Inner {
    /// KIP-511: the newest ApiVersions first; a broker that does not know it answers in version 0.
    async fn negotiate(&mut self, timeout: Duration) -> Result<(), Error> {
        let newest = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str(env!("CARGO_PKG_NAME")))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        let newest_version = versions::ours::<ApiVersionsRequest>().1.min(3);
        let mut response = self.call_at(&newest, newest_version, timeout).await?;
        if response.error_code == ResponseError::UnsupportedVersion.code() {
            response = self
                .call_at(&ApiVersionsRequest::default(), 0, timeout)
                .await?;
        }
        Error::check(ApiKey::ApiVersions, response.error_code, None, || {
            format!("broker {}", self.shared.address())
        })?;
        self.versions = BrokerVersions::new(&response);
        Ok(())
    }

    async fn call_at<R: Request>(
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

/// A call's frame, length prefix included.
fn encode<R: Request>(
    request: &R,
    api: ApiKey,
    version: i16,
    correlation: i32,
    client_id: &StrBytes,
) -> Result<Bytes, String> {
    let wrong = |error| format!("the request cannot be encoded in version {version}: {error}");
    let header = RequestHeader::default()
        .with_request_api_key(api as i16)
        .with_request_api_version(version)
        .with_correlation_id(correlation)
        .with_client_id(Some(client_id.clone()));
    let header_version = R::header_version(version);
    let size = header.compute_size(header_version).map_err(wrong)?
        + request.compute_size(version).map_err(wrong)?;
    let mut frame = BytesMut::with_capacity(size + 4);
    frame.put_i32(0);
    header.encode(&mut frame, header_version).map_err(wrong)?;
    request.encode(&mut frame, version).map_err(wrong)?;
    let size = frame.len() - 4;
    let prefix = i32::try_from(size)
        .map_err(|_| format!("the request has {size} bytes, more than a frame can carry"))?;
    frame[..4].copy_from_slice(&prefix.to_be_bytes());
    Ok(frame.freeze())
}

/// The answer in a frame without its length prefix. Byte fields are slices of the frame.
fn decode<R: Request>(mut frame: Bytes, version: i16) -> Result<R::Response, String> {
    let mut response_version = version;
    // A broker that does not know the version of an ApiVersions request answers it in version 0.
    if R::KEY == ApiKey::ApiVersions as i16
        && frame.len() >= 6
        && frame[4..6] == UNSUPPORTED_VERSION
    {
        response_version = 0;
    }
    ResponseHeader::decode(&mut frame, R::Response::header_version(response_version))
        .map_err(|error| format!("the answer's header cannot be decoded: {error}"))?;
    let response =
        <R::Response as Decodable>::decode(&mut frame, response_version).map_err(|error| {
            format!("the answer cannot be decoded in version {response_version}: {error}")
        })?;
    if frame.has_remaining() {
        return Err(format!(
            "the answer in version {response_version} has {} bytes too many",
            frame.len()
        ));
    }
    Ok(response)
}

const UNSUPPORTED_VERSION: [u8; 2] = ResponseError::UnsupportedVersion.code().to_be_bytes();

fn api_key<R: Request>() -> ApiKey {
    ApiKey::try_from(R::KEY).expect("every request type has a known key")
}

/// What a call waits for.
type Answer = oneshot::Receiver<Result<Bytes, Error>>;

#[cfg(test)]
mod tests;
