//! DeleteGroups: groups without members, with their commits.

use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse};
use kafka_protocol::protocol::VersionRange;

use super::{Api, Call, Reply, code, versions};
use crate::faults::Subject;

impl Api for DeleteGroupsRequest {
    const SERVED: VersionRange = versions(0, 2);

    fn subjects(&self, visit: &mut dyn FnMut(Subject<'_>)) {
        for group in &self.groups_names {
            visit(Subject::Group(group));
        }
    }

    async fn handle(self, call: &Call) -> Reply<DeleteGroupsResponse> {
        let mut groups = call.state.groups.lock();
        let results = self
            .groups_names
            .into_iter()
            .map(|id| {
                let error = call
                    .refusal_of_all()
                    .or_else(|| groups.delete(&id).err())
                    .or_else(|| call.disguise_of_all());
                DeletableGroupResult::default()
                    .with_group_id(id)
                    .with_error_code(code(error))
            })
            .collect();
        Reply::Answer(DeleteGroupsResponse::default().with_results(results))
    }
}
