//! The clock by which messages are ordered.
//!
//! # Safety
//!
//! `clock_gettime` by way of libc, because rustix's own search for the vDSO crashes under valgrind.
//! It is given room for what it writes.

#![allow(unsafe_code)]

use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{fs, io};

use crate::platform::PerProcess;

/// Returns the time in nanoseconds. It never goes backwards, and all processes of one
/// [`clock_domain`] read the same clock.
#[inline]
pub fn now() -> u64 {
    nanos(libc::CLOCK_MONOTONIC)
}

/// Returns the time as of some milliseconds ago at most, which takes less time to read.
#[inline]
pub fn roughly_now() -> u64 {
    nanos(libc::CLOCK_MONOTONIC_COARSE)
}

#[inline]
fn nanos(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is good for writes.
    let result = unsafe { libc::clock_gettime(clock, &raw mut time) };
    // Usually no system call is made, and none fails: every Linux since 2.6.32 has both clocks.
    debug_assert_eq!(result, 0);
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}

/// No inode has this number: it means that the kernel was not asked.
const NOT_ASKED: u64 = 0;

/// ... and this one that it did not answer.
const UNKNOWN: u64 = u64::MAX;

/// Where the kernel is too old for there to be more than one.
const THE_ONLY_ONE: u64 = 1;

/// Returns a number that is the same for all processes that read the same clock; `None` if it is
/// not known. It is determined once, at best before a sandbox forbids it.
pub fn clock_domain() -> Option<u64> {
    // A child may be in another time namespace than its parent.
    static DOMAIN: PerProcess<AtomicU64> = PerProcess::of_no_process(AtomicU64::new(NOT_ASKED));

    let domain = DOMAIN.get();
    let mut known = domain.load(Ordering::Relaxed);
    if known == NOT_ASKED {
        known = time_namespace();
        domain.store(known, Ordering::Relaxed);
    }
    Some(known).filter(|&known| known != UNKNOWN)
}

fn time_namespace() -> u64 {
    match fs::metadata("/proc/self/ns/time") {
        Ok(namespace) => namespace.ino(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if fs::metadata("/proc/self/ns").is_ok() { THE_ONLY_ONE } else { UNKNOWN }
        }
        Err(_) => UNKNOWN,
    }
}
