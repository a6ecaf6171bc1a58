//! Readiness of many sockets, by mio, edge-triggered.
//!
//! # Safety
//!
//! One `borrow_raw` of the file descriptor that mio keeps open for as long as the poller lives.

#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::event::PollFlags;
use rustix::io::Errno;

use super::Unix;
use super::flavour::Event;
use super::listener::Listener;
use super::poll::poll;
use super::socket::PacketReceiver;
use crate::platform::{WAKE_ID, Wait, contract};

/// How many ready members one system call reports.
const EVENTS_PER_WAIT: usize = 256;

/// Watches many receivers for readiness.
#[derive(Debug)]
pub struct Poller {
    poll: Poll,
    events: Events,
}

impl contract::Poller<Unix> for Poller {
    fn new() -> io::Result<Poller> {
        Ok(Poller { poll: Poll::new()?, events: Events::with_capacity(EVENTS_PER_WAIT) })
    }

    fn add(&self, receiver: &PacketReceiver, id: u64) -> io::Result<()> {
        add(self.poll.registry(), receiver.as_fd(), id)
    }

    fn add_listener(&self, listener: &Listener, id: u64) -> io::Result<()> {
        add(self.poll.registry(), listener.as_fd(), id)
    }

    fn add_poller(&self, other: &Poller, id: u64) -> io::Result<()> {
        add(self.poll.registry(), other.as_fd(), id)
    }

    fn remove_poller(&self, other: &Poller) -> io::Result<()> {
        self.poll.registry().deregister(&mut SourceFd(&other.as_fd().as_raw_fd()))
    }

    fn remove(&self, receiver: &PacketReceiver) -> io::Result<()> {
        self.poll.registry().deregister(&mut SourceFd(&receiver.as_fd().as_raw_fd()))
    }

    fn wait(&mut self, wait: Wait, ready: &mut VecDeque<u64>) -> io::Result<()> {
        // mio's timeouts are whole milliseconds, so a wait with a deadline is a poll of its
        // file descriptor.
        if wait == Wait::Forever {
            self.collect(None, ready)?;
        } else {
            self.collect(Some(std::time::Duration::ZERO), ready)?;
            if ready.is_empty() && !wait.is_over() {
                poll(self.as_fd(), PollFlags::IN, wait)?;
                self.collect(Some(std::time::Duration::ZERO), ready)?;
            }
        }
        Ok(())
    }

    fn registry(&self) -> io::Result<Registry> {
        self.poll.registry().try_clone().map(Registry)
    }

    fn waker(&self) -> io::Result<PollWaker> {
        let event = Event::new()?;
        register(self.poll.registry(), event.as_fd(), WAKE)?;
        Ok(PollWaker(Arc::new(event)))
    }
}

impl Poller {
    fn collect(
        &mut self,
        timeout: Option<std::time::Duration>,
        ready: &mut VecDeque<u64>,
    ) -> io::Result<()> {
        loop {
            match self.poll.poll(&mut self.events, timeout) {
                Ok(()) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        ready.extend(self.events.iter().map(|event| match event.token() {
            WAKE => WAKE_ID,
            Token(id) => id as u64,
        }));
        Ok(())
    }
}

impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor belongs to `self.poll`, which lives as long as the borrow.
        unsafe { BorrowedFd::borrow_raw(self.poll.as_raw_fd()) }
    }
}

/// Adds and removes members of a [`Poller`] from any thread.
#[derive(Debug)]
pub struct Registry(mio::Registry);

impl contract::Registry<Unix> for Registry {
    fn add(&self, receiver: &PacketReceiver, id: u64) -> io::Result<()> {
        add(&self.0, receiver.as_fd(), id)
    }

    fn add_poller(&self, other: &Poller, id: u64) -> io::Result<()> {
        add(&self.0, other.as_fd(), id)
    }

    fn remove_poller(&self, other: &Poller) -> io::Result<()> {
        self.0.deregister(&mut SourceFd(&other.as_fd().as_raw_fd()))
    }

    fn remove(&self, receiver: &PacketReceiver) -> io::Result<()> {
        self.0.deregister(&mut SourceFd(&receiver.as_fd().as_raw_fd()))
    }
}

/// Interrupts the `wait` of a [`Poller`] from any thread. It is not mio's own, which can be
/// made only once for each poller, even if making it failed.
#[derive(Clone, Debug)]
pub struct PollWaker(Arc<Event>);

impl contract::PollWaker for PollWaker {
    fn wake(&self) -> io::Result<()> {
        self.0.set()
    }
}

/// The token of a waker.
const WAKE: Token = Token(usize::MAX);

fn add(registry: &mio::Registry, fd: BorrowedFd<'_>, id: u64) -> io::Result<()> {
    // Ids are counted up: where a `usize` is short, a poller has had four billion members.
    let token = usize::try_from(id).map_err(|_| Errno::OVERFLOW)?;
    register(registry, fd, Token(token))
}

fn register(registry: &mio::Registry, fd: BorrowedFd<'_>, token: Token) -> io::Result<()> {
    registry.register(&mut SourceFd(&fd.as_raw_fd()), token, Interest::READABLE)
}
