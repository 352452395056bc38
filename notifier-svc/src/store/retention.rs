use std::time::{Duration, SystemTime, UNIX_EPOCH};

use service::CancellationToken;
use service::db::Database;

/// Pause between two looks for what is too old.
const INTERVAL: Duration = Duration::from_secs(600);

/// Rows of one transaction, so that writers wait but shortly.
const BATCH: i64 = 5_000;

/// Deletes notifications that are older than `retention`, now and then every ten minutes, until
/// `stop`. A database that is away is asked again next time.
pub async fn keep_clean(database: Database, retention: Duration, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = keep_cleaning(&database, retention) => {}
    }
}

async fn keep_cleaning(database: &Database, retention: Duration) {
    loop {
        database.ready().await;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let oldest = now.saturating_sub(retention).as_millis();
        match delete_older_than(database, i64::try_from(oldest).unwrap_or(i64::MAX)).await {
            Ok(0) => {}
            Ok(deleted) => tracing::info!(
                deleted,
                "deleted {deleted} notifications older than NOTIFICATION_RETENTION"
            ),
            Err(error) => tracing::warn!("old notifications could not be deleted: {error}"),
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Deletes printed notifications from before `oldest` (milliseconds since 1970); returns how many.
pub async fn delete_older_than(database: &Database, oldest: i64) -> Result<u64, sqlx::Error> {
    let mut deleted = 0;
    loop {
        let delete = async {
            let mut tx = database.begin_write().await?;
            let batch = sqlx::query(
                "DELETE FROM notifications WHERE order_id IN (SELECT order_id FROM notifications \
                 WHERE received_at < $1 AND printed = 1 LIMIT $2)",
            )
            .bind(oldest)
            .bind(BATCH)
            .execute(&mut *tx)
            .await?
            .rows_affected();
            tx.commit().await?;
            Ok(batch)
        };
        let batch = database.write(delete).await?;
        deleted += batch;
        if batch < BATCH as u64 {
            return Ok(deleted);
        }
    }
}
