//! Readiness of many queues: each queue that became ready puts its id into one more queue.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::packet::PacketReceiver;
use super::queue::{Consumer, Producer, queue};
use super::rendezvous::Listener;
use crate::platform::{RecvError, WAKE_ID, Wait};

/// How many ready members one `wait` reports at most.
const IDS_PER_WAIT: usize = 256;

/// Watches many receivers for readiness.
#[derive(Debug)]
pub struct Poller {
    ready: Consumer<Arc<Interest>>,
    registry: Registry,
}

impl Poller {
    /// Makes an empty poller.
    pub fn new() -> io::Result<Poller> {
        let (news, ready) = queue();
        Ok(Poller { ready, registry: Registry { news: Arc::new(news) } })
    }

    /// Adds a receiver, which is reported as `id`.
    pub fn add(&self, receiver: &PacketReceiver, id: u64) -> io::Result<()> {
        self.registry.add(receiver, id)
    }

    /// Adds a listener, which is reported as `id`.
    pub fn add_listener(&self, listener: &Listener, id: u64) -> io::Result<()> {
        listener.observe(self.registry.interest(id));
        Ok(())
    }

    /// Adds another poller, which is reported as `id` when it has something to report.
    pub fn add_poller(&self, other: &Poller, id: u64) -> io::Result<()> {
        self.registry.add_poller(other, id)
    }

    /// Removes a poller.
    pub fn remove_poller(&self, other: &Poller) -> io::Result<()> {
        self.registry.remove_poller(other)
    }

    /// Removes a receiver.
    pub fn remove(&self, receiver: &PacketReceiver) -> io::Result<()> {
        self.registry.remove(receiver)
    }

    /// Appends the ids of members that became ready to `ready`. Blocks until there is one, as
    /// `wait` says.
    pub fn wait(&mut self, wait: Wait, ready: &mut VecDeque<u64>) -> io::Result<()> {
        let mut wait = wait;
        // Not until there are no more: members that are flooded come back while the others are
        // taken out.
        for _ in 0..IDS_PER_WAIT {
            match self.ready.pop(wait) {
                Ok(interest) => {
                    // Before the receiver is checked, so that what arrives meanwhile is reported
                    // again.
                    interest.is_queued.store(false, Ordering::SeqCst);
                    ready.push_back(interest.id);
                    wait = Wait::Never;
                }
                Err(RecvError::Empty) => return Ok(()),
                Err(RecvError::Closed) => {
                    return Err(io::Error::other("the poller holds a producer"));
                }
                Err(RecvError::Io(error) | RecvError::Broken(error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// Returns a handle for adding and removing members from other threads.
    pub fn registry(&self) -> io::Result<Registry> {
        Ok(self.registry.clone())
    }

    /// Returns a handle for interrupting `wait`.
    pub fn waker(&self) -> io::Result<PollWaker> {
        Ok(PollWaker(self.registry.interest(WAKE_ID)))
    }
}

/// Adds and removes members of a [`Poller`] from any thread.
#[derive(Clone, Debug)]
pub struct Registry {
    news: Arc<Producer<Arc<Interest>>>,
}

impl Registry {
    /// Adds a receiver, which is reported as `id`.
    pub fn add(&self, receiver: &PacketReceiver, id: u64) -> io::Result<()> {
        receiver.observe(Some(self.interest(id)));
        Ok(())
    }

    /// Removes a receiver.
    pub fn remove(&self, receiver: &PacketReceiver) -> io::Result<()> {
        receiver.observe(None);
        Ok(())
    }

    /// Adds a poller, which is reported as `id` when it has something to report.
    pub fn add_poller(&self, other: &Poller, id: u64) -> io::Result<()> {
        other.ready.observe(Some(self.interest(id)));
        Ok(())
    }

    /// Removes a poller.
    pub fn remove_poller(&self, other: &Poller) -> io::Result<()> {
        other.ready.observe(None);
        Ok(())
    }

    fn interest(&self, id: u64) -> Arc<Interest> {
        Arc::new(Interest { id, is_queued: AtomicBool::new(false), news: Arc::clone(&self.news) })
    }
}

/// Interrupts the `wait` of a [`Poller`] from any thread.
#[derive(Clone, Debug)]
pub struct PollWaker(Arc<Interest>);

impl PollWaker {
    /// Makes the current or the next `wait` return.
    pub fn wake(&self) -> io::Result<()> {
        self.0.mark_ready();
        Ok(())
    }
}

/// One member of a poller. It is in the poller's queue at most once.
#[derive(Debug)]
pub(super) struct Interest {
    id: u64,
    is_queued: AtomicBool,
    news: Arc<Producer<Arc<Interest>>>,
}

impl Interest {
    /// Notifies the poller that this member became ready.
    pub(super) fn mark_ready(self: &Arc<Self>) {
        if !self.is_queued.swap(true, Ordering::SeqCst) {
            // If the poller was dropped, there is nothing to notify.
            let _ = self.news.push(Arc::clone(self));
        }
    }
}
