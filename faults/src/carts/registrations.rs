//! Registrations over HTTP, as impatient customers make them: each is asked for again, under the same
//! `Idempotency-Key`, until it is answered with 201, and so is each item they put into their cart.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::load::connect;

/// A caller gives an answer this long: longer than the service's own limit.
const ANSWER_PATIENCE: Duration = Duration::from_secs(20);

/// Before something is asked for again.
const PAUSE: Duration = Duration::from_millis(100);

/// Customers at a time.
const CUSTOMERS: usize = 8;

/// What every customer puts into the cart, in this order.
pub const ITEMS: [&str; 2] = ["Laptop", "Mouse"];

/// One customer's answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    pub user: i64,
    /// The ids of [`ITEMS`].
    pub items: Vec<i64>,
    /// Requests for all of it.
    pub requests: u64,
}

/// Registrations on their way. Dropping it ends them.
pub struct Registrations {
    count: u64,
    done: watch::Receiver<u64>,
    customers: JoinSet<Vec<Registered>>,
}

struct Shared {
    producer: SocketAddr,
    consumer: SocketAddr,
    count: u64,
    next: AtomicU64,
    done: watch::Sender<u64>,
}

impl Registrations {
    /// So many customers, who register and fill their carts.
    pub fn start(producer: SocketAddr, consumer: SocketAddr, count: u64) -> Self {
        let (sender, done) = watch::channel(0);
        let shared = Arc::new(Shared {
            producer,
            consumer,
            count,
            next: AtomicU64::new(0),
            done: sender,
        });
        let customers = (0..CUSTOMERS).map(|_| customers(shared.clone())).collect();
        Self {
            count,
            done,
            customers,
        }
    }

    /// Waits until so many have all that they wanted.
    pub async fn reached(&mut self, count: u64) {
        // An error would mean that all are through.
        let _ = self.done.wait_for(|done| *done >= count).await;
    }

    /// Waits for all.
    ///
    /// # Panics
    /// When a customer is refused, or they take longer than two minutes and a second each.
    pub async fn finish(self) -> Vec<Registered> {
        let patience = Duration::from_secs(120 + self.count);
        let customers = timeout(patience, self.customers.join_all()).await;
        let customers = customers.unwrap_or_else(|_| {
            panic!(
                "{} of {} customers have their carts after {patience:?}",
                *self.done.borrow(),
                self.count
            )
        });
        customers.into_iter().flatten().collect()
    }
}

async fn customers(shared: Arc<Shared>) -> Vec<Registered> {
    let mut all = Vec::new();
    loop {
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        if number >= shared.count {
            return all;
        }
        let mut requests = 0;
        let body = json!({ "email": format!("n{number}@example.com"), "password": "secret7" });
        let path = "/api/auth/registration";
        let key = format!("registration-{number}");
        let answer = until_created(shared.producer, path, &key, &body, &mut requests).await;
        let user = answer["userId"].as_i64().expect("a user's id");
        let mut items = Vec::new();
        for (number, product) in ITEMS.iter().enumerate() {
            let body = json!({ "product": product, "quantity": 1, "price": 100 });
            let path = format!("/api/cart/user/{user}/items");
            let key = format!("item-{number}");
            let answer = until_created(shared.consumer, &path, &key, &body, &mut requests).await;
            items.push(answer["id"].as_i64().expect("an item's id"));
        }
        all.push(Registered {
            user,
            items,
            requests,
        });
        shared.done.send_modify(|done| *done += 1);
    }
}

/// Asks again and again; a cart that is not there yet, a service that is away and one that has too much
/// to do pass.
///
/// # Panics
/// On any other answer.
async fn until_created(
    address: SocketAddr,
    path: &str,
    key: &str,
    body: &Value,
    requests: &mut u64,
) -> Value {
    let mut connection = None;
    loop {
        *requests += 1;
        let asking = ask(&mut connection, address, path, key, body.to_string());
        match timeout(ANSWER_PATIENCE, asking).await {
            Ok(Some((201, answer))) => return answer,
            Ok(Some((503 | 404, _))) | Ok(None) | Err(_) => {}
            Ok(Some((status, answer))) => panic!("{path}, {key}: {status} {answer}"),
        }
        connection = None;
        sleep(PAUSE).await;
    }
}

async fn ask(
    connection: &mut Option<SendRequest<Full<Bytes>>>,
    address: SocketAddr,
    path: &str,
    key: &str,
    body: String,
) -> Option<(u16, Value)> {
    if connection.is_none() {
        *connection = connect(address).await;
    }
    let sender = connection.as_mut()?;
    let request = hyper::Request::post(path)
        .header("host", "shop")
        .header("content-type", "application/json")
        .header("idempotency-key", key)
        .body(Full::new(Bytes::from(body)))
        .expect("a well-formed request");
    let response = sender.send_request(request).await.ok()?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.ok()?.to_bytes();
    Some((status, serde_json::from_slice(&body).unwrap_or_default()))
}
