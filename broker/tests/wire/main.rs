//! The broker over real sockets: frame by frame, and through rskafka.

mod common;
mod faults;
mod foreign_clients;
mod groups;
mod produce_and_fetch;
mod refusals;
mod restart;
mod robustness;
mod through_rskafka;
mod times;
mod topics;
mod versions;
