//! Permits to send: the units of a semaphore. A sender that takes one may send a message, and the receiver adds one for each that it
//! delivers.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;

use super::semaphore::{self, Semaphore};
use super::socket::{self, PacketSender};
use crate::platform::{Permit, Wait};

/// The side that takes permits.
#[derive(Debug)]
pub struct PermitTaker(Semaphore);

/// The side that issues permits.
#[derive(Debug)]
pub struct PermitIssuer(Semaphore);

/// Makes a place for permits, with so many in it.
pub fn permits(count: usize) -> io::Result<(PermitTaker, PermitIssuer)> {
    let semaphore = Semaphore::new(count)?;
    Ok((PermitTaker(semaphore.try_clone()?), PermitIssuer(semaphore)))
}

impl PermitTaker {
    /// Takes a permit, if there is one.
    pub fn take(&self) -> io::Result<Permit> {
        let is_taken = self.0.take()?;
        Ok(if is_taken { Permit::Taken } else { Permit::None })
    }

    /// Whether there is one.
    pub fn is_any(&self) -> bool {
        self.0.is_any()
    }

    /// Whether both take them from the same place.
    pub fn is_same(&self, other: &PermitTaker) -> bool {
        self.0.is_same(&other.0)
    }

    /// Waits until there may be a permit, or the receiver of what `packets` sends is gone.
    ///
    /// In the queue, a permit wakes the one that has waited longest; outside, all. It takes five system calls to be in the queue. If the
    /// one that a permit wakes is killed before it takes it, another finds the permit when it looks again or the next is issued.
    pub fn wait(&self, packets: &PacketSender, wait: Wait, is_in_queue: bool) -> io::Result<()> {
        let timeout = socket::timeout(wait);
        let waited = match is_in_queue.then(|| self.queue(packets)) {
            Some(Ok(queue)) => {
                let mut events = [const { MaybeUninit::<Event>::uninit() }; 1];
                epoll::wait(&queue, &mut events, timeout.as_ref()).map(drop)
            }
            // Also without a descriptor, or where a sandbox forbids it.
            None | Some(Err(_)) => {
                let mut fds = [
                    PollFd::from_borrowed_fd(self.0.as_fd(), PollFlags::IN),
                    PollFd::from_borrowed_fd(packets.as_fd(), PollFlags::empty()),
                ];
                rustix::event::poll(&mut fds, timeout.as_ref()).map(drop)
            }
        };
        match waited {
            // The caller looks again.
            Ok(()) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// A place at the end of the queue of those that wait for permits. One that was kept would stay ahead of those that came later.
    fn queue(&self, packets: &PacketSender) -> Result<OwnedFd, Errno> {
        let queue = epoll::create(CreateFlags::CLOEXEC)?;
        let event = EventFlags::IN | EventFlags::EXCLUSIVE;
        epoll::add(&queue, &self.0, EventData::new_u64(0), event)?;
        // That the other side is gone wakes all.
        epoll::add(&queue, packets, EventData::new_u64(1), EventFlags::empty())?;
        Ok(queue)
    }
}

impl AsFd for PermitTaker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl PermitIssuer {
    /// How many permits there can be at a time.
    pub fn capacity(&self) -> usize {
        semaphore::MAX_INITIAL
    }

    /// Issues permits, and returns how many are to be issued later: none if there are few.
    pub fn issue(&self, count: usize) -> usize {
        self.0.add(count)
    }

    /// How many no sender has taken, if that can be told.
    pub fn unclaimed(&self) -> Option<usize> {
        self.0.units().map(|units| usize::try_from(units).unwrap_or(usize::MAX))
    }

    /// Takes one back, if no sender has taken it.
    pub fn take_back(&self) -> bool {
        self.0.take() == Ok(true)
    }
}

/// Whether it is what permits are taken from and issued into.
pub(super) fn is_place(fd: BorrowedFd<'_>) -> bool {
    Semaphore::is_one(fd)
}

/// Takes what is a place for permits as this.
impl From<OwnedFd> for PermitTaker {
    fn from(fd: OwnedFd) -> PermitTaker {
        PermitTaker(Semaphore::from(fd))
    }
}

/// As for the other side.
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
