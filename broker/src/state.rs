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
