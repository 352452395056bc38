//! A line for each processed order, as long as there are few of them.
//!
//! A person who tries an order sees it in the terminal; under load the lines would cost more than
//! the orders, so past a number of lines a second the rest is summed up in one.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use proto::Order;

use crate::rules::Verdict;

/// How often the number of lines begins anew.
pub const INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct OrderLog {
    limit: u64,
    /// Orders since the interval began.
    seen: AtomicU64,
}

impl OrderLog {
    /// At most `limit` lines an [`INTERVAL`]; 0 leaves the sum alone.
    pub fn new(limit: u64) -> Self {
        Self {
            limit,
            seen: AtomicU64::new(0),
        }
    }

    pub fn processed(
        &self,
        topic: &str,
        partition: i32,
        offset: i64,
        order: &Order<'_>,
        verdict: &Verdict,
    ) {
        if self.seen.fetch_add(1, Relaxed) >= self.limit {
            return;
        }
        let status = verdict.status().as_str();
        match verdict.reason() {
            None => {
                tracing::info!(topic, partition, offset, order_id = %order.order_id, "order {status}")
            }
            Some(reason) => {
                tracing::info!(topic, partition, offset, order_id = %order.order_id, "order {status}: {reason}");
            }
        }
    }

    /// Begins a new interval; returns how many orders of the old one got no line.
    fn turn(&self) -> u64 {
        self.seen.swap(0, Relaxed).saturating_sub(self.limit)
    }

    /// Writes the sums until `stop`, and a last one then.
    pub async fn run(&self, stop: impl Future<Output = ()>) {
        let mut ticks = tokio::time::interval(INTERVAL);
        tokio::pin!(stop);
        loop {
            let stopped = tokio::select! {
                () = &mut stop => true,
                _ = ticks.tick() => false,
            };
            let rest = self.turn();
            if rest > 0 {
                tracing::info!(
                    orders = rest,
                    "{rest} more orders processed in the last second"
                );
            }
            if stopped {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orders(log: &OrderLog, number: usize) {
        let order = Order {
            order_id: "1".into(),
            product: "Laptop".into(),
            quantity: 1,
            user_id: None,
            created_at: None,
        };
        for _ in 0..number {
            log.processed("orders", 0, 0, &order, &Verdict::Confirmed);
        }
    }

    #[test]
    fn what_got_no_line_is_in_the_sum() {
        let log = OrderLog::new(3);
        orders(&log, 3);
        assert_eq!(log.turn(), 0);
        orders(&log, 10);
        assert_eq!(log.turn(), 7);
        assert_eq!(log.turn(), 0);
    }
}
