use kafka::ProduceError;

/// The largest record in bytes that every topic of the shop is expected to take. What the services make is
/// smaller by far (an order's event has some 500 bytes) unless somebody wrote a long text into it.
pub const ORDINARY_RECORD: usize = 4096;

/// Whether a record was not taken because it is out of the ordinary: larger than [`ORDINARY_RECORD`]. Every
/// other refusal of what a service makes by itself is a matter of the topic it goes to, of clocks or of
/// rights: the same record is taken once that is put right.
pub fn is_oversized(error: &ProduceError) -> bool {
    error
        .refused_size()
        .is_some_and(|size| size > ORDINARY_RECORD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_that_takes_nothing_ordinary_is_at_fault_itself() {
        let refused = |size| ProduceError::TooLargeForTopic {
            topic: "t".into(),
            partition: 0,
            size,
        };
        assert!(!is_oversized(&refused(300)));
        assert!(is_oversized(&refused(5000)));
        let closed = ProduceError::Closed { topic: "t".into() };
        assert!(!is_oversized(&closed));
    }
}
