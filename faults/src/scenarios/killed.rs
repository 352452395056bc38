//! Services that are killed (SIGKILL) in the middle of their work, and started again.

use crate::checker::Verdict;
use crate::run::Run;
use crate::shop::{Service, Shop, Stage};

/// consumer-svc: what it had not committed comes again, and changes nothing.
pub async fn consumer(run: Run) -> Verdict {
    killed(run, Service::Consumer).await
}

/// producer-svc: orders without an answer are asked for again, under the same id.
pub async fn producer(run: Run) -> Verdict {
    killed(run, Service::Producer).await
}

/// notifier-svc: a notification is stored once.
pub async fn notifier(run: Run) -> Verdict {
    killed(run, Service::Notifier).await
}

async fn killed(run: Run, service: Service) -> Verdict {
    let mut shop = Shop::open(Stage::any().await).await;
    let plan = run.plan();
    let mut load = shop.load(plan.clone());
    for moment in run.moments() {
        load.reached(moment).await;
        shop.fault(format!("{} killed", service.program()));
        let instance = &mut shop.instances(service)[0];
        instance.kill();
        instance.start_again().await;
    }
    let (_, verdict) = shop.settle(&plan, load).await;
    verdict.assert_clean();
    assert_eq!(verdict.accepted as u64, run.orders);
    verdict
}
