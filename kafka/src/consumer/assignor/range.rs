//! `range`: for each topic by itself, consecutive blocks of partitions in the order of the members; the first ones
//! get one more where it does not divide evenly (Java `RangeAssignor`).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Member;
use crate::consumer::topic_partition::TopicPartition;

/// One list for each member, in their order.
pub(super) fn assign(
    members: &[&Member],
    topics: &BTreeMap<Arc<str>, i32>,
) -> Vec<Vec<TopicPartition>> {
    let mut given = vec![Vec::new(); members.len()];
    for (topic, &count) in topics {
        let takers: Vec<usize> = (0..members.len())
            .filter(|at| members[*at].subscribes(topic))
            .collect();
        if takers.is_empty() {
            continue;
        }
        let (each, extra) = (count as usize / takers.len(), count as usize % takers.len());
        let mut partitions = 0..count;
        for (at, taker) in takers.into_iter().enumerate() {
            let block = each + usize::from(at < extra);
            given[taker].extend(
                partitions
                    .by_ref()
                    .take(block)
                    .map(|number| TopicPartition::new(topic.clone(), number)),
            );
        }
    }
    given
}
