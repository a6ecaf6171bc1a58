//! Shared memory of one process: a heap region that clones share.
//!
//! # Safety
//!
//! A [`Region`] owns one boxed slice by its raw pointer, from when it is made until it is dropped. It is never turned
//! into a reference here: who may read and write when is the public contract of shared memory.

#![allow(unsafe_code)]

use std::io;
use std::sync::Arc;

/// Memory that clones share. It is never empty.
#[derive(Clone, Debug)]
pub struct Memory(Arc<Region>);

impl Memory {
    /// Makes `len` bytes, zeroed. `len` is not zero.
    pub fn new(len: usize) -> io::Result<Memory> {
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(len).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        bytes.resize(len, 0);
        Ok(Memory(Arc::new(Region { bytes: Box::into_raw(bytes.into_boxed_slice()) })))
    }

    /// How many bytes it has.
    pub fn size(&self) -> usize {
        self.0.bytes.len()
    }

    /// Where it is. Valid for reads and writes of [`size`](Memory::size) bytes while `self` lives.
    pub fn as_ptr(&self) -> *mut u8 {
        self.0.bytes.cast()
    }
}

#[derive(Debug)]
struct Region {
    bytes: *mut [u8],
}

// SAFETY: the region is plain memory that belongs to no thread; freeing it may happen on any.
unsafe impl Send for Region {}
// SAFETY: a shared `Region` only hands out a raw pointer.
unsafe impl Sync for Region {}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the pointer came from `Box::into_raw`, and this is the only place that turns it back, once.
        drop(unsafe { Box::from_raw(self.bytes) });
    }
}
