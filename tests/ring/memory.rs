//! The memory of a ring for tests: bytes that a test can read and write, and that panic when
//! producer or consumer access more than a segment. Bytes are atomic, so concurrent accesses
//! are defined.

#![allow(dead_code, unreachable_pub, reason = "each user uses a part of it")]

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use strait::internals::ring::{Memory, Place, Segment, UNIT};

/// Pages are as long as the units of places.
const PAGE_BYTES: usize = UNIT as usize;

/// What is written over pages that were given back, so that a later read of them is noticed.
const RELEASED: u8 = 0xdb;

type Page = Arc<[AtomicU8; PAGE_BYTES]>;

#[derive(Default)]
struct Shared {
    tail: AtomicU64,
    head: AtomicU64,
    state: AtomicU64,
    /// No memory can be mapped.
    is_exhausted: AtomicBool,
    /// The pages that exist, by number.
    pages: Mutex<BTreeMap<u64, Page>>,
}

/// The memory of the producer or of the consumer.
#[derive(Clone)]
pub struct TestMemory {
    shared: Arc<Shared>,
    is_producer: bool,
}

/// A segment of it.
pub struct TestSegment {
    pages: Vec<Page>,
}

/// The memory of a new ring, for the producer and for the consumer.
pub fn memory() -> (TestMemory, TestMemory) {
    let producer = TestMemory { shared: Arc::default(), is_producer: true };
    let consumer = TestMemory { is_producer: false, ..producer.clone() };
    (producer, consumer)
}

impl TestMemory {
    /// How much memory there is, in bytes.
    pub fn held(&self) -> u64 {
        self.pages().len() as u64 * UNIT
    }

    /// Sets whether mapping of memory fails.
    pub fn set_exhausted(&self, is_exhausted: bool) {
        self.shared.is_exhausted.store(is_exhausted, Ordering::Relaxed);
    }

    /// Sets the position up to which records are published, and its bits.
    pub fn set_tail(&self, tail: u64) {
        self.shared.tail.store(tail, Ordering::Release);
    }

    /// The position up to which records are published, and its bits.
    pub fn tail_word(&self) -> u64 {
        self.shared.tail.load(Ordering::Acquire)
    }

    /// Sets the position up to which records are said to be consumed.
    pub fn set_head(&self, head: u64) {
        self.shared.head.store(head, Ordering::Release);
    }

    /// The position up to which records are said to be consumed.
    pub fn head_word(&self) -> u64 {
        self.shared.head.load(Ordering::Acquire)
    }

    /// Sets the state that the consumer gives the ring.
    pub fn set_state(&self, state: u64) {
        self.shared.state.store(state, Ordering::Release);
    }

    /// Writes to any place, as far as there is memory.
    pub fn scribble(&self, offset: u64, bytes: &[u8]) {
        let pages = self.pages();
        let mut rest = bytes;
        let mut offset = offset;
        while !rest.is_empty() {
            let at = (offset % UNIT) as usize;
            let (now, later) = rest.split_at(rest.len().min(PAGE_BYTES - at));
            if let Some(page) = pages.get(&(offset / UNIT)) {
                page[at..]
                    .iter()
                    .zip(now)
                    .for_each(|(to, byte)| to.store(*byte, Ordering::Relaxed));
            }
            offset = offset.wrapping_add(now.len() as u64);
            rest = later;
        }
    }

    fn pages(&self) -> MutexGuard<'_, BTreeMap<u64, Page>> {
        self.shared.pages.lock().expect("no test panics while it has this lock")
    }
}

impl Memory for TestMemory {
    type Word = AtomicU64;
    type Segment = TestSegment;

    fn tail(&self) -> &AtomicU64 {
        &self.shared.tail
    }

    fn head(&self) -> &AtomicU64 {
        &self.shared.head
    }

    fn state(&self) -> &AtomicU64 {
        &self.shared.state
    }

    fn segment(&self, place: Place) -> io::Result<TestSegment> {
        assert!(place.is_valid(), "{place:?}");
        if self.shared.is_exhausted.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let first = place.offset / UNIT;
        let last = first + u64::from(place.len) / UNIT;
        let mut pages = self.pages();
        let new = || Arc::new([const { AtomicU8::new(0) }; PAGE_BYTES]);
        let page = |number| match self.is_producer {
            true => Some(Arc::clone(pages.entry(number).or_insert_with(new))),
            false => pages.get(&number).map(Arc::clone),
        };
        let all: Option<Vec<Page>> = (first..last).map(page).collect();
        Ok(TestSegment { pages: all.ok_or(io::ErrorKind::UnexpectedEof)? })
    }

    fn release(&self, place: Place) {
        assert!(self.is_producer && place.is_valid(), "{place:?}");
        let first = place.offset / UNIT;
        for number in first..first + u64::from(place.len) / UNIT {
            let page = self.pages().remove(&number).expect("it was not given back before");
            page.iter().for_each(|byte| byte.store(RELEASED, Ordering::Relaxed));
        }
    }
}

impl TestSegment {
    /// The bytes of a part, page by page.
    fn parts(&self, at: usize, len: usize) -> impl Iterator<Item = &[AtomicU8]> {
        let end = at.checked_add(len).expect("the end of a segment is a number");
        assert!(end <= self.pages.len() * PAGE_BYTES, "beyond the segment: {len} bytes from {at}");
        let mut at = at;
        std::iter::from_fn(move || {
            let now = (end - at).min(PAGE_BYTES - at % PAGE_BYTES);
            let part = (now > 0).then(|| &self.pages[at / PAGE_BYTES][at % PAGE_BYTES..][..now]);
            at += now;
            part
        })
    }
}

impl Segment for TestSegment {
    fn write(&self, at: usize, bytes: &[u8]) {
        let mut rest = bytes;
        for part in self.parts(at, bytes.len()) {
            let (now, later) = rest.split_at(part.len());
            part.iter().zip(now).for_each(|(to, byte)| to.store(*byte, Ordering::Relaxed));
            rest = later;
        }
    }

    fn read(&self, at: usize, len: usize, out: &mut Vec<u8>) {
        for part in self.parts(at, len) {
            out.extend(part.iter().map(|byte| byte.load(Ordering::Relaxed)));
        }
    }

    fn read_array<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut bytes = Vec::with_capacity(N);
        self.read(at, N, &mut bytes);
        bytes.try_into().expect("as many were read")
    }
}
