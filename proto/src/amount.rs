//! Amounts of money as other systems write them, in minor units.

use std::str::FromStr;

/// The unit in which a writer's amounts are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Amounts {
    /// Kopecks, cents: the contract's. An amount with a fraction is refused.
    #[default]
    Minor,
    /// Roubles, dollars, with as many decimals as ISO 4217 gives the currency.
    Major,
}

impl FromStr for Amounts {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "minor" => Ok(Self::Minor),
            "major" => Ok(Self::Major),
            _ => Err("must be minor or major"),
        }
    }
}

/// Of an integer of major units.
pub(crate) fn of_integer(major: u64, digits: u32) -> Option<i64> {
    i64::try_from(major).ok()?.checked_mul(10_i64.pow(digits))
}

/// Of a number of major units. A sum that floating point has made a little more or less than what was meant
/// (`0.1 + 0.2`) is taken for that; a part of a minor unit is refused.
pub(crate) fn of_number(major: f64, digits: u32) -> Option<i64> {
    let minor = major * 10_f64.powi(digits.cast_signed());
    let whole = minor.round();
    // A millionth of a minor unit, and where the number is so large that it has no such precision, two steps of it.
    let tolerance = (minor.abs() * f64::EPSILON * 2.0).max(1e-6);
    let is_whole = (minor - whole).abs() <= tolerance;
    (is_whole && (0.0..9e18).contains(&whole)).then_some(whole as i64)
}

/// Of a decimal of major units: `999`, `999.9`, `999.90`.
pub(crate) fn of_text(major: &str, digits: u32) -> Option<i64> {
    let (whole, fraction) = match major.split_once('.') {
        Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
        Some(_) => return None,
        None => (major, ""),
    };
    let is_number = |text: &str| text.bytes().all(|digit| digit.is_ascii_digit());
    if whole.is_empty() || !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let fraction = fraction.trim_end_matches('0');
    let missing = digits.checked_sub(u32::try_from(fraction.len()).ok()?)?;
    let part = match fraction {
        "" => 0,
        fraction => fraction.parse::<i64>().ok()? * 10_i64.pow(missing),
    };
    of_integer(whole.parse().ok()?, digits)?.checked_add(part)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn major_units_become_minor_ones() {
        for (major, digits, minor) in [
            ("0", 2, Some(0)),
            ("999", 2, Some(99_900)),
            ("999.9", 2, Some(99_990)),
            ("999.90", 2, Some(99_990)),
            ("999.99", 2, Some(99_999)),
            ("1.990000", 2, Some(199)),
            ("500", 0, Some(500)),
            ("500.00", 0, Some(500)),
            ("1.234", 3, Some(1_234)),
            ("90071992547409.91", 2, Some(9_007_199_254_740_991)),
            ("1.005", 2, None),
            ("1.5", 0, None),
            ("-1", 2, None),
            ("1e3", 2, None),
            ("+1", 2, None),
            ("", 2, None),
            (".5", 2, None),
            ("1.", 2, None),
            ("1.2.3", 2, None),
            ("99999999999999999999", 2, None),
        ] {
            assert_eq!(of_text(major, digits), minor, "{major}");
            if minor.is_some() {
                let number: f64 = major.parse().unwrap();
                assert_eq!(of_number(number, digits), minor, "{major} as a number");
            }
        }
        assert_eq!(of_number(0.1 + 0.2, 2), Some(30));
        for wrong in [1.005, -0.01, 1e18, f64::MAX] {
            assert_eq!(of_number(wrong, 2), None, "{wrong}");
        }
        assert_eq!(of_integer(u64::MAX, 2), None);
    }

    proptest! {
        #[test]
        fn numbers_and_texts_agree(minor in 0..=crate::MAX_AMOUNT, digits in 0..=4u32) {
            let unit = 10_i64.pow(digits);
            let width = digits as usize;
            let text = match digits {
                0 => minor.to_string(),
                _ => format!("{}.{:0width$}", minor / unit, minor % unit),
            };
            prop_assert_eq!(of_text(&text, digits), Some(minor));
            // Beyond it floating point does not tell a decimal from its neighbour.
            if minor < 1 << 50 {
                prop_assert_eq!(of_number(text.parse().unwrap(), digits), Some(minor));
            }
        }
    }
}
