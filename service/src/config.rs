//! Configuration: flags, then environment, then `--env-file`; every mistake reported at once.
//!
//! A service declares its options as a table ([`Opt`]); the table drives `--help` and parsing
//! alike, so an option cannot exist without a line of help. [`Program::parse`] reads the sources
//! into [`Values`], whose getters parse and collect mistakes; [`Values::finish`] gives the
//! finished configuration or all [`Mistakes`].

mod byte_size;
mod common;
mod database;
mod help;
mod http;
mod kafka;
mod option;
mod program;
mod security;
mod shutdown;
mod source;
mod topic_name;
mod value;
mod values;

pub use self::kafka::{KafkaConfig, strategy_option};
pub use common::{Common, common_options};
pub use database::DatabaseConfig;
pub use http::HttpConfig;
pub use option::{Opt, group};
pub use program::{Command, Invocation, Parsed, Program};
pub use shutdown::ShutdownConfig;
pub use topic_name::TopicName;
pub use value::{Retention, Secret, Value, parse_duration};
pub use values::{Mistakes, Values};
