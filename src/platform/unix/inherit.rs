//! A receiver that a child process inherits: one file descriptor, found by an environment variable.
//!
//! The variable contains the number of the file descriptor and the identity of the socket.
//! Processes inherit variables from ancestors whose file descriptors they do not have, and a number
//! is soon used for something else. Nothing is done to a file descriptor before it is known to be
//! that socket.
//!
//! # Safety
//!
//! The number of a file descriptor passes through `fork`, `exec` and text, and becomes an `OwnedFd`
//! in the child. This happens once in a process, and only if it is the socket that was made for
//! that. Nothing else in the process can own that socket. The environment is changed only by a
//! process that has one thread.

#![allow(unsafe_code)]

use std::num::NonZeroU64;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::process::{Child, Command};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{env, fmt, io};

use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use rustix::net::{AddressFamily, SocketType, sockopt};

use super::flavour::{cookie, is_only_thread};
use super::{PacketReceiver, spawn};
use crate::platform::{Wait, contract};

/// The name of the variable. Its value is a [`Reference`].
const VARIABLE: &str = "STRAIT_PARENT";

/// The lowest file descriptor that is not one of the standard streams, which a child gets by other
/// means.
const LOWEST: RawFd = 3;

/// Starts a process that inherits `receiver`, and otherwise the same file descriptors that it would
/// inherit in any case.
pub fn spawn_with(command: &mut Command, receiver: PacketReceiver) -> io::Result<(Child, Bequest)> {
    let mut fd = receiver.into_fd();
    if fd.as_raw_fd() < LOWEST {
        fd = fcntl_dupfd_cloexec(&fd, LOWEST)?;
    }
    let reference = Reference::of(fd.as_fd())?;
    let child = spawn::spawn_with(command, fd, (VARIABLE, &reference.to_string()))?;
    Ok((child, Bequest(())))
}

/// What this process keeps of a receiver that a child has inherited: nothing.
#[derive(Debug)]
pub struct Bequest(());

impl contract::Bequest for Bequest {
    /// Does nothing: the child has it since it was started.
    #[inline]
    fn hand_over(&mut self, _: &mut Child, _: Wait) -> io::Result<bool> {
        Ok(true)
    }
}

/// Takes the receiver that this process has inherited, and removes the variable from the
/// environment if that is safe.
pub fn inherited() -> io::Result<PacketReceiver> {
    /// A forked child of a process that has taken it no longer has it, either.
    static IS_TAKEN: AtomicBool = AtomicBool::new(false);

    let reference = match find() {
        Ok(reference) if !IS_TAKEN.swap(true, Ordering::Relaxed) => reference,
        Err(error) if !IS_TAKEN.load(Ordering::Relaxed) => return Err(error),
        _ => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "`strait::process::parent` was already called",
            ));
        }
    };
    #[expect(clippy::disallowed_methods, reason = "it comes out of the environment")]
    // SAFETY: it is open, and the socket that `spawn_with` made for this process. It was not taken
    // before: that happens once.
    let fd = unsafe { OwnedFd::from_raw_fd(reference.number) };
    fcntl_setfd(&fd, FdFlags::CLOEXEC)?;
    forget_variable();
    Ok(PacketReceiver::from(fd))
}

/// Returns the file descriptor that the variable names, if this process has it.
fn find() -> io::Result<Reference> {
    let missing = |why: &str| io::Error::new(io::ErrorKind::NotFound, why);
    let value = env::var_os(VARIABLE).ok_or_else(|| {
        missing("this process was not started with a channel: STRAIT_PARENT is not set")
    })?;
    let reference: Option<Reference> = value.to_str().and_then(|value| value.parse().ok());
    let reference = reference.ok_or_else(|| missing("STRAIT_PARENT does not name a channel"))?;
    if !reference.is_here() {
        return Err(missing(
            "this process does not have the channel that STRAIT_PARENT names: the variable was \
             inherited from an ancestor, or the program that started this process closed the \
             channel",
        ));
    }
    Ok(reference)
}

/// Removes the variable from the environment if no other thread can be reading it, in C, for
/// example, where there is no lock. If it stays, it does no harm: the socket that it names is this
/// process's, and is soon closed.
fn forget_variable() {
    if is_only_thread() {
        // SAFETY: this is the only thread, and starts no other meanwhile.
        unsafe { env::remove_var(VARIABLE) };
    }
}

/// A file descriptor and the identity of its socket, as text: four numbers, with colons between
/// them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reference {
    number: RawFd,
    identity: [u64; 3],
}

impl Reference {
    fn of(fd: BorrowedFd<'_>) -> io::Result<Reference> {
        let about = rustix::fs::fstat(fd)?;
        // An inode has its number while it lives, a cookie for ever. Where a sandbox forbids
        // cookies, parent and child have none.
        let cookie = cookie(fd).map_or(0, NonZeroU64::get);
        #[allow(clippy::unnecessary_cast, reason = "their types vary")]
        let identity = [about.st_dev as u64, about.st_ino as u64, cookie];
        Ok(Reference { number: fd.as_raw_fd(), identity })
    }

    /// Returns whether this process has the file descriptor, and it is that socket.
    fn is_here(self) -> bool {
        // SAFETY: it reads a flag of whatever has that number, if anything has.
        let is_open = unsafe { libc::fcntl(self.number, libc::F_GETFD) } >= 0;
        if !is_open {
            return false;
        }
        // SAFETY: it is open. If its owner closes it now, each of these calls returns a wrong
        // result or an error, and no more.
        let fd = unsafe { BorrowedFd::borrow_raw(self.number) };
        sockopt::socket_type(fd) == Ok(SocketType::SEQPACKET)
            && sockopt::socket_domain(fd) == Ok(AddressFamily::UNIX)
            && Reference::of(fd).is_ok_and(|here| here == self)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [device, inode, cookie] = self.identity;
        write!(f, "{}:{device}:{inode}:{cookie}", self.number)
    }
}

/// Parses untrusted text.
impl FromStr for Reference {
    type Err = ();

    fn from_str(text: &str) -> Result<Reference, ()> {
        let mut parts = text.split(':');
        let mut next = || parts.next().ok_or(());
        let number: RawFd = next()?.parse().map_err(drop)?;
        let mut identity = [0; 3];
        for part in &mut identity {
            *part = next()?.parse().map_err(drop)?;
        }
        if number < LOWEST || parts.next().is_some() {
            return Err(());
        }
        Ok(Reference { number, identity })
    }
}
