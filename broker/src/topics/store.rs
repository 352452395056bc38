//! Topics and the broker's own numbers on disk: a journal, replayed at start.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::disk::Disk;
use crate::journal::Journal;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum MetaRecord {
    Cluster {
        id: String,
    },
    /// A start of the broker.
    Epoch {
        epoch: i32,
    },
    /// A topic as it is from now on.
    Topic {
        name: String,
        id: Uuid,
        partitions: i32,
        settings: BTreeMap<String, String>,
    },
    TopicDeleted {
        name: String,
    },
    /// Producer ids below this may have been given out.
    ProducerIds {
        next: i64,
    },
}

pub(super) struct StoredTopic {
    pub(super) id: Uuid,
    pub(super) partitions: i32,
    pub(super) settings: BTreeMap<String, String>,
}

#[derive(Default)]
pub(super) struct StoredState {
    pub(super) cluster_id: String,
    pub(super) epoch: i32,
    pub(super) next_producer_id: i64,
    pub(super) topics: BTreeMap<String, StoredTopic>,
}

pub(super) struct Store {
    journal: Journal<MetaRecord>,
}

impl Store {
    /// Replays the journal and starts a new epoch.
    pub(super) fn open(data_dir: &Path, disk: Arc<Disk>) -> io::Result<(Self, StoredState)> {
        let (mut journal, records) = Journal::open(&data_dir.join("meta.journal"), disk)?;
        let mut state = StoredState::default();
        for record in records {
            state.apply(record);
        }
        state.epoch += 1;
        let epoch = MetaRecord::Epoch { epoch: state.epoch };
        if state.cluster_id.is_empty() {
            state.cluster_id = Uuid::new_v4().simple().to_string()[..22].to_owned();
            let id = state.cluster_id.clone();
            journal.append(&[MetaRecord::Cluster { id }, epoch])?;
        } else if journal.overgrown() {
            journal.rewrite(&state.records())?;
        } else {
            journal.append(&[epoch])?;
        }
        Ok((Self { journal }, state))
    }

    pub(super) fn append(&mut self, record: MetaRecord) -> io::Result<()> {
        self.journal.append(&[record])
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.journal.sync()
    }
}

impl StoredState {
    fn apply(&mut self, record: MetaRecord) {
        match record {
            MetaRecord::Cluster { id } => self.cluster_id = id,
            MetaRecord::Epoch { epoch } => self.epoch = epoch,
            MetaRecord::Topic {
                name,
                id,
                partitions,
                settings,
            } => {
                let topic = StoredTopic {
                    id,
                    partitions,
                    settings,
                };
                self.topics.insert(name, topic);
            }
            MetaRecord::TopicDeleted { name } => {
                self.topics.remove(&name);
            }
            MetaRecord::ProducerIds { next } => self.next_producer_id = next,
        }
    }

    fn records(&self) -> Vec<MetaRecord> {
        let mut records = vec![
            MetaRecord::Cluster {
                id: self.cluster_id.clone(),
            },
            MetaRecord::Epoch { epoch: self.epoch },
            MetaRecord::ProducerIds {
                next: self.next_producer_id,
            },
        ];
        records.extend(self.topics.iter().map(|(name, topic)| MetaRecord::Topic {
            name: name.clone(),
            id: topic.id,
            partitions: topic.partitions,
            settings: topic.settings.clone(),
        }));
        records
    }
}
