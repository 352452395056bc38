//! Consumer groups: which there are, who is in them, how far they have come.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::{FutureExt as _, try_join_all};
use kafka_protocol::{
    error::ResponseError,
    messages::{
        ApiKey, ConsumerGroupDescribeRequest, DeleteGroupsRequest, DescribeGroupsRequest, GroupId,
        ListGroupsRequest, OffsetFetchRequest, consumer_group_describe_response,
        describe_groups_response::{DescribedGroup, DescribedGroupMember},
    },
};

use super::{Admin, OffsetAt, text};
use crate::{
    consumer::{
        coordinator::calls, group::Committed, protocol, topic_partition::TopicPartition,
        tracker::metadata::CommitMetadata,
    },
    error::Error,
};

/// A group as a broker lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupListing {
    /// The group's id.
    pub group: String,
    /// `consumer`, or what else uses group coordination (`connect`); empty for groups that only commit.
    pub protocol_type: String,
    /// `Stable`, `Empty` and so on; empty where the broker does not say (before Kafka 2.6).
    pub state: String,
}

/// The state of a group that does not exist.
const DEAD: &str = "Dead";

/// How a group coordinates its members.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum GroupKind {
    /// The classic protocol: its leader, a member, assigns.
    #[default]
    Classic,
    /// The protocol of KIP-848: the broker assigns.
    Consumer,
}

/// A group and its members.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupDescription {
    /// The group's id.
    pub group: String,
    /// How it coordinates its members.
    pub kind: GroupKind,
    /// `Stable`, `Empty`, `PreparingRebalance`, `CompletingRebalance`, `Dead` (there is no such group); of the new
    /// protocol also `Assigning` and `Reconciling`.
    pub state: String,
    /// The assignment strategy the members agreed on; empty without members.
    pub assignor: String,
    /// The broker that coordinates it.
    pub coordinator: i32,
    /// In the broker's order.
    pub members: Vec<GroupMember>,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    /// The id that the coordinator gave it.
    pub member_id: String,
    /// Of a static member (KIP-345).
    pub group_instance_id: Option<String>,
    /// What the client calls itself.
    pub client_id: String,
    /// Its address, as the broker sees it.
    pub client_host: String,
    /// What it was assigned; empty while the group rebalances.
    pub assignment: Vec<TopicPartition>,
}

/// How far a group has come in a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The next record to handle.
    pub offset: i64,
    /// The leader epoch of the record before it; -1 if not known.
    pub leader_epoch: i32,
    /// What the committer noted with it.
    pub metadata: String,
}

impl From<Committed> for CommittedOffset {
    fn from(committed: Committed) -> Self {
        Self {
            offset: committed.offset,
            leader_epoch: committed.leader_epoch,
            metadata: committed.metadata,
        }
    }
}

impl CommittedOffset {
    /// Whether the record at `offset` is handled: it lies before the commit, or this crate's consumer
    /// noted it as done beyond it. What other clients note counts for nothing.
    pub fn has_handled(&self, offset: i64) -> bool {
        let beyond = || {
            let noted = CommitMetadata::parse(&self.metadata).unwrap_or_default();
            let relative = offset - self.offset;
            noted.runs.iter().any(|run| run.contains(&relative))
        };
        offset < self.offset || beyond()
    }
}

/// How far a group is behind in a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionLag {
    /// The partition.
    pub partition: TopicPartition,
    /// The next record to handle.
    pub committed: i64,
    /// Where the next record will be written.
    pub end: i64,
}

impl PartitionLag {
    /// Records not handled yet, gaps and markers included.
    pub fn lag(&self) -> i64 {
        self.end.saturating_sub(self.committed).max(0)
    }
}

impl Admin {
    /// Every group of every broker, by name.
    ///
    /// # Errors
    /// A broker that did not answer in time.
    pub async fn list_groups(&self) -> Result<Vec<GroupListing>, Error> {
        self.retrying("listing groups", || {
            async {
                let answers = self
                    .ask_all(self.brokers().await?, |node, connection| {
                        async move {
                            let response = connection
                                .call(ListGroupsRequest::default(), self.timeout)
                                .await?;
                            Error::check(ApiKey::ListGroups, response.error_code, None, || {
                                format!("broker {node}")
                            })?;
                            Ok(response.groups)
                        }
                        .boxed()
                    })
                    .await?;
                let mut groups: Vec<_> = answers
                    .into_iter()
                    .flatten()
                    .map(|group| GroupListing {
                        group: group.group_id.as_str().to_owned(),
                        protocol_type: group.protocol_type.as_str().to_owned(),
                        state: group.group_state.as_str().to_owned(),
                    })
                    .collect();
                groups.sort_unstable_by(|a, b| a.group.cmp(&b.group));
                // A group that is just moving may be listed by two brokers.
                groups.dedup_by(|a, b| a.group == b.group);
                Ok(groups)
            }
            .boxed()
        })
        .await
    }

    /// State and members of groups, in the order asked. A group that does not exist has the state `Dead`.
    ///
    /// # Errors
    /// A coordinator that did not answer in time, or a group that this client may not describe.
    pub async fn describe_groups(&self, groups: &[&str]) -> Result<Vec<GroupDescription>, Error> {
        let what = format!("describing groups {}", groups.join(", "));
        self.retrying(&what, || {
            async { try_join_all(groups.iter().map(|group| self.describe(group))).await }.boxed()
        })
        .await
    }

    async fn describe(&self, group: &str) -> Result<GroupDescription, Error> {
        let coordinator = self.cluster.coordinator(group).await?;
        let request = DescribeGroupsRequest::default().with_groups(vec![group_id(group)]);
        let response = self
            .to(coordinator)
            .await?
            .call(request, self.timeout)
            .await?;
        let described = response.groups.into_iter().next().unwrap_or_default();
        // KIP-1043: from version 6 on a missing group is an error rather than a dead one. A group of the new protocol
        // is missing as well, or dead before.
        let not_found = ResponseError::try_from_code(described.error_code)
            == Some(ResponseError::GroupIdNotFound);
        if not_found || described.group_state.as_str() == DEAD {
            let consumer_group = self.describe_consumer_group(group, coordinator).await?;
            return Ok(consumer_group.unwrap_or_else(|| GroupDescription {
                group: group.to_owned(),
                state: DEAD.to_owned(),
                coordinator,
                ..GroupDescription::default()
            }));
        }
        Error::check(
            ApiKey::DescribeGroups,
            described.error_code,
            described.error_message.as_deref(),
            || format!("group {group}"),
        )?;
        describe_members(group, coordinator, described)
    }

    /// A group of the protocol of KIP-848; `None`: there is none of this name, or the broker is older than Kafka 3.7.
    async fn describe_consumer_group(
        &self,
        group: &str,
        coordinator: i32,
    ) -> Result<Option<GroupDescription>, Error> {
        let connection = self.to(coordinator).await?;
        if connection
            .version::<ConsumerGroupDescribeRequest>()
            .is_none()
        {
            return Ok(None);
        }
        let request = ConsumerGroupDescribeRequest::default().with_group_ids(vec![group_id(group)]);
        let response = connection.call(request, self.timeout).await?;
        let described = response.groups.into_iter().next().unwrap_or_default();
        match ResponseError::try_from_code(described.error_code) {
            Some(ResponseError::GroupIdNotFound | ResponseError::UnsupportedVersion) => Ok(None),
            _ => {
                Error::check(
                    ApiKey::ConsumerGroupDescribe,
                    described.error_code,
                    described.error_message.as_deref(),
                    || format!("group {group}"),
                )?;
                Ok(Some(consumer_group(group, coordinator, described)))
            }
        }
    }

    /// What a group has committed; partitions without a commit are absent. Offsets are asked for as stable ones
    /// (KIP-447), so that a coordinator that has just taken over tells each commit that the last one acknowledged. While
    /// a commit is under way, it is the offset before it.
    ///
    /// Dropping the future gives up the question; it changes nothing.
    ///
    /// # Errors
    /// A coordinator that did not answer in time, or a group that this client may not read.
    pub async fn committed_offsets(
        &self,
        group: &str,
    ) -> Result<BTreeMap<TopicPartition, CommittedOffset>, Error> {
        let what = format!("asking for the committed offsets of group {group}");
        self.retrying(&what, || self.committed(group).boxed()).await
    }

    /// The stable offsets, or where a commit is under way, those of before it.
    async fn committed(
        &self,
        group: &str,
    ) -> Result<BTreeMap<TopicPartition, CommittedOffset>, Error> {
        match self.fetch_committed(group, true).await {
            Err(error) if error.code() == Some(ResponseError::UnstableOffsetCommit) => {
                self.fetch_committed(group, false).await
            }
            answer => answer,
        }
    }

    async fn fetch_committed(
        &self,
        group: &str,
        stable: bool,
    ) -> Result<BTreeMap<TopicPartition, CommittedOffset>, Error> {
        let connection = self.to(self.cluster.coordinator(group).await?).await?;
        let version = connection.version::<OffsetFetchRequest>().unwrap_or(0);
        let request = calls::request(group, None, version, stable);
        let response = connection.call(request, self.timeout).await?;
        let mut committed = BTreeMap::new();
        for of in calls::fetched(group, response)? {
            if let Some(error) = of.error {
                let place = format!("group {group}, {}", of.partition);
                return Err(Error::response(ApiKey::OffsetFetch, error, place));
            }
            if let Some(offset) = of.committed {
                committed.insert(of.partition, offset.into());
            }
        }
        Ok(committed)
    }

    /// How far a group is behind, in every partition that it has committed. A partition of a topic that
    /// is gone is left out.
    ///
    /// # Errors
    /// A broker that did not answer in time.
    pub async fn group_lag(&self, group: &str) -> Result<Vec<PartitionLag>, Error> {
        let committed = self.committed_offsets(group).await?;
        let topics: BTreeSet<&str> = committed
            .keys()
            .map(|partition| &*partition.topic)
            .collect();
        let topics: Vec<&str> = topics.into_iter().collect();
        let described = self.describe_topics(&topics).await?;
        let exists = |partition: &TopicPartition| {
            described.iter().any(|topic| {
                topic.name == partition.topic
                    && (partition.partition as usize) < topic.partitions.len()
            })
        };
        let partitions: Vec<_> = committed
            .keys()
            .filter(|partition| exists(partition))
            .cloned()
            .collect();
        let ends = self.offsets(&partitions, OffsetAt::Latest).await?;
        let lag = |(partition, end)| PartitionLag {
            committed: committed
                .get(&partition)
                .map_or(0, |committed| committed.offset),
            partition,
            end,
        };
        Ok(ends.into_iter().map(lag).collect())
    }

    /// Deletes groups without members, with their committed offsets. One that does not exist is fine.
    ///
    /// # Errors
    /// NON_EMPTY_GROUP while it has members; others may have been deleted.
    pub async fn delete_groups(&self, groups: &[&str]) -> Result<(), Error> {
        let what = format!("deleting groups {}", groups.join(", "));
        self.retrying(&what, || {
            async {
                for group in groups {
                    let connection = self.to(self.cluster.coordinator(group).await?).await?;
                    let request =
                        DeleteGroupsRequest::default().with_groups_names(vec![group_id(group)]);
                    let response = connection.call(request, self.timeout).await?;
                    for result in &response.results {
                        if ResponseError::try_from_code(result.error_code)
                            == Some(ResponseError::GroupIdNotFound)
                        {
                            continue;
                        }
                        Error::check(ApiKey::DeleteGroups, result.error_code, None, || {
                            format!("group {group}")
                        })?;
                    }
                }
                Ok(())
            }
            .boxed()
        })
        .await
    }
}

fn group_id(group: &str) -> GroupId {
    GroupId(text(group))
}

fn consumer_group(
    group: &str,
    coordinator: i32,
    described: consumer_group_describe_response::DescribedGroup,
) -> GroupDescription {
    let member = |member: consumer_group_describe_response::Member| {
        let topics = member.assignment.topic_partitions.into_iter();
        let partitions = topics.flat_map(|topic| {
            let name = topic.topic_name.as_str().to_owned();
            let of_topic = move |number| TopicPartition::new(name.as_str(), number);
            topic.partitions.into_iter().map(of_topic)
        });
        GroupMember {
            member_id: member.member_id.as_str().to_owned(),
            group_instance_id: member.instance_id.map(|id| id.as_str().to_owned()),
            client_id: member.client_id.as_str().to_owned(),
            client_host: member.client_host.as_str().to_owned(),
            assignment: partitions.collect(),
        }
    };
    GroupDescription {
        group: group.to_owned(),
        kind: GroupKind::Consumer,
        state: described.group_state.as_str().to_owned(),
        assignor: described.assignor_name.as_str().to_owned(),
        coordinator,
        members: described.members.into_iter().map(member).collect(),
    }
}

pub(crate) fn describe_members(
    group: &str,
    coordinator: i32,
    described: DescribedGroup,
) -> Result<GroupDescription, Error> {
    let member = |member: DescribedGroupMember| {
        let assignment = if described.protocol_type.as_str() == protocol::PROTOCOL_TYPE {
            protocol::decode_assignment(&member.member_assignment).map_err(|error| {
                Error::Malformed {
                    address: format!("with id {coordinator}").into(),
                    api: ApiKey::DescribeGroups,
                    reason: format!(
                        "the assignment of member {} of group {group} is {error}",
                        member.member_id.as_str()
                    )
                    .into(),
                }
            })?
        } else {
            Vec::new()
        };
        Ok(GroupMember {
            member_id: member.member_id.as_str().to_owned(),
            group_instance_id: member.group_instance_id.map(|id| id.as_str().to_owned()),
            client_id: member.client_id.as_str().to_owned(),
            client_host: member.client_host.as_str().to_owned(),
            assignment,
        })
    };
    Ok(GroupDescription {
        group: group.to_owned(),
        kind: GroupKind::Classic,
        state: described.group_state.as_str().to_owned(),
        assignor: described.protocol_data.as_str().to_owned(),
        coordinator,
        members: described
            .members
            .into_iter()
            .map(member)
            .collect::<Result<_, Error>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_as_done_beyond_the_commit_is_handled() {
        let committed = |metadata: &str| CommittedOffset {
            offset: 10,
            leader_epoch: -1,
            metadata: metadata.to_owned(),
        };
        let handled = |metadata: &str| -> Vec<i64> {
            let committed = committed(metadata);
            (8..18).filter(|at| committed.has_handled(*at)).collect()
        };
        assert_eq!(handled(""), [8, 9]);
        // One is not done, then two are, one is not, three are.
        assert_eq!(handled("k1;BCBD;e4"), [8, 9, 11, 12, 14, 15, 16]);
        assert_eq!(handled("somebody else's"), [8, 9]);
    }
}
