use bytes::Bytes;
use kafka::{Client, ClientConfig};
use tokio::sync::mpsc;

use super::*;
use crate::feed::{FeedConfig, FeedEvent, FeedSource};

struct Nothing;

impl FeedSource for Nothing {
    fn event(&self, _: &ConsumerRecord) -> Option<FeedEvent> {
        None
    }
}

const A_MOMENT: Duration = Duration::from_millis(1);

/// On a busy machine.
const LONG: Duration = Duration::from_secs(60);

/// One permit, a hub at `t` 0, offset 10, and brokers that nobody reaches.
fn catch_up(turn: Duration, patience: Duration) -> CatchUp {
    let hub = Hub::new(&["t"], Box::new(Nothing), FeedConfig::default());
    hub.begin([(TopicPartition::new("t", 0), 10)]);
    CatchUp {
        hub: Arc::new(hub),
        client: Client::new(ClientConfig::new("127.0.0.1:1").unwrap()),
        permits: Arc::new(Semaphore::new(1)),
        turn,
        patience,
        key: None,
    }
}

fn since(text: &str) -> Since {
    Since::Event(Position::parse(text, 1).unwrap())
}

async fn next(receiver: &mut mpsc::Receiver<Bytes>) -> Option<String> {
    let frame = receiver.recv().await?;
    Some(String::from_utf8(frame.to_vec()).unwrap())
}

#[tokio::test]
async fn a_partition_that_does_not_exist_is_not_waited_for_forever() {
    let catch_up = catch_up(LONG, A_MOMENT);
    let (sender, mut receiver) = EventSender::pair(10);
    let (permits, hub) = (catch_up.permits.clone(), catch_up.hub.clone());
    let running = catch_up.run(sender, since("0.0:10,0.9:0"));
    tokio::time::timeout(LONG, running)
        .await
        .expect("it is attached");
    assert_eq!(next(&mut receiver).await.unwrap(), "id: 0.0:10\n\n");
    assert_eq!((hub.clients(), permits.available_permits()), ((1, 0), 1));
}

#[tokio::test]
async fn a_partition_that_another_instance_saw_first_is_kept() {
    let catch_up = catch_up(LONG, LONG);
    let (sender, mut receiver) = EventSender::pair(10);
    let hub = catch_up.hub.clone();
    // Joined in this order: the client waits already when the partition is heard of.
    tokio::join!(catch_up.run(sender, since("0.0:10,0.1:7")), async {
        hub.begin([(TopicPartition::new("t", 1), 7)]);
    });
    assert_eq!(next(&mut receiver).await.unwrap(), "id: 0.0:10,0.1:7\n\n");
}

#[tokio::test]
async fn a_turn_ends_and_the_client_is_told_where_it_is() {
    let catch_up = catch_up(A_MOMENT, LONG);
    let (sender, mut receiver) = EventSender::pair(10);
    let permits = catch_up.permits.clone();
    let running = catch_up.run(sender, since("0.0:3"));
    tokio::time::timeout(LONG, running)
        .await
        .expect("the turn ends");
    assert_eq!(next(&mut receiver).await.unwrap(), "id: 0.0:3\n\n");
    assert_eq!(next(&mut receiver).await, None);
    assert_eq!(permits.available_permits(), 1);
}
