//! Mapped files.
//!
//! # Safety
//!
//! A [`Mapping`] owns one `mmap`ed region. It is mapped when it is made and unmapped when it is
//! dropped, except in a forked child that has no copy of it. Every access through it stays within
//! its length, which is asserted. The file behind it is sealed against shrinking and at least as
//! long. So no peer can make an access fault, unless the system has no page left for a hole in it.
//! A peer may write to it at any time: no reference to its bytes is made here, and each is copied
//! once.

#![allow(unsafe_code)]

use std::ffi::c_void;
use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};

use crate::platform::fork_generation;

/// How much address space may be mapped at the same time for files of peers. These have holes, so a
/// terabyte costs the peer nothing. It would cost this process the room for everything else.
const MAX_RECEIVED_BYTES: usize = if usize::BITS >= 64 { (1_u64 << 44) as usize } else { 1 << 30 };

/// The smallest page size of any kernel.
const SMALLEST_PAGE: usize = 4096;

/// A share of that address space, given back on drop.
#[derive(Debug)]
pub(in crate::platform) struct Share(usize);

impl Share {
    /// Takes the share for a mapping of `len` bytes.
    ///
    /// # Errors
    ///
    /// Fails if there is not so much left.
    pub(in crate::platform) fn claim(len: usize) -> io::Result<Share> {
        RECEIVED_BYTES
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |bytes| {
                bytes.checked_add(len).filter(|&sum| sum <= MAX_RECEIVED_BYTES)
            })
            .map(|_| Share(len))
            .map_err(|_| io::ErrorKind::OutOfMemory.into())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        RECEIVED_BYTES.fetch_sub(self.0, Ordering::Relaxed);
    }
}

static RECEIVED_BYTES: AtomicUsize = AtomicUsize::new(0);

/// Returns the size of the kernel's pages.
pub(in crate::platform) fn page_size() -> usize {
    // SAFETY: it only reads a number that libc knows.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(SMALLEST_PAGE)
}

/// A mapped part of a file.
#[derive(Debug)]
pub(in crate::platform) struct Mapping {
    start: NonNull<u8>,
    len: usize,
    /// The only process that has it, if forked children have no copy.
    owner: Option<u64>,
    /// For files of peers.
    _share: Option<Share>,
}

// SAFETY: the region is plain memory that belongs to no thread; unmapping may happen on any.
unsafe impl Send for Mapping {}
// SAFETY: a shared `Mapping` gives out pointers, words that are atomic, and copies.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `len` bytes of a file from `offset` on, a multiple of the page size. The caller has
    /// made sure that the file has them and keeps them.
    pub(in crate::platform) fn new(
        fd: BorrowedFd<'_>,
        offset: u64,
        len: usize,
        share: Option<Share>,
    ) -> io::Result<Mapping> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        Mapping::with(fd, offset, len, protection, MapFlags::SHARED, share)
    }

    /// Maps the first `len` bytes of a file read-only: a write through it is a fault.
    pub(in crate::platform) fn read_only(
        fd: BorrowedFd<'_>,
        len: usize,
        flags: MapFlags,
        share: Option<Share>,
    ) -> io::Result<Mapping> {
        Mapping::with(fd, 0, len, ProtFlags::READ, flags, share)
    }

    fn with(
        fd: BorrowedFd<'_>,
        offset: u64,
        len: usize,
        protection: ProtFlags,
        flags: MapFlags,
        share: Option<Share>,
    ) -> io::Result<Mapping> {
        // Slices are made of it, which are not longer than that.
        if isize::try_from(len).is_err() {
            return Err(Errno::OVERFLOW.into());
        }
        // SAFETY: a new mapping at an address of the kernel's choice touches no existing memory.
        let start =
            unsafe { rustix::mm::mmap(ptr::null_mut(), len, protection, flags, fd, offset)? };
        let start = NonNull::new(start.cast::<u8>())
            .ok_or_else(|| io::Error::other("the kernel mapped memory at address zero"))?;
        Ok(Mapping { start, len, owner: None, _share: share })
    }

    /// Notes that forked children have no copy of it: there it must not be used any more.
    pub(in crate::platform) fn note_missing_in_children(&mut self) {
        self.owner = Some(fork_generation());
    }

    /// Writes to each page without changing its content, which allocates it.
    pub(in crate::platform) fn touch(&self) {
        for at in (0..self.len).step_by(SMALLEST_PAGE) {
            self.word(at).fetch_or(0, Ordering::Relaxed);
        }
    }

    /// Returns whether all its pages are in memory, so that reading allocates none. A page that
    /// this process allocates in a peer's file is charged to this process for as long as the peer
    /// keeps the file. `None` if a sandbox forbids the call.
    pub(in crate::platform) fn is_resident(&self) -> Option<bool> {
        // More than there are where pages are larger.
        let mut pages = vec![0_u8; self.len.div_ceil(SMALLEST_PAGE)];
        let start = self.start.as_ptr().cast::<c_void>();
        // SAFETY: the region is a whole mapping of this process's, and there is a byte for each of
        // its pages.
        let asked = unsafe { libc::mincore(start, self.len, pages.as_mut_ptr().cast()) };
        let count = self.len.div_ceil(page_size());
        (asked == 0).then(|| pages[..count].iter().all(|page| page & 1 != 0))
    }

    /// Returns its length in bytes.
    pub(in crate::platform) fn len(&self) -> usize {
        self.len
    }

    /// Returns its address. Valid for reads of [`len`](Mapping::len) bytes while it lives, and for
    /// writes unless it is [read-only](Mapping::read_only).
    pub(in crate::platform) fn as_ptr(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// Returns the words that are entirely in it. In a [read-only](Mapping::read_only) mapping only
    /// relaxed loads are allowed.
    #[inline]
    pub(in crate::platform) fn words(&self) -> &[AtomicUsize] {
        let start = self.start.cast::<AtomicUsize>().as_ptr();
        // SAFETY: the region begins at a page, so this is aligned; so many words are in it, and it
        // is mapped while `self` is borrowed; any bytes are a number, and this process accesses
        // them as atomics only. `std::sync::atomic` allows relaxed loads of this size from
        // read-only memory.
        unsafe { slice::from_raw_parts(start, self.len / size_of::<AtomicUsize>()) }
    }

    /// Returns the word at a multiple of 8.
    #[inline]
    pub(in crate::platform) fn word(&self, at: usize) -> &AtomicU64 {
        assert!(at % 8 == 0 && at.checked_add(8).is_some_and(|end| end <= self.len));
        // SAFETY: it is within the region, by the assertion.
        let word = unsafe { self.start.add(at) };
        // SAFETY: the region begins at a page, so this is aligned; it is mapped while `self` is
        // borrowed, any bytes are a number, and both sides access it as an atomic.
        unsafe { word.cast::<AtomicU64>().as_ref() }
    }

    /// Copies `bytes` to `at`.
    #[inline]
    pub(in crate::platform) fn write(&self, at: usize, bytes: &[u8]) {
        self.check(at, bytes.len());
        // SAFETY: it is within the region, by the assertion.
        let to = unsafe { self.start.add(at) };
        // SAFETY: both are valid for so many bytes; `bytes` is a reference, so the peer cannot
        // write to it, and they do not overlap.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to.as_ptr(), bytes.len()) }
    }

    /// Appends `len` bytes from `at` on to `out`.
    #[inline]
    pub(in crate::platform) fn read(&self, at: usize, len: usize, out: &mut Vec<u8>) {
        self.check(at, len);
        out.reserve(len);
        // SAFETY: it is within the region, by the assertion.
        let from = unsafe { self.start.add(at) };
        let to = out.spare_capacity_mut().as_mut_ptr().cast::<u8>();
        // SAFETY: both are valid for so many bytes, and the vector's memory is its own.
        unsafe { ptr::copy_nonoverlapping(from.as_ptr(), to, len) }
        // SAFETY: these bytes of its capacity have just been written.
        unsafe { out.set_len(out.len() + len) }
    }

    /// Returns the `N` bytes from `at` on.
    #[inline]
    pub(in crate::platform) fn read_array<const N: usize>(&self, at: usize) -> [u8; N] {
        self.check(at, N);
        // SAFETY: it is within the region, by the assertion.
        let from = unsafe { self.start.add(at) };
        // SAFETY: valid for so many bytes, any of which are such an array, which need not be
        // aligned.
        unsafe { from.cast::<[u8; N]>().as_ptr().read_volatile() }
    }

    #[inline]
    fn check(&self, at: usize, len: usize) {
        assert!(at.checked_add(len).is_some_and(|end| end <= self.len), "outside of the mapping");
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // A forked child has no copy of it, and something else may be in its place.
        if self.owner.is_some_and(|owner| owner != fork_generation()) {
            return;
        }
        // SAFETY: `start` and `len` are those of the mapping made in `new`; nothing borrows from a
        // dropped `Mapping`.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast::<c_void>(), self.len) };
    }
}
