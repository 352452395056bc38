//! SQLite in trouble: intake goes on, what needs the database waits, nothing is lost or blamed.

use faults::run::Run;
use faults::scenarios::sqlite;

fn short() -> Run {
    Run::short_of(200, 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn locked_files_are_waited_for() {
    sqlite::locked(short()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn services_end_and_start_while_their_files_are_locked() {
    sqlite::locked_at_start(short()).await;
}

// Only Linux lets one process set another's limits.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn files_that_cannot_grow_are_waited_for() {
    sqlite::full(short()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_were_moved_are_waited_for() {
    sqlite::moved(short()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_another_writer_locks_most_of_the_time_are_kept_up_with() {
    sqlite::slow(short()).await;
}
