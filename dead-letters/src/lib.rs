//! Dead letters, for whoever looks after them: reading them, and replaying each once.
//!
//! A letter is a record that some group could not handle, kept as it was on `<topic>-dlt` with the
//! reason in its headers ([`Letter`]). A replay sends it to its source; when that is acknowledged, a
//! marker on the dead-letter topic says so, and no second replay is made without force. How that holds
//! when operators compete and their programs die: [`replay`].
//!
//! `consumer-svc dlt` and the admin page of producer-svc are made of this.

mod claim;
mod error;
mod letter;
mod mailbox;
pub mod replay;
mod skip;
mod spring;

pub use claim::Claim;
pub use error::DeadLetterError;
pub use letter::{Entry, Letter, Marker, shown};
pub use mailbox::{Mailbox, Survey};
pub use skip::{Skip, Skipped};
