//! What happens without a client asking: retention, forcing bytes to the device, closing.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::clock::now_ms;
use crate::state::State;

/// An idempotent producer silent for this long is forgotten, in milliseconds; Kafka's
/// `producer.id.expiration.ms`.
const PRODUCER_AGE_MS: i64 = 24 * 60 * 60 * 1000;

/// Deletes what retention no longer covers, again and again.
pub(crate) async fn retention(state: Arc<State>, stop: CancellationToken) {
    let every = state.config.retention_check_interval;
    repeat(every, stop, state, |state| {
        let now = now_ms();
        state.groups.lock().expire(now);
        for topic in state.topics.all() {
            for partition in &topic.partitions {
                if partition.is_deleted() {
                    continue;
                }
                // Before retention, which may delete what they are about.
                let closed = partition.log().take_checkpoints();
                for checkpoint in closed {
                    checkpoint.write(&state.disk);
                }
                let mut log = partition.log();
                log.expire_producers(now - PRODUCER_AGE_MS);
                match log.enforce_retention(now) {
                    Ok(0) => {}
                    Ok(segments) => tracing::info!(
                        topic = %partition.topic, partition = partition.index, segments,
                        start_offset = log.start_offset(), "retention deleted old segments"
                    ),
                    Err(error) => tracing::error!(
                        topic = %partition.topic, partition = partition.index, %error,
                        "retention failed; tried again at the next check"
                    ),
                }
            }
        }
    })
    .await;
}

/// Forces every partition's bytes to the device, again and again.
pub(crate) async fn sync(state: Arc<State>, every: Duration, stop: CancellationToken) {
    repeat(every, stop, state, |state| {
        for topic in state.topics.all() {
            for partition in &topic.partitions {
                if let Err(error) = partition.sync(&state.disk) {
                    tracing::error!(
                        topic = %partition.topic, partition = partition.index, %error,
                        "cannot force the log to the device"
                    );
                }
            }
        }
        if let Err(error) = state.topics.sync() {
            tracing::error!(%error, "cannot force the list of topics to the device");
        }
        if let Err(error) = state.groups.lock().force() {
            tracing::error!(%error, "cannot force commits to the device");
        }
    })
    .await;
}

/// Writes everything down at the end.
pub(crate) fn close(state: &State) {
    for topic in state.topics.all() {
        for partition in &topic.partitions {
            let (closed, active) = {
                let mut log = partition.log();
                (log.take_checkpoints(), log.checkpoint())
            };
            for checkpoint in closed.into_iter().chain(active.ok()) {
                checkpoint.write(&state.disk);
            }
        }
    }
    if let Err(error) = state.topics.sync() {
        tracing::error!(%error, "cannot force the list of topics to the device");
    }
    if let Err(error) = state.groups.lock().force() {
        tracing::error!(%error, "cannot force commits to the device");
    }
}

async fn repeat(every: Duration, stop: CancellationToken, state: Arc<State>, work: fn(&State)) {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return,
        }
        let state = state.clone();
        // File work: not on the threads that serve clients.
        if let Err(error) = tokio::task::spawn_blocking(move || work(&state)).await {
            tracing::error!(%error, "housekeeping failed");
        }
    }
}
