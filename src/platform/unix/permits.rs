//! Permits to send: the bytes in a pipe. Whoever takes one out may send a message, and the receiver puts one in for each that it
//! delivers.
//!
//! A pipe and not an eventfd, because every sender could fill that up, and so keep the receiver from writing to it. Senders have the end of a pipe that is
//! read. Flags of that end are shared with other senders, those of the other end with former receivers, so both sides say in each call
//! that they do not wait. Kernels before 6.4 do not heed that for pipes; there, who takes the flags away can make others wait for the next permit.

use std::io;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{FileType, OFlags};
use rustix::io::{Errno, ReadWriteFlags};
use rustix::pipe::PipeFlags;

use super::socket::{self, PacketSender};
use crate::platform::{Permit, Wait};

/// The kernel gives memory for bytes by the page, and starts a new one where the last is full to its end, read or not.
const PAGE: usize = 4096;

/// The largest pipe that the system lets everybody have, unless it is configured otherwise.
const LARGEST_PIPE: usize = 1 << 20;

/// How many permits are written by one call.
const PERMITS_PER_CALL: usize = PAGE;

/// The offset for what has none.
const NO_OFFSET: u64 = u64::MAX;

/// The side that takes permits.
#[derive(Debug)]
pub struct PermitTaker {
    fd: OwnedFd,
}

/// The side that issues permits. It has both ends: so nobody's leaving makes writing fail, and what nobody took can be taken back.
#[derive(Debug)]
pub struct PermitIssuer {
    fd: OwnedFd,
    own: OwnedFd,
    /// How many there can be at a time.
    capacity: usize,
}

/// Makes a place for up to `most` permits, if the system allows so many, and none in it.
pub fn permits(most: usize) -> io::Result<(PermitTaker, PermitIssuer)> {
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    if most > capacity(&write)? {
        // It fails for who has many pipes already.
        let wanted = most.saturating_add(2 * PAGE).min(LARGEST_PIPE);
        let _ = rustix::pipe::fcntl_setpipe_size(&write, wanted);
    }
    let own = read.try_clone()?;
    let issuer = PermitIssuer { capacity: capacity(&write)?, fd: write, own };
    Ok((PermitTaker { fd: read }, issuer))
}

/// How many bytes there is room for whatever was read before.
fn capacity(pipe: &OwnedFd) -> io::Result<usize> {
    let size = rustix::pipe::fcntl_getpipe_size(pipe)?;
    // Of the oldest page all but one byte may have been read.
    Ok((size / PAGE).saturating_sub(1).max(1) * PAGE)
}

impl PermitTaker {
    /// Takes a permit, if there is one.
    pub fn take(&self) -> io::Result<Permit> {
        match read(&self.fd) {
            Ok(0) => Ok(Permit::Closed),
            Ok(_) => Ok(Permit::Taken),
            Err(Errno::AGAIN) => Ok(Permit::None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Whether there is one, or who takes it is told that there will be none.
    pub fn is_any(&self) -> bool {
        is_ready(&self.fd, PollFlags::IN).is_ok()
    }

    /// Whether both take them from the same place.
    pub fn is_same(&self, other: &PermitTaker) -> bool {
        identity(&self.fd).is_ok_and(|ours| identity(&other.fd) == Ok(ours))
    }

    /// Waits until there may be a permit, or the receiver of what `packets` sends is gone.
    pub fn wait(&self, packets: &PacketSender, wait: Wait) -> io::Result<()> {
        let mut fds = [
            PollFd::from_borrowed_fd(self.fd.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(packets.as_fd(), PollFlags::empty()),
        ];
        match rustix::event::poll(&mut fds, socket::timeout(wait).as_ref()) {
            // Whoever waits looks again.
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// Takes the end of a pipe that can be read as this.
impl From<OwnedFd> for PermitTaker {
    fn from(fd: OwnedFd) -> PermitTaker {
        PermitTaker { fd }
    }
}

impl AsFd for PermitTaker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl PermitIssuer {
    /// How many permits there can be at a time.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Issues permits, and returns how many there was no room for.
    pub fn issue(&self, count: usize) -> usize {
        let mut left = count;
        while left > 0 {
            let bytes = [0; PERMITS_PER_CALL];
            let now = &bytes[..left.min(PERMITS_PER_CALL)];
            match write(&self.fd, now) {
                Ok(0) => break,
                Ok(written) => left -= written,
                Err(Errno::INTR) => {}
                Err(_) => break,
            }
        }
        left
    }

    /// How many nobody has taken.
    pub fn unclaimed(&self) -> usize {
        let bytes = rustix::io::ioctl_fionread(&self.own).unwrap_or(0);
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    /// Takes one back, if nobody else has taken it.
    pub fn take_back(&self) -> bool {
        read(&self.own).is_ok_and(|bytes| bytes > 0)
    }

    /// Splits it into the descriptors it consists of.
    pub(super) fn into_fds(self) -> [OwnedFd; 2] {
        [self.fd, self.own]
    }

    /// Puts it together from the two ends of a pipe, if they are of the same one.
    pub(super) fn from_fds([fd, own]: [OwnedFd; 2]) -> io::Result<PermitIssuer> {
        // Writing into one that nobody reads is a signal.
        if identity(&fd)? != identity(&own)? {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the handles received are not the two ends of one pipe",
            ));
        }
        Ok(PermitIssuer { capacity: capacity(&fd)?, fd, own })
    }
}

/// Whether it is the end of a pipe that is read, or the one that is written.
pub(super) fn is_end(fd: BorrowedFd<'_>, access: OFlags) -> io::Result<bool> {
    let is_pipe = FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode) == FileType::Fifo;
    let flags = rustix::fs::fcntl_getfl(fd)?;
    // With packets, what is written by one call is read by one.
    Ok(is_pipe && flags & OFlags::ACCMODE == access && !flags.contains(OFlags::DIRECT))
}

/// Which pipe it is an end of.
fn identity(fd: &OwnedFd) -> Result<(u64, u64), Errno> {
    rustix::fs::fstat(fd).map(|stat| (stat.st_dev, stat.st_ino))
}

fn read(fd: &OwnedFd) -> Result<usize, Errno> {
    let mut byte = [0];
    loop {
        let mut into = [IoSliceMut::new(&mut byte)];
        let read = match rustix::io::preadv2(fd, &mut into, NO_OFFSET, ReadWriteFlags::NOWAIT) {
            Err(errno) if is_not_known(errno) => {
                is_ready(fd, PollFlags::IN)?;
                rustix::io::read(fd, &mut byte)
            }
            read => read,
        };
        match read {
            Err(Errno::INTR) => {}
            read => return read,
        }
    }
}

fn write(fd: &OwnedFd, bytes: &[u8]) -> Result<usize, Errno> {
    match rustix::io::pwritev2(fd, &[IoSlice::new(bytes)], NO_OFFSET, ReadWriteFlags::NOWAIT) {
        Err(errno) if is_not_known(errno) => {
            is_ready(fd, PollFlags::OUT)?;
            rustix::io::write(fd, bytes)
        }
        written => written,
    }
}

/// Whether the call, or that it must not wait, is unknown to the kernel or forbidden by a sandbox.
fn is_not_known(errno: Errno) -> bool {
    use Errno as E;

    matches!(errno, E::OPNOTSUPP | E::NOSYS | E::INVAL | E::PERM | E::ACCESS)
}

fn is_ready(fd: &OwnedFd, events: PollFlags) -> Result<(), Errno> {
    match socket::poll(fd.as_fd(), events, Wait::Never) {
        Ok(seen) if seen.is_empty() => Err(Errno::AGAIN),
        // What is wrong, the call itself tells.
        _ => Ok(()),
    }
}
