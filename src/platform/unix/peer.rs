//! Who is at the other end of a socket.
//!
//! # Safety
//!
//! Two `getsockopt`. The one for credentials, because rustix's type for them has no room for the process id zero, which the kernel
//! reports for a process outside this PID namespace. The one for a process descriptor, because rustix does not have it; what the
//! kernel makes is owned in the expression that receives it.

#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Who connected, as the kernel noted it at that moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The process id; zero if the process cannot be seen from this PID namespace.
    pub pid: u32,
    /// The effective user id.
    pub uid: u32,
    /// The effective group id.
    pub gid: u32,
}

impl Peer {
    /// Who is at the other end of a socket: who made the connection, or who listened for it.
    pub fn of(socket: impl AsFd) -> io::Result<Peer> {
        let mut credentials = libc::ucred { pid: 0, uid: 0, gid: 0 };
        get_option(socket.as_fd(), libc::SO_PEERCRED, &mut credentials)?;
        Ok(Peer {
            pid: credentials.pid.try_into().unwrap_or(0),
            uid: credentials.uid,
            gid: credentials.gid,
        })
    }

    /// Whether it runs as the user that this process runs as, or as root.
    pub fn is_same_user(&self) -> bool {
        self.uid == rustix::process::geteuid().as_raw() || self.uid == 0
    }
}

/// A descriptor of the process at the other end of a socket, which is that process and no other, even if it has ended and its number
/// has been given away.
pub fn peer_process(socket: impl AsFd) -> io::Result<OwnedFd> {
    let mut fd: libc::c_int = -1;
    get_option(socket.as_fd(), libc::SO_PEERPIDFD, &mut fd).map_err(|error| {
        match error.raw_os_error() {
            Some(libc::ENOPROTOOPT) => io::Error::new(
                io::ErrorKind::Unsupported,
                "this kernel has no descriptors for the processes at the other end of a socket",
            ),
            _ => error,
        }
    })?;
    if fd < 0 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    // SAFETY: the kernel has just made it for this process, and nobody else knows of it.
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
