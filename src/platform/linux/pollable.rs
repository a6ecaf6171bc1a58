//! A file descriptor that a receiver lends out to be polled. It is readable when the receiver's
//! socket is, and also while there are messages elsewhere.
//!
//! It is an epoll instance with two members: the socket, and an [`Event`]. Every packet that
//! arrives is an edge of it, and so is every write to the event. Each receiver has an event of
//! its own. A single event would be in as many epoll instances as there are receivers. Of those
//! that have such a member, the kernel allows no more than 500 in further ones.
//!
//! A forked child shares it, like the socket. Only one of the two may go on with the receiver, and
//! the other just drops its own.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use super::event::Event;

/// A file descriptor to be polled.
#[derive(Debug)]
pub(in crate::platform) struct PollableFd {
    epoll: OwnedFd,
    event: Event,
    is_set: bool,
    /// Whether the socket is a member.
    has_socket: bool,
}

impl PollableFd {
    /// Makes one for a socket.
    pub(in crate::platform) fn new(socket: BorrowedFd<'_>) -> io::Result<PollableFd> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let event = Event::new()?;
        epoll::add(&epoll, &event, EventData::new_u64(0), EventFlags::IN)?;
        let mut pollable = PollableFd { epoll, event, is_set: false, has_socket: false };
        pollable.watch(socket)?;
        Ok(pollable)
    }

    /// Shows whether there are messages outside of the socket. If that `is_news`, edge-triggered
    /// pollers wake up.
    #[inline]
    pub(in crate::platform) fn show(
        &mut self,
        socket: BorrowedFd<'_>,
        is_there: bool,
        is_news: bool,
    ) {
        // Better readable in vain than never.
        let is_there = is_there || !(self.has_socket || self.watch(socket).is_ok());
        if is_there && (is_news || !self.is_set) {
            self.set();
        } else if !is_there && self.is_set {
            self.clear();
        }
    }

    /// Returns whether it shows that there are messages outside of the socket.
    #[inline]
    pub(in crate::platform) fn is_set(&self) -> bool {
        self.is_set
    }

    /// Watches the socket from now on.
    pub(in crate::platform) fn watch(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        epoll::add(&self.epoll, socket, EventData::new_u64(1), EventFlags::IN)?;
        self.has_socket = true;
        Ok(())
    }

    /// Stops watching the socket, which is about to be moved to another process. It is readable
    /// from now on: a poller wakes up and learns what happened.
    pub(in crate::platform) fn leave(&mut self, socket: BorrowedFd<'_>) {
        if self.has_socket {
            // It fails only if other code has done it, which should not happen.
            let _ = epoll::delete(&self.epoll, socket);
            self.has_socket = false;
        }
        self.set();
    }

    fn set(&mut self) {
        self.is_set = true;
        // Writing to an eventfd of this process does not fail.
        let _ = self.event.set();
    }

    fn clear(&mut self) {
        self.is_set = false;
        self.event.clear();
    }
}

impl AsFd for PollableFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}
