//! Sends lines from standard input, `key<TAB>value` or just a value, and prints where each one lies.
//!
//! ```text
//! seq 10 | cargo run -p kafka --example produce -- localhost:9092 orders
//! ```

use std::io::BufRead;

use kafka::{Client, ClientConfig, OutgoingRecord};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let bootstrap = arguments.next().unwrap_or("localhost:9092".into());
    let topic = arguments.next().unwrap_or("orders".into());

    let client = Client::new(ClientConfig::new(&bootstrap)?);
    // Idempotent: a lost acknowledgement neither loses nor doubles a record.
    let producer = client.producer().build()?;

    let mut deliveries = Vec::new();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (key, value) = match line.split_once('\t') {
            Some((key, value)) => (Some(key.as_bytes()), value),
            None => (None, line.as_str()),
        };
        // Encoded into an open batch at once; the delivery is the acknowledgement to come.
        // (`producer.send(&record).await` does both, and waits for room in the buffer.)
        deliveries.push(producer.enqueue(&OutgoingRecord {
            topic: &topic,
            partition: None, // by the key, as the Java client does it
            key,
            value: Some(value.as_bytes()),
            headers: &[(b"content-type", Some(b"text/plain"))],
            timestamp: None, // now
        })?);
    }
    for delivery in deliveries {
        let place = delivery.await?;
        println!("{}-{} {}", place.topic, place.partition, place.offset);
    }
    Ok(())
}
