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
mod tests {
    use std::sync::atomic::AtomicUsize;

    use futures::{FutureExt as _, executor::block_on};

    use super::*;

    struct Count(Arc<AtomicUsize>);

    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn new_count_waker() -> (Waker, Arc<AtomicUsize>) {
        let count = Arc::<AtomicUsize>::default();
        (Arc::new(Count(count.clone())).into(), count)
    }

    fn acked(base_offset: i64) -> Result<Acked, ProduceError> {
        Ok(Acked {
            base_offset,
            append_time: -1,
        })
    }

    #[test]
    fn every_record_gets_its_own_offset() {
        let batch = BatchState::new("t".into(), 2, Arc::default());
        let mut first = Delivery::new(batch.clone(), 0, 10);
        let second = Delivery::new(batch.clone(), 1, 20);
        assert!((&mut first).now_or_never().is_none());
        assert!(batch.finish(0, acked(100), || {}));
        assert!(
            !batch.finish(0, acked(200), || {}),
            "the first result stays"
        );
        let metadata = block_on(first).unwrap();
        assert_eq!(
            (metadata.offset, metadata.timestamp, metadata.partition),
            (100, 10, 2)
        );
        assert_eq!(block_on(second).unwrap().offset, 101);
    }

    #[test]
    fn an_offset_that_cannot_be_overflows_nothing() {
        let batch = BatchState::new("t".into(), 2, Arc::default());
        let second = Delivery::new(batch.clone(), 1, 20);
        batch.finish(0, acked(i64::MAX), || {});
        assert_eq!(block_on(second).unwrap().offset, i64::MAX);
    }

    #[test]
    fn append_time_replaces_the_records_time() {
        let batch = BatchState::new("t".into(), 0, Arc::default());
        let delivery = Delivery::new(batch.clone(), 3, 10);
        batch.finish(
            0,
            Ok(Acked {
                base_offset: -1,
                append_time: 99,
            }),
            || {},
        );
        let metadata = block_on(delivery).unwrap();
        assert_eq!((metadata.offset, metadata.timestamp), (-1, 99));
    }

    #[test]
    fn the_parts_of_a_split_batch_have_their_own_fates() {
        let batch = BatchState::new("t".into(), 0, Arc::default());
        let mut deliveries: Vec<_> = (0..4)
            .map(|index| Delivery::new(batch.clone(), index, 0))
            .collect();
        batch.split(2);
        assert!(batch.finish(2, acked(50), || {}));
        assert!((&mut deliveries[3]).now_or_never().is_none());
        assert!(batch.finish(0, Err(ProduceError::Closed { topic: "t".into() }), || {}));
        let results: Vec<_> = deliveries
            .into_iter()
            .map(|delivery| block_on(delivery).map(|m| m.offset).ok())
            .collect();
        assert_eq!(results, [None, None, Some(50), Some(51)]);
        assert!(block_on(batch.wait()).is_err());
    }

    #[test]
    fn a_record_that_waited_for_its_topic_follows_its_batch() {
        let slot = WaitingSlot::new(Arc::default());
        let mut delivery = Delivery::waiting(slot.clone());
        assert!((&mut delivery).now_or_never().is_none());
        // A flush waits for the same record, and wakes as well.
        let (waker, woken) = new_count_waker();
        let mut flush = std::pin::pin!(Delivery::waiting(slot.clone()));
        assert!(
            flush
                .as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
        );
        let (other, _) = new_count_waker();
        assert!(
            delivery
                .poll_unpin(&mut Context::from_waker(&other))
                .is_pending()
        );
        let batch = BatchState::new("t".into(), 0, Arc::default());
        slot.resolve(Ok(Placed {
            batch: batch.clone(),
            index: 1,
            timestamp: 0,
        }));
        assert_eq!(woken.load(Ordering::SeqCst), 1);
        assert!((&mut delivery).now_or_never().is_none());
        batch.finish(0, acked(7), || {});
        assert_eq!(block_on(delivery).unwrap().offset, 8);
    }

    fn refused() -> ProduceError {
        ProduceError::Closed { topic: "t".into() }
    }

    #[test]
    fn the_failure_of_a_record_that_nobody_waits_for_is_noted_once() {
        let untold = Arc::<Untold>::default();
        let batch = || BatchState::new("t".into(), 0, untold.clone());
        // Dropped before the failure, and after it.
        let early = batch();
        drop(Delivery::new(early.clone(), 0, 0));
        assert!(untold.take().is_none());
        early.finish(0, Err(refused()), || {});
        assert!(untold.take().is_some() && untold.take().is_none());
        let late = batch();
        let delivery = Delivery::new(late.clone(), 0, 0);
        late.finish(0, Err(refused()), || {});
        assert!(untold.take().is_none());
        drop(delivery);
        assert!(untold.take().is_some());
        // Whoever was told needs no second word; nor does a record that was written.
        let told = batch();
        let delivery = Delivery::new(told.clone(), 0, 0);
        told.finish(0, Err(refused()), || {});
        assert!(block_on(delivery).is_err());
        let written = batch();
        drop(Delivery::new(written.clone(), 0, 0));
        written.finish(0, acked(3), || {});
        assert!(untold.take().is_none());
    }

    #[test]
    fn the_failure_of_several_records_is_noted_once() {
        let untold = Arc::<Untold>::default();
        let batch = BatchState::new("t".into(), 0, untold.clone());
        drop(Delivery::new(batch.clone(), 0, 0));
        let late = Delivery::new(batch.clone(), 1, 0);
        batch.finish(0, Err(refused()), || {});
        assert!(untold.take().is_some(), "a flush tells it");
        drop(late);
        assert!(untold.take().is_none(), "the next one need not");
        // Told by a flush that had waited for it.
        let batch = BatchState::new("t".into(), 0, untold.clone());
        let late = Delivery::new(batch.clone(), 0, 0);
        batch.finish(0, Err(refused()), || {});
        assert!(block_on(batch.wait()).is_err());
        batch.flushed();
        drop(late);
        assert!(untold.take().is_none());
    }

    #[test]
    fn a_flush_that_waited_for_one_record_has_told_nothing_of_another_part() {
        let untold = Arc::<Untold>::default();
        let slot = WaitingSlot::new(untold.clone());
        let own = Delivery::waiting(slot.clone());
        let mut flush = Delivery::observing(slot.clone());
        let batch = BatchState::new("t".into(), 0, untold.clone());
        slot.resolve(Ok(Placed {
            batch: batch.clone(),
            index: 0,
            timestamp: 0,
        }));
        let later = Delivery::new(batch.clone(), 1, 0);
        batch.split(2);
        batch.finish(0, acked(7), || {});
        batch.finish(1, Err(refused()), || {});
        assert!(block_on(&mut flush).is_ok());
        flush.flushed();
        drop(own);
        assert!(untold.take().is_none(), "it was written");
        drop(later);
        assert!(untold.take().is_some());
    }

    #[test]
    fn a_record_that_never_got_its_topic_is_told_once() {
        let untold = Arc::<Untold>::default();
        let slot = WaitingSlot::new(untold.clone());
        let own = Delivery::waiting(slot.clone());
        let mut flush = Delivery::observing(slot.clone());
        slot.resolve(Err(refused()));
        assert!(block_on(&mut flush).is_err());
        flush.flushed();
        drop(own);
        assert!(untold.take().is_none());
    }

    #[test]
    fn a_record_that_waits_for_its_topic_is_noted_as_well() {
        let untold = Arc::<Untold>::default();
        let slot = WaitingSlot::new(untold.clone());
        drop(Delivery::observing(slot.clone()));
        drop(Delivery::waiting(slot.clone()));
        slot.resolve(Err(refused()));
        assert!(untold.take().is_some());
        let slot = WaitingSlot::new(untold.clone());
        drop(Delivery::waiting(slot.clone()));
        let batch = BatchState::new("t".into(), 0, untold.clone());
        slot.resolve(Ok(Placed {
            batch: batch.clone(),
            index: 0,
            timestamp: 0,
        }));
        batch.finish(0, Err(refused()), || {});
        assert!(untold.take().is_some());
        let slot = WaitingSlot::new(untold.clone());
        drop(Delivery::observing(slot.clone()));
        slot.resolve(Err(refused()));
        assert!(untold.take().is_none(), "a flush that was given up");
    }
}
