//! What a broker sends over a connection on which two calls wait.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use kafka_protocol::messages::ApiKey;
use tokio::io::AsyncWriteExt as _;

use crate::{
    client::ClientConfig,
    connection::{driver, stream::Stream},
};

/// Small, so that inputs go beyond it.
const MAX_FRAME_BYTES: usize = 64;

/// Every call is answered or told that the connection is over, whatever comes.
pub fn frames(data: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let (ours, mut theirs) = tokio::io::duplex(data.len().max(1));
        let mut config = ClientConfig::new("broker:9092").expect("an address");
        config.max_frame_bytes = MAX_FRAME_BYTES;
        let shared = driver::start("broker:9092".into(), Stream::Memory(ours), &config);
        let calls: Vec<_> = (0..2)
            .filter_map(|_| {
                let frame = |_: i32| Ok(Bytes::from_static(b"request"));
                shared.send(ApiKey::Metadata, Instant::now(), frame).ok()
            })
            .collect();
        theirs.write_all(data).await.expect("room for all of it");
        // What was asked can still be written: the answers are read before the end is seen.
        theirs.shutdown().await.expect("an open stream");
        for call in calls {
            let answer = tokio::time::timeout(Duration::from_secs(60), call)
                .await
                .expect("no call waits for ever")
                .expect("the connection answers what it took");
            if let Ok(frame) = answer {
                assert!((4..=MAX_FRAME_BYTES).contains(&frame.len()));
            }
        }
        drop::<Arc<_>>(shared);
    });
}
