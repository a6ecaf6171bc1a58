//! The memory that a ring needs. Platforms implement it with mapped files, tests with memory that
//! they can interfere with.
//!
//! The peer may write to all of it at any time. An implementation returns copies, never references
//! into it.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

/// The alignment of segments: no system maps at finer offsets. The words are in the first unit.
pub const UNIT: u64 = 64 << 10;

/// The length of the first segment, which follows the first unit.
pub const FIRST_LEN: u32 = 64 << 10;

/// The length of the longest segment.
pub const MAX_SEGMENT: u32 = 64 << 20;

/// A word that both processes see. The operations and orderings are those of `AtomicU64`.
pub trait Word {
    /// Like [`AtomicU64::load`].
    fn load(&self, ordering: Ordering) -> u64;

    /// Like [`AtomicU64::store`].
    fn store(&self, value: u64, ordering: Ordering);

    /// Like [`AtomicU64::swap`].
    fn swap(&self, value: u64, ordering: Ordering) -> u64;

    /// Like [`AtomicU64::fetch_or`].
    fn fetch_or(&self, bits: u64, ordering: Ordering) -> u64;

    /// Like [`AtomicU64::fetch_and`].
    fn fetch_and(&self, bits: u64, ordering: Ordering) -> u64;

    /// Like [`AtomicU64::compare_exchange`].
    fn compare_exchange(
        &self,
        current: u64,
        new: u64,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u64, u64>;
}

/// The memory of a ring as the producer or the consumer accesses it.
pub trait Memory {
    /// The type of its words.
    type Word: Word;

    /// The type of its segments.
    type Segment: Segment;

    /// The position up to which records are published, and two bits: see [the module](super). Zero
    /// at first.
    fn tail(&self) -> &Self::Word;

    /// The position up to which records are consumed. Zero at first.
    fn head(&self) -> &Self::Word;

    /// The state that the consumer gives the ring, a [`State`](super::State). Zero at first.
    fn state(&self) -> &Self::Word;

    /// Makes part of the memory accessible. `place` [is valid](Place::is_valid).
    ///
    /// # Errors
    ///
    /// Fails if the memory is not that long, or the part cannot be made accessible.
    fn segment(&self, place: Place) -> io::Result<Self::Segment>;

    /// Returns the pages of a part that is no longer used to the system. The same place may become
    /// a segment again. Failure only costs memory.
    fn release(&self, place: Place);
}

/// An accessible part of the memory.
///
/// Callers stay within its length; an implementation may panic if they do not.
pub trait Segment {
    /// Writes `bytes` from `at` on.
    fn write(&self, at: usize, bytes: &[u8]);

    /// Appends the `len` bytes from `at` on to `out`, each read once: the peer may be writing
    /// meanwhile.
    fn read(&self, at: usize, len: usize, out: &mut Vec<u8>);

    /// Returns the `N` bytes from `at` on, each read once.
    fn read_array<const N: usize>(&self, at: usize) -> [u8; N];
}

/// The place of a segment in the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its offset.
    pub offset: u64,
    /// Its length.
    pub len: u32,
}

impl Place {
    /// The place of the first segment of every ring.
    pub const FIRST: Place = Place { offset: UNIT, len: FIRST_LEN };

    /// Returns whether there can be a segment: not in the first unit, and aligned. Its length is a
    /// power of two, from one unit to [`MAX_SEGMENT`].
    pub fn is_valid(&self) -> bool {
        self.offset >= UNIT
            && self.offset % UNIT == 0
            && self.len.is_power_of_two()
            && (UNIT..=u64::from(MAX_SEGMENT)).contains(&u64::from(self.len))
            && self.offset.checked_add(u64::from(self.len)).is_some()
    }

    /// Returns the offset of its end. The place is valid.
    pub(super) fn end(&self) -> u64 {
        self.offset + u64::from(self.len)
    }

    /// Returns the offset in it of a position, if it begins at `base`.
    #[inline]
    pub(super) fn at(&self, base: u64, position: u64) -> usize {
        // The length is a power of two; what a short `usize` cuts off, the mask would.
        (position - base) as usize & (self.len as usize - 1)
    }
}

impl Word for AtomicU64 {
    #[inline]
    fn load(&self, ordering: Ordering) -> u64 {
        AtomicU64::load(self, ordering)
    }

    #[inline]
    fn store(&self, value: u64, ordering: Ordering) {
        AtomicU64::store(self, value, ordering);
    }

    #[inline]
    fn swap(&self, value: u64, ordering: Ordering) -> u64 {
        AtomicU64::swap(self, value, ordering)
    }

    #[inline]
    fn fetch_or(&self, bits: u64, ordering: Ordering) -> u64 {
        AtomicU64::fetch_or(self, bits, ordering)
    }

    #[inline]
    fn fetch_and(&self, bits: u64, ordering: Ordering) -> u64 {
        AtomicU64::fetch_and(self, bits, ordering)
    }

    #[inline]
    fn compare_exchange(
        &self,
        current: u64,
        new: u64,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u64, u64> {
        AtomicU64::compare_exchange(self, current, new, success, failure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEN: u32 = UNIT as u32;

    #[test]
    fn invalid_places_are_refused() {
        assert!(Place::FIRST.is_valid());
        for (offset, len) in
            [(UNIT, LEN), (1 << 40, MAX_SEGMENT), (0_u64.wrapping_sub(2 * UNIT), LEN)]
        {
            assert!(Place { offset, len }.is_valid(), "{offset} {len}");
        }
        for (offset, len) in [
            (0, LEN),
            (UNIT + 16, LEN),
            (UNIT + 4096, LEN),
            (UNIT, 0),
            (UNIT, LEN / 2),
            (UNIT, LEN + 16),
            (UNIT, 3 * LEN),
            (UNIT, 2 * MAX_SEGMENT),
            (0_u64.wrapping_sub(UNIT), LEN),
            (u64::MAX, LEN),
        ] {
            assert!(!Place { offset, len }.is_valid(), "{offset} {len}");
        }
    }
}
