//! What fuzzing feeds: what a client sends over one connection, through hyper and the router into
//! the service's routes. Kafka and the database are away; time is the runtime's, which does not wait. A panic is a finding. `fuzz/`
//! runs it; `cargo test` runs its corpus, and mutations of it.

use std::path::Path;

use service::auth::Gate;
use service::config::Parsed;
use service::db::Database;
use service::health::Health;
use service::http::{HttpMetrics, Server};
use service::metrics::Metrics;
use service::outbox::Outbox;
use tokio::runtime::Runtime;

use crate::carts::{CartEvents, Carts};
use crate::schema::MIGRATIONS;
use crate::{Config, run};

thread_local! {
    static SCENE: (Runtime, Server) = scene();
}

fn scene() -> (Runtime, Server) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
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
    health.required("kafka").down("no broker");
    health.optional("kafka").down("no broker");
    let server = runtime.block_on(async {
        let database = Database::new(&config.common.database, &MIGRATIONS).expect("a good URL");
        let carts = Carts {
            database,
            events: CartEvents {
                outbox: Outbox::default(),
                topic: config.carts_topic.to_string(),
                type_ids: config.type_ids.clone(),
            },
            patience: config.common.http.request_timeout,
        };
        Server::new(
            run::routes(&health, &metrics, Some(&carts), &Gate::default()),
            &config.common.http,
            &HttpMetrics::new(&metrics),
        )
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
        testkit::corpus::replay("consumer_http", super::http);
    }
}
