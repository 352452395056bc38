//! One rate, offered for a time and watched.

use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval, sleep};

use super::load::{Load, Schedule, percentile};
use super::program::{Disk, Progress, Shop};
use super::trail::Trail;
use crate::client::Failure;

/// Between two notes of what is acknowledged: what the notifications' lag resolves.
const NOTE_INTERVAL: Duration = Duration::from_millis(50);

/// Notes to a look at the shop's metrics, which are renewed four times a second.
const NOTES_A_LOOK: u32 = 5;

/// The load is broken off at so many times the limit: what follows only makes the backlog longer.
const BREAK_OFF: u32 = 3;

/// Of the orders offered, so many percent have to be acknowledged before the time is over.
const IN_TIME_PERCENT: u64 = 99;

/// How long the shop may store nothing of a backlog.
const STILL_PATIENCE: Duration = Duration::from_secs(60);

/// What a step gave.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// Orders a second that were offered, for how long.
    pub rate: u64,
    pub seconds: u64,
    /// The lag that counts as sustained.
    pub limit: Duration,
    pub acknowledged: u64,
    pub refused: u64,
    /// Acknowledged before the time was over.
    pub in_time: u64,
    pub is_broken_off: bool,
    /// Of the shop's process, until all was through.
    pub cpu: Duration,
    pub grown: Disk,
    /// From an order's arrival to its answer.
    pub p50: Duration,
    pub p99: Duration,
    /// The largest seen under load: of the view, by its own metric, and of the notifications.
    pub view_lag: Duration,
    pub view_records: u64,
    pub notification_lag: Duration,
    pub notifications_behind: u64,
    /// From the last answer until all was in the view and every notification stored.
    pub through_after: Duration,
}

impl Step {
    /// # Errors
    /// Why it does not count as sustained.
    pub fn sustained(&self) -> Result<(), &'static str> {
        let is_late = self.in_time * 100 < self.rate * self.seconds * IN_TIME_PERCENT;
        match () {
            () if self.refused > 0 => Err("orders refused"),
            () if self.view_lag > self.limit => Err("view behind"),
            () if self.notification_lag > self.limit => Err("notifications behind"),
            () if is_late => Err("rate not reached"),
            () if self.through_after > self.limit => Err("not through in time"),
            () => Ok(()),
        }
    }
}

/// Offers orders at a rate and watches the shop, until everything is through.
pub async fn run(shop: &Shop, rate: u64, seconds: u64, limit: Duration) -> Result<Step, Failure> {
    let mut step = Step {
        rate,
        seconds,
        limit,
        ..Step::default()
    };
    let (cpu, disk) = (shop.cpu()?, shop.disk()?);
    let before = shop.progress().await?.notified;
    let mut load = Load::start(shop.producer, Schedule::steady(rate, seconds)).await?;
    watch(shop, &load, before, &mut step).await?;
    let mut latencies = load.latencies().await?;
    (step.refused, step.in_time) = (load.refused(), load.in_time());
    step.acknowledged = latencies.len() as u64;
    step.through_after = through(shop, before + step.acknowledged).await?;
    step.cpu = shop.cpu()? - cpu;
    step.grown = shop.disk()? - disk;
    latencies.sort_unstable();
    let of = |percent| Duration::from_micros(percentile(&latencies, percent).into());
    (step.p50, step.p99) = (of(50), of(99));
    Ok(step)
}

async fn watch(shop: &Shop, load: &Load, before: u64, step: &mut Step) -> Result<(), Failure> {
    let mut trail = Trail::default();
    let mut notes = interval(NOTE_INTERVAL);
    notes.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let end = Duration::from_secs(step.seconds);
    let (mut until_look, mut second) = (NOTES_A_LOOK, Second::begin(shop)?);
    while !load.is_over() {
        notes.tick().await;
        let (now, acknowledged) = (load.elapsed(), load.acknowledged());
        trail.note(now, acknowledged);
        until_look -= 1;
        if until_look > 0 {
            continue;
        }
        until_look = NOTES_A_LOOK;
        let seen = shop.progress().await?;
        let notified = seen.notified - before;
        let lag = trail.lag(now, notified);
        let behind = acknowledged.saturating_sub(notified);
        step.view_lag = step.view_lag.max(seen.view_lag);
        step.view_records = step.view_records.max(seen.view_records);
        step.notification_lag = step.notification_lag.max(lag);
        step.notifications_behind = step.notifications_behind.max(behind);
        second.show(shop, now, acknowledged, notified, lag, seen)?;
        if lag.max(seen.view_lag) > step.limit * BREAK_OFF || now > end + step.limit * BREAK_OFF {
            step.is_broken_off = true;
            load.break_off();
        }
    }
    Ok(())
}

/// Fills the shop with orders, as fast as it takes them; returns when all are through.
pub async fn store(shop: &Shop, orders: u64) -> Result<(), Failure> {
    let before = shop.progress().await?.notified;
    let mut load = Load::start(shop.producer, Schedule::at_once(orders)).await?;
    let acknowledged = load.latencies().await?.len() as u64;
    if acknowledged < orders {
        return Err(format!("only {acknowledged} of {orders} orders were accepted").into());
    }
    through(shop, before + acknowledged).await?;
    Ok(())
}

/// Waits until so many notifications are stored and the view has everything; tells how long it took.
async fn through(shop: &Shop, notifications: u64) -> Result<Duration, Failure> {
    let began = Instant::now();
    let (mut last, mut moved) = (None, began);
    loop {
        let seen = shop.progress().await?;
        if seen.notified >= notifications && seen.view_records == 0 {
            return Ok(began.elapsed());
        }
        let now = (seen.notified, seen.view_records);
        if last.replace(now) != Some(now) {
            moved = Instant::now();
        }
        if moved.elapsed() > STILL_PATIENCE {
            let missing = notifications.saturating_sub(seen.notified);
            let records = seen.view_records;
            return Err(format!(
                "nothing moved for {STILL_PATIENCE:?}: {missing} notifications and {records} records of the view are missing"
            )
            .into());
        }
        sleep(NOTE_INTERVAL).await;
    }
}

/// Tells each second of a step on standard error.
struct Second {
    at: Duration,
    acknowledged: u64,
    notified: u64,
    cpu: Duration,
    disk: Disk,
}

impl Second {
    fn begin(shop: &Shop) -> Result<Self, Failure> {
        Ok(Self {
            at: Duration::ZERO,
            acknowledged: 0,
            notified: 0,
            cpu: shop.cpu()?,
            disk: shop.disk()?,
        })
    }

    /// A line, when a second is over since the last.
    fn show(
        &mut self,
        shop: &Shop,
        now: Duration,
        acknowledged: u64,
        notified: u64,
        lag: Duration,
        seen: Progress,
    ) -> Result<(), Failure> {
        let passed = (now - self.at).as_secs_f64();
        if passed < 0.99 {
            return Ok(());
        }
        let (cpu, disk) = (shop.cpu()?, shop.disk()?);
        let a_second = |count: u64, earlier: u64| (count - earlier) as f64 / passed;
        eprintln!(
            "{:5.1} s: {:6.0} acknowledged/s, {:6.0} notifications/s; view {:.2} s behind ({} records), \
             notifications {:.2} s ({}); {:.2} cores, {:.1} MB more on disk",
            now.as_secs_f64(),
            a_second(acknowledged, self.acknowledged),
            a_second(notified, self.notified),
            seen.view_lag.as_secs_f64(),
            seen.view_records,
            lag.as_secs_f64(),
            acknowledged.saturating_sub(notified),
            (cpu - self.cpu).as_secs_f64() / passed,
            (disk - self.disk).sum() as f64 / 1e6,
        );
        *self = Self {
            at: now,
            acknowledged,
            notified,
            cpu,
            disk,
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_sustained_only_where_nothing_is_late() {
        let second = Duration::from_secs(1);
        let good = Step {
            rate: 1_000,
            seconds: 10,
            limit: second,
            acknowledged: 10_000,
            in_time: 9_900,
            view_lag: second,
            notification_lag: second,
            through_after: second,
            ..Step::default()
        };
        assert_eq!(good.sustained(), Ok(()));
        let late = second + Duration::from_millis(1);
        let bad = [
            (
                Step {
                    refused: 1,
                    ..good.clone()
                },
                "orders refused",
            ),
            (
                Step {
                    view_lag: late,
                    ..good.clone()
                },
                "view behind",
            ),
            (
                Step {
                    notification_lag: late,
                    ..good.clone()
                },
                "notifications behind",
            ),
            (
                Step {
                    in_time: 9_899,
                    ..good.clone()
                },
                "rate not reached",
            ),
            (
                Step {
                    through_after: late,
                    ..good.clone()
                },
                "not through in time",
            ),
        ];
        for (step, why) in bad {
            assert_eq!(step.sustained(), Err(why));
        }
    }
}
