//! Shared memory in sealed memfds.
//!
//! # Safety
//!
//! A [`Mapping`] owns one `mmap`ed region, mapped when it is made and unmapped when it is dropped. The file behind it
//! carries `F_SEAL_SHRINK` and is at least as long as the mapping, so no peer can make an access fault, unless the system has
//! no page left for a hole in it. That the *content* changes when a peer writes is part of the public contract of shared
//! memory.

#![allow(unsafe_code)]

use std::ffi::c_void;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};

use super::attachment::Received;
use super::limits;

/// `TMPFS_MAGIC` of linux/magic.h: what the files behind memfds are on. Huge-page memfds are not, and can run out of pages
/// at an access.
const TMPFS_MAGIC: i64 = 0x0102_1994;

/// How much address space may be mapped at the same time to what peers sent: their files have holes, so that a terabyte costs
/// them nothing, and would cost us the room for everything else.
const MAX_RECEIVED_BYTES: usize = if usize::BITS >= 64 { (1_u64 << 44) as usize } else { 1 << 30 };

/// A share of that, given back on drop.
#[derive(Debug)]
struct Share(usize);

impl Share {
    fn claim(len: usize) -> Option<Share> {
        RECEIVED_BYTES
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |bytes| {
                bytes.checked_add(len).filter(|&sum| sum <= MAX_RECEIVED_BYTES)
            })
            .ok()
            .map(|_| Share(len))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        RECEIVED_BYTES.fetch_sub(self.0, Ordering::Relaxed);
    }
}

static RECEIVED_BYTES: AtomicUsize = AtomicUsize::new(0);

/// Memory that several processes map. Clones share one mapping and one descriptor. It is never empty.
#[derive(Clone, Debug)]
pub struct Memory(Arc<Mapping>);

impl Memory {
    /// Makes `len` bytes, zeroed. `len` is not zero.
    pub fn new(len: usize) -> io::Result<Memory> {
        // A memfd counts as a file, and one that exceeds the limit on files is answered with a deadly signal.
        let limit = limits::file_size();
        if limit.is_some_and(|limit| len as u64 > limit) {
            return Err(rustix::io::Errno::FBIG.into());
        }
        let fd =
            rustix::fs::memfd_create("strait", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        rustix::fs::ftruncate(&fd, len as u64)?;
        rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        Mapping::new(fd, len, None).map(Memory::from)
    }

    /// Maps what a peer sent, once it is certain that the peer cannot take it away again.
    pub(super) fn from_received(fd: Received, len: u64) -> io::Result<Memory> {
        let refuse = |why: &str| {
            io::Error::new(io::ErrorKind::InvalidData, format!("shared memory refused: {why}"))
        };
        let len =
            usize::try_from(len).ok().filter(|&len| len > 0).ok_or_else(|| refuse("bad length"))?;
        // Only memfds can have this seal: other files on a tmpfs are sealed against sealing.
        let seals = rustix::fs::fcntl_get_seals(&fd).map_err(|_| refuse("not a memfd"))?;
        if !seals.contains(SealFlags::SHRINK) {
            return Err(refuse("not sealed against shrinking"));
        }
        if i128::from(rustix::fs::fstatfs(&fd)?.f_type) != i128::from(TMPFS_MAGIC) {
            return Err(refuse("not ordinary memory"));
        }
        if u64::try_from(rustix::fs::fstat(&fd)?.st_size).unwrap_or(0) < len as u64 {
            return Err(refuse("shorter than announced"));
        }
        let share = Share::claim(len).ok_or_else(|| refuse("too much of it is in use"))?;
        Mapping::new(fd.accept(), len, Some(share)).map(Memory::from)
    }

    pub(super) fn mapping(&self) -> Arc<Mapping> {
        Arc::clone(&self.0)
    }

    /// How many bytes it has.
    pub fn size(&self) -> usize {
        self.0.len
    }

    /// Where it is in this process. Valid for reads and writes of [`size`](Memory::size) bytes while `self` lives.
    pub fn as_ptr(&self) -> *mut u8 {
        self.0.start.as_ptr()
    }
}

impl From<Mapping> for Memory {
    fn from(mapping: Mapping) -> Memory {
        Memory(Arc::new(mapping))
    }
}

/// A mapped file, unmapped on drop.
#[derive(Debug)]
pub struct Mapping {
    fd: OwnedFd,
    start: NonNull<u8>,
    len: usize,
    /// For what a peer sent.
    _share: Option<Share>,
}

// SAFETY: the region is plain memory that belongs to no thread; unmapping may happen on any.
unsafe impl Send for Mapping {}
// SAFETY: a shared `Mapping` only hands out a raw pointer.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(fd: OwnedFd, len: usize, share: Option<Share>) -> io::Result<Mapping> {
        // What is made of it is slices, which are not longer than that.
        if isize::try_from(len).is_err() {
            return Err(rustix::io::Errno::OVERFLOW.into());
        }
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no existing memory.
        let start = unsafe {
            rustix::mm::mmap(ptr::null_mut(), len, protection, MapFlags::SHARED, &fd, 0)?
        };
        let start = NonNull::new(start.cast::<u8>())
            .ok_or_else(|| io::Error::other("the kernel mapped memory at address zero"))?;
        Ok(Mapping { fd, start, len, _share: share })
    }
}

impl AsFd for Mapping {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `start` and `len` are those of the mapping made in `new`; nothing borrows from a dropped `Mapping`.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast::<c_void>(), self.len) };
    }
}
