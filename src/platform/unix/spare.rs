//! A descriptor that each receiving process keeps in reserve, for what must not be lost for want of one.
//!
//! The kernel throws a descriptor away that it cannot put into the table of the receiving process. For the memory of a ring that would be
//! the end of the messages in it, which may be all that is left of their sender.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Mutex;

use rustix::event::{EventfdFlags, eventfd};

/// It is only tried to be locked: a forked child may have it locked by a thread that it does not have.
static SPARE: Mutex<Option<OwnedFd>> = Mutex::new(None);

/// Puts a descriptor by, unless there is one, or none can be had.
pub(super) fn keep() {
    if let Ok(mut spare) = SPARE.try_lock() {
        if spare.is_none() {
            *spare = make().ok();
        }
    }
}

/// Closes it, so that one more can be received. Whether there was one.
pub(super) fn release() -> bool {
    SPARE.try_lock().is_ok_and(|mut spare| spare.take().is_some())
}

/// Whether the table of descriptors has room.
///
/// # Errors
///
/// It has none.
pub(super) fn check_room() -> io::Result<()> {
    make().map(drop)
}

fn make() -> io::Result<OwnedFd> {
    Ok(eventfd(0, EventfdFlags::CLOEXEC)?)
}
