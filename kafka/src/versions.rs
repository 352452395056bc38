//! Which version of a request to speak with a broker (KIP-35): the newest that both sides know.

use kafka_protocol::{
    messages::{ApiKey, ApiVersionsResponse},
    protocol::Request,
};

/// From this version on Fetch has topics by id alone (KIP-516).
const FETCH_BY_ID: i16 = 13;

/// The newest version of Fetch that can ask for topics, given whether the ids of all of them are known.
pub(crate) fn newest_fetch(ids_known: bool) -> i16 {
    FETCH_BY_ID - i16::from(!ids_known)
}

/// The newest version of `api` that this client speaks, given the newest its message structs know.
///
/// Three requests are kept on the last version that names topics: from the next one on they carry
/// topic ids only (KIP-516, KIP-848), which brokers before 4.0 and recreated topics make fragile. Fetch
/// has ids since Kafka 3.1, and there they are the point: an offset is of one topic, not of a name.
fn newest(api: i16, structs: i16) -> i16 {
    const PRODUCE: i16 = ApiKey::Produce as i16;
    const FETCH: i16 = ApiKey::Fetch as i16;
    const OFFSET_COMMIT: i16 = ApiKey::OffsetCommit as i16;
    const OFFSET_FETCH: i16 = ApiKey::OffsetFetch as i16;
    match api {
        PRODUCE => structs.min(12),
        FETCH => structs.min(FETCH_BY_ID),
        OFFSET_COMMIT | OFFSET_FETCH => structs.min(9),
        _ => structs,
    }
}

/// First and last version of a request that this client speaks.
pub(crate) fn ours<R: Request>() -> (i16, i16) {
    use kafka_protocol::protocol::Message as _;
    // A few responses know fewer versions than their requests.
    let max = <R as kafka_protocol::protocol::Message>::VERSIONS
        .max
        .min(R::Response::VERSIONS.max);
    let min = <R as kafka_protocol::protocol::Message>::VERSIONS
        .min
        .max(R::Response::VERSIONS.min);
    (min, newest(R::KEY, max))
}

/// What a broker speaks, as its ApiVersions answer said.
#[derive(Debug, Default)]
pub(crate) struct BrokerVersions {
    /// Sorted by API key.
    ranges: Vec<(i16, i16, i16)>,
}

impl BrokerVersions {
    pub(crate) fn new(response: &ApiVersionsResponse) -> Self {
        let mut ranges: Vec<_> = response
            .api_keys
            .iter()
            .map(|api| (api.api_key, api.min_version, api.max_version))
            .collect();
        ranges.sort_unstable();
        Self { ranges }
    }

    /// The broker's first and last version of `api`.
    pub(crate) fn range(&self, api: i16) -> Option<(i16, i16)> {
        let at = self
            .ranges
            .binary_search_by_key(&api, |range| range.0)
            .ok()?;
        Some((self.ranges[at].1, self.ranges[at].2))
    }

    /// The version to speak, if there is a common one.
    pub(crate) fn choose(&self, api: i16, ours: (i16, i16)) -> Option<i16> {
        let (min, max) = self.range(api)?;
        let version = ours.1.min(max);
        (version >= ours.0 && version >= min).then_some(version)
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::{
        FetchRequest, MetadataRequest, ProduceRequest, api_versions_response::ApiVersion,
    };

    use super::*;

    fn broker(api: i16, min: i16, max: i16) -> BrokerVersions {
        BrokerVersions::new(&ApiVersionsResponse::default().with_api_keys(vec![
                ApiVersion::default().with_api_key(60).with_max_version(1),
                ApiVersion::default()
                    .with_api_key(api)
                    .with_min_version(min)
                    .with_max_version(max),
            ]))
    }

    #[test]
    fn the_newest_common_version_is_spoken() {
        assert_eq!(broker(3, 0, 9).choose(3, (0, 13)), Some(9));
        assert_eq!(broker(3, 0, 20).choose(3, (0, 13)), Some(13));
    }

    #[test]
    fn no_overlap_is_none() {
        assert_eq!(broker(3, 14, 20).choose(3, (0, 13)), None);
        assert_eq!(broker(3, 0, 2).choose(3, (3, 13)), None);
        assert_eq!(broker(3, 0, 2).choose(4, (0, 13)), None);
    }

    #[test]
    fn topics_are_named_in_produce_and_known_by_id_in_fetch() {
        assert_eq!(ours::<ProduceRequest>().1, 12);
        assert_eq!(ours::<FetchRequest>().1, FETCH_BY_ID);
        assert!(ours::<MetadataRequest>().1 >= 12);
    }
}
