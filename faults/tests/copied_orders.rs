//! Orders that lie in their topic more than once.

use faults::run::Run;
use faults::scenarios::copies;

#[tokio::test(flavor = "multi_thread")]
async fn a_copied_order_has_one_outcome() {
    copies::of_orders(Run::short()).await;
}
