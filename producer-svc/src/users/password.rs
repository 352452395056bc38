use std::num::NonZero;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use argon2::Argon2;
use argon2::password_hash::PasswordHasher;
use tokio::sync::Semaphore;

/// Registrations that may wait for their turn, for each that is being hashed: some seconds of work.
const WAITING: usize = 64;

/// Hashes passwords with Argon2id, a bounded number at a time. Clones share the bound.
///
/// Parameters are the crate's: 19 MiB, two passes, one lane, which is what OWASP's Password Storage
/// Cheat Sheet asks for at least. A hash takes its 19 MiB while it runs.
#[derive(Debug, Clone)]
pub(crate) struct Passwords {
    at_a_time: Arc<Semaphore>,
    /// Places in the queue, those of the running ones among them.
    places: Arc<Semaphore>,
}

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

    /// The PHC string of `password` with a salt of its own. Dropped, it gives up its place in the
    /// queue; a hash that runs ends first.
    ///
    /// # Errors
    /// [`HashError::Busy`] where the queue is full, or its turn does not come within `patience`.
    pub(crate) async fn hash(
        &self,
        password: String,
        patience: Duration,
    ) -> Result<String, HashError> {
        let place = self.places.clone().try_acquire_owned();
        let place = place.map_err(|_| HashError::Busy)?;
        let turn = self.at_a_time.clone().acquire_owned();
        let Ok(Ok(turn)) = tokio::time::timeout(patience, turn).await else {
            return Err(HashError::Busy);
        };
        let hashing = tokio::task::spawn_blocking(move || {
            let hash = Argon2::default().hash_password(password.as_bytes());
            // Held until the work is done, even if nobody waits for it any more.
            drop((turn, place));
            hash.map(|hash| hash.to_string())
        });
        match hashing.await {
            Ok(hash) => hash.map_err(|error| HashError::Failed(error.to_string())),
            Err(error) => Err(HashError::Failed(error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use argon2::password_hash::PasswordVerifier;
    use argon2::password_hash::phc::PasswordHash;

    use super::*;

    const SOON: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_hash_is_argon2id_with_a_salt_of_its_own() {
        let passwords = Passwords::new(1);
        let first = passwords.hash("пароль".into(), SOON).await.unwrap();
        let second = passwords.hash("пароль".into(), SOON).await.unwrap();
        assert!(
            first.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{first}"
        );
        assert_ne!(first, second);
        let parsed = PasswordHash::new(&first).unwrap();
        let verified = |password: &str| {
            Argon2::default()
                .verify_password(password.as_bytes(), &parsed)
                .is_ok()
        };
        assert!(verified("пароль") && !verified("пароли"));
    }

    #[tokio::test]
    async fn a_flood_is_refused_and_leaves_no_place_taken() {
        let passwords = Passwords::new(1);
        let turn = passwords.at_a_time.clone().acquire_owned().await.unwrap();
        let waiting: Vec<_> = (0..=WAITING)
            .map(|_| {
                let passwords = passwords.clone();
                tokio::spawn(async move { passwords.hash("123456".into(), SOON).await })
            })
            .collect();
        testkit::eventually(SOON, || async {
            (passwords.places.available_permits() == 0).then_some(())
        })
        .await;
        let refused = passwords.hash("123456".into(), SOON).await;
        assert!(matches!(refused, Err(HashError::Busy)), "{refused:?}");
        for task in waiting {
            task.abort();
            let _ = task.await;
        }
        // Who waits in vain is told so, too.
        let late = passwords
            .hash("123456".into(), Duration::from_millis(1))
            .await;
        assert!(matches!(late, Err(HashError::Busy)), "{late:?}");
        drop(turn);
        passwords.hash("123456".into(), SOON).await.unwrap();
        assert_eq!(passwords.places.available_permits(), 1 + WAITING);
    }
}
