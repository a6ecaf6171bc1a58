//! Shared memory in sealed memfds.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{MemfdFlags, SealFlags};

use super::attachment::Received;
use super::limits;
use super::mapping::{Mapping, Share};

/// `TMPFS_MAGIC` of linux/magic.h: what the files behind memfds are on. Huge-page memfds are not, and can run out of pages
/// at an access.
const TMPFS_MAGIC: i64 = 0x0102_1994;

/// Memory that several processes map. Clones share one mapping and one descriptor. It is never empty.
#[derive(Clone, Debug)]
pub struct Memory(Arc<Shared>);

/// A memfd, and all of it mapped.
#[derive(Debug)]
pub(super) struct Shared {
    fd: OwnedFd,
    mapping: Mapping,
}

impl Memory {
    /// Makes `len` bytes, zeroed. `len` is not zero.
    pub fn new(len: usize) -> io::Result<Memory> {
        let fd = new_file("strait", len as u64)?;
        rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        let mapping = Mapping::new(fd.as_fd(), 0, len, None)?;
        Ok(Memory(Arc::new(Shared { fd, mapping })))
    }

    /// Maps what a peer sent, once it is certain that the peer cannot take it away again.
    pub(super) fn from_received(fd: Received, len: u64) -> io::Result<Memory> {
        let len =
            usize::try_from(len).ok().filter(|&len| len > 0).ok_or_else(|| refuse("bad length"))?;
        check_file(fd.as_fd())?;
        check_length(fd.as_fd(), len as u64)?;
        let mapping = Mapping::new(fd.as_fd(), 0, len, Some(Share::claim(len)?))?;
        Ok(Memory(Arc::new(Shared { fd: fd.accept(), mapping })))
    }

    pub(super) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.0)
    }

    /// How many bytes it has.
    pub fn size(&self) -> usize {
        self.0.mapping.len()
    }

    /// Where it is in this process. Valid for reads and writes of [`size`](Memory::size) bytes while `self` lives.
    pub fn as_ptr(&self) -> *mut u8 {
        self.0.mapping.as_ptr()
    }
}

impl AsFd for Shared {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Makes a memfd that can be sealed, of `len` bytes. Its name is for people who look at what a process has open.
pub(super) fn new_file(name: &str, len: u64) -> io::Result<OwnedFd> {
    let fd = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    lengthen(fd.as_fd(), len)?;
    Ok(fd)
}

/// Makes a memfd `len` bytes long.
pub(super) fn lengthen(fd: BorrowedFd<'_>, len: u64) -> io::Result<()> {
    // A memfd counts as a file, and one that exceeds the limit on files is answered with a deadly signal.
    if limits::file_size().is_some_and(|limit| len > limit) {
        return Err(rustix::io::Errno::FBIG.into());
    }
    Ok(rustix::fs::ftruncate(fd, len)?)
}

/// Makes sure that a file that a peer sent is memory, and never becomes shorter.
pub(super) fn check_file(fd: BorrowedFd<'_>) -> io::Result<()> {
    // Only memfds can have this seal: other files on a tmpfs are sealed against sealing.
    let seals = rustix::fs::fcntl_get_seals(fd).map_err(|_| refuse("not a memfd"))?;
    if !seals.contains(SealFlags::SHRINK) {
        return Err(refuse("not sealed against shrinking"));
    }
    if i128::from(rustix::fs::fstatfs(fd)?.f_type) != i128::from(TMPFS_MAGIC) {
        return Err(refuse("not ordinary memory"));
    }
    Ok(())
}

/// Makes sure that a file has `len` bytes.
pub(super) fn check_length(fd: BorrowedFd<'_>, len: u64) -> io::Result<()> {
    if u64::try_from(rustix::fs::fstat(fd)?.st_size).unwrap_or(0) < len {
        return Err(refuse("shorter than announced"));
    }
    Ok(())
}

fn refuse(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("shared memory refused: {why}"))
}
