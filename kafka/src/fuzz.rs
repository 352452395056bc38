//! What fuzzing feeds: a function a target, from bytes of the network into the code that reads
//! them and the state machines behind it. A panic is a finding, and so is a broken promise.
//!
//! `fuzz/` runs them; `cargo test` runs their corpora, and mutations of them.

mod answers;
mod frames;
mod group;
mod input;
mod login;
mod offsets;
mod records;

pub use self::{
    answers::answers,
    frames::frames,
    group::group,
    login::login,
    offsets::commit_metadata,
    records::{compression, records},
};
use crate::consumer::protocol::{Subscription, decode_assignment, encode_assignment};

/// What members of a group write for each other.
pub fn consumer_protocol(data: &[u8]) {
    let data = bytes::Bytes::copy_from_slice(data);
    if let Ok(subscription) = Subscription::decode(&data) {
        let mut once = Subscription::decode(&subscription.encode()).expect("what was written");
        // Partitions are written in order, by topic.
        let mut owned = subscription.owned.clone();
        owned.sort_unstable();
        assert_eq!(once.owned, owned);
        once.owned = subscription.owned.clone();
        assert_eq!(once, subscription);
    }
    if let Ok(mut assignment) = decode_assignment(&data) {
        let again = decode_assignment(&encode_assignment(&assignment)).expect("what was written");
        assignment.sort_unstable();
        assert_eq!(again, assignment);
    }
}

#[cfg(test)]
mod tests {
    use testkit::corpus::replay;

    #[test]
    fn answers() {
        replay("answers", super::answers);
    }

    #[test]
    fn commit_metadata() {
        replay("commit_metadata", super::commit_metadata);
    }

    #[test]
    fn compression() {
        replay("compression", super::compression);
    }

    #[test]
    fn consumer_protocol() {
        replay("consumer_protocol", super::consumer_protocol);
    }

    #[test]
    fn frames() {
        replay("frames", super::frames);
    }

    #[test]
    fn group() {
        replay("group", super::group);
    }

    #[test]
    fn login() {
        replay("login", super::login);
    }

    #[test]
    fn records() {
        replay("records", super::records);
    }
}
