//! Prints what is in a topic and what is being written to it, without a group.
//!
//! ```text
//! cargo run -p kafka --example follow -- localhost:9092 orders
//! ```

use kafka::{Client, ClientConfig, ReaderEvent, Start};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let bootstrap = arguments.next().unwrap_or("localhost:9092".into());
    let topic = arguments.next().unwrap_or("orders".into());

    let client = Client::new(ClientConfig::new(&bootstrap)?);
    // `Start::Latest` shows only what is new; `Start::Offsets` resumes where `positions` ended.
    let mut reader = client
        .reader()
        .topics([&topic])
        .from(Start::Earliest)
        .build()?;

    loop {
        tokio::select! {
            // `next_batch` may be dropped half-way: nothing is lost.
            event = reader.next_batch() => match event {
                ReaderEvent::Records(records) => {
                    for record in records {
                        println!(
                            "{}-{} {}: {} {}",
                            record.topic,
                            record.partition,
                            record.offset,
                            text(record.key.as_deref()),
                            text(record.value.as_deref()),
                        );
                    }
                }
                ReaderEvent::Reset { partition, asked, resumed } => {
                    println!("{partition}: offset {asked} is gone, going on at {resumed}");
                }
            },
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    println!("next offsets: {:?}", reader.positions());
    Ok(())
}

fn text(bytes: Option<&[u8]>) -> String {
    bytes.map_or("(null)".into(), |bytes| {
        String::from_utf8_lossy(bytes).into_owned()
    })
}
