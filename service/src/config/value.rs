use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// Text of an option turned into a value; the error says what is expected, without the text.
pub trait Value: Sized {
    fn parse(text: &str) -> Result<Self, String>;
}

/// Something that must not be printed: `Debug` shows a placeholder.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

impl Value for Secret {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(Self::new(text))
    }
}

impl Value for String {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }
}

impl Value for kafka::Compression {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse()
            .map_err(|_| "must be none, gzip, snappy, lz4 or zstd".to_owned())
    }
}

impl Value for kafka::AutoOffsetReset {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "earliest" => Ok(Self::Earliest),
            "latest" => Ok(Self::Latest),
            "none" => Ok(Self::None),
            _ => Err("must be earliest, latest or none".to_owned()),
        }
    }
}

impl Value for kafka::Assignor {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse()
            .map_err(|_| "must name range, roundrobin or cooperative-sticky".to_owned())
    }
}

impl Value for proto::Amounts {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(str::to_owned)
    }
}

impl Value for bool {
    fn parse(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err("must be true or false".to_owned()),
        }
    }
}

macro_rules! integers {
    ($($type:ty),*) => {$(
        impl Value for $type {
            fn parse(text: &str) -> Result<Self, String> {
                text.parse().map_err(|_| {
                    format!("must be a whole number from {} to {}", <$type>::MIN, <$type>::MAX)
                })
            }
        }
    )*};
}
integers!(u16, u32, u64, usize, i16, i32, i64);

impl Value for Duration {
    fn parse(text: &str) -> Result<Self, String> {
        parse_duration(text)
    }
}

/// How long something is kept; `None`: until somebody deletes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention(pub Option<Duration>);

/// A duration, or `unlimited`.
impl Value for Retention {
    fn parse(text: &str) -> Result<Self, String> {
        if text.trim().eq_ignore_ascii_case("unlimited") {
            return Ok(Self(None));
        }
        let retention =
            parse_duration(text).map_err(|expected| format!("{expected}, or unlimited"))?;
        Ok(Self(Some(retention)))
    }
}

impl Value for SocketAddr {
    fn parse(text: &str) -> Result<Self, String> {
        // `localhost` may resolve to several addresses; a listener is bound to one.
        let text = match text.strip_prefix("localhost:") {
            Some(port) => format!("127.0.0.1:{port}"),
            None => text.to_owned(),
        };
        text.parse().map_err(|_| {
            "must be an IP address and a port, such as 127.0.0.1:8080 or [::1]:8080".to_owned()
        })
    }
}

/// Comma-separated; blanks around items and empty items are ignored.
impl<T: Value> Value for Vec<T> {
    fn parse(text: &str) -> Result<Self, String> {
        text.split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .map(T::parse)
            .collect()
    }
}

/// `500ms`, `5s`, `1m`, `1.5h`, `30d`; a bare number is refused, since nobody can tell its unit,
/// except `0`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    const EXPECTED: &str = "must be a duration such as 500ms, 5s, 1m, 2h or 7d";
    let text = text.trim();
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .ok_or(EXPECTED)?;
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().map_err(|_| EXPECTED)?;
    let seconds = match unit.trim() {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        _ => return Err(EXPECTED.to_owned()),
    };
    // Whole milliseconds: 0.1 s is 100 ms, not 99.999… ms.
    let millis = (number * seconds * 1_000.0).round();
    // A century is far past any sensible setting and far below any overflow of `Instant`.
    if millis > 3_155_760_000_000.0 {
        return Err("must be at most 36525d".to_owned());
    }
    Ok(Duration::from_millis(millis as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        let parsed = |text| parse_duration(text).unwrap();
        assert_eq!(parsed("500ms"), Duration::from_millis(500));
        assert_eq!(parsed("5s"), Duration::from_secs(5));
        assert_eq!(parsed("0.1s"), Duration::from_millis(100));
        assert_eq!(parsed("1m"), Duration::from_secs(60));
        assert_eq!(parsed("1.5h"), Duration::from_secs(5_400));
        assert_eq!(parsed("7d"), Duration::from_secs(604_800));
        assert_eq!(parsed("0"), Duration::ZERO);
        for wrong in [
            "5",
            "s",
            "-1s",
            "5 parsecs",
            "",
            "1e9d",
            "99999999d",
            "1.2.3s",
        ] {
            assert!(parse_duration(wrong).is_err(), "{wrong:?} was taken");
        }
    }

    #[test]
    fn a_retention_may_be_unlimited() {
        assert_eq!(Retention::parse(" Unlimited"), Ok(Retention(None)));
        let ninety_days = Duration::from_secs(90 * 86_400);
        assert_eq!(Retention::parse("90d"), Ok(Retention(Some(ninety_days))));
        assert!(
            Retention::parse("-1")
                .unwrap_err()
                .ends_with("or unlimited")
        );
    }

    #[test]
    fn addresses_are_one_listener_each() {
        let list = Vec::<SocketAddr>::parse("127.0.0.1:8080, localhost:8001,[::1]:5000,").unwrap();
        let text: Vec<String> = list.iter().map(ToString::to_string).collect();
        assert_eq!(text, ["127.0.0.1:8080", "127.0.0.1:8001", "[::1]:5000"]);
        assert!(SocketAddr::parse(":8080").is_err());
        assert!(SocketAddr::parse("shop.example:8080").is_err());
    }

    #[test]
    fn secrets_do_not_print() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "(hidden)");
    }
}
