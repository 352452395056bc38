//! How many files and sockets the process may have open.

/// Raises the soft limit to the hard one: a shell's usual 1,024 are a tenth of what
/// `HTTP_MAX_CONNECTIONS` allows. Changes nothing where the system does not let it.
pub fn raise() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let limits = getrlimit(Resource::Nofile);
        let raised = Rlimit {
            current: limits.maximum,
            ..limits
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::debug!(
                "the limit of open files stays at {:?}: {error}",
                limits.current
            );
        }
    }
}

/// The limit as it is now; `None` where there is none.
pub fn limit() -> Option<usize> {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit};
        let current = getrlimit(Resource::Nofile).current?;
        Some(usize::try_from(current).unwrap_or(usize::MAX))
    }
    #[cfg(not(unix))]
    None
}
