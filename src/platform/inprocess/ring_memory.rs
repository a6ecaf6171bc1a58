//! No memory for rings: the queues are as fast, and never full.

use std::convert::Infallible;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

/// The memory of a ring, of which there is none.
#[derive(Debug)]
pub struct RingMemory(Infallible);

impl RingMemory {
    /// Makes none.
    ///
    /// # Errors
    ///
    /// Always.
    pub fn new() -> io::Result<RingMemory> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Whether it is worth what it costs.
    pub fn is_affordable(&self) -> bool {
        match self.0 {}
    }

    /// What would be done with it.
    pub(super) fn never<R>(&self) -> R {
        match self.0 {}
    }

    /// A word.
    pub fn word(&self, _: usize) -> &AtomicU64 {
        match self.0 {}
    }

    /// Maps a part.
    pub fn part(&self, _: u64, _: usize) -> io::Result<RingPart> {
        match self.0 {}
    }

    /// Gives a part back.
    pub fn give_back(&self, _: u64, _: u64) {
        match self.0 {}
    }
}

/// A part of the memory of a ring.
#[derive(Debug)]
pub struct RingPart(Infallible);

impl RingPart {
    /// Copies `bytes` to `at`.
    pub fn write(&self, _: usize, _: &[u8]) {
        match self.0 {}
    }

    /// Appends bytes to `out`.
    pub fn read(&self, _: usize, _: usize, _: &mut Vec<u8>) {
        match self.0 {}
    }

    /// The bytes from `at` on.
    pub fn read_array<const N: usize>(&self, _: usize) -> [u8; N] {
        match self.0 {}
    }
}

/// The time in nanoseconds.
pub fn now() -> u64 {
    static SINCE: OnceLock<Instant> = OnceLock::new();

    SINCE.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

/// The same: there is nothing that would gain by less.
pub fn roughly_now() -> u64 {
    now()
}

/// Who else reads the same time.
pub fn clock_domain() -> Option<u64> {
    None
}
