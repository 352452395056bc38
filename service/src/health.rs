//! Whether a service can do its duties: what `/readyz` says.

use std::sync::Arc;

use parking_lot::RwLock;
use serde::Serialize;

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
    vital: bool,
    problem: Option<String>,
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
    /// Without these the first duty is impossible.
    pub missing: Vec<Missing>,
    /// Without these the service does less.
    pub degraded: Vec<Missing>,
}

/// One thing that is not there.
#[derive(Debug, Serialize)]
pub struct Missing {
    pub name: String,
    pub problem: String,
}

impl Health {
    pub fn new() -> Self {
        Self::default()
    }

    /// Something the service's first duty needs; missing until reported [`HealthPart::up`].
    pub fn vital(&self, name: &str) -> HealthPart {
        self.part(name, true)
    }

    /// Something the service can do without for a while; degraded until reported up.
    pub fn optional(&self, name: &str) -> HealthPart {
        self.part(name, false)
    }

    /// From now on not ready, whatever else is reported.
    pub fn shut_down(&self) {
        self.state.write().shutting_down = true;
    }

    pub fn report(&self) -> HealthReport {
        let state = self.state.read();
        let list = |vital: bool| -> Vec<Missing> {
            state
                .parts
                .iter()
                .filter(|part| part.vital == vital)
                .filter_map(|part| {
                    Some(Missing {
                        name: part.name.clone(),
                        problem: part.problem.clone()?,
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

    fn part(&self, name: &str, vital: bool) -> HealthPart {
        let mut state = self.state.write();
        state.parts.push(Part {
            name: name.to_owned(),
            vital,
            problem: Some("not reached yet".to_owned()),
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
        self.state.write().parts[self.index]
            .problem
            .take()
            .is_some()
    }

    /// It is missing, for this reason (shown to whoever may read `/readyz`: no secrets). Says
    /// whether that is news: it was there, or missing for another reason.
    pub fn down(&self, problem: impl Into<String>) -> bool {
        let problem = Some(problem.into());
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
    fn only_the_first_duty_and_leaving_make_it_unready() {
        let health = Health::new();
        let kafka = health.vital("kafka");
        let database = health.optional("database");
        assert!(!health.report().ready, "not before Kafka was reached");
        assert!(kafka.up() && !kafka.up());
        assert!(database.down("connection refused"));
        assert!(!database.down("connection refused"));
        let report = health.report();
        assert!(report.ready);
        assert_eq!(report.degraded[0].name, "database");
        kafka.down("no broker answers");
        assert_eq!(health.report().missing[0].problem, "no broker answers");
        kafka.up();
        health.shut_down();
        assert!(!health.report().ready);
    }
}
