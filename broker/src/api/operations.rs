//! What a client may do, as bits: everything, since this broker authorizes nobody (KIP-430).

/// Bits of `AclOperation` codes; Kafka without an authorizer answers with all that a resource knows.
const fn bits(codes: &[u32]) -> i32 {
    let mut bits = 0;
    let mut at = 0;
    while at < codes.len() {
        bits |= 1 << codes[at];
        at += 1;
    }
    bits
}

/// Read, write, create, delete, alter, describe, describe and alter configs.
pub(super) const TOPIC: i32 = bits(&[3, 4, 5, 6, 7, 8, 10, 11]);
/// Read, delete, describe, describe and alter configs.
pub(super) const GROUP: i32 = bits(&[3, 6, 8, 10, 11]);
/// Create, alter, describe, cluster action, describe and alter configs, idempotent write.
pub(super) const CLUSTER: i32 = bits(&[5, 7, 8, 9, 10, 11, 12]);
/// Nobody asked.
pub(super) const UNASKED: i32 = i32::MIN;

/// These operations, if the client asks for them.
pub(super) fn if_asked(asked: bool, operations: i32) -> i32 {
    if asked { operations } else { UNASKED }
}
