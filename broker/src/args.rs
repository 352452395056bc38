//! The program's flags.

use std::collections::HashMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::time::Duration;

use broker::{Advertised, Config, Fsync};

pub(crate) const HELP: &str = "\
broker: a single-node, persistent Kafka-protocol broker for development and tests

Usage: broker [OPTIONS]

      --listen <ADDRESS:PORT>        address to listen on [default: 127.0.0.1:9092]
      --advertised <HOST:PORT>       address clients are told [default: the one they connected to]
      --data-dir <FOLDER>            where everything is stored [default: ./data/broker]
      --default-partitions <NUMBER>  partitions of a topic created without a number [default: 1]
      --auto-create-topics <BOOL>    create a topic when a client asks about it [default: true]
      --retention-hours <HOURS>      delete segments older than this; -1 never [default: 168]
      --retention-bytes <BYTES>      delete old segments of a partition larger than this; -1 never
                                     [default: -1]
      --segment-bytes <BYTES>        size at which a segment is closed [default: 67108864]
      --max-connections <NUMBER>     clients at a time, and at most half of the files that the
                                     process may open [default: 4096]
      --connections-max-idle-ms <MS> a connection on which nothing is asked for this long is closed
                                     [default: 600000]
      --max-partitions <NUMBER>      partitions of all topics together; more are not created
                                     [default: 4000]
      --fsync <never|always|MS>      when bytes are forced to the device: as the operating system
                                     likes, before every acknowledgement, or every so many
                                     milliseconds [default: never]
      --min-session-timeout-ms <MS>  shortest session timeout of a group member [default: 6000]
      --group-initial-rebalance-delay-ms <MS>
                                     how long an empty group waits for more members [default: 0]
  -h, --help                         this text

Nothing is encrypted and everybody is let in: listen on loopback or in a network you trust.
";

#[derive(Debug)]
pub(crate) enum Asked {
    Run(Box<Config>),
    Help,
}

/// Reads the flags; every mistake is reported.
pub(crate) fn parse(args: impl Iterator<Item = OsString>) -> Result<Asked, Vec<String>> {
    let mut mistakes = Vec::new();
    let mut flags: HashMap<String, String> = HashMap::new();
    let mut args = args.map(|arg| arg.to_string_lossy().into_owned());
    while let Some(arg) = args.next() {
        if arg == "-h" || arg == "--help" {
            return Ok(Asked::Help);
        }
        let Some(flag) = arg.strip_prefix("--") else {
            mistakes.push(format!("unexpected argument {arg:?}"));
            continue;
        };
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (flag.to_owned(), args.next()),
        };
        match value {
            Some(value) => {
                flags.insert(name, value);
            }
            None => mistakes.push(format!("--{name} needs a value")),
        }
    }
    let mut config = Config::new("./data/broker");
    config.listen = SocketAddr::from(([127, 0, 0, 1], 9092));
    let mut reader = Reader { flags, mistakes };
    reader.set("listen", "ADDRESS:PORT", |text| {
        config.listen = text.parse().ok()?;
        Some(())
    });
    reader.set("advertised", "HOST:PORT", |text| {
        let (host, port) = text.rsplit_once(':')?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        config.advertised = (!host.is_empty()).then_some(Advertised {
            host: host.to_owned(),
            port: port.parse().ok()?,
        });
        config.advertised.is_some().then_some(())
    });
    reader.set("data-dir", "a folder", |text| {
        config.data_dir = text.into();
        (!text.is_empty()).then_some(())
    });
    reader.set("default-partitions", "a number of at least 1", |text| {
        config.default_partitions = text.parse().ok().filter(|count| *count >= 1)?;
        Some(())
    });
    reader.set("auto-create-topics", "true or false", |text| {
        config.auto_create_topics = text.parse().ok()?;
        Some(())
    });
    reader.set("retention-hours", "a number of hours or -1", |text| {
        config.retention = limit(text)?.map(|hours| Duration::from_secs(hours * 60 * 60));
        Some(())
    });
    reader.set("retention-bytes", "a number of bytes or -1", |text| {
        config.retention_bytes = limit(text)?;
        Some(())
    });
    reader.set("segment-bytes", "a number of bytes", |text| {
        config.segment_bytes = text.parse().ok()?;
        Some(())
    });
    reader.set("max-connections", "a number", |text| {
        config.max_connections = text.parse().ok()?;
        Some(())
    });
    reader.set(
        "connections-max-idle-ms",
        "a number of milliseconds",
        |text| {
            config.connections_max_idle = Duration::from_millis(text.parse().ok()?);
            Some(())
        },
    );
    reader.set("max-partitions", "a number", |text| {
        config.max_partitions = text.parse().ok()?;
        Some(())
    });
    reader.set(
        "fsync",
        "never, always or a number of milliseconds",
        |text| {
            config.fsync = match text {
                "never" => Fsync::Never,
                "always" => Fsync::Always,
                millis => Fsync::Interval(Duration::from_millis(millis.parse().ok()?)),
            };
            Some(())
        },
    );
    reader.set(
        "min-session-timeout-ms",
        "a number of milliseconds",
        |text| {
            config.group.min_session_timeout = Duration::from_millis(text.parse().ok()?);
            Some(())
        },
    );
    reader.set(
        "group-initial-rebalance-delay-ms",
        "a number of milliseconds",
        |text| {
            config.group.initial_rebalance_delay = Duration::from_millis(text.parse().ok()?);
            Some(())
        },
    );
    let mut mistakes = reader.mistakes;
    mistakes.extend(
        reader
            .flags
            .keys()
            .map(|name| format!("unknown option --{name}")),
    );
    if mistakes.is_empty() {
        Ok(Asked::Run(Box::new(config)))
    } else {
        mistakes.sort();
        Err(mistakes)
    }
}

/// A limit that -1 lifts.
fn limit(text: &str) -> Option<Option<u64>> {
    match text {
        "-1" => Some(None),
        number => number.parse().ok().map(Some),
    }
}

struct Reader {
    flags: HashMap<String, String>,
    mistakes: Vec<String>,
}

impl Reader {
    /// Hands a flag's value to `take`, which answers `None` when it is not what was `expected`.
    fn set(&mut self, name: &str, expected: &str, take: impl FnOnce(&str) -> Option<()>) {
        if let Some(value) = self.flags.remove(name)
            && take(&value).is_none()
        {
            self.mistakes
                .push(format!("--{name} must be {expected}, not {value:?}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &[&str]) -> Result<Asked, Vec<String>> {
        parse(args.iter().map(OsString::from))
    }

    fn config(args: &[&str]) -> Config {
        match read(args) {
            Ok(Asked::Run(config)) => *config,
            other => panic!("expected a configuration, got {other:?}"),
        }
    }

    #[test]
    fn flags_are_read_in_both_spellings() {
        let config = config(&[
            "--listen=0.0.0.0:19092",
            "--advertised",
            "kafka.local:9092",
            "--retention-hours",
            "-1",
            "--retention-bytes=1000000",
            "--fsync=250",
        ]);
        assert_eq!(config.listen.port(), 19092);
        let advertised = config.advertised.unwrap();
        assert_eq!(
            (advertised.host.as_str(), advertised.port),
            ("kafka.local", 9092)
        );
        assert_eq!(config.retention, None);
        assert_eq!(config.retention_bytes, Some(1_000_000));
        assert_eq!(config.fsync, Fsync::Interval(Duration::from_millis(250)));
    }

    #[test]
    fn every_mistake_is_named() {
        let mistakes = read(&["--listen=nowhere", "--fsync=sometimes", "--colour=red", "x"])
            .unwrap_err()
            .join("\n");
        for name in ["--listen", "--fsync", "--colour", "\"x\""] {
            assert!(mistakes.contains(name), "{mistakes}");
        }
    }

    #[test]
    fn every_flag_is_in_the_help() {
        for line in HELP.lines().filter(|line| line.trim().starts_with("--")) {
            let flag = line.trim().split(' ').next().unwrap();
            let mistakes = read(&[flag, "\u{0}"]).map_or_else(|mistakes| mistakes, |_| Vec::new());
            assert!(
                !mistakes.iter().any(|mistake| mistake.contains("unknown")),
                "{flag} is in the help only"
            );
        }
    }
}
