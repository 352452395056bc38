//! A whole shop of real processes: Kafka, the services, and what is seen of them.

mod names;
mod service;
mod stage;

pub use names::Names;
pub use service::{Instance, Service};
pub use stage::Stage;

use std::path::Path;
use std::time::Duration;

use kafka::{Client, ClientConfig};
use tempfile::TempDir;
use testkit::database::OwnDatabase;

use crate::checker::{self, Verdict};
use crate::gather::{self, CommitWatch};
use crate::history::{Fault, Group, History, Place, now};
use crate::load::{self, Load, LoadPlan};

/// A running shop. Dropping it kills its processes and deletes their data.
pub struct Shop {
    pub stage: Stage,
    pub names: Names,
    pub producers: Vec<Instance>,
    pub consumers: Vec<Instance>,
    pub notifiers: Vec<Instance>,
    pub client: Client,
    watch: Option<CommitWatch>,
    faults: Vec<Fault>,
    planted: Vec<Place>,
    poison: Vec<Place>,
    answers_within: Option<Duration>,
    database: Databases,
    folder: TempDir,
}

/// The URLs of the services' databases; each service has its own.
pub struct Databases {
    pub producer: String,
    pub notifier: String,
    /// Gone with the shop.
    _own: Vec<OwnDatabase>,
}

impl Databases {
    /// Those that the environment asks for: SQLite files, or schemas of the PostgreSQL that
    /// `TEST_DATABASE_URL` names.
    ///
    /// # Panics
    /// When PostgreSQL cannot be reached.
    pub async fn own() -> Self {
        let own = vec![OwnDatabase::new().await, OwnDatabase::new().await];
        Self {
            producer: own[0].url.clone(),
            notifier: own[1].url.clone(),
            _own: own,
        }
    }

    /// These.
    pub fn at(producer: String, notifier: String) -> Self {
        Self {
            producer,
            notifier,
            _own: Vec::new(),
        }
    }
}

impl Shop {
    /// One instance of each service on `stage`, ready to take orders.
    ///
    /// # Panics
    /// When one does not start.
    pub async fn open(stage: Stage) -> Self {
        Self::open_with(stage, &[]).await
    }

    /// Like [`Shop::open`], with further flags for every service.
    ///
    /// # Panics
    /// When one does not start.
    pub async fn open_with(stage: Stage, flags: &[(&str, &str)]) -> Self {
        Self::open_on(stage, Databases::own().await, flags).await
    }

    /// Like [`Shop::open_with`], on databases of the caller's.
    ///
    /// # Panics
    /// When one does not start.
    pub async fn open_on(stage: Stage, database: Databases, flags: &[(&str, &str)]) -> Self {
        let mut shop = Self::without_services(stage, database);
        for service in [Service::Producer, Service::Consumer, Service::Notifier] {
            shop.add(service, flags).await;
        }
        shop
    }

    /// A shop without services; [`Shop::add`] starts them.
    ///
    /// # Panics
    /// When its databases do not start.
    pub async fn empty(stage: Stage) -> Self {
        Self::without_services(stage, Databases::own().await)
    }

    fn without_services(stage: Stage, database: Databases) -> Self {
        let names = Names::unique();
        let config = ClientConfig::new(&stage.inner_bootstrap()).expect("a bootstrap address");
        let client = Client::new(config);
        Self {
            watch: Some(CommitWatch::start(client.clone(), names.groups())),
            client,
            stage,
            names,
            producers: Vec::new(),
            consumers: Vec::new(),
            notifiers: Vec::new(),
            faults: Vec::new(),
            planted: Vec::new(),
            poison: Vec::new(),
            answers_within: None,
            database,
            folder: TempDir::with_prefix("shop-").expect("a folder for a shop"),
        }
    }

    /// Starts a further instance and waits until it is ready.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn add(&mut self, service: Service, flags: &[(&str, &str)]) -> &mut Instance {
        let number = self.instances(service).len();
        let mut all = self.flags(service);
        for (name, value) in flags {
            all.retain(|(known, _)| known != name);
            all.push(((*name).to_owned(), (*value).to_owned()));
        }
        let mut instance = Instance::start(service, number, self.folder.path(), &all).await;
        instance.ready().await;
        let instances = self.instances(service);
        instances.push(instance);
        &mut instances[number]
    }

    /// The running instances of a service.
    pub fn instances(&mut self, service: Service) -> &mut Vec<Instance> {
        match service {
            Service::Producer => &mut self.producers,
            Service::Consumer => &mut self.consumers,
            Service::Notifier => &mut self.notifiers,
        }
    }

    fn flags(&self, service: Service) -> Vec<(String, String)> {
        let names = &self.names;
        let mut flags = vec![("http-addr", "127.0.0.1:0".to_owned())];
        let orders = [
            ("order-topic", names.orders.clone()),
            ("orders-topic", names.snake_orders.clone()),
            ("order-status-topic", names.statuses.clone()),
        ];
        let told = ("notifications-topic", names.notifications.clone());
        match service {
            Service::Producer => {
                flags.extend(orders);
                flags.push(("kafka-group-id", names.view.clone()));
                for part in ["users", "books", "analytics"] {
                    flags.push((part, "false".to_owned()));
                }
                flags.push(("database-url", self.database.producer.clone()));
            }
            Service::Consumer => {
                flags.extend(orders);
                flags.push(told);
                flags.push(("kafka-group-id", names.processing.clone()));
                flags.push(("carts", "false".to_owned()));
                flags.push(("analytics", "false".to_owned()));
            }
            Service::Notifier => {
                flags.push(told);
                flags.push(("kafka-group-id", names.notification.clone()));
                flags.push(("database-url", self.database.notifier.clone()));
            }
        }
        let own = flags.into_iter();
        let own = own.map(|(name, value)| (name.to_owned(), value));
        self.stage.flags().into_iter().chain(own).collect()
    }

    /// Where everything of the shop lies.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts placing orders at all instances of producer-svc.
    pub fn load(&self, plan: LoadPlan) -> Load {
        let addresses = self.producers.iter().map(|producer| producer.address);
        Load::start(addresses.collect(), plan)
    }

    /// Notes that something is done to the shop from now on; its effects last until
    /// [`Shop::fault_over`], or to the end of the run.
    pub fn fault(&mut self, what: impl Into<String>) {
        self.faults.push(Fault {
            what: what.into(),
            from: now(),
            to: i64::MAX,
        });
    }

    /// The effects of the last fault are over.
    pub fn fault_over(&mut self) {
        if let Some(fault) = self.faults.last_mut() {
            fault.to = now();
        }
    }

    /// Notes that a copy of an order was put there by the run itself.
    pub fn planted(&mut self, copy: Place) {
        self.planted.push(copy);
    }

    /// Notes that the run itself put a record there that is no event.
    pub fn poisoned(&mut self, place: Place) {
        self.poison.push(place);
    }

    /// Holds intake to answering every request within this, from now on back to the beginning.
    pub fn answers_within(&mut self, limit: Duration) {
        self.answers_within = Some(limit);
    }

    /// Waits until all that was ordered is worked off, gathers what is to be seen, and checks it.
    ///
    /// # Panics
    /// When the shop does not work it off in time, or something cannot be gathered.
    pub async fn settle(&mut self, plan: &LoadPlan, load: Load) -> (History, Verdict) {
        let requests = load.finish().await;
        self.worked_off().await;
        let watch = self.watch.take().expect("a shop settles once");
        let mut history = History {
            requests,
            commits: watch.end().await,
            faults: std::mem::take(&mut self.faults),
            planted: std::mem::take(&mut self.planted),
            poison: std::mem::take(&mut self.poison),
            answers_within: self.answers_within,
            ..History::default()
        };
        gather::read_topics(&self.client, &self.names, &mut history).await;
        let placed = history.requests.len() as u64;
        let users = load::users(&plan.prefix, plan.orders.min(placed));
        history.stored = gather::stored(self.notifiers[0].address, users).await;
        let verdict = checker::check(&history);
        (history, verdict)
    }

    /// Waits until every group has committed everything.
    ///
    /// # Panics
    /// When that takes too long.
    pub async fn worked_off(&self) {
        for group in [Group::Processing, Group::View, Group::Notification] {
            gather::worked_off(&self.client, self.names.group(group)).await;
        }
    }
}
