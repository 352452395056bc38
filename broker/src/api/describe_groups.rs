//! DescribeGroups: state, members, assignments.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse, GroupId};
use kafka_protocol::protocol::{StrBytes, VersionRange};

use super::{Api, Call, Reply, operations, versions};
use crate::faults::Subject;
use crate::groups::group::{Group, Phase};
use crate::groups::member::Member;

impl Api for DescribeGroupsRequest {
    const SERVED: VersionRange = versions(0, 6);

    fn subjects(&self, visit: &mut dyn FnMut(Subject<'_>)) {
        for group in &self.groups {
            visit(Subject::Group(group));
        }
    }

    async fn handle(self, call: &Call) -> Reply<DescribeGroupsResponse> {
        let error = call.refusal_of_all().or(call.disguise_of_all());
        let operations =
            operations::if_asked(self.include_authorized_operations, operations::GROUP);
        let groups = call.state.groups.lock();
        let described = self
            .groups
            .into_iter()
            .map(|id| match (error, groups.group(&id)) {
                (Some(error), _) => DescribedGroup::default()
                    .with_group_id(id)
                    .with_error_code(error.code()),
                (None, Some(group)) => describe(id, group).with_authorized_operations(operations),
                (None, None) => absent(id, call.version),
            })
            .collect();
        Reply::Answer(DescribeGroupsResponse::default().with_groups(described))
    }
}

/// A group that does not exist is "Dead", and an error since version 6 (KIP-1043).
fn absent(id: GroupId, version: i16) -> DescribedGroup {
    let dead = DescribedGroup::default().with_group_state(StrBytes::from_static_str("Dead"));
    let dead = if version >= 6 {
        dead.with_error_code(ResponseError::GroupIdNotFound.code())
            .with_error_message(Some(StrBytes::from_string(format!(
                "Group {} not found.",
                id.as_str()
            ))))
    } else {
        dead
    };
    dead.with_group_id(id)
}

fn describe(id: GroupId, group: &Group) -> DescribedGroup {
    let stable = group.phase() == Phase::Stable;
    // While members still join there is nothing agreed on.
    let protocol = if stable {
        group.protocol().unwrap_or_default()
    } else {
        ""
    };
    let protocol_type = group.protocol_type().unwrap_or_default().to_owned();
    DescribedGroup::default()
        .with_group_id(id)
        .with_group_state(StrBytes::from_static_str(group.phase().name()))
        .with_protocol_type(StrBytes::from_string(protocol_type))
        .with_protocol_data(StrBytes::from_string(protocol.to_owned()))
        .with_members(
            group
                .members()
                .map(|member| describe_member(member, protocol, stable))
                .collect(),
        )
}

fn describe_member(member: &Member, protocol: &str, stable: bool) -> DescribedGroupMember {
    let text = |text: &str| StrBytes::from_string(text.to_owned());
    let described = DescribedGroupMember::default()
        .with_member_id(text(&member.id))
        .with_group_instance_id(member.instance_id.as_deref().map(text))
        .with_client_id(text(&member.client_id))
        .with_client_host(text(&member.client_host));
    if stable {
        described
            .with_member_metadata(member.metadata(protocol))
            .with_member_assignment(member.assignment.clone())
    } else {
        described
    }
}
