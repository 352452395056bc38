//! Opens the socket. The only place that knows what lies beneath the frames: encryption and
//! authentication belong here.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

/// The two halves of an open byte stream to a broker.
pub(super) struct Stream {
    pub(super) reader: Box<dyn AsyncRead + Send + Unpin>,
    pub(super) writer: Box<dyn AsyncWrite + Send + Unpin>,
}

/// Notices a peer that vanished while nothing is in flight; calls in flight have their own timeout.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// Connects to `host:port`, trying each address that the name resolves to.
pub(super) async fn connect(address: &str) -> io::Result<Stream> {
    let socket = TcpStream::connect(address).await?;
    // Requests are written whole; waiting for more to send would only delay them.
    socket.set_nodelay(true)?;
    socket2::SockRef::from(&socket)
        .set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(KEEP_ALIVE))?;
    let (reader, writer) = socket.into_split();
    Ok(Stream {
        reader: Box::new(reader),
        writer: Box::new(writer),
    })
}
