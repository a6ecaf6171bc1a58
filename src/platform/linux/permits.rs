//! Permits, as the units of a semaphore. A sender that takes one may send a message, and the
//! receiver adds one for each message that it delivers.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;

use super::semaphore::{self, Semaphore};
use crate::platform::unix::poll::timeout;
use crate::platform::unix::{PacketSender, Unix};
use crate::platform::{PerProcess, Permit, Wait, contract};

/// How many threads of a process wait in queues at most. Others wait by `poll`, and each permit
/// wakes all of these.
const MAX_QUEUED: usize = 64;

/// Takes permits, for senders.
#[derive(Debug)]
pub struct PermitTaker(Semaphore);

/// Issues permits, for the receiver.
#[derive(Debug)]
pub struct PermitIssuer(Semaphore);

/// Makes a semaphore with `count` permits.
pub fn permits(count: usize) -> io::Result<(PermitTaker, PermitIssuer)> {
    let semaphore = Semaphore::new(count)?;
    Ok((PermitTaker(semaphore.try_clone()?), PermitIssuer(semaphore)))
}

impl contract::PermitTaker<Unix> for PermitTaker {
    fn take(&self) -> io::Result<Permit> {
        let is_taken = self.0.take()?;
        Ok(if is_taken { Permit::Taken } else { Permit::None })
    }

    fn is_any(&self) -> bool {
        self.0.is_any()
    }

    fn is_same(&self, other: &PermitTaker) -> bool {
        self.0.is_same(&other.0)
    }

    /// Blocks until there may be a permit, or the receiver of `packets` has been dropped.
    ///
    /// In the queue, a permit wakes the sender that has waited longest; outside, it wakes all.
    /// Joining the queue takes five system calls. If the woken sender is killed before it takes the
    /// permit, another sender finds it. It does so at its next attempt, or when the next permit is
    /// issued.
    fn wait(&self, packets: &PacketSender, wait: Wait, is_in_queue: bool) -> io::Result<()> {
        // The timeouts of epoll instances are whole milliseconds.
        let is_brief = wait.remaining().is_some_and(|left| left < Duration::from_millis(1));
        let queue = if is_in_queue && !is_brief { Queue::join(self, packets) } else { None };
        let timeout = timeout(wait);
        if let Some(queue) = queue {
            let mut events = [const { MaybeUninit::<Event>::uninit() }; 1];
            match epoll::wait(&queue.epoll, &mut events, timeout.as_ref()) {
                // The caller tries again.
                Ok(_) | Err(Errno::INTR) => return Ok(()),
                // A sandbox forbids it.
                Err(_) => {}
            }
        }
        let mut fds = [
            PollFd::from_borrowed_fd(self.0.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(packets.as_fd(), PollFlags::empty()),
        ];
        match rustix::event::poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// A thread's entry in the queue of senders that wait for permits of one channel. One that was kept
/// would stay ahead of later ones.
#[derive(Debug)]
struct Queue {
    epoll: OwnedFd,
    _queued: Queued,
}

/// Counts a thread of this process that is in a queue.
#[derive(Debug)]
struct Queued;

impl Queue {
    /// Joins the end of the queue. `None` if many threads of this process are in queues, because
    /// each takes a file descriptor; if there is none left; or if a sandbox forbids it.
    fn join(taker: &PermitTaker, packets: &PacketSender) -> Option<Queue> {
        let queued = Queued::new()?;
        let epoll = epoll::create(CreateFlags::CLOEXEC).ok()?;
        let event = EventFlags::IN | EventFlags::EXCLUSIVE;
        epoll::add(&epoll, &taker.0, EventData::new_u64(0), event).ok()?;
        // Dropping the receiver wakes all senders.
        epoll::add(&epoll, packets, EventData::new_u64(1), EventFlags::empty()).ok()?;
        Some(Queue { epoll, _queued: queued })
    }
}

impl Queued {
    fn count() -> &'static AtomicUsize {
        static COUNT: PerProcess<AtomicUsize> = PerProcess::of_no_process(AtomicUsize::new(0));
        COUNT.get()
    }

    /// `None` if there are [`MAX_QUEUED`].
    fn new() -> Option<Queued> {
        let before = Queued::count().fetch_add(1, Ordering::Relaxed);
        // Dropped, and so not counted, if there are too many.
        let queued = Queued;
        (before < MAX_QUEUED).then_some(queued)
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        Queued::count().fetch_sub(1, Ordering::Relaxed);
    }
}

impl AsFd for PermitTaker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl contract::PermitIssuer for PermitIssuer {
    fn capacity(&self) -> usize {
        semaphore::MAX_INITIAL
    }

    fn issue(&self, count: usize) -> usize {
        self.0.add(count)
    }

    fn unclaimed(&self) -> Option<usize> {
        self.0.units().map(|units| usize::try_from(units).unwrap_or(usize::MAX))
    }

    fn take_back(&self) -> bool {
        self.0.take() == Ok(true)
    }
}

/// Returns whether the file descriptor is a semaphore that can hold permits.
pub(in crate::platform) fn is_place(fd: BorrowedFd<'_>) -> bool {
    Semaphore::is_one(fd)
}

/// Converts the file descriptor of such a semaphore.
impl From<OwnedFd> for PermitTaker {
    fn from(fd: OwnedFd) -> PermitTaker {
        PermitTaker(Semaphore::from(fd))
    }
}

/// Converts the file descriptor of such a semaphore.
impl From<OwnedFd> for PermitIssuer {
    fn from(fd: OwnedFd) -> PermitIssuer {
        PermitIssuer(Semaphore::from(fd))
    }
}

impl From<PermitIssuer> for OwnedFd {
    fn from(issuer: PermitIssuer) -> OwnedFd {
        issuer.0.into()
    }
}
