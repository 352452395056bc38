//! Times every connection without a timer a request: connections note what they are at with two
//! relaxed stores, and one task looks over all of them four times a second.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Resolution of the connection timeouts.
pub(crate) const TICK: Duration = Duration::from_millis(250);

const IDLE: u8 = 0;
const HEAD: u8 = 1;
const BUSY: u8 = 2;

/// What one connection is at, seen by the watchdog.
#[derive(Debug)]
pub(crate) struct Watched {
    clock: Arc<AtomicU32>,
    phase: AtomicU8,
    since: AtomicU32,
    /// Tick at which the peer stopped taking what is sent to it; 0 while it takes.
    blocked: AtomicU32,
    abort: AtomicBool,
    pub(crate) wake: Notify,
}

impl Watched {
    /// Between two requests.
    pub(crate) fn idle(&self) {
        self.enter(IDLE);
    }

    /// Bytes have come; begins a request's head if none is being handled.
    pub(crate) fn received(&self) {
        if self.phase.load(Relaxed) == IDLE {
            self.enter(HEAD);
        }
    }

    /// The head is complete; the handler has the word.
    pub(crate) fn busy(&self) {
        self.enter(BUSY);
    }

    pub(crate) fn write_blocked(&self) {
        if self.blocked.load(Relaxed) == 0 {
            self.blocked.store(self.clock.load(Relaxed), Relaxed);
        }
    }

    pub(crate) fn write_done(&self) {
        if self.blocked.load(Relaxed) != 0 {
            self.blocked.store(0, Relaxed);
        }
    }

    /// Whether the connection is to be dropped as it is (else: closed after the present request).
    pub(crate) fn must_abort(&self) -> bool {
        self.abort.load(Relaxed)
    }

    fn enter(&self, phase: u8) {
        self.since.store(self.clock.load(Relaxed), Relaxed);
        self.phase.store(phase, Relaxed);
    }

    fn close(&self, abort: bool) {
        if abort {
            self.abort.store(true, Relaxed);
        }
        self.wake.notify_one();
    }
}

/// Limits in ticks.
#[derive(Debug)]
pub(crate) struct Watchdog {
    clock: Arc<AtomicU32>,
    connections: Mutex<HashMap<u64, Arc<Watched>>>,
    next: AtomicU64,
    gone: Notify,
    read_ticks: u32,
    idle_ticks: u32,
}

/// Takes its connection off the list when dropped.
pub(crate) struct Registration {
    watchdog: Arc<Watchdog>,
    number: u64,
    pub(crate) watched: Arc<Watched>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut connections = self.watchdog.connections.lock();
        connections.remove(&self.number);
        if connections.is_empty() {
            self.watchdog.gone.notify_waiters();
        }
    }
}

impl Watchdog {
    pub(crate) fn new(read_timeout: Duration, idle_timeout: Duration) -> Arc<Self> {
        let ticks = |limit: Duration| {
            u32::try_from(limit.as_millis().div_ceil(TICK.as_millis())).unwrap_or(u32::MAX)
        };
        Arc::new(Self {
            // Tick 0 means "not blocked".
            clock: Arc::new(AtomicU32::new(1)),
            connections: Mutex::default(),
            next: AtomicU64::new(0),
            gone: Notify::new(),
            read_ticks: ticks(read_timeout),
            idle_ticks: ticks(idle_timeout),
        })
    }

    pub(crate) fn register(self: &Arc<Self>) -> Registration {
        let watched = Arc::new(Watched {
            clock: self.clock.clone(),
            phase: AtomicU8::new(IDLE),
            since: AtomicU32::new(self.clock.load(Relaxed)),
            blocked: AtomicU32::new(0),
            abort: AtomicBool::new(false),
            wake: Notify::new(),
        });
        let number = self.next.fetch_add(1, Relaxed);
        self.connections.lock().insert(number, watched.clone());
        Registration {
            watchdog: self.clone(),
            number,
            watched,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.connections.lock().len()
    }

    /// One step of the clock: drops what is late, closes what has idled long enough.
    pub(crate) fn tick(&self) {
        let now = self.clock.fetch_add(1, Relaxed).wrapping_add(1);
        for watched in self.connections.lock().values() {
            let age = now.wrapping_sub(watched.since.load(Relaxed));
            let blocked = watched.blocked.load(Relaxed);
            if blocked != 0 && now.wrapping_sub(blocked) > self.read_ticks {
                watched.close(true);
                continue;
            }
            match watched.phase.load(Relaxed) {
                HEAD if age > self.read_ticks => watched.close(true),
                IDLE if age > self.idle_ticks => watched.close(false),
                _ => {}
            }
        }
    }

    /// Closes idle connections to make room, the longest idle first: one in a hundred of all, so
    /// that a flood does not look over the whole list for every single one. Says whether any was.
    pub(crate) fn evict_idle(&self) -> bool {
        let connections = self.connections.lock();
        let mut idle: Vec<&Arc<Watched>> = connections
            .values()
            .filter(|w| w.phase.load(Relaxed) == IDLE)
            .collect();
        if idle.is_empty() {
            return false;
        }
        let count = (connections.len() / 100).clamp(1, idle.len());
        idle.select_nth_unstable_by_key(count - 1, |w| w.since.load(Relaxed));
        for watched in &idle[..count] {
            watched.close(false);
        }
        true
    }

    /// Ends every connection: at once where it idles, else after its present request.
    pub(crate) fn close_all(&self) {
        for watched in self.connections.lock().values() {
            watched.close(false);
        }
    }

    /// Waits until no connection is left.
    pub(crate) async fn all_gone(&self) {
        loop {
            let gone = self.gone.notified();
            tokio::pin!(gone);
            gone.as_mut().enable();
            if self.connections.lock().is_empty() {
                return;
            }
            gone.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn woken(watched: &Watched) -> bool {
        use futures::FutureExt;
        watched.wake.notified().now_or_never().is_some()
    }

    #[test]
    fn slow_heads_are_dropped_and_idle_ones_closed_each_at_its_time() {
        let dog = Watchdog::new(TICK * 2, TICK * 5);
        let (idle, slow, busy) = (dog.register(), dog.register(), dog.register());
        slow.watched.received();
        busy.watched.received();
        busy.watched.busy();
        (0..2).for_each(|_| dog.tick());
        assert!(!woken(&slow.watched));
        dog.tick();
        assert!(woken(&slow.watched) && slow.watched.must_abort());
        (0..2).for_each(|_| dog.tick());
        assert!(!woken(&idle.watched));
        dog.tick();
        assert!(woken(&idle.watched) && !idle.watched.must_abort());
        (0..100).for_each(|_| dog.tick());
        assert!(!woken(&busy.watched), "a handler has no limit here");
        busy.watched.write_blocked();
        (0..3).for_each(|_| dog.tick());
        assert!(woken(&busy.watched) && busy.watched.must_abort());
    }

    #[test]
    fn the_longest_idle_makes_room() {
        let dog = Watchdog::new(TICK, TICK * 1000);
        let first = dog.register();
        dog.tick();
        let second = dog.register();
        second.watched.idle();
        assert!(dog.evict_idle());
        assert!(woken(&first.watched) && !woken(&second.watched));
        first.watched.busy();
        second.watched.busy();
        assert!(!dog.evict_idle());
    }

    #[tokio::test]
    async fn waits_for_the_last_connection() {
        let dog = Watchdog::new(TICK, TICK);
        dog.all_gone().await;
        let one = dog.register();
        let waiting = tokio::spawn({
            let dog = dog.clone();
            async move { dog.all_gone().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(one);
        waiting.await.unwrap();
        assert_eq!(dog.len(), 0);
    }
}
