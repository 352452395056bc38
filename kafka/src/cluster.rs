//! What this client knows of the cluster, and its connections to it.
//!
//! `view` is the picture itself (pure), `topic_ids` decides which of two topics of one name is the newer (pure), `learn`
//! takes answers into the picture, `refresh` is the task that keeps it fresh, `pool` the connections.

mod learn;
mod pool;
mod refresh;
mod topic_ids;
mod view;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use kafka_protocol::{
    messages::{
        ApiKey, FindCoordinatorRequest, MetadataRequest, TopicName,
        metadata_request::MetadataRequestTopic,
    },
    protocol::StrBytes,
};
use parking_lot::Mutex;
use tokio::sync::watch;

#[cfg(test)]
pub(crate) use self::learn::tests::Scripted;
pub(crate) use self::pool::Pool;
use self::refresh::Refresh;
use self::topic_ids::TopicIds;
pub(crate) use self::view::{ClusterView, TopicView};
use crate::{client::ClientConfig, connection::Connection, error::Error};

/// What a connection is used for. Each purpose has connections of its own, because a broker answers
/// the requests of one connection one after another: a fetch that waits for records, or a group join
/// that waits for members, would hold up everything behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Purpose {
    /// Produce and InitProducerId.
    Produce,
    /// Fetch; each consumer from a pool of its own.
    Fetch,
    /// Fetch of partitions that must not wait behind a long poll under way.
    FetchAside,
    /// JoinGroup, SyncGroup, Heartbeat, LeaveGroup.
    Group,
    /// OffsetCommit, OffsetFetch: a commit must not wait behind a join.
    Commit,
    /// Everything short: metadata, offsets, descriptions, topic creation.
    Admin,
}

/// Metadata and connections, shared by everything made from one [`crate::Client`].
pub(crate) struct Cluster {
    config: ClientConfig,
    view: watch::Sender<Arc<ClusterView>>,
    /// Locked inside a change of `view`, never the other way round.
    topic_ids: Mutex<TopicIds>,
    refresh: Arc<Refresh>,
    pool: Pool,
}

impl Cluster {
    pub(crate) fn new(config: ClientConfig) -> Arc<Self> {
        Arc::new(Self {
            view: watch::Sender::new(Arc::new(ClusterView::default())),
            topic_ids: Mutex::default(),
            refresh: Arc::new(Refresh::new()),
            pool: Pool::new(),
            config,
        })
    }

    pub(crate) fn config(&self) -> &ClientConfig {
        &self.config
    }

    /// The picture as last seen. No I/O; empty before the first refresh.
    pub(crate) fn view(&self) -> Arc<ClusterView> {
        self.view.borrow().clone()
    }

    /// Changes of the picture: brokers, topics, partitions, leaders.
    pub(crate) fn watch(&self) -> watch::Receiver<Arc<ClusterView>> {
        self.view.subscribe()
    }

    /// The picture with `names` in it, asking the cluster once if some are unknown. From then on they
    /// are kept fresh. A topic that does not exist is absent from [`ClusterView::topics`].
    ///
    /// # Errors
    /// [`Error::Unreachable`] or [`Error::Deadline`] when no broker answered.
    pub(crate) async fn ensure_topics(
        self: &Arc<Self>,
        names: &[Arc<str>],
    ) -> Result<Arc<ClusterView>, Error> {
        self.refresh.want(names);
        let view = self.view();
        if names.iter().all(|name| view.topics.contains_key(name)) && !view.brokers.is_empty() {
            return Ok(view);
        }
        self.refresh().await
    }

    /// Keeps `names` fresh from now on and asks for them soon, without waiting.
    pub(crate) fn want_topics(self: &Arc<Self>, names: &[Arc<str>]) {
        self.refresh.want(names);
        self.request_refresh();
    }

    /// Fresh metadata, asked for after this call. Concurrent calls share one request.
    pub(crate) async fn refresh(self: &Arc<Self>) -> Result<Arc<ClusterView>, Error> {
        refresh::refresh(self).await
    }

    /// Asks for fresh metadata soon, without waiting. Requests close together become one.
    pub(crate) fn request_refresh(self: &Arc<Self>) {
        refresh::request(self);
    }

    /// A connection to broker `node`, opened or reopened if there is none. Waits out the reconnect
    /// back-off, then tries once, at most `connect_timeout`.
    ///
    /// # Errors
    /// [`Error::UnknownNode`] (and a refresh is requested) or why connecting failed.
    pub(crate) async fn connection(
        self: &Arc<Self>,
        node: i32,
        purpose: Purpose,
    ) -> Result<Connection, Error> {
        self.connection_of(&self.pool, node, purpose).await
    }

    /// A pool for somebody whose calls hold up what is behind them for long, and who keeps calling.
    pub(crate) fn own_pool(&self) -> Pool {
        self.pool.sibling()
    }

    /// As [`Cluster::connection`], out of somebody's own pool.
    pub(crate) async fn connection_of(
        self: &Arc<Self>,
        pool: &Pool,
        node: i32,
        purpose: Purpose,
    ) -> Result<Connection, Error> {
        let address = self.address(node)?;
        let opened = pool.connection(&address, purpose, &self.config).await;
        if opened.is_err() {
            // The broker may have moved to another address, its partitions to another broker.
            self.request_refresh();
        }
        opened
    }

    /// A connection to broker `node` that nobody else uses, for calls that hold up what is behind
    /// them. One attempt, at most `connect_timeout`.
    ///
    /// # Errors
    /// As for [`Cluster::connection`].
    pub(crate) async fn own_connection(self: &Arc<Self>, node: i32) -> Result<Connection, Error> {
        let address = self.address(node)?;
        self.pool.open(&address, &self.config).await
    }

    /// Where broker `node` is, as far as known; otherwise a refresh is requested.
    fn address(self: &Arc<Self>, node: i32) -> Result<Arc<str>, Error> {
        let view = self.view();
        match view.brokers.get(&node) {
            Some(broker) => Ok(broker.address.clone()),
            None => {
                self.request_refresh();
                Err(Error::UnknownNode { node })
            }
        }
    }

    /// A connection to any broker: the known ones first, then the bootstrap addresses.
    ///
    /// # Errors
    /// [`Error::Unreachable`] when none can be connected to.
    pub(crate) async fn any_connection(&self, purpose: Purpose) -> Result<Connection, Error> {
        let mut last = None;
        for address in self.candidates() {
            match self.pool.connection(&address, purpose, &self.config).await {
                Ok(connection) => return Ok(connection),
                Err(error) => keep(&mut last, error),
            }
        }
        Err(self.unreachable(last))
    }

    /// The coordinator of a consumer group, asked from any broker; its address is remembered.
    ///
    /// # Errors
    /// The broker's code with the group's name: COORDINATOR_NOT_AVAILABLE and the like pass with time.
    pub(crate) async fn coordinator(self: &Arc<Self>, group: &str) -> Result<i32, Error> {
        /// `FindCoordinatorRequest.json`: 0 is a group, 1 a transaction.
        const GROUP: i8 = 0;
        let connection = self.any_connection(Purpose::Admin).await?;
        let key = StrBytes::from_string(group.to_owned());
        let request = FindCoordinatorRequest::default().with_key_type(GROUP);
        // KIP-699 asks for several keys at once.
        let request = match connection.version::<FindCoordinatorRequest>() {
            Some(version) if version >= 4 => request.with_coordinator_keys(vec![key]),
            _ => request.with_key(key),
        };
        let response = connection
            .call(request, self.config.request_timeout)
            .await?;
        let (code, message, node, host, port) = match response.coordinators.into_iter().next() {
            Some(found) => (
                found.error_code,
                found.error_message,
                found.node_id,
                found.host,
                found.port,
            ),
            None => (
                response.error_code,
                response.error_message,
                response.node_id,
                response.host,
                response.port,
            ),
        };
        Error::check(ApiKey::FindCoordinator, code, message.as_deref(), || {
            format!("group {group}")
        })?;
        let address: Arc<str> = view::address(&host, port).into();
        self.view
            .send_if_modified(|view| match view.with_broker(*node, &address) {
                Some(changed) => {
                    *view = Arc::new(changed);
                    true
                }
                None => false,
            });
        Ok(*node)
    }

    /// Addresses in the order in which they are tried: a connected broker saves a handshake.
    fn candidates(&self) -> Vec<Arc<str>> {
        let view = self.view();
        let mut addresses: Vec<Arc<str>> = view
            .brokers
            .values()
            .map(|broker| broker.address.clone())
            .collect();
        shuffle(&mut addresses);
        let mut bootstrap: Vec<Arc<str>> = self
            .config
            .bootstrap_servers
            .iter()
            .map(|server| server.as_str().into())
            .filter(|server| !addresses.contains(server))
            .collect();
        shuffle(&mut bootstrap);
        addresses.sort_by_key(|address| !self.pool.is_connected(address));
        addresses.extend(bootstrap);
        addresses
    }

    fn unreachable(&self, last: Option<Error>) -> Error {
        Error::Unreachable {
            bootstrap: self.config.bootstrap_servers.join(",").into(),
            last: Arc::new(last.unwrap_or(Error::UnknownNode { node: -1 })),
        }
    }

    /// Asks one broker after another until one answers; `None` asks for every topic. Returns the broker's id with it,
    /// as far as that is known.
    async fn fetch_metadata(
        &self,
        topics: Option<&[Arc<str>]>,
    ) -> Result<(Option<i32>, ClusterView), Error> {
        let mut last = None;
        for address in self.candidates() {
            let connection = match self
                .pool
                .connection(&address, Purpose::Admin, &self.config)
                .await
            {
                Ok(connection) => connection,
                Err(error) => {
                    keep(&mut last, error);
                    continue;
                }
            };
            let request = metadata_request(topics);
            match connection.call(request, self.config.request_timeout).await {
                Ok(response) => {
                    let seen = ClusterView::from_response(response)?;
                    return Ok((seen.node_at(&address), seen));
                }
                Err(error) => keep(&mut last, error),
            }
        }
        Err(self.unreachable(last))
    }

    /// Every topic of the cluster, as an operator asks for it. Only the brokers are remembered.
    pub(crate) async fn fetch_all_topics(&self) -> Result<ClusterView, Error> {
        let (_, seen) = self.fetch_metadata(None).await?;
        self.learn_brokers(&seen);
        Ok(seen)
    }

    /// These topics right now. Only the brokers are remembered.
    pub(crate) async fn fetch_topics(&self, names: &[Arc<str>]) -> Result<ClusterView, Error> {
        let (_, seen) = self.fetch_metadata(Some(names)).await?;
        self.learn_brokers(&seen);
        Ok(seen)
    }

    fn learn_brokers(&self, seen: &ClusterView) {
        self.view.send_if_modified(|view| {
            let differs = !seen.brokers.is_empty() && view.brokers != seen.brokers;
            if differs {
                let mut changed = (**view).clone();
                changed.brokers.clone_from(&seen.brokers);
                *view = Arc::new(changed);
            }
            differs
        });
    }

    /// Longest time that finding an answering broker and asking it may take.
    fn patience(&self) -> Duration {
        self.config.connect_timeout + self.config.request_timeout
    }
}

/// `None` asks for every topic.
fn metadata_request(topics: Option<&[Arc<str>]>) -> MetadataRequest {
    let name = |name: &Arc<str>| TopicName(StrBytes::from_string(name.to_string()));
    let topic = |topic| MetadataRequestTopic::default().with_name(Some(name(topic)));
    // Version 0 reads an empty list as all topics; every broker of interest speaks a later one.
    MetadataRequest::default()
        .with_topics(topics.map(|names| names.iter().map(topic).collect()))
        .with_allow_auto_topic_creation(false)
}

/// Keeps the last failure, but rather one that somebody has to put right than one that may pass.
fn keep(last: &mut Option<Error>, error: Error) {
    let refused = |error: &Error| error.refusal().is_some();
    if refused(&error) || !last.as_ref().is_some_and(refused) {
        *last = Some(error);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.refresh.stop();
    }
}

/// A number that differs from call to call, good enough to spread load and retries.
pub(crate) fn random() -> u64 {
    use std::hash::BuildHasher as _;
    std::collections::hash_map::RandomState::new().hash_one(Instant::now())
}

fn shuffle<T>(items: &mut [T]) {
    for at in (1..items.len()).rev() {
        items.swap(at, (random() % (at as u64 + 1)) as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shuffling_keeps_every_item() {
        let mut items: Vec<u32> = (0..100).collect();
        shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
