//! The shop as a process of its own, with its defaults: only its addresses and its folder are set.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Sub;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::process::{Child, Command};
use tokio::time::sleep;

use super::http;
use crate::client::Failure;

/// How long a start may take.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// Killed, and its folder removed, when dropped.
#[derive(Debug)]
pub struct Shop {
    child: Child,
    folder: PathBuf,
    pub producer: SocketAddr,
    notifier: SocketAddr,
}

/// How far the shop is, by its own metrics.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// The longest `order_view_lag_seconds` of a topic.
    pub view_lag: Duration,
    /// `order_view_lag_records` of all topics.
    pub view_records: u64,
    /// Notifications stored since the start.
    pub notified: u64,
}

/// Bytes on the disk by kind of file.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Disk {
    /// Segments of the broker's topics.
    pub log: i64,
    /// The databases of the order view and of the notifications, without their WAL.
    pub view: i64,
    pub notifications: i64,
    /// SQLite's write-ahead logs, which grow to a size and stay there.
    pub wal: i64,
    pub other: i64,
}

impl Disk {
    pub fn sum(&self) -> i64 {
        self.log + self.view + self.notifications + self.wal + self.other
    }
}

impl Sub for Disk {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            log: self.log - earlier.log,
            view: self.view - earlier.view,
            notifications: self.notifications - earlier.notifications,
            wal: self.wal - earlier.wal,
            other: self.other - earlier.other,
        }
    }
}

impl Shop {
    /// Starts it in a fresh folder under the system's temporary one, and waits until it is ready.
    pub async fn start(program: &Path) -> Result<Self, Failure> {
        let program = fs::canonicalize(program).map_err(|error| {
            format!(
                "{}: {error}; build it or name it by --program",
                program.display()
            )
        })?;
        let name = format!("bench-shop-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let [broker, producer, consumer, notifier] = free_addresses()?;
        let output = File::create(folder.join("output"))?;
        // Neither this environment nor an env file of this folder changes a default.
        let child = Command::new(program)
            .current_dir(&folder)
            .env_clear()
            .env("BROKER_ADDR", broker.to_string())
            .env("PRODUCER_HTTP_ADDR", producer.to_string())
            .env("CONSUMER_HTTP_ADDR", consumer.to_string())
            .env("NOTIFIER_HTTP_ADDR", notifier.to_string())
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .kill_on_drop(true)
            .spawn()?;
        let mut shop = Self {
            child,
            folder,
            producer,
            notifier,
        };
        let began = Instant::now();
        while let Err(problem) = shop.ready(&[producer, consumer, notifier]).await {
            if let Some(status) = shop.child.try_wait()? {
                let output = fs::read_to_string(shop.folder.join("output"))?;
                return Err(format!("the shop ended with {status}:\n{output}").into());
            }
            if began.elapsed() > START_PATIENCE {
                let waited = START_PATIENCE.as_secs();
                return Err(format!("the shop is not ready after {waited} s: {problem}").into());
            }
            sleep(Duration::from_millis(50)).await;
        }
        Ok(shop)
    }

    /// # Errors
    /// What is missing.
    async fn ready(&self, services: &[SocketAddr]) -> Result<(), Failure> {
        for service in services {
            match http::get(*service, "/readyz?strict").await? {
                (200, _) => {}
                (status, body) => return Err(format!("/readyz is {status}: {body}").into()),
            }
        }
        self.progress().await.map(|_| ())
    }

    pub async fn progress(&self) -> Result<Progress, Failure> {
        let (_, producer) = http::get(self.producer, "/metrics").await?;
        let (_, notifier) = http::get(self.notifier, "/metrics").await?;
        progress_of(&producer, &notifier)
    }

    /// User and system time of all its threads, to a tick of the kernel (10 ms as a rule).
    pub fn cpu(&self) -> Result<Duration, Failure> {
        let id = self.child.id().ok_or("the shop has ended")?;
        let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
        let ticks = cpu_ticks(&stat).ok_or("/proc/PID/stat without utime and stime")?;
        let a_second = rustix::param::clock_ticks_per_second();
        Ok(Duration::from_secs_f64(ticks as f64 / a_second as f64))
    }

    pub fn disk(&self) -> Result<Disk, Failure> {
        let mut disk = Disk::default();
        add_files(&self.folder.join("data"), &mut disk)?;
        Ok(disk)
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        let _ = self.child.start_kill();
        // Until it has ended it may still create files.
        while let Ok(None) = self.child.try_wait() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Free while it is asked; all are held at once, so that they differ.
fn free_addresses<const N: usize>() -> Result<[SocketAddr; N], Failure> {
    let listeners: Result<Vec<_>, _> = (0..N)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect();
    let mut addresses = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)); N];
    for (address, listener) in addresses.iter_mut().zip(&listeners?) {
        *address = listener.local_addr()?;
    }
    Ok(addresses)
}

/// The values of a metric, whatever its labels, of those that have this text among theirs.
fn values<'a>(metrics: &'a str, name: &'a str, label: &'a str) -> impl Iterator<Item = f64> + 'a {
    metrics.lines().filter_map(move |line| {
        let labels = line.strip_prefix(name)?.strip_prefix('{')?;
        let (labels, value) = labels.rsplit_once("} ")?;
        labels.contains(label).then(|| value.parse().ok())?
    })
}

fn progress_of(producer: &str, notifier: &str) -> Result<Progress, Failure> {
    let lag = values(producer, "order_view_lag_seconds", "").reduce(f64::max);
    let lag = lag.ok_or("producer-svc does not tell order_view_lag_seconds")?;
    let records: f64 = values(producer, "order_view_lag_records", "").sum();
    let notified = values(notifier, "notifications_total", r#"outcome="stored""#).next();
    Ok(Progress {
        view_lag: Duration::from_secs_f64(lag),
        view_records: records as u64,
        notified: notified.ok_or("notifier-svc does not tell notifications_total")? as u64,
    })
}

/// utime and stime are the 14th and 15th fields; the second, the name in parentheses, may have spaces.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11);
    let (user, system) = (fields.next()?, fields.next()?);
    Some(user.parse::<u64>().ok()? + system.parse::<u64>().ok()?)
}

fn add_files(folder: &Path, disk: &mut Disk) -> Result<(), Failure> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        // A file may go meanwhile: segments and SQLite's files do.
        let Ok(about) = entry.metadata() else {
            continue;
        };
        if about.is_dir() {
            add_files(&entry.path(), disk)?;
        } else {
            *kind(&name.to_string_lossy(), disk) += i64::try_from(about.len())?;
        }
    }
    Ok(())
}

fn kind<'a>(name: &str, disk: &'a mut Disk) -> &'a mut i64 {
    match name {
        "producer-svc.db" => &mut disk.view,
        "notifier-svc.db" => &mut disk.notifications,
        _ if name.ends_with(".log") => &mut disk.log,
        _ if name.ends_with("-wal") => &mut disk.wal,
        _ => &mut disk.other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_view_is_as_far_behind_as_its_latest_topic() {
        let producer = "# TYPE order_view_lag_seconds gauge\n\
            order_view_lag_seconds{topic=\"order_topic\"} 0.25\n\
            order_view_lag_seconds{topic=\"order_status_topic\"} 0.5\n\
            order_view_lag_records{topic=\"order_topic\"} 3\n\
            order_view_lag_records{topic=\"order_status_topic\"} 4\n";
        let notifier = "notifications_total{outcome=\"invalid\"} 9\n\
            notifications_total{outcome=\"stored\"} 12\n";
        let expected = Progress {
            view_lag: Duration::from_millis(500),
            view_records: 7,
            notified: 12,
        };
        assert_eq!(
            progress_of(producer, notifier).expect("all there"),
            expected
        );
        assert!(progress_of("", notifier).is_err() && progress_of(producer, "").is_err());
    }

    #[test]
    fn cpu_is_read_behind_a_name_with_a_parenthesis() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 1 0 0 0 150 50 0 0 20 0";
        assert_eq!(cpu_ticks(stat), Some(200));
        assert_eq!(cpu_ticks("7 (a) S"), None);
    }

    #[test]
    fn files_are_told_by_their_names() {
        let mut disk = Disk::default();
        for name in [
            "00000000000000000000.log",
            "producer-svc.db",
            "notifier-svc.db-wal",
            "lock",
        ] {
            *kind(name, &mut disk) += 1;
        }
        let (log, view, wal, other) = (1, 1, 1, 1);
        let expected = Disk {
            log,
            view,
            wal,
            other,
            notifications: 0,
        };
        assert_eq!(disk, expected);
    }
}
