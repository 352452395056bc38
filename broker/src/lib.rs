#![doc = include_str!("../README.md")]

mod api;
mod broker;
mod clock;
mod config;
mod connection;
mod disk;
mod faults;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod groups;
mod housekeeping;
mod journal;
mod listener;
mod log;
mod owner_only;
mod partition;
mod records;
mod state;
mod topics;

pub use broker::{Broker, StartError};
pub use config::{Advertised, Config, Fsync, GroupConfig};
pub use disk::DiskFault;
pub use faults::{CoordinatorMove, Fault, FaultBuilder, Faults};
pub use kafka_protocol::error::ResponseError;
pub use kafka_protocol::messages::ApiKey;
