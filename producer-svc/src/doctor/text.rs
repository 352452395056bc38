use std::fmt;

use super::report::{Report, State};

/// Widest name of a stage.
const NAME: usize = 14;

/// For people at a terminal.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "Cart of user {}, asked at {}",
            self.user_id, self.asked_at
        )?;
        for stage in &self.stages {
            let state = match stage.state {
                State::Ok => "ok     ",
                State::Failed => "FAILED ",
                State::Unknown => "unknown",
            };
            writeln!(f, "  {state}  {:NAME$}  {}", stage.name, stage.question)?;
            writeln!(f, "{:29}{}", "", stage.seen)?;
            if let Some(advice) = &stage.advice {
                writeln!(f, "{:29}to do: {advice}", "")?;
            }
        }
        writeln!(f, "{}", self.summary)?;
        match &self.advice {
            Some(advice) => writeln!(f, "To do: {advice}."),
            None => Ok(()),
        }
    }
}
