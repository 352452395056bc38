//! "Why is there no cart?": walks the way from a user to the cart and names the first stage that fails.
//!
//! [`Doctor::examine`] asks everybody concerned at once, each for a bounded time ([`gather`]): the own
//! database, Kafka, and consumer-svc over HTTP, never its database. What was seen ([`findings`]) becomes
//! a report by one pure function ([`report`]). The route and the command show the same report.

mod command;
mod findings;
mod gather;
mod letters;
mod report;
mod routes;
mod stages;
#[cfg(test)]
mod tests;
mod text;

pub use command::Command;
pub(crate) use gather::Doctor;
pub(crate) use routes::{routes, routes_without_users};
