use std::time::Duration;

use tokio::time::Instant;

/// Lines about records that are passed over, in each [`WINDOW`]; further ones are counted. 200,000 records
/// that nobody can read say in 200,000 lines no more than in a few.
const LINES: u64 = 10;
const WINDOW: Duration = Duration::from_secs(10);

/// Decides which of many like lines are written.
#[derive(Debug, Default)]
pub(super) struct Quiet {
    /// The end of the window that is open.
    until: Option<Instant>,
    seen: u64,
}

impl Quiet {
    /// Whether a line is written now.
    pub(super) fn admits(&mut self, now: Instant) -> bool {
        if self.until.is_none() {
            self.until = Some(now + WINDOW);
            self.seen = 0;
        }
        self.seen += 1;
        self.seen <= LINES
    }

    /// When to say what was not written.
    pub(super) fn due(&self) -> Option<Instant> {
        self.until.filter(|_| self.seen > LINES)
    }

    /// How many lines of the window that has ended were not written, if any. To be asked before
    /// [`Quiet::admits`], or at [`Quiet::due`].
    pub(super) fn ended(&mut self, now: Instant) -> Option<u64> {
        if self.until.is_none_or(|until| now < until) {
            return None;
        }
        self.until = None;
        Some(self.seen.saturating_sub(LINES)).filter(|kept| *kept > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_a_few_lines_and_a_count() {
        let (mut quiet, begun) = (Quiet::default(), Instant::now());
        let written = (0..200_000).filter(|_| quiet.admits(begun)).count();
        assert_eq!(written, 10);
        let end = begun + WINDOW;
        assert_eq!(quiet.due(), Some(end));
        assert_eq!(quiet.ended(end - Duration::from_millis(1)), None);
        assert_eq!(quiet.ended(end), Some(199_990));
        assert_eq!((quiet.ended(end), quiet.due()), (None, None));
        // A trickle is told whole.
        for second in 0..60 {
            let now = end + Duration::from_secs(second);
            assert_eq!(quiet.ended(now), None);
            assert!(quiet.admits(now));
            assert_eq!(quiet.due(), None);
        }
    }
}
