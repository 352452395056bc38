//! Users and carts as real processes: producer-svc registers, consumer-svc keeps carts, and databases
//! that can be taken away.

pub mod checker;
mod gather;
mod marks;
pub mod registrations;
mod removable;

pub use marks::HeldMarks;
pub use removable::RemovableDatabase;

use std::process::{Command, Output};

use kafka::{Client, ClientConfig};
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::{eventually, http, unique};

use crate::process::PATIENCE;
use crate::programs;
use crate::shop::{Instance, Service, Stage};

/// One producer-svc and one consumer-svc, with topics, a group and databases of their own. Dropping it
/// kills them.
pub struct CartShop {
    pub stage: Stage,
    pub producer: Instance,
    pub consumer: Instance,
    pub users_database: RemovableDatabase,
    pub carts_database: RemovableDatabase,
    pub users_topic: String,
    pub carts_topic: String,
    pub group: String,
    pub client: Client,
    /// The flags of producer-svc: its commands take them too.
    flags: Vec<(String, String)>,
    folder: TempDir,
}

impl CartShop {
    /// Both services, ready.
    ///
    /// # Panics
    /// When one does not start.
    pub async fn open(stage: Stage) -> Self {
        Self::open_with(stage, &[]).await
    }

    /// The same, with these settings of consumer-svc changed.
    ///
    /// # Panics
    /// When one does not start.
    pub async fn open_with(stage: Stage, of_consumer: &[(&str, &str)]) -> Self {
        let users_database = RemovableDatabase::new().await;
        let carts_database = RemovableDatabase::new().await;
        Self::open_on(stage, users_database, carts_database, of_consumer).await
    }

    /// The same, on databases of the caller's.
    ///
    /// # Panics
    /// When one does not start.
    pub async fn open_on(
        stage: Stage,
        users_database: RemovableDatabase,
        carts_database: RemovableDatabase,
        of_consumer: &[(&str, &str)],
    ) -> Self {
        let folder = TempDir::with_prefix("carts-").expect("a folder for a shop");
        let (users_topic, carts_topic) = (unique("users.events"), unique("carts.events"));
        let group = unique("cart-service");
        let names = [
            ("kafka-group-id", unique("orders-and-view")),
            ("order-topic", unique("order_topic")),
            ("orders-topic", unique("orders")),
            ("order-status-topic", unique("order_status_topic")),
            ("users-events-topic", users_topic.clone()),
            ("cart-group-id", group.clone()),
        ];
        let mut common = stage.flags();
        common.extend(names.map(|(name, value)| (name.to_owned(), value)));
        let with = |own: &[(&str, &str)]| -> Vec<(String, String)> {
            let own = own.iter();
            let own = own.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            common.iter().cloned().chain(own).collect()
        };
        let listen = ("http-addr".to_owned(), "127.0.0.1:0".to_owned());
        let mut flags = with(&[
            ("database-url", carts_database.url()),
            ("carts-events-topic", &carts_topic),
            ("notifications-topic", &unique("notifications")),
            ("analytics", "false"),
        ]);
        for (name, value) in of_consumer {
            flags.retain(|(known, _)| known != name);
            flags.push(((*name).to_owned(), (*value).to_owned()));
        }
        flags.push(listen.clone());
        let consumer = Instance::start(Service::Consumer, 0, folder.path(), &flags).await;
        let mut flags = with(&[
            ("database-url", users_database.url()),
            ("cart-service-url", &format!("http://{}", consumer.address)),
            ("order-view", "false"),
            ("analytics", "false"),
        ]);
        let of_commands = flags.clone();
        flags.push(listen);
        let mut shop = Self {
            producer: Instance::start(Service::Producer, 0, folder.path(), &flags).await,
            client: Client::new(ClientConfig::new(&stage.bootstrap()).expect("an address")),
            flags: of_commands,
            consumer,
            stage,
            users_database,
            carts_database,
            users_topic,
            carts_topic,
            group,
            folder,
        };
        shop.ready().await;
        shop
    }

    /// The instance of a service.
    ///
    /// # Panics
    /// Of notifier-svc, which is not part of it.
    pub fn instance(&mut self, service: Service) -> &mut Instance {
        match service {
            Service::Producer => &mut self.producer,
            Service::Consumer => &mut self.consumer,
            Service::Notifier => panic!("no notifications here"),
        }
    }

    /// Waits until both lack nothing.
    ///
    /// # Panics
    /// When that takes too long.
    pub async fn ready(&mut self) {
        self.producer.ready().await;
        self.consumer.ready().await;
    }

    /// Registers somebody; gives the user's id.
    ///
    /// # Panics
    /// When the registration is refused.
    pub async fn register(&self, email: &str) -> i64 {
        let body = json!({ "email": email, "password": "secret7" }).to_string();
        let path = "/api/auth/registration";
        let answer = http::post(self.producer.address, path, &[], &body).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        let body: Value = serde_json::from_str(&answer.body).expect("JSON");
        body["userId"].as_i64().expect("a user's id")
    }

    /// Waits until the user has a cart.
    ///
    /// # Panics
    /// When that takes too long.
    pub async fn has_cart(&self, user: i64) {
        let path = format!("/api/cart/user/{user}");
        eventually(PATIENCE, || async {
            let answer = http::get(self.consumer.address, &path).await;
            (answer.status == 200).then_some(())
        })
        .await;
    }

    /// What `producer-svc doctor --user` prints, and its status.
    ///
    /// # Panics
    /// When it cannot be run.
    pub async fn doctor(&self, user: i64) -> Output {
        let mut command = Command::new(programs::path("producer-svc"));
        command
            .env_clear()
            .current_dir(self.folder.path())
            .arg("doctor")
            .arg(format!("--user={user}"))
            .args(self.flags.iter().map(|(n, v)| format!("--{n}={v}")));
        let run = tokio::task::spawn_blocking(move || command.output());
        run.await.expect("no panic").expect("the program runs")
    }

    /// What the route says of a user.
    ///
    /// # Panics
    /// When it does not answer with a report.
    pub async fn diagnosis(&self, user: i64) -> Value {
        let path = format!("/api/admin/diagnostics/cart/{user}");
        let report = self.producer.admin(&path).await;
        report.expect("a report")
    }
}
