//! A history by order.

use std::collections::HashMap;

use proto::FinalStatus;

use crate::history::{
    Answer, Group, History, Letter, Millis, Outcome, Place, Record, Step, Stored,
};

/// What a history holds of one order.
#[derive(Debug, Default)]
pub(super) struct Order<'a> {
    /// How often it was asked for.
    pub requests: usize,
    pub placed: Vec<&'a Place>,
    pub steps: Vec<&'a Record<Step>>,
    pub results: Vec<&'a Record<Outcome>>,
    pub stored: Vec<&'a Stored>,
}

impl<'a> Order<'a> {
    /// Its final statuses, in the order in which they were read.
    pub fn ends(&self) -> impl Iterator<Item = (FinalStatus, &'a Record<Step>)> {
        self.steps
            .iter()
            .filter_map(|step| Some((step.event.end?, *step)))
    }

    /// When the first copy of each of its events was made; `None` while one is missing.
    pub fn handled(&self) -> Option<Millis> {
        let created = self.steps.iter().filter(|step| step.event.end.is_none());
        let created = created.map(|step| step.time).min()?;
        let ended = self.ends().map(|(_, step)| step.time).min()?;
        let told = self.results.iter().map(|result| result.time).min()?;
        Some(created.max(ended).max(told))
    }
}

/// A history by order, and its dead letters by what they are copies of.
pub(super) struct Index<'a> {
    pub orders: HashMap<&'a str, Order<'a>>,
    pub letters: HashMap<(Group, &'a Place), &'a Record<Letter>>,
    /// Orders that were answered with 200.
    pub accepted: usize,
}

impl<'a> Index<'a> {
    pub fn new(history: &'a History) -> Self {
        let mut orders: HashMap<&str, Order<'_>> = HashMap::new();
        for request in &history.requests {
            orders.entry(&request.order).or_default().requests += 1;
        }
        for record in &history.orders {
            let order = orders.entry(&record.event.order).or_default();
            order.placed.push(&record.place);
        }
        for record in &history.steps {
            let order = orders.entry(&record.event.order).or_default();
            order.steps.push(record);
        }
        for record in &history.results {
            let order = orders.entry(&record.event.order).or_default();
            order.results.push(record);
        }
        for stored in &history.stored {
            orders.entry(&stored.order).or_default().stored.push(stored);
        }
        let letters = history.letters.iter();
        let mut accepted: Vec<&str> = history
            .requests
            .iter()
            .filter(|request| matches!(request.answer, Answer::Accepted(_)))
            .map(|request| &*request.order)
            .collect();
        accepted.sort_unstable();
        accepted.dedup();
        Self {
            orders,
            letters: letters
                .map(|letter| ((letter.event.group, &letter.event.of), letter))
                .collect(),
            accepted: accepted.len(),
        }
    }

    /// The orders by id, so that two checks of one history say the same.
    pub fn sorted(&self) -> Vec<(&'a str, &Order<'a>)> {
        let mut orders: Vec<_> = self.orders.iter().map(|(id, order)| (*id, order)).collect();
        orders.sort_unstable_by_key(|(id, _)| *id);
        orders
    }

    /// Whether one of an order's records can be processed, and is no dead letter.
    pub fn sound(&self, order: &Order<'_>) -> bool {
        order
            .placed
            .iter()
            .any(|place| !self.letters.contains_key(&(Group::Processing, *place)))
    }
}
