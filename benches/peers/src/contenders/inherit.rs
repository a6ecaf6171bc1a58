//! File descriptors that the far process inherits: for endpoints without a name to connect to.
//!
//! # Safety
//!
//! Raw numbers are used here only between two processes. In the far process, each was left open
//! for it alone, and becomes owned as soon as it is known.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use rustix::io::{FdFlags, fcntl_setfd};

use crate::contender::{Outcome, Start};

/// Starts a far side that has these descriptors too.
pub fn bequeath(ends: &[OwnedFd], start: Start<'_>) -> Outcome<()> {
    for end in ends {
        fcntl_setfd(end, FdFlags::empty())?;
    }
    let numbers: Vec<_> = ends.iter().map(|end| end.as_raw_fd().to_string()).collect();
    start(&numbers.join(","))
}

/// The far side: the descriptors that [`bequeath`] was called with. To be called once.
pub fn inherit<const COUNT: usize>(name: &str) -> Outcome<[OwnedFd; COUNT]> {
    let mut ends = Vec::with_capacity(COUNT);
    for number in name.split(',') {
        let number = number.parse()?;
        #[expect(clippy::disallowed_methods, reason = "the number comes from another process")]
        // SAFETY: the near side left this number open for us, and nothing else in this
        // process knows it.
        let end = unsafe { OwnedFd::from_raw_fd(number) };
        ends.push(end);
    }
    Ok(ends.try_into().map_err(|_| "inherited another number of descriptors")?)
}
