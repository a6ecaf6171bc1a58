//! A message that arrives in fragments.

use std::fmt;

use super::poison::Why;

/// How much memory is reserved ahead of what arrived of a message: this multiple of it.
const AHEAD: usize = 16;

/// A message of which fragments have arrived, perhaps all.
#[derive(PartialEq, Eq)]
pub struct Partial {
    /// Its total length.
    pub total: u64,
    /// Its stamp.
    pub stamp: u64,
    /// Its bytes so far.
    pub bytes: Vec<u8>,
    /// If it is longer than wanted: how many of its bytes were skipped. None are kept.
    pub skipped: Option<u64>,
}

impl Partial {
    /// Returns how many bytes are missing. There are never more bytes than its total length.
    pub(super) fn missing(&self) -> u64 {
        self.total - self.skipped.unwrap_or(0) - self.bytes.len() as u64
    }

    /// Discards its bytes, and keeps no more.
    pub(super) fn skip(&mut self) {
        let kept = std::mem::take(&mut self.bytes).len() as u64;
        self.skipped = Some(self.skipped.unwrap_or(0) + kept);
    }

    /// Returns whether a consumer can have held it.
    pub(super) fn is_sound(&self, max_message: usize) -> bool {
        let len = (self.bytes.len() as u64).saturating_add(self.skipped.unwrap_or(0));
        len > 0 && len <= self.total && self.total <= max_message as u64
    }

    /// Makes room for `len` more bytes, of at least as many that are missing. Reserves ahead of
    /// that a multiple of the present ones, so that little is moved; never more than was announced.
    pub(super) fn reserve(&mut self, len: usize) -> Result<(), Why> {
        if self.bytes.capacity() - self.bytes.len() >= len {
            return Ok(());
        }
        let ahead = (self.bytes.len() + len).saturating_mul(AHEAD);
        let ahead = usize::try_from(self.missing()).map_or(ahead, |missing| missing.min(ahead));
        let reserved = self.bytes.try_reserve_exact(ahead);
        reserved.or_else(|_| self.bytes.try_reserve_exact(len)).map_err(|_| Why::NoMemory)
    }
}

/// Prints numbers only: messages of a peer may be long, and are confidential.
impl fmt::Debug for Partial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Partial")
            .field("bytes", &self.bytes.len())
            .field("of_bytes", &self.total)
            .finish_non_exhaustive()
    }
}
