//! Reusable buffers.
//!
//! There is one per thread for each purpose, not one per channel. So ten thousand channels cost no
//! more than one, and the buffer stays in the cache. While a buffer is in use it is not available:
//! code that runs meanwhile and needs one gets a new one.

use std::cell::Cell;
use std::thread::LocalKey;

/// A buffer that grew beyond this is not kept.
const KEPT_BYTES: usize = 1 << 20;

/// A buffer that is not in use, if the thread has one. In a box, so that lending it moves one word.
type Unused = Cell<Option<Box<Vec<u8>>>>;

thread_local! {
    static SENDING: Unused = const { Cell::new(None) };
    static RECEIVING: Unused = const { Cell::new(None) };
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Lends the buffer that messages are encoded in, empty.
pub(crate) fn with_send_buffer<R>(f: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    with(&SENDING, |buffer| {
        buffer.clear();
        f(buffer)
    })
}

/// Lends the buffer that packets are received in, with arbitrary content.
pub(crate) fn with_receive_buffer<R>(f: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    with(&RECEIVING, f)
}

/// Makes a vector for a message that is to be kept, or takes the unused one from an earlier call.
pub(crate) fn take_vector(capacity: usize) -> Vec<u8> {
    let mut vector = SPARE.try_with(Cell::take).unwrap_or_default();
    vector.reserve_exact(capacity);
    vector
}

/// Takes back a vector that nothing was received in.
pub(crate) fn give_back(vector: Vec<u8>) {
    let _ = SPARE.try_with(|spare| spare.set(vector));
}

fn with<R>(key: &'static LocalKey<Unused>, f: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    // A thread that is ending has no thread-locals any more, but may still drop values that send.
    let mut buffer = key.try_with(Cell::take).ok().flatten().unwrap_or_default();
    let result = f(&mut buffer);
    if buffer.capacity() <= KEPT_BYTES {
        let _ = key.try_with(|cell| cell.set(Some(buffer)));
    }
    result
}
