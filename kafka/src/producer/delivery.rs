//! What became of a record: one shared state a batch, and a future for each record that points into it.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

use parking_lot::Mutex;

use super::ProduceError;

/// Where a record was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordMetadata {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The offset; -1 if the broker confirmed an earlier attempt without saying where it lies.
    pub offset: i64,
    /// Milliseconds since 1970: the record's, or the broker's where the topic has `LogAppendTime`.
    pub timestamp: i64,
}

/// Resolves when the record is acknowledged or has failed. Dropping it changes nothing: the record is
/// delivered all the same, and if it fails, the next [`flush`](super::Producer::flush) or
/// [`close`](super::Producer::close) says so.
#[must_use = "a delivery tells whether the record was written"]
pub struct Delivery {
    target: Target,
    /// Somebody knows what became of the record, or does not want to.
    told: bool,
}

/// The first failure of a record whose [`Delivery`] was dropped: told by the next flush.
#[derive(Debug, Default)]
pub(super) struct Untold {
    first: Mutex<Option<ProduceError>>,
}

impl Untold {
    fn note(&self, error: &ProduceError) {
        self.first.lock().get_or_insert_with(|| error.clone());
    }

    pub(super) fn take(&self) -> Option<ProduceError> {
        self.first.lock().take()
    }
}

enum Target {
    Batch {
        batch: Arc<BatchState>,
        index: u32,
        timestamp: i64,
        /// Where this delivery's waker lies in the batch.
        waker: Option<u32>,
    },
    /// The topic's partitions are not known yet.
    Waiting(Arc<WaitingSlot>),
}

impl Delivery {
    pub(super) fn new(batch: Arc<BatchState>, index: u32, timestamp: i64) -> Self {
        Self {
            target: Target::Batch {
                batch,
                index,
                timestamp,
                waker: None,
            },
            told: false,
        }
    }

    pub(super) fn waiting(slot: Arc<WaitingSlot>) -> Self {
        Self {
            target: Target::Waiting(slot),
            told: false,
        }
    }

    /// A flush has told what became of the record.
    pub(super) fn flushed(&self) {
        match &self.target {
            Target::Batch { batch, index, .. } => batch.flushed_record(*index),
            Target::Waiting(slot) => slot.inner.lock().flushed = true,
        }
    }

    /// One more for the same record, for who looks on.
    pub(super) fn observing(slot: Arc<WaitingSlot>) -> Self {
        Self {
            target: Target::Waiting(slot),
            told: true,
        }
    }
}

impl Drop for Delivery {
    #[inline]
    fn drop(&mut self) {
        if !self.told {
            match &self.target {
                Target::Batch { batch, index, .. } => batch.abandon(*index),
                Target::Waiting(slot) => slot.abandon(),
            }
        }
    }
}

impl Future for Delivery {
    type Output = Result<RecordMetadata, ProduceError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match &mut self.target {
                Target::Batch {
                    batch,
                    index,
                    timestamp,
                    waker,
                } => {
                    let result = batch.poll(*index, *timestamp, waker, cx);
                    self.told |= result.is_ready();
                    return result;
                }
                Target::Waiting(slot) => {
                    let placed = match slot.poll(cx) {
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(Err(error)) => {
                            self.told = true;
                            return Poll::Ready(Err(error));
                        }
                        Poll::Ready(Ok(placed)) => placed,
                    };
                    self.target = Target::Batch {
                        batch: placed.batch,
                        index: placed.index,
                        timestamp: placed.timestamp,
                        waker: None,
                    };
                }
            }
        }
    }
}

/// What the broker confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Acked {
    /// Of the first record; -1 if not known.
    pub(super) base_offset: i64,
    /// -1 unless the topic has `LogAppendTime`.
    pub(super) append_time: i64,
}

/// Records of one batch with the same fate. A batch has one part unless the broker found it too large.
#[derive(Debug)]
struct Part {
    first: u32,
    result: Result<Acked, ProduceError>,
    /// A flush has told its failure, or the next one will.
    told: AtomicBool,
}

/// The state that the records of one batch share.
#[derive(Debug)]
pub(super) struct BatchState {
    topic: Arc<str>,
    partition: i32,
    parts: OnceLock<Vec<Part>>,
    open: Mutex<Open>,
    /// The [`Delivery`] of one of its records was dropped before the end.
    abandoned: AtomicBool,
    untold: Arc<Untold>,
}

#[derive(Debug)]
struct Open {
    wakers: Vec<Waker>,
    finished: Vec<Part>,
    unfinished: u32,
}

impl BatchState {
    pub(super) fn new(topic: Arc<str>, partition: i32, untold: Arc<Untold>) -> Arc<Self> {
        Arc::new(Self {
            topic,
            partition,
            abandoned: AtomicBool::new(false),
            untold,
            parts: OnceLock::new(),
            open: Mutex::new(Open {
                wakers: Vec::new(),
                finished: Vec::new(),
                unfinished: 1,
            }),
        })
    }

    pub(super) fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    pub(super) fn partition(&self) -> i32 {
        self.partition
    }

    /// One part has become `parts`.
    pub(super) fn split(&self, parts: u32) {
        self.open.lock().unfinished += parts - 1;
    }

    /// Sets the result of the part that begins at record `first`; false if it had one, otherwise
    /// `note` is called before anybody sees it.
    pub(super) fn finish(
        &self,
        first: u32,
        result: Result<Acked, ProduceError>,
        note: impl FnOnce(),
    ) -> bool {
        let wakers = {
            let mut open = self.open.lock();
            if self.parts.get().is_some() || open.finished.iter().any(|part| part.first == first) {
                return false;
            }
            note();
            open.finished.push(Part {
                first,
                result,
                told: AtomicBool::new(false),
            });
            open.unfinished -= 1;
            if open.unfinished > 0 {
                return true;
            }
            let mut parts = std::mem::take(&mut open.finished);
            parts.sort_unstable_by_key(|part| part.first);
            self.parts.set(parts).expect("only the last part gets here");
            std::mem::take(&mut open.wakers)
        };
        // Whoever drops a delivery sets the flag first and then looks for the result.
        if self.abandoned.load(Ordering::SeqCst) {
            for part in self.parts.get().into_iter().flatten() {
                self.leave_to_flush(part);
            }
        }
        for waker in wakers {
            waker.wake();
        }
        true
    }

    /// The next flush tells the part's failure, once for all of its records.
    fn leave_to_flush(&self, part: &Part) {
        if let Err(error) = &part.result
            && !part.told.swap(true, Ordering::SeqCst)
        {
            self.untold.note(error);
        }
    }

    /// Nobody will ask what became of this record.
    fn abandon(&self, index: u32) {
        self.abandoned.store(true, Ordering::SeqCst);
        if let Some(parts) = self.parts.get() {
            self.leave_to_flush(part_of(parts, index));
        }
    }

    /// A flush has told what became of every record.
    pub(super) fn flushed(&self) {
        for part in self.parts.get().into_iter().flatten() {
            part.told.store(true, Ordering::SeqCst);
        }
    }

    /// A flush has told what became of this record. Of other parts of the batch it has not heard.
    fn flushed_record(&self, index: u32) {
        if let Some(parts) = self.parts.get() {
            part_of(parts, index).told.store(true, Ordering::SeqCst);
        }
    }

    /// Whether the part that begins at record `first` has its result.
    pub(super) fn is_finished(&self, first: u32) -> bool {
        self.parts.get().is_some()
            || self
                .open
                .lock()
                .finished
                .iter()
                .any(|part| part.first == first)
    }

    /// Waits for the whole batch; the first failure of its parts, if there is one.
    pub(super) async fn wait(&self) -> Result<(), ProduceError> {
        let mut slot = None;
        std::future::poll_fn(|cx| match self.poll_parts(&mut slot, cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(parts) => {
                let failed = parts.iter().find_map(|part| part.result.as_ref().err());
                Poll::Ready(failed.map_or(Ok(()), |error| Err(error.clone())))
            }
        })
        .await
    }

    fn poll(
        &self,
        index: u32,
        timestamp: i64,
        slot: &mut Option<u32>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<RecordMetadata, ProduceError>> {
        let parts = match self.poll_parts(slot, cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(parts) => parts,
        };
        let part = part_of(parts, index);
        Poll::Ready(match &part.result {
            Ok(acked) => Ok(RecordMetadata {
                topic: self.topic.clone(),
                partition: self.partition,
                offset: if acked.base_offset < 0 {
                    -1
                } else {
                    acked
                        .base_offset
                        .saturating_add(i64::from(index - part.first))
                },
                timestamp: if acked.append_time < 0 {
                    timestamp
                } else {
                    acked.append_time
                },
            }),
            Err(error) => Err(error.clone()),
        })
    }

    fn poll_parts(&self, slot: &mut Option<u32>, cx: &mut Context<'_>) -> Poll<&Vec<Part>> {
        if let Some(parts) = self.parts.get() {
            return Poll::Ready(parts);
        }
        let mut open = self.open.lock();
        // The result is set under this lock: either it is seen here, or it finds this waker.
        if let Some(parts) = self.parts.get() {
            return Poll::Ready(parts);
        }
        match slot.and_then(|at| open.wakers.get_mut(at as usize)) {
            Some(waker) => waker.clone_from(cx.waker()),
            None => {
                *slot = Some(open.wakers.len() as u32);
                open.wakers.push(cx.waker().clone());
            }
        }
        Poll::Pending
    }
}

/// The part that a record is in.
fn part_of(parts: &[Part], index: u32) -> &Part {
    &parts[parts.partition_point(|part| part.first <= index) - 1]
}

/// Where a record went that had waited for its topic.
#[derive(Debug, Clone)]
pub(super) struct Placed {
    pub(super) batch: Arc<BatchState>,
    pub(super) index: u32,
    pub(super) timestamp: i64,
}

/// A record that waits for its topic's partitions.
pub(super) struct WaitingSlot {
    inner: Mutex<Waiting>,
    untold: Arc<Untold>,
}

#[derive(Default)]
struct Waiting {
    /// Its [`Delivery`] was dropped.
    abandoned: bool,
    /// A flush has told its failure.
    flushed: bool,
    placed: Option<Result<Placed, ProduceError>>,
    /// The record's own, and those of flushes.
    wakers: Vec<Waker>,
}

impl WaitingSlot {
    pub(super) fn new(untold: Arc<Untold>) -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::default(),
            untold,
        })
    }

    pub(super) fn resolve(&self, result: Result<Placed, ProduceError>) {
        let wakers = {
            let mut inner = self.inner.lock();
            if inner.abandoned {
                self.forsake(&result);
            }
            inner.placed = Some(result);
            std::mem::take(&mut inner.wakers)
        };
        for waker in wakers {
            waker.wake();
        }
    }

    /// Nobody will ask what became of this record.
    fn abandon(&self) {
        let mut inner = self.inner.lock();
        inner.abandoned = true;
        if let Some(result) = &inner.placed
            && !inner.flushed
        {
            self.forsake(result);
        }
    }

    fn forsake(&self, result: &Result<Placed, ProduceError>) {
        match result {
            Ok(placed) => placed.batch.abandon(placed.index),
            Err(error) => self.untold.note(error),
        }
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<Placed, ProduceError>> {
        let mut inner = self.inner.lock();
        if let Some(result) = &inner.placed {
            return Poll::Ready(result.clone());
        }
        if !inner.wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
            inner.wakers.push(cx.waker().clone());
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests;
