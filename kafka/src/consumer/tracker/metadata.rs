//! What a commit's metadata says: which offsets beyond the commit are done, run-length coded.
//!
//! Form: `k1;` runs [`;e` leader epoch] [`;g` generation]. Runs are lengths from the committed offset on, alternately
//! of offsets not done (the first may be 0: what follows was done before, and is passed next) and done, each in digits
//! of five bits, lowest first, with 32 added to all but a number's last digit; the digits are `A-Z a-z 0-9 - _`. So a
//! run shorter than 32 takes one character. Anything else is somebody else's metadata and means nothing here.

use std::ops::Range;

/// Kafka's default `offset.metadata.max.bytes`: longer metadata is refused.
pub(crate) const MAX_BYTES: usize = 4096;

/// Room kept for the epoch and the generation, which are appended.
const SUFFIX_BYTES: usize = ";e2147483647;g2147483647".len();

const PREFIX: &str = "k1;";

/// The furthest offset beyond a commit that is believed, so that no metadata can ask for much memory (one bit an
/// offset). `max_ahead` is far below.
const MAX_SPAN: i64 = 1 << 24;

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Metadata as read back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CommitMetadata {
    /// What is done, relative to the committed offset; ascending, not touching.
    pub(crate) runs: Vec<Range<i64>>,
    /// The leader epoch that none of what is done is later than; `None` = not known.
    pub(crate) epoch: Option<i32>,
    /// The generation in which the group's first commit of this partition was made, while that generation lasts.
    pub(crate) new_in: Option<i32>,
}

impl CommitMetadata {
    /// `None` if it is empty or not ours.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix(PREFIX)?;
        let (digits, suffixes) = rest.split_once(';').unwrap_or((rest, ""));
        let (mut epoch, mut new_in) = (None, None);
        for suffix in suffixes.split_terminator(';') {
            match suffix.split_at_checked(1)? {
                ("e", number) => epoch = Some(number.parse().ok()?),
                ("g", number) => new_in = Some(number.parse().ok()?),
                _ => return None,
            }
        }
        let mut runs = Vec::new();
        let (mut at, mut done) = (0_i64, false);
        let (mut run, mut shift) = (0_i64, 0);
        for digit in digits.bytes() {
            let value = value_of(digit)?;
            if shift > 25 {
                return Some(Self {
                    runs,
                    epoch,
                    new_in,
                });
            }
            run |= (value & 31) << shift;
            if value >= 32 {
                shift += 5;
                continue;
            }
            if run == 0 && (done || at > 0) {
                return None;
            }
            let end = at + run;
            if end > MAX_SPAN {
                // Believed as far as it goes: the rest is handled again.
                return Some(Self {
                    runs,
                    epoch,
                    new_in,
                });
            }
            if done {
                runs.push(at..end);
            }
            (at, done, run, shift) = (end, !done, 0, 0);
        }
        (shift == 0).then_some(Self {
            runs,
            epoch,
            new_in,
        })
    }
}

/// Writes runs (not done, done, …) as far as they fit; empty if nothing is done.
pub(crate) fn encode(runs: impl Iterator<Item = u64>) -> String {
    let mut text = String::new();
    // Up to here the text ends with a run of done offsets.
    let mut complete = 0;
    for (index, run) in runs.enumerate() {
        if text.is_empty() {
            text.push_str(PREFIX);
        }
        let mut rest = run;
        while rest >= 32 {
            text.push(digit(rest & 31 | 32));
            rest >>= 5;
        }
        text.push(digit(rest));
        if text.len() > MAX_BYTES - SUFFIX_BYTES {
            break;
        }
        if index % 2 == 1 {
            complete = text.len();
        }
    }
    text.truncate(complete);
    text
}

/// Appends the leader epoch of the latest record that `metadata` can be about (-1 = not known).
pub(crate) fn with_epoch(mut metadata: String, epoch: i32) -> String {
    if !metadata.is_empty() && epoch >= 0 {
        metadata.push_str(&format!(";e{epoch}"));
    }
    metadata
}

/// Appends the generation in which a partition's first commit was made.
pub(crate) fn with_generation(metadata: &str, generation: i32) -> String {
    let metadata = if metadata.is_empty() {
        PREFIX
    } else {
        metadata
    };
    format!("{metadata};g{generation}")
}

fn digit(value: u64) -> char {
    char::from(DIGITS[value as usize])
}

fn value_of(digit: u8) -> Option<i64> {
    Some(i64::from(match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'-' => 62,
        b'_' => 63,
        _ => return None,
    }))
}
