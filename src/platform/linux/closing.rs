//! Which file descriptors of a peer can be closed at once, whatever the peer does.
//!
//! They are recognised by calls that take no lock and ask no file system:
//!
//! - memory, which has seals;
//! - Unix sockets with an empty queue: the queue could contain further file descriptors.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::PollFlags;
use rustix::net::{AddressFamily, sockopt};

use crate::platform::Wait;
use crate::platform::unix::poll::poll;

/// Returns whether closing it blocks for no peer.
pub(in crate::platform) fn is_closed_at_once(fd: &OwnedFd) -> bool {
    // Neither call takes a lock that a process holds while it sleeps: `SO_DOMAIN` is a field of the
    // socket. The kernel tells other files from sockets, and from files with seals, by their
    // operations.
    match sockopt::socket_domain(fd) {
        Ok(AddressFamily::UNIX) => is_empty(fd),
        Ok(_) => false,
        Err(_) => rustix::fs::fcntl_get_seals(fd).is_ok(),
    }
}

/// Returns whether the queue of a Unix socket is empty. Other reasons for being readable count as
/// not empty.
fn is_empty(fd: &OwnedFd) -> bool {
    poll(fd.as_fd(), PollFlags::IN, Wait::Never).is_ok_and(|seen| seen.is_empty())
}
