use std::time::Duration;

use chrono::Utc;
use service::CancellationToken;
use service::db::Database;

/// Between two rounds of forgetting.
const ROUND: Duration = Duration::from_secs(60);

/// Rows of one statement: short enough not to hold up the view's own writes.
const CHUNK: u32 = 1_000;

/// Forgets events older than `retention`, a little at a time, until `stop`.
pub(crate) async fn retain(database: Database, retention: Duration, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(ROUND.min(retention)) => {}
        }
        if !database.is_ready() {
            continue;
        }
        match forget(&database, retention, &stop).await {
            Ok(0) => {}
            Ok(rows) => tracing::info!("order view: {rows} events are past their retention"),
            Err(error) => tracing::warn!("order view: cannot forget old events: {error}"),
        }
    }
}

async fn forget(
    database: &Database,
    retention: Duration,
    stop: &CancellationToken,
) -> Result<u64, sqlx::Error> {
    let age = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
    let before = Utc::now().timestamp_millis().saturating_sub(age);
    let mut forgotten = 0;
    while !stop.is_cancelled() {
        let delete = async {
            let mut tx = database.begin_write().await?;
            let rows = sqlx::query(
                "DELETE FROM order_events WHERE (topic, partition_no, record_offset) IN (
                    SELECT topic, partition_no, record_offset FROM order_events
                    WHERE event_ms < $1 ORDER BY event_ms LIMIT $2)",
            )
            .bind(before)
            .bind(i64::from(CHUNK))
            .execute(&mut *tx)
            .await?
            .rows_affected();
            tx.commit().await?;
            Ok(rows)
        };
        let rows = database.write(delete).await?;
        forgotten += rows;
        if rows < u64::from(CHUNK) {
            break;
        }
    }
    Ok(forgotten)
}
