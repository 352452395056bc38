//! LeaveGroup: members go, by themselves or by an operator's hand.

use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};
use kafka_protocol::protocol::VersionRange;

use super::{Api, Call, Reply, code, versions};
use crate::faults::Subject;
use crate::groups::group::Leave;

impl Api for LeaveGroupRequest {
    const SERVED: VersionRange = versions(0, 5);

    fn subjects(&self, visit: &mut dyn FnMut(Subject<'_>)) {
        visit(Subject::Group(&self.group_id));
    }

    async fn handle(self, call: &Call) -> Reply<LeaveGroupResponse> {
        if let Some(error) = call.refusal_of_all() {
            return Reply::Answer(LeaveGroupResponse::default().with_error_code(error.code()));
        }
        let leave = |member_id: &str, instance_id: Option<&str>| {
            let leave = Leave {
                member_id: member_id.to_owned(),
                instance_id: instance_id.map(ToOwned::to_owned),
            };
            call.state.groups.leave(&self.group_id, &leave).err()
        };
        let response = if call.version < 3 {
            let error = leave(&self.member_id, None);
            LeaveGroupResponse::default().with_error_code(code(error))
        } else {
            let members = self
                .members
                .iter()
                .map(|member| {
                    let error = leave(&member.member_id, member.group_instance_id.as_deref());
                    MemberResponse::default()
                        .with_member_id(member.member_id.clone())
                        .with_group_instance_id(member.group_instance_id.clone())
                        .with_error_code(code(error))
                })
                .collect();
            LeaveGroupResponse::default().with_members(members)
        };
        Reply::Answer(match call.disguise_of_all() {
            Some(error) => response.with_error_code(error.code()),
            None => response,
        })
    }
}
