//! ListGroups.

use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{ListGroupsRequest, ListGroupsResponse};
use kafka_protocol::protocol::{StrBytes, VersionRange};

use super::{Api, Call, Reply, versions};
use crate::faults::Subject;

/// KIP-848's name for groups of the protocol this broker speaks.
const CLASSIC: &str = "classic";

impl Api for ListGroupsRequest {
    const SERVED: VersionRange = versions(0, 5);

    fn subjects(&self, _: &mut dyn FnMut(Subject<'_>)) {}

    async fn handle(self, call: &Call) -> Reply<ListGroupsResponse> {
        if let Some(error) = call.refusal_of_all().or(call.disguise_of_all()) {
            return Reply::Answer(ListGroupsResponse::default().with_error_code(error.code()));
        }
        let wanted = |filter: &[StrBytes], value: &str| {
            filter.is_empty() || filter.iter().any(|name| name.eq_ignore_ascii_case(value))
        };
        let groups = call.state.groups.lock();
        let listed = groups
            .all()
            .filter(|(_, group)| {
                wanted(&self.states_filter, group.phase().name())
                    && wanted(&self.types_filter, CLASSIC)
            })
            .map(|(id, group)| {
                let protocol_type = group.protocol_type().unwrap_or_default();
                let listed = ListedGroup::default()
                    .with_group_id(StrBytes::from_string(id.to_owned()).into())
                    .with_protocol_type(StrBytes::from_string(protocol_type.to_owned()));
                let listed = if call.version >= 4 {
                    listed.with_group_state(StrBytes::from_static_str(group.phase().name()))
                } else {
                    listed
                };
                if call.version >= 5 {
                    listed.with_group_type(StrBytes::from_static_str(CLASSIC))
                } else {
                    listed
                }
            })
            .collect();
        Reply::Answer(ListGroupsResponse::default().with_groups(listed))
    }
}
