//! Orders over HTTP, as impatient customers place them: each order is asked for again until it is
//! accepted, and every request is noted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::history::{Answer, Place, Refusal, Request, now};

/// A caller gives an answer this long: longer than the service's own limit.
const ANSWER_PATIENCE: Duration = Duration::from_secs(20);

/// Before an order is asked for again. `Retry-After` is in whole seconds, which a test has no time
/// for.
const PAUSE: Duration = Duration::from_millis(100);

/// Orders whose notifications are listed together.
pub const ORDERS_A_USER: u64 = 200;

/// How many orders, and how.
#[derive(Debug, Clone)]
pub struct LoadPlan {
    /// Orders in all; [`Load::enough`] ends it earlier.
    pub orders: u64,
    /// Customers at a time, a connection each.
    pub connections: usize,
    /// The first part of every order's id.
    pub prefix: String,
    /// Of what is ordered.
    pub seed: u64,
    /// Orders a second, at most.
    pub rate: Option<u64>,
}

impl LoadPlan {
    /// The id of order number `number`, from 0.
    pub fn order(&self, number: u64) -> String {
        format!("{}-{number}", self.prefix)
    }
}

/// Orders on their way. Dropping it ends it.
pub struct Load {
    shared: Arc<Shared>,
    accepted: watch::Receiver<u64>,
    customers: JoinSet<Vec<Request>>,
}

struct Shared {
    plan: LoadPlan,
    addresses: Vec<SocketAddr>,
    next: AtomicU64,
    enough: AtomicBool,
    accepted: watch::Sender<u64>,
    refused: watch::Sender<u64>,
    begin: tokio::time::Instant,
}

impl Load {
    /// Starts placing orders at `addresses`, each customer at one after another.
    pub fn start(addresses: Vec<SocketAddr>, plan: LoadPlan) -> Self {
        let (sender, accepted) = watch::channel(0);
        let connections = plan.connections;
        let shared = Arc::new(Shared {
            plan,
            addresses,
            next: AtomicU64::new(0),
            enough: AtomicBool::new(false),
            accepted: sender,
            refused: watch::Sender::new(0),
            begin: tokio::time::Instant::now(),
        });
        let mut customers = JoinSet::new();
        for number in 0..connections {
            customers.spawn(customer(shared.clone(), number));
        }
        Self {
            shared,
            accepted,
            customers,
        }
    }

    /// Waits until so many orders are accepted.
    ///
    /// # Panics
    /// When it ends before.
    pub async fn reached(&mut self, orders: u64) {
        let reached = self.accepted.wait_for(|accepted| *accepted >= orders).await;
        reached.expect("enough orders in the plan");
    }

    /// Waits until a further request is refused.
    pub async fn refused_again(&self) {
        let mut refused = self.shared.refused.subscribe();
        let before = *refused.borrow_and_update();
        // The sender lives as long as this does.
        let _ = refused.wait_for(|refused| *refused > before).await;
    }

    /// How many orders are accepted by now.
    pub fn accepted(&self) -> u64 {
        *self.accepted.borrow()
    }

    /// No order is begun any more; those begun are seen through.
    pub fn enough(&self) {
        self.shared.enough.store(true, Ordering::Relaxed);
    }

    /// Waits until every order is accepted. Answers every request there was, by time.
    pub async fn finish(self) -> Vec<Request> {
        let mut requests = self.customers.join_all().await.concat();
        requests.sort_by_key(|request| request.sent);
        requests
    }
}

/// What order number `number` of a plan asks for: mostly one of a thing, now and then more than is
/// allowed, half of them with snake_case's names.
struct Order {
    id: Arc<str>,
    path: &'static str,
    body: Bytes,
}

impl Order {
    fn new(plan: &LoadPlan, number: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(plan.seed ^ number.wrapping_mul(0x9e37_79b9));
        let id: Arc<str> = plan.order(number).into();
        let quantity = if random.u8(..10) == 0 {
            1_000
        } else {
            random.u8(1..=100).into()
        };
        let user = user(&plan.prefix, number);
        let (path, body) = if random.bool() {
            (
                "/api/orders",
                json!({"orderId": &*id, "product": "Laptop", "quantity": quantity, "userId": user}),
            )
        } else {
            (
                "/orders",
                json!({"order_id": &*id, "item": "laptop", "quantity": quantity, "user_id": user}),
            )
        };
        Self {
            id,
            path,
            body: body.to_string().into(),
        }
    }
}

/// Who places order number `number`.
pub fn user(prefix: &str, number: u64) -> String {
    format!("{prefix}-user-{}", number / ORDERS_A_USER)
}

/// Everybody who placed one of the first `orders` orders.
pub fn users(prefix: &str, orders: u64) -> impl Iterator<Item = String> + use<'_> {
    (0..orders.div_ceil(ORDERS_A_USER)).map(move |block| user(prefix, block * ORDERS_A_USER))
}

async fn customer(shared: Arc<Shared>, number: usize) -> Vec<Request> {
    let mut requests = Vec::new();
    let mut connection = None;
    let mut address = number;
    while !shared.enough.load(Ordering::Relaxed) {
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        if number >= shared.plan.orders {
            break;
        }
        if let Some(rate) = shared.plan.rate {
            let due = Duration::from_micros(number * 1_000_000 / rate);
            tokio::time::sleep_until(shared.begin + due).await;
        }
        let order = Order::new(&shared.plan, number);
        loop {
            let sent = now();
            let asking = ask(&mut connection, &shared, address, &order);
            let answer = timeout(ANSWER_PATIENCE, asking).await;
            let answer = answer.unwrap_or(Answer::Silent);
            let accepted = matches!(answer, Answer::Accepted(_));
            if matches!(answer, Answer::Refused(_)) {
                shared.refused.send_modify(|refused| *refused += 1);
            }
            requests.push(Request {
                order: order.id.clone(),
                sent,
                answered: now(),
                answer,
            });
            if accepted {
                shared.accepted.send_modify(|accepted| *accepted += 1);
                break;
            }
            connection = None;
            address += 1;
            sleep(PAUSE).await;
        }
    }
    requests
}

/// One request.
async fn ask(
    connection: &mut Option<SendRequest<Full<Bytes>>>,
    shared: &Shared,
    address: usize,
    order: &Order,
) -> Answer {
    if connection.as_ref().is_none_or(SendRequest::is_closed) {
        let address = shared.addresses[address % shared.addresses.len()];
        *connection = connect(address).await;
    }
    let Some(sender) = connection else {
        return Answer::Unreached;
    };
    if sender.ready().await.is_err() {
        return Answer::Unreached;
    }
    let request = hyper::Request::post(order.path)
        .header("host", "shop")
        .header("content-type", "application/json")
        .body(Full::new(order.body.clone()))
        .expect("a well-formed request");
    let response = match sender.send_request(request).await {
        Ok(response) => response,
        // Nothing of it was sent.
        Err(error) if error.is_canceled() => return Answer::Unreached,
        Err(_) => return Answer::Silent,
    };
    let status = response.status().as_u16();
    let retry_after = response.headers().get("retry-after");
    let retry_after = retry_after.and_then(|seconds| seconds.to_str().ok()?.parse().ok());
    let Ok(body) = response.into_body().collect().await else {
        return Answer::Silent;
    };
    let body = body.to_bytes();
    if status != 200 {
        let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
        let order = ["orderId", "order_id"].map(|member| problem[member].as_str());
        return Answer::Refused(Refusal {
            status,
            retry_after,
            order: order.into_iter().flatten().next().map(Into::into),
        });
    }
    let receipt: Value = serde_json::from_slice(&body).expect("a receipt in JSON");
    Answer::Accepted(Place {
        topic: receipt["topic"].as_str().expect("a topic").into(),
        partition: receipt["partition"].as_i64().expect("a partition") as i32,
        offset: receipt["offset"].as_i64().expect("an offset"),
    })
}

/// A connection of its own.
pub(crate) async fn connect(address: SocketAddr) -> Option<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(address).await.ok()?;
    let _ = stream.set_nodelay(true);
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    // It ends with its sender.
    tokio::spawn(connection);
    Some(sender)
}
