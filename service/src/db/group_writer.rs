use std::fmt;
use std::future::Future;
use std::sync::Arc;

use sql::Connection;
use tokio::sync::{mpsc, oneshot};

use super::database::Database;
use super::failure::{is_conflict, is_unavailable};

/// How a batch of items is written inside one transaction.
pub trait BatchWrite: Send + Sync + 'static {
    type Item: Send + Sync + 'static;
    type Output: Send + 'static;

    /// Writes `items` in their order; gives one output for each, in the same order. Runs again
    /// with fewer items when it failed: it must do nothing but through `connection`.
    fn write(
        &self,
        connection: &mut Connection,
        items: &[Self::Item],
    ) -> impl Future<Output = Result<Vec<Self::Output>, sql::Error>> + Send;

    /// Called after a transaction has committed, before its callers hear of it.
    fn committed(&self) {}
}

/// Bounds of a [`GroupWriter`].
#[derive(Clone, Copy, Debug)]
pub struct GroupWriterConfig {
    /// Most items of one transaction.
    pub max_batch: usize,
    /// Items that may wait; beyond, callers wait to hand theirs in.
    pub queue: usize,
}

impl Default for GroupWriterConfig {
    /// 512 rows a transaction, which amortises its fsync to nothing, and as many waiting eight
    /// times over.
    fn default() -> Self {
        Self {
            max_batch: 512,
            queue: 4_096,
        }
    }
}

/// Why an item was not written.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WriteError {
    /// The database is away, locked or full; the same item may succeed later.
    #[error("the database is not available: {0}")]
    Unavailable(Arc<sql::Error>),
    /// This item cannot be written, however often it is tried.
    #[error("the database refuses it: {0}")]
    Refused(Arc<sql::Error>),
    /// The writer has ended.
    #[error("the service is shutting down")]
    Closed,
}

type Waiting<W> = (
    <W as BatchWrite>::Item,
    oneshot::Sender<Result<<W as BatchWrite>::Output, WriteError>>,
);

/// Many callers, one transaction: whatever came while the last one ran makes up the next.
///
/// Clones hand in to the same writer. It ends when the last one is dropped.
pub struct GroupWriter<W: BatchWrite> {
    sender: mpsc::Sender<Waiting<W>>,
}

impl<W: BatchWrite> fmt::Debug for GroupWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupWriter").finish_non_exhaustive()
    }
}

impl<W: BatchWrite> Clone for GroupWriter<W> {
    fn clone(&self) -> Self {
        Self {
            sender: self.sender.clone(),
        }
    }
}

impl<W: BatchWrite> GroupWriter<W> {
    /// Starts the writer's task.
    pub fn spawn(database: Database, write: W, config: GroupWriterConfig) -> Self {
        let (sender, receiver) = mpsc::channel(config.queue.max(1));
        tokio::spawn(run(database, write, receiver, config.max_batch.max(1)));
        Self { sender }
    }

    /// Hands `item` in and waits until its transaction has committed.
    ///
    /// Dropped while waiting, the item is written only if its transaction has begun.
    ///
    /// # Errors
    /// See [`WriteError`]. Where one item of a batch is refused, the others are written without it.
    pub async fn write(&self, item: W::Item) -> Result<W::Output, WriteError> {
        let (answer, result) = oneshot::channel();
        self.sender
            .send((item, answer))
            .await
            .map_err(|_| WriteError::Closed)?;
        result.await.map_err(|_| WriteError::Closed)?
    }
}

async fn run<W: BatchWrite>(
    database: Database,
    write: W,
    mut receiver: mpsc::Receiver<Waiting<W>>,
    max_batch: usize,
) {
    let mut batch = Vec::with_capacity(max_batch);
    while receiver.recv_many(&mut batch, max_batch).await > 0 {
        // Whoever has given up may have lost the right to write, as to a partition.
        batch.retain(|(_, answer): &Waiting<W>| !answer.is_closed());
        if batch.is_empty() {
            continue;
        }
        let (items, answers): (Vec<_>, Vec<_>) = batch.drain(..).unzip();
        match transaction(&database, &write, &items).await {
            Ok(outputs) => {
                for (answer, output) in answers.into_iter().zip(outputs) {
                    // A caller that no longer waits is none.
                    let _ = answer.send(Ok(output));
                }
            }
            Err(error) if items.len() > 1 && !is_unavailable(&error) => {
                // One of them is at fault: each for itself, so that only that one fails.
                for (item, answer) in items.iter().zip(answers) {
                    let result = transaction(&database, &write, std::slice::from_ref(item)).await;
                    let _ = answer.send(single(result));
                }
            }
            Err(error) => {
                let error = failure(error);
                for answer in answers {
                    let _ = answer.send(Err(error.clone()));
                }
                if matches!(error, WriteError::Unavailable(_)) {
                    // What waits would meet the same, a time limit later.
                    while let Ok((_, answer)) = receiver.try_recv() {
                        let _ = answer.send(Err(error.clone()));
                    }
                }
            }
        }
    }
}

fn single<T>(result: Result<Vec<T>, sql::Error>) -> Result<T, WriteError> {
    let mut outputs = result.map_err(failure)?;
    outputs.pop().ok_or(WriteError::Closed)
}

fn failure(error: sql::Error) -> WriteError {
    if is_unavailable(&error) {
        WriteError::Unavailable(Arc::new(error))
    } else {
        WriteError::Refused(Arc::new(error))
    }
}

/// Once more where another instance's transaction was in the way.
async fn transaction<W: BatchWrite>(
    database: &Database,
    write: &W,
    items: &[W::Item],
) -> Result<Vec<W::Output>, sql::Error> {
    match attempt(database, write, items).await {
        Err(error) if is_conflict(&error) => attempt(database, write, items).await,
        result => result,
    }
}

async fn attempt<W: BatchWrite>(
    database: &Database,
    write: &W,
    items: &[W::Item],
) -> Result<Vec<W::Output>, sql::Error> {
    let outputs = database
        .write(async {
            let mut tx = database.begin_write().await?;
            let outputs = write.write(&mut tx, items).await?;
            tx.commit().await?;
            Ok(outputs)
        })
        .await?;
    write.committed();
    debug_assert_eq!(outputs.len(), items.len());
    Ok(outputs)
}
