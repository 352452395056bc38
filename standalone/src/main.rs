//! The whole shop in one process: an embedded broker, the three services, and SQLite.
//!
//! For a first look and for development. `cargo run --release` at the root of the repository
//! starts it; the same services, each its own process, run on Apache Kafka and PostgreSQL.

mod config;
mod greeting;
mod shop;

use std::process::ExitCode;

use service::launch;

fn main() -> ExitCode {
    let invocation = match launch::invocation(&config::program()) {
        Ok(invocation) => invocation,
        Err(status) => return status,
    };
    let config = match config::Config::read(invocation.values) {
        Ok(config) => config,
        Err(mistakes) => return launch::refuse(config::NAME, &mistakes),
    };
    let common = config.producer.common.clone();
    launch::serve_unshipped(&common, async |shutdown| shop::run(config, shutdown).await)
}
