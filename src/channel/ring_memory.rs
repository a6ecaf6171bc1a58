//! Rings in the memory that the platform provides.

use std::io;
use std::sync::atomic::AtomicU64;

use super::ring::{Memory, Place, Segment};
use crate::platform::contract::{self, RingMemory as _};
use crate::platform::{RingMemory, RingPart};

/// The offsets of the words in the first unit: each is in a cache line of its own, and two lines
/// are fetched together.
const TAIL: usize = 0;
const HEAD: usize = 128;
const STATE: usize = 256;

impl Memory for RingMemory {
    type Word = AtomicU64;
    type Segment = RingPart;

    #[inline]
    fn tail(&self) -> &AtomicU64 {
        self.word(TAIL)
    }

    #[inline]
    fn head(&self) -> &AtomicU64 {
        self.word(HEAD)
    }

    #[inline]
    fn state(&self) -> &AtomicU64 {
        self.word(STATE)
    }

    fn segment(&self, place: Place) -> io::Result<RingPart> {
        self.part(place.offset, place.len as usize)
    }

    fn release(&self, place: Place) {
        self.give_back(place.offset, place.len.into());
    }
}

impl Segment for RingPart {
    #[inline]
    fn write(&self, at: usize, bytes: &[u8]) {
        contract::RingPart::write(self, at, bytes);
    }

    #[inline]
    fn read(&self, at: usize, len: usize, out: &mut Vec<u8>) {
        contract::RingPart::read(self, at, len, out);
    }

    #[inline]
    fn read_array<const N: usize>(&self, at: usize) -> [u8; N] {
        contract::RingPart::read_array(self, at)
    }
}
