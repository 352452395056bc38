//! What holds on SQLite and, with `TEST_DATABASE_URL`, on PostgreSQL.

use std::time::Duration;

use sql::{DatabaseKind, Error, Pool, Type};
use testkit::database::{OwnDatabase, pool};
use testkit::dropped_at_every_await;

/// A database with an empty table of things.
async fn things() -> (OwnDatabase, Pool) {
    let own = OwnDatabase::new().await;
    let pool = pool(&own.url);
    let create =
        "CREATE TABLE things (id BIGINT PRIMARY KEY, name TEXT, size DOUBLE PRECISION, no BIGINT)";
    sql::query(create).execute(&pool).await.unwrap();
    (own, pool)
}

const COLUMNS: &[Type] = &[Type::Bigint, Type::Text, Type::Double];

/// Things with these ids; every third one has neither name nor size.
fn insert(ids: impl IntoIterator<Item = i64>) -> sql::Batch {
    let text =
        "INSERT INTO things (id, name, size) {rows} ON CONFLICT (id) DO NOTHING RETURNING id";
    ids.into_iter()
        .fold(sql::batch(text, COLUMNS), |batch, id| {
            let known = id % 3 != 0;
            batch
                .bind(id)
                .bind(known.then(|| format!("Ding № {id}")))
                .bind(known.then_some(id as f64 / 4.0))
        })
}

/// Of what such a transaction did, nothing is kept.
async fn cannot_be_committed(tx: sql::Transaction, pool: &Pool) {
    let refused = tx.commit().await.unwrap_err();
    assert!(
        matches!(&refused, Error::Database(error) if error.code == "25P02"),
        "{refused}"
    );
    assert_eq!(count(pool).await, 0);
}

async fn count(pool: &Pool) -> i64 {
    let count = sql::query("SELECT COUNT(*) FROM things");
    count.fetch_value(pool).await.unwrap()
}

#[tokio::test]
async fn a_batch_of_any_length_is_stored_and_answers_with_what_is_new() {
    let (_own, pool) = things().await;
    let mut known = 0;
    for length in [0, 1, 63, 64, 65, 300] {
        // One that is there already, those that are new, and one of them twice.
        let ids = known.max(1) - 1..known + length;
        let mut batch = insert(ids);
        if length > 0 {
            batch = batch.bind(known).bind(Some("again")).bind(None::<f64>);
        }
        let mut tx = pool.begin().await.unwrap();
        let rows = batch.fetch_all(&mut tx).await.unwrap();
        tx.commit().await.unwrap();
        let mut new: Vec<i64> = rows.iter().map(|row| row.get(0).unwrap()).collect();
        new.sort_unstable();
        assert_eq!(new, (known..known + length).collect::<Vec<_>>(), "{length}");
        known += length;
    }
    assert_eq!(count(&pool).await, known);
    let rows = sql::query("SELECT id, name, size FROM things ORDER BY id")
        .fetch_all(&pool)
        .await
        .unwrap();
    for row in rows {
        let id: i64 = row.get(0).unwrap();
        let (name, size): (Option<String>, Option<f64>) =
            (row.get(1).unwrap(), row.get(2).unwrap());
        let known = id % 3 != 0;
        assert_eq!(name, known.then(|| format!("Ding № {id}")));
        assert_eq!(size, known.then_some(id as f64 / 4.0));
    }
}

#[tokio::test]
async fn a_batch_changes_and_finds_the_rows_it_names() {
    let (_own, pool) = things().await;
    insert(0..200).execute(&pool).await.unwrap();
    let update =
        "UPDATE things SET no = wanted.column2 FROM ({rows}) AS wanted WHERE id = wanted.column1";
    let mut update = sql::batch(update, &[Type::Bigint, Type::Bigint]);
    for id in (0..400).step_by(2) {
        update = update.bind(id).bind(1_000 + id);
    }
    assert_eq!(
        update.execute(&pool).await.unwrap(),
        100,
        "as many as there are"
    );
    let mut find = sql::batch(
        "SELECT no FROM things WHERE id IN ({rows})",
        &[Type::Bigint],
    );
    for id in 0..100 {
        find = find.bind(id);
    }
    let rows = find.fetch_all(&pool).await.unwrap();
    let mut found: Vec<Option<i64>> = rows.iter().map(|row| row.get(0).unwrap()).collect();
    found.sort_unstable();
    let expected = (0..100).map(|id| (id % 2 == 0).then_some(1_000 + id));
    let mut expected: Vec<Option<i64>> = expected.collect();
    expected.sort_unstable();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_batch_outside_of_a_transaction_is_stored_whole_or_not_at_all() {
    let (_own, pool) = things().await;
    let text = "INSERT INTO things (id, name, size) {rows}";
    let mut batch = sql::batch(text, COLUMNS);
    for id in (0..200).chain([7]) {
        batch = batch.bind(id).bind(None::<&str>).bind(None::<f64>);
    }
    let refused = batch.execute(&pool).await.unwrap_err();
    assert!(matches!(refused, Error::Database(_)), "{refused}");
    assert_eq!(count(&pool).await, 0);
}

#[tokio::test]
async fn parameters_go_by_their_numbers() {
    let (_own, pool) = things().await;
    let row =
        sql::query("SELECT CAST($2 AS BIGINT), CAST($1 AS TEXT), CAST($2 AS BIGINT) + 1, '$1'")
            .bind("one")
            .bind(7)
            .fetch_one(&pool)
            .await
            .unwrap();
    assert_eq!(row.get::<i64>(0).unwrap(), 7);
    assert_eq!(row.get::<String>(1).unwrap(), "one");
    assert_eq!(row.get::<i64>(2).unwrap(), 8);
    assert_eq!(row.get::<String>(3).unwrap(), "$1");
    for (column, problem) in [(1, "not an integer"), (4, "no column 4")] {
        let error = row.get::<i64>(column).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
}

#[tokio::test]
async fn whatever_is_given_up_leaves_its_connections_fit_for_use() {
    let (own, other) = things().await;
    let options = sql::Options::parse(&own.url).unwrap();
    let few = &Pool::new(options, 2);
    let id =
        "INSERT INTO things (id, name) VALUES ((SELECT COALESCE(MAX(id), 0) + 1 FROM things), $1)";
    let work = async |name: String| {
        let mut tx = few.begin().await?;
        sql::query(id).bind(name).execute(&mut tx).await?;
        let count = sql::query("SELECT COUNT(*) FROM things");
        count.fetch_one(few).await?;
        tx.commit().await
    };
    let done = dropped_at_every_await(
        |polls| work(format!("given up {polls}")),
        async |polls| {
            // On each connection, without a transaction around it: there at once for everybody else.
            for connection in 0..2 {
                let mut out = (few.acquire().await.unwrap(), few.acquire().await.unwrap());
                let on = if connection == 0 {
                    &mut out.0
                } else {
                    &mut out.1
                };
                let name = format!("alone {polls} {connection}");
                sql::query(id).bind(&name).execute(on).await.unwrap();
                let count = sql::query("SELECT COUNT(*) FROM things WHERE name = $1").bind(name);
                let found: i64 = count.fetch_value(&other).await.unwrap();
                assert_eq!(found, 1, "dropped after {polls} polls");
            }
        },
    );
    done.await.unwrap();
}

#[tokio::test]
async fn transactions_that_write_wait_for_each_other() {
    let (_own, pool) = things().await;
    let add = |id: i64| {
        let pool = pool.clone();
        async move {
            let mut tx = pool.begin().await?;
            // Read and write back: lost without the lock.
            if pool.kind() == DatabaseKind::Postgres {
                let lock = sql::query("LOCK TABLE things IN EXCLUSIVE MODE");
                lock.execute(&mut tx).await?;
            }
            let sum = sql::query("SELECT CAST(COALESCE(SUM(no), 0) AS BIGINT) FROM things");
            let sum: i64 = sum.fetch_value(&mut tx).await?;
            let insert = sql::query("INSERT INTO things (id, no) VALUES ($1, $2)");
            insert.bind(id).bind(sum + 1).execute(&mut tx).await?;
            tx.commit().await
        }
    };
    for result in futures::future::join_all((0..20).map(add)).await {
        result.unwrap();
    }
    let last = sql::query("SELECT MAX(no) FROM things");
    assert_eq!(last.fetch_value::<i64>(&pool).await.unwrap(), 1 << 19);
}

#[tokio::test]
async fn a_transaction_that_is_rolled_back_or_dropped_has_changed_nothing() {
    let (_own, pool) = things().await;
    let mut tx = pool.begin().await.unwrap();
    insert(0..100).execute(&mut tx).await.unwrap();
    tx.rollback().await.unwrap();
    let mut tx = pool.begin().await.unwrap();
    insert(0..100).execute(&mut tx).await.unwrap();
    drop(tx);
    // It waits for the dropped one's lock, and not for long.
    let mut tx = pool.begin().await.unwrap();
    assert_eq!(insert(0..100).execute(&mut tx).await.unwrap(), 100);
    tx.commit().await.unwrap();
    assert_eq!(count(&pool).await, 100);
}

#[tokio::test]
async fn a_transaction_with_a_failed_statement_cannot_be_committed() {
    let (_own, pool) = things().await;
    let mut tx = pool.begin().await.unwrap();
    insert(0..2).execute(&mut tx).await.unwrap();
    let again = sql::query("INSERT INTO things (id) VALUES (1)");
    again.execute(&mut tx).await.unwrap_err();
    cannot_be_committed(tx, &pool).await;
}

#[tokio::test]
async fn a_transaction_with_an_abandoned_statement_cannot_be_committed() {
    let (_own, pool) = things().await;
    let mut tx = pool.begin().await.unwrap();
    insert(0..2).execute(&mut tx).await.unwrap();
    let mut abandoned = Box::pin(insert(2..4).execute(&mut tx));
    assert!(futures::poll!(&mut abandoned).is_pending());
    drop(abandoned);
    cannot_be_committed(tx, &pool).await;
}

#[tokio::test]
async fn a_closed_pool_gives_out_no_connection_and_waits_for_those_that_are_out() {
    let (_own, pool) = things().await;
    let mut tx = pool.begin().await.unwrap();
    insert(0..2).execute(&mut tx).await.unwrap();
    let closing = tokio::spawn({
        let pool = pool.clone();
        async move { pool.close().await }
    });
    while !matches!(pool.acquire().await, Err(Error::PoolClosed)) {
        tokio::task::yield_now().await;
    }
    assert!(!closing.is_finished());
    tx.commit().await.unwrap();
    let limit = Duration::from_secs(10);
    tokio::time::timeout(limit, closing).await.unwrap().unwrap();
}
