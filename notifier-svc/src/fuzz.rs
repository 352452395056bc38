//! What fuzzing feeds: what a client sends over one connection, through hyper and the router into
//! the service's own routes. Kafka and the database are away, so that nothing outside is waited for;
//! time is the runtime's, which does not wait either. A panic is a finding. `fuzz/` runs it;
//! `cargo test` runs its corpus, and mutations of it.

use std::path::Path;

use service::CancellationToken;
use service::auth::Gate;
use service::config::Parsed;
use service::db::Database;
use service::feed::{Feed, FeedConfig};
use service::health::Health;
use service::http::{HttpMetrics, Server, service_routes};
use service::metrics::Metrics;
use tokio::runtime::Runtime;

use crate::routes::NotificationRoutes;
use crate::store::MIGRATIONS;
use crate::stream::{self, NotificationSource};
use crate::{Config, NAME};

thread_local! {
    static SCENE: (Runtime, Server) = scene();
}

fn scene() -> (Runtime, Server) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let server = runtime.block_on(async {
        let variables = [
            ("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1"),
            ("DATABASE_URL", "postgres://127.0.0.1:1/none"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let parsed = crate::program().parse([], variables.into_iter(), Path::new("/nonexistent"));
        let Parsed::Invocation(invocation) = parsed else {
            panic!("nothing to print");
        };
        let config = Config::read(invocation.values).expect("a good configuration");
        let (health, metrics) = (Health::new(), Metrics::new());
        let kafka = &config.common.kafka;
        let client = kafka.client(NAME).expect("good settings");
        let database = Database::new(&config.common.database, MIGRATIONS).expect("a good URL");
        let topics = [config.notifications_topic.as_str()];
        let feed = Feed::new(client, &topics, NotificationSource, FeedConfig::default());
        let stop = CancellationToken::new();
        let listing = NotificationRoutes {
            database,
            timeout: config.common.http.request_timeout,
            gate: Gate::default(),
        };
        let routes = service_routes(&health, &metrics, "{}")
            .merge(listing.router())
            .merge(stream::routes(&feed, &Gate::default(), &stop));
        Server::new(routes, &config.common.http, &HttpMetrics::new(&metrics))
    });
    (runtime, server)
}

/// All bytes of one connection.
pub fn http(data: &[u8]) {
    SCENE.with(|(runtime, server)| {
        let answers = runtime.block_on(server.answers_to(data));
        assert!(answers.is_empty() || answers.starts_with(b"HTTP/1."));
        assert!(
            !answers.starts_with(b"HTTP/1.1 500"),
            "a mistake of the service"
        );
    });
}

#[cfg(test)]
mod tests {
    #[test]
    fn http() {
        testkit::corpus::replay("notifier_http", super::http);
    }
}
