//! `<service> healthcheck`: asks the service's own `/livez`, for containers without a shell.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

/// GET /livez at the main address; status 0 if it answers 200, else 1 with a line saying why.
pub fn run(address: SocketAddr) -> ExitCode {
    match ask(address, Duration::from_secs(3)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("not healthy: {why}");
            ExitCode::FAILURE
        }
    }
}

fn ask(address: SocketAddr, timeout: Duration) -> Result<(), String> {
    let address = reachable(address);
    let failed = |error: std::io::Error| format!("{address}: {error}");
    let mut stream = TcpStream::connect_timeout(&address, timeout).map_err(failed)?;
    stream.set_read_timeout(Some(timeout)).map_err(failed)?;
    stream.set_write_timeout(Some(timeout)).map_err(failed)?;
    // In one piece: a server may answer and close at the first.
    let request = format!("GET /livez HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(failed)?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).map_err(failed)?;
    if &head[..9] == b"HTTP/1.1 " && &head[9..] == b"200" {
        Ok(())
    } else {
        Err(format!(
            "{address}: answered {}",
            String::from_utf8_lossy(&head)
        ))
    }
}

/// Where to reach a listener from its own machine: "any address" is no destination.
pub(crate) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answering(answer: &'static str) -> SocketAddr {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 512];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(answer.as_bytes());
        });
        address
    }

    #[test]
    fn only_200_is_healthy() {
        let timeout = Duration::from_secs(3);
        assert_eq!(ask(answering("HTTP/1.1 200 OK\r\n\r\n"), timeout), Ok(()));
        assert!(ask(answering("HTTP/1.1 503 Away\r\n\r\n"), timeout).is_err());
        assert!(ask(answering("HTTP/1.1"), timeout).is_err());
    }

    #[test]
    fn any_address_is_reached_at_loopback() {
        let reached = |text: &str| reachable(text.parse().unwrap()).to_string();
        assert_eq!(reached("0.0.0.0:8080"), "127.0.0.1:8080");
        assert_eq!(reached("[::]:8080"), "[::1]:8080");
        assert_eq!(reached("10.0.0.1:8080"), "10.0.0.1:8080");
    }
}
