//! Buffers that are used again.
//!
//! One per thread for each purpose, not one per channel: ten thousand channels cost no more than one, and the buffer
//! stays in the cache. A buffer is out while it is in use, so code that runs meanwhile and needs one, too, gets a new one.

use std::cell::Cell;
use std::thread::LocalKey;

/// A buffer that grew beyond this is not kept.
const KEPT_BYTES: usize = 1 << 20;

thread_local! {
    static SENDING: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    static RECEIVING: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Lends the buffer that messages are encoded in, empty.
pub(crate) fn with_send_buffer<R>(f: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    with(&SENDING, |buffer| {
        buffer.clear();
        f(buffer)
    })
}

/// Lends the buffer that packets are received in, with whatever is in it.
pub(crate) fn with_receive_buffer<R>(f: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    with(&RECEIVING, f)
}

/// Makes a vector for a message that is to be kept, or takes the one that was made in vain before.
pub(crate) fn take_vector(capacity: usize) -> Vec<u8> {
    let mut vector = SPARE.try_with(Cell::take).unwrap_or_default();
    vector.reserve_exact(capacity);
    vector
}

/// Takes back a vector that nothing was received in.
pub(crate) fn give_back(vector: Vec<u8>) {
    let _ = SPARE.try_with(|spare| spare.set(vector));
}

fn with<R>(key: &'static LocalKey<Cell<Vec<u8>>>, f: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    // A thread that is ending has no thread-locals any more, but may still drop things that send.
    let mut buffer = key.try_with(Cell::take).unwrap_or_default();
    let result = f(&mut buffer);
    if buffer.capacity() <= KEPT_BYTES {
        let _ = key.try_with(|cell| cell.set(buffer));
    }
    result
}
