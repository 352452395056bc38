//! A processor of the harness in consumer-svc's place, wrong or in trouble as it is told to be.

use std::fs;
use std::path::PathBuf;

use crate::process::Process;
use crate::shop::Shop;

/// Its program.
const PROGRAM: &str = "faulty-processor";

/// What one order does to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// It is tried again and again.
    Retries,
    /// Its handler does not return.
    Stuck,
}

/// A process of it.
pub struct Processor {
    pub process: Process,
    trouble_over: PathBuf,
}

impl Processor {
    /// One with a bug, by its name; `none` for none.
    ///
    /// # Panics
    /// When it does not start.
    pub fn with_bug(shop: &Shop, bug: &str) -> Self {
        Self::start(shop, vec![format!("--bug={bug}")])
    }

    /// One without a bug that is in trouble with an order, until [`Processor::end_trouble`].
    ///
    /// # Panics
    /// When it does not start.
    pub fn with_trouble(shop: &Shop, trouble: Trouble, order: &str) -> Self {
        let trouble = match trouble {
            Trouble::Retries => "retries",
            Trouble::Stuck => "stuck",
        };
        let arguments = vec![
            format!("--trouble={trouble}"),
            format!("--trouble-with={order}"),
        ];
        Self::start(shop, arguments)
    }

    fn start(shop: &Shop, mut arguments: Vec<String>) -> Self {
        let names = &shop.names;
        let trouble_over = shop.folder().join("trouble-over");
        arguments.extend([
            format!("--trouble-over={}", trouble_over.display()),
            format!("--bootstrap={}", shop.stage.bootstrap()),
            format!("--group={}", names.processing),
            format!("--session={}", shop.stage.session().as_secs()),
            format!("--orders={},{}", names.orders, names.snake_orders),
            format!("--statuses={}", names.statuses),
            format!("--notifications={}", names.notifications),
        ]);
        Self {
            process: Process::start(PROGRAM, PROGRAM, shop.folder(), &arguments),
            trouble_over,
        }
    }

    /// The order does no harm any more.
    ///
    /// # Panics
    /// When that cannot be noted.
    pub fn end_trouble(&self) {
        fs::write(&self.trouble_over, "").expect("a file in the shop's folder");
    }
}
