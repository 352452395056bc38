//! Handler calls that are under way.
//!
//! Like `FuturesUnordered`, but a call is polled once before it takes a place, and places are used
//! again: a handler that finishes without waiting costs no allocation, and neither does one that
//! waits, once as many places exist as calls wait at a time.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::time::Instant;

/// A set of futures, polled only when woken.
pub(crate) struct Flights<F: Future> {
    places: Vec<Place<F>>,
    free: Vec<usize>,
    woken: Arc<Woken>,
    /// Places taken from `woken` and not yet polled.
    due: Vec<usize>,
}

struct Place<F> {
    /// `None` while free. Boxed, so that `places` may grow under a pinned future.
    future: Pin<Box<Option<F>>>,
    /// One for the place's lifetime: a wake-up meant for its last tenant polls the next once too
    /// often, which is harmless.
    waker: Waker,
    flag: Arc<PlaceWaker>,
    since: Instant,
}

struct Woken {
    places: Mutex<Vec<usize>>,
    parent: AtomicWaker,
}

struct PlaceWaker {
    index: usize,
    queued: AtomicBool,
    woken: Arc<Woken>,
}

impl Wake for PlaceWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.queued.swap(true, Ordering::AcqRel) {
            return;
        }
        let first = {
            let mut places = self.woken.places.lock();
            places.push(self.index);
            places.len() == 1
        };
        // Whoever was first has woken the parent, which takes all.
        if first {
            self.woken.parent.wake();
        }
    }
}

/// What the first poll of a future came to.
pub(crate) enum Launch<T> {
    Landed(T),
    /// Under way, in this place.
    Flying(usize),
}

impl<F: Future> Flights<F> {
    pub(crate) fn new() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
            woken: Arc::new(Woken {
                places: Mutex::new(Vec::new()),
                parent: AtomicWaker::new(),
            }),
            due: Vec::new(),
        }
    }

    /// Polls `future` once, and keeps it if it has to wait. `now` is the start it is remembered by.
    #[inline]
    pub(crate) fn launch(&mut self, future: F, now: Instant) -> Launch<F::Output> {
        let index = match self.free.last() {
            Some(&index) => index,
            None => self.add_place(),
        };
        let place = &mut self.places[index];
        place.future.set(Some(future));
        match poll(place) {
            Poll::Ready(output) => {
                place.future.set(None);
                Launch::Landed(output)
            }
            Poll::Pending => {
                place.since = now;
                self.free.pop();
                Launch::Flying(index)
            }
        }
    }

    fn add_place(&mut self) -> usize {
        let index = self.places.len();
        let flag = Arc::new(PlaceWaker {
            index,
            queued: AtomicBool::new(false),
            woken: self.woken.clone(),
        });
        self.places.push(Place {
            future: Box::pin(None),
            waker: flag.clone().into(),
            flag,
            since: Instant::now(),
        });
        self.free.push(index);
        index
    }

    /// The next flight that landed: its place, and what it returned. Pending while all wait or
    /// none is under way; cancel safe.
    pub(crate) fn poll_landed(&mut self, cx: &mut Context<'_>) -> Poll<(usize, F::Output)> {
        if self.due.is_empty() {
            self.woken.parent.register(cx.waker());
            std::mem::swap(&mut self.due, &mut *self.woken.places.lock());
            // Oldest wake-up last, where `pop` takes it first.
            self.due.reverse();
        }
        while let Some(index) = self.due.pop() {
            let place = &mut self.places[index];
            // Cleared before the poll: a wake-up during it must count.
            place.flag.queued.store(false, Ordering::Release);
            if place.future.is_none() {
                continue;
            }
            if let Poll::Ready(output) = poll(place) {
                place.future.set(None);
                self.free.push(index);
                return Poll::Ready((index, output));
            }
        }
        // Once round, and no further: a call that wakes itself must not keep the task to itself.
        self.woken.parent.register(cx.waker());
        if !self.woken.places.lock().is_empty() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// A flight that has landed already, without waiting.
    pub(crate) fn try_landed(&mut self) -> Option<(usize, F::Output)> {
        let mut cx = Context::from_waker(Waker::noop());
        // The no-op waker replaces the parent's; the runner always polls with its own before it
        // sleeps.
        match self.poll_landed(&mut cx) {
            Poll::Ready(landed) => Some(landed),
            Poll::Pending => None,
        }
    }

    /// The start of each flight under way, by place.
    pub(crate) fn under_way(&self) -> impl Iterator<Item = (usize, Instant)> + '_ {
        let taken = self
            .places
            .iter()
            .enumerate()
            .filter(|(_, place)| place.future.is_some());
        taken.map(|(index, place)| (index, place.since))
    }
}

#[inline]
fn poll<F: Future>(place: &mut Place<F>) -> Poll<F::Output> {
    let mut cx = Context::from_waker(&place.waker);
    let future = place.future.as_mut().as_pin_mut();
    future.expect("only a taken place is polled").poll(&mut cx)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use futures::future::{BoxFuture, poll_fn};
    use tokio::sync::oneshot;

    type Call = BoxFuture<'static, u32>;

    #[tokio::test]
    async fn a_call_that_does_not_wait_takes_no_place() {
        let mut flights: Flights<Call> = Flights::new();
        for n in 0..10 {
            assert!(
                matches!(flights.launch(async move { n }.boxed(), Instant::now()), Launch::Landed(out) if out == n)
            );
        }
        assert_eq!(flights.places.len(), 1);
        assert!(flights.try_landed().is_none());
    }

    #[tokio::test]
    async fn calls_land_when_woken_and_places_are_used_again() {
        let mut flights: Flights<Call> = Flights::new();
        for round in 0..3 {
            let mut senders = Vec::new();
            for n in 0..100u32 {
                let (sender, receiver) = oneshot::channel();
                let call = async move { receiver.await.unwrap() + n }.boxed();
                assert!(matches!(
                    flights.launch(call, Instant::now()),
                    Launch::Flying(_)
                ));
                senders.push(sender);
            }
            assert_eq!(flights.under_way().count(), 100);
            assert!(flights.try_landed().is_none());
            let task = tokio::spawn(async move {
                for sender in senders {
                    sender.send(1000).unwrap();
                    tokio::task::yield_now().await;
                }
            });
            let mut sum = 0;
            for _ in 0..100 {
                sum += poll_fn(|cx| flights.poll_landed(cx)).await.1;
            }
            task.await.unwrap();
            assert_eq!(sum, 100 * 1000 + (0..100).sum::<u32>(), "round {round}");
            assert_eq!(flights.places.len(), 100);
        }
    }

    #[tokio::test]
    async fn a_call_woken_during_its_own_poll_is_polled_again() {
        let mut flights: Flights<Call> = Flights::new();
        let call = async {
            tokio::task::yield_now().await;
            futures::pending!();
            7
        };
        // `pending!` waits without a wake-up of its own: only one made during the poll can land it.
        let call = async move {
            let mut call = Box::pin(call);
            poll_fn(move |cx| {
                cx.waker().wake_by_ref();
                call.poll_unpin(cx)
            })
            .await
        };
        assert!(matches!(
            flights.launch(call.boxed(), Instant::now()),
            Launch::Flying(_)
        ));
        assert_eq!(poll_fn(|cx| flights.poll_landed(cx)).await.1, 7);
    }
}
