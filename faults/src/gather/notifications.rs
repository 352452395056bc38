//! What notifier-svc lists.

use std::net::SocketAddr;

use chrono::DateTime;
use proto::FinalStatus;
use serde_json::Value;
use testkit::http;

use crate::history::Stored;

/// The most that notifier-svc lists at a time.
const LIMIT: usize = 1_000;

/// What is stored of some users' orders.
///
/// # Panics
/// When the service does not answer, or has more of a user than it lists.
pub async fn stored(address: SocketAddr, users: impl IntoIterator<Item = String>) -> Vec<Stored> {
    let mut stored = Vec::new();
    for user in users {
        let path = format!("/api/notifications?userId={user}&limit={LIMIT}");
        let answer = http::get(address, &path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        let listed: Vec<Value> = serde_json::from_str(&answer.body).expect("a list");
        assert!(listed.len() < LIMIT, "{path}: there may be more");
        stored.extend(listed.iter().map(read));
    }
    stored
}

fn read(listed: &Value) -> Stored {
    let text = |name: &str| {
        listed[name]
            .as_str()
            .unwrap_or_else(|| panic!("no {name} in {listed}"))
    };
    Stored {
        order: text("order_id").into(),
        end: FinalStatus::parse(text("status")).expect("an end"),
        received: DateTime::parse_from_rfc3339(text("received_at"))
            .expect("a time")
            .timestamp_millis(),
    }
}
