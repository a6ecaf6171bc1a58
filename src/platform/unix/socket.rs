//! Packets over a `SOCK_SEQPACKET` socket pair.
//!
//! # Safety
//!
//! `recvmsg` is called by way of libc, because it writes into vectors' unused capacity, which rustix has no call for, and so is
//! the `ioctl` that asks for the length of the queue. The
//! kernel is given regions that this function borrows or owns for the duration of the call, and no length is used before the kernel
//! reported that so many bytes were written.

#![allow(unsafe_code)]

use std::io::{self, IoSlice};
use std::mem::{self, MaybeUninit};
use std::num::NonZeroU64;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd};
use rustix::io::{DupFlags, Errno};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown, SocketFlags,
    SocketType, sockopt,
};

use super::beacon::Beacon;
use super::control::{self, ControlBuffer};
use super::limits;
use super::rendezvous;
use super::{Attachment, MAX_PACKET_ATTACHMENTS, MAX_PACKET_BYTES, Peer};
use crate::platform::{Arrival, Landing, RecvError, SendError, ServerName, Wait};

/// How long a packet with descriptors waits for the kernel's limit on descriptors in flight, which is per user and has
/// nothing to wait on. Past it the receiver is not taking any, and the sender is better told than held.
const IN_FLIGHT_PATIENCE: Duration = Duration::from_secs(10);

/// How often a packet that goes past the limit is tried, when others are doing the same.
const ATTEMPTS_PAST_LIMIT: usize = 64;

/// Makes a connected pair.
pub fn channel() -> io::Result<(PacketSender, PacketReceiver)> {
    let (sender, receiver) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    Ok((PacketSender::from(sender), PacketReceiver::from(receiver)))
}

/// The end of a socket pair that packets go into. Duplicates of the descriptor are further senders.
#[derive(Debug)]
pub struct PacketSender {
    fd: OwnedFd,
    /// How large the kernel lets the queue become, once that was asked for.
    usual_room: AtomicUsize,
}

impl PacketSender {
    /// Connects to the listener of that name.
    pub fn connect(name: &str) -> io::Result<PacketSender> {
        Ok(PacketSender::from(rendezvous::connect(name)?))
    }

    /// Connects to the listener that has this name, and waits as `wait` says while too many others are doing so.
    pub fn connect_to(name: &ServerName, wait: Wait) -> io::Result<PacketSender> {
        Ok(PacketSender::from(rendezvous::connect_to(name, wait)?))
    }

    /// Who listens, if it was connected by name.
    pub fn peer(&self) -> io::Result<Peer> {
        Peer::of(&self.fd)
    }

    /// Sends one packet made of `head` and `body`, if there is room for it.
    pub fn send(
        &self,
        head: &[u8],
        body: &[u8],
        attachments: Vec<Attachment>,
    ) -> Result<(), (SendError, Vec<Attachment>)> {
        let sent = if attachments.is_empty() {
            self.send_with(head, body, &mut SendAncillaryBuffer::default())
        } else {
            let fds: Vec<BorrowedFd<'_>> = attachments.iter().map(AsFd::as_fd).collect();
            let mut space =
                [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_PACKET_ATTACHMENTS))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if control.push(SendAncillaryMessage::ScmRights(&fds)) {
                self.send_with(head, body, &mut control)
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
    ) -> Result<(), SendError> {
        let packet = [IoSlice::new(head), IoSlice::new(body)];
        let mut patience = None;
        loop {
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            match rustix::net::sendmsg(&self.fd, &packet, control, flags) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Err(SendError::Full),
                Err(Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN | Errno::CONNREFUSED) => {
                    return Err(SendError::Closed);
                }
                Err(Errno::MSGSIZE) => return Err(SendError::TooLarge),
                Err(Errno::TOOMANYREFS) => {
                    // The kernel looks at the descriptors before it looks at the receiver.
                    if self.is_closed() {
                        return Err(SendError::Closed);
                    }
                    let (since, pause) =
                        patience.get_or_insert((Instant::now(), Duration::from_micros(100)));
                    if since.elapsed() >= IN_FLIGHT_PATIENCE {
                        return Err(SendError::Io(Errno::TOOMANYREFS.into()));
                    }
                    thread::sleep(*pause);
                    *pause = (*pause * 2).min(Duration::from_millis(20));
                }
                Err(errno) => return Err(SendError::Io(errno.into())),
            }
        }
    }
}

impl PacketSender {
    /// Waits until there may be room for a packet, or the receiver is gone.
    pub fn wait_for_room(&self) -> io::Result<()> {
        poll(self.fd.as_fd(), PollFlags::OUT, Wait::Forever).map(drop)
    }

    /// Sends one small packet although there is no room: a few get in beyond the limit that others keep to.
    pub fn send_past_limit(
        &self,
        head: &[u8],
        body: &[u8],
        mut attachments: Vec<Attachment>,
    ) -> Result<(), (SendError, Vec<Attachment>)> {
        for _ in 0..ATTEMPTS_PAST_LIMIT {
            match self.send(head, body, attachments) {
                Err((SendError::Full, unsent)) => attachments = unsent,
                sent => return sent,
            }
            let Ok(usual) = self.usual_room() else { break };
            // The kernel doubles what it is told, up to twice what the system allows.
            let _ = sockopt::set_socket_send_buffer_size(&self.fd, usual);
            let sent = self.send(head, body, attachments);
            let _ = sockopt::set_socket_send_buffer_size(&self.fd, usual / 2);
            match sent {
                // Somebody else has just restored the limit.
                Err((SendError::Full, unsent)) => attachments = unsent,
                sent => return sent,
            }
        }
        Err((SendError::Full, attachments))
    }

    fn usual_room(&self) -> rustix::io::Result<usize> {
        match self.usual_room.load(Ordering::Relaxed) {
            0 => {
                let usual = sockopt::socket_send_buffer_size(&self.fd)?;
                self.usual_room.store(usual, Ordering::Relaxed);
                Ok(usual)
            }
            known => Ok(known),
        }
    }

    /// Whether the receiver is gone.
    pub fn is_closed(&self) -> bool {
        poll(self.fd.as_fd(), PollFlags::empty(), Wait::Never)
            .is_ok_and(|seen| seen.contains(PollFlags::HUP))
    }

    /// What its socket is known by: the kernel gives a number once while it runs. Before Linux 5.4 it is once in each network namespace.
    pub fn identity(&self) -> Option<NonZeroU64> {
        sockopt::socket_cookie(&self.fd).ok().and_then(NonZeroU64::new)
    }

    /// Whether one with the same identity is the same socket. Two that are open at the same time, as these are, have different inodes.
    pub fn is_same(&self, other: &PacketSender) -> bool {
        let inode = |sender: &PacketSender| {
            let status = rustix::fs::fstat(&sender.fd).ok()?;
            Some((status.st_dev, status.st_ino))
        };
        let ours = inode(self);
        ours.is_some() && ours == inode(other)
    }

    /// Whether everything that was sent was received.
    pub fn is_drained(&self) -> bool {
        let mut queued: libc::c_int = 0;
        // SAFETY: this request writes one `c_int`, which the pointer is good for.
        let asked = unsafe { libc::ioctl(self.fd.as_raw_fd(), libc::TIOCOUTQ, &raw mut queued) };
        asked == 0 && queued == 0
    }
}

impl AsFd for PacketSender {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<OwnedFd> for PacketSender {
    fn from(fd: OwnedFd) -> PacketSender {
        // It will be asked for once the channel is busy, and a sandbox may not answer then.
        super::clock::clock_domain();
        PacketSender { fd, usual_room: AtomicUsize::new(0) }
    }
}

/// What stays behind in this process of a receiver that left it: keeps the numbers of what was lent out.
#[derive(Debug, Default)]
pub struct Remains {
    beacon: Option<Beacon>,
    /// Those that its own descriptor had.
    numbers: Vec<OwnedFd>,
}

impl Remains {
    /// What is still lent out.
    pub fn lent(&self) -> Option<BorrowedFd<'_>> {
        let beacon = self.beacon.as_ref().map(Beacon::as_fd);
        beacon.or_else(|| self.numbers.last().map(AsFd::as_fd))
    }
}

/// The end of a socket pair that packets come out of.
#[derive(Debug)]
pub struct PacketReceiver {
    fd: OwnedFd,
    /// What is lent out to be polled.
    beacon: Option<Beacon>,
    /// Whether the descriptor itself was lent out, there being none left for a beacon.
    is_exposed: bool,
    /// Numbers that were lent out before, and which it could not go back to.
    numbers: Vec<OwnedFd>,
}

impl PacketReceiver {
    /// Receives one packet and adds its attachments to `attachments`. What `body` has no capacity for goes into `rest`.
    pub fn recv(
        &self,
        landing: Landing<'_>,
        attachments: &mut Vec<Attachment>,
        wait: Wait,
    ) -> Result<Arrival, RecvError> {
        let Landing { head, body, rest } = landing;
        let ahead = head.len() + body.capacity() - body.len();
        rest.reserve(MAX_PACKET_BYTES.saturating_sub(ahead));
        let mut flags = libc::MSG_CMSG_CLOEXEC;
        if wait != Wait::Forever {
            flags |= libc::MSG_DONTWAIT;
        }
        loop {
            match recv_scattered(&self.fd, head, [body, rest], flags, attachments) {
                Ok(received) => {
                    if received.len == 0 && !received.any_control && self.is_drained()? {
                        return Err(RecvError::Closed);
                    }
                    return Ok(Arrival {
                        len: received.len,
                        truncated: received.flags & libc::MSG_TRUNC != 0
                            || received.len > MAX_PACKET_BYTES,
                        attachments_lost: received.flags & libc::MSG_CTRUNC != 0,
                    });
                }
                // Reset: a sender left without reading what somebody wrote in the wrong direction. It is
                // reported once, before the packets that are still there.
                Err(Errno::INTR | Errno::CONNRESET) => {}
                // Also where `wait` has no end: the description may have been made non-blocking, or given a timeout.
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

    /// Tells the end from an empty packet, which strait never sends but a peer can: both read as zero bytes.
    fn is_drained(&self) -> Result<bool, RecvError> {
        // Not only a hang-up: a peer can also shut the shared socket down for all senders.
        let seen = poll(self.fd.as_fd(), PollFlags::RDHUP, Wait::Never).map_err(RecvError::Io)?;
        if !seen.intersects(PollFlags::RDHUP | PollFlags::HUP) {
            return Ok(false);
        }
        // Nothing can be added any more, so what is left is countable.
        Ok(self.backlog() == 0)
    }

    /// Has all that is sent from now on fail, as if the receiver were gone. What was sent stays to be received.
    pub fn refuse(&self) {
        // It fails only where nothing can be sent in any case.
        let _ = rustix::net::shutdown(&self.fd, Shutdown::Read);
    }

    /// How many bytes of packets are waiting.
    pub fn backlog(&self) -> usize {
        rustix::io::ioctl_fionread(&self.fd).map_or(0, |bytes| usize::try_from(bytes).unwrap_or(0))
    }

    /// Makes what can be lent out to be polled, unless that was done. `false` if it cannot be made: then the descriptor itself is
    /// lent, which shows packets and nothing else. Its number stays taken for as long as the user has the receiver.
    pub fn lend(&mut self) -> bool {
        if self.beacon.is_none() {
            self.beacon = Beacon::new(self.fd.as_fd()).ok();
        }
        self.is_exposed |= self.beacon.is_none();
        self.beacon.is_some()
    }

    /// Whether something was lent out.
    pub fn is_lent(&self) -> bool {
        self.beacon.is_some() || self.is_exposed
    }

    /// What is lent out.
    pub fn lent(&self) -> BorrowedFd<'_> {
        self.beacon.as_ref().map_or(self.fd.as_fd(), Beacon::as_fd)
    }

    /// Nobody has anything any more that was lent out.
    pub fn recall(&mut self) {
        self.beacon = None;
        self.is_exposed = false;
        self.numbers = Vec::new();
    }

    /// Whether it has to be told what [to show](PacketReceiver::show).
    #[inline]
    pub fn shows_more(&self) -> bool {
        self.beacon.is_some()
    }

    /// Whether it is shown that there is something besides packets.
    #[inline]
    pub fn is_showing(&self) -> bool {
        self.beacon.as_ref().is_some_and(Beacon::is_lit)
    }

    /// Lets what was lent out show whether there is something besides packets. If that `is_news`, whoever waits for an event wakes up,
    /// though it was shown already.
    #[inline]
    pub fn show(&mut self, is_there: bool, is_news: bool) {
        if let Some(beacon) = &mut self.beacon {
            beacon.show(self.fd.as_fd(), is_there, is_news);
        }
    }

    /// Splits the receiver into what can travel and what has to stay: a descriptor that was lent out must stay open
    /// under its number, but no longer keep the channel alive.
    pub fn depart(mut self) -> Result<(PacketReceiver, Remains), (io::Error, PacketReceiver)> {
        if let Some(beacon) = &mut self.beacon {
            beacon.leave(self.fd.as_fd());
        }
        if self.is_exposed {
            let moved = (|| {
                let stand_in = always_readable()?;
                let moved = self.fd.try_clone()?;
                rustix::io::dup3(stand_in, &mut self.fd, DupFlags::CLOEXEC)?;
                Ok(moved)
            })();
            match moved {
                Ok(moved) => self.numbers.push(mem::replace(&mut self.fd, moved)),
                // The beacon takes the socket in again when it is next to be put out.
                Err(error) => return Err((error, self)),
            }
        }
        let PacketReceiver { fd, beacon, numbers, .. } = self;
        Ok((PacketReceiver::from(fd), Remains { beacon, numbers }))
    }

    /// Undoes [`depart`](PacketReceiver::depart): where there are remains, the receiver goes back under their number.
    pub fn come_back(&mut self, remains: Remains) {
        let Remains { beacon, mut numbers } = remains;
        while let Some(mut place) = numbers.pop() {
            match rustix::io::dup3(&self.fd, &mut place, DupFlags::CLOEXEC) {
                Ok(()) => {
                    self.fd = place;
                    self.is_exposed = true;
                    break;
                }
                Err(Errno::INTR | Errno::BUSY) => numbers.push(place),
                // Not for want of descriptors, since the number is taken. It may be lent out, so it stays so.
                Err(_) => self.numbers.push(place),
            }
        }
        self.numbers.append(&mut numbers);
        // It is lit, and takes the socket in again when it is to be put out.
        self.beacon = beacon;
    }

    /// Gives up the descriptor.
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
        PacketReceiver { fd, beacon: None, is_exposed: false, numbers: Vec::new() }
    }
}

struct Received {
    len: usize,
    flags: i32,
    any_control: bool,
}

/// Calls `recvmsg`: the first bytes into `head`, those that follow into the unused capacity of each of `vectors` in turn.
fn recv_scattered(
    fd: &OwnedFd,
    head: &mut [u8],
    vectors: [&mut Vec<u8>; 2],
    flags: i32,
    attachments: &mut Vec<Attachment>,
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
    control.attach_to(&mut message);
    // SAFETY: `message` refers to regions that are valid for writes of their lengths and borrowed by this function.
    let len = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut message, flags) };
    let len = usize::try_from(len)
        .map_err(|_| Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO))?;

    // SAFETY: `recvmsg` has just succeeded with it, and `control` is alive.
    let any_control = unsafe { control::take_descriptors(&message, attachments) };

    let mut left = len.saturating_sub(head.len());
    for vector in [first, second] {
        let here = left.min(vector.capacity() - vector.len());
        // SAFETY: the kernel fills the regions in order, so these bytes of the vector's capacity were written.
        unsafe { vector.set_len(vector.len() + here) };
        left -= here;
    }
    Ok(Received { len, flags: message.msg_flags, any_control })
}

/// A descriptor that stands for a receiver that was moved away. It is always readable, so whoever polls it wakes up and
/// learns from `recv` what happened.
pub fn placeholder() -> io::Result<BorrowedFd<'static>> {
    static PLACEHOLDER: OnceLock<OwnedFd> = OnceLock::new();
    if let Some(fd) = PLACEHOLDER.get() {
        return Ok(fd.as_fd());
    }
    let fd = always_readable()?;
    Ok(PLACEHOLDER.get_or_init(|| fd).as_fd())
}

fn always_readable() -> io::Result<OwnedFd> {
    Ok(eventfd(1, EventfdFlags::CLOEXEC)?)
}

/// How many descriptors may wait in unfinished messages of one receiver: three in four of those this process may have,
/// so that a peer that never finishes leaves some for everybody else.
pub fn max_waiting_attachments() -> usize {
    usize::try_from(limits::descriptors() / 4 * 3).unwrap_or(usize::MAX)
}

/// Waits for an event on one descriptor; returns no flags when the time is over.
pub(super) fn poll(fd: BorrowedFd<'_>, events: PollFlags, wait: Wait) -> io::Result<PollFlags> {
    loop {
        let mut fds = [PollFd::from_borrowed_fd(fd, events)];
        match rustix::event::poll(&mut fds, timeout(wait).as_ref()) {
            Ok(_) => return Ok(fds[0].revents()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// For how long the kernel is to wait from now on.
pub(super) fn timeout(wait: Wait) -> Option<Timespec> {
    wait.remaining().map(|left| Timespec {
        tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: left.subsec_nanos().into(),
    })
}
