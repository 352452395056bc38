//! DescribeCluster.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::{DescribeClusterRequest, DescribeClusterResponse};
use kafka_protocol::protocol::{StrBytes, VersionRange};

use super::{Api, Call, Reply, operations, versions};
use crate::faults::Subject;

/// `EndpointType` number of brokers; controllers are 2, and this broker shows none.
const BROKERS: i8 = 1;

impl Api for DescribeClusterRequest {
    const SERVED: VersionRange = versions(0, 2);

    fn subjects(&self, _: &mut dyn FnMut(Subject<'_>)) {}

    async fn handle(self, call: &Call) -> Reply<DescribeClusterResponse> {
        let error = call
            .refusal_of_all()
            .or(call.disguise_of_all())
            .or((self.endpoint_type != BROKERS).then_some(ResponseError::UnsupportedEndpointType));
        if let Some(error) = error {
            return Reply::Answer(
                DescribeClusterResponse::default()
                    .with_error_code(error.code())
                    .with_error_message(Some(StrBytes::from_string(error.to_string()))),
            );
        }
        let (host, port) = call.address();
        let node = call.state.config.node_id;
        let broker = DescribeClusterBroker::default()
            .with_broker_id(node.into())
            .with_host(host)
            .with_port(port);
        Reply::Answer(
            DescribeClusterResponse::default()
                .with_cluster_id(call.state.identity.cluster_id.clone())
                .with_controller_id(node.into())
                .with_cluster_authorized_operations(operations::if_asked(
                    self.include_cluster_authorized_operations,
                    operations::CLUSTER,
                ))
                .with_brokers(vec![broker]),
        )
    }
}
