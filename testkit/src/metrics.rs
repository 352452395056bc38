//! What a service says of itself at `/metrics`.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use crate::{eventually, http};

/// A metric's value, by its name with its labels as they are printed; none while it is not there.
///
/// # Panics
/// When the service does not answer, or the value is no number.
pub async fn value(address: SocketAddr, name: &str) -> Option<f64> {
    let text = http::get(address, "/metrics").await.body;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    Some(line.parse().expect("a number"))
}

/// Waits until a metric, which may not be there yet, has a value.
///
/// Most counters move after what they count can be seen: a test that saw the one waits for the
/// other.
///
/// # Panics
/// When it does not happen within `deadline`.
#[track_caller]
pub fn becomes(
    address: SocketAddr,
    name: &str,
    expected: f64,
    deadline: Duration,
) -> impl Future<Output = ()> {
    eventually(deadline, move || async move {
        (value(address, name).await == Some(expected)).then_some(())
    })
}
