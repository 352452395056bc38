//! Whether an instance should get work: what `/readyz` says.
//!
//! An instance is not ready before it has reached what it requires once, while it shuts down, and
//! where its configuration is refused for good. A dependency that is lost later takes no instance
//! out of service: all instances would lose it together, and clients would see no endpoint where
//! they are promised a 503 with `Retry-After`. It is listed as degraded.

use std::sync::Arc;

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

/// Registry of what a service needs. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Health {
    state: Arc<RwLock<State>>,
}

#[derive(Debug, Default)]
struct State {
    shutting_down: bool,
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    name: String,
    /// Not ready before it was up once.
    required: bool,
    /// It was up once.
    reached: bool,
    problem: Option<Problem>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Problem {
    /// It may come back by itself.
    Away(String),
    /// This instance's configuration has to change.
    Refused(String),
}

impl Problem {
    fn text(&self) -> &str {
        match self {
            Self::Away(text) | Self::Refused(text) => text,
        }
    }
}

impl Part {
    /// Whether an instance with this problem should get no work.
    fn is_missing(&self) -> bool {
        match &self.problem {
            None => false,
            Some(Problem::Away(_)) => self.required && !self.reached,
            // Refused after it was let in, it is like any dependency that is lost: a password that
            // was changed on the server must not take all instances out of service at once.
            Some(Problem::Refused(_)) => !self.reached,
        }
    }
}

/// Something a service needs, reported by whoever owns it.
#[derive(Clone, Debug)]
pub struct HealthPart {
    state: Arc<RwLock<State>>,
    index: usize,
}

/// What `/readyz` shows.
#[derive(Debug, Serialize)]
pub struct HealthReport {
    pub ready: bool,
    #[serde(rename = "shuttingDown")]
    pub shutting_down: bool,
    /// Not reached yet, or refused: why this instance should get no work.
    pub missing: Vec<Missing>,
    /// Lost or away: what this instance does not do meanwhile.
    pub degraded: Vec<Missing>,
}

/// One thing that is not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    pub name: String,
    pub problem: String,
}

impl Health {
    pub fn new() -> Self {
        Self::default()
    }

    /// Something that has to be reached once before the instance is ready: missing until it is
    /// reported [`HealthPart::up`], and degraded when it is lost afterwards.
    pub fn required(&self, name: &str) -> HealthPart {
        self.part(name, true)
    }

    /// Something the service can do without for a while; degraded until reported up. It makes the
    /// instance not ready only where it is [`HealthPart::refused`] before it was ever up.
    pub fn optional(&self, name: &str) -> HealthPart {
        self.part(name, false)
    }

    /// From now on not ready, whatever else is reported.
    pub fn shut_down(&self) {
        self.state.write().shutting_down = true;
    }

    pub fn report(&self) -> HealthReport {
        let state = self.state.read();
        let list = |missing: bool| -> Vec<Missing> {
            state
                .parts
                .iter()
                .filter(|part| part.is_missing() == missing)
                .filter_map(|part| {
                    Some(Missing {
                        name: part.name.clone(),
                        problem: part.problem.as_ref()?.text().to_owned(),
                    })
                })
                .collect()
        };
        let (missing, degraded) = (list(true), list(false));
        HealthReport {
            ready: !state.shutting_down && missing.is_empty(),
            shutting_down: state.shutting_down,
            missing,
            degraded,
        }
    }

    fn part(&self, name: &str, required: bool) -> HealthPart {
        let mut state = self.state.write();
        state.parts.push(Part {
            name: name.to_owned(),
            required,
            reached: false,
            problem: Some(Problem::Away("not reached yet".to_owned())),
        });
        HealthPart {
            state: self.state.clone(),
            index: state.parts.len() - 1,
        }
    }
}

impl HealthPart {
    /// It is there. Says whether that is news.
    pub fn up(&self) -> bool {
        let part = &mut self.state.write().parts[self.index];
        part.reached = true;
        part.problem.take().is_some()
    }

    /// It is missing, for this reason (shown to whoever may read `/readyz`: no secrets). Says
    /// whether that is news: it was there, or missing for another reason.
    pub fn down(&self, problem: impl Into<String>) -> bool {
        self.trouble(Problem::Away(problem.into()))
    }

    /// It does not let this instance in, and will not until the configuration is changed, for this
    /// reason. Says whether that is news.
    pub fn refused(&self, problem: impl Into<String>) -> bool {
        self.trouble(Problem::Refused(problem.into()))
    }

    fn trouble(&self, problem: Problem) -> bool {
        let problem = Some(problem);
        let part = &mut self.state.write().parts[self.index].problem;
        let news = *part != problem;
        *part = problem;
        news
    }

    /// Whether it was last reported up.
    pub fn is_up(&self) -> bool {
        self.state.read().parts[self.index].problem.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_reached_once_and_is_lost_leaves_it_ready() {
        let health = Health::new();
        let kafka = health.required("kafka");
        let database = health.optional("database");
        kafka.down("no broker answers");
        let report = health.report();
        assert!(!report.ready, "not before Kafka was reached");
        assert_eq!(report.missing[0].problem, "no broker answers");
        assert!(kafka.up() && !kafka.up());
        assert!(database.down("connection refused"));
        assert!(!database.down("connection refused"));
        let report = health.report();
        assert!(report.ready);
        assert_eq!(report.degraded[0].name, "database");
        kafka.down("no broker answers");
        let report = health.report();
        assert!(report.ready, "lost later, it is degraded");
        assert_eq!(report.degraded[0].problem, "no broker answers");
        kafka.up();
        health.shut_down();
        assert!(!health.report().ready);
    }

    #[test]
    fn what_refuses_the_configuration_makes_it_unready_until_it_lets_it_in() {
        let health = Health::new();
        let database = health.optional("database");
        assert!(health.report().ready, "merely away at the start");
        assert!(database.refused("password authentication failed"));
        assert!(!database.refused("password authentication failed"));
        let report = health.report();
        assert!(!report.ready);
        assert_eq!(report.missing[0].name, "database");
        database.up();
        assert!(health.report().ready);
        database.refused("password authentication failed");
        let report = health.report();
        assert!(report.ready, "it was let in before");
        assert_eq!(report.degraded[0].name, "database");
    }
}
