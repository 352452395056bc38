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
