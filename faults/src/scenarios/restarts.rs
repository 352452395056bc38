//! Back at work: how long after a process's start its first record is handled, when its former self was killed and
//! nobody told Kafka. All at the default session of 45 s, which must not be waited for.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use kafka::{Client, ClientConfig, GroupMember, OutgoingRecord};
use serde_json::Value;
use tempfile::TempDir;
use testkit::apache::free_address;
use testkit::{eventually, http};
use tokio::net::TcpStream;

use super::settled;
use crate::process::{PATIENCE, Process};
use crate::run::Run;
use crate::shop::{Instance, Service, Shop, Stage};

/// The default of `KAFKA_SESSION_TIMEOUT`.
const SESSION: &str = "45s";

/// Far below the session, far above what a busy machine takes: whoever takes longer has waited for something.
const LIMIT: Duration = Duration::from_secs(15);

/// A database that nothing of consumer-svc's orders needs, so that there is no data folder.
const NO_FOLDER: (&str, &str) = ("database-url", "postgres://nobody@127.0.0.1:1/none");

/// What was restarted, and how long after its start the first record of each group was handled.
#[derive(Debug, Default)]
pub struct Times(Vec<(String, Duration)>);

impl Times {
    fn add(&mut self, what: impl Into<String>, took: Duration) {
        let what = what.into();
        assert!(took < LIMIT, "{what}: {took:?} after the start");
        self.0.push((what, took));
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (what, took)) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{what} {:.2} s", took.as_secs_f64())?;
        }
        Ok(())
    }
}

/// The whole shop in one process, its broker too.
pub async fn standalone(run: Run) -> Times {
    let folder = TempDir::with_prefix("standalone-").expect("a folder");
    let mut standalone = Standalone::start(folder.path());
    // The first start makes topics and tables: it is not counted.
    standalone.works(Instant::now()).await;
    let mut times = Times::default();
    for _ in 0..run.rounds {
        standalone.process.kill();
        let begin = Instant::now();
        standalone.process.start_again();
        for (what, took) in standalone.works(begin).await {
            times.add(what, took);
        }
        for (address, group) in standalone.groups() {
            let joined = format!("kafka_consumer_rebalances_total{{group=\"{group}\"}}");
            assert_eq!(
                sum(address, &joined).await,
                Some(1.0),
                "generations of {group}"
            );
        }
    }
    println!("{times}");
    times
}

struct Standalone {
    process: Process,
    broker: SocketAddr,
    producer: SocketAddr,
    consumer: SocketAddr,
    notifier: SocketAddr,
}

impl Standalone {
    fn start(folder: &Path) -> Self {
        let [broker, producer, consumer, notifier] = [(); 4].map(|()| free_address());
        let arguments = [
            format!("--broker-addr={broker}"),
            format!("--producer-http-addr={producer}"),
            format!("--consumer-http-addr={consumer}"),
            format!("--notifier-http-addr={notifier}"),
        ];
        Self {
            process: Process::start("standalone", "standalone", folder, &arguments),
            broker,
            producer,
            consumer,
            notifier,
        }
    }

    /// All groups, and where they are asked for.
    fn groups(&self) -> [(SocketAddr, &'static str); 6] {
        [
            (self.consumer, "order-processing"),
            (self.producer, "order-view"),
            (self.notifier, "notification-group"),
            (self.consumer, "cart-service"),
            (self.consumer, "analytics-service-group"),
            (self.producer, "main-application"),
        ]
    }

    /// Gives every group a record, and the outbox an event; says how long after `begin` they were done with.
    async fn works(&self, begin: Instant) -> Vec<(&'static str, Duration)> {
        eventually(PATIENCE, || async {
            TcpStream::connect(self.broker).await.ok()
        })
        .await;
        let client = Client::new(ClientConfig::new(&self.broker.to_string()).expect("an address"));
        let producer = client.producer().build().expect("a producer");
        let now = chrono::Utc::now().to_rfc3339();
        let id = testkit::unique("order");
        let records = [
            (
                "order_topic",
                id.clone(),
                format!(
                    r#"{{"orderId":"{id}","product":"Laptop","quantity":1,"createdAt":"{now}"}}"#
                ),
            ),
            (
                "users.events",
                "1".to_owned(),
                format!(
                    r#"{{"type":"UserCreated","userId":1,"email":"ann@example.org","createdAt":"{now}"}}"#
                ),
            ),
            (
                "book.views",
                "3".to_owned(),
                format!(
                    r#"{{"eventId":"{}","bookId":3,"timestamp":"{now}"}}"#,
                    uuid_of(&id)
                ),
            ),
            // No aggregate: that it is told so is handling, too.
            (
                "analytics.aggregated-stats",
                "none".to_owned(),
                "none".to_owned(),
            ),
        ];
        for (topic, key, value) in &records {
            let record = OutgoingRecord {
                topic,
                partition: None,
                key: Some(key.as_bytes()),
                value: Some(value.as_bytes()),
                headers: &[],
                timestamp: None,
            };
            producer.send(&record).await.expect("a record");
        }
        let handled = self.groups().map(|(address, group)| async move {
            first_record(address, group).await;
            (group, begin.elapsed())
        });
        let item = async {
            let path = "/api/cart/user/1/items";
            let body = r#"{"product":"Laptop","quantity":1,"price":100}"#;
            eventually(PATIENCE, || async {
                let headers = [("content-type", "application/json")];
                let answer = ask(self.consumer, "POST", path, &headers, body).await?;
                (answer.status == 201).then_some(())
            })
            .await;
            eventually(PATIENCE, || async {
                let published = sum(self.consumer, "outbox_published_total").await?;
                (published > 0.0).then_some(())
            })
            .await;
            begin.elapsed()
        };
        let (mut done, published) = futures::join!(futures::future::join_all(handled), item);
        done.push(("outbox", published));
        done
    }
}

/// Any id of the right form.
fn uuid_of(id: &str) -> String {
    let hex = id.rsplit('-').next().unwrap_or_default();
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!(
        "{}-{}-{}-{}-{}",
        part(0, 8),
        part(8, 12),
        part(12, 16),
        part(16, 20),
        part(20, 32)
    )
}

/// None while nobody listens.
async fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Option<http::Answer> {
    TcpStream::connect(address).await.ok()?;
    Some(http::request(address, method, path, headers, body).await)
}

/// The sum of the metrics whose line begins so; none while the service does not answer or there is none.
async fn sum(address: SocketAddr, prefix: &str) -> Option<f64> {
    let text = ask(address, "GET", "/metrics", &[], "").await?.body;
    let values = text
        .lines()
        .filter(|line| line.starts_with(prefix))
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
    let values: Vec<f64> = values.collect();
    (!values.is_empty()).then(|| values.iter().sum())
}

/// Waits until a group has handled a record since its process started.
async fn first_record(address: SocketAddr, group: &str) {
    let prefix = format!("kafka_consumer_records_total{{group=\"{group}\"");
    eventually(PATIENCE, || async {
        (sum(address, &prefix).await? > 0.0).then_some(())
    })
    .await;
}

/// Each service by itself, on the Kafka and the databases that the environment names.
pub async fn services(run: Run) -> Times {
    // One environment for all. The name counts where there is no folder, on PostgreSQL.
    let flags = [
        ("kafka-session-timeout", SESSION),
        ("instance-name", "host"),
    ];
    let mut shop = Shop::open_with(Stage::any().await, &flags).await;
    let mut times = Times::default();
    let (plan, mut load) = begin(&shop, &run);
    for moment in run.moments() {
        load.reached(moment).await;
        for service in [Service::Consumer, Service::Producer, Service::Notifier] {
            shop.fault(format!("{} killed", service.program()));
            let group = match service {
                Service::Consumer => shop.names.processing.clone(),
                Service::Producer => shop.names.view.clone(),
                Service::Notifier => shop.names.notification.clone(),
            };
            let before = members(&shop, &group, 1).await;
            let instance = &mut shop.instances(service)[0];
            let took = killed_and_back(instance, &group).await;
            times.add(service.program(), took);
            let after = members(&shop, &group, 1).await;
            assert_eq!(instance_ids(&before), instance_ids(&after));
            assert!(instance_ids(&after)[0].is_some(), "{after:?}");
        }
    }
    load.enough();
    settled(shop, &plan, load).await;
    println!("{times}");
    times
}

/// As containers are: several of consumer-svc with one environment, without a folder, each known by its container's
/// name. One is killed and restarted; the others notice nothing.
pub async fn scaled(run: Run) -> Times {
    let mut shop = opened_without_processing(Stage::any().await).await;
    for name in ["container-1", "container-2", "container-3"] {
        add(&mut shop, &[("instance-name", name)]).await;
    }
    let group = shop.names.processing.clone();
    members(&shop, &group, 3).await;
    let mut times = Times::default();
    let (plan, mut load) = begin(&shop, &run);
    for (round, moment) in run.moments().into_iter().enumerate() {
        load.reached(moment).await;
        shop.fault("consumer-svc killed");
        let others: Vec<_> = (0..3).filter(|at| *at != round % 3).collect();
        let before = joined(&shop, &others, &group).await;
        let instance = &mut shop.instances(Service::Consumer)[round % 3];
        times.add("consumer-svc", killed_and_back(instance, &group).await);
        assert_eq!(
            joined(&shop, &others, &group).await,
            before,
            "the others' generations"
        );
        members(&shop, &group, 3).await;
    }
    load.enough();
    settled(shop, &plan, load).await;
    println!("{times}");
    times
}

/// Two with one name by mistake: the first goes on without it, degraded and named; neither takes it from the other in
/// turn, and everything is done.
pub async fn one_name_for_two(run: Run) -> String {
    let mut shop = opened_without_processing(Stage::any().await).await;
    add(&mut shop, &[("instance-name", "same")]).await;
    let group = shop.names.processing.clone();
    members(&shop, &group, 1).await;
    let (plan, mut load) = begin(&shop, &run);
    load.reached(run.orders / 4).await;
    shop.fault("a second consumer-svc of the same name");
    add(&mut shop, &[("instance-name", "same")]).await;
    let first = shop.consumers[0].address;
    let said = eventually(PATIENCE, || async {
        let answer = http::get(first, "/readyz").await;
        // While it joins again it is no member, and not ready.
        if answer.status != 200 {
            return None;
        }
        let report: Value = serde_json::from_str(&answer.body).expect("a report in JSON");
        let parts = report["degraded"].as_array()?.clone();
        let problems = parts
            .into_iter()
            .filter_map(|part| Some(part["problem"].as_str()?.to_owned()));
        problems
            .into_iter()
            .find(|problem| problem.contains("static member id same"))
    })
    .await;
    let both = members(&shop, &group, 2).await;
    let mut ids = instance_ids(&both);
    ids.sort();
    assert_eq!(ids, [None, Some("same".to_owned())]);
    load.reached(run.orders / 2).await;
    // Each taking would have given a new member id.
    let after = members(&shop, &group, 2).await;
    assert_eq!(member_ids(&both), member_ids(&after), "a fight");
    shop.fault_over();
    load.enough();
    settled(shop, &plan, load).await;
    said
}

/// The same with a configured name: the first ends, and says what to do.
pub async fn one_configured_name_for_two(_run: Run) -> String {
    let mut shop = opened_without_processing(Stage::any().await).await;
    let flags = [("kafka-group-instance-id", "same")];
    add(&mut shop, &flags).await;
    add(&mut shop, &flags).await;
    let first = &mut shop.consumers[0].process;
    let status = first.ended().await;
    let output = first.output();
    assert_eq!(status.code(), Some(1), "{output}");
    assert!(
        output.contains("give each instance its own KAFKA_GROUP_INSTANCE_ID"),
        "{output}"
    );
    let group = shop.names.processing.clone();
    members(&shop, &group, 1).await;
    status.to_string()
}

/// From members without a name to members with one, an instance at a time: nobody waits for a session to end.
pub async fn rolling_to_static(run: Run) -> Times {
    let mut shop = opened_without_processing(Stage::any().await).await;
    for _ in 0..2 {
        add(&mut shop, &[]).await;
    }
    let group = shop.names.processing.clone();
    assert_eq!(instance_ids(&members(&shop, &group, 2).await), [None, None]);
    let mut times = Times::default();
    let (plan, mut load) = begin(&shop, &run);
    load.reached(run.orders / 4).await;
    shop.fault("consumer-svc replaced in turn");
    // To static ones, and on to others of new names, as pods are.
    for names in [["pod-1", "pod-2"], ["pod-3", "pod-4"]] {
        for name in names {
            add(&mut shop, &[("instance-name", name)]).await;
            members(&shop, &group, 3).await;
            let mut old = shop.instances(Service::Consumer).remove(0);
            assert!(old.end().await.success());
            let begin = Instant::now();
            members(&shop, &group, 2).await;
            times.add(
                format!("the group at rest with {name} after"),
                begin.elapsed(),
            );
        }
    }
    shop.fault_over();
    let mut ids = instance_ids(&members(&shop, &group, 2).await);
    ids.sort();
    assert_eq!(ids, ["pod-3", "pod-4"].map(|name| Some(name.to_owned())));
    load.enough();
    settled(shop, &plan, load).await;
    println!("{times}");
    times
}

async fn opened_without_processing(stage: Stage) -> Shop {
    let mut shop = Shop::empty(stage).await;
    for service in [Service::Producer, Service::Notifier] {
        shop.add(service, &[]).await;
    }
    shop
}

/// A further consumer-svc without a data folder.
async fn add(shop: &mut Shop, flags: &[(&str, &str)]) {
    let flags = [&[NO_FOLDER, ("kafka-session-timeout", SESSION)], flags].concat();
    shop.add(Service::Consumer, &flags).await;
}

fn begin(shop: &Shop, run: &Run) -> (crate::load::LoadPlan, crate::load::Load) {
    let plan = run.steady_plan();
    let load = shop.load(plan.clone());
    (plan, load)
}

/// Kills an instance and starts it again; gives the time from the start to the first record that its group handled.
async fn killed_and_back(instance: &mut Instance, group: &str) -> Duration {
    instance.kill();
    let begin = Instant::now();
    instance.process.start_again();
    first_record(instance.address, group).await;
    let took = begin.elapsed();
    instance.process.address().await;
    took
}

/// The generations that these instances of consumer-svc have joined.
async fn joined(shop: &Shop, instances: &[usize], group: &str) -> Vec<Option<f64>> {
    let prefix = format!("kafka_consumer_rebalances_total{{group=\"{group}\"}}");
    let mut all = Vec::new();
    for at in instances {
        all.push(sum(shop.consumers[*at].address, &prefix).await);
    }
    all
}

/// The members, once the group is at rest with so many: also what moves between them has arrived.
async fn members(shop: &Shop, group: &str, number: usize) -> Vec<GroupMember> {
    let admin = shop.client.admin();
    eventually(PATIENCE, || async {
        let mut groups = admin.describe_groups(&[group]).await.ok()?;
        let group = groups.pop()?;
        let topics = admin.topics().await.ok()?;
        let assigned = || group.members.iter().flat_map(|member| &member.assignment);
        let of_group = |name: &str| assigned().any(|partition| *partition.topic == *name);
        let all = topics.iter().filter(|topic| of_group(&topic.name));
        let all: usize = all.map(|topic| topic.partitions.len()).sum();
        let at_rest = group.state == "Stable" && assigned().count() == all;
        (at_rest && group.members.len() == number).then_some(group.members)
    })
    .await
}

fn instance_ids(members: &[GroupMember]) -> Vec<Option<String>> {
    let ids = members
        .iter()
        .map(|member| member.group_instance_id.clone());
    ids.collect()
}

fn member_ids(members: &[GroupMember]) -> Vec<String> {
    let mut ids: Vec<_> = members
        .iter()
        .map(|member| member.member_id.clone())
        .collect();
    ids.sort();
    ids
}
