//! Users: `POST /api/auth/registration`, and `UserCreated` on its way to `users.events`.
//!
//! A user and the event are one transaction ([`store`]); the outbox's relay publishes it. Passwords
//! are hashed a few at a time ([`password`]), so that a flood of registrations leaves the processor
//! to everything else.

mod password;
mod routes;
mod stages;
mod store;

pub(crate) use password::Passwords;
pub(crate) use routes::{routes, routes_without_users};
pub(crate) use stages::Stages;
pub(crate) use store::{POSTGRES, REQUEST_KEY, SQLITE, UserStore, registered_at};
