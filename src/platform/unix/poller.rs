//! Readiness of many sockets, by mio: edge-triggered epoll on Linux.
//!
//! # Safety
//!
//! One `borrow_raw` of the descriptor that mio keeps open for as long as the poller lives.

#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use rustix::event::PollFlags;

use super::rendezvous::Listener;
use super::socket::{self, PacketReceiver};
use crate::platform::{WAKE_ID, Wait};

/// How many ready members one system call reports.
const EVENTS_PER_WAIT: usize = 256;

/// Watches many receivers.
#[derive(Debug)]
pub struct Poller {
    poll: Poll,
    events: Events,
}

impl Poller {
    /// Makes one that watches nothing.
    pub fn new() -> io::Result<Poller> {
        Ok(Poller { poll: Poll::new()?, events: Events::with_capacity(EVENTS_PER_WAIT) })
    }

    /// Watches a receiver, which is reported as `id`.
    pub fn add(&self, receiver: &PacketReceiver, id: u64) -> io::Result<()> {
        add(self.poll.registry(), receiver.as_fd(), id)
    }

    /// Watches a listener, which is reported as `id`.
    pub fn add_listener(&self, listener: &Listener, id: u64) -> io::Result<()> {
        add(self.poll.registry(), listener.as_fd(), id)
    }

    /// Watches it no more.
    pub fn remove(&self, receiver: &PacketReceiver) -> io::Result<()> {
        self.poll.registry().deregister(&mut SourceFd(&receiver.as_fd().as_raw_fd()))
    }

    /// Appends the ids of those that became ready to `ready`, after waiting for the first as `wait` says.
    pub fn wait(&mut self, wait: Wait, ready: &mut VecDeque<u64>) -> io::Result<()> {
        // mio's timeouts are whole milliseconds, so a limited wait is a poll of the epoll descriptor itself.
        if wait == Wait::Forever {
            self.collect(None, ready)?;
        } else {
            self.collect(Some(std::time::Duration::ZERO), ready)?;
            if ready.is_empty() && !wait.is_over() {
                socket::poll(self.as_fd(), PollFlags::IN, wait)?;
                self.collect(Some(std::time::Duration::ZERO), ready)?;
            }
        }
        Ok(())
    }

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
        ready.extend(self.events.iter().map(|event| event.token().0 as u64));
        Ok(())
    }

    /// A handle for adding and removing members from other threads.
    pub fn registry(&self) -> io::Result<Registry> {
        self.poll.registry().try_clone().map(Registry)
    }

    /// A handle for interrupting `wait`; at most one per poller.
    pub fn waker(&self) -> io::Result<PollWaker> {
        Waker::new(self.poll.registry(), Token(WAKE_ID as usize))
            .map(|waker| PollWaker(Arc::new(waker)))
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

impl Registry {
    /// Watches a receiver, which is reported as `id`.
    pub fn add(&self, receiver: &PacketReceiver, id: u64) -> io::Result<()> {
        add(&self.0, receiver.as_fd(), id)
    }

    /// Watches it no more.
    pub fn remove(&self, receiver: &PacketReceiver) -> io::Result<()> {
        self.0.deregister(&mut SourceFd(&receiver.as_fd().as_raw_fd()))
    }
}

/// Interrupts the `wait` of a [`Poller`] from any thread.
#[derive(Clone, Debug)]
pub struct PollWaker(Arc<Waker>);

impl PollWaker {
    /// Makes the current or the next `wait` return.
    pub fn wake(&self) -> io::Result<()> {
        self.0.wake()
    }
}

fn add(registry: &mio::Registry, fd: BorrowedFd<'_>, id: u64) -> io::Result<()> {
    registry.register(&mut SourceFd(&fd.as_raw_fd()), Token(id as usize), Interest::READABLE)
}
