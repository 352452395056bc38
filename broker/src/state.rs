//! Everything the parts of a broker share.

use std::sync::Arc;

use crate::config::Config;
use crate::disk::Disk;
use crate::faults::Faults;
use crate::groups::Coordinator;
use crate::topics::{Identity, Topics};

pub(crate) struct State {
    pub(crate) config: Config,
    pub(crate) disk: Arc<Disk>,
    pub(crate) identity: Identity,
    pub(crate) topics: Topics,
    pub(crate) groups: Coordinator,
    pub(crate) faults: Faults,
}

impl State {
    pub(crate) fn new(
        config: Config,
        disk: Arc<Disk>,
        (topics, identity): (Topics, Identity),
        groups: Coordinator,
    ) -> Arc<Self> {
        Arc::new(Self {
            faults: Faults::new(disk.clone()),
            config,
            disk,
            identity,
            topics,
            groups,
        })
    }
}

#[cfg(any(test, fuzzing))]
impl State {
    /// That of a broker on an empty folder, with every setting at its default and nobody who listens.
    pub(crate) fn in_folder(
        folder: &std::path::Path,
        stop: &tokio_util::sync::CancellationToken,
    ) -> Arc<Self> {
        let config = Config::new(folder);
        let disk = Arc::new(Disk::default());
        let (topics, identity) = Topics::open(&config, disk.clone()).expect("an empty folder");
        let (groups, _) =
            Coordinator::start(&config, disk.clone(), stop.clone()).expect("an empty folder");
        Self::new(config, disk, (topics, identity), groups)
    }
}
