//! The whole shop: the highest rate of orders that one process sustains, with the order view and the
//! notifications never far behind.
//!
//! [`search`] picks the rates, [`step`] offers one of them by [`load`] to the [`program`] and watches
//! it, [`trail`] tells how old what is missing is. [`report`] and [`chart`] show the steps.

pub mod chart;
mod http;
pub mod load;
pub mod program;
pub mod report;
pub mod search;
pub mod step;
pub mod trail;
