//! Whether a layout and the encoder agree.

use std::any::type_name;

use bytes::BytesMut;
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};

use crate::walk::{Shape, ShapeError, check};

pub(crate) fn text(text: &'static str) -> StrBytes {
    StrBytes::from_static_str(text)
}

pub(crate) fn encoded<M: Encodable>(message: &M, version: i16) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    message.encode(&mut bytes, version).unwrap();
    bytes.to_vec()
}

/// The walk must end exactly where the encoder did, in every version.
pub(crate) fn fits<M: Encodable + Decodable + Shape>(
    versions: std::ops::RangeInclusive<i16>,
    make: impl Fn(i16) -> M,
) {
    let name = type_name::<M>();
    for version in versions {
        let bytes = encoded(&make(version), version);
        assert_eq!(check::<M>(&bytes, version), Ok(()), "{name} {version}");
        for length in 0..bytes.len() {
            assert!(
                check::<M>(&bytes[..length], version).is_err(),
                "{name} {version}, cut after {length} of {}",
                bytes.len()
            );
        }
        let longer = [&bytes[..], b"x"].concat();
        assert_eq!(check::<M>(&longer, version), Err(ShapeError::Long(1)));
        let decoded = crate::decode::<M>(bytes.clone().into(), version).unwrap();
        assert_eq!(encoded(&decoded, version), bytes, "{name} {version}");
        let front = crate::decode_request::<M>(longer.into(), version).unwrap();
        assert_eq!(encoded(&front, version), bytes, "{name} {version}");
    }
}
