//! Waiting for one file descriptor.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use crate::platform::Wait;

/// Blocks until there is an event on one file descriptor, as `wait` says; returns no flags when the
/// time is over.
pub(in crate::platform) fn poll(
    fd: BorrowedFd<'_>,
    events: PollFlags,
    wait: Wait,
) -> io::Result<PollFlags> {
    loop {
        let mut fds = [PollFd::from_borrowed_fd(fd, events)];
        match rustix::event::poll(&mut fds, timeout(wait).as_ref()) {
            Ok(_) => return Ok(fds[0].revents()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Returns the remaining timeout for the kernel.
pub(in crate::platform) fn timeout(wait: Wait) -> Option<Timespec> {
    wait.remaining().map(|left| Timespec {
        tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: left.subsec_nanos().into(),
    })
}
