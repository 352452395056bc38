//! PostgreSQL on a disk that is full, which is mounted for the test: intake goes on, what needs the
//! database waits, nothing is lost or blamed.

use faults::run::Run;
use faults::scenarios::postgres;

fn short() -> Run {
    Run::short_of(200, 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn room_for_the_tables_is_waited_for() {
    postgres::tables_full(short()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_room_for_its_log_is_waited_for() {
    postgres::log_full(short()).await;
}
