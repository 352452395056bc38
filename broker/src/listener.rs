//! The listening socket, and the connections that came through it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connection::Connection;
use crate::state::State;

/// Connections the operating system may hold until they are accepted.
const BACKLOG: u32 = 1024;

pub(crate) struct Listener {
    addr: SocketAddr,
    /// Bound and not listening: keeps the port ours while nobody listens.
    reservation: Mutex<Option<TcpSocket>>,
    max_connections: usize,
    connections: Arc<AtomicUsize>,
    open: Mutex<Option<Open>>,
}

/// What runs while the broker listens.
struct Open {
    /// Ends accepting, and connections as soon as they have nothing to answer.
    accepting: CancellationToken,
    /// Ends every connection; replaced when connections are dropped and accepting goes on.
    serving: Arc<Mutex<CancellationToken>>,
    tasks: TaskTracker,
}

impl Listener {
    /// Takes the address without listening yet.
    pub(crate) fn bind(address: SocketAddr, max_connections: usize) -> io::Result<Self> {
        let reservation = bind_socket(address)?;
        Ok(Self {
            addr: reservation.local_addr()?,
            reservation: Mutex::new(Some(reservation)),
            max_connections,
            connections: Arc::new(AtomicUsize::new(0)),
            open: Mutex::new(None),
        })
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Starts to listen; nothing happens if it does already.
    pub(crate) fn open(&self, state: &Arc<State>) -> io::Result<()> {
        let mut open = self.open.lock();
        if open.is_some() {
            return Ok(());
        }
        let reserved = self.reservation.lock().take();
        let socket = match reserved {
            Some(socket) => socket,
            None => bind_socket(self.addr)?,
        };
        let socket = socket.listen(BACKLOG)?;
        let accepting = CancellationToken::new();
        let serving = Arc::new(Mutex::new(CancellationToken::new()));
        let tasks = TaskTracker::new();
        let accept = Accept {
            socket,
            state: state.clone(),
            serving: serving.clone(),
            draining: accepting.clone(),
            tasks: tasks.clone(),
            max_connections: self.max_connections,
            connections: self.connections.clone(),
        };
        let stop = accepting.clone();
        tasks.spawn(async move {
            tokio::select! {
                () = accept.run() => {}
                () = stop.cancelled() => {}
            }
        });
        *open = Some(Open {
            accepting,
            serving,
            tasks,
        });
        Ok(())
    }

    /// Stops listening and drops every connection; returns when they are gone.
    pub(crate) async fn close(&self) {
        self.drain(Duration::ZERO).await;
    }

    /// Stops listening, gives connections this long to end by themselves, then drops them.
    pub(crate) async fn drain(&self, patience: Duration) {
        let Some(open) = self.open.lock().take() else {
            return;
        };
        open.accepting.cancel();
        open.tasks.close();
        if !patience.is_zero() {
            let _ = tokio::time::timeout(patience, open.tasks.wait()).await;
        }
        open.serving.lock().cancel();
        open.tasks.wait().await;
        // Without a reservation the port can be lost; listening again will say so.
        *self.reservation.lock() = bind_socket(self.addr).ok();
    }

    pub(crate) fn disconnect_all(&self) {
        if let Some(open) = &*self.open.lock() {
            let mut serving = open.serving.lock();
            serving.cancel();
            *serving = CancellationToken::new();
        }
    }

    /// Ends everything without waiting for it.
    pub(crate) fn abandon(&self) {
        if let Some(open) = self.open.lock().take() {
            open.accepting.cancel();
            open.serving.lock().cancel();
        }
    }
}

struct Accept {
    socket: TcpListener,
    state: Arc<State>,
    serving: Arc<Mutex<CancellationToken>>,
    draining: CancellationToken,
    tasks: TaskTracker,
    max_connections: usize,
    connections: Arc<AtomicUsize>,
}

impl Accept {
    async fn run(self) {
        loop {
            match self.socket.accept().await {
                Ok((stream, peer)) => self.admit(stream, peer),
                Err(error) => {
                    // Out of file handles, mostly: accepting again at once would only spin.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    fn admit(&self, stream: TcpStream, peer: SocketAddr) {
        let seat = Seat::take(&self.connections);
        if seat.taken > self.max_connections {
            tracing::warn!(%peer, limit = self.max_connections, "connection refused: too many connections");
            return;
        }
        let connection = Connection::new(stream, self.state.clone(), self.draining.clone());
        let connection = match connection {
            Ok(connection) => connection,
            Err(error) => {
                tracing::debug!(%peer, %error, "connection lost before its first request");
                return;
            }
        };
        let stop = self.serving.lock().clone();
        self.tasks.spawn(async move {
            let _seat = seat;
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                ended = connection.run() => match ended {
                    Ok(()) => {}
                    Err(crate::connection::ConnectionError::Io(error)) => {
                        tracing::debug!(%peer, %error, "connection lost");
                    }
                    Err(error) => tracing::warn!(%peer, %error, "connection closed"),
                }
            }
        });
    }
}

/// A place among the connections, given back when dropped.
struct Seat {
    connections: Arc<AtomicUsize>,
    /// Places taken, this one included.
    taken: usize,
}

impl Seat {
    fn take(connections: &Arc<AtomicUsize>) -> Self {
        Self {
            taken: connections.fetch_add(1, Ordering::Relaxed) + 1,
            connections: connections.clone(),
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

fn bind_socket(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    // Two sockets of ours share the address: the reservation and the one that listens.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}
