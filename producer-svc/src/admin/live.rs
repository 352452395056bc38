//! `GET /api/admin/events`: the cluster as it changes, as server-sent events. However many look, Kafka
//! is asked once each time, and not at all while nobody looks.

use std::sync::Arc;
use std::time::Duration;

use kafka::Admin;
use serde::Serialize;
use service::CancellationToken;
use service::health::Health;
use service::http::{EventFrame, Problem, Request, Response, Router, event_stream};
use service::kafka_glue::explained;
use tokio::sync::{Notify, watch};

use super::cluster::Cluster;
use super::groups::{self, Group};
use super::services::{Service, Services};
use super::topics::{self, Topic};
use crate::Config;

/// Between two looks while somebody watches.
const INTERVAL: Duration = Duration::from_secs(2);

/// How long a client waits before it connects again after the stream ended.
const RETRY: Duration = Duration::from_secs(2);

/// Who watches the cluster. Clones share one look.
#[derive(Clone)]
pub(crate) struct Live(Arc<Inner>);

struct Inner {
    admin: Admin,
    services: Services,
    stop: CancellationToken,
    /// What was seen last, as JSON; empty before the first look.
    seen: watch::Sender<Arc<str>>,
    /// Somebody has begun to watch.
    begun: Notify,
}

/// Everything that is shown of the moment.
#[derive(Serialize)]
struct Snapshot {
    services: Vec<Service>,
    /// Why topics and groups are missing; absent where they are there.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    topics: Vec<Topic>,
    groups: Vec<Group>,
}

pub(super) fn routes(live: &Live) -> Router {
    Router::new().get("/api/admin/events", live.clone(), stream)
}

async fn stream(live: Live, _: Request) -> Result<Response, Problem> {
    let (sender, response) = event_stream(2, &live.0.stop);
    let mut seen = live.0.seen.subscribe();
    live.0.begun.notify_one();
    tokio::spawn(async move {
        let sending = async {
            if !sender.send(EventFrame::retry(RETRY)).await {
                return;
            }
            loop {
                let newest = seen.borrow_and_update().clone();
                let frame = EventFrame::new(None, Some("cluster"), &newest);
                // A slow client misses what another look has replaced meanwhile.
                if !newest.is_empty() && !sender.send(frame).await {
                    return;
                }
                if seen.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = sending => {}
            () = sender.closed() => {}
            () = live.0.stop.cancelled() => {}
        }
    });
    Ok(response)
}

impl Live {
    pub(crate) fn new(
        admin: Admin,
        health: &Health,
        config: &Config,
        stop: &CancellationToken,
    ) -> Self {
        Self(Arc::new(Inner {
            admin,
            services: Services::new(health, &config.cart_service, &config.notifier_service),
            stop: stop.clone(),
            seen: watch::Sender::new("".into()),
            begun: Notify::new(),
        }))
    }

    /// Looks while somebody watches, until the service stops.
    pub(crate) async fn run(self) {
        let looking = async {
            loop {
                if self.0.seen.receiver_count() == 0 {
                    // Whoever comes next is not shown what was then.
                    self.0.seen.send_replace("".into());
                }
                while self.0.seen.receiver_count() == 0 {
                    self.0.begun.notified().await;
                }
                let snapshot = self.look().await;
                let json = serde_json::to_string(&snapshot).expect("plain fields serialise");
                self.0.seen.send_if_modified(|seen| {
                    let changed = **seen != *json;
                    if changed {
                        *seen = json.into();
                    }
                    changed
                });
                tokio::time::sleep(INTERVAL).await;
            }
        };
        tokio::select! {
            () = looking => {}
            () = self.0.stop.cancelled() => {}
        }
    }

    async fn look(&self) -> Snapshot {
        let asked = async {
            let cluster = Cluster::look(&self.0.admin).await?;
            let groups = groups::all(&self.0.admin, &cluster).await?;
            Ok::<_, kafka::Error>((topics::of(&cluster), groups))
        };
        let (asked, services) = tokio::join!(asked, self.0.services.look());
        match asked {
            Ok((topics, groups)) => Snapshot {
                services,
                problem: None,
                topics,
                groups,
            },
            Err(error) => Snapshot {
                services,
                problem: Some(format!("Kafka did not answer: {}", explained(&error))),
                topics: Vec::new(),
                groups: Vec::new(),
            },
        }
    }
}
