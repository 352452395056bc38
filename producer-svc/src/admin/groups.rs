use std::collections::BTreeMap;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use kafka::{Admin, CommittedOffset, Error, GroupDescription, GroupListing, TopicPartition};
use serde::Serialize;
use service::http::{Problem, Request, Response, Router, StatusCode, json};
use service::kafka_glue::explained;
use tokio::time::{Instant, timeout_at};

use super::cluster::Cluster;
use super::kafka_problem::kafka_problem;

/// `GET /api/admin/groups`.
pub(super) fn routes(admin: Admin) -> Router {
    Router::new().get("/api/admin/groups", admin, list)
}

/// Groups that are described at a time.
const AT_ONCE: usize = 8;

/// How long describing all of them may take; each question has `REQUEST_TIMEOUT`.
const LONGEST: Duration = Duration::from_secs(10);

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Group {
    group: String,
    /// `Stable`, `Empty`, `PreparingRebalance`, `CompletingRebalance`, `Dead`.
    state: String,
    assignor: String,
    members: Vec<Member>,
    /// Committed or assigned ones, by name.
    partitions: Vec<Partition>,
    /// Of all its partitions.
    lag: i64,
    /// Why the rest is missing; absent where nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Member {
    member_id: String,
    client_id: String,
    host: String,
    /// Of a static member.
    instance_id: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Partition {
    topic: String,
    partition: i32,
    /// The next record to handle; null before the first commit.
    committed: Option<i64>,
    /// Where the next record will be written; null where nobody knows.
    end: Option<i64>,
    lag: Option<i64>,
    /// Who has it; null while nobody does.
    member_id: Option<String>,
}

async fn list(admin: Admin, _: Request) -> Result<Response, Problem> {
    let groups = async { all(&admin, &Cluster::look(&admin).await?).await };
    let groups = groups.await.map_err(|error| kafka_problem(&error))?;
    Ok(json(StatusCode::OK, &groups))
}

/// Every group of consumers. One that cannot be described is there with the reason.
pub(super) async fn all(admin: &Admin, cluster: &Cluster) -> Result<Vec<Group>, Error> {
    // Kafka Connect and its like coordinate something else.
    let consumers = |group: &GroupListing| ["", "consumer"].contains(&&*group.protocol_type);
    let listed = admin.list_groups().await?.into_iter().filter(consumers);
    let until = Instant::now() + LONGEST;
    let described = stream::iter(listed).map(|listed| async move {
        match timeout_at(until, describe(admin, &listed.group)).await {
            Ok(Ok((described, committed))) => Group::new(described, &committed, cluster),
            Ok(Err(error)) => Group::unknown(listed, explained(&error)),
            Err(_) => Group::unknown(listed, "Kafka takes too long with all groups".to_owned()),
        }
    });
    Ok(described.buffered(AT_ONCE).collect().await)
}

async fn describe(
    admin: &Admin,
    group: &str,
) -> Result<(GroupDescription, BTreeMap<TopicPartition, CommittedOffset>), Error> {
    let names = [group];
    let (mut described, committed) = tokio::try_join!(
        admin.describe_groups(&names),
        admin.committed_offsets(group)
    )?;
    Ok((described.remove(0), committed))
}

impl Group {
    fn new(
        described: GroupDescription,
        committed: &BTreeMap<TopicPartition, CommittedOffset>,
        cluster: &Cluster,
    ) -> Self {
        let mut partitions: BTreeMap<TopicPartition, Option<String>> =
            committed.keys().map(|of| (of.clone(), None)).collect();
        for member in &described.members {
            for of in &member.assignment {
                partitions.insert(of.clone(), Some(member.member_id.clone()));
            }
        }
        let partitions: Vec<Partition> = partitions
            .into_iter()
            .map(|(of, member_id)| {
                let committed = committed.get(&of).map(|committed| committed.offset);
                let end = cluster.end.get(&of).copied();
                Partition {
                    topic: of.topic.to_string(),
                    partition: of.partition,
                    committed,
                    end,
                    lag: committed.zip(end).map(|(at, end)| (end - at).max(0)),
                    member_id,
                }
            })
            .collect();
        let members = described.members.into_iter().map(|member| Member {
            member_id: member.member_id,
            client_id: member.client_id,
            host: member.client_host,
            instance_id: member.group_instance_id,
        });
        Self {
            group: described.group,
            state: described.state,
            assignor: described.assignor,
            members: members.collect(),
            lag: partitions.iter().filter_map(|of| of.lag).sum(),
            partitions,
            problem: None,
        }
    }

    fn unknown(listed: GroupListing, problem: String) -> Self {
        Self {
            group: listed.group,
            state: listed.state,
            assignor: String::new(),
            members: Vec::new(),
            partitions: Vec::new(),
            lag: 0,
            problem: Some(problem),
        }
    }
}
