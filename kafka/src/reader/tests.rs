use super::*;
use crate::{Client, ClientConfig};

fn id(number: u128) -> Option<TopicId> {
    TopicId::from_u128(number)
}

#[tokio::test]
async fn only_the_last_question_where_to_read_counts() {
    let client = Client::new(ClientConfig::new("127.0.0.1:1").unwrap());
    let mut reader = client.reader().topics(["t"]).build().unwrap();
    let followed = Followed::new(TopicPartition::new("t", 0), id(1));
    reader.partitions.push(Followed {
        position: Some(7),
        ..followed
    });
    // Its offset is out of range, and before the answer is there the topic is found to be another one.
    reader.locate(vec![(0, Some(7))], End::Earliest, 0);
    reader.recreated(0, id(2));
    let answer = |number, due, offset| Done::Located {
        slots: vec![Question {
            slot: 0,
            number,
            due,
        }],
        end: End::Earliest,
        offsets: vec![Ok(offset)],
        failures: 0,
    };
    reader.on_done(answer(1, Some(7), 5));
    assert_eq!(reader.partitions[0].position, None, "of the old topic");
    reader.on_done(answer(2, Some(7), 0));
    reader.on_done(answer(1, Some(7), 5));
    assert_eq!(reader.partitions[0].position, Some(0));
    assert_eq!(reader.events.len(), 1, "told once");
    let failed = Err(Error::UnknownNode { node: 1 });
    reader.on_done(Done::Located {
        slots: vec![Question {
            slot: 0,
            number: 1,
            due: None,
        }],
        end: End::Earliest,
        offsets: vec![failed],
        failures: 0,
    });
    assert_eq!(reader.partitions[0].asked, 2, "and not asked again");
}
