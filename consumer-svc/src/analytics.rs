//! Statistics of the bookstore: five topics of book events go in, aggregates come out on
//! `analytics.aggregated-stats`.
//!
//! ```text
//!  book.views … book.ratings ─► handler ─► keeper (memory) ── every second, and when partitions go ─► store (database)
//!                                            ▲ claim, start                                              │
//!                    partitions come and go ─┘                    publisher, every interval ◄── totals ──┘
//! ```
//!
//! Invariants:
//! - **An event counts once.** What events change, the ids of the events, and the offset behind them are written in one
//!   transaction ([`store`]), and a partition starts at that offset, not at the group's commit. It starts at the commit
//!   where that is lower, since a rejected record behind it may not have reached the dead letters; what is below the
//!   stored offset is then passed over. Where nothing is stored yet, the offset of its first record is, before that is
//!   taken in: from then on the group's commit may run ahead.
//! - **A topic that was created again is another one.** Of each id that a topic has had one offset is kept, and goes with the
//!   claim; so an instance that does not know the present id yet makes nothing count twice. Before it claims a partition
//!   under another id than the stored one it looks the id up again.
//! - **A member that is none any more writes nothing.** An instance that gets a partition raises the partition's `epoch`,
//!   and every write asks for its epoch. A write whose answer was lost is known by its number and not made twice. Whoever
//!   finds that a later epoch is there drops what it has in memory and joins the group anew.
//! - **A repeat changes nothing.** Ids are kept for `ANALYTICS_DEDUP_WINDOW`, for all partitions of a kind of event.
//! - **Memory is what came within the last second**, 20,000 events at most. The totals are the database's: a line for
//!   each (topic, partition, book), and for purchases currency. A start reads a row for each partition, whatever the
//!   history.
//! - **Ratings**: a row for each user of a book. Of a user's ratings the one that was written last counts, which within
//!   a partition is the later one; what it changes is added to the line of its partition.
//! - **What is published is stored**, and so of all instances: the owner of partition 0 of the views adds up all lines.
//!   `generatedAt` grows from round to round, whoever publishes, and figures with a later one were read later. An owner
//!   that has lost that partition without knowing it publishes nothing once another has claimed it; what it had in the
//!   producer's hands by then has an earlier `generatedAt` than all that the other one says.
//! - **What is not published stays marked**: each line counts its changes and knows which of them was published.

mod config;
mod fact;
mod handler;
mod keeper;
mod metrics;
mod publisher;
mod schema;
mod start;
mod store;
mod tally;
#[cfg(test)]
mod tests;
mod totals;

pub use config::AnalyticsConfig;
pub(crate) use config::{STRATEGY, TOPICS, TYPE_IDS, options};
pub(crate) use schema::{EARLIER_TOPICS, LEADER_EPOCHS, TABLES, TOPIC_IDS};
pub(crate) use start::{Analytics, Parts};
pub(crate) use store::DEDUP_RETENTION;
