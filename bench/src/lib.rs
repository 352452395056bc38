//! The project's own benchmarks. `src/bin/client.rs` measures the Kafka client alone beside bare
//! rskafka, case by case, each in a process of its own; `src/bin/shop.rs` measures the whole shop in
//! one process; `shop/` and `compare` put the services beside other order systems; `users` and
//! `books` measure registrations and book events, the former beside `src/bin/hashes.rs`.
//! `docs/bench.md` says how to run them and how to read the figures.
//!
//! Look first at [`client`], the cases; [`measure`] is the clock and [`table`] the report. [`shop`]
//! has its own.

pub mod client;
pub mod measure;
pub mod shop;
pub mod table;
