//! Permits to send: the units of a semaphore. A sender that takes one may send a message, and the receiver adds one for each that it
//! delivers.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

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
    pub fn wait(&self, packets: &PacketSender, wait: Wait) -> io::Result<()> {
        let mut fds = [
            PollFd::from_borrowed_fd(self.0.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(packets.as_fd(), PollFlags::empty()),
        ];
        match rustix::event::poll(&mut fds, socket::timeout(wait).as_ref()) {
            // The caller looks again.
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
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
