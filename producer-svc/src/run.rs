use std::future::Future;

use kafka::{ConsumerStatsHandle, DeadLetters, Handler, Producer};
use proto::{BookEventKind, EventType, topics};
use service::CancellationToken;
use service::auth::Gate;
use service::db::{Database, Retention};
use service::duties::{Duties, RunError};
use service::feed::{Feed, FeedConfig};
use service::health::Health;
use service::http::{HttpMetrics, Listeners, Router, Server, service_routes};
use service::instance::Instance;
use service::kafka_glue::{
    ConsumerHealth, KafkaStats, ProcessDurations, TopicPlan, consume_after, make_topics,
    watch_consumer, watch_kafka,
};
use service::logging;
use service::metrics::Metrics;
use service::outbox::{self, Outbox, Relay};
use service::process_metrics;

use crate::admin::{Guard, Live};
use crate::analytics::{self, AnalyticsHandler, AnalyticsStore};
use crate::callers::Callers;
use crate::doctor::{self, Doctor};
use crate::schema::MIGRATIONS;
use crate::status_feed::{self, StatusSource};
use crate::taken::Taken;
use crate::users::{self, Passwords, Stages, UserStore};
use crate::view::{self, Accepted, Orders, ViewHandler, ViewStore};
use crate::view_lag::ViewLag;
use crate::{Config, NAME, admin, books, intake};

/// The service's document of its HTTP interface.
const OPENAPI: &str = include_str!("openapi.json");

/// Records in the hands of a handler that stores them: enough to fill the transactions they share.
const STORED_IN_FLIGHT: usize = 1_024;

/// Runs the service until `shutdown`, then leaves in the contract's order.
///
/// # Errors
/// A task that cannot go on, or what was left at `SHUTDOWN_TIMEOUT`. Kafka or the database being
/// away is no error: what needs them waits, and `/readyz` says so.
pub async fn run(
    mut config: Config,
    listeners: Listeners,
    shutdown: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let stores = config.order_view || config.users || config.analytics;
    // One that joins no group and has no outbox needs no name, nor a folder to keep it in.
    if stores {
        config.common.claim_instance();
    }
    let common = &config.common;
    let (health, metrics) = (Health::new(), Metrics::new());
    process_metrics::register(&metrics);
    logging::register_shipping(&metrics);
    let mut duties = Duties::new(health.clone(), common.shutdown);
    let stop = duties.stop();

    let client = common.kafka.client(NAME).map_err(start)?;
    let stats = KafkaStats::new(&metrics);
    let producer = intake_producer(&config, &client)?;
    stats.add_producer(&producer);
    duties.spawn_quiet(
        "Kafka watch",
        watch_kafka(client.clone(), health.required("kafka"), stop.clone()),
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

    let gate = Gate::new(&common.auth);
    let guard = Guard::new(&config.admin_user, &config.admin_password);
    guard.warn_of_default();
    let callers = Callers::new(&gate, &guard);
    let taken = Taken::new(config.intake_memory);
    let admin = client.admin().with_timeout(common.http.request_timeout);
    let accepted = config
        .order_view
        .then(|| Accepted::new(&config, admin.clone()));
    // One without a view may take orders for those that have it.
    let measured = config.order_view || !config.intake_max_view_lag.is_zero();
    let lag = measured.then(|| ViewLag::new(&config, &client, &metrics));
    if let Some(lag) = &lag {
        let watch = lag.clone().watch(health.clone(), stop.clone());
        duties.spawn_quiet("order view's lag", watch);
    }
    let beside = intake::Beside {
        accepted: accepted.clone(),
        lag: lag.clone(),
    };
    let mut routes = intake::routes(&config, &producer, &gate, &taken, beside, &metrics, &health)
        .merge(service_routes(&health, &metrics, OPENAPI))
        .merge(match config.books {
            true => books::routes(&config, &producer, &gate, &taken, &metrics, &health),
            false => books::routes_without_books(),
        });
    // Behind the guard.
    let live = Live::new(admin, &health, &config, &stop);
    let mut operators = admin::routes(&config, &client, &live).map_err(start)?;
    duties.spawn_quiet("cluster watch", live.run());
    let mut parts = Parts {
        config: &config,
        client: &client,
        health: &health,
        metrics: &metrics,
        durations: &ProcessDurations::new(&metrics),
        stats: &stats,
        duties: &mut duties,
    };
    let database = match stores {
        true => Some(parts.database()?),
        false => None,
    };
    let dead_letters = common.kafka.producer(&client).build().map_err(start)?;
    stats.add_producer(&dead_letters);
    match (&database, accepted, lag) {
        (Some(database), Some(accepted), Some(lag)) => {
            let view = View::start(&mut parts, database, &dead_letters, accepted, lag)?;
            routes = routes.merge(view.routes(&callers, &stop));
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
    operators = operators.merge(match &database {
        Some(database) if config.analytics => start_analytics(&mut parts, database, &dead_letters)?,
        _ => analytics::routes_without_analytics(),
    });

    let routes = routes.merge(operators.around(guard, Guard::let_through));

    tracing::info!("listening at {}", listeners.names());
    let server = Server::new(routes, &common.http, &HttpMetrics::new(&metrics));
    duties.spawn_quiet("HTTP requests in flight", server.serve(listeners, stop));

    let timeout = common.shutdown.timeout;
    let last = async {
        if let Err(error) = producer.close(timeout).await {
            tracing::warn!("{error}");
        }
        if let Err(error) = dead_letters.close(timeout).await {
            tracing::warn!("dead letters: {error}");
        }
        if let Some(database) = database {
            database.close().await;
        }
    };
    duties.run(shutdown, last).await?;
    tracing::info!("ended orderly");
    Ok(())
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
    let plan = match config.books {
        true => BookEventKind::ALL.into_iter().fold(plan, |plan, kind| {
            plan.topic(config.book_topic(kind), kind.topic().partitions)
        }),
        false => plan,
    };
    let plan = match config.analytics {
        true => plan.consumed(
            &config.aggregates_topic,
            topics::AGGREGATED_STATS.partitions,
        ),
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
    durations: &'a ProcessDurations,
    stats: &'a KafkaStats,
    duties: &'a mut Duties,
}

/// A consumer group that stores what it reads. While it does not, the service is degraded, since it
/// takes orders all the same.
struct Group<'a> {
    /// Of the duty, and of what `/readyz` says.
    name: &'static str,
    /// What `/readyz` says where some of its partitions are held.
    in_part: &'static str,
    id: &'a str,
    topics: &'a [&'a str],
    dead_letters: &'a Producer,
}

impl Parts<'_> {
    fn database(&mut self) -> Result<Database, RunError> {
        let config = &self.config.common.database;
        let database = Database::new(config, &MIGRATIONS)
            .map_err(start)?
            .with_clock(self.config.common.clock.clone());
        let clock = self.health.optional("clock");
        self.duties.spawn_quiet(
            "clock watch",
            database.clone().watch_clock(clock, self.duties.stop()),
        );
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

    fn consume(
        &mut self,
        group: &Group<'_>,
        database: &Database,
        handler: impl Handler,
    ) -> Result<ConsumerStatsHandle, RunError> {
        let stop = self.duties.stop();
        let common = &self.config.common;
        let topics = group.topics.iter().copied();
        let handler = self.durations.timed(handler, group.id, topics.clone());
        let consumer = common
            .kafka
            .consumer(self.client, group.id)
            .topics(topics)
            .max_in_flight(STORED_IN_FLIGHT)
            .dead_letters(DeadLetters::new(group.dead_letters.clone()))
            .shutdown_drain(common.shutdown.drain())
            .build(handler)
            .map_err(start)?;
        let stats = consumer.stats();
        self.stats.add_consumer(stats.clone());
        let health = ConsumerHealth {
            consumes: self.health.optional(group.name),
            unhindered: self.health.optional(group.in_part),
        };
        let watch = watch_consumer(consumer.stats(), health, stop.clone());
        self.duties.spawn_quiet(group.name, watch);
        let database = database.clone();
        self.duties.spawn(group.name, async move {
            consume_after(database.admitted(), consumer, &stop).await
        });
        Ok(stats)
    }
}

/// The group that stores the bookstore's figures; the routes that show them, not guarded yet.
fn start_analytics(
    parts: &mut Parts<'_>,
    database: &Database,
    dead_letters: &Producer,
) -> Result<Router, RunError> {
    let config = parts.config;
    let retention = config.analytics_retention;
    for rows in [analytics::BOOK_RETENTION, analytics::SYSTEM_RETENTION] {
        parts.retain("retention of figures", database, rows, retention);
    }
    let store = AnalyticsStore::new(database.clone());
    let group = Group {
        name: "analytics",
        in_part: "analytics, in part",
        id: &config.analytics_group,
        topics: &[&config.aggregates_topic],
        dead_letters,
    };
    let handler = AnalyticsHandler::new(store.clone(), group.id, parts.metrics);
    parts.consume(&group, database, handler)?;
    Ok(analytics::routes(&store))
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
    )
    .of_instance(config.common.kafka.instance.as_ref().and_then(Instance::id));
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
    orders: Orders,
    feed: Feed,
}

impl View {
    fn start(
        parts: &mut Parts<'_>,
        database: &Database,
        dead_letters: &Producer,
        accepted: Accepted,
        lag: ViewLag,
    ) -> Result<Self, RunError> {
        let config = parts.config;
        parts.retain(
            "order view retention",
            database,
            view::RETENTION,
            config.order_view_retention,
        );
        let store = ViewStore::new(database.clone(), parts.metrics);
        let group = Group {
            name: "order view",
            in_part: "order view, in part",
            id: &config.common.kafka.group_id,
            topics: &[
                &config.order_topic,
                &config.orders_topic,
                &config.order_status_topic,
            ],
            dead_letters,
        };
        let handler = ViewHandler::new(config, store.clone(), parts.metrics);
        lag.is_stored_by(parts.consume(&group, database, handler)?);

        let feed = Feed::new(
            parts.client.clone(),
            &[&config.order_status_topic],
            StatusSource,
            FeedConfig::default(),
        );
        let stop = parts.duties.stop();
        parts.duties.spawn("status feed", feed.clone().follow(stop));
        let orders = Orders {
            store,
            accepted,
            lag,
        };
        Ok(Self { orders, feed })
    }

    fn routes(&self, callers: &Callers, stop: &CancellationToken) -> Router {
        let streams = status_feed::routes(&self.feed, &self.orders, callers, stop);
        view::routes(&self.orders, callers).merge(streams)
    }
}
