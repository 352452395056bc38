//! What a stretch of work cost this process: CPU, wall clock, memory.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Started before the work; [`Meter::stop`] tells what it cost.
#[derive(Debug)]
pub struct Meter {
    cpu: Duration,
    wall: Instant,
}

/// What a stretch of work cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// User and system time of all threads of the process, those that ended included.
    pub cpu: Duration,
    pub wall: Duration,
    /// The most resident memory the process ever had, in bytes.
    pub peak_memory: u64,
}

impl Meter {
    pub fn start() -> Self {
        Self {
            cpu: process_cpu(),
            wall: Instant::now(),
        }
    }

    /// # Errors
    /// When `/proc/self/status` cannot be read or has no peak in it (not Linux).
    pub fn stop(self) -> std::io::Result<Cost> {
        let (cpu, wall) = (process_cpu() - self.cpu, self.wall.elapsed());
        Ok(Cost {
            cpu,
            wall,
            peak_memory: peak_memory()?,
        })
    }
}

/// `CLOCK_PROCESS_CPUTIME_ID`: the same sum as getrusage's, to the nanosecond.
fn process_cpu() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        now.tv_sec.unsigned_abs(),
        u32::try_from(now.tv_nsec).unwrap_or(0),
    )
}

fn peak_memory() -> std::io::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    parse_peak(&status).ok_or_else(|| std::io::Error::other("/proc/self/status has no VmHWM in kB"))
}

fn parse_peak(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// The middle value, or the mean of the two in the middle; NaN of nothing.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => values[odd / 2],
        even => (values[even / 2 - 1] + values[even / 2]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_odd_and_even_counts() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 3.0, 2.0]), 2.5);
        assert!(median(Vec::new()).is_nan());
    }

    #[test]
    fn the_peak_is_read_in_bytes() {
        assert_eq!(
            parse_peak("VmPeak:\t 9 kB\nVmHWM:\t    1024 kB\nVmRSS:\t 5 kB\n"),
            Some(1 << 20)
        );
        assert_eq!(parse_peak("VmRSS:\t 5 kB\n"), None);
    }

    #[test]
    fn work_shows_as_cpu_and_rest_does_not() {
        let meter = Meter::start();
        let mut sum = 0_u64;
        while meter.wall.elapsed() < Duration::from_millis(50) {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        let cost = meter.stop().expect("Linux");
        assert!(cost.cpu > Duration::ZERO && cost.wall >= Duration::from_millis(50));
        assert!(cost.peak_memory > 100_000);
    }
}
