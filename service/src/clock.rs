//! Where a process takes the time of day from.

use std::fmt;
use std::sync::Arc;

/// The time of day, in milliseconds since 1970. Clones share it.
///
/// It is what this machine says, which may be wrong by years: what deletes by time asks
/// [`Database::believed_time`](crate::db::Database::believed_time) instead.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> i64 + Send + Sync>);

impl Clock {
    /// The operating system's.
    pub fn system() -> Self {
        Self::new(proto::now_millis)
    }

    /// One that says what `now` returns.
    pub fn new(now: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// Now, in milliseconds since 1970.
    pub fn now_millis(&self) -> i64 {
        (self.0)()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}
