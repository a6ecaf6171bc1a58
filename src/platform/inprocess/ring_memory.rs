//! Rings are not supported: the queues are as fast, and never full.

use std::convert::Infallible;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use super::InProcess;
use crate::platform::contract;

/// The memory of a ring, of which no value exists.
#[derive(Debug)]
pub struct RingMemory(Infallible);

impl contract::RingMemory<InProcess> for RingMemory {
    fn new() -> io::Result<RingMemory> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn is_affordable(&self) -> bool {
        match self.0 {}
    }

    fn word(&self, _: usize) -> &AtomicU64 {
        match self.0 {}
    }

    fn part(&self, _: u64, _: usize) -> io::Result<RingPart> {
        match self.0 {}
    }

    fn give_back(&self, _: u64, _: u64) {
        match self.0 {}
    }
}

impl RingMemory {
    /// Stands for every operation on it.
    pub(super) fn never<R>(&self) -> R {
        match self.0 {}
    }
}

/// A part of the memory of a ring.
#[derive(Debug)]
pub struct RingPart(Infallible);

impl contract::RingPart for RingPart {
    fn write(&self, _: usize, _: &[u8]) {
        match self.0 {}
    }

    fn read(&self, _: usize, _: usize, _: &mut Vec<u8>) {
        match self.0 {}
    }

    fn read_array<const N: usize>(&self, _: usize) -> [u8; N] {
        match self.0 {}
    }
}

/// Returns the time in nanoseconds.
pub fn now() -> u64 {
    static SINCE: OnceLock<Instant> = OnceLock::new();

    SINCE.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

/// Returns the same time: a cheaper clock would not help here.
pub fn roughly_now() -> u64 {
    now()
}

/// Returns the domain of processes that read the same clock.
pub fn clock_domain() -> Option<u64> {
    None
}
