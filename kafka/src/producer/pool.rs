//! Memory of batches that were sent, kept for the next ones: fresh pages cost more than the copying.

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;

/// Size of a first buffer (Java's `batch.size`); it grows with its batch.
const FIRST: usize = 16 * 1024;

pub(super) struct BufferPool {
    buffers: Mutex<Kept>,
    limit: usize,
}

#[derive(Default)]
struct Kept {
    buffers: Vec<BytesMut>,
    bytes: usize,
}

impl BufferPool {
    /// Keeps at most `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            buffers: Mutex::default(),
            limit,
        }
    }

    pub(super) fn take(&self) -> BytesMut {
        let mut kept = self.buffers.lock();
        match kept.buffers.pop() {
            Some(buffer) => {
                kept.bytes -= buffer.capacity();
                buffer
            }
            None => BytesMut::with_capacity(FIRST),
        }
    }

    /// Keeps the memory of a batch that nobody else looks at any more.
    pub(super) fn put(&self, batch: Bytes) {
        if let Ok(buffer) = batch.try_into_mut() {
            self.put_back(buffer);
        }
    }

    pub(super) fn put_back(&self, mut buffer: BytesMut) {
        buffer.clear();
        let mut kept = self.buffers.lock();
        if kept.bytes + buffer.capacity() <= self.limit {
            kept.bytes += buffer.capacity();
            kept.buffers.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_comes_back_up_to_the_limit() {
        let pool = BufferPool::new(100_000);
        let mut first = pool.take();
        first.extend_from_slice(&[1; 50_000]);
        let address = first.as_ptr();
        pool.put(first.freeze());
        let again = pool.take();
        assert_eq!((again.as_ptr(), again.len()), (address, 0));
        pool.put(Bytes::from(vec![0; 90_000]));
        pool.put(again.freeze());
        assert_eq!(pool.take().capacity(), 90_000);
        assert_eq!(pool.take().capacity(), FIRST);
    }

    #[test]
    fn shared_memory_is_left_alone() {
        let pool = BufferPool::new(100_000);
        let batch = Bytes::from(vec![7; 30_000]);
        pool.put(batch.clone());
        assert_eq!(pool.take().capacity(), FIRST);
        assert!(batch.iter().all(|byte| *byte == 7));
    }
}
