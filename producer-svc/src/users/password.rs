use std::num::NonZero;
use std::sync::Arc;
use std::thread;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Registrations that may wait for their turn, for each that is being hashed: some seconds of work.
const WAITING: usize = 64;

/// Hashes passwords with Argon2id, a bounded number at a time. Clones share the bound.
///
/// Parameters are the crate's: 19 MiB, two passes, one lane, which is what OWASP's Password Storage
/// Cheat Sheet asks for at least. A hash takes its 19 MiB while it runs.
#[derive(Debug, Clone)]
pub(crate) struct Passwords {
    at_a_time: Arc<Semaphore>,
    /// Places of registrations, whatever they wait for: this bounds their memory.
    places: Arc<Semaphore>,
}

/// A registration's place, from its admission to its answer. Clones are the same place: a hash that
/// runs has it too, even if nobody waits for it any more.
#[derive(Debug, Clone)]
pub(crate) struct Place(#[expect(dead_code, reason = "held")] Arc<OwnedSemaphorePermit>);

/// Why a password was not hashed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HashError {
    #[error("too many passwords wait to be hashed")]
    Busy,
    #[error("the password could not be hashed: {0}")]
    Failed(String),
}

impl Passwords {
    /// 0: half of the processor's cores, at least one.
    pub(crate) fn new(at_a_time: usize) -> Self {
        let at_a_time = match at_a_time {
            0 => thread::available_parallelism()
                .map_or(1, NonZero::get)
                .div_ceil(2),
            number => number,
        };
        Self {
            at_a_time: Arc::new(Semaphore::new(at_a_time)),
            places: Arc::new(Semaphore::new(at_a_time * (1 + WAITING))),
        }
    }

    /// A place for a registration; none while too many are under way.
    pub(crate) fn admit(&self) -> Option<Place> {
        let place = self.places.clone().try_acquire_owned().ok()?;
        Some(Place(Arc::new(place)))
    }

    /// The PHC string of `password` with a salt of its own. Dropped, it gives up its turn; a hash that
    /// runs ends first.
    ///
    /// # Errors
    /// [`HashError::Busy`] where its turn does not come before `deadline`.
    pub(crate) async fn hash(
        &self,
        place: &Place,
        password: String,
        deadline: Instant,
    ) -> Result<String, HashError> {
        let hash = move || {
            let hash = Argon2::default().hash_password(password.as_bytes());
            hash.map(|hash| hash.to_string())
        };
        let hash = self.in_turn(place, deadline, hash).await?;
        hash.map_err(|error| HashError::Failed(error.to_string()))
    }

    /// Whether `password` is the one of a PHC string; costs what hashing costs.
    ///
    /// # Errors
    /// Like [`Passwords::hash`].
    pub(crate) async fn is(
        &self,
        place: &Place,
        password: String,
        hash: String,
        deadline: Instant,
    ) -> Result<bool, HashError> {
        let verify = move || {
            let hash = PasswordHash::new(&hash);
            hash.is_ok_and(|hash| {
                Argon2::default()
                    .verify_password(password.as_bytes(), &hash)
                    .is_ok()
            })
        };
        self.in_turn(place, deadline, verify).await
    }

    /// Does the work on a thread of its own, one of a bounded number.
    async fn in_turn<T: Send + 'static>(
        &self,
        place: &Place,
        deadline: Instant,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, HashError> {
        let turn = self.at_a_time.clone().acquire_owned();
        let Ok(Ok(turn)) = tokio::time::timeout_at(deadline, turn).await else {
            return Err(HashError::Busy);
        };
        let place = place.clone();
        let working = tokio::task::spawn_blocking(move || {
            let done = work();
            drop((turn, place));
            done
        });
        let done = working.await;
        done.map_err(|error| HashError::Failed(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[tokio::test]
    async fn a_hash_is_argon2id_with_a_salt_of_its_own() {
        let passwords = Passwords::new(1);
        let place = passwords.admit().unwrap();
        let hash = async || {
            let hash = passwords.hash(&place, "пароль".into(), soon()).await;
            hash.unwrap()
        };
        let (first, second) = (hash().await, hash().await);
        assert!(
            first.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{first}"
        );
        assert_ne!(first, second);
        let is = async |password: &str| {
            let verified = passwords.is(&place, password.into(), first.clone(), soon());
            verified.await.unwrap()
        };
        assert!(is("пароль").await && !is("пароли").await);
    }

    #[tokio::test]
    async fn a_flood_is_refused_and_leaves_no_place_taken() {
        let passwords = Passwords::new(1);
        let turn = passwords.at_a_time.clone().acquire_owned().await.unwrap();
        let waiting: Vec<_> = (0..=WAITING)
            .map(|_| {
                let place = passwords.admit().unwrap();
                let passwords = passwords.clone();
                tokio::spawn(async move { passwords.hash(&place, "123456".into(), soon()).await })
            })
            .collect();
        assert!(passwords.admit().is_none());
        for task in waiting {
            task.abort();
            let _ = task.await;
        }
        // Who waits in vain is told so, too.
        let place = passwords.admit().unwrap();
        let late = Instant::now() + Duration::from_millis(1);
        let late = passwords.hash(&place, "123456".into(), late).await;
        assert!(matches!(late, Err(HashError::Busy)), "{late:?}");
        drop(turn);
        passwords
            .hash(&place, "123456".into(), soon())
            .await
            .unwrap();
        drop(place);
        assert_eq!(passwords.places.available_permits(), 1 + WAITING);
    }
}
