//! Where a thread's stack is, and whether there is another thread.
//!
//! # Safety
//!
//! `pthread_getattr_np` and its like, by way of libc. They are given room for what they write, and
//! attributes are destroyed once.

#![allow(unsafe_code)]

use std::cell::Cell;
use std::fs;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::ptr;

thread_local! {
    /// The result, or that there is none. Without a destructor, so that it is there as long as the
    /// thread is.
    static STACK: Cell<Option<(usize, usize)>> = const { Cell::new(None) };
}

/// Returns the addresses of this thread's stack; `None` if the system does not report them. Code
/// that runs on another stack, like coroutines, is not within them.
pub fn stack() -> Option<Range<usize>> {
    let (start, end) = match STACK.get() {
        Some(known) => known,
        None => {
            let found = find().map_or((0, 0), |stack| (stack.start, stack.end));
            STACK.set(Some(found));
            found
        }
    };
    (start < end).then_some(start..end)
}

/// Asks the C library, which for the first thread reads a file, and for others makes one system
/// call.
fn find() -> Option<Range<usize>> {
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    // SAFETY: it has no conditions.
    let this = unsafe { libc::pthread_self() };
    // SAFETY: the thread is alive, and the pointer good for writes.
    if unsafe { libc::pthread_getattr_np(this, attributes.as_mut_ptr()) } != 0 {
        return None;
    }
    let (mut address, mut size, mut guard) = (ptr::null_mut(), 0, 0);
    let attributes = attributes.as_mut_ptr();
    // SAFETY: the attributes were initialised by a call that succeeded, and the pointers are good
    // for writes.
    let stack = unsafe { libc::pthread_attr_getstack(attributes, &raw mut address, &raw mut size) };
    // SAFETY: as before.
    let guarded = unsafe { libc::pthread_attr_getguardsize(attributes, &raw mut guard) };
    // SAFETY: they are initialised, and not used after this.
    unsafe { libc::pthread_attr_destroy(attributes) };
    if (stack, guarded) != (0, 0) {
        return None;
    }
    // Some C libraries count the guard pages as part of the stack.
    let start = address.addr();
    Some(start.checked_add(guard)?..start.checked_add(size)?)
}

/// Returns whether the calling thread is known to be the only one of this process.
pub(in crate::platform) fn is_only_thread() -> bool {
    fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.take(2).count() == 1)
}
