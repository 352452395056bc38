//! Each order by itself: its receipt, its outcome, its notification.

use std::collections::HashMap;

use proto::FinalStatus;

use super::index::{Index, Order};
use super::verdict::Violation;
use crate::history::{Answer, History, Place};

/// An order answered with 200 lies where its receipt says.
pub(super) fn receipts(history: &History, _: &Index<'_>) -> Vec<Violation> {
    let by_place: HashMap<&Place, &str> = history
        .orders
        .iter()
        .map(|record| (&record.place, &*record.event.order))
        .collect();
    let mut violations = Vec::new();
    for request in &history.requests {
        let Answer::Accepted(place) = &request.answer else {
            continue;
        };
        match by_place.get(place) {
            Some(order) if **order == *request.order => {}
            found => violations.push(Violation::FalseReceipt {
                order: request.order.to_string(),
                receipt: place.clone(),
                found: found.map(|order| (*order).to_owned()),
            }),
        }
    }
    violations
}

/// Every order in the log has one outcome, behind its CREATED.
pub(super) fn outcomes(_: &History, index: &Index<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (id, order) in index.sorted() {
        if order.placed.is_empty() || !index.sound(order) {
            continue;
        }
        let mut ends = order.ends();
        let Some((end, first)) = ends.next() else {
            violations.push(Violation::NoOutcome {
                order: id.to_owned(),
                placed: order.placed[0].clone(),
            });
            continue;
        };
        if let Some((other, second)) = ends.find(|(other, _)| *other != end) {
            violations.push(Violation::TwoOutcomes {
                order: id.to_owned(),
                first: (end, first.place.clone()),
                second: (other, second.place.clone()),
            });
        }
        violations.extend(in_order(id, order, &first.place));
    }
    violations
}

/// The first CREATED lies before the first final status, in its partition.
fn in_order(id: &str, order: &Order<'_>, ended: &Place) -> Option<Violation> {
    let mut created = order.steps.iter().filter(|step| step.event.end.is_none());
    let created = created.next().map(|step| step.place.clone());
    let before = created.as_ref().is_some_and(|created| {
        created.partition == ended.partition && created.offset < ended.offset
    });
    (!before).then(|| Violation::OutOfOrder {
        order: id.to_owned(),
        created,
        ended: ended.clone(),
    })
}

/// Each outcome is told, and exactly one notification is stored, which says it.
pub(super) fn notifications(_: &History, index: &Index<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (id, order) in index.sorted() {
        if order.placed.is_empty() || !index.sound(order) {
            continue;
        }
        let Some((end, _)) = order.ends().next() else {
            continue;
        };
        if order.results.is_empty() {
            violations.push(Violation::NotTold {
                order: id.to_owned(),
            });
        }
        for result in &order.results {
            if result.event.end != end {
                violations.push(Violation::ToldOtherwise {
                    order: id.to_owned(),
                    end,
                    told: (result.event.end, result.place.clone()),
                });
            }
        }
        let stored: Vec<FinalStatus> = order.stored.iter().map(|stored| stored.end).collect();
        if stored != [end] {
            violations.push(Violation::Stored {
                order: id.to_owned(),
                end,
                stored,
            });
        }
    }
    violations
}

/// Nothing tells of an order that is in no log.
pub(super) fn phantoms(_: &History, index: &Index<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (id, order) in index.sorted() {
        if !order.placed.is_empty() {
            continue;
        }
        let steps = order.steps.iter().map(|step| &step.place);
        let results = order.results.iter().map(|result| &result.place);
        violations.extend(steps.chain(results).next().map(|place| Violation::Phantom {
            order: id.to_owned(),
            place: place.clone(),
        }));
    }
    violations
}
