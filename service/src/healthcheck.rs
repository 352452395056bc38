//! `<service> healthcheck`: asks the service's own `/livez` or `/readyz`, for containers without a shell.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use crate::config::{Command, Opt, Values};

/// Name of the subcommand.
pub const NAME: &str = "healthcheck";

/// Each of connecting, writing and waiting for a piece of the answer.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Of an answer; `/readyz` names a handful of things.
const MAX_ANSWER_BYTES: u64 = 64 << 10;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Whether the process answers: for who restarts it if not.
    Live,
    /// Whether it can do its first duty: for who waits for it.
    Ready,
}

/// The subcommand as a program lists it.
pub fn command() -> Command {
    Command {
        name: NAME,
        arguments: "",
        about: "Ask the running service's own /livez; status 0 if it answers, 1 with a line saying why if not.",
        options: vec![Opt::switch(
            "READY",
            "Ask /readyz instead: whether it can do its work, or what it waits for.",
        )],
    }
}

impl Probe {
    /// What the command line asks for; `values` are those of [`command`].
    pub fn take(values: &mut Values) -> Self {
        if values.get("READY") {
            Self::Ready
        } else {
            Self::Live
        }
    }

    /// Asks at the main address; status 0 if it answers 200, with a line for what is degraded, else 1
    /// with a line saying why.
    pub fn run(self, address: SocketAddr) -> ExitCode {
        match self.ask(address, TIMEOUT) {
            Ok(degraded) => {
                if let Some(degraded) = degraded {
                    println!("ready, but degraded: {degraded}");
                }
                ExitCode::SUCCESS
            }
            Err(why) => {
                let what = match self {
                    Self::Live => "healthy",
                    Self::Ready => "ready",
                };
                eprintln!("not {what}: {why}");
                ExitCode::FAILURE
            }
        }
    }

    /// What is degraded, if anything; or why it is not healthy.
    fn ask(self, address: SocketAddr, timeout: Duration) -> Result<Option<String>, String> {
        let address = reachable(address);
        let failed = |error: std::io::Error| format!("{address}: {error}");
        let mut stream = TcpStream::connect_timeout(&address, timeout).map_err(failed)?;
        stream.set_read_timeout(Some(timeout)).map_err(failed)?;
        stream.set_write_timeout(Some(timeout)).map_err(failed)?;
        let path = match self {
            Self::Live => "/livez",
            Self::Ready => "/readyz",
        };
        // In one piece: a server may answer and close at the first.
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).map_err(failed)?;
        let mut head = [0; 12];
        stream.read_exact(&mut head).map_err(failed)?;
        let mut rest = Vec::new();
        // What came before it broke off may still say why.
        let _ = stream.take(MAX_ANSWER_BYTES).read_to_end(&mut rest);
        if &head[..9] == b"HTTP/1.1 " && &head[9..] == b"200" {
            return Ok(degraded(&rest));
        }
        Err(detail(&rest).unwrap_or_else(|| {
            let head = String::from_utf8_lossy(&head);
            format!("{address}{path}: answered {head}")
        }))
    }
}

/// `detail` of the problem that is an answer's body.
fn detail(answer: &[u8]) -> Option<String> {
    Some(body(answer)?.get("detail")?.as_str()?.to_owned())
}

/// What `/readyz` lists as degraded; nothing for an answer that lists none.
fn degraded(answer: &[u8]) -> Option<String> {
    let report = body(answer)?;
    let parts = report.get("degraded")?.as_array()?;
    let text = |part: &serde_json::Value, field| Some(part.get(field)?.as_str()?.to_owned());
    let named: Vec<String> = parts
        .iter()
        .filter_map(|part| {
            Some(format!(
                "{}: {}",
                text(part, "name")?,
                text(part, "problem")?
            ))
        })
        .collect();
    (!named.is_empty()).then(|| named.join("; "))
}

fn body(answer: &[u8]) -> Option<serde_json::Value> {
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    serde_json::from_slice(&answer[end + 4..]).ok()
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
        for probe in [Probe::Live, Probe::Ready] {
            let ask = |answer| probe.ask(answering(answer), timeout);
            assert_eq!(ask("HTTP/1.1 200 OK\r\n\r\n"), Ok(None));
            let refused = ask("HTTP/1.1 503 Away\r\n\r\n").unwrap_err();
            assert!(refused.ends_with("answered HTTP/1.1 503"), "{refused}");
            assert!(ask("HTTP/1.1").is_err());
        }
    }

    #[test]
    fn the_problem_that_is_answered_says_why() {
        let answer = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\n\r\n\
                      {\"status\":503,\"detail\":\"kafka: not reached yet\"}";
        let said = Probe::Ready.ask(answering(answer), TIMEOUT);
        assert_eq!(said, Err("kafka: not reached yet".to_owned()));
    }

    #[test]
    fn what_is_degraded_is_said_of_a_service_that_is_ready() {
        let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n\
                      {\"ready\":true,\"missing\":[],\"degraded\":[{\"name\":\"carts\",\"problem\":\"all partitions are held\"}]}";
        let said = Probe::Ready.ask(answering(answer), TIMEOUT);
        assert_eq!(said, Ok(Some("carts: all partitions are held".to_owned())));
    }

    #[test]
    fn any_address_is_reached_at_loopback() {
        let reached = |text: &str| reachable(text.parse().unwrap()).to_string();
        assert_eq!(reached("0.0.0.0:8080"), "127.0.0.1:8080");
        assert_eq!(reached("[::]:8080"), "[::1]:8080");
        assert_eq!(reached("10.0.0.1:8080"), "10.0.0.1:8080");
    }
}
