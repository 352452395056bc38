//! Keeps the picture of the cluster fresh: one task, one metadata request at a time, for every topic
//! that somebody asked for.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::Cluster;
use super::learn::{Answer, Others};
use crate::backoff::Backoff;
use crate::error::Error;

/// Smallest distance between two requests, and longest after repeated failures (Java
/// `retry.backoff.ms`, `retry.backoff.max.ms`).
const SPACING: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));

/// What the task and those who wait for it share.
pub(super) struct Refresh {
    wanted: Mutex<BTreeSet<Arc<str>>>,
    started: AtomicBool,
    /// How many rounds have been asked for. A round answers only requests made before it began.
    asked: watch::Sender<u64>,
    done: watch::Sender<Done>,
    /// Somebody asked for a topic that no round has asked for: it need not wait for the spacing.
    grew: Notify,
    stop: Notify,
}

#[derive(Clone)]
struct Done {
    round: u64,
    result: Result<(), Error>,
}

impl Refresh {
    pub(super) fn new() -> Self {
        Self {
            wanted: Mutex::default(),
            started: AtomicBool::new(false),
            asked: watch::Sender::new(0),
            done: watch::Sender::new(Done {
                round: 0,
                result: Ok(()),
            }),
            grew: Notify::new(),
            stop: Notify::new(),
        }
    }

    /// Keeps these topics fresh from now on.
    pub(super) fn want(&self, names: &[Arc<str>]) {
        let mut wanted = self.wanted.lock();
        for name in names {
            if !wanted.contains(name) {
                wanted.insert(name.clone());
                self.grew.notify_one();
            }
        }
    }

    pub(super) fn stop(&self) {
        self.stop.notify_one();
    }
}

/// Asks for a round and starts the task if need be; returns the round that will answer.
pub(super) fn request(cluster: &Arc<Cluster>) -> u64 {
    let refresh = &cluster.refresh;
    if !refresh.started.swap(true, Ordering::AcqRel) {
        tokio::spawn(run(
            Arc::downgrade(cluster),
            refresh.clone(),
            cluster.config().metadata_max_age,
        ));
    }
    let mut round = 0;
    refresh.asked.send_modify(|asked| {
        *asked += 1;
        round = *asked;
    });
    round
}

pub(super) async fn refresh(cluster: &Arc<Cluster>) -> Result<Arc<super::ClusterView>, Error> {
    let started = Instant::now();
    let mut done = cluster.refresh.done.subscribe();
    let round = request(cluster);
    let waiting = done.wait_for(|done| done.round >= round);
    match tokio::time::timeout(cluster.patience(), waiting).await {
        Ok(Ok(done)) => {
            done.result.clone()?;
            Ok(cluster.view())
        }
        Ok(Err(_)) | Err(_) => Err(Error::Deadline {
            what: "asking for the cluster's metadata".into(),
            elapsed: started.elapsed(),
            last: None,
        }),
    }
}

/// Until the cluster is dropped.
async fn run(cluster: std::sync::Weak<Cluster>, refresh: Arc<Refresh>, max_age: Duration) {
    let mut asked = refresh.asked.subscribe();
    let mut failures: u32 = 0;
    loop {
        let round = *asked.borrow_and_update();
        let result = {
            let Some(cluster) = cluster.upgrade() else {
                return;
            };
            tokio::select! {
                result = once(&cluster, &refresh) => result,
                () = refresh.stop.notified() => return,
            }
        };
        let settled = match &result {
            Ok(settled) => *settled,
            Err(error) => {
                tracing::debug!(%error, "metadata refresh failed");
                true
            }
        };
        failures = if result.is_ok() && settled {
            0
        } else {
            failures + 1
        };
        let result = result.map(|_| ());
        refresh.done.send_replace(Done { round, result });
        let spacing = SPACING.random_delay(failures);
        let next = async {
            tokio::select! {
                () = tokio::time::sleep(spacing) => {}
                () = refresh.grew.notified() => {}
            }
            // Where brokers name different topics, they are asked again without being told to.
            tokio::select! {
                () = std::future::ready(()), if !settled => {}
                _ = asked.changed() => {}
                () = tokio::time::sleep(max_age.saturating_sub(spacing)) => {}
            }
        };
        tokio::select! {
            () = next => {}
            () = refresh.stop.notified() => return,
        }
    }
}

/// True: nothing is left that brokers disagree on.
async fn once(cluster: &Arc<Cluster>, refresh: &Refresh) -> Result<bool, Error> {
    let names: Vec<Arc<str>> = refresh.wanted.lock().iter().cloned().collect();
    let (from, seen) = cluster.fetch_metadata(Some(&names)).await?;
    let answer = Answer {
        from,
        asked: &names,
        seen,
    };
    Ok(cluster.learn(answer, Others::Go).await)
}
