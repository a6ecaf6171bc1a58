//! What a ring asks of its memory. Platforms implement it with mapped files, tests with what lets them interfere.
//!
//! The peer may write to all of it at any time. An implementation hands out copies, never references into it.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

/// The unit in which places are aligned: no system maps at offsets that are finer than that. The words stand in the first unit.
pub const UNIT: u64 = 64 << 10;

/// The length of the first segment, which follows the first unit.
pub const FIRST_LEN: u32 = 64 << 10;

/// The length of the longest segment.
pub const MAX_SEGMENT: u32 = 64 << 20;

/// A word that both sides see. The operations and orderings are those of `AtomicU64`.
pub trait Word {
    /// As [`AtomicU64::load`].
    fn load(&self, ordering: Ordering) -> u64;

    /// As [`AtomicU64::store`].
    fn store(&self, value: u64, ordering: Ordering);

    /// As [`AtomicU64::swap`].
    fn swap(&self, value: u64, ordering: Ordering) -> u64;

    /// As [`AtomicU64::fetch_or`].
    fn fetch_or(&self, bits: u64, ordering: Ordering) -> u64;

    /// As [`AtomicU64::fetch_and`].
    fn fetch_and(&self, bits: u64, ordering: Ordering) -> u64;

    /// As [`AtomicU64::compare_exchange`].
    fn compare_exchange(
        &self,
        current: u64,
        new: u64,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u64, u64>;
}

/// The memory of a ring as one side has it.
pub trait Memory {
    /// How it has its words.
    type Word: Word;

    /// How it has a part of its bytes.
    type Segment: Segment;

    /// The position up to which records are published, and two bits: see [the module](super). Zero at first.
    fn tail(&self) -> &Self::Word;

    /// The position up to which records are consumed. Zero at first.
    fn head(&self) -> &Self::Word;

    /// What the consumer makes of the ring, as a [`State`](super::State). Zero at first.
    fn state(&self) -> &Self::Word;

    /// Makes part of the memory accessible. `place` [is valid](Place::is_valid).
    ///
    /// # Errors
    ///
    /// If the memory is not that long, or the part cannot be made accessible.
    fn segment(&self, place: Place) -> io::Result<Self::Segment>;

    /// Gives back the pages of a part that neither side uses any more. The same place may become a segment again. Failure costs memory
    /// and nothing else.
    fn release(&self, place: Place);
}

/// Part of the memory, accessible.
///
/// Whoever calls keeps to its length; an implementation may panic if not.
pub trait Segment {
    /// Writes `bytes` from `at` on.
    fn write(&self, at: usize, bytes: &[u8]);

    /// Appends the `len` bytes from `at` on to `out`, each read once: the peer may be writing meanwhile.
    fn read(&self, at: usize, len: usize, out: &mut Vec<u8>);

    /// The `N` bytes from `at` on, each read once.
    fn read_array<const N: usize>(&self, at: usize) -> [u8; N];
}

/// Where in the memory a segment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where it begins.
    pub offset: u64,
    /// How long it is.
    pub len: u32,
}

impl Place {
    /// Where every ring begins.
    pub const FIRST: Place = Place { offset: UNIT, len: FIRST_LEN };

    /// Whether there can be a segment: not in the first unit, aligned, and of a length that is a power of two, from one unit to
    /// [`MAX_SEGMENT`].
    pub fn is_valid(&self) -> bool {
        self.offset >= UNIT
            && self.offset % UNIT == 0
            && self.len.is_power_of_two()
            && (UNIT..=u64::from(MAX_SEGMENT)).contains(&u64::from(self.len))
            && self.offset.checked_add(u64::from(self.len)).is_some()
    }

    /// Where it ends. It is valid.
    pub(super) fn end(&self) -> u64 {
        self.offset + u64::from(self.len)
    }

    /// Where in it a position is, if it begins at `base`.
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
    fn places_are_checked() {
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
