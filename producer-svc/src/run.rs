use std::future::Future;

use kafka::{DeadLetters, Producer};
use proto::{EventType, topics};
use service::CancellationToken;
use service::db::{Database, Retention};
use service::duties::{Duties, RunError};
use service::feed::{Feed, FeedConfig};
use service::health::Health;
use service::http::{HttpMetrics, Listeners, Router, Server, service_routes};
use service::kafka_glue::{
    ConsumerHealth, KafkaStats, ProcessDurations, TopicPlan, consume, make_topics, watch_consumer,
    watch_kafka,
};
use service::logging::LogShipper;
use service::metrics::Metrics;
use service::outbox::{self, Outbox, Relay};
use service::process_metrics;

use crate::admin::{Guard, Live};
use crate::doctor::{self, Doctor};
use crate::schema::MIGRATIONS;
use crate::status_feed::{self, StatusSource};
use crate::users::{self, Passwords, Stages, UserStore};
use crate::view::{self, ViewHandler, ViewStore};
use crate::{Config, NAME, admin, intake};

/// The service's document of its HTTP interface.
const OPENAPI: &str = include_str!("openapi.json");

/// Records of the view in the handler's hands: enough to fill the transactions they share.
const VIEW_IN_FLIGHT: usize = 1_024;

/// Runs the service until `shutdown`, then leaves in the contract's order.
///
/// # Errors
/// A task that cannot go on, or what was left at `SHUTDOWN_TIMEOUT`. Kafka or the database being
/// away is no error: what needs them waits, and `/readyz` says so.
pub async fn run(
    config: Config,
    listeners: Listeners,
    shutdown: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let common = &config.common;
    let (health, metrics) = (Health::new(), Metrics::new());
    process_metrics::register(&metrics);
    let shipper = LogShipper::start(common, &metrics);
    let mut duties = Duties::new(health.clone(), common.shutdown);
    let stop = duties.stop();

    let client = common.kafka.client(NAME).map_err(start)?;
    let stats = KafkaStats::new(&metrics);
    let producer = intake_producer(&config, &client)?;
    stats.add_producer(&producer);
    duties.spawn_quiet(
        "Kafka watch",
        watch_kafka(client.clone(), health.vital("kafka"), stop.clone()),
    );
    duties.spawn_quiet(
        "topics",
        make_topics(
            client.clone(),
            common.kafka.clone(),
            topic_plan(&config),
            health.optional("topics"),
            stop.clone(),
        ),
    );

    let mut routes = intake::routes(&config, &producer, &metrics)
        .merge(service_routes(&health, &metrics, OPENAPI));
    // Behind the guard.
    let admin = client.admin().with_timeout(common.http.request_timeout);
    let live = Live::new(admin, &health, &stop);
    let mut operators = admin::routes(&config, &client, &live).map_err(start)?;
    duties.spawn_quiet("cluster watch", live.run());
    let mut parts = Parts {
        config: &config,
        client: &client,
        health: &health,
        metrics: &metrics,
        stats: &stats,
        duties: &mut duties,
    };
    let database = match config.order_view || config.users {
        true => Some(parts.database()?),
        false => None,
    };
    let mut view = None;
    match &database {
        Some(database) if config.order_view => {
            let started = View::start(&mut parts, database)?;
            routes = routes.merge(started.routes(&stop));
            view = Some(started);
        }
        _ => routes = routes.merge(view::routes_without_view()),
    }
    match &database {
        Some(database) if config.users => {
            routes = routes.merge(start_users(&mut parts, database)?);
            operators = operators.merge(doctor::routes(Doctor::new(&config, &client, database)));
        }
        _ => {
            routes = routes.merge(users::routes_without_users());
            operators = operators.merge(doctor::routes_without_users());
        }
    }

    let guard = Guard::new(&config.admin_user, &config.admin_password);
    guard.warn_of_default();
    let routes = routes.merge(operators.around(guard, Guard::let_through));

    tracing::info!("listening at {}", listeners.names());
    let server = Server::new(routes, &common.http, &HttpMetrics::new(&metrics));
    duties.spawn_quiet("HTTP requests in flight", server.serve(listeners, stop));

    let timeout = common.shutdown.timeout;
    let last = async {
        if let Err(error) = producer.close(timeout).await {
            tracing::warn!("{error}");
        }
        if let Some(view) = view {
            view.close(timeout).await;
        }
        if let Some(database) = database {
            database.close().await;
        }
    };
    let result = duties.run(shutdown, last).await;
    if result.is_ok() {
        tracing::info!("ended orderly");
    }
    shipper.finish().await;
    result
}

/// The producer behind intake. It gives a record up after `REQUEST_TIMEOUT`, which is when its
/// client is told so.
fn intake_producer(config: &Config, client: &kafka::Client) -> Result<Producer, RunError> {
    let patience = config.common.http.request_timeout;
    let kafka = &config.common.kafka;
    kafka
        .producer(client)
        .delivery_timeout(patience)
        // A request that hangs leaves time for a second one on a new connection.
        .request_timeout(patience.mul_f64(0.6))
        .build()
        .map_err(start)
}

fn topic_plan(config: &Config) -> TopicPlan {
    let plan = TopicPlan::new()
        .topic(&config.order_topic, topics::ORDER_TOPIC.partitions)
        .topic(&config.orders_topic, topics::ORDERS.partitions)
        .topic_if(config.common.log_topic.as_deref(), topics::LOGS.partitions);
    let plan = match config.users {
        true => plan.topic(&config.users_topic, topics::USERS_EVENTS.partitions),
        false => plan,
    };
    let statuses = topics::ORDER_STATUS_TOPIC.partitions;
    if config.order_view {
        plan.consumed(&config.order_status_topic, statuses)
            .consumed(&config.order_topic, topics::ORDER_TOPIC.partitions)
            .consumed(&config.orders_topic, topics::ORDERS.partitions)
    } else {
        plan
    }
}

fn start(error: impl std::fmt::Display) -> RunError {
    RunError::Start(error.to_string())
}

/// What the parts of the service are started with.
struct Parts<'a> {
    config: &'a Config,
    client: &'a kafka::Client,
    health: &'a Health,
    metrics: &'a Metrics,
    stats: &'a KafkaStats,
    duties: &'a mut Duties,
}

impl Parts<'_> {
    fn database(&mut self) -> Result<Database, RunError> {
        let config = &self.config.common.database;
        let database = Database::new(config, &MIGRATIONS).map_err(start)?;
        let health = self.health.optional("database");
        let leave = self.config.common.shutdown.writes();
        self.duties.spawn_quiet(
            "database watch",
            database
                .clone()
                .watch_over(health, self.duties.stop(), leave),
        );
        Ok(database)
    }

    fn retain(
        &mut self,
        name: &'static str,
        database: &Database,
        rows: Retention,
        age: std::time::Duration,
    ) {
        let stop = self.duties.stop();
        self.duties
            .spawn_quiet(name, rows.run(database.clone(), age, stop));
    }
}

/// Registration, and the relay that publishes what it leaves in the outbox.
fn start_users(parts: &mut Parts<'_>, database: &Database) -> Result<Router, RunError> {
    let config = parts.config;
    let stop = parts.duties.stop();
    let producer = config
        .common
        .kafka
        .producer(parts.client)
        .delivery_timeout(outbox::DELIVERY_TIMEOUT)
        .build()
        .map_err(start)?;
    parts.stats.add_producer(&producer);
    parts.retain(
        "outbox retention",
        database,
        outbox::RETENTION,
        config.outbox_retention,
    );
    parts.duties.spawn_quiet(
        "connection of the users' events",
        Stages.connect(parts.client.clone(), stop.clone()),
    );
    let outbox = Outbox::default();
    let relay = Relay::new(
        outbox.clone(),
        database.clone(),
        producer,
        Stages,
        parts.metrics,
    );
    let drain = config.common.shutdown.relay();
    parts.duties.spawn_quiet(
        "outbox relay",
        relay.run(parts.health.optional("outbox"), stop, drain),
    );
    let type_id = config.type_ids.get(EventType::UserCreated);
    let store = UserStore {
        database: database.clone(),
        outbox,
        topic: config.users_topic.to_string(),
        type_id: type_id.map(str::to_owned),
    };
    let passwords = Passwords::new(config.password_hashes);
    let patience = config.common.http.request_timeout;
    Ok(users::routes(store, passwords, patience))
}

/// The order view and its event streams.
struct View {
    store: ViewStore,
    feed: Feed,
    dead_letters: Producer,
}

impl View {
    fn start(parts: &mut Parts<'_>, database: &Database) -> Result<Self, RunError> {
        let Parts {
            config,
            client,
            health,
            metrics,
            stats,
            ..
        } = *parts;
        let stop = parts.duties.stop();
        let kafka = &config.common.kafka;
        parts.retain(
            "order view retention",
            database,
            view::RETENTION,
            config.order_view_retention,
        );

        let duties = &mut *parts.duties;
        let store = ViewStore::new(database.clone(), metrics);
        let dead_letters = kafka.producer(client).build().map_err(start)?;
        stats.add_producer(&dead_letters);
        let topics = [
            config.order_topic.as_str(),
            config.orders_topic.as_str(),
            config.order_status_topic.as_str(),
        ];
        let handler = ViewHandler::new(config, store.clone(), metrics);
        let handler = ProcessDurations::new(metrics).timed(handler, &kafka.group_id, topics);
        let consumer = kafka
            .consumer(client, &kafka.group_id)
            .topics(topics)
            .max_in_flight(VIEW_IN_FLIGHT)
            .dead_letters(DeadLetters::new(dead_letters.clone()))
            .shutdown_drain(config.common.shutdown.drain())
            .build(handler)
            .map_err(start)?;
        stats.add_consumer(consumer.stats());
        duties.spawn_quiet(
            "order view watch",
            watch_consumer(
                consumer.stats(),
                ConsumerHealth {
                    consumes: health.optional("order view"),
                    unhindered: health.optional("order view, in part"),
                },
                stop.clone(),
            ),
        );
        let ending = stop.clone();
        duties.spawn("order view", async move {
            consume(consumer, ending.cancelled()).await
        });

        let feed = Feed::new(
            client.clone(),
            &[&config.order_status_topic],
            StatusSource,
            FeedConfig::default(),
        );
        duties.spawn("status feed", feed.clone().follow(stop));
        Ok(Self {
            store,
            feed,
            dead_letters,
        })
    }

    fn routes(&self, stop: &CancellationToken) -> Router {
        view::routes(&self.store).merge(status_feed::routes(&self.feed, &self.store, stop))
    }

    async fn close(self, timeout: std::time::Duration) {
        if let Err(error) = self.dead_letters.close(timeout).await {
            tracing::warn!("dead letters: {error}");
        }
    }
}
