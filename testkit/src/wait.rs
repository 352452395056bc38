//! Waiting for something that cannot be awaited.

use std::future::Future;
use std::panic::Location;
use std::time::{Duration, Instant};

/// Time between two looks.
const EVERY: Duration = Duration::from_millis(10);

/// Asks again and again until there is an answer.
///
/// # Panics
/// When there is none within `deadline`, naming the place of the call.
#[track_caller]
pub fn eventually<T, F, Fut>(deadline: Duration, mut look: F) -> impl Future<Output = T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let place = Location::caller();
    async move {
        let start = Instant::now();
        let mut looks = 0u32;
        loop {
            let left = deadline.saturating_sub(start.elapsed());
            looks += 1;
            if let Ok(Some(found)) = tokio::time::timeout(left, look()).await {
                return found;
            }
            assert!(
                start.elapsed() < deadline,
                "what {place} waits for did not happen within {deadline:?} ({looks} looks)"
            );
            tokio::time::sleep(EVERY).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn answers_with_what_was_found() {
        let mut looks = 0;
        let found = eventually(Duration::from_secs(5), || {
            looks += 1;
            let found = (looks == 3).then_some("here");
            async move { found }
        });
        assert_eq!(found.await, "here");
    }

    #[tokio::test]
    #[should_panic(expected = "wait.rs")]
    async fn gives_up_and_names_the_place() {
        eventually(Duration::from_millis(30), || async { None::<()> }).await;
    }

    #[tokio::test]
    #[should_panic(expected = "did not happen")]
    async fn a_look_that_hangs_does_not_hang_the_test() {
        eventually(
            Duration::from_millis(30),
            std::future::pending::<Option<()>>,
        )
        .await;
    }
}
