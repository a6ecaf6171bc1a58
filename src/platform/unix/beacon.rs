//! What is lent out of a receiver to be polled: readable when its socket is, and also while there is something that does not
//! show in that.
//!
//! It is an epoll instance that the socket and an eventfd, the lamp, are in. Every packet that comes is an edge of it, and so is
//! every write to the lamp. A lamp for each receiver: one for all would be in as many epoll instances as there are receivers, and
//! the kernel lets no more than 500 of such a kind be in further ones.
//!
//! A forked child shares it, as it shares the socket: of the two, one may go on with the receiver, and the other just drops its own.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;

/// A descriptor to be polled.
#[derive(Debug)]
pub(super) struct Beacon {
    epoll: OwnedFd,
    lamp: OwnedFd,
    is_lit: bool,
    /// The socket is in it.
    has_socket: bool,
}

impl Beacon {
    /// Makes one of a socket.
    pub(super) fn new(socket: BorrowedFd<'_>) -> io::Result<Beacon> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let lamp = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(&epoll, &lamp, EventData::new_u64(0), EventFlags::IN)?;
        let mut beacon = Beacon { epoll, lamp, is_lit: false, has_socket: false };
        beacon.watch(socket)?;
        Ok(beacon)
    }

    /// Shows whether there is something besides what is in the socket. If that `is_news`, whoever waits for an edge wakes up.
    #[inline]
    pub(super) fn show(&mut self, socket: BorrowedFd<'_>, is_there: bool, is_news: bool) {
        // Better readable in vain than never.
        let is_there = is_there || !(self.has_socket || self.watch(socket).is_ok());
        if is_there && (is_news || !self.is_lit) {
            self.light();
        } else if !is_there && self.is_lit {
            self.put_out();
        }
    }

    /// Whether it shows that there is something.
    #[inline]
    pub(super) fn is_lit(&self) -> bool {
        self.is_lit
    }

    /// Shows when there is something in the socket from now on.
    pub(super) fn watch(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        epoll::add(&self.epoll, socket, EventData::new_u64(1), EventFlags::IN)?;
        self.has_socket = true;
        Ok(())
    }

    /// Lets go of the socket, which is about to leave this process, and is readable from now on: whoever polls it wakes up, and learns
    /// what happened.
    pub(super) fn leave(&mut self, socket: BorrowedFd<'_>) {
        if self.has_socket {
            // It fails only if somebody has done it, who should not have.
            let _ = epoll::delete(&self.epoll, socket);
            self.has_socket = false;
        }
        self.light();
    }

    fn light(&mut self) {
        self.is_lit = true;
        // Each addition is an edge. It never comes to an overflow: nobody counts to 2^64.
        while rustix::io::write(&self.lamp, &1_u64.to_ne_bytes()) == Err(Errno::INTR) {}
    }

    fn put_out(&mut self) {
        self.is_lit = false;
        while rustix::io::read(&self.lamp, &mut [0; 8]) == Err(Errno::INTR) {}
    }
}

impl AsFd for Beacon {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}
