//! Bytes beside a message, in a vector.

use std::io;

use crate::platform::contract;

/// A spool that is being written.
#[derive(Debug)]
pub struct SpoolWriter(Vec<u8>);

impl contract::SpoolWriter for SpoolWriter {
    fn new() -> io::Result<SpoolWriter> {
        Ok(SpoolWriter(Vec::new()))
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let reserved = self.0.try_reserve(bytes.len());
        reserved.map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

impl SpoolWriter {
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

impl contract::Spool for Spool {
    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read(&mut self, to: &mut [u8]) -> io::Result<()> {
        let end = self.position.saturating_add(to.len());
        let from = self.bytes.get(self.position..end).ok_or(io::ErrorKind::UnexpectedEof)?;
        to.copy_from_slice(from);
        self.position = end;
        Ok(())
    }
}

impl Spool {
    pub(super) fn new(bytes: Vec<u8>) -> Spool {
        Spool { bytes, position: 0 }
    }
}
