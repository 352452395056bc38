//! A broker's life: start, run, stop.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Fsync};
use crate::disk::Disk;
use crate::faults::Faults;
use crate::groups::Coordinator;
use crate::housekeeping;
use crate::listener::Listener;
use crate::owner_only;
use crate::state::State;
use crate::topics::Topics;

/// How long a start waits for an earlier broker to let go of the data folder.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// Why a broker did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The settings contradict themselves; every mistake is named.
    #[error("bad configuration: {}", .0.join("; "))]
    Config(Vec<String>),
    /// Another broker uses the data folder.
    #[error("data folder {} is in use by another broker", .0.display())]
    Locked(PathBuf),
    /// The data folder cannot be used.
    #[error("data folder {}: {error}", .path.display())]
    Storage {
        /// The folder.
        path: PathBuf,
        /// What went wrong, and with which file where that is known.
        error: io::Error,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What went wrong.
        error: io::Error,
    },
}

/// A running broker. Dropping it stops it as abruptly as [`Broker::kill`], without waiting.
pub struct Broker {
    state: Arc<State>,
    listener: Listener,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    /// Held as long as the files may be written.
    lock: Option<File>,
}

impl Broker {
    /// Opens the data folder, recovers what a crash left, and listens.
    ///
    /// # Errors
    /// See [`StartError`]; nothing is left running after one.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let mistakes = config.mistakes();
        if !mistakes.is_empty() {
            return Err(StartError::Config(mistakes));
        }
        let storage = |error| StartError::Storage {
            path: config.data_dir.clone(),
            error,
        };
        owner_only::create_folder(&config.data_dir).map_err(storage)?;
        let lock = lock(&config).await?;
        let limits = Limits::of(&config, files_limit());
        let disk = Arc::new(Disk::keeping(limits.open_logs));
        let (topics, identity) = {
            let (config, disk) = (config.clone(), disk.clone());
            // Recovery may read gigabytes.
            tokio::task::spawn_blocking(move || {
                owner_only::tighten(&config.data_dir);
                Topics::open(&config, disk)
            })
            .await
            .map_err(|error| storage(io::Error::other(error)))?
            .map_err(storage)?
        };
        let stop = CancellationToken::new();
        let listener = Listener::bind(config.listen, limits.connections).map_err(|error| {
            StartError::Listen {
                address: config.listen,
                error,
            }
        })?;
        let (groups, coordinating) =
            Coordinator::start(&config, disk.clone(), stop.clone()).map_err(storage)?;
        let state = State::new(config, disk, (topics, identity), groups);
        let mut tasks = vec![coordinating];
        tasks.push(tokio::spawn(housekeeping::retention(
            state.clone(),
            stop.clone(),
        )));
        if let Fsync::Interval(interval) = state.config.fsync {
            tasks.push(tokio::spawn(housekeeping::sync(
                state.clone(),
                interval,
                stop.clone(),
            )));
        }
        listener.open(&state).map_err(|error| StartError::Listen {
            address: state.config.listen,
            error,
        })?;
        tracing::info!(address = %listener.addr(), cluster = %state.identity.cluster_id, epoch = state.identity.leader_epoch, "broker listens");
        Ok(Self {
            state,
            listener,
            stop,
            tasks,
            lock: Some(lock),
        })
    }

    /// The address it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.listener.addr()
    }

    /// The cluster's id, kept with the data.
    pub fn cluster_id(&self) -> &str {
        &self.state.identity.cluster_id
    }

    /// Misbehaviour on request.
    pub fn faults(&self) -> &Faults {
        &self.state.faults
    }

    /// Stops listening and drops every connection, as if the machine were gone; state stays, and
    /// nobody else gets the port. Returns when no request is being served any more.
    pub async fn stop_listening(&self) {
        self.listener.close().await;
    }

    /// Listens again on the same address.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub fn resume_listening(&self) -> io::Result<()> {
        self.listener.open(&self.state)
    }

    /// Drops every connection; clients may connect again at once.
    pub fn disconnect_all(&self) {
        self.listener.disconnect_all();
    }

    /// Clients connected now.
    pub fn connections(&self) -> usize {
        self.listener.connections()
    }

    /// Appends bytes that call themselves a record batch, unchecked, and returns the base offset:
    /// `base_offset` or the log's end, whichever is greater. For logs no client could write: a
    /// broken checksum, gaps, control batches.
    ///
    /// # Errors
    /// When there is no such partition, the bytes are too short for a batch's header, or they
    /// cannot be stored.
    pub fn plant(
        &self,
        topic: &str,
        partition: i32,
        base_offset: i64,
        batch: impl Into<bytes::Bytes>,
    ) -> io::Result<i64> {
        let batch = batch.into();
        let header = crate::log::batch::BatchHeader::parse(&batch)
            .filter(|header| header.size == batch.len())
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not one record batch"))?;
        let place = self
            .state
            .topics
            .partition(topic, partition)
            .ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::NotFound,
                    format!("no partition {partition} of topic {topic}"),
                )
            })?;
        let epoch = self.state.topics.leader_epoch();
        let now = crate::clock::now_ms();
        let offset = place
            .log()
            .plant(&batch, &header, base_offset, epoch, now)?;
        place.wake();
        Ok(offset)
    }

    /// Stops in order: no new connections, requests under way are answered or dropped after a
    /// second, everything is forced to the device, and the next start is a quick one.
    pub async fn shutdown(mut self) {
        self.listener.drain(Duration::from_secs(1)).await;
        self.end_tasks().await;
        let state = self.state.clone();
        let written = tokio::task::spawn_blocking(move || housekeeping::close(&state)).await;
        if let Err(error) = written {
            tracing::error!(%error, "closing the data folder failed");
        }
        self.lock = None;
        tracing::info!("broker stopped");
    }

    /// Stops as a killed process would: at once, writing nothing more. Returns when nothing of it
    /// runs, so that the data folder can be opened again.
    pub async fn kill(mut self) {
        self.listener.close().await;
        self.end_tasks().await;
        self.lock = None;
    }

    async fn end_tasks(&mut self) {
        self.stop.cancel();
        for task in self.tasks.drain(..) {
            // A panic in a task was reported when it happened.
            let _ = task.await;
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.stop.cancel();
        self.listener.abandon();
    }
}

/// What the process may open, shared out.
#[derive(Debug, PartialEq, Eq)]
struct Limits {
    connections: usize,
    /// Files of logs that are kept open.
    open_logs: usize,
}

impl Limits {
    /// Of `files` that may be open at a time, half are for connections and a quarter for logs; the rest is
    /// for what is opened for a moment, and for the program that the broker is part of.
    fn of(config: &Config, files: usize) -> Self {
        let connections = config.max_connections.min((files / 2).max(1));
        if connections < config.max_connections {
            tracing::info!(
                connections,
                asked = config.max_connections,
                files,
                "fewer connections than configured: the process may not open more files"
            );
        }
        Self {
            connections,
            open_logs: (files / 4).max(1),
        }
    }
}

/// What a system lets a process open where it does not say: the least in use (macOS).
const FEW_FILES: usize = 256;

/// Files that this process may have open at a time. Linux says it in `/proc`.
fn files_limit() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    read_files_limit(&limits).unwrap_or(FEW_FILES)
}

fn read_files_limit(limits: &str) -> Option<usize> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    let soft = line.split_whitespace().next()?;
    if soft == "unlimited" {
        return Some(usize::MAX);
    }
    soft.parse().ok()
}

/// Takes the data folder for this broker alone.
async fn lock(config: &Config) -> Result<File, StartError> {
    let path = config.data_dir.join("lock");
    let failed = |error| StartError::Storage {
        path: path.clone(),
        error,
    };
    let file = owner_only::options()
        .write(true)
        .create(true)
        .truncate(true)
        .open(&path)
        .map_err(failed)?;
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(std::fs::TryLockError::WouldBlock) if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(std::fs::TryLockError::WouldBlock) => {
                return Err(StartError::Locked(config.data_dir.clone()));
            }
            Err(std::fs::TryLockError::Error(error)) => return Err(failed(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_and_logs_leave_files_to_others() {
        let said = "Limit                     Soft Limit           Hard Limit           Units\n\
                    Max open files            1024                 524288               files\n";
        assert_eq!(read_files_limit(said), Some(1024));
        assert_eq!(
            read_files_limit("Max open files  unlimited"),
            Some(usize::MAX)
        );
        assert_eq!(read_files_limit(""), None);
        let mut config = Config::new("nowhere");
        let limits = |config: &Config, files| Limits::of(config, files);
        let few = Limits {
            connections: 512,
            open_logs: 256,
        };
        assert_eq!(limits(&config, 1024), few);
        assert_eq!(limits(&config, 1 << 20).connections, 4096);
        config.max_connections = 10;
        assert_eq!(limits(&config, 1024).connections, 10);
    }
}
