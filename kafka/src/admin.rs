//! What operators and services ask of a cluster: topics, offsets, groups, configuration, single records.
//!
//! Everything goes over this crate's own connections. rskafka can list and create topics too, but has
//! no timeout, tries again for minutes, sets no configuration on a topic, may create topics by asking for
//! them, and would be a second set of connections with a second view of the cluster; it is the yardstick
//! of the benches and a partner of the tests instead.

mod configs;
pub(crate) mod groups;
mod look;
mod offsets;
mod once;
mod record;
mod topics;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::{BoxFuture, try_join_all};
use kafka_protocol::{messages::TopicName, protocol::StrBytes};

use crate::{
    backoff::Backoff,
    client::Client,
    cluster::{Cluster, ClusterView, Purpose},
    connection::Connection,
    error::Error,
    security::Refusal,
};

pub use self::{
    configs::ConfigEntry,
    groups::{
        CommittedOffset, GroupDescription, GroupKind, GroupListing, GroupMember, PartitionLag,
    },
    look::{Ends, OpenTransaction, SilentLeader, TopicsLook},
    offsets::OffsetAt,
    topics::{CreatedTopic, NewTopic, PartitionDescription, TopicDescription},
};

/// Questions to a cluster, and changes to its topics and groups. Made by [`Client::admin`].
///
/// Every call is bounded by one timeout, retries of what passes by itself included (a moved leader or
/// coordinator, a broker that restarts). Dropping a call's future stops waiting; a change may still
/// happen.
#[derive(Clone)]
pub struct Admin {
    cluster: Arc<Cluster>,
    timeout: Duration,
}

impl Client {
    /// Questions to the cluster, each bounded by `request_timeout` at first.
    pub fn admin(&self) -> Admin {
        Admin {
            cluster: self.cluster().clone(),
            timeout: self.config().request_timeout,
        }
    }
}

/// First pause between tries (Java `retry.backoff.ms`), and the longest.
const RETRY: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));

impl Admin {
    /// For what this crate asks by itself.
    pub(crate) fn of(cluster: Arc<Cluster>, timeout: Duration) -> Self {
        Self { cluster, timeout }
    }

    /// The same with another bound for each call.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Tries until it works, fails for good, or the time is up.
    ///
    /// Attempts are boxed rather than async closures, whose futures the compiler does not take for
    /// `Send` where callers spawn them (rust-lang/rust#102211).
    async fn retrying<'a, T>(
        &self,
        what: &str,
        mut attempt: impl FnMut() -> BoxFuture<'a, Result<T, Error>>,
    ) -> Result<T, Error> {
        let started = Instant::now();
        let deadline = started + self.timeout;
        let mut last = None;
        let mut failures = 0;
        loop {
            match tokio::time::timeout_at(deadline.into(), attempt()).await {
                Ok(Ok(value)) => return Ok(value),
                // Asking for a topic that is not there is answered, not waited out.
                // Nor is a wrong password or certificate.
                Ok(Err(error))
                    if !error.is_retriable()
                        || matches!(error, Error::UnknownTopic { .. })
                        || error.refusal().is_some_and(Refusal::is_certain) =>
                {
                    return Err(error);
                }
                Ok(Err(error)) => last = Some(Arc::new(error)),
                Err(_) => break,
            }
            failures += 1;
            let pause = RETRY.random_delay(failures);
            if Instant::now() + pause >= deadline {
                break;
            }
            tokio::time::sleep(pause).await;
        }
        Err(Error::Deadline {
            what: what.into(),
            elapsed: started.elapsed(),
            last,
        })
    }

    async fn any(&self) -> Result<Connection, Error> {
        self.cluster.any_connection(Purpose::Admin).await
    }

    async fn to(&self, node: i32) -> Result<Connection, Error> {
        self.cluster.connection(node, Purpose::Admin).await
    }

    /// A broker that takes changes to topics: the controller, or any in KRaft mode, where brokers pass
    /// them on.
    async fn controller(&self) -> Result<Connection, Error> {
        let view = self.cluster.refresh().await?;
        match view.controller {
            Some(node) => self.to(node).await,
            None => self.any().await,
        }
    }

    /// The cluster's brokers as of now.
    async fn brokers(&self) -> Result<Vec<i32>, Error> {
        let view = self.cluster.refresh().await?;
        Ok(view.brokers.keys().copied().collect())
    }

    /// These topics as of now; one that does not exist is an error.
    async fn existing(&self, names: &[Arc<str>]) -> Result<ClusterView, Error> {
        let view = self.cluster.fetch_topics(names).await?;
        match names.iter().find(|name| !view.topics.contains_key(*name)) {
            Some(missing) => Err(Error::UnknownTopic {
                topic: missing.clone(),
            }),
            None => Ok(view),
        }
    }

    /// Questions to several brokers at once.
    async fn ask_all<'a, T>(
        &self,
        nodes: Vec<i32>,
        ask: impl Fn(i32, Connection) -> BoxFuture<'a, Result<T, Error>>,
    ) -> Result<Vec<T>, Error> {
        let ask = &ask;
        try_join_all(
            nodes
                .into_iter()
                .map(|node| async move { ask(node, self.to(node).await?).await }),
        )
        .await
    }
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin")
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// For the protocol's fields; what is longer than an `i32` holds is as good as forever.
fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{TopicPartition, client::ClientConfig};

    fn spawnable<F: Future + Send>(_: F) {}

    /// That they can be spawned shows in the compiling; the call of each kind stands for its like.
    #[tokio::test]
    async fn calls_can_be_spawned_with_borrowed_arguments() {
        async fn all(admin: &Admin, names: &[String], at: &[TopicPartition]) -> Result<(), Error> {
            admin.topics().await?;
            admin
                .create_topics(&[NewTopic::new(names[0].as_str(), 1, 1)])
                .await?;
            admin.offsets(at, OffsetAt::Latest).await?;
            admin.list_groups().await?;
            Ok(())
        }
        let config = ClientConfig::new("127.0.0.1:1").expect("an address");
        let admin = Client::new(config).admin();
        spawnable(async move { all(&admin, &[], &[]).await });
    }
}
