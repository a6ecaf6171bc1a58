//! A raw peer: packets of the protocol, or any others, written by hand.

use std::io::{self, IoSlice, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use strait::IpcError;
use strait::internals::frame::{Dialect, Head, Kind, Position};

/// The most descriptors that the kernel takes in one packet.
pub const MAX_FDS: usize = 253;

/// Sends exactly these bytes and descriptors as one packet.
///
/// Blocks until there is room, also among the descriptors that this user may have in flight,
/// which other tests use at the same time.
pub fn send(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match send_with(&socket, bytes, fds, SendFlags::NOSIGNAL) {
            // The kernel does not report when file descriptors in flight are received.
            Err(error)
                if error.raw_os_error() == Some(Errno::TOOMANYREFS.raw_os_error())
                    && Instant::now() < deadline =>
            {
                thread::sleep(Duration::from_millis(5));
            }
            result => return result,
        }
    }
}

/// As [`send`], without waiting for room.
pub fn try_send(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    send_with(socket, bytes, fds, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
}

/// Whether there is room for packets that may wait: an honest sender sends no others.
pub fn is_writable(socket: impl AsFd) -> bool {
    let mut fds = [PollFd::new(&socket, PollFlags::OUT)];
    poll(&mut fds, Some(&Timespec::default())).unwrap();
    fds[0].revents().contains(PollFlags::OUT)
}

fn send_with(
    socket: impl AsFd,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
    flags: SendFlags,
) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(fds)));
    }
    let sent = rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut control, flags)?;
    assert_eq!(sent, bytes.len());
    Ok(())
}

/// Receives one packet, and returns the descriptors in it.
pub fn received_fds(socket: impl AsFd) -> Vec<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; 1 << 10];
    let iov = &mut [IoSliceMut::new(&mut bytes)];
    rustix::net::recvmsg(socket, iov, &mut control, RecvFlags::CMSG_CLOEXEC).unwrap();
    let fds = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    fds.flatten().collect()
}

/// A packet as strait would make it.
pub fn packet(kind: Kind, attachments: u8, body: &[u8]) -> Vec<u8> {
    let head = Head::new(kind, attachments, body.len() as u32);
    [head.as_bytes(), body].concat()
}

/// A whole message.
pub fn message(attachments: u8, body: &[u8]) -> Vec<u8> {
    packet(Kind::Message, attachments, body)
}

/// The HELLO of a process with this dialect.
pub fn hello(dialect: Dialect, attachments: u8, fields: &[u8]) -> Vec<u8> {
    packet(Kind::Hello { dialect }, attachments, fields)
}

/// A field of a HELLO.
pub fn field(tag: u16, value: &[u8]) -> Vec<u8> {
    [&tag.to_le_bytes()[..], &(value.len() as u16).to_le_bytes(), value].concat()
}

/// The first part of a message of `bytes` bytes, without attachments.
pub fn first(id: u128, bytes: u64, body: &[u8]) -> Vec<u8> {
    let position = Position::First { bytes, attachments: 0 };
    packet(Kind::Part { id, position }, 0, body)
}

/// A part between the first and the last.
pub fn middle(id: u128, body: &[u8]) -> Vec<u8> {
    let position = Position::Middle;
    packet(Kind::Part { id, position }, 0, body)
}

/// The last part.
pub fn last(id: u128, body: &[u8]) -> Vec<u8> {
    let position = Position::Last;
    packet(Kind::Part { id, position }, 0, body)
}

/// The end of a message that is not completed.
pub fn abort(id: u128) -> Vec<u8> {
    packet(Kind::Abort { id }, 0, &[])
}

/// A string in its encoded form, as long as a message with it has to be.
pub fn encoded(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

/// A descriptor to be sent away, and a way to see whether all copies of it were closed.
#[derive(Debug)]
pub struct Canary {
    watched: UnixStream,
}

impl Canary {
    pub fn new() -> (Canary, OwnedFd) {
        let (watched, sent) = UnixStream::pair().unwrap();
        (Canary { watched }, sent.into())
    }

    /// Waits until every copy was closed. (At once is too much to ask: a child process that
    /// another test is just starting has copies of everything until its `exec`.)
    pub fn wait_until_closed(mut self) {
        assert_eq!(self.watched.read(&mut [0]).unwrap(), 0);
    }
}

/// Sends until there is no receiver any more, for the same reason not at once.
#[track_caller]
pub fn wait_until_disconnected(mut send: impl FnMut() -> Result<(), IpcError>) {
    loop {
        match send() {
            Ok(()) => thread::yield_now(),
            Err(IpcError::Disconnected) => return,
            Err(error) => panic!("another error: {error:?}"),
        }
    }
}

/// The same numbers in every run.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// splitmix64
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}
