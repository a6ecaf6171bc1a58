//! The resource limits of this process.
//!
//! # Safety
//!
//! `getrlimit` by way of libc, because rustix's panics where a sandbox forbids it. It is given room
//! for what it writes.

#![allow(unsafe_code)]

use std::mem::MaybeUninit;

/// How many file descriptors a process usually may have, if the limit cannot be read.
const USUAL_DESCRIPTORS: u64 = 1024;

/// Returns how many file descriptors this process may have.
pub(in crate::platform) fn descriptors() -> u64 {
    // SAFETY: the pointer is good for writes.
    let limit = read(|limit| unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, limit) });
    limit.unwrap_or(USUAL_DESCRIPTORS)
}

/// Returns how large a file this process may make; `None` if there is no limit or it cannot be
/// read.
pub(in crate::platform) fn file_size() -> Option<u64> {
    // SAFETY: the pointer is good for writes.
    let limit = read(|limit| unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, limit) });
    limit.filter(|&limit| limit != widened(libc::RLIM_INFINITY))
}

/// Returns the soft limit that `get` fetches, if it succeeds; the pointer that it is given is good
/// for writes.
fn read(get: impl FnOnce(*mut libc::rlimit) -> libc::c_int) -> Option<u64> {
    let mut limit = MaybeUninit::<libc::rlimit>::zeroed();
    if get(limit.as_mut_ptr()) != 0 {
        return None;
    }
    // SAFETY: any bytes are an `rlimit`, and they were zeroed.
    Some(widened(unsafe { limit.assume_init() }.rlim_cur))
}

/// Converts a limit to 64 bits: glibc's have 32 where pointers do, and FreeBSD's have a sign.
fn widened(limit: impl TryInto<u64>) -> u64 {
    limit.try_into().unwrap_or(u64::MAX)
}
