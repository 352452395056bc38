//! `roundrobin`: all partitions of all topics in order, dealt to the members in turn, passing those that do not
//! subscribe to the topic (Java `RoundRobinAssignor`).

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
    let mut turn = 0;
    for (topic, &count) in topics {
        if !members.iter().any(|member| member.subscribes(topic)) {
            continue;
        }
        for number in 0..count {
            while !members[turn].subscribes(topic) {
                turn = (turn + 1) % members.len();
            }
            given[turn].push(TopicPartition::new(topic.clone(), number));
            turn = (turn + 1) % members.len();
        }
    }
    given
}
