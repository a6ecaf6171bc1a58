//! The credentials of the process at the other end of a socket.
//!
//! # Safety
//!
//! Two calls of `getsockopt` by way of libc. The one for credentials, because rustix's type for
//! them has no room for the process id zero. The kernel reports that for a process outside this PID
//! namespace. The one for a pidfd, because rustix does not have it; what the kernel makes is owned
//! in the expression that receives it.

#![allow(unsafe_code)]

use std::fs;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::platform::contract;
use crate::platform::unix::spare;

/// The credentials of the process at the other end of a connection, as the kernel noted them when
/// the two were connected.
///
/// # Examples
///
/// See
/// [`IpcConnectionExt`](https://docs.rs/strait/latest/strait/os/unix/trait.IpcConnectionExt.html).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Peer {
    /// The process id; zero if the process cannot be seen from this PID namespace.
    pub pid: u32,
    /// The effective user id.
    pub uid: u32,
    /// The effective group id.
    pub gid: u32,
}

impl Peer {
    /// Returns the credentials of the process at the other end of a socket: the one that connected,
    /// or the one that listened.
    pub fn of(socket: impl AsFd) -> io::Result<Peer> {
        let mut credentials = libc::ucred { pid: 0, uid: 0, gid: 0 };
        get_option(socket.as_fd(), libc::SO_PEERCRED, &mut credentials)?;
        Ok(Peer {
            pid: credentials.pid.try_into().unwrap_or(0),
            uid: credentials.uid,
            gid: credentials.gid,
        })
    }

    /// Returns whether the process runs as the same user as this process, or as root.
    ///
    /// In a user namespace that does not map all users, an unmapped user shows as the overflow uid
    /// (65534, `nobody`). If this process runs as that, no other process is known to run as the
    /// same user, so this returns `false`. It also does if `/proc` is unavailable. A process that
    /// runs as `nobody` outside of such namespaces is the same user as others that do.
    pub fn is_same_user(&self) -> bool {
        contract::Peer::shows_as_same_user(self) && (self.uid == 0 || !is_ambiguous(self.uid))
    }
}

impl contract::Peer for Peer {
    fn is_same_user(&self) -> bool {
        Peer::is_same_user(self)
    }

    fn shows_as_same_user(&self) -> bool {
        self.uid == rustix::process::geteuid().as_raw() || self.uid == 0
    }
}

/// Returns whether processes or files with this uid may belong to different users, since this user
/// namespace does not map all.
pub(in crate::platform) fn is_ambiguous(uid: u32) -> bool {
    uid == overflow_uid() && !maps_all_users()
}

/// Returns the uid that unmapped users show as.
fn overflow_uid() -> u32 {
    const USUAL: u32 = 65534;

    let uid = read_proc("/proc/sys/kernel/overflowuid");
    uid.ok().and_then(|uid| uid.trim().parse().ok()).unwrap_or(USUAL)
}

/// Returns whether this user namespace has a number for each user, as the initial one has. Without
/// `/proc` it counts as one that has not.
fn maps_all_users() -> bool {
    let Ok(map) = read_proc("/proc/self/uid_map") else { return false };
    // Each line is a range: its start inside, its start outside, its length. Ranges do not overlap.
    let lengths =
        map.lines().filter_map(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok());
    lengths.sum::<u64>() >= u64::from(u32::MAX)
}

/// Reads a file of the kernel's, with the file descriptor in reserve if there is no other.
fn read_proc(path: &str) -> io::Result<String> {
    match fs::read_to_string(path) {
        Err(error) if error.raw_os_error() == Some(libc::EMFILE) && spare::release() => {
            let read = fs::read_to_string(path);
            spare::keep();
            read
        }
        read => read,
    }
}

/// Returns a pidfd of the process at the other end of a socket. It refers to that process and no
/// other, even if it has ended and its id was reused.
pub fn peer_process(socket: impl AsFd) -> io::Result<OwnedFd> {
    let mut fd: libc::c_int = -1;
    get_option(socket.as_fd(), libc::SO_PEERPIDFD, &mut fd).map_err(|error| {
        match error.raw_os_error() {
            Some(libc::ENOPROTOOPT) => io::Error::new(
                io::ErrorKind::Unsupported,
                "this kernel has no file descriptors for the peer processes of sockets",
            ),
            _ => error,
        }
    })?;
    if fd < 0 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    // SAFETY: the kernel has just made it for this process, and it has no other owner.
    #[expect(clippy::disallowed_methods, reason = "received here")]
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Fetches a socket option whose type, of which any bytes are a value, is `T`.
fn get_option<T: PlainOption>(
    socket: BorrowedFd<'_>,
    option: libc::c_int,
    value: &mut T,
) -> io::Result<()> {
    let mut len = mem::size_of::<T>() as libc::socklen_t;
    let place: *mut T = value;
    // SAFETY: `value` is writable for `len` bytes, and any bytes are valid for it.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, place.cast(), &raw mut len)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A type that any bytes are a value of.
trait PlainOption {}

impl PlainOption for libc::ucred {}
impl PlainOption for libc::c_int {}
