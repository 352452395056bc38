//! What fuzzing feeds: requests as they come over one connection, into a whole broker without its
//! socket. A panic is a finding, and so is an answer that is no frame. `fuzz/` runs it; `cargo test`
//! runs its corpus, and mutations of it.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, ProduceRequest};
use tokio_util::sync::CancellationToken;

use crate::api::{self, Api as _, ConnectionInfo, Next};
use crate::log::batch::put_checksum_right;
use crate::state::State;

/// A request that waits for others, or for records, waits in the runtime's time, not in ours.
const PATIENCE: Duration = Duration::from_secs(600);
/// Requests of one input.
const MOST: usize = 32;

/// Requests, each behind its length in two bytes. The checksums of what they produce are put right.
pub fn requests(mut data: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let folder = Folder::new();
    runtime.block_on(async {
        let stop = CancellationToken::new();
        let state = State::in_folder(&folder.0, &stop);
        let connection = ConnectionInfo {
            peer: ([127, 0, 0, 1], 1).into(),
            local: ([127, 0, 0, 1], 9092).into(),
            gone: CancellationToken::new(),
        };
        for _ in 0..MOST {
            if data.len() < 2 {
                return;
            }
            let length = usize::from(data.get_u16()).min(data.len());
            let frame = with_checksums(&data[..length]);
            data.advance(length);
            let mut out = BytesMut::new();
            let answer = api::answer(&state, &connection, frame, &mut out);
            match tokio::time::timeout(PATIENCE, answer).await {
                Ok(Ok(Next::Continue)) => check_frame(&out),
                Ok(Ok(Next::Close | Next::FallSilent)) | Ok(Err(_)) | Err(_) => return,
            }
        }
    });
}

fn with_checksums(data: &[u8]) -> Bytes {
    let frame = Bytes::copy_from_slice(data);
    let Some(batches) = batches(&frame) else {
        return frame;
    };
    let mut frame = frame.to_vec();
    for place in batches {
        put_checksum_right(&mut frame[place]);
    }
    frame.into()
}

/// Where the batches of a produce request lie in its frame.
fn batches(frame: &Bytes) -> Option<Vec<Range<usize>>> {
    let api = i16::from_be_bytes(*frame.first_chunk()?);
    let version = i16::from_be_bytes(*frame.get(2..)?.first_chunk()?);
    let served = ProduceRequest::SERVED;
    if api != ApiKey::Produce as i16 || !(served.min..=served.max).contains(&version) {
        return None;
    }
    let mut body = frame.clone();
    let header_version = ApiKey::Produce.request_header_version(version);
    wire::decode_request_header(&mut body, header_version).ok()?;
    let request = wire::decode_request::<ProduceRequest>(body, version).ok()?;
    let partitions = request
        .topic_data
        .iter()
        .flat_map(|topic| &topic.partition_data);
    // They are slices of the frame.
    let place = |batch: &Bytes| {
        let start = batch.as_ptr() as usize - frame.as_ptr() as usize;
        start..start + batch.len()
    };
    let batches = partitions.filter_map(|partition| partition.records.as_ref());
    Some(
        batches
            .filter(|batch| !batch.is_empty())
            .map(place)
            .collect(),
    )
}

fn check_frame(mut out: &[u8]) {
    if !out.is_empty() {
        assert_eq!(out.get_u32() as usize, out.len(), "the answer's length");
    }
}

/// A folder of its own, gone when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("broker-fuzz-{}-{count}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).expect("a folder for temporary files");
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn requests() {
        testkit::corpus::replay("requests", super::requests);
    }
}
