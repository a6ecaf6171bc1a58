//! What Linux alone reports of a socket, or can be told of it.
//!
//! # Safety
//!
//! The `ioctl` that returns the length of a queue, and the option that says from where on is
//! peeked, are called by way of libc: rustix has neither. Each is given one number, of which the
//! kernel is told the length.

#![allow(unsafe_code)]

use std::io;
use std::num::NonZeroU64;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::event::PollFlags;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

/// What `poll` reports of a socket to which nothing can be added any more. Not only a hang-up: a
/// peer can also shut the shared socket down for all senders.
pub(in crate::platform) const HANG_UP: PollFlags = PollFlags::RDHUP.union(PollFlags::HUP);

/// The control message besides `SCM_RIGHTS` in which file descriptors come: `SCM_PIDFD` of
/// linux/socket.h, which libc does not have for every target.
pub(in crate::platform) const OTHER_DESCRIPTORS: libc::c_int = 4;

/// Room for what the kernel adds to the file descriptors of a packet: credentials, a process
/// descriptor, a time stamp, a security label.
pub(in crate::platform) const EXTRA_CONTROL_BYTES: usize = 512;

/// Returns the identity of a socket: the kernel gives a number once while it runs. Before Linux 5.4
/// it is once in each network namespace. `None` where a sandbox forbids it.
pub(in crate::platform) fn cookie(socket: BorrowedFd<'_>) -> Option<NonZeroU64> {
    sockopt::socket_cookie(socket).ok().and_then(NonZeroU64::new)
}

/// Returns the address of this name in the abstract namespace.
pub(in crate::platform) fn abstract_address(name: &[u8]) -> io::Result<SocketAddrUnix> {
    Ok(SocketAddrUnix::new_abstract_name(name)?)
}

/// Makes the queue of a socket large enough for packets that may not wait. This process has made
/// the socket and has it alone. Later, this would take a lock of the socket, which another process
/// that has it can hold for as long as it likes.
pub(in crate::platform) fn enlarge_queue(socket: BorrowedFd<'_>) {
    /// The limit to request, found out with a socket that serves for nothing else. No lock: a
    /// forked child could find it locked.
    static LIMIT: AtomicUsize = AtomicUsize::new(UNKNOWN);
    const UNKNOWN: usize = 0;
    const NONE: usize = usize::MAX;

    let find = || {
        let family = AddressFamily::UNIX;
        let scratch =
            rustix::net::socket_with(family, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
        let scratch = scratch.ok()?;
        let usual = sockopt::socket_send_buffer_size(&scratch).ok()?;
        // The kernel doubles the given value, up to twice what the system allows (`wmem_max`),
        // which may be less than the usual.
        sockopt::set_socket_send_buffer_size(&scratch, 2 * usual).ok()?;
        let limit = sockopt::socket_send_buffer_size(&scratch).ok()?;
        (limit > usual).then_some(limit / 2)
    };
    let mut limit = LIMIT.load(Ordering::Relaxed);
    if limit == UNKNOWN {
        limit = find().unwrap_or(NONE);
        LIMIT.store(limit, Ordering::Relaxed);
    }
    if limit != NONE {
        let _ = sockopt::set_socket_send_buffer_size(socket, limit);
    }
}

/// Returns how much of the limit of a socket's queue the packets take up that were not received.
pub(in crate::platform) fn queued(socket: BorrowedFd<'_>) -> Option<usize> {
    let mut queued: libc::c_int = 0;
    // SAFETY: this request writes one `c_int`, which the pointer is good for.
    let asked = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut queued) };
    if asked == 0 { usize::try_from(queued).ok() } else { None }
}

/// Makes `MSG_PEEK` peek at the start of what is received next, in case another process that had
/// the socket has changed that.
pub(in crate::platform) fn peek_at_the_start(socket: BorrowedFd<'_>) {
    let mut offset: libc::c_int = -1;
    let mut len = size_of_val(&offset) as libc::socklen_t;
    let (level, option) = (libc::SOL_SOCKET, libc::SO_PEEK_OFF);
    // SAFETY: `offset` is writable for the length given, which is its own.
    unsafe {
        libc::getsockopt(socket.as_raw_fd(), level, option, (&raw mut offset).cast(), &raw mut len)
    };
    // Setting it takes the lock of the socket, which its former owner may hold: only where that
    // has changed it.
    if offset != -1 {
        let none: libc::c_int = -1;
        // SAFETY: `none` is readable for the length given, which is its own.
        unsafe {
            libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const none).cast(), len)
        };
    }
}
