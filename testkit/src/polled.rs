//! Futures that are dropped before they are done.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

/// Polls a future this often at most, each time it is woken, and drops it: cancelled where it waits
/// for the `polls`-th time. `None` unless it was done by then.
pub async fn polled<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Drops a future of `make` before its first poll, another one after its first, and so on until one
/// is done, which is returned. After each drop, `check` says whether everything is as it should be.
///
/// # Panics
/// When none is done within 500 polls.
pub async fn dropped_at_every_await<F: Future>(
    mut make: impl FnMut(usize) -> F,
    mut check: impl AsyncFnMut(usize),
) -> F::Output {
    for polls in 0..500 {
        if let Some(output) = polled(polls, make(polls)).await {
            return output;
        }
        check(polls).await;
    }
    panic!("a future that is not done after 500 polls");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_await_is_reached_once_before_the_end() {
        let reached = std::cell::RefCell::new(Vec::new());
        let done = dropped_at_every_await(
            |_| async {
                for at in 0..3 {
                    reached.borrow_mut().push(at);
                    tokio::task::yield_now().await;
                }
                "done"
            },
            async |_| reached.borrow_mut().push(9),
        )
        .await;
        assert_eq!(done, "done");
        assert_eq!(*reached.borrow(), [9, 0, 9, 0, 1, 9, 0, 1, 2, 9, 0, 1, 2]);
    }
}
