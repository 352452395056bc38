use std::collections::HashSet;

use kafka::ConsumerRecord;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;

use crate::metrics::Metrics;

/// Types that get a line of their own: whoever invents types without end does not fill the log.
const MOST_TYPES: usize = 32;

/// Longest name of a type that is repeated in the log, in bytes.
const LONGEST_TYPE: usize = 128;

/// Counts the records of a topic that are well formed and of a type that this service does nothing with, and says so
/// in the log once for each type.
#[derive(Debug)]
pub struct PassedOver {
    counter: Counter,
    said: Mutex<HashSet<String>>,
}

impl PassedOver {
    /// Registers `<name>_passed_over_total`, of which `what` says what the records are.
    pub fn new(metrics: &Metrics, name: &str, what: &str) -> Self {
        let counter = Counter::default();
        metrics.register(
            &format!("{name}_passed_over"),
            &format!("{what} of a type that this service does nothing with"),
            counter.clone(),
        );
        Self {
            counter,
            said: Mutex::default(),
        }
    }

    /// A record of a type that is not known here.
    pub fn note(&self, record: &ConsumerRecord, kind: &str) {
        self.counter.inc();
        if !self.is_new(kind) {
            return;
        }
        let (topic, partition, offset) = (&*record.topic, record.partition, record.offset);
        tracing::warn!(
            topic,
            partition,
            offset,
            "{topic}/{partition}/{offset} is of type {}, with which this service does nothing: records of this type \
             are passed over and counted; said once for each type",
            shown(kind)
        );
    }

    fn is_new(&self, kind: &str) -> bool {
        let mut said = self.said.lock();
        said.len() < MOST_TYPES && !said.contains(kind) && said.insert(kind.to_owned())
    }
}

/// The name of a type, if it looks like one: anything else may be personal.
fn shown(kind: &str) -> &str {
    let fine = |b: u8| b.is_ascii_alphanumeric() || b"._-$:/#".contains(&b);
    match !kind.is_empty() && kind.len() <= LONGEST_TYPE && kind.bytes().all(fine) {
        true => kind,
        false => "(not shown: it does not look like the name of a type)",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_is_said_once_and_not_too_many() {
        let passed = PassedOver::new(&Metrics::new(), "x", "Records");
        assert!(passed.is_new("UserDeleted"));
        assert!(!passed.is_new("UserDeleted"));
        let said = (0..1000).filter(|n| passed.is_new(&n.to_string())).count();
        assert_eq!(said, MOST_TYPES - 1);
    }

    #[test]
    fn what_is_no_name_is_not_repeated() {
        assert_eq!(shown("com.example.UserDeleted"), "com.example.UserDeleted");
        for odd in ["", "a@example.com", "a\nb", "x y", &"x".repeat(129)] {
            assert!(shown(odd).starts_with("(not shown"), "{odd}");
        }
    }
}
