//! A file descriptor that each receiving process keeps in reserve, for what must not be lost for
//! lack of one.
//!
//! The kernel discards a file descriptor that it cannot put into the table of the receiving
//! process. If it is the memory of a ring, the messages in it are lost, which may be all that is
//! left of their sender.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Mutex;

use super::flavour::always_readable;

/// Only locked by `try_lock`: in a forked child, a thread of its parent may hold the lock for ever.
static SPARE: Mutex<Option<OwnedFd>> = Mutex::new(None);

/// Sets a file descriptor aside, unless there is one, or none can be opened.
pub(in crate::platform) fn keep() {
    if let Ok(mut spare) = SPARE.try_lock() {
        if spare.is_none() {
            *spare = make().ok();
        }
    }
}

/// Closes it, so that one more can be received. Returns whether there was one.
pub(in crate::platform) fn release() -> bool {
    SPARE.try_lock().is_ok_and(|mut spare| spare.take().is_some())
}

/// Checks that the table of file descriptors has room.
///
/// # Errors
///
/// Fails if it has none.
pub(in crate::platform) fn check_room() -> io::Result<()> {
    make().map(drop)
}

fn make() -> io::Result<OwnedFd> {
    // Any would do.
    always_readable()
}
