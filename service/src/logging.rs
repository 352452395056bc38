//! Log lines on standard output: `text` for people, `json` in Elastic Common Schema; and to Kafka as
//! well, where a topic is named.

mod ecs;
mod fields;
mod shipping;

use std::io::IsTerminal;

use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;

use crate::config::Value;
pub use ecs::EcsRecord;
pub use shipping::{register_shipping, shipped};

/// The name of events that stay on standard output: what they say lies in a database already.
pub const LOCAL: &str = "local";

/// `LOG_FORMAT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

impl Value for LogFormat {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("must be text or json".to_owned()),
        }
    }
}

/// `LOG_LEVEL`: a level, or levels by module.
#[derive(Clone, Debug)]
pub struct LogFilter(Targets);

impl Value for LogFilter {
    fn parse(text: &str) -> Result<Self, String> {
        // `Targets` takes any word as a module to trace, so a misspelt level must be caught here.
        let known = |level: &str| {
            ["off", "error", "warn", "info", "debug", "trace"]
                .iter()
                .any(|l| l.eq_ignore_ascii_case(level))
        };
        let good = text.split(',').all(|part| match part.split_once('=') {
            Some((module, level)) => !module.trim().is_empty() && known(level.trim()),
            None => known(part.trim()),
        });
        let expected =
            "must be error, warn, info, debug or trace, or a list such as info,kafka=debug";
        if !good {
            return Err(expected.to_owned());
        }
        let blankless: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        blankless.parse().map(Self).map_err(|_| expected.to_owned())
    }
}

/// Sends everything that is traced to standard output, and with `ship` to [`shipped`]. A second
/// call has no effect: services of one process share it.
pub fn init(service: &'static str, format: LogFormat, filter: &LogFilter, ship: bool) {
    let filter = &filter.0;
    let shipping = ship.then(|| shipping::ShippingLayer::new(service).with_filter(filter.clone()));
    let registry = tracing_subscriber::registry().with(shipping);
    // An error means that logging is set up already.
    let _ = match format {
        LogFormat::Text => {
            let layer = tracing_subscriber::fmt::layer()
                .with_ansi(std::io::stdout().is_terminal())
                .with_filter(filter.clone());
            tracing::subscriber::set_global_default(registry.with(layer))
        }
        LogFormat::Json => {
            let layer = ecs::EcsLayer::new(std::io::stdout, service).with_filter(filter.clone());
            tracing::subscriber::set_global_default(registry.with(layer))
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_levels_are_mistakes() {
        for good in ["info", "WARN", "info,kafka=debug", "info, sql = off"] {
            assert!(LogFilter::parse(good).is_ok(), "{good}");
        }
        for wrong in ["loud", "kafka=loud", "info,=debug", ""] {
            assert!(LogFilter::parse(wrong).is_err(), "{wrong}");
        }
    }
}
