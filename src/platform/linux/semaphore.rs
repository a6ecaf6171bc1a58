//! A counting semaphore with which no holder can block the others: an eventfd.
//!
//! The kernel copies an eventfd's counter from and to its users' memory outside the lock. With a
//! pipe or a Unix socket it copies under a lock that all readers need. There a reader whose memory
//! faults (userfaultfd, FUSE) blocks the others in a sleep that no signal ends.
//!
//! Every holder can write to an eventfd, up to its largest counter, and can make it blocking for
//! all. So it is read with `RWF_NOWAIT` (Linux 5.8), and increased as a completion of asynchronous
//! I/O, which never blocks, however large the counter is. `write` has no such flag. It is used
//! where asynchronous I/O is missing or forbidden, if the counter is not at its maximum. A holder
//! that sets it to the maximum at that very moment blocks the writer until another holder reads.
//!
//! # Safety
//!
//! The system calls for asynchronous I/O and `kcmp` have no wrappers, so they are called by number.
//! The kernel is given arrays that live for the call, with their lengths, of the types that its
//! interface names. It writes to these alone: a mark into each request, which has no buffer, and
//! the completions. The context belongs to the process that made it, which never ends it.

#![allow(unsafe_code)]

use std::fs;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use rustix::event::{EventfdFlags, PollFlags, eventfd};
use rustix::fs::{AtFlags, StatxFlags};
use rustix::io::{Errno, ReadWriteFlags};

use crate::platform::unix::poll::poll;
use crate::platform::{PerProcess, Wait};

/// The maximum initial count.
pub(super) const MAX_INITIAL: usize = u32::MAX as usize;

/// How much one call of [`add`](Semaphore::add) adds at most: each unit takes the kernel some time.
const MAX_ADDED: usize = 256;

/// How many requests are submitted by one call.
const REQUESTS: usize = 32;

/// The target of an eventfd's link in `/proc`. Paths begin otherwise, so no file can be called
/// that.
const KIND: &[u8] = b"anon_inode:[eventfd]";

/// The offset for a file that has no position.
const NO_OFFSET: u64 = u64::MAX;

/// `fcntl`: whether two file descriptors refer to one open file (Linux 6.10).
const F_DUPFD_QUERY: libc::c_int = 1024 + 3;

/// `kcmp`: the same question (Linux 3.5, if it is configured).
const KCMP_FILE: libc::c_int = 0;

/// A count of units. Duplicates of the file descriptor are the same semaphore.
#[derive(Debug)]
pub(super) struct Semaphore(OwnedFd);

impl Semaphore {
    /// Makes a semaphore with so many units.
    pub(super) fn new(units: usize) -> io::Result<Semaphore> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK | EventfdFlags::SEMAPHORE;
        Ok(Semaphore(eventfd(units.min(MAX_INITIAL) as u32, flags)?))
    }

    /// Returns whether a file descriptor that a peer sent is a semaphore. Does not ask a file
    /// system: one that does not answer would block this process.
    pub(super) fn is_one(fd: BorrowedFd<'_>) -> bool {
        let path = format!("/proc/thread-self/fd/{}", fd.as_raw_fd());
        match rustix::fs::readlink(path, Vec::new()) {
            Ok(link) => link.as_bytes() == KIND,
            // Without `/proc`. Other objects with that inode fail when they are read, or count on
            // their own.
            Err(_) => anonymous_inode().is_some_and(|ours| inode(fd) == Some(ours)),
        }
    }

    /// Returns another file descriptor of the same semaphore.
    pub(super) fn try_clone(&self) -> io::Result<Semaphore> {
        self.0.try_clone().map(Semaphore)
    }

    /// Takes a unit, if there is one.
    pub(super) fn take(&self) -> Result<bool, Errno> {
        let mut units = [0; 8];
        loop {
            let mut into = [IoSliceMut::new(&mut units)];
            let read =
                match rustix::io::preadv2(&self.0, &mut into, NO_OFFSET, ReadWriteFlags::NOWAIT) {
                    // The call or the flag is unknown to the kernel, or forbidden by a sandbox.
                    Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::PERM | Errno::ACCESS) => {
                        if !self.is_any() {
                            return Ok(false);
                        }
                        rustix::io::read(&self.0, &mut units)
                    }
                    read => read,
                };
            match read {
                Ok(_) => return Ok(true),
                Err(Errno::AGAIN) => return Ok(false),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Returns whether there is a unit.
    pub(super) fn is_any(&self) -> bool {
        self.is_ready(PollFlags::IN)
    }

    fn is_ready(&self, events: PollFlags) -> bool {
        poll(self.0.as_fd(), events, Wait::Never).is_ok_and(|seen| seen.intersects(events))
    }

    /// Returns how many units there are, if the system reports it.
    pub(super) fn units(&self) -> Option<u64> {
        if !self.is_any() {
            return Some(0);
        }
        let path = format!("/proc/thread-self/fdinfo/{}", self.0.as_raw_fd());
        let info = fs::read_to_string(path).ok()?;
        let units = info.lines().find_map(|line| line.strip_prefix("eventfd-count:"))?;
        u64::from_str_radix(units.trim(), 16).ok()
    }

    /// Adds units, and returns how many it did not add.
    pub(super) fn add(&self, units: usize) -> usize {
        /// Made when the first is needed, by each process that needs one.
        static COMPLETIONS: PerProcess<OnceLock<Completions>> =
            PerProcess::of_no_process(OnceLock::new());

        if units == 0 {
            return 0;
        }
        let known = COMPLETIONS.get();
        // Where it is forbidden, that may be so for this thread only. If two are made at the same
        // time, one is never used.
        let made = || Completions::new().map(|new| known.get_or_init(|| new));
        match known.get().or_else(made) {
            Some(completions) => {
                let mut left = units.min(MAX_ADDED);
                let later = units - left;
                while left > 0 {
                    let signalled = match left {
                        1 => completions.signal::<1>(&self.0, 1),
                        _ => completions.signal::<REQUESTS>(&self.0, left.min(REQUESTS)),
                    };
                    match signalled {
                        Ok(0) => break,
                        Ok(added) => left -= added,
                        Err(_) => return later + self.write(left),
                    }
                }
                later + left
            }
            None => self.write(units),
        }
    }

    /// Adds up to [`MAX_ADDED`] units one by one, because each addition wakes only one of the
    /// senders that wait in a queue.
    fn write(&self, units: usize) -> usize {
        // If there are so many that there is no room for another one, no sender needs it.
        let add_one = || {
            self.is_ready(PollFlags::OUT)
                && rustix::io::write(&self.0, &1_u64.to_ne_bytes()).is_ok()
        };
        units - (0..units.min(MAX_ADDED)).take_while(|_| add_one()).count()
    }

    /// Returns whether both are the same semaphore. Where neither call for that is available, no
    /// two are.
    pub(super) fn is_same(&self, other: &Semaphore) -> bool {
        let (ours, theirs) = (self.0.as_raw_fd(), other.0.as_raw_fd());
        // SAFETY: with this command the call compares two descriptors, which are open.
        match unsafe { libc::fcntl(ours, F_DUPFD_QUERY, theirs) } {
            0 => return false,
            1 => return true,
            _ => {}
        }
        let process = rustix::process::getpid().as_raw_nonzero().get();
        // SAFETY: the call compares two descriptors of this process, and writes nothing.
        unsafe { libc::syscall(libc::SYS_kcmp, process, process, KCMP_FILE, ours, theirs) == 0 }
    }
}

/// Converts a file descriptor that was made here, or that was checked.
impl From<OwnedFd> for Semaphore {
    fn from(fd: OwnedFd) -> Semaphore {
        Semaphore(fd)
    }
}

impl From<Semaphore> for OwnedFd {
    fn from(semaphore: Semaphore) -> OwnedFd {
        semaphore.0
    }
}

impl AsFd for Semaphore {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Returns the inode that all eventfds have, with others of their kind.
fn anonymous_inode() -> Option<(u32, u32, u64)> {
    let ours = eventfd(0, EventfdFlags::CLOEXEC).ok()?;
    inode(ours.as_fd())
}

/// Returns the inode, as far as it is known without asking the server of a file system.
fn inode(fd: BorrowedFd<'_>) -> Option<(u32, u32, u64)> {
    // FUSE and network file systems respect the flag, too.
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let status = rustix::fs::statx(fd, "", flags, StatxFlags::INO).ok()?;
    Some((status.stx_dev_major, status.stx_dev_minor, status.stx_ino))
}

/// A context of asynchronous I/O, for requests that are complete at once.
#[derive(Debug)]
struct Completions(libc::c_ulong);

/// The kernel's `struct iocb`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Request {
    data: u64,
    /// Two fields of 32 bits each, in an order that depends on the processor's; both are zero.
    key_and_flags: u64,
    opcode: u16,
    priority: i16,
    fd: u32,
    buffer: u64,
    bytes: u64,
    offset: i64,
    reserved: u64,
    flags: u32,
    eventfd: u32,
}

/// The kernel's `struct io_event`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Completion {
    data: u64,
    request: u64,
    result: i64,
    result2: i64,
}

/// A flag: the completion is signalled to an eventfd.
const IOCB_FLAG_RESFD: u32 = 1;

/// The command of a read.
const IOCB_CMD_PREAD: u16 = 0;

impl Completions {
    /// Returns `None` where it is not configured, forbidden, or used up.
    fn new() -> Option<Completions> {
        let mut context: libc::c_ulong = 0;
        let events: libc::c_long = 1;
        // SAFETY: the call writes a context where it is told, which is a variable of that type.
        let made = unsafe { libc::syscall(libc::SYS_io_setup, events, &raw mut context) };
        (made == 0).then_some(Completions(context))
    }

    /// Signals an eventfd up to `MOST` times, and returns how often it was signalled.
    fn signal<const MOST: usize>(&self, eventfd: &OwnedFd, times: usize) -> io::Result<usize> {
        let fd = eventfd.as_raw_fd() as u32;
        // Reading less than eight bytes from an eventfd is an error that is found before anything
        // else, and ends the request.
        let mut requests = [Request {
            opcode: IOCB_CMD_PREAD,
            fd,
            flags: IOCB_FLAG_RESFD,
            eventfd: fd,
            ..Request::default()
        }; MOST];
        let mut list = requests.each_mut().map(|request| &raw mut *request);
        let times = times.min(MOST);
        for _ in 0..2 {
            // SAFETY: the list has at least so many pointers, each to a request of its own that
            // lives as long as the call.
            let submitted = unsafe {
                libc::syscall(libc::SYS_io_submit, self.0, times as libc::c_long, list.as_mut_ptr())
            };
            if submitted >= 0 {
                return Ok(submitted as usize);
            }
            let error = io::Error::last_os_error();
            if error.raw_os_error() != Some(libc::EAGAIN) {
                return Err(error);
            }
            self.forget_completed();
        }
        Ok(0)
    }

    /// Makes room for further requests.
    fn forget_completed(&self) {
        let mut completed = [Completion::default(); REQUESTS];
        let (least, most): (libc::c_long, libc::c_long) = (0, REQUESTS as libc::c_long);
        let no_time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // Once: there may be as many again by then, from other threads.
        // SAFETY: the array has room for so many, and the time is only read.
        unsafe {
            libc::syscall(
                libc::SYS_io_getevents,
                self.0,
                least,
                most,
                completed.as_mut_ptr(),
                &raw const no_time,
            )
        };
    }
}
