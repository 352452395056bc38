use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::body::Body;
use super::connection::WatchedStream;
use super::listeners::Listeners;
use super::metrics::HttpMetrics;
use super::request::{BodyLimits, Request};
use super::response::Response;
use super::router::{Found, RouteTable, Router};
use super::watchdog::{Registration, TICK, Watchdog};
use crate::config::HttpConfig;

/// Most headers of a request (hyper's own default; said here since it bounds memory).
const MAX_HEADERS: usize = 100;

/// Longest head of a request, and what a connection buffers for reading: 16 KiB, as nginx and
/// Tomcat allow about that much.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Serves a router on listeners, bounded in every direction a client can push.
pub struct Server {
    shared: Arc<Shared>,
}

struct Shared {
    table: RouteTable,
    limits: BodyLimits,
    max_connections: usize,
    watchdog: Arc<Watchdog>,
}

impl Server {
    pub fn new(router: Router, config: &HttpConfig, metrics: &HttpMetrics) -> Self {
        Self {
            shared: Arc::new(Shared {
                table: router.build(metrics),
                limits: BodyLimits {
                    max_bytes: config.max_body_bytes,
                    timeout: config.read_timeout,
                },
                max_connections: config.max_connections,
                watchdog: Watchdog::new(config.read_timeout, config.idle_timeout),
            }),
        }
    }

    /// Serves until `stop`, then takes no connection any more, answers what is in flight, and
    /// returns when the last connection has ended. Dropped earlier, the accepting ends with it,
    /// while connections go on until the runtime ends.
    pub async fn serve(self, listeners: Listeners, stop: CancellationToken) {
        let accepting = listeners
            .into_inner()
            .into_iter()
            .map(|listener| accept(listener, self.shared.clone()));
        let watchdog = self.shared.watchdog.clone();
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let ticking = async {
            loop {
                ticks.tick().await;
                watchdog.tick();
            }
        };
        tokio::pin!(ticking);
        tokio::select! {
            () = stop.cancelled() => {}
            _ = futures::future::join_all(accepting) => {}
            () = &mut ticking => {}
        }
        watchdog.close_all();
        tokio::select! {
            () = watchdog.all_gone() => {}
            // Clients that stall while we leave are still timed.
            () = &mut ticking => {}
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                if shared.watchdog.len() >= shared.max_connections && !shared.watchdog.evict_idle()
                {
                    tokio::spawn(refuse(stream));
                    continue;
                }
                let registration = shared.watchdog.register();
                tokio::spawn(connection(stream, peer, shared.clone(), registration));
            }
            Err(error) => {
                // Out of file descriptors, mostly: accepting again at once would only spin.
                tracing::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn refuse(mut stream: TcpStream) {
    const ANSWER: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\n\
        content-length: 0\r\nconnection: close\r\n\r\n";
    let answer = async {
        stream.write_all(ANSWER).await?;
        stream.shutdown().await
    };
    // A client that does not take so little is let go.
    let _ = tokio::time::timeout(Duration::from_secs(1), answer).await;
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    shared: Arc<Shared>,
    registration: Registration,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!("connection of {peer} ended before it began: {error}");
        return;
    }
    let watched = registration.watched.clone();
    let io = TokioIo::new(WatchedStream {
        stream,
        watched: watched.clone(),
    });
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let (shared, registration) = (&shared, &registration);
        async move { Ok::<_, Infallible>(answer(request, peer, shared, registration).await) }
    });
    let connection = http1::Builder::new()
        // The watchdog keeps time, for less than a timer a request.
        .header_read_timeout(None)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD_BYTES)
        // Head and body are small: one buffer, one write.
        .writev(false)
        .serve_connection(io, service);
    tokio::pin!(connection);
    loop {
        tokio::select! {
            biased;
            result = connection.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!("connection of {peer}: {error}");
                }
                return;
            }
            () = watched.wake.notified() => {
                if watched.must_abort() {
                    tracing::debug!("connection of {peer}: too slow, dropped");
                    return;
                }
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

async fn answer(
    request: hyper::Request<Incoming>,
    peer: SocketAddr,
    shared: &Shared,
    registration: &Registration,
) -> Response {
    let watched = &registration.watched;
    watched.busy();
    let begun = Instant::now();
    let (parts, body) = request.into_parts();
    let (result, metrics) = match shared.table.find(&parts.method, parts.uri.path()) {
        Found::Refused(problem, metrics) => (Err(problem), metrics),
        Found::Handler(handler, parameters, metrics) => {
            let request = Request {
                parts,
                body,
                parameters,
                peer,
                limits: shared.limits,
            };
            (handler(request).await, metrics)
        }
    };
    let mut response = result.unwrap_or_else(|problem| problem.into_response());
    metrics.observe(response.status(), begun.elapsed());
    match response.body_mut() {
        Body::Full(_) => watched.idle(),
        // Stays busy until the stream ends.
        Body::Events(stream) => stream.watched = Some(watched.clone()),
    }
    response
}
