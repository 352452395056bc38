use std::future::Future;
use std::sync::Arc;

use kafka::{Client, DeadLetters, Producer};
use service::duties::{Duties, RunError};
use service::health::Health;
use service::http::{HttpMetrics, Listeners, Router, Server, service_routes};
use service::kafka_glue::{
    ConsumerHealth, KafkaStats, ProcessDurations, Timed, TopicPlan, consume, make_topics,
    watch_consumer, watch_kafka,
};
use service::metrics::Metrics;

use crate::events::EventTopics;
use crate::memory::OrderMemory;
use crate::order_log::OrderLog;
use crate::order_metrics::OrderMetrics;
use crate::processing::OrderProcessing;
use crate::{Config, NAME};

/// The service's document of its HTTP interface.
const OPENAPI: &str = include_str!("openapi.json");

/// Runs the service until `shutdown`, then leaves in the contract's order.
///
/// # Errors
/// A task that cannot go on, or what was left at `SHUTDOWN_TIMEOUT`. Kafka being away is no error:
/// orders wait, and `/readyz` says so.
pub async fn run(
    config: Config,
    listeners: Listeners,
    shutdown: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let common = &config.common;
    let (health, metrics) = (Health::new(), Metrics::new());
    let mut duties = Duties::new(health.clone(), common.shutdown);
    let stop = duties.stop();

    let client = common.kafka.client(NAME).map_err(start)?;
    let stats = KafkaStats::new(&metrics);
    let producer = common.kafka.producer(&client).build().map_err(start)?;
    stats.add_producer(&producer);
    duties.spawn_quiet(
        "Kafka watch",
        watch_kafka(client.clone(), health.optional("kafka"), stop.clone()),
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
            client,
            producer.clone(),
            log.clone(),
            &metrics,
        ))
        .map_err(start)?;
    stats.add_consumer(consumer.stats());
    duties.spawn_quiet(
        "order processing watch",
        watch_consumer(
            consumer.stats(),
            ConsumerHealth {
                consumes: health.vital("order processing"),
                unhindered: health.optional("order processing, in part"),
            },
            stop.clone(),
        ),
    );
    let ending = stop.clone();
    duties.spawn("order processing", async move {
        consume(consumer, ending.cancelled()).await
    });
    let ending = stop.clone();
    duties.spawn_quiet("order log", async move {
        log.run(ending.cancelled()).await;
    });

    tracing::info!("listening at {}", listeners.names());
    let server = Server::new(
        routes(&health, &metrics),
        &common.http,
        &HttpMetrics::new(&metrics),
    );
    duties.spawn_quiet("HTTP requests in flight", server.serve(listeners, stop));

    let timeout = common.shutdown.timeout;
    let last = async {
        if let Err(error) = producer.close(timeout).await {
            tracing::warn!("{error}");
        }
    };
    let result = duties.run(shutdown, last).await;
    if result.is_ok() {
        tracing::info!("ended orderly");
    }
    result
}

/// Nothing but what every service has.
pub(crate) fn routes(health: &Health, metrics: &Metrics) -> Router {
    service_routes(health, metrics, OPENAPI)
}

fn processing(
    config: &Config,
    client: Client,
    producer: Producer,
    log: Arc<OrderLog>,
    metrics: &Metrics,
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
    ProcessDurations::new(metrics).timed(processing, group, topics)
}

/// All topics that orders pass through, and the dead letters of those that are consumed.
fn topic_plan(config: &Config) -> TopicPlan {
    use proto::topics::{NOTIFICATIONS, ORDER_STATUS_TOPIC, ORDER_TOPIC, ORDERS};
    TopicPlan::new()
        .consumed(&config.order_topic, ORDER_TOPIC.partitions)
        .consumed(&config.orders_topic, ORDERS.partitions)
        .topic(&config.order_status_topic, ORDER_STATUS_TOPIC.partitions)
        .topic(&config.notifications_topic, NOTIFICATIONS.partitions)
}

fn start(error: impl std::fmt::Display) -> RunError {
    RunError::Start(error.to_string())
}
