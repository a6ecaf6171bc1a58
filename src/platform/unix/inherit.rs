//! A receiver that a child process inherits: one descriptor, found by a variable of the environment.
//!
//! The variable says which descriptor it is, and which socket: processes inherit variables from ancestors whose descriptors they do
//! not have, and a number is soon something else. Nothing is done to a descriptor before it is known to be that socket.
//!
//! # Safety
//!
//! The number of a descriptor passes through `fork`, `exec` and text, and becomes an `OwnedFd` on the other side: once in a process, and
//! only if it is the socket that was made for that, which nobody else in the process can own. What runs between `fork` and `exec` counts
//! references and makes one system call. The environment is changed only by a process that has one thread.

#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{env, fmt, fs, io};

use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use rustix::net::{AddressFamily, SocketType, sockopt};

use super::PacketReceiver;

/// The variable. Its value is a [`Bequest`].
const VARIABLE: &str = "STRAIT_PARENT";

/// The lowest number that is not one of the standard streams, which a child gets from elsewhere.
const LOWEST: RawFd = 3;

/// Starts a process that inherits `receiver`, and of all other descriptors that this process has those that it would have had anyway.
pub fn spawn_with(command: &mut Command, receiver: PacketReceiver) -> io::Result<Child> {
    let mut fd = receiver.into_fd();
    if fd.as_raw_fd() < LOWEST {
        fd = fcntl_dupfd_cloexec(&fd, LOWEST)?;
    }
    let bequest = Bequest::of(fd.as_fd())?;
    let fd = Arc::new(fd);
    // The command keeps the closure, for all that it starts later: then there is nothing left that it could do anything to.
    let mine = Arc::downgrade(&fd);
    // In the child, and not here: others may be starting processes at the same time, and what they start must not inherit it.
    let inherit = move || match mine.upgrade() {
        Some(fd) => fcntl_setfd(&fd, FdFlags::empty()).map_err(io::Error::from),
        None => Ok(()),
    };
    // SAFETY: it counts up and down, never to zero, and makes one system call: no lock, no allocation, and errors are numbers.
    unsafe { command.pre_exec(inherit) };
    command.env(VARIABLE, bequest.to_string());
    let spawned = command.spawn();
    command.env_remove(VARIABLE);
    spawned
}

/// Takes the receiver that this process has inherited, and the variable out of the environment if that is safe.
pub fn inherited() -> io::Result<PacketReceiver> {
    /// A forked child of one that has taken it has it no more, either.
    static IS_TAKEN: AtomicBool = AtomicBool::new(false);

    let bequest = match find() {
        Ok(bequest) if !IS_TAKEN.swap(true, Ordering::Relaxed) => bequest,
        Err(error) if !IS_TAKEN.load(Ordering::Relaxed) => return Err(error),
        _ => return Err(io::Error::new(io::ErrorKind::AlreadyExists, "it was called before")),
    };
    #[expect(clippy::disallowed_methods, reason = "it comes out of the environment")]
    // SAFETY: it is open, and the socket that `spawn_with` made for this process. Nobody else has taken it here: that happens once.
    let fd = unsafe { OwnedFd::from_raw_fd(bequest.number) };
    fcntl_setfd(&fd, FdFlags::CLOEXEC)?;
    forget_variable();
    Ok(PacketReceiver::from(fd))
}

/// What the variable names, if this process has it.
fn find() -> io::Result<Bequest> {
    let missing = |why: &str| io::Error::new(io::ErrorKind::NotFound, why);
    let value = env::var_os(VARIABLE).ok_or_else(|| {
        missing("this process was not started with a channel: STRAIT_PARENT is not set")
    })?;
    let bequest: Option<Bequest> = value.to_str().and_then(|value| value.parse().ok());
    let bequest = bequest.ok_or_else(|| missing("STRAIT_PARENT does not name a channel"))?;
    if !bequest.is_here() {
        return Err(missing(
            "this process does not have the channel that STRAIT_PARENT names: the variable is an ancestor's, or what started \
             this process has closed the channel",
        ));
    }
    Ok(bequest)
}

/// Takes the variable out of the environment if no other thread can be looking at it, in C, say, where there is no lock. Left where it is it
/// means nothing to anybody: the socket that it names is this process's, and soon gone.
fn forget_variable() {
    let threads = fs::read_dir("/proc/self/task").map_or(usize::MAX, Iterator::count);
    if threads == 1 {
        // SAFETY: this is the only thread, and starts no other meanwhile.
        unsafe { env::remove_var(VARIABLE) };
    }
}

/// A descriptor and the identity of its socket, as text: four numbers, with colons between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bequest {
    number: RawFd,
    identity: [u64; 3],
}

impl Bequest {
    fn of(fd: BorrowedFd<'_>) -> io::Result<Bequest> {
        let about = rustix::fs::fstat(fd)?;
        // An inode has its number while it lives, a cookie for ever. Where a sandbox knows no cookies, both sides have none.
        let cookie = sockopt::socket_cookie(fd).unwrap_or(0);
        #[allow(clippy::unnecessary_cast, reason = "their types vary")]
        let identity = [about.st_dev as u64, about.st_ino as u64, cookie];
        Ok(Bequest { number: fd.as_raw_fd(), identity })
    }

    /// Whether this process has the descriptor, and it is that socket.
    fn is_here(self) -> bool {
        // SAFETY: it reads a flag of whatever has that number, if anything has.
        let is_open = unsafe { libc::fcntl(self.number, libc::F_GETFD) } >= 0;
        if !is_open {
            return false;
        }
        // SAFETY: it is open. Should its owner close it now, each of these calls tells something wrong or is an error, and no more.
        let fd = unsafe { BorrowedFd::borrow_raw(self.number) };
        sockopt::socket_type(fd) == Ok(SocketType::SEQPACKET)
            && sockopt::socket_domain(fd) == Ok(AddressFamily::UNIX)
            && Bequest::of(fd).is_ok_and(|here| here == self)
    }
}

impl fmt::Display for Bequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [device, inode, cookie] = self.identity;
        write!(f, "{}:{device}:{inode}:{cookie}", self.number)
    }
}

/// From text that anybody may have written.
impl FromStr for Bequest {
    type Err = ();

    fn from_str(text: &str) -> Result<Bequest, ()> {
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
        Ok(Bequest { number, identity })
    }
}
