//! Histories that each hold one fault, which the checker names.

use std::sync::Arc;
use std::time::Duration;

use kafka::TopicPartition;
use proto::FinalStatus::{self, Confirmed, Rejected};

use super::*;
use crate::history::{
    Answer, Commit, Fault, Group, Letter, Outcome, Place, Placed, Record, Refusal, Request, Step,
    Stored, Stranger,
};

const ORDERS: &str = "order_topic";
const STATUSES: &str = "order_status_topic";
const NOTIFICATIONS: &str = "notifications";

fn place(topic: &str, offset: i64) -> Place {
    Place {
        topic: topic.into(),
        partition: 0,
        offset,
    }
}

fn record<E>(topic: &str, offset: i64, time: i64, event: E) -> Record<E> {
    Record {
        place: place(topic, offset),
        time,
        key: None,
        id: None,
        event,
    }
}

fn name(order: i64) -> Arc<str> {
    order.to_string().into()
}

/// Orders 0, 1, 2… one after another, 10 ms each: placed at 0, created at 2, ended at 3, told at
/// 4, committed at 5, stored at 6, committed at 7.
fn sound(orders: i64) -> History {
    let mut history = History::default();
    for order in 0..orders {
        let begin = order * 10;
        history.requests.push(Request {
            order: name(order),
            sent: begin,
            answered: begin + 1,
            answer: Answer::Accepted(place(ORDERS, order)),
        });
        let placed = Placed { order: name(order) };
        history.orders.push(record(ORDERS, order, begin, placed));
        for (offset, end) in [(2 * order, None), (2 * order + 1, Some(Confirmed))] {
            let step = Step {
                order: name(order),
                end,
            };
            let time = begin + 2 + i64::from(end.is_some());
            history.steps.push(record(STATUSES, offset, time, step));
        }
        let told = Outcome {
            order: name(order),
            end: Confirmed,
        };
        let told = record(NOTIFICATIONS, order, begin + 4, told);
        history.results.push(told);
        history.stored.push(Stored {
            order: name(order),
            end: Confirmed,
            received: begin + 6,
        });
        for (group, topic, seen) in [
            (Group::Processing, ORDERS, begin + 5),
            (Group::Notification, NOTIFICATIONS, begin + 7),
        ] {
            history.commits.push(Commit {
                group,
                partition: TopicPartition::new(topic, 0),
                offset: order + 1,
                seen,
            });
        }
    }
    for (topic, end) in [
        (ORDERS, orders),
        (STATUSES, 2 * orders),
        (NOTIFICATIONS, orders),
    ] {
        history.ends.insert(TopicPartition::new(topic, 0), end);
    }
    history
}

#[track_caller]
fn finds(history: &History, expected: &[Violation]) {
    let verdict = check(history);
    assert_eq!(verdict.violations, expected, "{verdict}");
}

#[test]
fn a_late_answer_and_a_refusal_without_advice_are_found_where_they_are_looked_for() {
    let mut history = sound(1);
    let refused = |sent, answered, answer| Request {
        order: name(0),
        sent,
        answered,
        answer,
    };
    let refusal = Refusal {
        status: 503,
        retry_after: Some(1),
        order: Some(name(0)),
    };
    let bare = Refusal {
        retry_after: None,
        ..refusal.clone()
    };
    history.requests.extend([
        refused(100, 200, Answer::Refused(refusal.clone())),
        refused(300, 401, Answer::Refused(refusal)),
        refused(500, 510, Answer::Refused(bare.clone())),
        refused(600, 610, Answer::Silent),
    ]);
    finds(&history, &[]);
    history.answers_within = Some(Duration::from_millis(100));
    let late = |sent, took| Violation::NotAnswered {
        order: "0".to_owned(),
        sent,
        took,
    };
    let bad = Violation::BadRefusal {
        order: "0".to_owned(),
        refusal: bare,
    };
    finds(&history, &[late(300, 101), bad, late(600, 10)]);
}

#[test]
fn a_copy_that_the_run_put_there_is_explained_and_no_other() {
    let mut history = sound(1);
    let placed = Placed { order: name(0) };
    history.orders.push(record(ORDERS, 1, 1, placed));
    history.ends.insert(TopicPartition::new(ORDERS, 0), 2);
    history.commits.push(Commit {
        group: Group::Processing,
        partition: TopicPartition::new(ORDERS, 0),
        offset: 2,
        seen: 9,
    });
    finds(
        &history,
        &[Violation::UnexplainedDuplicate {
            order: "0".to_owned(),
            copies: vec![place(ORDERS, 0), place(ORDERS, 1)],
        }],
    );
    history.planted.push(place(ORDERS, 1));
    finds(&history, &[]);
}

fn step_of(history: &History, order: i64, end: Option<FinalStatus>) -> usize {
    let wanted = |step: &Record<Step>| step.event.order == name(order) && step.event.end == end;
    history.steps.iter().position(wanted).unwrap()
}

#[test]
fn nothing_is_found_in_a_sound_history() {
    let verdict = check(&sound(5));
    verdict.assert_clean();
    assert_eq!(
        (verdict.orders, verdict.accepted, verdict.commits),
        (5, 5, 10)
    );
    assert_eq!(verdict.duplicates.total(), 0);
}

#[test]
fn an_accepted_order_that_is_not_in_the_log_is_found() {
    let mut history = sound(2);
    history.orders.pop();
    history.steps.truncate(2);
    history.results.pop();
    history.stored.pop();
    history.commits.truncate(2);
    history.ends.insert(TopicPartition::new(ORDERS, 0), 1);
    history
        .ends
        .insert(TopicPartition::new(NOTIFICATIONS, 0), 1);
    let expected = Violation::FalseReceipt {
        order: "1".into(),
        receipt: place(ORDERS, 1),
        found: None,
    };
    finds(&history, &[expected]);
}

#[test]
fn a_receipt_that_names_another_order_is_found() {
    let mut history = sound(2);
    history.requests[1].answer = Answer::Accepted(place(ORDERS, 0));
    let expected = Violation::FalseReceipt {
        order: "1".into(),
        receipt: place(ORDERS, 0),
        found: Some("0".into()),
    };
    finds(&history, &[expected]);
}

#[test]
fn an_order_without_an_outcome_is_found_and_so_is_the_commit_that_passed_it() {
    let mut history = sound(3);
    history.steps.remove(step_of(&history, 1, Some(Confirmed)));
    let expected = [
        Violation::NoOutcome {
            order: "1".into(),
            placed: place(ORDERS, 1),
        },
        Violation::CommitPastUnhandled {
            group: Group::Processing,
            offset: 2,
            seen: 15,
            unhandled: place(ORDERS, 1),
            handled: None,
        },
    ];
    finds(&history, &expected);
}

#[test]
fn two_outcomes_of_one_order_are_found() {
    let mut history = sound(1);
    let step = Step {
        order: name(0),
        end: Some(Rejected),
    };
    history.steps.push(record(STATUSES, 2, 8, step));
    history.faults.push(fault("killed", 3, 8));
    let expected = Violation::TwoOutcomes {
        order: "0".into(),
        first: (Confirmed, place(STATUSES, 1)),
        second: (Rejected, place(STATUSES, 2)),
    };
    finds(&history, &[expected]);
}

#[test]
fn an_end_before_the_beginning_is_found() {
    let mut history = sound(1);
    history.steps[0].place.offset = 1;
    history.steps[1].place.offset = 0;
    history.steps.swap(0, 1);
    let expected = Violation::OutOfOrder {
        order: "0".into(),
        created: Some(place(STATUSES, 1)),
        ended: place(STATUSES, 0),
    };
    finds(&history, &[expected]);
}

#[test]
fn an_order_that_nobody_was_told_of_is_found() {
    let mut history = sound(1);
    history.results.clear();
    history.stored.clear();
    history.commits.retain(|c| c.group == Group::Processing);
    let verdict = check(&history);
    assert!(
        verdict
            .violations
            .contains(&Violation::NotTold { order: "0".into() })
    );
    assert!(verdict.violations.contains(&Violation::Stored {
        order: "0".into(),
        end: Confirmed,
        stored: Vec::new(),
    }));
}

#[test]
fn a_notification_that_says_otherwise_is_found() {
    let mut history = sound(1);
    history.results[0].event.end = Rejected;
    let expected = Violation::ToldOtherwise {
        order: "0".into(),
        end: Confirmed,
        told: (Rejected, place(NOTIFICATIONS, 0)),
    };
    finds(&history, &[expected]);
}

#[test]
fn a_notification_that_is_stored_twice_is_found() {
    let mut history = sound(1);
    history.stored.push(history.stored[0].clone());
    let expected = Violation::Stored {
        order: "0".into(),
        end: Confirmed,
        stored: vec![Confirmed, Confirmed],
    };
    finds(&history, &[expected]);
}

#[test]
fn an_event_of_an_order_that_nobody_placed_is_found() {
    let mut history = sound(1);
    let step = Step {
        order: name(7),
        end: None,
    };
    history.steps.push(record(STATUSES, 2, 8, step));
    let expected = Violation::Phantom {
        order: "7".into(),
        place: place(STATUSES, 2),
    };
    finds(&history, &[expected]);
}

fn fault(what: &str, from: i64, to: i64) -> Fault {
    Fault {
        what: what.into(),
        from,
        to,
    }
}

/// Order 0's notification once more, at 8.
fn told_twice() -> History {
    let mut history = sound(1);
    let told = history.results[0].event.clone();
    history.results.push(record(NOTIFICATIONS, 1, 8, told));
    history
        .ends
        .insert(TopicPartition::new(NOTIFICATIONS, 0), 2);
    history.commits.push(Commit {
        group: Group::Notification,
        partition: TopicPartition::new(NOTIFICATIONS, 0),
        offset: 2,
        seen: 9,
    });
    history
}

#[test]
fn a_copy_that_nothing_explains_is_found() {
    let mut history = told_twice();
    // Over before the first copy was made, or begun after the last.
    history.faults.push(fault("killed", 0, 3));
    history.faults.push(fault("killed again", 9, 10));
    let expected = Violation::UnexplainedDuplicate {
        order: "0".into(),
        copies: vec![place(NOTIFICATIONS, 0), place(NOTIFICATIONS, 1)],
    };
    finds(&history, &[expected]);
}

#[test]
fn a_fault_between_the_copies_explains_them() {
    let mut history = told_twice();
    history.faults.push(fault("killed", 6, 7));
    let verdict = check(&history);
    verdict.assert_clean();
    assert_eq!(
        verdict.duplicates.to_string(),
        "1 in notifications (killed)"
    );
}

#[test]
fn more_orders_in_the_log_than_were_asked_for_are_found() {
    let mut history = sound(1);
    let placed = Placed { order: name(0) };
    history.orders.push(record(ORDERS, 1, 8, placed));
    history.ends.insert(TopicPartition::new(ORDERS, 0), 2);
    history.commits.push(Commit {
        group: Group::Processing,
        partition: TopicPartition::new(ORDERS, 0),
        offset: 2,
        seen: 9,
    });
    let expected = Violation::UnexplainedDuplicate {
        order: "0".into(),
        copies: vec![place(ORDERS, 0), place(ORDERS, 1)],
    };
    finds(&history, &[expected]);

    let again = Request {
        answer: Answer::Silent,
        ..history.requests[0].clone()
    };
    history.requests.push(again);
    let verdict = check(&history);
    verdict.assert_clean();
    assert_eq!(verdict.duplicates.total(), 1);
}

#[test]
fn a_commit_before_its_records_are_handled_is_found() {
    let mut history = sound(2);
    // Seen at 12, while order 1 is told of at 14.
    let early = history.commits.iter_mut().find(|commit| commit.seen == 15);
    early.unwrap().seen = 12;
    let expected = Violation::CommitPastUnhandled {
        group: Group::Processing,
        offset: 2,
        seen: 12,
        unhandled: place(ORDERS, 1),
        handled: Some(14),
    };
    finds(&history, &[expected]);
}

#[test]
fn a_commit_before_a_notification_is_stored_is_found() {
    let mut history = sound(1);
    history.stored[0].received = 20;
    let expected = Violation::CommitPastUnhandled {
        group: Group::Notification,
        offset: 1,
        seen: 7,
        unhandled: place(NOTIFICATIONS, 0),
        handled: Some(20),
    };
    finds(&history, &[expected]);
}

#[test]
fn a_dead_letter_is_handled_when_it_is_written() {
    let mut history = sound(1);
    let placed = Placed { order: name(1) };
    history.orders.push(record(ORDERS, 1, 10, placed));
    history.ends.insert(TopicPartition::new(ORDERS, 0), 2);
    let letter = Letter {
        of: place(ORDERS, 1),
        group: Group::Processing,
    };
    history
        .letters
        .push(record("order_topic-dlt", 0, 12, letter));
    history.commits.push(Commit {
        group: Group::Processing,
        partition: TopicPartition::new(ORDERS, 0),
        offset: 2,
        seen: 13,
    });
    check(&history).assert_clean();
    history.letters[0].time = 14;
    assert_eq!(check(&history).violations.len(), 1);
}

#[test]
fn what_is_no_event_is_put_aside_before_it_is_committed() {
    let mut history = sound(1);
    let at = place(NOTIFICATIONS, 1);
    let reader = Group::Notification;
    let stranger = record(NOTIFICATIONS, 1, 8, Stranger { reader });
    history.strangers.push(stranger);
    history
        .ends
        .insert(TopicPartition::new(NOTIFICATIONS, 0), 2);
    history.commits.push(Commit {
        group: reader,
        partition: TopicPartition::new(NOTIFICATIONS, 0),
        offset: 2,
        seen: 10,
    });
    let nobody = Violation::Stranger { place: at.clone() };
    let not_aside = Violation::NotPutAside {
        place: at.clone(),
        reader,
    };
    let early = |handled| Violation::CommitPastUnhandled {
        group: reader,
        offset: 2,
        seen: 10,
        unhandled: at.clone(),
        handled,
    };
    finds(&history, &[nobody, not_aside, early(None)]);

    history.poison.push(at.clone());
    let letter = Letter {
        of: at.clone(),
        group: reader,
    };
    history
        .letters
        .push(record("notifications-dlt", 0, 11, letter));
    finds(&history, &[early(Some(11))]);
    history.letters[0].time = 9;
    check(&history).assert_clean();
}

#[test]
fn a_commit_that_goes_back_is_found() {
    let mut history = sound(2);
    let partition = TopicPartition::new(ORDERS, 0);
    for (offset, seen) in [(1, 30), (2, 31)] {
        history.commits.push(Commit {
            group: Group::Processing,
            partition: partition.clone(),
            offset,
            seen,
        });
    }
    let expected = Violation::CommitWentBack {
        group: Group::Processing,
        partition,
        before: 2,
        offset: 1,
    };
    finds(&history, &[expected]);
}

#[test]
fn what_is_not_committed_in_the_end_is_found() {
    let mut history = sound(2);
    history.commits.retain(|commit| commit.seen != 17);
    let expected = Violation::Lag {
        group: Group::Notification,
        partition: TopicPartition::new(NOTIFICATIONS, 0),
        committed: 1,
        end: 2,
    };
    finds(&history, &[expected]);
}

#[test]
fn a_verdict_names_the_offender() {
    let mut history = sound(1);
    history.requests[0].answer = Answer::Accepted(place(ORDERS, 9));
    let said = check(&history).to_string();
    let expected = "order 0: its receipt says order_topic/0/9, where nothing lies";
    assert!(said.contains(expected), "{said}");
}
