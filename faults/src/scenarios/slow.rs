//! The story of a database that answers late, whichever it is: intake does not feel it, and what
//! needs the database goes on as fast as it allows.

use std::future::Future;
use std::time::Duration;

use serde_json::Value;
use testkit::{eventually, http};

use super::database::{MEANWHILE, accepted, few, nothing_was_blamed, ready, seen};
use crate::checker::Verdict;
use crate::history::{Millis, Request, now};
use crate::load;
use crate::run::Run;
use crate::shop::{Databases, Shop, Stage};

/// How late it answers, in turn.
const LATE: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_millis(200),
];

/// How long it may take until more is stored. The slowest takes half a minute for a transaction.
const GOES_ON: Duration = Duration::from_secs(240);

/// Something that makes the databases of producer-svc and notifier-svc slow.
pub trait Drag {
    const WHAT: &'static str;

    /// Until this late nothing is to be said of it.
    const WELL: Duration;

    fn begin(&mut self, late: Duration) -> impl Future<Output = ()> + Send;
    fn end(&mut self) -> impl Future<Output = ()> + Send;
}

/// That the view of a slow database is behind is said, as it should be.
fn nothing_is_wrong_but_the_lag(readyz: &str) {
    let report: Value = serde_json::from_str(readyz).expect("a report in JSON");
    let degraded = report["degraded"].as_array().into_iter().flatten();
    for part in degraded {
        assert_eq!(part["name"], "order view, up to date", "{readyz}");
    }
}

/// It gets slow and well again while orders flow.
///
/// # Panics
/// When something is lost, refused or blamed, orders do not get through, or intake is slow too.
pub async fn keeps_up<D: Drag>(run: Run, databases: Databases, mut drag: D) -> Verdict {
    let mut shop = Shop::open_on(Stage::any().await, databases, &[]).await;
    let plan = few(&run);
    let user = load::user(&plan.prefix, 0);
    let mut load = shop.load(plan.clone());
    let (mut asked_for, mut slow) = (Vec::new(), Vec::new());
    for (moment, late) in run.moments().into_iter().zip(LATE.into_iter().cycle()) {
        load.reached(moment).await;
        shop.fault(format!("{} ({late:?})", D::WHAT));
        drag.begin(late).await;
        let begin = now();
        load.reached(load.accepted() + MEANWHILE).await;
        asked_for.push(accepted(shop.producers[0].address, &user).await);
        // Meanwhile further ones are placed, more than a slow database can take.
        goes_on(&shop).await;
        for instance in [&shop.producers[0], &shop.notifiers[0]] {
            let answer = http::get(instance.address, "/readyz").await;
            assert_eq!(answer.status, 200, "{answer:?}");
            if late <= D::WELL {
                nothing_is_wrong_but_the_lag(&answer.body);
            }
        }
        slow.push((late, begin, now()));
        drag.end().await;
        ready(&mut shop).await;
        shop.fault_over();
    }
    load.enough();
    let (history, verdict) = shop.settle(&plan, load).await;
    verdict.assert_clean();
    assert_eq!(
        verdict.requests,
        verdict.orders - asked_for.len(),
        "intake refused orders"
    );
    assert!(history.letters.is_empty(), "{:?}", history.letters);
    nothing_was_blamed(&shop).await;
    seen(shop.producers[0].address, &asked_for).await;
    for (late, begin, end) in slow {
        intake_was_quick(&history.requests, late, begin, end);
    }
    verdict
}

/// Both services store more than what was on its way.
async fn goes_on(shop: &Shop) {
    let names = &shop.names;
    let stores = [
        (&shop.producers[0], &names.view, &names.statuses),
        (
            &shop.notifiers[0],
            &names.notification,
            &names.notifications,
        ),
    ];
    for (instance, group, topic) in stores {
        let done = format!(
            r#"kafka_consumer_records_total{{group="{group}",topic="{topic}",outcome="done"}}"#
        );
        let before = instance.metric(&done).await.unwrap_or_default();
        eventually(GOES_ON, || async {
            let now = instance.metric(&done).await?;
            (now >= before + MEANWHILE as f64).then_some(())
        })
        .await;
    }
}

/// An intake that waited for the database would wait for a transaction: three answers at least.
fn intake_was_quick(requests: &[Request], late: Duration, begin: Millis, end: Millis) {
    let took = |from: Millis, to: Millis| {
        let within = requests.iter().filter(|r| (from..to).contains(&r.sent));
        let mut took: Vec<Millis> = within.map(|r| r.answered - r.sent).collect();
        took.sort_unstable();
        took
    };
    let (before, during) = (took(0, begin), took(begin, end));
    let median = during[during.len() / 2];
    println!(
        "intake, median and 99th of 100: {} and {} ms before, {median} and {} ms while answers of \
         the database took {late:?}",
        before[before.len() / 2],
        before[before.len() * 99 / 100],
        during[during.len() * 99 / 100],
    );
    assert!(
        median < 3 * late.as_millis() as Millis,
        "intake waits for the database"
    );
}
