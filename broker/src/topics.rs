//! Which topics exist, with their partitions and settings.

mod index;
mod settings;
mod store;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka_protocol::protocol::StrBytes;
use parking_lot::{Mutex, RwLock};
use uuid::Uuid;

use crate::clock::now_ms;
use crate::config::{Config, Fsync};
use crate::disk::Disk;
use crate::log::{Log, LogOptions};
use crate::partition::Partition;
use index::Index;
pub(crate) use settings::{NO_TIME, SettingError, Times, TopicSettings, list_settings};
use store::{MetaRecord, Store};

/// Partitions of one topic at most: each costs files, and no test or developer needs more.
pub(crate) const MAX_PARTITIONS: i32 = 10_000;

/// A segment is closed at this age at the latest, in milliseconds; Kafka's default of `segment.ms`.
const SEGMENT_AGE_MS: i64 = 7 * 24 * 60 * 60 * 1000;

/// A start that takes longer says so this often.
const TELL: Duration = Duration::from_secs(3);

/// Producer ids taken from the disk at a time; as many as Kafka's `ProducerIdsBlock`.
const PRODUCER_ID_BLOCK: i64 = 1000;

pub(crate) struct Topic {
    pub(crate) name: StrBytes,
    pub(crate) id: Uuid,
    pub(crate) partitions: Vec<Arc<Partition>>,
    pub(crate) settings: TopicSettings,
}

impl Topic {
    pub(crate) fn partition(&self, index: i32) -> Option<&Arc<Partition>> {
        self.partitions.get(usize::try_from(index).ok()?)
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum TopicError {
    #[error("topic {0} exists already")]
    Exists(String),
    #[error("topic {0} does not exist")]
    Unknown(String),
    #[error("{0}")]
    InvalidName(String),
    #[error("{0}")]
    InvalidPartitions(String),
    #[error(
        "{wanted} partitions more would be too many: there are {there}, and {most} may be (max_partitions); delete \
         topics, or start the broker with a higher number"
    )]
    TooManyPartitions {
        wanted: i32,
        there: usize,
        most: usize,
    },
    #[error(transparent)]
    Setting(#[from] SettingError),
    #[error("the topic cannot be stored: {0}")]
    Storage(#[from] io::Error),
}

/// What a start finds out or decides.
pub(crate) struct Identity {
    pub(crate) cluster_id: StrBytes,
    /// Number of this start of the data folder's broker: the leader epoch of every partition, so
    /// that clients notice a restart as they would notice a new leader.
    pub(crate) leader_epoch: i32,
}

pub(crate) struct Topics {
    dir: PathBuf,
    disk: Arc<Disk>,
    defaults: Defaults,
    leader_epoch: i32,
    /// Partitions of all topics together.
    max_partitions: usize,
    index: RwLock<Index>,
    /// Held while topics change, so that disk and memory change together.
    store: Mutex<Store>,
    producer_ids: Mutex<std::ops::Range<i64>>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Defaults {
    pub(crate) log: LogOptions,
    pub(crate) max_message_bytes: usize,
}

impl Defaults {
    fn of(config: &Config) -> Self {
        Self {
            log: LogOptions {
                segment_bytes: config.segment_bytes,
                segment_ms: SEGMENT_AGE_MS,
                retention_ms: config
                    .retention
                    .map(|keep| i64::try_from(keep.as_millis()).unwrap_or(i64::MAX)),
                retention_bytes: config.retention_bytes,
                append_time: false,
                durable: config.fsync == Fsync::Always,
            },
            max_message_bytes: config.max_message_bytes,
        }
    }
}

impl Topics {
    /// Reads the data folder, recovers every partition's log and starts a new leader epoch.
    pub(crate) fn open(config: &Config, disk: Arc<Disk>) -> io::Result<(Self, Identity)> {
        let dir = config.data_dir.join("topics");
        disk.create_dir_all(&dir)?;
        let (store, state) = Store::open(&config.data_dir, disk.clone())?;
        let identity = Identity {
            cluster_id: StrBytes::from_string(state.cluster_id.clone()),
            leader_epoch: state.epoch,
        };
        let topics = Self {
            dir,
            disk,
            defaults: Defaults::of(config),
            leader_epoch: state.epoch,
            max_partitions: config.max_partitions,
            index: RwLock::default(),
            store: Mutex::new(store),
            producer_ids: Mutex::new(state.next_producer_id..state.next_producer_id),
        };
        topics.remove_strays(&state.topics)?;
        let mut index = Index::default();
        let all = state.topics.len();
        let mut told = Instant::now();
        for (name, stored) in state.topics {
            if told.elapsed() >= TELL {
                told = Instant::now();
                tracing::info!(
                    opened = index.all().len(),
                    topics = all,
                    "still starting: the logs of all topics are opened and looked at"
                );
            }
            let settings = TopicSettings::from_stored(stored.settings);
            let topic = topics.load(&name, stored.id, stored.partitions, settings)?;
            index.insert(Arc::new(topic));
        }
        *topics.index.write() = index;
        Ok((topics, identity))
    }

    pub(crate) fn leader_epoch(&self) -> i32 {
        self.leader_epoch
    }

    pub(crate) fn defaults(&self) -> Defaults {
        self.defaults
    }

    pub(crate) fn get(&self, name: &str) -> Option<Arc<Topic>> {
        self.index.read().by_name(name).cloned()
    }

    pub(crate) fn by_id(&self, id: Uuid) -> Option<Arc<Topic>> {
        self.index.read().by_id(id).cloned()
    }

    pub(crate) fn partition(&self, topic: &str, index: i32) -> Option<Arc<Partition>> {
        let topics = self.index.read();
        topics.by_name(topic)?.partition(index).cloned()
    }

    /// Every topic, by name.
    pub(crate) fn all(&self) -> Vec<Arc<Topic>> {
        let mut topics: Vec<_> = self.index.read().all().cloned().collect();
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        topics
    }

    /// Checks a topic that is to be created, without creating it.
    pub(crate) fn check_new(&self, name: &str, partitions: i32) -> Result<(), TopicError> {
        check_name(name)?;
        check_partitions(partitions)?;
        if self.index.read().by_name(name).is_some() {
            return Err(TopicError::Exists(name.to_owned()));
        }
        self.check_room(partitions)
    }

    fn check_room(&self, wanted: i32) -> Result<(), TopicError> {
        let topics = self.index.read();
        let there: usize = topics.all().map(|topic| topic.partitions.len()).sum();
        if there.saturating_add(wanted as usize) > self.max_partitions {
            return Err(TopicError::TooManyPartitions {
                wanted,
                there,
                most: self.max_partitions,
            });
        }
        Ok(())
    }

    pub(crate) fn create(
        &self,
        name: &str,
        partitions: i32,
        settings: TopicSettings,
    ) -> Result<Arc<Topic>, TopicError> {
        let mut store = self.store.lock();
        self.check_new(name, partitions)?;
        let id = Uuid::new_v4();
        for index in 0..partitions {
            // What an earlier topic of this name could not delete must not become this one's.
            remove_dir(&self.partition_dir(name, index))?;
        }
        let topic = Arc::new(self.load(name, id, partitions, settings)?);
        store.append(topic_record(&topic))?;
        self.index.write().insert(topic.clone());
        tracing::info!(topic = name, partitions, "topic created");
        Ok(topic)
    }

    pub(crate) fn delete(&self, name: &str) -> Result<Arc<Topic>, TopicError> {
        let mut store = self.store.lock();
        let topic = self
            .get(name)
            .ok_or_else(|| TopicError::Unknown(name.to_owned()))?;
        store.append(MetaRecord::TopicDeleted {
            name: name.to_owned(),
        })?;
        self.index.write().remove(&topic);
        for partition in &topic.partitions {
            partition.mark_deleted();
            if let Err(error) = remove_dir(&self.partition_dir(name, partition.index)) {
                // The next start tries again: a folder of no topic is a stray.
                tracing::warn!(topic = name, partition = partition.index, %error, "cannot delete the partition's files");
            }
        }
        tracing::info!(topic = name, "topic deleted");
        Ok(topic)
    }

    /// Raises the number of partitions to `total`; only checks if `dry_run`.
    pub(crate) fn add_partitions(
        &self,
        name: &str,
        total: i32,
        dry_run: bool,
    ) -> Result<(), TopicError> {
        let mut store = self.store.lock();
        let topic = self
            .get(name)
            .ok_or_else(|| TopicError::Unknown(name.to_owned()))?;
        check_partitions(total)?;
        let current = topic.partitions.len() as i32;
        if total <= current {
            return Err(TopicError::InvalidPartitions(format!(
                "topic {name} has {current} partitions, and only more are possible, not {total}"
            )));
        }
        self.check_room(total - current)?;
        if dry_run {
            return Ok(());
        }
        let mut partitions = topic.partitions.clone();
        for index in current..total {
            remove_dir(&self.partition_dir(name, index))?;
            partitions.push(Arc::new(self.open_partition(
                name,
                index,
                &topic.settings,
            )?));
        }
        self.swap(
            &mut store,
            Topic {
                name: topic.name.clone(),
                id: topic.id,
                partitions,
                settings: topic.settings.clone(),
            },
        )
    }

    /// Replaces a topic's settings by what `change` makes of them; only checks if `dry_run`.
    pub(crate) fn alter(
        &self,
        name: &str,
        dry_run: bool,
        change: impl FnOnce(&mut TopicSettings) -> Result<(), SettingError>,
    ) -> Result<(), TopicError> {
        let mut store = self.store.lock();
        let topic = self
            .get(name)
            .ok_or_else(|| TopicError::Unknown(name.to_owned()))?;
        let mut settings = topic.settings.clone();
        change(&mut settings)?;
        if dry_run {
            return Ok(());
        }
        let options = settings.log_options(&self.defaults);
        let partitions = topic.partitions.clone();
        self.swap(
            &mut store,
            Topic {
                name: topic.name.clone(),
                id: topic.id,
                partitions: topic.partitions.clone(),
                settings,
            },
        )?;
        for partition in partitions {
            partition.log().set_options(options);
        }
        Ok(())
    }

    fn swap(&self, store: &mut Store, topic: Topic) -> Result<(), TopicError> {
        store.append(topic_record(&topic))?;
        self.index.write().insert(Arc::new(topic));
        Ok(())
    }

    /// A producer id that was never given out before on this data folder.
    pub(crate) fn next_producer_id(&self) -> io::Result<i64> {
        let mut ids = self.producer_ids.lock();
        if ids.is_empty() {
            let next = ids.end + PRODUCER_ID_BLOCK;
            self.store.lock().append(MetaRecord::ProducerIds { next })?;
            *ids = ids.end..next;
        }
        Ok(ids.next().unwrap_or_default())
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        self.store.lock().sync()
    }

    fn load(
        &self,
        name: &str,
        id: Uuid,
        partitions: i32,
        settings: TopicSettings,
    ) -> io::Result<Topic> {
        let partitions = (0..partitions)
            .map(|index| self.open_partition(name, index, &settings).map(Arc::new))
            .collect::<io::Result<_>>()?;
        Ok(Topic {
            name: StrBytes::from_string(name.to_owned()),
            id,
            partitions,
            settings,
        })
    }

    fn open_partition(
        &self,
        name: &str,
        index: i32,
        settings: &TopicSettings,
    ) -> io::Result<Partition> {
        let options = settings.log_options(&self.defaults);
        let dir = self.partition_dir(name, index);
        let mut log = Log::open(&dir, self.disk.clone(), options, now_ms())?;
        log.lead(self.leader_epoch);
        Ok(Partition::new(name, index, log))
    }

    fn partition_dir(&self, topic: &str, index: i32) -> PathBuf {
        self.dir.join(format!("{topic}-{index}"))
    }

    /// Deletes partition folders of no topic: a deletion or creation that a crash cut short.
    fn remove_strays(&self, topics: &BTreeMap<String, store::StoredTopic>) -> io::Result<()> {
        for entry in std::fs::read_dir(&self.dir)? {
            let entry = entry?;
            let known = entry.file_name().to_str().is_some_and(|folder| {
                folder.rsplit_once('-').is_some_and(|(topic, index)| {
                    let index: Option<i32> = index.parse().ok();
                    topics
                        .get(topic)
                        .is_some_and(|stored| index.is_some_and(|index| index < stored.partitions))
                })
            });
            if !known {
                tracing::info!(folder = %entry.path().display(), "deleting the files of no topic");
                remove_dir(&entry.path())?;
            }
        }
        Ok(())
    }
}

fn topic_record(topic: &Topic) -> MetaRecord {
    MetaRecord::Topic {
        name: topic.name.to_string(),
        id: topic.id,
        partitions: topic.partitions.len() as i32,
        settings: topic.settings.stored(),
    }
}

fn remove_dir(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Kafka's rules for names (`Topic.validate`); they also make a name safe as a folder's.
pub(crate) fn check_name(name: &str) -> Result<(), TopicError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let problem = if name.is_empty() {
        "a topic's name must not be empty".to_owned()
    } else if name == "." || name == ".." {
        format!("a topic cannot be named {name:?}")
    } else if name.len() > 249 {
        format!(
            "a topic's name has at most 249 characters, this one {}",
            name.len()
        )
    } else if !name.chars().all(allowed) {
        format!(
            "topic name {name:?} has characters other than ASCII letters, digits, '.', '_' and '-'"
        )
    } else {
        return Ok(());
    };
    Err(TopicError::InvalidName(problem))
}

fn check_partitions(partitions: i32) -> Result<(), TopicError> {
    if (1..=MAX_PARTITIONS).contains(&partitions) {
        Ok(())
    } else {
        Err(TopicError::InvalidPartitions(format!(
            "a topic has 1 to {MAX_PARTITIONS} partitions, not {partitions}"
        )))
    }
}
