use std::num::NonZero;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::password_hash::{self, try_generate_salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Registrations that may wait for their turn, for each that is being hashed: some seconds of work.
const WAITING: usize = 64;

/// Hashes passwords with Argon2id, a bounded number at a time. Clones share the bound.
///
/// Parameters are the crate's: 19 MiB, two passes, one lane, which is what OWASP's Password Storage
/// Cheat Sheet asks for at least. The memory of a hash is kept for those after it: allocated for each, aligned as it
/// must be, it leaves hundreds of MB behind with glibc before 2.38, which does not use such memory again.
#[derive(Debug, Clone)]
pub(crate) struct Passwords {
    at_a_time: Arc<Semaphore>,
    /// Places of registrations, whatever they wait for: this bounds their memory.
    places: Arc<Semaphore>,
    /// Where nobody hashes now; as many at most as hash at a time.
    idle: Arc<Mutex<Vec<Memory>>>,
}

/// What a hash works in.
type Memory = Vec<Block>;

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
            idle: Arc::default(),
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
        let hash = move |memory: &mut Memory| {
            let (params, salt) = (Params::default(), Salt::new(&try_generate_salt()?)?);
            let hash = PasswordHash {
                algorithm: Algorithm::default().ident(),
                version: Some(Version::default().into()),
                params: ParamsString::try_from(&params)?,
                salt: Some(salt),
                hash: Some(output(params, &salt, &password, memory)?),
            };
            Ok::<_, password_hash::Error>(hash.to_string())
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
        let verify = move |memory: &mut Memory| {
            let hash = PasswordHash::new(&hash)?;
            let salt = hash.salt.ok_or(password_hash::Error::PasswordInvalid)?;
            let found = output(Params::try_from(&hash)?, &salt, &password, memory)?;
            // Takes as long wherever they differ.
            Ok::<_, password_hash::Error>(hash.hash == Some(found))
        };
        let same = self.in_turn(place, deadline, verify).await?;
        Ok(same.unwrap_or(false))
    }

    /// Does the work on a thread of its own, one of a bounded number.
    async fn in_turn<T: Send + 'static>(
        &self,
        place: &Place,
        deadline: Instant,
        work: impl FnOnce(&mut Memory) -> T + Send + 'static,
    ) -> Result<T, HashError> {
        let turn = self.at_a_time.clone().acquire_owned();
        let Ok(Ok(turn)) = tokio::time::timeout_at(deadline, turn).await else {
            return Err(HashError::Busy);
        };
        let (place, idle) = (place.clone(), self.idle.clone());
        let working = tokio::task::spawn_blocking(move || {
            let idle = || idle.lock().unwrap_or_else(PoisonError::into_inner);
            let mut memory = idle().pop().unwrap_or_default();
            let done = work(&mut memory);
            idle().push(memory);
            drop((turn, place));
            done
        });
        let done = working.await;
        done.map_err(|error| HashError::Failed(error.to_string()))
    }
}

/// Argon2id of a password.
fn output(
    params: Params,
    salt: &[u8],
    password: &str,
    memory: &mut Memory,
) -> Result<Output, password_hash::Error> {
    memory.resize(params.block_count(), Block::default());
    let mut out = [0; Params::DEFAULT_OUTPUT_LEN];
    Argon2::new(Algorithm::default(), Version::default(), params).hash_password_into_with_memory(
        password.as_bytes(),
        salt,
        &mut out,
        memory,
    )?;
    Output::new(&out).map_err(Into::into)
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
        // All of them in the same memory.
        assert_eq!(passwords.idle.lock().unwrap().len(), 1);
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
