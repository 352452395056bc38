use std::future::Future;

use kafka::{Client, DeadLetters, Producer};
use service::auth::Gate;
use service::db::{Database, GroupWriter, GroupWriterConfig};
use service::duties::{Duties, RunError};
use service::feed::{Feed, FeedConfig};
use service::health::Health;
use service::http::{HttpMetrics, Listeners, Server, service_routes};
use service::kafka_glue::{
    ConsumerHealth, KafkaStats, ProcessDurations, TopicPlan, consume_after, make_topics,
    watch_consumer, watch_kafka,
};
use service::logging;
use service::metrics::Metrics;
use service::process_metrics;

use crate::console::console;
use crate::handler::NotificationHandler;
use crate::logs::{self, LogHandler, LogRoutes, LogWrite};
use crate::notification_metrics::NotificationMetrics;
use crate::routes::NotificationRoutes;
use crate::store::{MIGRATIONS, NotificationWrite, RETENTION};
use crate::stream::{self, NotificationSource};
use crate::{Config, NAME};

/// The service's document of its HTTP interface.
const OPENAPI: &str = include_str!("openapi.json");

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
    config.common.claim_instance();
    let common = &config.common;
    let (health, metrics) = (Health::new(), Metrics::new());
    process_metrics::register(&metrics);
    logging::register_shipping(&metrics);
    let mut duties = Duties::new(health.clone(), common.shutdown);
    let stop = duties.stop();

    let client = common.kafka.client(NAME).map_err(start)?;
    duties.spawn_quiet(
        "Kafka watch",
        watch_kafka(client.clone(), health.required("kafka"), stop.clone()),
    );
    let topic = config.notifications_topic.as_str();
    duties.spawn_quiet(
        "topics",
        make_topics(
            client.clone(),
            common.kafka.clone(),
            TopicPlan::new()
                .consumed(topic, proto::topics::NOTIFICATIONS.partitions)
                .consumed_if(common.log_topic.as_deref(), proto::topics::LOGS.partitions),
            health.optional("topics"),
            stop.clone(),
        ),
    );

    let database = Database::new(&common.database, MIGRATIONS)
        .map_err(start)?
        .with_clock(common.clock.clone());
    duties.spawn_quiet(
        "database watch",
        database.clone().watch_over(
            health.optional("database"),
            stop.clone(),
            common.shutdown.writes(),
        ),
    );
    duties.spawn_quiet(
        "clock watch",
        (database.clone()).watch_clock(health.optional("clock"), stop.clone()),
    );
    duties.spawn_quiet(
        "retention",
        RETENTION.run(database.clone(), config.retention, stop.clone()),
    );
    let (console, printer) = console(
        database.clone(),
        common.log_format,
        health.optional("console"),
        std::io::stdout(),
    );
    duties.spawn_quiet("notifications to print", printer.run(stop.clone()));

    let stats = KafkaStats::new(&metrics);
    let dead_letters = common.kafka.producer(&client).build().map_err(start)?;
    stats.add_producer(&dead_letters);
    let group = &common.kafka.group_id;
    let handler = NotificationHandler {
        group: group.clone(),
        writer: GroupWriter::spawn(
            database.clone(),
            NotificationWrite,
            GroupWriterConfig::default(),
        ),
        database: database.clone(),
        console,
        metrics: NotificationMetrics::new(&metrics),
    };
    let consumer = common
        .kafka
        .consumer(&client, group)
        .topics([topic])
        .max_in_flight(config.max_in_flight)
        .shutdown_drain(common.shutdown.drain())
        .dead_letters(DeadLetters::new(dead_letters.clone()))
        .build(ProcessDurations::new(&metrics).timed(handler, group, [topic]))
        .map_err(start)?;
    stats.add_consumer(consumer.stats());
    duties.spawn_quiet(
        "notifications watch",
        watch_consumer(
            consumer.stats(),
            ConsumerHealth {
                consumes: health.optional("notifications"),
                unhindered: health.optional("notifications, in part"),
            },
            stop.clone(),
        ),
    );
    let admitted = database.clone();
    let ending = stop.clone();
    duties.spawn("notifications", async move {
        consume_after(admitted.admitted(), consumer, &ending).await
    });
    if let Some(topic) = &common.log_topic {
        let collector = Collector {
            config: &config,
            client: &client,
            database: &database,
            dead_letters: &dead_letters,
            stats: &stats,
            metrics: &metrics,
            health: &health,
        };
        collector.spawn(topic, &mut duties)?;
    }

    let feed = Feed::new(client, &[topic], NotificationSource, FeedConfig::default());
    duties.spawn("notification feed", feed.clone().follow(stop.clone()));

    tracing::info!("listening at {}", listeners.names());
    let gate = Gate::new(&common.auth);
    let routes = NotificationRoutes {
        database: database.clone(),
        timeout: common.http.request_timeout,
        gate: gate.clone(),
    }
    .router()
    .merge(
        LogRoutes {
            database: database.clone(),
            timeout: common.http.request_timeout,
            gate: gate.clone(),
        }
        .router(),
    )
    .merge(stream::routes(&feed, &gate, &stop))
    .merge(service_routes(&health, &metrics, OPENAPI));
    let server = Server::new(routes, &common.http, &HttpMetrics::new(&metrics));
    duties.spawn_quiet("HTTP requests in flight", server.serve(listeners, stop));

    let timeout = common.shutdown.timeout;
    let last = async {
        if let Err(error) = dead_letters.close(timeout).await {
            tracing::warn!("dead letters: {error}");
        }
        database.close().await;
    };
    duties.run(shutdown, last).await?;
    tracing::info!("ended orderly");
    Ok(())
}

/// What collecting log records needs.
struct Collector<'a> {
    config: &'a Config,
    client: &'a Client,
    database: &'a Database,
    dead_letters: &'a Producer,
    stats: &'a KafkaStats,
    metrics: &'a Metrics,
    health: &'a Health,
}

impl Collector<'_> {
    fn spawn(&self, topic: &str, duties: &mut Duties) -> Result<(), RunError> {
        let common = &self.config.common;
        let group = &self.config.log_group_id;
        let stop = duties.stop();
        duties.spawn_quiet(
            "retention of log records",
            logs::RETENTION.run(
                self.database.clone(),
                self.config.log_retention,
                stop.clone(),
            ),
        );
        let handler = LogHandler {
            group: group.clone(),
            writer: GroupWriter::spawn(
                self.database.clone(),
                LogWrite {
                    database: self.database.clone(),
                },
                GroupWriterConfig::default(),
            ),
            database: self.database.clone(),
        };
        let consumer = common
            .kafka
            .consumer(self.client, group)
            .topics([topic])
            .max_in_flight(self.config.max_in_flight)
            .shutdown_drain(common.shutdown.drain())
            .dead_letters(DeadLetters::new(self.dead_letters.clone()))
            .build(ProcessDurations::new(self.metrics).timed(handler, group, [topic]))
            .map_err(start)?;
        self.stats.add_consumer(consumer.stats());
        duties.spawn_quiet(
            "log collection watch",
            watch_consumer(
                consumer.stats(),
                ConsumerHealth {
                    consumes: self.health.optional("log collection"),
                    unhindered: self.health.optional("log collection, in part"),
                },
                stop.clone(),
            ),
        );
        // Notifications go on without it.
        let database = self.database.clone();
        duties.spawn_quiet("log collection", async move {
            if let Err(error) = consume_after(database.admitted(), consumer, &stop).await {
                tracing::error!("log records are not collected any more: {error}");
            }
        });
        Ok(())
    }
}

fn start(error: impl std::fmt::Display) -> RunError {
    RunError::Start(error.to_string())
}
