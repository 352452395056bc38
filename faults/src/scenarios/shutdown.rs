//! SIGTERM in the middle of the work: requests in flight are answered, all that is done is
//! committed, the exit status is 0, and after the restart nothing is done twice. No fault is noted
//! here, so that the checker finds every duplicate.

use std::collections::HashMap;
use std::time::Duration;

use broker::{ApiKey, ResponseError};
use kafka::{NewTopic, partition_for_key};
use testkit::{eventually, http};

use crate::checker::Verdict;
use crate::gather;
use crate::history::{Answer, Group, History};
use crate::load::LoadPlan;
use crate::poison::Writer;
use crate::processor::{Processor, Trouble};
use crate::run::Run;
use crate::shop::{Instance, Service, Shop, Stage};

/// How long a processor may take with all orders but a few.
const PATIENCE: Duration = Duration::from_secs(180);

/// Partitions of the status topic of a shop where the events of one partition's orders go nowhere:
/// so many that these orders are few.
const STATUSES: i32 = 100;

/// Orders placed from then on, at most: they are worked off before an order is out of attempts
/// (about 33 s).
const BEHIND: u64 = 3_000;

/// Every service in turn, again and again.
pub async fn every_service(run: Run) -> Verdict {
    let mut shop = Shop::open(Stage::any().await).await;
    let plan = run.steady_plan();
    let mut load = shop.load(plan.clone());
    for moment in run.moments() {
        load.reached(moment).await;
        for service in [Service::Consumer, Service::Notifier, Service::Producer] {
            let instance = &mut shop.instances(service)[0];
            end_well(instance).await;
            instance.start_again().await;
            instance.ready().await;
        }
    }
    load.reached(run.orders).await;
    load.enough();
    let (history, verdict) = shop.settle(&plan, load).await;
    nothing_twice(&history, &verdict);
    let silent: Vec<_> = history
        .requests
        .iter()
        .filter(|request| request.answer == Answer::Silent)
        .collect();
    assert!(silent.is_empty(), "left without an answer: {silent:?}");
    verdict
}

async fn end_well(instance: &mut Instance) {
    let status = instance.end().await;
    let output = instance.process.output();
    assert!(status.success(), "{status}: {output}");
    assert!(output.contains("ended orderly"), "{output}");
}

/// One order waits in back-off, thousands are done behind it: after the restart these are passed
/// over, and that one is processed.
pub async fn behind_a_waiting_order(run: Run) -> Verdict {
    behind_one(run, Trouble::Retries).await
}

/// The handler is stuck with one order: it is named, and the others go on.
pub async fn behind_a_stuck_handler(run: Run) -> Verdict {
    behind_one(run, Trouble::Stuck).await
}

/// Records that errors say a handler has had for how long, as the report at the end names them.
fn stuck(output: &str) -> impl Iterator<Item = String> {
    output.lines().filter_map(|line| {
        let field = |name: &str| {
            let value = line.split_once(&format!(" {name}="))?.1;
            Some(value.split(' ').next()?.trim_matches('"'))
        };
        if !line.contains("ERROR") {
            return None;
        }
        field("age_ms")?;
        let (topic, partition) = (field("topic")?, field("partition")?);
        Some(format!("{topic}-{partition} offset {}", field("offset")?))
    })
}

async fn behind_one(run: Run, trouble: Trouble) -> Verdict {
    let mut shop = Shop::empty(Stage::any().await).await;
    shop.add(Service::Producer, &[]).await;
    shop.add(Service::Notifier, &[]).await;
    let plan = LoadPlan {
        orders: run.orders,
        ..run.steady_plan()
    };
    let mut processor = Processor::with_trouble(&shop, trouble, &plan.order(0));
    let mut load = shop.load(plan.clone());
    load.reached(run.orders).await;
    told_of(&shop, run.orders - 1).await;
    if trouble == Trouble::Stuck {
        let named = |output: &str| stuck(output).next().map(drop);
        processor.process.eventually(PATIENCE, named).await;
    }
    let status = processor.process.end().await;
    assert!(status.success(), "{status}: {}", processor.process.output());
    processor.end_trouble();
    processor.process.start_again();
    let (history, verdict) = shop.settle(&plan, load).await;
    nothing_twice(&history, &verdict);
    assert_eq!(verdict.accepted as u64, run.orders);
    verdict
}

/// Waits until so many orders are told of.
async fn told_of(shop: &Shop, orders: u64) {
    let topic = [shop.names.notifications.clone()];
    eventually(PATIENCE, || async {
        let ends = gather::ends(&shop.client, &topic).await;
        (ends.values().sum::<i64>() as u64 == orders).then_some(())
    })
    .await;
}

/// The real consumer-svc holds a record whose dead letter nobody takes, with thousands done behind
/// it: these are passed over after the restart, and the letter is written once there is a topic.
pub async fn behind_a_held_letter(run: Run) -> Verdict {
    let mut shop = Shop::open(Stage::any().await).await;
    let admin = shop.client.admin();
    let letters = format!("{}{}", shop.names.orders, proto::topics::DEAD_LETTER_SUFFIX);
    admin
        .delete_topics(&[&letters])
        .await
        .expect("it is deleted");
    let plan = LoadPlan {
        orders: run.orders,
        ..run.steady_plan()
    };
    let writer = Writer::new(&shop.client);
    let orders = shop.names.orders.clone();
    let held = writer.send(&orders, Some(b"no order"), &[]).await;
    let mut load = shop.load(plan.clone());
    load.reached(run.orders).await;
    told_of(&shop, run.orders).await;
    let consumer = &mut shop.consumers[0];
    let said = |output: &str| output.contains("its record is held").then_some(());
    consumer.process.eventually(PATIENCE, said).await;
    end_well(consumer).await;
    let committed = admin.committed_offsets(&shop.names.processing).await;
    let committed = committed.expect("committed offsets");
    let of_held =
        |of: &kafka::TopicPartition| *of.topic == *held.topic && of.partition == held.partition;
    let commit = committed.iter().find(|(of, _)| of_held(of));
    let offset = commit.map(|(_, commit)| commit.offset);
    assert_eq!(offset, Some(held.offset), "the commit of {held}");

    let topic = NewTopic::new(&letters, 3, shop.stage.replicas() as i16);
    admin
        .create_topics(&[topic])
        .await
        .expect("a topic is made");
    let consumer = &mut shop.consumers[0];
    consumer.start_again().await;
    consumer.ready().await;
    let (history, verdict) = shop.settle(&plan, load).await;
    verdict.assert_clean();
    assert_eq!(verdict.duplicates.total(), 0, "{verdict}");
    let letters: Vec<_> = history.letters.iter().map(|l| &l.event).collect();
    let [letter] = letters[..] else {
        panic!("one letter is expected: {letters:?}");
    };
    assert_eq!((&letter.of, letter.group), (&held, Group::Processing));
    verdict
}

/// What the orders do whose events are not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Others {
    /// They are processed all the same.
    GoOn,
    /// They wait, and `/readyz` names the topic.
    Wait,
}

/// The broker refuses the events of a few orders for good. That is the topic's fault and no order's: the real
/// consumer-svc waits with all of them and names the topic, ends well, and goes on once the events are taken.
pub async fn behind_refused_events(run: Run) -> Verdict {
    let refusal = ResponseError::InvalidRecord;
    behind_a_few(run, refusal, Others::Wait, &[], async |consumer| {
        end_well(consumer).await;
    })
    .await
}

/// A partition of the status topic has no leader, so that the real consumer-svc is stuck with a few
/// orders. They are named, the others go on. When it is to end it waits for them as long as it may,
/// and says at its end which they were.
pub async fn without_a_leader(run: Run) -> Verdict {
    // It uses all the time that it has.
    let flags = [("shutdown-timeout", "3s")];
    behind_a_few(
        run,
        ResponseError::NotLeaderOrFollower,
        Others::GoOn,
        &flags,
        async |consumer| {
            let named = |output: &str| stuck(output).next().map(drop);
            consumer.process.eventually(PATIENCE, named).await;
            let status = consumer.end().await;
            let output = consumer.process.output();
            assert_eq!(status.code(), Some(1), "{output}");
            // On a busy machine others may be named that were done after all.
            let left =
                |place: &str| output.contains(&format!("{place} still in the handler's hands"));
            assert!(stuck(&output).any(|place| left(&place)), "{output}");
        },
    )
    .await
}

/// From some moment on the broker answers the events of some orders, those of one partition, with
/// `error`, until consumer-svc has been ended by `end`. No other order's events are made twice.
async fn behind_a_few(
    run: Run,
    error: ResponseError,
    others: Others,
    flags: &[(&str, &str)],
    end: impl AsyncFnOnce(&mut Instance),
) -> Verdict {
    let mut shop = Shop::empty(Stage::in_process().await).await;
    let statuses = shop.names.statuses.clone();
    let topic = NewTopic::new(&statuses, STATUSES, 1);
    let made = shop.client.admin().create_topics(&[topic]).await;
    made.expect("a topic is made");
    let flags = [&[("kafka-max-processing-time", "1s")], flags].concat();
    for service in [Service::Producer, Service::Consumer, Service::Notifier] {
        shop.add(service, &flags).await;
    }
    let plan = LoadPlan {
        orders: run.orders,
        ..run.steady_plan()
    };
    let mut load = shop.load(plan.clone());
    let before = run.orders - BEHIND.min(run.orders / 2);
    load.reached(before).await;
    // One that is placed later than all that are on their way.
    let first = plan.order(before + 2 * plan.connections as u64);
    let partition = |order: &str| partition_for_key(order.as_bytes(), STATUSES);
    let unlucky = partition(&first);
    shop.fault("the broker refused events");
    let produces = shop.stage.broker().faults().on(ApiKey::Produce);
    let produces = produces.topic(&statuses).partition(unlucky);
    let refused = produces.always().error(error);
    refused.hit().await;
    load.reached(run.orders).await;
    let lucky = (0..run.orders)
        .filter(|number| partition(&plan.order(*number)) != unlucky)
        .count() as i64;
    let address = shop.consumers[0].address;
    eventually(PATIENCE, || async {
        match others {
            Others::GoOn => {
                let mut ends = gather::ends(&shop.client, std::slice::from_ref(&statuses)).await;
                ends.retain(|of, _| of.partition != unlucky);
                // CREATED and the outcome.
                (ends.values().sum::<i64>() == 2 * lucky).then_some(())
            }
            Others::Wait => {
                let ready = http::get(address, "/readyz").await.body;
                (ready.contains("is paused") && ready.contains(&statuses)).then_some(())
            }
        }
    })
    .await;
    end(&mut shop.consumers[0]).await;
    refused.clear();
    shop.fault_over();

    let consumer = &mut shop.consumers[0];
    consumer.start_again().await;
    consumer.ready().await;
    let (history, verdict) = shop.settle(&plan, load).await;
    verdict.assert_clean();
    assert_eq!(verdict.accepted as u64, run.orders);
    let mut events: HashMap<&str, u32> = HashMap::new();
    let steps = history.steps.iter().map(|step| &*step.event.order);
    let results = history.results.iter().map(|result| &*result.event.order);
    for order in steps.chain(results) {
        *events.entry(order).or_default() += 1;
    }
    events.retain(|order, number| partition(order) != unlucky && *number != 3);
    assert!(events.is_empty(), "not three events: {events:?}");
    verdict
}

#[track_caller]
fn nothing_twice(history: &History, verdict: &Verdict) {
    verdict.assert_clean();
    assert_eq!(verdict.duplicates.total(), 0, "{verdict}");
    assert_eq!(history.orders.len(), verdict.accepted, "{verdict}");
}
