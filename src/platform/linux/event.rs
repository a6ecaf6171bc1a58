//! A file descriptor that is readable while this process says so: an eventfd.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;

/// A file descriptor that is readable once it was set, until it is cleared.
#[derive(Debug)]
pub(in crate::platform) struct Event(OwnedFd);

impl Event {
    /// Makes one that is not set.
    pub(in crate::platform) fn new() -> io::Result<Event> {
        Ok(Event(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    /// Makes it readable. Each call is an edge for edge-triggered pollers.
    pub(in crate::platform) fn set(&self) -> io::Result<()> {
        loop {
            // Each addition is an edge, so the sum need not be read.
            match rustix::io::write(&self.0, &1_u64.to_ne_bytes()) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                // Until it overflows.
                Err(Errno::AGAIN) => match rustix::io::read(&self.0, &mut [0; 8]) {
                    Ok(_) | Err(Errno::AGAIN | Errno::INTR) => {}
                    Err(errno) => return Err(errno.into()),
                },
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Makes it not readable.
    pub(in crate::platform) fn clear(&self) {
        while rustix::io::read(&self.0, &mut [0; 8]) == Err(Errno::INTR) {}
    }
}

impl AsFd for Event {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Makes a file descriptor that is always readable.
pub(in crate::platform) fn always_readable() -> io::Result<OwnedFd> {
    Ok(eventfd(1, EventfdFlags::CLOEXEC)?)
}
