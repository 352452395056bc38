//! A member of a consumer group, with retries and dead letters. Start it twice to see the
//! partitions shared; Ctrl-C leaves the group in order.
//!
//! ```text
//! cargo run -p kafka --example consume -- localhost:9092 orders my-group
//! ```
//!
//! A value that is no number is rejected and goes to `<topic>-dlt`; an odd one succeeds on its
//! second attempt, while other keys go on.

use std::time::Duration;

use kafka::{Client, ClientConfig, ConsumerRecord, DeadLetters, Handler, Outcome, RetryPolicy};

struct Numbers;

impl Handler for Numbers {
    // Records with the same key come one after another, others at the same time.
    async fn handle(&self, record: &ConsumerRecord) -> Outcome {
        let value = record.value.as_deref().unwrap_or_default();
        let Some(number) = std::str::from_utf8(value)
            .ok()
            .and_then(|text| text.trim().parse::<i64>().ok())
        else {
            return Outcome::Reject("the value is no number".into());
        };
        if number % 2 != 0 && record.attempt == 1 {
            return Outcome::Retry("odd numbers take two attempts".into());
        }
        println!(
            "{}-{} {}: {number}",
            record.topic, record.partition, record.offset
        );
        Outcome::Done // its offset may be committed now
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let bootstrap = arguments.next().unwrap_or("localhost:9092".into());
    let topic = arguments.next().unwrap_or("orders".into());
    let group = arguments.next().unwrap_or("my-group".into());

    let client = Client::new(ClientConfig::new(&bootstrap)?);
    let consumer = client
        .consumer(&group)
        .topics([&topic])
        .max_in_flight(100)
        .retry(RetryPolicy {
            max_attempts: 5,
            backoff: Duration::from_millis(200),
            ..Default::default()
        })
        .dead_letters(DeadLetters::new(client.producer().build()?))
        .build(Numbers)?;
    let stats = consumer.stats();

    let report = consumer
        .run(async {
            let _ = tokio::signal::ctrl_c().await;
        })
        .await?;
    println!("stopped: {report}");
    for topic in &stats.snapshot().topics {
        println!("{}: {:?}", topic.topic, topic.outcomes);
    }
    Ok(())
}
