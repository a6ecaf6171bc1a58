//! Bytes beside a message, in a memfd that is sealed once it is written.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;

use super::memory;
use crate::platform::contract;
use crate::platform::unix::limits;
use crate::platform::unix::received::Received;

/// The unit in which the kernel counts the blocks of a file.
const BLOCK_BYTES: u64 = 512;

/// A spool that is being written.
#[derive(Debug)]
pub struct SpoolWriter {
    file: OwnedFd,
    len: u64,
}

impl contract::SpoolWriter for SpoolWriter {
    fn new() -> io::Result<SpoolWriter> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        Ok(SpoolWriter { file: rustix::fs::memfd_create("strait-spool", flags)?, len: 0 })
    }

    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        self.len += bytes.len() as u64;
        // The kernel answers exceeding the limit on files with a deadly signal.
        if limits::file_size().is_some_and(|limit| self.len > limit) {
            return Err(Errno::FBIG.into());
        }
        while !bytes.is_empty() {
            match rustix::io::write(&self.file, bytes) {
                Err(Errno::INTR) => {}
                written => bytes = &bytes[written?..],
            }
        }
        Ok(())
    }
}

impl SpoolWriter {
    /// Seals it, so that its content does not change for any process that gets it.
    pub fn finish(self) -> io::Result<OwnedFd> {
        rustix::fs::fcntl_add_seals(&self.file, SEALS)?;
        Ok(self.file)
    }
}

const SEALS: SealFlags =
    SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::WRITE).union(SealFlags::SEAL);

/// A spool that is being read. It is read by calls, so that nothing is mapped.
#[derive(Debug)]
pub struct Spool {
    file: OwnedFd,
    len: u64,
    position: u64,
}

impl contract::Spool for Spool {
    fn size(&self) -> u64 {
        self.len
    }

    fn read(&mut self, to: &mut [u8]) -> io::Result<()> {
        let mut done = 0;
        while done < to.len() {
            match rustix::io::pread(&self.file, &mut to[done..], self.position) {
                Err(Errno::INTR) => {}
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => {
                    let read = read?;
                    done += read;
                    self.position += read as u64;
                }
            }
        }
        Ok(())
    }
}

impl Spool {
    pub(in crate::platform) fn from_received(file: Received) -> io::Result<Spool> {
        memory::check_file(file.as_fd())?;
        let sealed = rustix::fs::fcntl_get_seals(file.as_fd())?.contains(SEALS);
        let len = memory::length(file.as_fd())?;
        // A file with holes would take more memory to be read than it took to be sent.
        let is_whole = rustix::fs::fstat(file.as_fd())
            .map_or(true, |status| len <= status.st_blocks as u64 * BLOCK_BYTES);
        if !sealed || !is_whole {
            let text = "the spool of a moved receiver is not sealed, or has holes";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(Spool { file: file.accept(), len, position: 0 })
    }

    /// Opens a spool that was written here.
    pub(in crate::platform) fn from_written(file: OwnedFd) -> io::Result<Spool> {
        let len = memory::length(file.as_fd())?;
        Ok(Spool { file, len, position: 0 })
    }
}
