//! Tells a process from its forked children, which must not touch some of its resources.
//!
//! The process id does not serve: a process and its child may both have the number 1, in PID
//! namespaces of their own. Nor does a fork handler of libc: it is not called if a process forks by
//! a system call of its own, as sandboxes do.
//!
//! # Safety
//!
//! One page is published and never unmapped, so the reference to the number at its start stays
//! valid. The kernel fills the page with zeros in a forked child, and zeros are a valid number.

#![allow(unsafe_code)]

use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use rustix::mm::{MapFlags, ProtFlags};

use super::flavour::wipe_on_fork;

/// The size of the mapping: at least a page is mapped.
const LEN: usize = size_of::<AtomicU64>();

/// Replaces the page where the kernel has none that a fork clears.
static NO_PAGE: AtomicU64 = AtomicU64::new(0);

/// Returns a number that a process does not share with its forked children, or theirs.
pub fn mark() -> u64 {
    /// Copied by a fork, so that a child goes on counting where its parent was.
    static LAST: AtomicU64 = AtomicU64::new(0);

    let Some(mark) = page() else {
        return std::process::id().into();
    };
    match mark.load(Ordering::Relaxed) {
        0 => {
            let new = LAST.fetch_add(1, Ordering::Relaxed) + 1;
            match mark.compare_exchange(0, new, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => new,
                Err(known) => known,
            }
        }
        known => known,
    }
}

/// Returns the page of this process, if the kernel supports it. No thread waits for another one
/// here, as with a `OnceLock`: in a forked child that other one would be missing.
#[inline]
fn page() -> Option<&'static AtomicU64> {
    static PAGE: AtomicPtr<AtomicU64> = AtomicPtr::new(ptr::null_mut());

    let mut page = PAGE.load(Ordering::Acquire);
    if page.is_null() {
        let new = wiped_on_fork().map_or(ptr::from_ref(&NO_PAGE).cast_mut(), NonNull::as_ptr);
        match PAGE.compare_exchange(page, new, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => page = new,
            Err(published) => {
                page = published;
                unmap(new);
            }
        }
    }
    if ptr::eq(page, &raw const NO_PAGE) {
        return None;
    }
    // SAFETY: it was published, so it is a page that stays mapped; that is aligned for, as large as
    // and initialised as the number.
    Some(unsafe { &*page })
}

/// Unmaps a page that was not published.
fn unmap(page: *mut AtomicU64) {
    if !ptr::eq(page, &raw const NO_PAGE) {
        // SAFETY: it was just mapped, and no reference to it was made.
        let _ = unsafe { rustix::mm::munmap(page.cast(), LEN) };
    }
}

/// Returns a number that is zero in a forked child; `None` where the kernel does not support it, or
/// a sandbox forbids it.
fn wiped_on_fork() -> Option<NonNull<AtomicU64>> {
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping at an address of the kernel's choice touches no existing memory.
    let page = unsafe {
        rustix::mm::mmap_anonymous(ptr::null_mut(), LEN, protection, MapFlags::PRIVATE).ok()?
    };
    let page = NonNull::new(page.cast::<AtomicU64>())?;
    // SAFETY: it is the private page that was just mapped, to which no reference exists.
    if unsafe { wipe_on_fork(page, LEN) } {
        return Some(page);
    }
    // SAFETY: as before.
    let _ = unsafe { rustix::mm::munmap(page.as_ptr().cast(), LEN) };
    None
}
