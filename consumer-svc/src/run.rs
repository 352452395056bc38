use std::future::Future;
use std::sync::Arc;

use kafka::{Client, DeadLetters, Producer};
use service::auth::Gate;
use service::db::{Database, GroupWriter, GroupWriterConfig};
use service::duties::{Duties, RunError};
use service::health::Health;
use service::http::{HttpMetrics, Listeners, Router, Server, service_routes};
use service::instance::Instance;
use service::kafka_glue::{
    ConsumerHealth, KafkaStats, PassedOver, ProcessDurations, Timed, TopicPlan, consume_after,
    make_topics, watch_consumer, watch_kafka,
};
use service::logging;
use service::metrics::Metrics;
use service::outbox::{self, Outbox, Relay, Silent};
use service::process_metrics;

use crate::analytics::{self, Analytics};
use crate::carts::{self, CartEvents, CartHandler, CartMetrics, Carts, CreateCarts, Stages};
use crate::events::EventTopics;
use crate::memory::OrderMemory;
use crate::order_log::OrderLog;
use crate::order_metrics::OrderMetrics;
use crate::processing::OrderProcessing;
use crate::schema::MIGRATIONS;
use crate::{Config, NAME};

/// The service's document of its HTTP interface.
const OPENAPI: &str = include_str!("openapi.json");

/// Runs the service until `shutdown`, then leaves in the contract's order.
///
/// # Errors
/// A task that cannot go on, or what was left at `SHUTDOWN_TIMEOUT`. Kafka being away is no error:
/// orders wait, and `/readyz` says so.
pub async fn run(
    mut config: Config,
    listeners: Listeners,
    shutdown: impl Future<Output = ()>,
) -> Result<(), RunError> {
    config.common.claim_instance();
    let common = &config.common;
    let (health, metrics) = (Health::new(), Metrics::new());
    process_metrics::register(&metrics);
    logging::register_shipping(&metrics);
    let mut duties = Duties::new(health.clone(), common.shutdown);
    let stop = duties.stop();

    let client = common.kafka.client(NAME).map_err(start)?;
    let stats = KafkaStats::new(&metrics);
    let producer = common.kafka.producer(&client).build().map_err(start)?;
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

    let durations = ProcessDurations::new(&metrics);
    let log = Arc::new(OrderLog::new(config.order_log_limit));
    let consumer = common
        .kafka
        .consumer(&client, &common.kafka.group_id)
        .topics([config.order_topic.as_str(), config.orders_topic.as_str()])
        .max_in_flight(config.max_in_flight)
        .shutdown_drain(common.shutdown.drain())
        .dead_letters(DeadLetters::new(producer.clone()))
        .build(processing(
            &config,
            client.clone(),
            producer.clone(),
            log.clone(),
            &metrics,
            &durations,
        ))
        .map_err(start)?;
    stats.add_consumer(consumer.stats());
    duties.spawn_quiet(
        "order processing watch",
        watch_consumer(
            consumer.stats(),
            ConsumerHealth {
                consumes: health.optional("order processing"),
                unhindered: health.optional("order processing, in part"),
            },
            stop.clone(),
        ),
    );
    let ending = stop.clone();
    duties.spawn_quiet("order log", async move {
        log.run(ending.cancelled()).await;
    });

    let parts = Parts {
        config: &config,
        client: &client,
        producer: &producer,
        health: &health,
        metrics: &metrics,
        durations: &durations,
        stats: &stats,
    };
    let mut database = None;
    if config.carts || config.analytics.enabled {
        database = Some(parts.start_database(&mut duties)?);
    }
    let (gate, ending) = (database.clone(), stop.clone());
    duties.spawn("order processing", async move {
        let not_refused = async {
            if let Some(database) = &gate {
                database.not_refused().await;
            }
        };
        consume_after(not_refused, consumer, &ending).await
    });
    let mut carts = None;
    if let Some(database) = &database {
        if config.carts {
            carts = Some(parts.start_carts(&mut duties, database.clone())?);
        }
        if config.analytics.enabled {
            parts.start_analytics(&mut duties, database)?;
        }
    }

    let gate = Gate::new(&config.common.auth);
    let routes = routes(&health, &metrics, carts.as_ref(), &gate);
    tracing::info!("listening at {}", listeners.names());
    let server = Server::new(routes, &common.http, &HttpMetrics::new(&metrics));
    duties.spawn_quiet("HTTP requests in flight", server.serve(listeners, stop));

    let timeout = common.shutdown.timeout;
    let last = async {
        if let Err(error) = producer.close(timeout).await {
            tracing::warn!("{error}");
        }
        if let Some(database) = database {
            database.close().await;
        }
    };
    duties.run(shutdown, last).await?;
    tracing::info!("ended orderly");
    Ok(())
}

/// What every service has, and the carts.
pub(crate) fn routes(
    health: &Health,
    metrics: &Metrics,
    carts: Option<&Carts>,
    gate: &Gate,
) -> Router {
    service_routes(health, metrics, OPENAPI).merge(match carts {
        Some(carts) => carts::routes(carts, gate),
        None => carts::routes_without_carts(),
    })
}

/// What the keeping of carts and statistics is started with.
struct Parts<'a> {
    config: &'a Config,
    client: &'a Client,
    /// Sends dead letters.
    producer: &'a Producer,
    health: &'a Health,
    metrics: &'a Metrics,
    durations: &'a ProcessDurations,
    stats: &'a KafkaStats,
}

impl Parts<'_> {
    fn start_database(&self, duties: &mut Duties) -> Result<Database, RunError> {
        let common = &self.config.common;
        let database = Database::new(&common.database, &MIGRATIONS)
            .map_err(start)?
            .with_clock(common.clock.clone());
        duties.spawn_quiet(
            "clock watch",
            (database.clone()).watch_clock(self.health.optional("clock"), duties.stop()),
        );
        duties.spawn_quiet(
            "database watch",
            database.clone().watch_over(
                self.health.optional("database"),
                duties.stop(),
                common.shutdown.writes(),
            ),
        );
        Ok(database)
    }

    /// The group that keeps the statistics, and their publisher.
    fn start_analytics(&self, duties: &mut Duties, database: &Database) -> Result<(), RunError> {
        let stop = duties.stop();
        let config = &self.config.analytics;
        let (analytics, publisher) = Analytics::new(analytics::Parts {
            common: &self.config.common,
            config,
            client: self.client,
            producer: self.producer,
            database,
            health: self.health,
            metrics: self.metrics,
            durations: self.durations,
            stats: self.stats,
            type_ids: &self.config.type_ids,
        })
        .map_err(start)?;
        duties.spawn_quiet(
            "book events' retention",
            analytics::DEDUP_RETENTION.run(database.clone(), config.dedup_window, stop.clone()),
        );
        let health = self.health.optional("analytics publisher");
        duties.spawn_quiet("analytics publisher", publisher.run(health, stop.clone()));
        duties.spawn("analytics", analytics.run(stop));
        Ok(())
    }

    /// The group that creates carts, and the relay of what happens to them.
    fn start_carts(&self, duties: &mut Duties, database: Database) -> Result<Carts, RunError> {
        let stop = duties.stop();
        let common = &self.config.common;
        duties.spawn_quiet(
            "outbox retention",
            outbox::RETENTION.run(database.clone(), self.config.outbox_retention, stop.clone()),
        );
        let producer = common
            .kafka
            .producer(self.client)
            .delivery_timeout(outbox::DELIVERY_TIMEOUT)
            .build()
            .map_err(start)?;
        self.stats.add_producer(&producer);
        let outbox = Outbox::default();
        let relay = Relay::new(
            outbox.clone(),
            database.clone(),
            producer,
            Silent,
            self.metrics,
        )
        .of_instance(common.kafka.instance.as_ref().and_then(Instance::id));
        duties.spawn_quiet(
            "outbox relay",
            relay.run(
                self.health.optional("outbox"),
                stop.clone(),
                common.shutdown.relay(),
            ),
        );
        let events = CartEvents {
            outbox,
            topic: self.config.carts_topic.to_string(),
            type_ids: self.config.type_ids.clone(),
        };
        self.start_cart_group(duties, &database, &events)?;
        duties.spawn_quiet(
            "retention of request keys",
            carts::REQUEST_RETENTION.run(database.clone(), self.config.request_key_retention, stop),
        );
        Ok(Carts {
            database,
            events,
            patience: common.http.request_timeout,
        })
    }

    fn start_cart_group(
        &self,
        duties: &mut Duties,
        database: &Database,
        events: &CartEvents,
    ) -> Result<(), RunError> {
        let stop = duties.stop();
        let common = &self.config.common;
        let (group, topic) = (&self.config.cart_group, self.config.users_topic.as_str());
        let write = CreateCarts {
            events: events.clone(),
        };
        let stages = Stages::start();
        let handler = CartHandler {
            group: group.clone(),
            writer: GroupWriter::spawn(database.clone(), write, GroupWriterConfig::default()),
            database: database.clone(),
            metrics: CartMetrics::new(self.metrics),
            passed_over: PassedOver::new(self.metrics, "user_events", "Events of users"),
            stages: stages.clone(),
        };
        let consumer = common
            .kafka
            .consumer(self.client, group)
            .topics([topic])
            .shutdown_drain(common.shutdown.drain())
            .dead_letters(DeadLetters::new(self.producer.clone()))
            .build(self.durations.timed(handler, group, [topic]))
            .map_err(start)?;
        self.stats.add_consumer(consumer.stats());
        duties.spawn_quiet("carts' start", stages.join(consumer.stats(), stop.clone()));
        duties.spawn_quiet(
            "carts watch",
            watch_consumer(
                consumer.stats(),
                ConsumerHealth {
                    // Orders are processed without carts.
                    consumes: self.health.optional("carts"),
                    unhindered: self.health.optional("carts, in part"),
                },
                stop.clone(),
            ),
        );
        let database = database.clone();
        duties.spawn("carts", async move {
            consume_after(database.admitted(), consumer, &stop).await
        });
        Ok(())
    }
}

fn processing(
    config: &Config,
    client: Client,
    producer: Producer,
    log: Arc<OrderLog>,
    metrics: &Metrics,
    durations: &ProcessDurations,
) -> Timed<OrderProcessing> {
    let group = &config.common.kafka.group_id;
    let processing = OrderProcessing {
        client,
        producer,
        group: group.clone(),
        snake_topic: config.orders_topic.to_string(),
        topics: EventTopics::new(
            config.order_status_topic.as_str(),
            config.notifications_topic.as_str(),
            &config.type_ids,
        ),
        rules: config.rules.clone(),
        memory: OrderMemory::new(config.order_memory),
        log,
        metrics: OrderMetrics::new(metrics),
    };
    let topics = [config.order_topic.as_str(), config.orders_topic.as_str()];
    durations.timed(processing, group, topics)
}

/// All topics that orders, carts and book events pass through, and the dead letters of those that are consumed.
fn topic_plan(config: &Config) -> TopicPlan {
    use proto::BookEventKind;
    use proto::topics::{
        AGGREGATED_STATS, CARTS_EVENTS, LOGS, NOTIFICATIONS, ORDER_STATUS_TOPIC, ORDER_TOPIC,
        ORDERS, USERS_EVENTS,
    };
    let mut plan = TopicPlan::new()
        .consumed(&config.order_topic, ORDER_TOPIC.partitions)
        .consumed(&config.orders_topic, ORDERS.partitions)
        .topic(&config.order_status_topic, ORDER_STATUS_TOPIC.partitions)
        .topic(&config.notifications_topic, NOTIFICATIONS.partitions)
        .topic_if(config.common.log_topic.as_deref(), LOGS.partitions);
    if config.carts {
        plan = plan
            .consumed(&config.users_topic, USERS_EVENTS.partitions)
            .topic(&config.carts_topic, CARTS_EVENTS.partitions);
    }
    if config.analytics.enabled {
        for (name, kind) in config.analytics.topics.iter().zip(BookEventKind::ALL) {
            plan = plan.consumed(name, kind.topic().partitions);
        }
        plan = plan.topic(
            &config.analytics.aggregated_topic,
            AGGREGATED_STATS.partitions,
        );
    }
    plan
}

fn start(error: impl std::fmt::Display) -> RunError {
    RunError::Start(error.to_string())
}
