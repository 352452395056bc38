//! What a service says of the topics that it works with, once they are there.

use std::time::Duration;

use kafka::{Client, ClientConfig};
use service::config::{Common, Parsed, Program, common_options};
use service::health::Health;
use service::kafka_glue::{TopicPlan, make_topics};
use testkit::transaction::Transaction;
use testkit::{Kafka, eventually, unique};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(30);

/// The watch over one topic.
struct Watch {
    health: Health,
    stop: CancellationToken,
    task: JoinHandle<()>,
    client: Client,
}

impl Watch {
    fn start(kafka: &Kafka, topic: &str) -> Self {
        Self::over(kafka, TopicPlan::new().topic(topic, 2))
    }

    fn over(kafka: &Kafka, plan: TopicPlan) -> Self {
        let program = Program {
            name: "watch",
            about: "",
            options: common_options("127.0.0.1:0", "watch", "postgres://localhost/watch"),
            commands: vec![],
        };
        let folder = tempfile::tempdir().unwrap();
        let Parsed::Invocation(mut invocation) =
            program.parse([], std::iter::empty(), folder.path())
        else {
            panic!("printed");
        };
        let common = Common::read("watch", &mut invocation.values);
        let mut config = ClientConfig::new(kafka.bootstrap()).unwrap();
        config.connect_timeout = Duration::from_secs(3);
        let client = Client::new(config);
        let (health, stop) = (Health::new(), CancellationToken::new());
        let part = health.optional("topics");
        let task = tokio::spawn(make_topics(
            client.clone(),
            common.kafka,
            plan,
            part,
            stop.clone(),
        ));
        Self {
            health,
            stop,
            task,
            client,
        }
    }

    async fn sound(&self) {
        eventually(PATIENCE, async || {
            self.health.report().degraded.is_empty().then_some(())
        })
        .await;
    }

    /// Waits until what is degraded says all of this.
    async fn says(&self, parts: &[&str]) {
        eventually(PATIENCE, async || {
            let problem = self.health.report().degraded.pop()?.problem;
            parts
                .iter()
                .all(|part| problem.contains(part))
                .then_some(())
        })
        .await;
    }

    async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

#[tokio::test]
async fn a_topic_that_is_deleted_later_is_degraded_until_it_is_back() {
    let kafka = Kafka::start().await;
    let topic = unique("watched");
    let watch = Watch::start(&kafka, &topic);
    watch.sound().await;
    let admin = watch.client.admin();
    admin.delete_topics(&[&topic]).await.unwrap();
    watch.says(&["missing", &topic]).await;
    kafka.create_topic(&topic, 2).await;
    watch.sound().await;
    watch.end().await;
}

#[tokio::test]
async fn a_leader_whose_advertised_address_nobody_reaches_is_named() {
    // Nothing listens there, and no other test is given it.
    let address: std::net::SocketAddr = "127.0.0.1:1".parse().unwrap();
    let kafka = Kafka::own_broker_with(|config| {
        config.advertised = Some(testkit::Advertised {
            host: address.ip().to_string(),
            port: address.port(),
        });
    })
    .await;
    let topic = unique("watched");
    kafka.create_topic(&topic, 2).await;
    let watch = Watch::start(&kafka, &topic);
    watch
        .says(&[
            &format!("leader of {topic}-0, {topic}-1"),
            &format!("does not answer at {address}"),
            "advertised.listeners",
            kafka.bootstrap(),
        ])
        .await;
    watch.end().await;
}

#[tokio::test]
async fn a_transaction_that_another_program_leaves_open_is_named_with_the_tool_that_ends_it() {
    let kafka = Kafka::start().await;
    let topic = unique("watched");
    kafka.create_topic(&topic, 2).await;
    let Some(transaction) = Transaction::begin(&kafka, &topic, 1).await else {
        // The embedded broker has no transactions, and so none that anybody could leave open.
        return;
    };
    let plan = TopicPlan::new().topic(&topic, 2);
    let watch = Watch::over(&kafka, plan.report_transactions_after(Duration::ZERO));
    watch
        .says(&[
            &format!("{topic}-1: producer id {} ", transaction.producer_id),
            "holds a transaction open at offset 0",
            &format!(
                "kafka-transactions.sh --bootstrap-server {} abort --topic {topic} --partition 1 --start-offset 0",
                kafka.bootstrap()
            ),
        ])
        .await;
    transaction.abort().await;
    watch.sound().await;
    watch.end().await;
}
