//! The task that watches the cluster and the clock for a producer: it places records whose topic has
//! become known, finds leaders for partitions that had none, and fails what has passed its deadline.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::core::Core;

/// How late a deadline may be noticed at most.
const COARSEST: Duration = Duration::from_millis(500);
const FINEST: Duration = Duration::from_millis(5);
/// How often metadata is asked for while records wait for a topic or a leader; the cluster's own
/// spacing applies as well.
const STUCK: Duration = Duration::from_millis(100);

pub(super) async fn run(core: Arc<Core>) {
    let mut view = core.cluster.watch();
    let tick = (core.rules.delivery_timeout / 20).clamp(FINEST, COARSEST);
    let mut stuck = false;
    while !core.is_done() {
        let resting = core.router_rests();
        let pause = if stuck { tick.min(STUCK) } else { tick };
        tokio::select! {
            changed = view.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            () = core.router.notified() => {}
            () = tokio::time::sleep(pause), if !resting => {}
        }
        let current = view.borrow_and_update().clone();
        core.adopt(&current);
        core.sweep(Instant::now());
        let topics = core.stuck_topics();
        stuck = !topics.is_empty();
        if stuck {
            core.cluster.want_topics(&topics);
        }
    }
}
