//! Times every connection without a timer a request: connections note what they are at with two
//! relaxed stores, and one task looks over all of them four times a second.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Resolution of the connection timeouts.
pub(crate) const TICK: Duration = Duration::from_millis(250);

/// Before its first request.
const NEW: u8 = 4;
/// Between two requests.
const IDLE: u8 = 0;
const HEAD: u8 = 1;
const BODY: u8 = 2;
const BUSY: u8 = 3;

/// Age at which a request that is still arriving may be given up for a new connection: a client
/// on any working line has sent its head by then.
const SLOW: u32 = 2;

/// How a connection is to end, decided outside of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// At once where it idles, else after its present request.
    AfterRequest = 1,
    /// As it is.
    Drop = 2,
    /// With 408: the head of its request did not come in time.
    Late = 3,
    /// With 414: its request line has no end.
    UriTooLong = 4,
    /// After its next request, or soon where none comes: the server stops.
    LastCall = 5,
}

/// What one connection is at, seen by the watchdog.
#[derive(Debug)]
pub(crate) struct Watched {
    clock: Arc<AtomicU32>,
    phase: AtomicU8,
    since: AtomicU32,
    /// Tick at which the peer stopped taking what is sent to it; 0 while it takes.
    blocked: AtomicU32,
    /// 0, or an [`Ending`].
    ending: AtomicU8,
    /// Ended so that another one has room.
    makes_room: AtomicBool,
    /// Told when there is an ending.
    pub(crate) wake: Notify,
}

impl Watched {
    /// Between two requests.
    pub(crate) fn idle(&self) {
        self.enter(IDLE);
    }

    /// Bytes have come. Says whether they begin a request's head.
    pub(crate) fn received(&self) -> bool {
        let begins = matches!(self.phase.load(Relaxed), NEW | IDLE);
        if begins {
            self.enter(HEAD);
        }
        begins
    }

    /// The handler waits for the rest of the body.
    pub(crate) fn body(&self) {
        self.enter(BODY);
    }

    /// The handler has the word.
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

    /// Whether the peer does not take what is sent to it.
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked.load(Relaxed) != 0
    }

    /// Whether a request's head has begun and not ended.
    pub(crate) fn in_head(&self) -> bool {
        self.phase.load(Relaxed) == HEAD
    }

    /// How it is to end, if it is.
    pub(crate) fn ending(&self) -> Option<Ending> {
        match self.ending.load(Relaxed) {
            1 => Some(Ending::AfterRequest),
            2 => Some(Ending::Drop),
            3 => Some(Ending::Late),
            4 => Some(Ending::UriTooLong),
            5 => Some(Ending::LastCall),
            _ => None,
        }
    }

    pub(crate) fn end(&self, ending: Ending) {
        self.ending.store(ending as u8, Relaxed);
        self.wake.notify_one();
    }

    fn enter(&self, phase: u8) {
        self.since.store(self.clock.load(Relaxed), Relaxed);
        self.phase.store(phase, Relaxed);
    }

    /// What ending it now would be, if it is at nothing that must be finished; and how gladly it is
    /// done without, lowest first.
    fn dispensable(&self, now: u32) -> Option<(u8, Ending)> {
        if self.ending().is_some() {
            return None;
        }
        let slow = now.wrapping_sub(self.since.load(Relaxed)) >= SLOW;
        match self.phase.load(Relaxed) {
            // Its last answer is not taken: there is no end to wait for.
            IDLE if self.is_blocked() => slow.then_some((1, Ending::Drop)),
            NEW | IDLE if slow => Some((0, Ending::AfterRequest)),
            // Perhaps its next request is under way; the first one of a new connection surely is.
            IDLE => Some((2, Ending::AfterRequest)),
            NEW => Some((3, Ending::AfterRequest)),
            HEAD => slow.then_some((1, Ending::Late)),
            BODY => slow.then_some((1, Ending::Drop)),
            _ => None,
        }
    }
}

/// Bounds of a server's connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) connections: usize,
    pub(crate) read_timeout: Duration,
    pub(crate) idle_timeout: Duration,
}

/// Owner of the list of connections.
#[derive(Debug)]
pub(crate) struct Watchdog {
    clock: Arc<AtomicU32>,
    open: Mutex<Open>,
    streams: AtomicUsize,
    gone: Notify,
    max_connections: usize,
    max_streams: usize,
    read_ticks: u32,
    idle_ticks: u32,
}

#[derive(Debug, Default)]
struct Open {
    connections: HashMap<u64, Arc<Watched>>,
    next: u64,
    /// Those on the list that make room for others: they are about to go.
    leaving: usize,
}

/// Takes its connection off the list when dropped.
pub(crate) struct Registration {
    watchdog: Arc<Watchdog>,
    number: u64,
    pub(crate) watched: Arc<Watched>,
}

impl Registration {
    /// A place for an event stream; `None` where so many are open that requests would be short of
    /// connections.
    pub(crate) fn stream(&self) -> Option<Streaming> {
        let streams = &self.watchdog.streams;
        if streams.fetch_add(1, Relaxed) >= self.watchdog.max_streams {
            streams.fetch_sub(1, Relaxed);
            return None;
        }
        Some(Streaming {
            watchdog: self.watchdog.clone(),
            watched: self.watched.clone(),
        })
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut open = self.watchdog.open.lock();
        open.connections.remove(&self.number);
        if self.watched.makes_room.load(Relaxed) {
            open.leaving -= 1;
        }
        if open.connections.is_empty() {
            self.watchdog.gone.notify_waiters();
        }
    }
}

/// An event stream's place; its connection is busy until it is dropped.
pub(crate) struct Streaming {
    watchdog: Arc<Watchdog>,
    watched: Arc<Watched>,
}

impl Drop for Streaming {
    fn drop(&mut self) {
        self.watchdog.streams.fetch_sub(1, Relaxed);
        self.watched.idle();
    }
}

impl Watchdog {
    pub(crate) fn new(bounds: Bounds) -> Arc<Self> {
        let ticks = |limit: Duration| {
            u32::try_from(limit.as_millis().div_ceil(TICK.as_millis())).unwrap_or(u32::MAX)
        };
        Arc::new(Self {
            // Tick 0 means "not blocked".
            clock: Arc::new(AtomicU32::new(1)),
            open: Mutex::default(),
            streams: AtomicUsize::new(0),
            gone: Notify::new(),
            max_connections: bounds.connections,
            // Streams last: without a bound of their own they would leave none for requests.
            max_streams: (bounds.connections / 4 * 3).max(1),
            read_ticks: ticks(bounds.read_timeout),
            idle_ticks: ticks(bounds.idle_timeout),
        })
    }

    /// Takes a new connection on, making room for it if need be; `None` where there is none.
    pub(crate) fn admit(self: &Arc<Self>) -> Option<Registration> {
        let mut open = self.open.lock();
        if open.connections.len() - open.leaving >= self.max_connections
            && !make_room(&mut open, self.clock.load(Relaxed), 100)
        {
            return None;
        }
        let watched = Arc::new(Watched {
            clock: self.clock.clone(),
            phase: AtomicU8::new(NEW),
            since: AtomicU32::new(self.clock.load(Relaxed)),
            blocked: AtomicU32::new(0),
            ending: AtomicU8::new(0),
            makes_room: AtomicBool::new(false),
            wake: Notify::new(),
        });
        let number = open.next;
        open.next += 1;
        open.connections.insert(number, watched.clone());
        Some(Registration {
            watchdog: self.clone(),
            number,
            watched,
        })
    }

    /// Ends what can be done without, whatever the bound: the process is out of descriptors.
    pub(crate) fn shrink(&self) {
        make_room(&mut self.open.lock(), self.clock.load(Relaxed), 8);
    }

    /// One step of the clock: ends what is late and what has idled long enough.
    pub(crate) fn tick(&self) {
        let now = self.clock.fetch_add(1, Relaxed).wrapping_add(1);
        for watched in self.open.lock().connections.values() {
            let ending = watched.ending();
            if !matches!(ending, None | Some(Ending::AfterRequest | Ending::LastCall)) {
                // On its way out, which has bounds of its own.
                continue;
            }
            let age = now.wrapping_sub(watched.since.load(Relaxed));
            let blocked = watched.blocked.load(Relaxed);
            if blocked != 0 && now.wrapping_sub(blocked) > self.read_ticks {
                watched.end(Ending::Drop);
                continue;
            }
            match watched.phase.load(Relaxed) {
                HEAD if age > self.read_ticks => watched.end(Ending::Late),
                NEW | IDLE if age > self.idle_ticks => watched.end(Ending::AfterRequest),
                _ => {}
            }
        }
    }

    /// Ends every connection, with an answer to what is under way.
    pub(crate) fn close_all(&self) {
        for watched in self.open.lock().connections.values() {
            watched.end(Ending::LastCall);
        }
    }

    /// Waits until no connection is left.
    pub(crate) async fn all_gone(&self) {
        loop {
            let gone = self.gone.notified();
            tokio::pin!(gone);
            gone.as_mut().enable();
            if self.open.lock().connections.is_empty() {
                return;
            }
            gone.await;
        }
    }
}

/// Ends connections that can be done without: the longest idle first, then requests that arrive
/// slowly, then those that have only just come. One in so many (`share`) of all at a time, so that a
/// flood does not look over the whole list for every single one. Says whether any was.
fn make_room(open: &mut Open, now: u32, share: usize) -> bool {
    let mut found: Vec<(u8, u32, Ending, &Arc<Watched>)> = open
        .connections
        .values()
        .filter_map(|watched| {
            let (rank, ending) = watched.dispensable(now)?;
            let age = now.wrapping_sub(watched.since.load(Relaxed));
            Some((rank, u32::MAX - age, ending, watched))
        })
        .collect();
    if found.is_empty() {
        return false;
    }
    let count = (open.connections.len() / share).clamp(1, found.len());
    found.select_nth_unstable_by_key(count - 1, |(rank, youth, _, _)| (*rank, *youth));
    for (_, _, ending, watched) in &found[..count] {
        watched.makes_room.store(true, Relaxed);
        watched.end(*ending);
    }
    open.leaving += count;
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dog(connections: usize, read_ticks: u32, idle_ticks: u32) -> Arc<Watchdog> {
        Watchdog::new(Bounds {
            connections,
            read_timeout: TICK * read_ticks,
            idle_timeout: TICK * idle_ticks,
        })
    }

    fn woken(watched: &Watched) -> Option<Ending> {
        use futures::FutureExt;
        watched.wake.notified().now_or_never()?;
        watched.ending()
    }

    #[test]
    fn slow_heads_are_refused_and_idle_ones_closed_each_at_its_time() {
        let dog = dog(10, 2, 5);
        let [idle, slow, busy] = [(); 3].map(|()| dog.admit().unwrap());
        assert!(slow.watched.received());
        assert!(busy.watched.received());
        busy.watched.busy();
        (0..2).for_each(|_| dog.tick());
        assert_eq!(woken(&slow.watched), None);
        dog.tick();
        assert_eq!(woken(&slow.watched), Some(Ending::Late));
        (0..2).for_each(|_| dog.tick());
        assert_eq!(woken(&idle.watched), None);
        dog.tick();
        assert_eq!(woken(&idle.watched), Some(Ending::AfterRequest));
        (0..100).for_each(|_| dog.tick());
        assert_eq!(woken(&busy.watched), None, "a handler has no limit here");
        busy.watched.write_blocked();
        (0..3).for_each(|_| dog.tick());
        assert_eq!(woken(&busy.watched), Some(Ending::Drop));
    }

    #[test]
    fn the_longest_idle_makes_room() {
        let dog = dog(2, 1000, 1000);
        let first = dog.admit().unwrap();
        first.watched.idle();
        dog.tick();
        let second = dog.admit().unwrap();
        second.watched.idle();
        let third = dog.admit().unwrap();
        assert_eq!(woken(&first.watched), Some(Ending::AfterRequest));
        assert_eq!(woken(&second.watched), None);
        drop(first);
        second.watched.busy();
        third.watched.busy();
        assert!(dog.admit().is_none());
    }

    #[test]
    fn one_that_was_answered_makes_room_before_one_that_has_only_just_come() {
        let dog = dog(2, 100, 100);
        let [new, answered] = [(); 2].map(|()| dog.admit().unwrap());
        answered.watched.received();
        answered.watched.busy();
        answered.watched.idle();
        let _third = dog.admit().unwrap();
        assert_eq!(woken(&answered.watched), Some(Ending::AfterRequest));
        assert_eq!(woken(&new.watched), None);
    }

    #[test]
    fn one_that_makes_room_does_so_once() {
        let dog = dog(1, 1000, 1000);
        let first = dog.admit().unwrap();
        let second = dog.admit().unwrap();
        second.watched.busy();
        assert!(dog.admit().is_none(), "the first leaves for the second");
        drop(second);
        let third = dog.admit().unwrap();
        third.watched.busy();
        drop(first);
        assert!(dog.admit().is_none());
    }

    #[test]
    fn requests_that_arrive_slowly_make_room_when_none_idles() {
        let dog = dog(3, 1000, 1000);
        let [head, body, busy] = [(); 3].map(|()| dog.admit().unwrap());
        head.watched.received();
        body.watched.body();
        busy.watched.busy();
        assert!(dog.admit().is_none(), "they have only begun");
        (0..SLOW).for_each(|_| dog.tick());
        // Two that have only just come do not push each other out.
        let next = [(); 2].map(|()| dog.admit().unwrap());
        next.iter().for_each(|n| n.watched.busy());
        assert_eq!(woken(&head.watched), Some(Ending::Late));
        assert_eq!(woken(&body.watched), Some(Ending::Drop));
        assert!(dog.admit().is_none());
    }

    #[test]
    fn streams_leave_connections_for_requests() {
        let dog = dog(8, 1000, 1000);
        let all: Vec<Registration> = (0..8).map(|_| dog.admit().unwrap()).collect();
        let mut streams: Vec<Streaming> = all.iter().filter_map(Registration::stream).collect();
        assert_eq!(streams.len(), 6);
        streams.pop();
        assert!(all[0].stream().is_some());
    }

    #[tokio::test]
    async fn waits_for_the_last_connection() {
        let dog = dog(1, 1, 1);
        dog.all_gone().await;
        let one = dog.admit().unwrap();
        let waiting = tokio::spawn({
            let dog = dog.clone();
            async move { dog.all_gone().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(one);
        waiting.await.unwrap();
    }
}
