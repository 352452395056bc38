//! ApiVersions: what is served, in which versions.

use bytes::BytesMut;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse};
use kafka_protocol::protocol::VersionRange;

use super::{Api, Call, Reply, SERVED, encode, versions};
use crate::faults::Subject;

impl Api for ApiVersionsRequest {
    const SERVED: VersionRange = versions(0, 4);

    fn subjects(&self, _: &mut dyn FnMut(Subject<'_>)) {}

    async fn handle(self, call: &Call) -> Reply<ApiVersionsResponse> {
        if let Some(error) = call.refusal_of_all() {
            return Reply::Answer(ApiVersionsResponse::default().with_error_code(error.code()));
        }
        let api_keys = SERVED
            .iter()
            .map(|(api, served)| entry(*api, *served))
            .collect();
        Reply::Answer(
            ApiVersionsResponse::default()
                .with_api_keys(api_keys)
                .with_finalized_features_epoch(-1),
        )
    }
}

fn entry(api: ApiKey, served: VersionRange) -> ApiVersion {
    // librdkafka believes in compression only where produce starts at version 0, so Kafka 4 claims
    // that too (KAFKA-18659).
    let min = if api == ApiKey::Produce {
        0
    } else {
        served.min
    };
    ApiVersion::default()
        .with_api_key(api as i16)
        .with_min_version(min)
        .with_max_version(served.max)
}

/// Answers a version that is not served, in version 0, with the versions that are (KIP-511).
pub(super) fn refuse(correlation: i32, out: &mut BytesMut) {
    let served = <ApiVersionsRequest as Api>::SERVED;
    let response = ApiVersionsResponse::default()
        .with_error_code(ResponseError::UnsupportedVersion.code())
        .with_api_keys(vec![entry(ApiKey::ApiVersions, served)]);
    if let Err(error) = encode(&response, 0, correlation, out) {
        tracing::error!(error, "cannot encode an ApiVersions answer");
    }
}
