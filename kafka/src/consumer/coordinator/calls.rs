//! The calls of a membership, each answered with the input that the state machine takes.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::{
    ApiKey, DescribeGroupsRequest, GroupId, OffsetFetchRequest, OffsetFetchResponse, TopicName,
};
use kafka_protocol::protocol::{Request, StrBytes};
use parking_lot::Mutex;

use super::counts;
use crate::admin::GroupDescription;
use crate::admin::groups::describe_members;
use crate::cluster::{Cluster, Purpose};
use crate::connection::Connection;
use crate::consumer::group::{Committed, GroupConfig};
use crate::consumer::membership::{Call, FetchedOffset, Input, Reviewed, Tag};
use crate::consumer::topic_partition::TopicPartition;
use crate::error::Error;
use crate::records::MAX_OFFSET;

#[derive(Clone)]
pub(super) struct Calls {
    cluster: Arc<Cluster>,
    group: Arc<str>,
    /// The connection of a rebalance: from JoinGroup to the answer to SyncGroup. The broker answers one request of a
    /// connection after another, and these two wait for others.
    rendezvous: Arc<Mutex<Option<(i32, Connection)>>>,
}

impl Calls {
    pub(super) fn new(cluster: Arc<Cluster>, config: &GroupConfig) -> Self {
        Self {
            cluster,
            group: config.group.clone(),
            rendezvous: Arc::default(),
        }
    }

    pub(super) fn make(
        &self,
        tag: Tag,
        call: Call,
        node: Option<i32>,
    ) -> BoxFuture<'static, Input> {
        let calls = self.clone();
        // The state machine calls the coordinator only while it knows it.
        let node = node.unwrap_or(-1);
        async move {
            match call {
                Call::FindCoordinator => {
                    let timeout = calls.cluster.config().connect_timeout + calls.cluster.config().request_timeout;
                    let found = calls.within(timeout, "finding the coordinator", calls.cluster.coordinator(&calls.group));
                    Input::Coordinator(tag, found.await)
                }
                Call::Join { request, patience } => Input::Joined(tag, calls.meet(node, request, patience).await),
                Call::Sync { request, patience } => {
                    let answer = calls.meet(node, request, patience).await;
                    calls.abandon_rendezvous();
                    Input::Synced(tag, answer)
                }
                Call::Heartbeat { request, patience } => {
                    Input::Heartbeat(tag, calls.ask(node, Purpose::Group, request, patience).await)
                }
                Call::FetchOffsets(topics) => Input::Offsets(tag, calls.fetch_offsets(node, topics).await),
                Call::Leave { request, patience } => {
                    if let Err(error) = calls.ask(node, Purpose::Group, request, patience).await {
                        tracing::warn!(group = %calls.group, %error, "left the group without an answer");
                    }
                    Input::LeaveAnswered(tag)
                }
                Call::DescribeGroup => Input::GroupDescribed(tag, calls.describe_group(node).await),
                Call::DescribeTopics(topics) => {
                    let view = calls.cluster.ensure_topics(&topics).await;
                    Input::Described(tag, view.map(|view| counts(&view)))
                }
                Call::Review(topics) => Input::Reviewed(tag, calls.review(node, &topics).await),
            }
        }
        .boxed()
    }

    /// Ends the connection of a rebalance.
    pub(super) fn abandon_rendezvous(&self) {
        if let Some((_, connection)) = self.rendezvous.lock().take() {
            connection.close("the rebalance is over");
        }
    }

    /// A call on the rebalance's own connection, opened if need be.
    async fn meet<R: Request<Response: wire::Shape>>(
        &self,
        node: i32,
        request: R,
        patience: Duration,
    ) -> Result<R::Response, Error> {
        let open = self.rendezvous.lock().clone();
        let connection = match open.filter(|(of, connection)| *of == node && connection.is_usable())
        {
            Some((_, connection)) => connection,
            None => {
                let connection = self.cluster.own_connection(node).await?;
                *self.rendezvous.lock() = Some((node, connection.clone()));
                connection
            }
        };
        connection
            .call(request, patience.max(self.cluster.config().request_timeout))
            .await
    }

    /// A short call; `patience` includes connecting.
    async fn ask<R: Request<Response: wire::Shape>>(
        &self,
        node: i32,
        purpose: Purpose,
        request: R,
        patience: Duration,
    ) -> Result<R::Response, Error> {
        let patience = patience.min(self.cluster.config().request_timeout);
        let call = async {
            let connection = self.cluster.connection(node, purpose).await?;
            connection.call(request, patience).await
        };
        self.within(patience, "a call to the coordinator", call)
            .await
    }

    async fn within<T>(
        &self,
        patience: Duration,
        what: &str,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        // The call's own timeout comes first, as it closes a silent connection; this one bounds connecting.
        match tokio::time::timeout(patience + Duration::from_millis(10), call).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::Deadline {
                what: format!("{what} of group {}", self.group).into(),
                elapsed: patience,
                last: None,
            }),
        }
    }

    async fn describe_group(&self, node: i32) -> Result<GroupDescription, Error> {
        let group = GroupId(StrBytes::from_string(self.group.to_string()));
        let request = DescribeGroupsRequest::default().with_groups(vec![group]);
        let patience = self.cluster.config().request_timeout;
        let response = self.ask(node, Purpose::Admin, request, patience).await?;
        let described = response.groups.into_iter().next().unwrap_or_default();
        let message = described.error_message.as_deref();
        Error::check(
            ApiKey::DescribeGroups,
            described.error_code,
            message,
            || format!("group {}", self.group),
        )?;
        describe_members(&self.group, node, described)
    }

    async fn review(&self, node: i32, topics: &[Arc<str>]) -> Result<Reviewed, Error> {
        let view = self.cluster.ensure_topics(topics).await?;
        let described = self.describe_group(node).await?;
        let assigned = described
            .members
            .into_iter()
            .flat_map(|member| member.assignment);
        Ok(Reviewed {
            counts: counts(&view),
            assigned: assigned.collect(),
        })
    }

    async fn fetch_offsets(
        &self,
        node: i32,
        topics: Vec<(Arc<str>, Vec<i32>)>,
    ) -> Result<Vec<FetchedOffset>, Error> {
        let timeout = self.cluster.config().request_timeout;
        let call = async {
            let connection = self.cluster.connection(node, Purpose::Commit).await?;
            let version = connection.version::<OffsetFetchRequest>();
            connection
                .call(
                    request(&self.group, Some(topics), version.unwrap_or(0), true),
                    timeout,
                )
                .await
        };
        fetched(
            &self.group,
            self.within(timeout, "asking for the offsets", call).await?,
        )
    }
}

/// Asks for a group's offsets in these partitions, or in all that it has committed (`None`). KIP-709: from version 8 on
/// several groups are asked for at once.
///
/// `stable` (KIP-447): not an offset that an open transaction is about to replace, and from Kafka 4.0 on not one of before
/// a change of coordinator: without it, a new coordinator may answer what it knew to be replicated then.
pub(crate) fn request(
    group: &str,
    topics: Option<Vec<(Arc<str>, Vec<i32>)>>,
    version: i16,
    stable: bool,
) -> OffsetFetchRequest {
    let name = |topic: &str| TopicName(StrBytes::from_string(topic.to_owned()));
    let group = GroupId(StrBytes::from_string(group.to_owned()));
    let request = OffsetFetchRequest::default().with_require_stable(stable && version >= 7);
    if version >= 8 {
        let topic = |(topic, partitions): (Arc<str>, Vec<i32>)| {
            OffsetFetchRequestTopics::default()
                .with_name(name(&topic))
                .with_partition_indexes(partitions)
        };
        let group = OffsetFetchRequestGroup::default()
            .with_group_id(group)
            .with_topics(topics.map(|topics| topics.into_iter().map(topic).collect()));
        request.with_groups(vec![group])
    } else {
        let topic = |(topic, partitions): (Arc<str>, Vec<i32>)| {
            OffsetFetchRequestTopic::default()
                .with_name(name(&topic))
                .with_partition_indexes(partitions)
        };
        request
            .with_group_id(group)
            .with_topics(topics.map(|topics| topics.into_iter().map(topic).collect()))
    }
}

pub(crate) fn fetched(
    group: &str,
    response: OffsetFetchResponse,
) -> Result<Vec<FetchedOffset>, Error> {
    let place = || format!("group {group}");
    Error::check(ApiKey::OffsetFetch, response.error_code, None, place)?;
    let mut offsets = Vec::new();
    let mut add = |topic: &TopicName,
                   partition: i32,
                   offset: i64,
                   leader_epoch: i32,
                   metadata: Option<&str>,
                   code| {
        let topic: Arc<str> = topic.as_str().into();
        // One that no log can have is as good as none: the reset policy decides.
        let committed = (0..=MAX_OFFSET).contains(&offset).then(|| Committed {
            offset,
            leader_epoch,
            metadata: metadata.unwrap_or_default().to_owned(),
        });
        let error = ResponseError::try_from_code(code);
        offsets.push(FetchedOffset {
            partition: TopicPartition::new(topic, partition),
            committed,
            error,
        });
    };
    for topic in &response.topics {
        for of in &topic.partitions {
            let metadata = of.metadata.as_deref();
            let epoch = of.committed_leader_epoch;
            add(
                &topic.name,
                of.partition_index,
                of.committed_offset,
                epoch,
                metadata,
                of.error_code,
            );
        }
    }
    for answered in &response.groups {
        Error::check(ApiKey::OffsetFetch, answered.error_code, None, place)?;
        for topic in &answered.topics {
            for of in &topic.partitions {
                let metadata = of.metadata.as_deref();
                let epoch = of.committed_leader_epoch;
                add(
                    &topic.name,
                    of.partition_index,
                    of.committed_offset,
                    epoch,
                    metadata,
                    of.error_code,
                );
            }
        }
    }
    Ok(offsets)
}

#[cfg(test)]
mod tests;
