//! Packets over a `SOCK_SEQPACKET` socket pair.
//!
//! # Safety
//!
//! `recvmsg` is called by way of libc, because it writes into vectors' unused capacity, which
//! rustix has no call for. The kernel is given regions that this function borrows or owns for the
//! duration of the call. No length is used before the kernel reported that so many bytes were
//! written.

#![allow(unsafe_code)]

use std::io::{self, IoSlice};
use std::mem::{self, MaybeUninit};
use std::num::NonZeroU64;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::io::{DupFlags, Errno};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown, SocketFlags,
    SocketType,
};

use super::control::{self, ControlBuffer};
use super::flavour::{self, PollableFd};
use super::limits;
use super::poll::poll;
use super::spare;
use super::{Attachment, MAX_PACKET_ATTACHMENTS, MAX_RECEIVED_PACKET_BYTES, Peer, Unix};
use crate::platform::contract::PacketSender as _;
use crate::platform::{
    PerProcess, ReceiveBuffers, ReceivedPacket, RecvError, SendError, Wait, contract,
};

/// How long a sender sleeps at first, and at most, before it tries again while the user has too
/// many file descriptors in flight. The kernel does not report when that changes.
const MIN_PAUSE: Duration = Duration::from_micros(100);
const MAX_PAUSE: Duration = Duration::from_millis(20);

/// How many bytes of a packet are peeked at before it is received.
const PEEKED_BYTES: usize = 32;

/// Makes a connected sender and receiver.
pub fn channel() -> io::Result<(PacketSender, PacketReceiver)> {
    let (sender, receiver) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    flavour::enlarge_queue(sender.as_fd());
    Ok((PacketSender::from(sender), PacketReceiver::from(receiver)))
}

/// The sending end of a socket pair. Duplicates of the file descriptor are further senders.
#[derive(Debug)]
pub struct PacketSender {
    fd: OwnedFd,
}

/// How much of the queue a packet may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    /// The quarter that is for packets that may wait.
    Ordinary,
    /// All of it.
    Whole,
}

impl contract::PacketSender<Unix> for PacketSender {
    fn peer(&self) -> io::Result<Peer> {
        Peer::of(&self.fd)
    }

    fn send(
        &self,
        head: &[u8],
        body: &[u8],
        attachments: Vec<Attachment>,
        wait: Wait,
    ) -> Result<(), (SendError, Vec<Attachment>)> {
        self.send_within(head, body, attachments, Limit::Ordinary, wait)
    }

    /// Sends one small packet although there is no room for others: a quarter of the queue is for
    /// those, the rest for these. Does not block.
    fn send_past_limit(
        &self,
        head: &[u8],
        body: &[u8],
        attachments: Vec<Attachment>,
    ) -> Result<(), (SendError, Vec<Attachment>)> {
        self.send_within(head, body, attachments, Limit::Whole, Wait::Never)
    }

    fn is_closed(&self) -> bool {
        poll(self.fd.as_fd(), PollFlags::empty(), Wait::Never)
            .is_ok_and(|seen| seen.contains(PollFlags::HUP))
    }

    /// Returns the identity of its socket, which no other one has at the same time.
    fn identity(&self) -> Option<NonZeroU64> {
        flavour::cookie(self.fd.as_fd())
    }

    /// Returns whether a sender with the same identity has the same socket. Two that are open at
    /// the same time, as these are, have different inodes.
    fn is_same(&self, other: &PacketSender) -> bool {
        let inode = |sender: &PacketSender| {
            let status = rustix::fs::fstat(&sender.fd).ok()?;
            Some((status.st_dev, status.st_ino))
        };
        let ours = inode(self);
        ours.is_some() && ours == inode(other)
    }

    fn is_drained(&self) -> bool {
        flavour::queued(self.fd.as_fd()) == Some(0)
    }
}

impl PacketSender {
    fn send_within(
        &self,
        head: &[u8],
        body: &[u8],
        attachments: Vec<Attachment>,
        limit: Limit,
        wait: Wait,
    ) -> Result<(), (SendError, Vec<Attachment>)> {
        let sent = if attachments.is_empty() {
            self.send_with(head, body, &mut SendAncillaryBuffer::default(), limit, wait)
        } else {
            let fds: Vec<BorrowedFd<'_>> = attachments.iter().map(AsFd::as_fd).collect();
            let mut space =
                [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_PACKET_ATTACHMENTS))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if control.push(SendAncillaryMessage::ScmRights(&fds)) {
                self.send_with(head, body, &mut control, limit, wait)
            } else {
                Err(SendError::TooLarge)
            }
        };
        sent.map_err(|error| (error, attachments))
    }

    fn send_with(
        &self,
        head: &[u8],
        body: &[u8],
        control: &mut SendAncillaryBuffer<'_, '_, '_>,
        limit: Limit,
        wait: Wait,
    ) -> Result<(), SendError> {
        let packet = [IoSlice::new(head), IoSlice::new(body)];
        let mut pause = MIN_PAUSE;
        loop {
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            let sent = if limit == Limit::Whole || self.has_room() {
                rustix::net::sendmsg(&self.fd, &packet, control, flags)
            } else {
                Err(Errno::AGAIN)
            };
            match sent {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if self.is_closed() => return Err(SendError::Closed),
                Err(Errno::AGAIN) if wait.is_over() => return Err(SendError::Full),
                Err(Errno::AGAIN) => {
                    poll(self.fd.as_fd(), PollFlags::OUT, wait).map_err(SendError::Io)?;
                }
                Err(Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN | Errno::CONNREFUSED) => {
                    return Err(SendError::Closed);
                }
                Err(Errno::MSGSIZE) => return Err(SendError::TooLarge),
                // The kernel checks the file descriptors before it checks the receiver.
                Err(Errno::TOOMANYREFS) if self.is_closed() => return Err(SendError::Closed),
                Err(Errno::TOOMANYREFS) if wait.is_over() => {
                    return Err(SendError::TooManyInFlight);
                }
                Err(Errno::TOOMANYREFS) => {
                    let next = Wait::at_most(pause);
                    let next = if wait.is_before(next) { wait } else { next };
                    // Without events it returns early only if the receiver hangs up.
                    poll(self.fd.as_fd(), PollFlags::empty(), next).map_err(SendError::Io)?;
                    pause = (2 * pause).min(MAX_PAUSE);
                }
                Err(errno) => return Err(SendError::Io(errno.into())),
            }
        }
    }
}

impl PacketSender {
    /// Returns whether the queue has room for a packet that may wait. This is so while it is a
    /// quarter full at most, which is when the kernel calls the socket writable.
    fn has_room(&self) -> bool {
        let seen = poll(self.fd.as_fd(), PollFlags::OUT, Wait::Never);
        // A socket that cannot be written to also reports that it is not writable.
        seen.map_or(true, |seen| seen.contains(PollFlags::OUT)) || self.is_drained()
    }
}

impl AsFd for PacketSender {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<OwnedFd> for PacketSender {
    fn from(fd: OwnedFd) -> PacketSender {
        // It will be needed once the channel is busy, and a sandbox may not answer then.
        super::clock_domain();
        PacketSender { fd }
    }
}

/// What stays in this process of a receiver that was moved: keeps the numbers of file descriptors
/// that were lent out.
#[derive(Debug, Default)]
pub struct Remainder {
    pollable: Option<PollableFd>,
    /// The numbers that its own file descriptor had.
    numbers: Vec<OwnedFd>,
}

impl Remainder {
    /// Returns the file descriptor that is still lent out.
    pub fn lent(&self) -> Option<BorrowedFd<'_>> {
        let pollable = self.pollable.as_ref().map(PollableFd::as_fd);
        pollable.or_else(|| self.numbers.last().map(AsFd::as_fd))
    }
}

/// The receiving end of a socket pair.
#[derive(Debug)]
pub struct PacketReceiver {
    fd: OwnedFd,
    /// The file descriptor that is lent out to be polled.
    pollable: Option<PollableFd>,
    /// Whether the socket's own file descriptor was lent out, because there was none left for a
    /// pollable.
    is_exposed: bool,
    /// Numbers that were lent out before, and which it could not go back to.
    numbers: Vec<OwnedFd>,
}

impl contract::PacketReceiver<Unix> for PacketReceiver {
    fn recv(
        &self,
        buffers: ReceiveBuffers<'_>,
        attachments: &mut Vec<Attachment>,
        wait: Wait,
        is_vital: impl Fn(&[u8]) -> bool,
    ) -> Result<ReceivedPacket, RecvError> {
        let ReceiveBuffers { head, body, rest } = buffers;
        let ahead = head.len() + body.capacity() - body.len();
        rest.reserve(MAX_RECEIVED_PACKET_BYTES.saturating_sub(ahead));
        let mut is_end = false;
        loop {
            let mut start = [0; PEEKED_BYTES];
            let mut flags = libc::MSG_PEEK | libc::MSG_CMSG_CLOEXEC;
            if wait != Wait::Forever || is_end {
                flags |= libc::MSG_DONTWAIT;
            }
            let received = match peek(&self.fd, &mut start, flags) {
                // Linux also returns that when all senders were dropped after it found nothing: a
                // second attempt receives what they sent in between.
                Ok(0) if !is_end => {
                    is_end = self.is_at_end()?;
                    if is_end && self.queued_bytes() == 0 {
                        self.take_empty_packets();
                        return Err(RecvError::Closed);
                    }
                    if is_end {
                        continue;
                    }
                    self.take(head, [body, rest], Some(attachments))
                }
                Ok(len) if is_vital(&start[..len]) => {
                    match self.peek_attachments().map_err(RecvError::Io)? {
                        Some(mut peeked) => {
                            let taken = self.take(head, [body, rest], None);
                            if taken.is_ok() {
                                attachments.append(&mut peeked);
                            }
                            taken
                        }
                        None => self.take(head, [body, rest], Some(attachments)),
                    }
                }
                Ok(_) => self.take(head, [body, rest], Some(attachments)),
                Err(errno) => Err(errno),
            };
            match received {
                Ok(received) => {
                    return Ok(ReceivedPacket {
                        len: received.len,
                        truncated: received.flags & libc::MSG_TRUNC != 0
                            || received.len > MAX_RECEIVED_PACKET_BYTES,
                        attachments_lost: received.flags & libc::MSG_CTRUNC != 0,
                    });
                }
                // Reset: a sender was dropped without reading what came in the wrong direction. It
                // is reported once, before the packets that are still there.
                Err(Errno::INTR | Errno::CONNRESET) => {}
                // Also where `wait` has no end: the description may have been made non-blocking, or
                // given a timeout.
                Err(Errno::AGAIN) => {
                    if wait.is_over() {
                        return Err(RecvError::Empty);
                    }
                    poll(self.fd.as_fd(), PollFlags::IN, wait).map_err(RecvError::Io)?;
                }
                // A socket that a peer passed off as a receiver: listening, or never connected.
                Err(Errno::INVAL | Errno::NOTCONN) => return Err(RecvError::Closed),
                Err(errno @ (Errno::NOMEM | Errno::NOBUFS | Errno::MFILE | Errno::NFILE)) => {
                    return Err(RecvError::Io(errno.into()));
                }
                Err(errno) => return Err(RecvError::Broken(errno.into())),
            }
        }
    }

    fn refuse(&self) {
        // It fails only where nothing can be sent in any case.
        let _ = rustix::net::shutdown(&self.fd, Shutdown::Read);
    }

    fn queued_bytes(&self) -> usize {
        rustix::io::ioctl_fionread(&self.fd).map_or(0, |bytes| usize::try_from(bytes).unwrap_or(0))
    }

    /// Makes the file descriptor that can be lent out to be polled, unless that was done. Returns
    /// `false` if this fails: then the socket's own file descriptor is lent, which shows packets
    /// and nothing else. Its number stays taken for as long as the user has the receiver.
    fn lend(&mut self) -> bool {
        if self.pollable.is_none() {
            self.pollable = PollableFd::new(self.fd.as_fd()).ok();
        }
        self.is_exposed |= self.pollable.is_none();
        self.pollable.is_some()
    }

    fn is_lent(&self) -> bool {
        self.pollable.is_some() || self.is_exposed
    }

    fn recall(&mut self) {
        self.pollable = None;
        self.is_exposed = false;
        self.numbers = Vec::new();
    }

    #[inline]
    fn shows_more(&self) -> bool {
        self.pollable.is_some()
    }

    #[inline]
    fn is_showing(&self) -> bool {
        self.pollable.as_ref().is_some_and(PollableFd::is_set)
    }

    #[inline]
    fn show(&mut self, is_there: bool, is_news: bool) {
        if let Some(pollable) = &mut self.pollable {
            pollable.show(self.fd.as_fd(), is_there, is_news);
        }
    }

    /// Splits the receiver into what can be moved and what has to stay. A file descriptor that was
    /// lent out must stay open under its number, but no longer keep the channel alive.
    fn take_apart(mut self) -> Result<(PacketReceiver, Remainder), (io::Error, PacketReceiver)> {
        if let Some(pollable) = &mut self.pollable {
            pollable.leave(self.fd.as_fd());
        }
        if self.is_exposed {
            let moved = (|| {
                let stand_in = flavour::always_readable()?;
                let moved = self.fd.try_clone()?;
                rustix::io::dup3(stand_in, &mut self.fd, DupFlags::CLOEXEC)?;
                Ok(moved)
            })();
            match moved {
                Ok(moved) => self.numbers.push(mem::replace(&mut self.fd, moved)),
                // The pollable watches the socket again when it is next to show nothing.
                Err(error) => return Err((error, self)),
            }
        }
        let PacketReceiver { fd, pollable, numbers, .. } = self;
        Ok((PacketReceiver::from(fd), Remainder { pollable, numbers }))
    }

    /// Undoes `take_apart`: the receiver gets the number of its lent file descriptor back, if
    /// it was lent.
    fn restore(&mut self, remainder: Remainder) {
        let Remainder { pollable, mut numbers } = remainder;
        while let Some(mut place) = numbers.pop() {
            match rustix::io::dup3(&self.fd, &mut place, DupFlags::CLOEXEC) {
                Ok(()) => {
                    self.fd = place;
                    self.is_exposed = true;
                    break;
                }
                Err(Errno::INTR | Errno::BUSY) => numbers.push(place),
                // Not for lack of file descriptors, since the number is taken. It may be lent out,
                // so it stays so.
                Err(_) => self.numbers.push(place),
            }
        }
        self.numbers.append(&mut numbers);
        // It shows readiness, and watches the socket again when it is next to show nothing.
        self.pollable = pollable;
    }
}

impl PacketReceiver {
    /// Takes the next packet out of the socket. Without `attachments`, those of the packet are
    /// dropped.
    fn take(
        &self,
        head: &mut [u8],
        vectors: [&mut Vec<u8>; 2],
        attachments: Option<&mut Vec<Attachment>>,
    ) -> Result<Received, Errno> {
        recv_scattered(&self.fd, head, vectors, libc::MSG_DONTWAIT, attachments)
    }

    /// Converts a socket that was another process's, which may have left it so that what is peeked
    /// at is not what comes next.
    pub(super) fn from_received(fd: OwnedFd) -> PacketReceiver {
        flavour::peek_at_the_start(fd.as_fd());
        PacketReceiver::from(fd)
    }

    /// Closes the file descriptors that came in packets without bytes, when nothing else is left
    /// and nothing is added any more.
    fn take_empty_packets(&self) {
        let mut attachments = Vec::new();
        loop {
            let none = [&mut Vec::new(), &mut Vec::new()];
            let taken = self.take(&mut [0], none, Some(&mut attachments));
            // The end is received like a packet that has nothing at all.
            if taken.is_err() || attachments.is_empty() {
                return;
            }
            attachments.clear();
        }
    }

    /// Returns duplicates of the file descriptors of the next packet, which stays in the queue;
    /// `None` if this process may not have them.
    ///
    /// # Errors
    ///
    /// Fails if there is no room for them in the table of file descriptors.
    fn peek_attachments(&self) -> io::Result<Option<Vec<Attachment>>> {
        spare::keep();
        // Again with the file descriptor in reserve.
        for _ in 0..2 {
            let mut attachments = Vec::new();
            let none = [&mut Vec::new(), &mut Vec::new()];
            let flags = libc::MSG_DONTWAIT | libc::MSG_PEEK;
            match recv_scattered(&self.fd, &mut [0], none, flags, Some(&mut attachments)) {
                Ok(seen) if seen.flags & libc::MSG_CTRUNC == 0 => return Ok(Some(attachments)),
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(_) => return Ok(None),
            }
            drop(attachments);
            if !spare::release() {
                return spare::check_room().map(|()| None);
            }
        }
        // Other threads have taken what was released. A packet that was taken now would lose
        // its file descriptors; one that stays in the queue does not.
        Err(Errno::MFILE.into())
    }

    /// Returns whether nothing can be added any more. An empty packet, which strait never sends but
    /// a peer can, looks like the end when it is received.
    fn is_at_end(&self) -> Result<bool, RecvError> {
        let seen = poll(self.fd.as_fd(), flavour::HANG_UP, Wait::Never).map_err(RecvError::Io)?;
        Ok(seen.intersects(flavour::HANG_UP))
    }

    /// Returns the lent file descriptor.
    pub fn lent(&self) -> BorrowedFd<'_> {
        self.pollable.as_ref().map_or(self.fd.as_fd(), PollableFd::as_fd)
    }

    /// Converts the receiver into its file descriptor.
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }
}

impl AsFd for PacketReceiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<OwnedFd> for PacketReceiver {
    fn from(fd: OwnedFd) -> PacketReceiver {
        spare::keep();
        PacketReceiver { fd, pollable: None, is_exposed: false, numbers: Vec::new() }
    }
}

struct Received {
    len: usize,
    flags: i32,
}

/// Calls `recvmsg` for the start of the next packet, without its file descriptors. A sandbox may
/// allow no other call that receives.
fn peek(fd: &OwnedFd, start: &mut [u8], flags: i32) -> Result<usize, Errno> {
    let mut region = libc::iovec { iov_base: start.as_mut_ptr().cast(), iov_len: start.len() };
    // SAFETY: a `msghdr` of zeros is a valid one without regions.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = &raw mut region;
    message.msg_iovlen = 1;
    // SAFETY: `message` refers to a region that is valid for writes of its length and borrowed by
    // this function.
    let len = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut message, flags) };
    usize::try_from(len)
        .map_err(|_| Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO))
}

/// Calls `recvmsg`: the first bytes into `head`, those that follow into the unused capacity of each
/// of `vectors` in turn. The kernel drops the file descriptors if there is no place for them.
fn recv_scattered(
    fd: &OwnedFd,
    head: &mut [u8],
    vectors: [&mut Vec<u8>; 2],
    flags: i32,
    attachments: Option<&mut Vec<Attachment>>,
) -> Result<Received, Errno> {
    let region = |bytes: &mut [MaybeUninit<u8>]| libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    };
    let [first, second] = vectors;
    let mut regions = [
        libc::iovec { iov_base: head.as_mut_ptr().cast(), iov_len: head.len() },
        region(first.spare_capacity_mut()),
        region(second.spare_capacity_mut()),
    ];
    let mut control = ControlBuffer::new();
    // SAFETY: a `msghdr` of zeros is a valid one without regions.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = regions.as_mut_ptr();
    // The last region is often empty, and each costs the kernel some time.
    message.msg_iovlen = if regions[2].iov_len == 0 { 2 } else { 3 };
    if attachments.is_some() {
        control.attach_to(&mut message);
    }
    let flags = flags | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: `message` refers to regions that are valid for writes of their lengths and borrowed
    // by this function.
    let len = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut message, flags) };
    let len = usize::try_from(len)
        .map_err(|_| Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO))?;

    if let Some(attachments) = attachments {
        // SAFETY: `recvmsg` has just succeeded with it, and `control` is alive.
        unsafe { control::take_descriptors(&message, attachments) };
    } else {
        message.msg_flags &= !libc::MSG_CTRUNC;
    }

    let mut left = len.saturating_sub(head.len());
    for vector in [first, second] {
        let here = left.min(vector.capacity() - vector.len());
        // SAFETY: the kernel fills the regions in order, so these bytes of the vector's capacity
        // were written.
        unsafe { vector.set_len(vector.len() + here) };
        left -= here;
    }
    Ok(Received { len, flags: message.msg_flags })
}

/// Returns a file descriptor that replaces that of a receiver that was moved away. It is always
/// readable, so a poller wakes up and learns from `recv` what happened.
pub fn placeholder() -> io::Result<BorrowedFd<'static>> {
    static PLACEHOLDER: PerProcess<OnceLock<OwnedFd>> = PerProcess::of_no_process(OnceLock::new());

    let placeholder = PLACEHOLDER.get();
    if let Some(fd) = placeholder.get() {
        return Ok(fd.as_fd());
    }
    let fd = flavour::always_readable()?;
    Ok(placeholder.get_or_init(|| fd).as_fd())
}

/// Returns how many file descriptors may wait in incomplete messages of all receivers. It is three
/// quarters of those this process may have, so that a peer that never finishes leaves some for
/// everything else.
pub fn max_kept_attachments() -> usize {
    usize::try_from(limits::descriptors() / 4 * 3).unwrap_or(usize::MAX)
}
