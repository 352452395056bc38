use std::fmt;

/// The average of ratings from 1 to 5 in hundredths, rounded half up: 4.335 is 4.34. As JSON a number of at most two
/// decimals, without zeros at its end: `4`, `4.5`, `4.34`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Average(u16);

impl Average {
    /// None without ratings.
    pub fn of(sum: i64, ratings: i64) -> Option<Self> {
        if ratings <= 0 {
            return None;
        }
        let (sum, ratings) = (i128::from(sum), i128::from(ratings));
        let hundredths = (sum * 200 + ratings).div_euclid(ratings * 2);
        Some(Self(hundredths.clamp(100, 500) as u16))
    }

    /// Hundredths, 100 to 500.
    pub fn hundredths(self) -> u16 {
        self.0
    }

    /// The average that has so many hundredths; none beyond 100 to 500.
    pub fn from_hundredths(hundredths: i64) -> Option<Self> {
        (100..=500)
            .contains(&hundredths)
            .then_some(Self(hundredths as u16))
    }

    /// The nearest average of two decimals.
    pub(crate) fn from_number(number: f64) -> Option<Self> {
        (1.0..=5.0)
            .contains(&number)
            .then(|| Self((number * 100.0).round() as u16))
    }
}

impl fmt::Display for Average {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 100, self.0 % 100);
        match rest {
            0 => write!(f, "{whole}"),
            rest if rest % 10 == 0 => write!(f, "{whole}.{}", rest / 10),
            rest => write!(f, "{whole}.{rest:02}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_half_up_and_is_written_in_short() {
        for (sum, ratings, text) in [
            (4, 1, "4"),
            (9, 2, "4.5"),
            (13, 3, "4.33"),
            (14, 3, "4.67"),
            (867, 200, "4.34"),
            (101, 100, "1.01"),
            (i64::MAX, i64::MAX / 5 + 1, "5"),
        ] {
            let average = Average::of(sum, ratings).unwrap();
            assert_eq!(average.to_string(), text);
            assert_eq!(Average::from_number(text.parse().unwrap()), Some(average));
        }
        assert_eq!(Average::of(0, 0), None);
    }
}
