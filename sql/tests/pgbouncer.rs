//! Behind a PgBouncer that pools transactions: a client has another connection of the server for each of them.

use std::collections::HashSet;

use futures::future::try_join_all;
use sql::{Error, Options, Pool, query};
use testkit::certificates::Authority;
use testkit::pgbouncer::PgBouncer;
use testkit::postgres::{Postgres, rules};

/// A client with one connection to PgBouncer.
fn client(url: &str) -> Pool {
    Pool::new(Options::parse(url).unwrap(), 1)
}

async fn one(url: &str) -> Result<i64, Error> {
    query("SELECT $1 + 0")
        .bind(1i64)
        .fetch_value(&client(url))
        .await
}

#[tokio::test]
async fn a_connection_goes_through_it_with_and_without_tls() {
    let server = Postgres::guarded(rules::ANY, None, None).await;
    let plain = PgBouncer::start(&server, 1, None).await;
    for parameters in ["", "sslmode=disable", "sslmode=prefer"] {
        assert_eq!(
            one(&plain.url("postgres", parameters)).await.unwrap(),
            1,
            "{parameters}"
        );
    }
    assert!(plain.log().contains(" tls=no"), "{}", plain.log());
    match one(&plain.url("postgres", "sslmode=require")).await {
        Err(Error::Tls(text)) => assert!(text.contains("does not speak TLS"), "{text}"),
        other => panic!("{other:?}"),
    }

    let authority = Authority::new();
    let identity = authority.server(&["localhost"]);
    let encrypted = PgBouncer::start(&server, 1, Some(&identity)).await;
    let full = format!(
        "sslmode=verify-full&sslrootcert={}",
        authority.ca().display()
    );
    for parameters in ["", "sslmode=require", &full] {
        let answer = one(&encrypted.url("postgres", parameters)).await;
        assert_eq!(answer.unwrap(), 1, "{parameters}");
    }
    let log = encrypted.log();
    assert!(log.contains(" tls=TLSv1.3"), "{log}");
    assert!(!log.contains(" tls=no"), "{log}");
    match one(&encrypted.url("postgres", "sslmode=disable")).await {
        Err(Error::Database(error)) => {
            assert!(error.message.contains("set sslmode=require"), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

/// Their statements are of other texts and types, and meet on the same connections of the server.
#[tokio::test]
async fn statements_of_many_clients_do_not_clash() {
    let server = Postgres::guarded(rules::ANY, None, None).await;
    let pgbouncer = PgBouncer::start(&server, 2, None).await;
    let clients = (0..8i64).map(|number| {
        let pool = client(&pgbouncer.url("postgres", ""));
        async move {
            for round in 0..25 {
                let sum = format!("SELECT $1 + {number}");
                let sum: i64 = query(sum).bind(round).fetch_value(&pool).await?;
                assert_eq!(sum, round + number);
                let text = format!("SELECT $1 || '{number}'");
                let text: String = query(text)
                    .bind(format!("{round}-"))
                    .fetch_value(&pool)
                    .await?;
                assert_eq!(text, format!("{round}-{number}"));
            }
            Ok::<_, Error>(())
        }
    });
    try_join_all(clients).await.unwrap();
}

#[tokio::test]
async fn transactions_of_many_clients_share_two_connections_of_the_server() {
    const CLIENTS: i64 = 8;
    const ROUNDS: i64 = 25;
    let server = Postgres::guarded(rules::ANY, None, None).await;
    let pgbouncer = PgBouncer::start(&server, 2, None).await;
    let setup = client(&pgbouncer.url("postgres", ""));
    let create =
        "CREATE TABLE entries (client BIGINT NOT NULL, round BIGINT NOT NULL, note TEXT NOT NULL)";
    query(create).execute(&setup).await.unwrap();
    let clients = (0..CLIENTS).map(|number| {
        let pool = client(&pgbouncer.url("postgres", ""));
        async move {
            let mut servers = HashSet::new();
            for round in 0..ROUNDS {
                let mut transaction = pool.begin().await?;
                let insert = "INSERT INTO entries (client, round, note) VALUES ($1, $2, $3)";
                for note in ["first", "second"] {
                    let insert = query(insert).bind(number).bind(round).bind(note);
                    assert_eq!(insert.execute(&mut transaction).await?, 1);
                    // The others have a chance to be in between.
                    tokio::task::yield_now().await;
                }
                let count = "SELECT COUNT(*) FROM entries WHERE client = $1 AND round = $2";
                let count = query(count).bind(number).bind(round);
                assert_eq!(count.fetch_value::<i64>(&mut transaction).await?, 2);
                let process = query("SELECT pg_backend_pid()::BIGINT");
                servers.insert(process.fetch_value::<i64>(&mut transaction).await?);
                if round % 2 == 0 {
                    transaction.commit().await?;
                } else {
                    drop(transaction);
                }
            }
            Ok::<_, Error>(servers)
        }
    });
    let servers = try_join_all(clients).await.unwrap();
    let servers: HashSet<_> = servers.into_iter().flatten().collect();
    assert_eq!(servers.len(), 2);
    // Every other one was committed, whole.
    for (count, expected) in [
        (
            "SELECT COUNT(*) FROM entries",
            CLIENTS * (ROUNDS + 1) / 2 * 2,
        ),
        ("SELECT COUNT(*) FROM entries WHERE round % 2 = 1", 0),
    ] {
        let found: i64 = query(count).fetch_value(&setup).await.unwrap();
        assert_eq!(found, expected, "{count}");
    }
}
