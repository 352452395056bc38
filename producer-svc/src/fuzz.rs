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
use service::outbox::Outbox;
use tokio::runtime::Runtime;

use crate::admin::{self, Guard, Live};
use crate::analytics::{self, AnalyticsStore};
use crate::callers::Callers;
use crate::doctor::{self, Doctor};
use crate::schema::MIGRATIONS;
use crate::status_feed::{self, StatusSource};
use crate::taken::Taken;
use crate::users::{self, Passwords, UserStore};
use crate::view::{self, Accepted, Orders, ViewStore};
use crate::view_lag::ViewLag;
use crate::{Config, NAME, books, intake};

thread_local! {
    static SCENE: (Runtime, Guard, Server) = scene();
}

/// Smaller than any order: each is refused at once instead of waiting for Kafka.
const BUFFER: usize = 256;

fn scene() -> (Runtime, Guard, Server) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let (guard, server) = runtime.block_on(async {
        let variables = [
            ("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1"),
            ("DATABASE_URL", "postgres://127.0.0.1:1/none"),
            ("CART_SERVICE_URL", "http://127.0.0.1:1"),
            ("NOTIFIER_SERVICE_URL", "http://127.0.0.1:1"),
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
        let producer = kafka
            .producer(&client)
            .buffer_memory(BUFFER)
            .build()
            .expect("good settings");
        let database = Database::new(&config.common.database, &MIGRATIONS).expect("a good URL");
        // Nobody measures it: it stays unknown.
        let lag = ViewLag::new(&config, &client, &metrics);
        let accepted = Accepted::new(&config, client.admin());
        let orders = Orders {
            store: ViewStore::new(database.clone(), &metrics),
            accepted: accepted.clone(),
            lag: lag.clone(),
        };
        let users = UserStore {
            database: database.clone(),
            outbox: Outbox::default(),
            topic: config.users_topic.to_string(),
            type_id: None,
        };
        let patience = config.common.http.request_timeout;
        let topics = [config.order_status_topic.as_str()];
        let stop = CancellationToken::new();
        // Nobody looks at the cluster: its stream stays silent.
        let live = Live::new(client.admin(), &health, &config, &stop);
        let operators = admin::routes(&config, &client, &live)
            .expect("good settings")
            .merge(analytics::routes(&AnalyticsStore::new(database.clone())))
            .merge(doctor::routes(Doctor::new(&config, &client, &database)));
        let guard = Guard::new(&config.admin_user, &config.admin_password);
        let feed = Feed::new(client, &topics, StatusSource, FeedConfig::default());
        let gate = Gate::new(&config.common.auth);
        let callers = Callers::new(&gate, &guard);
        let taken = Taken::new(config.intake_memory);
        let routes = service_routes(&health, &metrics, "{}")
            .merge(intake::routes(
                &config,
                &producer,
                &gate,
                &taken,
                intake::Beside {
                    accepted: Some(accepted),
                    lag: Some(lag),
                },
                &metrics,
                &health,
            ))
            .merge(books::routes(
                &config, &producer, &gate, &taken, &metrics, &health,
            ))
            .merge(operators.around(guard.clone(), Guard::let_through))
            .merge(view::routes(&orders, &callers))
            .merge(users::routes(users, Passwords::new(1), patience))
            .merge(status_feed::routes(&feed, &orders, &callers, &stop));
        let server = Server::new(routes, &config.common.http, &HttpMetrics::new(&metrics));
        (guard, server)
    });
    (runtime, guard, server)
}

/// All bytes of one connection.
pub fn http(data: &[u8]) {
    let answers = answers_to(data);
    assert!(answers.is_empty() || answers.starts_with(b"HTTP/1."));
    assert!(
        !answers.starts_with(b"HTTP/1.1 500"),
        "a mistake of the service"
    );
}

fn answers_to(data: &[u8]) -> Vec<u8> {
    SCENE.with(|(runtime, guard, server)| {
        // What one input guesses wrong does not shut the next one out.
        guard.forget_tries();
        runtime.block_on(server.answers_to(data))
    })
}

#[cfg(test)]
mod tests {
    use super::answers_to;

    #[test]
    fn http() {
        testkit::corpus::replay("producer_http", super::http);
    }

    #[track_caller]
    fn expect(request: &str, status: &str) {
        let answer = answers_to(request.as_bytes());
        let answer = String::from_utf8_lossy(&answer);
        let (line, _) = answer.split_once("\r\n").unwrap_or_default();
        assert!(
            line.starts_with(&format!("HTTP/1.1 {status} ")),
            "{line}, not {status}: {request}"
        );
    }

    /// The scene would find nothing behind what is not answered.
    #[test]
    fn what_takes_kafka_or_the_database_is_answered_and_so_is_an_operator() {
        const LOGIN: &str = "Authorization: Basic YWRtaW46YWRtaW4=\r\n";
        let get = |path: &str, headers: &str| {
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n")
        };
        expect(&get("/api/orders/1", ""), "503");
        expect(&get("/api/admin/groups", ""), "401");
        let forwarded = format!("{LOGIN}X-Forwarded-For: 1.2.3.4\r\n");
        expect(&get("/api/admin/groups", &forwarded), "403");
        for path in [
            "/api/admin/groups",
            "/api/admin/topics",
            "/api/admin/topics/order_topic/messages",
            "/api/admin/dead-letters",
            "/api/admin/dead-letters/order_topic-dlt/0/0",
            "/api/admin/analytics/overview",
        ] {
            expect(&get(path, LOGIN), "503");
        }
        expect(&get("/admin", LOGIN), "200");
        expect(&get("/api/admin/events", LOGIN), "200");
        expect(&get("/api/admin/diagnostics/cart/1", LOGIN), "200");
    }
}
