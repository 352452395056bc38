//! What every service needs around its logic.
//!
//! Where to look first: [`launch`] shows how a `main.rs` starts a service; [`duties::Duties`] runs
//! its tasks and ends them in the contract's order. Around them:
//!
//! - [`config`]: options as a table, all mistakes at once
//! - [`http`]: server, router, problems, event streams
//! - [`health`], [`metrics`], [`logging`]: what an operator sees
//! - [`auth`]: whose data a request may read and change
//! - [`db`]: SQLite or PostgreSQL behind one pool, migrations, group commits
//! - [`clock`]: the time of day, which may be wrong
//! - [`outbox`]: events that are published because a transaction has committed
//! - [`feed`]: topics followed and fanned out to event streams
//! - [`instance`]: what a process is known by after a restart
//! - [`kafka_glue`]: configuration to client, statistics to metrics
//! - [`recent`]: recent ids and what came under them
//!
//! No service's logic is here, and nothing here knows a topic or an event.

#[cfg(target_env = "musl")]
mod allocator;
pub mod auth;
pub mod clock;
pub mod config;
pub mod db;
pub mod descriptors;
pub mod duties;
pub mod feed;
pub mod health;
pub mod healthcheck;
pub mod http;
pub mod instance;
pub mod kafka_glue;
pub mod launch;
pub mod logging;
pub mod metrics;
pub mod outbox;
pub mod process_metrics;
pub mod receipts;
pub mod recent;

pub use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
