//! Orders at a fixed rate, however fast the answers come: an open loop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::http;
use crate::client::Failure;

/// Connections, each kept alive, with one order at a time.
pub const CONNECTIONS: usize = 64;

/// Orders come in groups this often: fine enough for latencies in milliseconds, and few wake-ups of a
/// load that shares the cores with the shop.
const TICK: Duration = Duration::from_micros(500);
const TICKS_A_SECOND: u64 = 2_000;

/// Orders have this many users.
const USERS: u64 = 100_000;

/// When each order arrives.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    pub orders: u64,
    /// Orders a second.
    pub rate: u64,
}

impl Schedule {
    pub fn steady(rate: u64, seconds: u64) -> Self {
        let orders = rate * seconds;
        Self { orders, rate }
    }

    /// All at the first tick: each connection sends as fast as it is answered.
    pub fn at_once(orders: u64) -> Self {
        let rate = orders.max(1) * TICKS_A_SECOND;
        Self { orders, rate }
    }

    /// When an order arrives, counted from the begin; a full tick.
    pub fn arrival(&self, number: u64) -> Duration {
        let ticks = (number * TICKS_A_SECOND).div_ceil(self.rate);
        Duration::from_micros(ticks * 1_000_000 / TICKS_A_SECOND)
    }

    /// How many orders have arrived by then.
    pub fn arrived(&self, since_begin: Duration) -> u64 {
        let ticks = since_begin.as_micros() / TICK.as_micros();
        let last = u64::try_from(ticks)
            .unwrap_or(u64::MAX)
            .saturating_mul(self.rate)
            / TICKS_A_SECOND;
        (last + 1).min(self.orders)
    }
}

/// Orders on their way. Dropping it ends them.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    connections: JoinSet<Result<Vec<u32>, Failure>>,
}

#[derive(Debug)]
struct Shared {
    schedule: Schedule,
    begin: Instant,
    /// A permit for each order that has arrived. It is first come, first served, so the order that a
    /// connection takes next is the one that has waited longest.
    arrived: Semaphore,
    next: AtomicU64,
    acknowledged: AtomicU64,
    in_time: AtomicU64,
    refused: AtomicU64,
}

impl Load {
    /// Connects first; the schedule begins then.
    pub async fn start(address: SocketAddr, schedule: Schedule) -> Result<Self, Failure> {
        let mut streams = Vec::with_capacity(CONNECTIONS);
        for _ in 0..CONNECTIONS {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            streams.push(stream);
        }
        let shared = Arc::new(Shared {
            schedule,
            begin: Instant::now(),
            arrived: Semaphore::new(0),
            next: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            in_time: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        });
        let connections = streams
            .into_iter()
            .map(|stream| serve(stream, address, shared.clone()))
            .collect();
        let pacer = shared.clone();
        // A thread of its own: timers of the runtime are as coarse as a millisecond.
        thread::spawn(move || pacer.pace());
        Ok(Self {
            shared,
            connections,
        })
    }

    pub fn elapsed(&self) -> Duration {
        self.shared.begin.elapsed()
    }

    /// Orders answered with 200.
    pub fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Relaxed)
    }

    /// Those of them that were answered before one more order would have arrived.
    pub fn in_time(&self) -> u64 {
        self.shared.in_time.load(Relaxed)
    }

    /// Orders answered with anything else.
    pub fn refused(&self) -> u64 {
        self.shared.refused.load(Relaxed)
    }

    /// Whether every order is answered, or the load broken off, be it by a connection that failed.
    pub fn is_over(&self) -> bool {
        let answered = self.acknowledged() + self.refused();
        answered >= self.shared.schedule.orders || self.shared.arrived.is_closed()
    }

    /// Sends no more; what is on its way is answered.
    pub fn break_off(&self) {
        self.shared.arrived.close();
    }

    /// Waits for the answers; gives the time from the arrival of each acknowledged order to its
    /// answer, in microseconds.
    pub async fn latencies(&mut self) -> Result<Vec<u32>, Failure> {
        let mut all = Vec::new();
        while let Some(latencies) = self.connections.join_next().await {
            all.extend(latencies??);
        }
        Ok(all)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.break_off();
    }
}

impl Shared {
    /// Lets the orders arrive, until all have or the load is broken off.
    fn pace(&self) {
        let (mut arrived, mut tick) = (0, 0);
        while arrived < self.schedule.orders && !self.arrived.is_closed() {
            let due = self.schedule.arrived(self.begin.elapsed());
            self.arrived.add_permits((due - arrived) as usize);
            arrived = due;
            tick = (self.begin.elapsed().as_micros() / TICK.as_micros()).max(tick) + 1;
            let next = TICK * u32::try_from(tick).unwrap_or(u32::MAX);
            thread::sleep(next.saturating_sub(self.begin.elapsed()));
        }
    }
}

/// One connection: the next order, when it has arrived, again and again.
async fn serve(
    mut stream: TcpStream,
    address: SocketAddr,
    shared: Arc<Shared>,
) -> Result<Vec<u32>, Failure> {
    let (mut latencies, mut answer) = (Vec::new(), Vec::new());
    loop {
        let number = shared.next.fetch_add(1, Relaxed);
        if number >= shared.schedule.orders {
            return Ok(latencies);
        }
        match shared.arrived.acquire().await {
            Ok(permit) => permit.forget(),
            // Broken off.
            Err(_) => return Ok(latencies),
        }
        let request = request(number, address);
        let sent = http::exchange(&mut stream, request.as_bytes(), &mut answer).await;
        let (status, _) = sent.inspect_err(|_| shared.arrived.close())?;
        if status == 200 {
            let (now, schedule) = (shared.begin.elapsed(), &shared.schedule);
            let latency = now.saturating_sub(schedule.arrival(number));
            latencies.push(u32::try_from(latency.as_micros()).unwrap_or(u32::MAX));
            if now <= schedule.arrival(schedule.orders) {
                shared.in_time.fetch_add(1, Relaxed);
            }
            shared.acknowledged.fetch_add(1, Relaxed);
        } else {
            shared.refused.fetch_add(1, Relaxed);
        }
    }
}

fn request(number: u64, address: SocketAddr) -> String {
    let user = number % USERS;
    let body = format!(r#"{{"userId":"user-{user}","product":"Laptop","quantity":1}}"#);
    format!(
        "POST /api/orders HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The smallest value that is not below this share of all; 0 of nothing.
pub fn percentile(sorted: &[u32], percent: usize) -> u32 {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_arrive_at_the_rate_in_ticks() {
        let schedule = Schedule::steady(3_000, 2);
        assert_eq!(schedule.orders, 6_000);
        assert_eq!(schedule.arrival(0), Duration::ZERO);
        assert_eq!(schedule.arrival(1), TICK);
        assert_eq!(schedule.arrival(3_000), Duration::from_secs(1));
        assert_eq!(schedule.arrived(Duration::ZERO), 1);
        assert_eq!(schedule.arrived(Duration::from_secs(1)), 3_001);
        assert_eq!(schedule.arrived(Duration::from_secs(9)), 6_000);
    }

    #[test]
    fn what_has_arrived_is_what_has_an_arrival_by_then() {
        let schedule = Schedule::steady(1_777, 1);
        for tick in 0..2_100 {
            let now = TICK * tick;
            let due = (0..schedule.orders).filter(|number| schedule.arrival(*number) <= now);
            assert_eq!(schedule.arrived(now), due.count() as u64, "at {now:?}");
        }
    }

    #[test]
    fn all_at_once_is_within_a_tick() {
        let schedule = Schedule::at_once(1_000_000);
        assert!(schedule.arrival(999_999) <= TICK);
        assert_eq!(schedule.arrived(TICK), 1_000_000);
    }

    #[test]
    fn percentiles_are_values_that_were_seen() {
        let hundred: Vec<u32> = (1..=100).collect();
        assert_eq!(percentile(&hundred, 50), 50);
        assert_eq!(percentile(&hundred, 99), 99);
        assert_eq!(percentile(&[7], 99), 7);
        assert_eq!(percentile(&[], 50), 0);
    }
}
