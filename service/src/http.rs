//! HTTP/1.1 over hyper: listeners, router, bounded requests, responses, problems, event streams.
//!
//! [`Router`] maps methods and paths to handlers, [`Server`] serves it on [`Listeners`]. A handler
//! is `async fn(State, Request) -> Result<Response, Problem>`. [`ServiceUrl`] asks another service.

mod body;
mod client;
mod connection;
mod events;
mod language;
mod listeners;
mod metrics;
mod problem;
mod query;
mod refusal;
mod request;
mod response;
mod router;
mod server;
mod service_routes;
mod watchdog;

pub use body::Body;
pub use client::{CallError, ServiceAnswer, ServiceUrl};
pub use events::{EventFrame, EventSender, EventStream, KEEP_ALIVE, event_stream};
pub use language::{Language, preferred};
pub use listeners::{BindError, Listeners};
pub use metrics::HttpMetrics;
pub use problem::{FieldProblem, Problem};
pub use query::Query;
pub use refusal::refusal;
pub use request::Request;
pub use response::{Response, empty, json, json_bytes, text};
pub use router::{ANY_QUERY, Next, Router};
pub use server::Server;
pub use service_routes::service_routes;

pub use hyper::{HeaderMap, Method, StatusCode, Version, header};
