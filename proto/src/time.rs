//! Times as RFC 3339 text, in UTC with milliseconds, formatted on the stack.

use std::time::{SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Utc};

const LENGTH: usize = "2026-01-02T03:04:05.678Z".len();
const MILLIS_A_DAY: i64 = 86_400_000;
/// 0000-01-01T00:00:00.000Z and 9999-12-31T23:59:59.999Z: RFC 3339 has four digits for a year.
const RANGE: std::ops::RangeInclusive<i64> = -62_167_219_200_000..=253_402_300_799_999;

/// A time as 24 characters, such as `2026-01-02T03:04:05.678Z`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Rfc3339([u8; LENGTH]);

impl Rfc3339 {
    /// The present.
    pub fn now() -> Self {
        Self::from_millis(now_millis())
    }

    /// Milliseconds since 1970 (a Kafka timestamp); beyond the years 0 to 9999 the nearest of them.
    pub fn from_millis(millis: i64) -> Self {
        let millis = millis.clamp(*RANGE.start(), *RANGE.end());
        let (days, of_day) = (
            millis.div_euclid(MILLIS_A_DAY),
            millis.rem_euclid(MILLIS_A_DAY),
        );
        // Civil date from a day count, years beginning in March so that the leap day is the last
        // (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days).
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let of_era = shifted.rem_euclid(146_097);
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 {
            shifted_month + 3
        } else {
            shifted_month - 9
        };
        let year = year_of_era + era * 400 + i64::from(month <= 2);

        let seconds = of_day / 1000;
        let mut text = *b"0000-00-00T00:00:00.000Z";
        digits(&mut text[0..4], year);
        digits(&mut text[5..7], month);
        digits(&mut text[8..10], day);
        digits(&mut text[11..13], seconds / 3600);
        digits(&mut text[14..16], seconds / 60 % 60);
        digits(&mut text[17..19], seconds % 60);
        digits(&mut text[20..23], of_day % 1000);
        Self(text)
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn as_str(&self) -> &str {
        // Digits and punctuation are UTF-8.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl From<DateTime<Utc>> for Rfc3339 {
    fn from(time: DateTime<Utc>) -> Self {
        Self::from_millis(time.timestamp_millis())
    }
}

impl std::ops::Deref for Rfc3339 {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl std::fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self)
    }
}

impl std::fmt::Debug for Rfc3339 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self)
    }
}

fn digits(out: &mut [u8], mut value: i64) {
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// The present in milliseconds since 1970.
pub fn now_millis() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn by_chrono(millis: i64) -> String {
        DateTime::<Utc>::from_timestamp_millis(millis)
            .unwrap()
            .format("%Y-%m-%dT%H:%M:%S%.3fZ")
            .to_string()
    }

    proptest! {
        #[test]
        fn is_what_chrono_formats(millis in RANGE) {
            let text = Rfc3339::from_millis(millis);
            prop_assert_eq!(text.as_str(), by_chrono(millis));
        }
    }

    #[test]
    fn leap_days_and_borders() {
        for millis in [
            0,
            -1,
            951_782_400_000,   // 2000-02-29
            1_709_251_199_999, // 2024-02-29, its last millisecond
            4_107_542_400_000, // 2100-03-01
            *RANGE.start(),
            *RANGE.end(),
        ] {
            assert_eq!(Rfc3339::from_millis(millis).as_str(), by_chrono(millis));
        }
        assert_eq!(
            Rfc3339::from_millis(i64::MAX).as_str(),
            "9999-12-31T23:59:59.999Z"
        );
        assert_eq!(
            Rfc3339::from_millis(i64::MIN).as_str(),
            "0000-01-01T00:00:00.000Z"
        );
    }
}
