//! The connections of a process to one database.
//!
//! A connection that is dropped within a transaction, or before it has answered, is rolled back first, and goes back to the
//! pool when that is done; if the server does not answer, the connection is closed. SQLite lets one transaction write at a time, so those of one pool
//! stand in line, each in the order in which it came, rather than try again and again.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};

use crate::connection::{Answer, Connection, Executor, Session, Statement};
use crate::error::Error;
use crate::options::{DatabaseKind, Options};
use crate::postgres;
use crate::transaction::Transaction;

/// How long a caller waits for a connection. A new one takes two or three answers.
pub const ACQUIRE_LIMIT: Duration = Duration::from_secs(10);

/// Longest wait for one answer of the server, as to a ping: a slow one takes seconds. One that hangs never answers, and says
/// nothing either.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// One that answered so recently is not asked whether it still does.
const FRESH: Duration = Duration::from_secs(1);

/// What was not used for so long is closed, when somebody else acquires one.
const IDLE_LIMIT: Duration = Duration::from_secs(600);

/// A connection to PostgreSQL is closed at this age, so that a pool moves on to where its name now leads.
const AGE_LIMIT: Duration = Duration::from_secs(1_800);

/// Pauses between attempts to connect to where nobody listens.
const RETRY: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// Connections that are opened when they are wanted, and used again. Clones share them.
#[derive(Clone)]
pub struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    options: Options,
    size: u32,
    /// One for each connection in use.
    permits: Arc<Semaphore>,
    /// SQLite's one transaction.
    writer: Arc<Semaphore>,
    idle: Mutex<VecDeque<Idle>>,
    closed: AtomicBool,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    opened: Instant,
    since: Instant,
    /// It was SQLite's writer: the next one finds its statements and its pages there.
    wrote: bool,
}

/// A connection that is out of its pool, and goes back when it is dropped.
#[derive(Debug)]
pub struct PooledConnection {
    /// Until it is dropped.
    out: Option<Out>,
    pool: Pool,
}

#[derive(Debug)]
struct Out {
    connection: Connection,
    opened: Instant,
    permits: Permits,
}

#[derive(Debug)]
struct Permits {
    _one: OwnedSemaphorePermit,
    writer: Option<OwnedSemaphorePermit>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("size", &self.shared.size)
            .finish_non_exhaustive()
    }
}

impl Pool {
    /// `size` connections at most, at least one. Opens none yet.
    pub fn new(options: Options, size: u32) -> Self {
        let size = size.max(1);
        Self {
            shared: Arc::new(Shared {
                options,
                size,
                permits: Arc::new(Semaphore::new(size as usize)),
                writer: Arc::new(Semaphore::new(1)),
                idle: Mutex::default(),
                closed: AtomicBool::new(false),
            }),
        }
    }

    pub fn kind(&self) -> DatabaseKind {
        self.shared.options.kind()
    }

    /// A connection, ten seconds at most.
    ///
    /// # Errors
    /// None became free in time ([`Error::PoolTimedOut`]), or none can be opened: where nobody listens, that is tried again
    /// until the time is over.
    pub async fn acquire(&self) -> Result<PooledConnection, Error> {
        self.within_limit(false).await
    }

    /// A transaction that will write. On SQLite it is the only one, whichever process it is of; it waits for its turn.
    ///
    /// # Errors
    /// See [`Pool::acquire`]; or another process kept SQLite's lock.
    pub async fn begin(&self) -> Result<Transaction, Error> {
        let mut connection = self.within_limit(true).await?;
        connection.begin().await?;
        Ok(Transaction::new(connection))
    }

    /// Closes the connections, after what runs on them. Nothing is acquired any more.
    pub async fn close(&self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        // All are back.
        let _all = self.shared.permits.acquire_many(self.shared.size).await;
        self.shared.permits.close();
        let idle = std::mem::take(&mut *self.shared.idle.lock());
        for idle in idle {
            idle.connection.close().await;
        }
    }

    async fn within_limit(&self, writes: bool) -> Result<PooledConnection, Error> {
        // Says more than that the time is over.
        let mut failure = None;
        match timeout(ACQUIRE_LIMIT, self.wait(writes, &mut failure)).await {
            Ok(acquired) => acquired,
            Err(_) => Err(failure.unwrap_or(Error::PoolTimedOut)),
        }
    }

    async fn wait(
        &self,
        writes: bool,
        failure: &mut Option<Error>,
    ) -> Result<PooledConnection, Error> {
        let closed = |_| Error::PoolClosed;
        let shared = &self.shared;
        let writes = writes && self.kind() == DatabaseKind::Sqlite;
        if shared.closed.load(Ordering::SeqCst) {
            return Err(Error::PoolClosed);
        }
        let writer = match writes {
            true => Some(
                shared
                    .writer
                    .clone()
                    .acquire_owned()
                    .await
                    .map_err(closed)?,
            ),
            false => None,
        };
        let one = shared
            .permits
            .clone()
            .acquire_owned()
            .await
            .map_err(closed)?;
        let permits = Permits { _one: one, writer };
        while let Some(idle) = self.next_idle(writes) {
            if answers(&idle).await {
                return Ok(self.out(idle.connection, idle.opened, permits));
            }
        }
        let mut pause = RETRY.0;
        loop {
            match Connection::open(&shared.options).await {
                Ok(connection) => return Ok(self.out(connection, Instant::now(), permits)),
                Err(error) if may_pass(&error) => *failure = Some(error),
                Err(error) => return Err(error),
            }
            sleep(pause).await;
            pause = (pause * 2).min(RETRY.1);
        }
    }

    fn out(&self, connection: Connection, opened: Instant, permits: Permits) -> PooledConnection {
        PooledConnection {
            out: Some(Out {
                connection,
                opened,
                permits,
            }),
            pool: self.clone(),
        }
    }

    /// The one that was used last, of those that are still good.
    fn next_idle(&self, writes: bool) -> Option<Idle> {
        let now = Instant::now();
        let mut idle = self.shared.idle.lock();
        if self.kind() == DatabaseKind::Postgres {
            idle.retain(|idle| now - idle.since < IDLE_LIMIT && now - idle.opened < AGE_LIMIT);
        }
        let fitting = idle.iter().rposition(|idle| idle.wrote == writes);
        match fitting {
            Some(index) => idle.remove(index),
            None => idle.pop_back(),
        }
    }

    fn put(&self, connection: Connection, opened: Instant, wrote: bool) {
        if self.shared.closed.load(Ordering::SeqCst) && self.kind() == DatabaseKind::Postgres {
            return;
        }
        self.shared.idle.lock().push_back(Idle {
            connection,
            opened,
            since: Instant::now(),
            wrote,
        });
    }

    /// Takes back one that was dropped within a transaction or before it had answered.
    fn clean(&self, mut out: Out) {
        let pool = self.clone();
        let in_transaction = out.connection.is_in_transaction();
        match out.connection.session() {
            Session::Postgres(_) => {
                // Without a runtime nothing asks it any more.
                let Ok(runtime) = tokio::runtime::Handle::try_current() else {
                    return;
                };
                runtime.spawn(async move {
                    let ended = out.connection.end(in_transaction);
                    if let Ok(Ok(())) = timeout(ANSWER_LIMIT, ended).await {
                        out.connection.cleaned();
                        pool.put(out.connection, out.opened, false);
                    }
                    drop(out.permits);
                });
            }
            #[cfg(feature = "sqlite")]
            Session::Sqlite(session) => {
                let last = session.last();
                last.run(in_transaction, move || {
                    out.connection.cleaned();
                    let wrote = out.permits.writer.is_some();
                    pool.put(out.connection, out.opened, wrote);
                    drop(out.permits);
                });
            }
        }
    }
}

/// Whether it can be used. SQLite, which is in this process, answers as long as its thread lives.
async fn answers(idle: &Idle) -> bool {
    match idle.connection.session() {
        Session::Postgres(session) => {
            !session.is_closed()
                && (idle.since.elapsed() < FRESH
                    || matches!(timeout(ANSWER_LIMIT, session.ping()).await, Ok(Ok(()))))
        }
        #[cfg(feature = "sqlite")]
        Session::Sqlite(session) => !session.is_closed(),
    }
}

/// Whether a server that is about to start, or to be replaced, answers so.
fn may_pass(error: &Error) -> bool {
    match error {
        Error::Io(error) => matches!(
            error.kind(),
            io::ErrorKind::ConnectionRefused
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::ConnectionReset
        ),
        Error::Database(error) => error.code == postgres::CANNOT_CONNECT_NOW,
        _ => false,
    }
}

impl Executor for &Pool {
    async fn run(self, statement: Statement) -> Result<Answer, Error> {
        if self.kind() == DatabaseKind::Sqlite && matches!(statement, Statement::Many { .. }) {
            // Several statements there: all of them or none, as everywhere.
            let mut transaction = self.begin().await?;
            let answer = (&mut transaction).run(statement).await?;
            transaction.commit().await?;
            return Ok(answer);
        }
        let mut connection = self.acquire().await?;
        (&mut *connection).run(statement).await
    }
}

impl Executor for &mut PooledConnection {
    async fn run(self, statement: Statement) -> Result<Answer, Error> {
        (&mut **self).run(statement).await
    }
}

impl PooledConnection {
    const DROPPED: &str = "it goes back only when it is dropped";
}

impl Deref for PooledConnection {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.out.as_ref().expect(Self::DROPPED).connection
    }
}

impl DerefMut for PooledConnection {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.out.as_mut().expect(Self::DROPPED).connection
    }
}

impl Drop for PooledConnection {
    fn drop(&mut self) {
        let Some(mut out) = self.out.take() else {
            return;
        };
        if out.connection.is_clean() {
            out.connection.cleaned();
            let wrote = out.permits.writer.is_some();
            self.pool.put(out.connection, out.opened, wrote);
        } else {
            self.pool.clean(out);
        }
    }
}
