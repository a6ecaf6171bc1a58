//! Readiness of many queues: each queue that became ready puts its id into one more queue.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::InProcess;
use super::packet::PacketReceiver;
use super::queue::{Consumer, Producer, queue};
use super::rendezvous::Listener;
use crate::platform::contract::Registry as _;
use crate::platform::{RecvError, WAKE_ID, Wait, contract};

/// How many ready members one `wait` reports at most.
const IDS_PER_WAIT: usize = 256;

/// Watches many receivers for readiness.
#[derive(Debug)]
pub struct Poller {
    ready: Consumer<Arc<Interest>>,
    registry: Registry,
}

impl contract::Poller<InProcess> for Poller {
    fn new() -> io::Result<Poller> {
        let (news, ready) = queue();
        Ok(Poller { ready, registry: Registry { news: Arc::new(news) } })
    }

    fn add(&self, receiver: &PacketReceiver, id: u64) -> io::Result<()> {
        self.registry.add(receiver, id)
    }

    fn add_listener(&self, listener: &Listener, id: u64) -> io::Result<()> {
        listener.observe(self.registry.interest(id));
        Ok(())
    }

    fn add_poller(&self, other: &Poller, id: u64) -> io::Result<()> {
        self.registry.add_poller(other, id)
    }

    fn remove_poller(&self, other: &Poller) -> io::Result<()> {
        self.registry.remove_poller(other)
    }

    fn remove(&self, receiver: &PacketReceiver) -> io::Result<()> {
        self.registry.remove(receiver)
    }

    fn wait(&mut self, wait: Wait, ready: &mut VecDeque<u64>) -> io::Result<()> {
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

    fn registry(&self) -> io::Result<Registry> {
        Ok(self.registry.clone())
    }

    fn waker(&self) -> io::Result<PollWaker> {
        Ok(PollWaker(self.registry.interest(WAKE_ID)))
    }
}

/// Adds and removes members of a [`Poller`] from any thread.
#[derive(Clone, Debug)]
pub struct Registry {
    news: Arc<Producer<Arc<Interest>>>,
}

impl contract::Registry<InProcess> for Registry {
    fn add(&self, receiver: &PacketReceiver, id: u64) -> io::Result<()> {
        receiver.observe(Some(self.interest(id)));
        Ok(())
    }

    fn remove(&self, receiver: &PacketReceiver) -> io::Result<()> {
        receiver.observe(None);
        Ok(())
    }

    fn add_poller(&self, other: &Poller, id: u64) -> io::Result<()> {
        other.ready.observe(Some(self.interest(id)));
        Ok(())
    }

    fn remove_poller(&self, other: &Poller) -> io::Result<()> {
        other.ready.observe(None);
        Ok(())
    }
}

impl Registry {
    fn interest(&self, id: u64) -> Arc<Interest> {
        Arc::new(Interest { id, is_queued: AtomicBool::new(false), news: Arc::clone(&self.news) })
    }
}

/// Interrupts the `wait` of a [`Poller`] from any thread.
#[derive(Clone, Debug)]
pub struct PollWaker(Arc<Interest>);

impl contract::PollWaker for PollWaker {
    fn wake(&self) -> io::Result<()> {
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
