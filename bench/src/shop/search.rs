//! Which rates are tried: doubled until one is not sustained, then halves of what lies between.

/// The highest sustained and the lowest rate not sustained may differ by this part of the former.
const PRECISION: u64 = 20;

/// Below this the search gives up, in orders a second.
const LOWEST: u64 = 50;

#[derive(Debug)]
pub struct Search {
    first: u64,
    sustained: u64,
    missed: Option<u64>,
}

impl Search {
    pub fn from(first: u64) -> Self {
        Self {
            first,
            sustained: 0,
            missed: None,
        }
    }

    /// The highest rate that was sustained; 0: none yet.
    pub fn sustained(&self) -> u64 {
        self.sustained
    }

    /// The next to try; `None`: the highest is found.
    pub fn rate(&self) -> Option<u64> {
        let Some(missed) = self.missed else {
            return Some((self.sustained * 2).max(self.first));
        };
        let is_close = (missed - self.sustained) * PRECISION <= self.sustained;
        (!is_close && missed > LOWEST).then_some(self.sustained.midpoint(missed))
    }

    pub fn judge(&mut self, rate: u64, is_sustained: bool) {
        match is_sustained {
            true => self.sustained = rate,
            false => self.missed = Some(rate),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rate that is found where everything up to `limit` is sustained, and the rates tried.
    fn found(limit: u64) -> (u64, Vec<u64>) {
        let (mut search, mut tried) = (Search::from(1_000), Vec::new());
        while let Some(rate) = search.rate() {
            tried.push(rate);
            search.judge(rate, rate <= limit);
        }
        (search.sustained(), tried)
    }

    #[test]
    fn the_limit_is_found_to_a_twentieth() {
        let (rate, tried) = found(3_700);
        assert_eq!(tried, [1_000, 2_000, 4_000, 3_000, 3_500, 3_750, 3_625]);
        assert_eq!(rate, 3_625);
        for limit in [60, 700, 999, 1_000, 19_999, 54_321] {
            let (rate, tried) = found(limit);
            assert!(
                rate <= limit && limit - rate <= rate / PRECISION + 1,
                "{limit}: {rate}"
            );
            assert!(tried.len() < 20, "{limit}: {tried:?}");
        }
    }

    #[test]
    fn nothing_sustained_ends_at_the_lowest_rate() {
        let (rate, tried) = found(0);
        assert_eq!(rate, 0);
        assert!(tried.len() < 10, "{tried:?}");
    }
}
