//! The memory of a ring under loom.
//!
//! The words are loom's. The bytes are not: there are too many. Each access to bytes also
//! accesses loom's cells beside them, and loom reports two accesses to a cell that are not
//! ordered. There are cells for both ends of a segment, where the tests access it.
//!
//! Loom's threads share one thread of the system, so the containers are not thread-safe.
//! Therefore they order nothing.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::rc::Rc;

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU64, Ordering};
use strait::internals::ring::{Memory, Place, Segment, Word};

/// How many bytes have one cell.
const GRAIN: usize = 16;

/// For how many bytes at either end there are cells.
const WATCHED: usize = 256;

#[derive(Debug)]
pub(crate) struct LoomWord(AtomicU64);

impl Word for LoomWord {
    fn load(&self, ordering: Ordering) -> u64 {
        self.0.load(ordering)
    }

    fn store(&self, value: u64, ordering: Ordering) {
        self.0.store(value, ordering);
    }

    fn swap(&self, value: u64, ordering: Ordering) -> u64 {
        self.0.swap(value, ordering)
    }

    fn fetch_or(&self, bits: u64, ordering: Ordering) -> u64 {
        self.0.fetch_or(bits, ordering)
    }

    fn fetch_and(&self, bits: u64, ordering: Ordering) -> u64 {
        self.0.fetch_and(bits, ordering)
    }

    fn compare_exchange(
        &self,
        current: u64,
        new: u64,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u64, u64> {
        self.0.compare_exchange(current, new, success, failure)
    }
}

struct Shared {
    tail: LoomWord,
    head: LoomWord,
    state: LoomWord,
    /// By offset.
    segments: RefCell<BTreeMap<u64, LoomSegment>>,
}

/// The memory of the producer or of the consumer.
pub(crate) struct LoomMemory {
    shared: Rc<Shared>,
    is_producer: bool,
}

/// A segment of it.
#[derive(Clone)]
pub(crate) struct LoomSegment {
    len: usize,
    bytes: Rc<RefCell<Vec<u8>>>,
    cells: Rc<BTreeMap<usize, UnsafeCell<()>>>,
}

/// The memory of a new ring, for the producer and for the consumer.
pub(crate) fn memory() -> (LoomMemory, LoomMemory) {
    let word = || LoomWord(AtomicU64::new(0));
    let segments = RefCell::default();
    let shared = Rc::new(Shared { tail: word(), head: word(), state: word(), segments });
    let consumer = LoomMemory { shared: Rc::clone(&shared), is_producer: false };
    (LoomMemory { shared, is_producer: true }, consumer)
}

impl Memory for LoomMemory {
    type Word = LoomWord;
    type Segment = LoomSegment;

    fn tail(&self) -> &LoomWord {
        &self.shared.tail
    }

    fn head(&self) -> &LoomWord {
        &self.shared.head
    }

    fn state(&self) -> &LoomWord {
        &self.shared.state
    }

    fn segment(&self, place: Place) -> io::Result<LoomSegment> {
        let len = place.len as usize;
        let mut segments = self.shared.segments.borrow_mut();
        let known = segments.get(&place.offset).filter(|segment| segment.len == len).cloned();
        if !self.is_producer {
            return known.ok_or_else(|| io::ErrorKind::UnexpectedEof.into());
        }
        let segment = known.unwrap_or_else(|| LoomSegment::new(len));
        segments.insert(place.offset, segment.clone());
        Ok(segment)
    }

    fn release(&self, place: Place) {
        let segment = self.shared.segments.borrow()[&place.offset].clone();
        // Writes the cells of these bytes.
        segment.touch(0..segment.len, true);
    }
}

impl LoomSegment {
    fn new(len: usize) -> LoomSegment {
        let watched = (0..WATCHED).chain(len - WATCHED..len).step_by(GRAIN);
        LoomSegment {
            len,
            bytes: Rc::new(RefCell::new(vec![0; len])),
            cells: Rc::new(watched.map(|at| (at / GRAIN, UnsafeCell::new(()))).collect()),
        }
    }

    fn touch(&self, bytes: Range<usize>, writes: bool) {
        if bytes.is_empty() {
            return;
        }
        for (_, cell) in self.cells.range(bytes.start / GRAIN..=(bytes.end - 1) / GRAIN) {
            if writes {
                cell.with_mut(|_| {});
            } else {
                cell.with(|_| {});
            }
        }
    }
}

impl Segment for LoomSegment {
    fn write(&self, at: usize, bytes: &[u8]) {
        self.touch(at..at + bytes.len(), true);
        self.bytes.borrow_mut()[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn read(&self, at: usize, len: usize, out: &mut Vec<u8>) {
        self.touch(at..at + len, false);
        out.extend_from_slice(&self.bytes.borrow()[at..at + len]);
    }

    fn read_array<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut bytes = Vec::with_capacity(N);
        self.read(at, N, &mut bytes);
        bytes.try_into().unwrap()
    }
}
