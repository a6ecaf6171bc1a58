//! What the kernel is told of mapped memory, by `madvise`.
//!
//! # Safety
//!
//! Each call is for a whole mapping of this process, whose bytes stay as they are in this process.
//! In a forked child they are then missing or zero, which the callers of these functions expect.

#![allow(unsafe_code)]

use std::ffi::c_void;
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use rustix::io::Errno;
use rustix::mm::Advice;

use crate::platform::unix::mapping::Mapping;

/// Keeps a mapping from forked children: there it must not be used any more.
pub(super) fn keep_to_this_process(mapping: &mut Mapping) -> io::Result<()> {
    let start = mapping.as_ptr().cast::<c_void>();
    // SAFETY: the region is a whole mapping of this process's; it stays as it is here.
    unsafe { rustix::mm::madvise(start, mapping.len(), Advice::LinuxDontFork)? };
    mapping.note_missing_in_children();
    Ok(())
}

/// Allocates all pages of a mapping now, so that a lack of memory is an error here and not a signal
/// at an access. Takes no lock of the file.
pub(super) fn populate(mapping: &Mapping) -> io::Result<()> {
    let start = mapping.as_ptr().cast::<c_void>();
    loop {
        // SAFETY: the region is a whole mapping of this process's; its bytes stay as they are.
        match unsafe { rustix::mm::madvise(start, mapping.len(), Advice::LinuxPopulateWrite) } {
            Err(Errno::INTR | Errno::AGAIN) => {}
            Ok(()) => return Ok(()),
            // Before Linux 5.14, or in a sandbox: pages are then allocated at the first access.
            Err(Errno::INVAL | Errno::NOSYS | Errno::PERM | Errno::ACCESS) => {
                mapping.touch();
                return Ok(());
            }
            // The kernel reports a lack of memory for a file as a bad address.
            Err(Errno::FAULT) => return Err(io::ErrorKind::OutOfMemory.into()),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Makes the kernel fill a page with zeros in forked children. Returns false before Linux 4.14, and
/// where a sandbox forbids it.
///
/// # Safety
///
/// `page` is a whole private mapping of `len` bytes that was just made, and nothing refers to it.
pub(in crate::platform) unsafe fn wipe_on_fork(page: NonNull<AtomicU64>, len: usize) -> bool {
    // SAFETY: the caller's promise.
    unsafe { rustix::mm::madvise(page.as_ptr().cast(), len, Advice::LinuxWipeOnFork) }.is_ok()
}
