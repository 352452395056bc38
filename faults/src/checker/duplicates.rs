//! Records that are there more than once, and why.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use super::index::{Index, Order};
use super::verdict::Violation;
use crate::history::{Fault, History, Millis, Place, Record};

/// Surplus copies: how many there are, by topic and by what explains them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Duplicates(pub BTreeMap<(String, String), usize>);

impl Duplicates {
    fn add(&mut self, topic: &str, why: &str, copies: usize) {
        if copies > 0 {
            let key = (topic.to_owned(), why.to_owned());
            *self.0.entry(key).or_default() += copies;
        }
    }

    /// How many copies there are beyond the first, in all topics.
    pub fn total(&self) -> usize {
        self.0.values().sum()
    }
}

impl fmt::Display for Duplicates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        let mut comma = "";
        for ((topic, why), copies) in &self.0 {
            write!(f, "{comma}{copies} in {topic} ({why})")?;
            comma = ", ";
        }
        Ok(())
    }
}

/// Counts surplus copies and finds those that nothing explains.
pub(super) fn count(history: &History, index: &Index<'_>) -> (Duplicates, Vec<Violation>) {
    let mut duplicates = Duplicates::default();
    let mut unexplained = Vec::new();
    let planted: HashSet<&Place> = history.planted.iter().collect();
    for (id, order) in index.sorted() {
        let surplus = order.placed.len().saturating_sub(1);
        if let Some(last) = order.placed.last() {
            let planted = order
                .placed
                .iter()
                .filter(|place| planted.contains(**place));
            let planted = planted.count();
            duplicates.add(&last.topic, "put there by the run", planted);
            duplicates.add(
                &last.topic,
                "sent again by the caller",
                surplus.saturating_sub(planted),
            );
            if order.requests > 0 && order.placed.len() > order.requests + planted {
                unexplained.push(Violation::UnexplainedDuplicate {
                    order: id.to_owned(),
                    copies: order.placed.iter().map(|place| (*place).clone()).collect(),
                });
            }
        }
        let created = order.steps.iter().filter(|step| step.event.end.is_none());
        let ended = order.steps.iter().filter(|step| step.event.end.is_some());
        let mut look = |copies: Vec<(&Place, Millis)>| {
            let [(first, _), .., (_, _)] = copies[..] else {
                return;
            };
            match explain(history, order, &copies) {
                Some(why) => duplicates.add(&first.topic, &why, copies.len() - 1),
                None => unexplained.push(Violation::UnexplainedDuplicate {
                    order: id.to_owned(),
                    copies: copies.iter().map(|(place, _)| (*place).clone()).collect(),
                }),
            }
        };
        look(created.map(|step| place_and_time(step)).collect());
        look(ended.map(|step| place_and_time(step)).collect());
        look(order.results.iter().map(|r| place_and_time(r)).collect());
    }
    (duplicates, unexplained)
}

fn place_and_time<E>(record: &Record<E>) -> (&Place, Millis) {
    (&record.place, record.time)
}

/// What made an order's event come more than once.
fn explain(history: &History, order: &Order<'_>, copies: &[(&Place, Millis)]) -> Option<String> {
    if copies.len() <= order.placed.len() {
        return Some("its order came as often".to_owned());
    }
    let times = copies.iter().map(|(_, time)| *time);
    let (first, last) = (times.clone().min()?, times.max()?);
    let between = |fault: &&Fault| fault.from <= last && fault.to >= first;
    let fault = history.faults.iter().find(between)?;
    Some(fault.what.clone())
}
