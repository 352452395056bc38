use service::auth::{Caller, Gate};
use service::http::header::AUTHORIZATION;
use service::http::{Problem, Request};

use crate::admin::Guard;

/// Who asks about orders: a user, by token, or an operator, by the login of the admin page, which shows
/// every order.
#[derive(Clone)]
pub(crate) struct Callers {
    gate: Gate,
    guard: Guard,
}

impl Callers {
    pub(crate) fn new(gate: &Gate, guard: &Guard) -> Self {
        Self {
            gate: gate.clone(),
            guard: guard.clone(),
        }
    }

    /// # Errors
    /// 401 without a valid token or login, where one is wanted; and the guard's.
    pub(crate) fn of(&self, request: &Request) -> Result<Caller, Problem> {
        let scheme = request
            .header(AUTHORIZATION)
            .and_then(|given| given.split(' ').next());
        let logs_in = scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("basic"));
        if self.gate.is_on() && logs_in {
            self.guard.check(request)?;
            return Ok(Caller::Operator);
        }
        self.gate.caller(request)
    }
}
