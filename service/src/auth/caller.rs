use crate::http::{Problem, StatusCode};

/// Who has made a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// The switch is off: whoever it is.
    Anyone,
    /// An operator, or another service of the shop: every user's data.
    Operator,
    /// This user, as the token names them.
    User(String),
}

impl Caller {
    /// The user whose data alone this caller touches; `None` for everybody's.
    pub fn user(&self) -> Option<&str> {
        match self {
            Self::Anyone | Self::Operator => None,
            Self::User(user) => Some(user),
        }
    }

    /// Whether this caller may touch what is this user's; what has no user is no user's.
    ///
    /// # Errors
    /// 403.
    pub fn may_touch(&self, owner: Option<&str>) -> Result<(), Problem> {
        match self.user() {
            Some(user) if owner != Some(user) => Err(Problem::new(
                StatusCode::FORBIDDEN,
                "this is another user's: the token names who may read and change it",
            )),
            _ => Ok(()),
        }
    }

    /// The user on whose behalf something is asked that may name one: a user that the token names acts
    /// for themselves, named or not.
    ///
    /// # Errors
    /// 403: another user is named.
    pub fn acting_for<'a>(&'a self, named: Option<&'a str>) -> Result<Option<&'a str>, Problem> {
        if named.is_some() {
            self.may_touch(named)?;
        }
        Ok(named.or(self.user()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_touches_their_own_alone() {
        let ann = Caller::User("ann".into());
        assert!(ann.may_touch(Some("ann")).is_ok());
        for other in [Some("bob"), Some("Ann"), Some(""), None] {
            let refused = ann.may_touch(other).unwrap_err();
            assert_eq!(refused.status(), StatusCode::FORBIDDEN);
        }
        assert_eq!(ann.acting_for(None).unwrap(), Some("ann"));
        assert_eq!(ann.acting_for(Some("ann")).unwrap(), Some("ann"));
        assert!(ann.acting_for(Some("bob")).is_err());
        for all in [Caller::Anyone, Caller::Operator] {
            assert!(all.may_touch(Some("bob")).is_ok() && all.may_touch(None).is_ok());
            assert_eq!(all.acting_for(Some("bob")).unwrap(), Some("bob"));
            assert_eq!(all.acting_for(None).unwrap(), None);
        }
    }
}
