//! Bytes beside a message, in a vector.

use std::io;

/// A spool that is being written.
#[derive(Debug)]
pub struct SpoolWriter(Vec<u8>);

impl SpoolWriter {
    /// Makes an empty spool.
    pub fn new() -> io::Result<SpoolWriter> {
        Ok(SpoolWriter(Vec::new()))
    }

    /// Appends bytes.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let reserved = self.0.try_reserve(bytes.len());
        reserved.map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    /// Completes it.
    pub fn finish(self) -> io::Result<Vec<u8>> {
        Ok(self.0)
    }
}

/// A spool that is being read.
#[derive(Debug)]
pub struct Spool {
    bytes: Vec<u8>,
    position: usize,
}

impl Spool {
    pub(super) fn new(bytes: Vec<u8>) -> Spool {
        Spool { bytes, position: 0 }
    }

    /// Returns its length in bytes.
    pub fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Reads the next bytes.
    pub fn read(&mut self, to: &mut [u8]) -> io::Result<()> {
        let end = self.position.saturating_add(to.len());
        let from = self.bytes.get(self.position..end).ok_or(io::ErrorKind::UnexpectedEof)?;
        to.copy_from_slice(from);
        self.position = end;
        Ok(())
    }
}
