//! Topics and groups of one shop's own.

use testkit::unique;

use crate::history::Group;

/// The names that a shop's services are told.
#[derive(Debug, Clone)]
pub struct Names {
    pub orders: String,
    pub snake_orders: String,
    pub statuses: String,
    pub notifications: String,
    pub processing: String,
    pub view: String,
    pub notification: String,
}

impl Names {
    /// Names that no other shop has.
    pub fn unique() -> Self {
        Self {
            orders: unique("order_topic"),
            snake_orders: unique("orders"),
            statuses: unique("order_status_topic"),
            notifications: unique("notifications"),
            processing: unique("order-processing"),
            view: unique("order-view"),
            notification: unique("notification-group"),
        }
    }

    /// Every topic there may be, those of dead letters too.
    pub fn topics(&self) -> Vec<String> {
        let topics = [
            &self.orders,
            &self.snake_orders,
            &self.statuses,
            &self.notifications,
        ];
        let letters = topics
            .iter()
            .map(|topic| format!("{topic}{}", proto::topics::DEAD_LETTER_SUFFIX));
        let letters: Vec<_> = letters.collect();
        topics.into_iter().cloned().chain(letters).collect()
    }

    /// A group's name.
    pub fn group(&self, group: Group) -> &str {
        match group {
            Group::Processing => &self.processing,
            Group::View => &self.view,
            Group::Notification => &self.notification,
        }
    }

    /// All groups with their names.
    pub fn groups(&self) -> Vec<(Group, String)> {
        [Group::Processing, Group::View, Group::Notification]
            .map(|group| (group, self.group(group).to_owned()))
            .into()
    }
}
