use std::convert::Infallible;
use std::io::Write;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;

use super::body::Body;
use super::connection::{MAX_REQUEST_LINE, WatchedStream};
use super::listeners::Listeners;
use super::metrics::HttpMetrics;
use super::problem::Problem;
use super::request::{BodyLimits, Request};
use super::response::Response;
use super::router::{Found, RouteTable, Router};
use super::watchdog::{Bounds, Ending, Registration, TICK, Watchdog};
use crate::config::HttpConfig;
use crate::descriptors;

/// Most headers of a request (hyper's own default; said here since it bounds memory).
const MAX_HEADERS: usize = 100;

/// Longest head of a request, and what a connection buffers for reading: 16 KiB, as nginx and
/// Tomcat allow about that much.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Refusals for want of connections that are seen through at a time; beyond, connections are
/// closed as soon as the refusal is on its way.
const REFUSALS: usize = 256;

/// How long, and for how many bytes, a client that is still sending is listened to after the last
/// answer: closing at once would reset the connection, and the answer with it.
const LINGER: (Duration, usize) = (Duration::from_secs(2), 1 << 20);

/// How long a connection that idles when the server stops may still send a request: its client, which
/// cannot know, may just be doing so. Clients under load do within a few milliseconds.
const LAST_CALL: Duration = Duration::from_millis(500);

/// Connections that are taken in at the stop, which nobody had accepted yet: as many as a listener's
/// backlog holds (tokio's default).
const BACKLOG: usize = 1024;

/// Between two log lines about connections that cannot be accepted.
const COMPLAINT: Duration = Duration::from_secs(10);

/// Serves a router on listeners, bounded in every direction a client can push.
pub struct Server {
    shared: Arc<Shared>,
}

struct Shared {
    table: RouteTable,
    limits: BodyLimits,
    watchdog: Arc<Watchdog>,
    refusals: Arc<Semaphore>,
}

impl Server {
    pub fn new(router: Router, config: &HttpConfig, metrics: &HttpMetrics) -> Self {
        Self {
            shared: Arc::new(Shared {
                table: router.build(metrics),
                limits: BodyLimits {
                    max_bytes: config.max_body_bytes,
                    timeout: config.read_timeout,
                    arriving: Arc::default(),
                },
                watchdog: Watchdog::new(Bounds {
                    connections: connections(config),
                    read_timeout: config.read_timeout,
                    idle_timeout: config.idle_timeout,
                }),
                refusals: Arc::new(Semaphore::new(REFUSALS)),
            }),
        }
    }

    /// What a client reads that sends these bytes over one connection, and nothing more: until the
    /// server hangs up, or the client has had enough after ten seconds. A client that hung up at once would
    /// get no answer: nobody works for one that has gone. For tests and fuzzing, without a socket.
    pub async fn answers_to(&self, sent: &[u8]) -> Vec<u8> {
        let Some(registration) = self.shared.watchdog.admit() else {
            return Vec::new();
        };
        let (mut client, stream) = tokio::io::duplex(1 << 20);
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        let mut answers = Vec::new();
        let talk = async {
            // The server may have enough before the end; its answers count all the same.
            let _ = client.write_all(sent).await;
            let _ = client.read_to_end(&mut answers).await;
        };
        let served = connection(stream, peer, self.shared.clone(), registration);
        let both = async { tokio::join!(served, talk) };
        let _ = tokio::time::timeout(Duration::from_secs(10), both).await;
        answers
    }

    /// Serves until `stop`, then takes no connection any more, answers what is in flight or on its way
    /// on a connection that is open (an answer says that it is the last), and returns when the last
    /// connection has ended: half a second later at the most where all idle. Dropped earlier, the accepting ends with it,
    /// while connections go on until the runtime ends.
    pub async fn serve(self, listeners: Listeners, stop: CancellationToken) {
        let listeners = listeners.into_inner();
        let accepting = listeners
            .iter()
            .map(|listener| accept(listener, &self.shared));
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
        for listener in listeners {
            accept_waiting(&listener, &self.shared);
        }
        watchdog.close_all();
        tokio::select! {
            () = watchdog.all_gone() => {}
            // Clients that stall while we leave are still timed.
            () = &mut ticking => {}
        }
    }
}

/// `HTTP_MAX_CONNECTIONS`, or fewer where the process may not open so many: three of four, the
/// others are for Kafka and the database.
fn connections(config: &HttpConfig) -> usize {
    let Some(limit) = descriptors::limit() else {
        return config.max_connections;
    };
    let most = (limit / 4 * 3).max(1);
    if config.max_connections > most {
        tracing::warn!(
            "HTTP_MAX_CONNECTIONS is {}, but this process may open {limit} files (ulimit -n): \
             {most} connections at most",
            config.max_connections
        );
    }
    config.max_connections.min(most)
}

async fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut complained: Option<Instant> = None;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => admit(stream, peer, shared),
            Err(error) => {
                // Out of file descriptors, mostly: accepting again at once would only spin.
                shared.watchdog.shrink();
                if complained.is_none_or(|at| at.elapsed() >= COMPLAINT) {
                    complained = Some(Instant::now());
                    tracing::warn!("cannot accept a connection: {error}");
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Takes in who is connected and waits: closing the listener would reset them.
fn accept_waiting(listener: &TcpListener, shared: &Arc<Shared>) {
    for _ in 0..BACKLOG {
        match listener.accept().now_or_never() {
            Some(Ok((stream, peer))) => admit(stream, peer, shared),
            _ => return,
        }
    }
}

fn admit(stream: TcpStream, peer: SocketAddr, shared: &Arc<Shared>) {
    match shared.watchdog.admit() {
        Some(registration) => {
            tokio::spawn(connection(stream, peer, shared.clone(), registration));
        }
        None => refuse(stream, shared),
    }
}

fn refuse(mut stream: TcpStream, shared: &Shared) {
    let Ok(permit) = shared.refusals.clone().try_acquire_owned() else {
        // Without waiting for anything: it fits into the socket's buffer, and most clients will see
        // it before they see the connection reset.
        if let Ok(mut stream) = stream.into_std() {
            let _ = stream.write(&no_room("connections").into_last_words());
        }
        return;
    };
    tokio::spawn(async move {
        say_last(&mut stream, no_room("connections")).await;
        drop(permit);
    });
}

fn no_room(of: &str) -> Problem {
    Problem::unavailable(
        format!("the service has no {of} left; try again"),
        Duration::from_secs(1),
    )
}

/// Answers where hyper cannot any more, and closes. A client that does not take so little in time
/// is let go.
async fn say_last<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, problem: Problem) {
    let words = problem.into_last_words();
    let said = tokio::time::timeout(LINGER.0, stream.write_all(&words)).await;
    if let Ok(Ok(())) = said {
        linger(stream).await;
    }
}

/// Says that nothing more comes, and lets the client finish likewise, for a while.
async fn linger<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) {
    let rest = async {
        stream.shutdown().await?;
        let mut thrown_away = [0; 4_096];
        let mut left = LINGER.1;
        loop {
            match stream.read(&mut thrown_away).await? {
                0 => return Ok::<_, std::io::Error>(()),
                read if read > left => return Ok(()),
                read => left -= read,
            }
        }
    };
    // Whatever ends it, the connection is over.
    let _ = tokio::time::timeout(LINGER.0, rest).await;
}

async fn connection<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    peer: SocketAddr,
    shared: Arc<Shared>,
    registration: Registration,
) {
    let watched = registration.watched.clone();
    let io = TokioIo::new(WatchedStream::new(stream, watched.clone()));
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let (shared, registration) = (&shared, &registration);
        async move { Ok::<_, Infallible>(answer(request, peer, shared, registration).await) }
    });
    let mut connection = http1::Builder::new()
        // The watchdog keeps time, for less than a timer a request.
        .header_read_timeout(None)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD_BYTES)
        // Head and body are small: one buffer, one write.
        .writev(false)
        .serve_connection(io, service);
    let mut last_call = None;
    let last = loop {
        tokio::select! {
            biased;
            result = &mut connection => {
                if let Err(error) = result {
                    tracing::debug!("connection of {peer}: {error}");
                }
                break None;
            }
            () = watched.wake.notified() => match watched.ending() {
                Some(Ending::Drop) => {
                    tracing::debug!("connection of {peer}: too slow, dropped");
                    return;
                }
                Some(Ending::Late) if watched.in_head() => break Some(Problem::new(
                    StatusCode::REQUEST_TIMEOUT,
                    "the request did not arrive in time",
                )),
                Some(Ending::UriTooLong) => break Some(uri_too_long()),
                Some(Ending::LastCall) => {
                    last_call = Some(Box::pin(tokio::time::sleep(LAST_CALL)));
                }
                // Its request has come after all, or it idles.
                _ => Pin::new(&mut connection).graceful_shutdown(),
            },
            () = over(&mut last_call) => {
                last_call = None;
                Pin::new(&mut connection).graceful_shutdown();
            }
        }
    };
    let mut io = connection.into_parts().io.into_inner();
    let closing = async {
        match last {
            // In the middle of an earlier answer there is no place for another.
            Some(_) if watched.is_blocked() => {}
            Some(problem) => say_last(&mut io.stream, problem).await,
            // It has nothing more to say, or never had.
            None if io.ended || watched.ending().is_some() => {}
            None => linger(&mut io.stream).await,
        }
    };
    tokio::select! {
        () = closing => {}
        // The server stops, or needs the room.
        () = watched.wake.notified() => {}
    }
}

async fn over(last_call: &mut Option<Pin<Box<Sleep>>>) {
    match last_call {
        Some(last_call) => last_call.await,
        None => std::future::pending().await,
    }
}

fn uri_too_long() -> Problem {
    Problem::new(
        StatusCode::URI_TOO_LONG,
        format!("the request line is longer than {MAX_REQUEST_LINE} bytes"),
    )
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
    let target = parts.uri.path_and_query().map_or("", |t| t.as_str());
    let (result, metrics) = match shared.table.find(&parts.method, parts.uri.path()) {
        Found::Refused(problem, metrics) => (Err(problem), metrics),
        // One that came behind another request, where the socket does not look.
        Found::Handler(_, _, metrics) if target.len() > MAX_REQUEST_LINE => {
            (Err(uri_too_long()), metrics)
        }
        Found::Handler(handler, parameters, metrics) => {
            let request = Request {
                parts,
                body,
                parameters,
                peer,
                limits: shared.limits.clone(),
                watched: watched.clone(),
            };
            (handler(request).await, metrics)
        }
    };
    let mut response = result.unwrap_or_else(|problem| problem.into_response());
    if let Body::Events(stream) = response.body_mut() {
        // Busy until the stream ends.
        stream.place = registration.stream();
        if stream.place.is_none() {
            response = no_room("event streams").into_response();
        }
    }
    if watched.ending().is_some() {
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if let Body::Full(_) = response.body() {
        watched.idle();
    }
    metrics.observe(response.status(), begun.elapsed());
    response
}
