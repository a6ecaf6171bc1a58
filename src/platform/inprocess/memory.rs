//! Shared memory within one process: heap that clones share.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::InProcess;
use crate::platform::contract::Memory as _;
use crate::platform::{contract, words};

/// Memory whose content never changes. Clones share it. It is never empty.
#[derive(Clone)]
pub struct Memory(Arc<Vec<u8>>);

impl contract::Memory for Memory {
    fn new(len: usize) -> io::Result<Memory> {
        Memory::from_byte(0, len)
    }

    fn from_bytes(bytes: &[u8]) -> io::Result<Memory> {
        let mut copy = with_capacity(bytes.len())?;
        copy.extend_from_slice(bytes);
        Ok(Memory(Arc::new(copy)))
    }

    fn from_byte(byte: u8, len: usize) -> io::Result<Memory> {
        let mut bytes = with_capacity(len)?;
        bytes.resize(len, byte);
        Ok(Memory(Arc::new(bytes)))
    }

    fn size(&self) -> usize {
        self.0.len()
    }

    fn as_slice(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("size", &self.size()).finish_non_exhaustive()
    }
}

/// Memory that can be written while others read it. Clones share it. It is never empty.
#[derive(Clone, Debug)]
pub struct MemoryWriter(Written);

/// The same memory, read-only. Clones share it.
#[derive(Clone, Debug)]
pub struct MemoryReader(Written);

impl contract::MemoryWriter<InProcess> for MemoryWriter {
    fn new(len: usize) -> io::Result<MemoryWriter> {
        let count = words::count(len).ok_or(io::ErrorKind::OutOfMemory)?;
        let mut words = with_capacity(count)?;
        words.resize_with(count, AtomicUsize::default);
        let region = Region { words, has_readers: AtomicBool::new(false) };
        Ok(MemoryWriter(Written { region: Arc::new(region), len }))
    }

    fn size(&self) -> usize {
        self.0.len
    }

    fn read(&self, offset: usize, out: &mut [u8]) {
        words::read(&self.0.region.words, offset, out);
    }

    fn write(&self, offset: usize, bytes: &[u8]) {
        words::write(&self.0.region.words, offset, bytes);
    }

    /// Returns a reader. From now on the memory's writers cannot be sent, as on systems that seal
    /// it.
    ///
    /// # Errors
    ///
    /// None in this backend.
    fn reader(&self) -> io::Result<MemoryReader> {
        self.0.region.has_readers.store(true, Ordering::Relaxed);
        Ok(MemoryReader(self.0.clone()))
    }
}

impl MemoryWriter {
    /// Returns whether `reader` has been called.
    pub(super) fn has_readers(&self) -> bool {
        self.0.region.has_readers.load(Ordering::Relaxed)
    }
}

impl contract::MemoryReader for MemoryReader {
    fn size(&self) -> usize {
        self.0.len
    }

    fn read(&self, offset: usize, out: &mut [u8]) {
        words::read(&self.0.region.words, offset, out);
    }
}

#[derive(Clone)]
struct Written {
    region: Arc<Region>,
    len: usize,
}

struct Region {
    words: Vec<AtomicUsize>,
    has_readers: AtomicBool,
}

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Written").field("len", &self.len).finish_non_exhaustive()
    }
}

fn with_capacity<T>(count: usize) -> io::Result<Vec<T>> {
    let mut values = Vec::new();
    values.try_reserve_exact(count).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
    Ok(values)
}
