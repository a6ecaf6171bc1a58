//! The limits that this process runs under.
//!
//! # Safety
//!
//! `getrlimit` by way of libc, because rustix's panics where a sandbox forbids it. It is given room for what it writes.

#![allow(unsafe_code)]

use std::mem::MaybeUninit;

/// How many descriptors a process usually may have, for when it cannot be asked.
const USUAL_DESCRIPTORS: u64 = 1024;

/// How many descriptors this process may have.
pub(super) fn descriptors() -> u64 {
    // SAFETY: the pointer is good for writes.
    let limit = read(|limit| unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, limit) });
    limit.unwrap_or(USUAL_DESCRIPTORS)
}

/// How large a file this process may make; `None` if there is no limit or it may not be asked for.
pub(super) fn file_size() -> Option<u64> {
    // SAFETY: the pointer is good for writes.
    let limit = read(|limit| unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, limit) });
    limit.filter(|&limit| limit != widened(libc::RLIM_INFINITY))
}

/// The soft limit that `get` fetches, if it succeeds; the pointer that it is given is good for writes.
fn read(get: impl FnOnce(*mut libc::rlimit) -> libc::c_int) -> Option<u64> {
    let mut limit = MaybeUninit::<libc::rlimit>::zeroed();
    if get(limit.as_mut_ptr()) != 0 {
        return None;
    }
    // SAFETY: any bytes are an `rlimit`, and they were zeroed.
    Some(widened(unsafe { limit.assume_init() }.rlim_cur))
}

/// A limit as 64 bits: glibc's have 32 where pointers do.
fn widened(limit: impl Into<u64>) -> u64 {
    limit.into()
}
