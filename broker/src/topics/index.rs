//! The topics that there are, by name and by id.

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

use super::Topic;

/// Invariant: both maps hold the same topics.
#[derive(Default)]
pub(super) struct Index {
    by_name: HashMap<String, Arc<Topic>>,
    by_id: HashMap<Uuid, Arc<Topic>>,
}

impl Index {
    pub(super) fn by_name(&self, name: &str) -> Option<&Arc<Topic>> {
        self.by_name.get(name)
    }

    pub(super) fn by_id(&self, id: Uuid) -> Option<&Arc<Topic>> {
        self.by_id.get(&id)
    }

    pub(super) fn all(&self) -> impl ExactSizeIterator<Item = &Arc<Topic>> {
        self.by_name.values()
    }

    /// Takes the place of what there was with this id, which had this name, too.
    pub(super) fn insert(&mut self, topic: Arc<Topic>) {
        self.by_name.insert(topic.name.to_string(), topic.clone());
        self.by_id.insert(topic.id, topic);
    }

    pub(super) fn remove(&mut self, topic: &Topic) {
        self.by_name.remove(topic.name.as_str());
        self.by_id.remove(&topic.id);
    }
}
