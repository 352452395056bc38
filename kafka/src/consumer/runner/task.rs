//! A record on its way through the consumer, and the call that handles it.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use futures::FutureExt;

use super::super::handler::{Handler, Outcome};
use super::super::lanes::{Lane, Parked};
use super::super::record::ConsumerRecord;

/// A record, and where it came from.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) record: ConsumerRecord,
    pub(super) lane: Lane,
    pub(super) slot: usize,
    /// The slot's life at the time; another one now means that the partition went meanwhile.
    pub(super) life: u64,
}

impl Parked for Task {
    fn slot(&self) -> usize {
        self.slot
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + self.record.size()
    }
}

/// What the handler said, or that it panicked.
pub(super) enum Answer {
    Said(Outcome),
    Panicked(String),
}

/// Hands the task to the handler.
pub(super) async fn call<H: Handler>(handler: &H, task: Task) -> (Task, Answer) {
    // Inside, so that a panic before the first await is caught too.
    let call = async { handler.handle(&task.record).await };
    let answer = match AssertUnwindSafe(call).catch_unwind().await {
        Ok(outcome) => Answer::Said(outcome),
        Err(panic) => Answer::Panicked(text(&*panic)),
    };
    (task, answer)
}

/// The lane of a record. A panic there must not end the consumer either.
#[inline]
pub(super) fn lane<H: Handler>(handler: &H, record: &ConsumerRecord) -> Lane {
    match std::panic::catch_unwind(AssertUnwindSafe(|| handler.lane(record))) {
        Ok(lane) => lane,
        Err(panic) => {
            tracing::error!(
                topic = %record.topic, partition = record.partition, offset = record.offset,
                "choosing the record's lane panicked, its key is taken instead: {}", text(&*panic)
            );
            record.key.as_deref().map_or(Lane::Unordered, Lane::of)
        }
    }
}

pub(super) fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
        .to_owned()
}
