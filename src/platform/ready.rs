//! Readiness without the operating system, for backends whose objects report by themselves that
//! they became ready: a queue that notifies a poller, and a poller whose members put themselves
//! into such a queue.
//!
//! A backend names `Poller<Self>`, `Registry<Self>` and [`PollWaker`], and implements [`Observe`]
//! for its receivers and listeners.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::marker::PhantomData;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{RecvTimeoutError, TryRecvError};

use super::contract::{self, Backend};
use super::{RecvError, WAKE_ID, Wait};

/// How many ready members one `wait` reports at most.
const IDS_PER_WAIT: usize = 256;

/// An object that a poller can watch.
pub trait Observe {
    /// Notifies `interest` from now on, and at once if there may be something already; or notifies
    /// nothing any more.
    fn observe(&self, interest: Option<Arc<Interest>>);
}

/// Watches many receivers for readiness.
#[derive(Debug)]
pub struct Poller<B> {
    ready: Consumer<Arc<Interest>>,
    registry: Registry<B>,
}

impl<B> contract::Poller<B> for Poller<B>
where
    B: Backend<Poller = Poller<B>, Registry = Registry<B>, PollWaker = PollWaker> + Debug,
    B::PacketReceiver: Observe,
    B::Listener: Observe,
{
    fn new() -> io::Result<Poller<B>> {
        let (news, ready) = queue();
        Ok(Poller { ready, registry: Registry { news: Arc::new(news), backend: PhantomData } })
    }

    fn add(&self, receiver: &B::PacketReceiver, id: u64) -> io::Result<()> {
        contract::Registry::add(&self.registry, receiver, id)
    }

    fn add_listener(&self, listener: &B::Listener, id: u64) -> io::Result<()> {
        listener.observe(Some(self.registry.interest(id)));
        Ok(())
    }

    fn add_poller(&self, other: &Poller<B>, id: u64) -> io::Result<()> {
        contract::Registry::add_poller(&self.registry, other, id)
    }

    fn remove_poller(&self, other: &Poller<B>) -> io::Result<()> {
        contract::Registry::remove_poller(&self.registry, other)
    }

    fn remove(&self, receiver: &B::PacketReceiver) -> io::Result<()> {
        contract::Registry::remove(&self.registry, receiver)
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

    fn registry(&self) -> io::Result<Registry<B>> {
        Ok(self.registry.clone())
    }

    fn waker(&self) -> io::Result<PollWaker> {
        Ok(PollWaker(self.registry.interest(WAKE_ID)))
    }
}

/// Adds and removes members of a [`Poller`] from any thread.
#[derive(Debug)]
pub struct Registry<B> {
    news: Arc<Producer<Arc<Interest>>>,
    /// The backend whose objects are added: they are those of no other.
    backend: PhantomData<fn() -> B>,
}

impl<B> contract::Registry<B> for Registry<B>
where
    B: Backend<Poller = Poller<B>, Registry = Registry<B>, PollWaker = PollWaker> + Debug,
    B::PacketReceiver: Observe,
{
    fn add(&self, receiver: &B::PacketReceiver, id: u64) -> io::Result<()> {
        receiver.observe(Some(self.interest(id)));
        Ok(())
    }

    fn remove(&self, receiver: &B::PacketReceiver) -> io::Result<()> {
        receiver.observe(None);
        Ok(())
    }

    fn add_poller(&self, other: &Poller<B>, id: u64) -> io::Result<()> {
        other.ready.observe(Some(self.interest(id)));
        Ok(())
    }

    fn remove_poller(&self, other: &Poller<B>) -> io::Result<()> {
        other.ready.observe(None);
        Ok(())
    }
}

impl<B> Registry<B> {
    fn interest(&self, id: u64) -> Arc<Interest> {
        Arc::new(Interest { id, is_queued: AtomicBool::new(false), news: Arc::clone(&self.news) })
    }
}

impl<B> Clone for Registry<B> {
    fn clone(&self) -> Registry<B> {
        Registry { news: Arc::clone(&self.news), backend: PhantomData }
    }
}

/// Interrupts the `wait` of a poller from any thread.
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
pub struct Interest {
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

/// The state that the producer and the consumer share.
#[derive(Debug, Default)]
struct State {
    /// The poller's member to notify when the queue becomes ready.
    observer: Option<Arc<Interest>>,
    /// Nothing more is accepted.
    is_refusing: bool,
}

type Shared = Arc<Mutex<State>>;

/// Makes an unbounded queue.
pub(super) fn queue<T>() -> (Producer<T>, Consumer<T>) {
    let (sender, receiver) = crossbeam_channel::unbounded();
    let shared = Shared::default();
    (Producer { sender: Some(sender), shared: Arc::clone(&shared) }, Consumer { receiver, shared })
}

/// The end that items are put into. There is one, which all senders share.
#[derive(Debug)]
pub(super) struct Producer<T> {
    /// `None` only while it is being dropped.
    sender: Option<crossbeam_channel::Sender<T>>,
    shared: Shared,
}

impl<T> Producer<T> {
    /// Returns a number that no other existing queue has.
    pub(super) fn identity(&self) -> Option<NonZeroU64> {
        NonZeroU64::new(Arc::as_ptr(&self.shared).addr() as u64)
    }

    /// Returns whether the consumer has been dropped, or accepts nothing more.
    pub(super) fn is_closed(&self) -> bool {
        lock(&self.shared).is_refusing
    }

    /// Adds an item, or returns it if the consumer has been dropped.
    pub(super) fn push(&self, item: T) -> Result<(), T> {
        let state = lock(&self.shared);
        match &self.sender {
            // Under the lock: an item is in the queue before it starts to refuse, or is refused.
            Some(sender) if !state.is_refusing => sender.send(item).map_err(|error| error.0)?,
            _ => return Err(item),
        }
        drop(state);
        notify(&self.shared);
        Ok(())
    }
}

impl<T> Drop for Producer<T> {
    fn drop(&mut self) {
        // First the disconnection, then its notification.
        self.sender = None;
        notify(&self.shared);
    }
}

/// The end that items are taken out of.
#[derive(Debug)]
pub(super) struct Consumer<T> {
    receiver: crossbeam_channel::Receiver<T>,
    shared: Shared,
}

impl<T> Consumer<T> {
    /// Takes the oldest item.
    pub(super) fn pop(&self, wait: Wait) -> Result<T, RecvError> {
        match wait {
            Wait::Never => self.receiver.try_recv().map_err(|error| match error {
                TryRecvError::Empty => RecvError::Empty,
                TryRecvError::Disconnected => RecvError::Closed,
            }),
            Wait::Until(deadline) => {
                self.receiver.recv_deadline(deadline).map_err(|error| match error {
                    RecvTimeoutError::Timeout => RecvError::Empty,
                    RecvTimeoutError::Disconnected => RecvError::Closed,
                })
            }
            Wait::Forever => self.receiver.recv().map_err(|_| RecvError::Closed),
        }
    }

    /// Accepts nothing more. Present items stay.
    pub(super) fn refuse(&self) {
        lock(&self.shared).is_refusing = true;
    }

    /// Does what [`Observe::observe`] says.
    pub(super) fn observe(&self, interest: Option<Arc<Interest>>) {
        let old = std::mem::replace(&mut lock(&self.shared).observer, interest);
        drop(old);
        notify(&self.shared);
    }
}

impl<T> Drop for Consumer<T> {
    fn drop(&mut self) {
        self.refuse();
    }
}

fn notify(shared: &Shared) {
    let interest = lock(shared).observer.clone();
    if let Some(interest) = interest {
        interest.mark_ready();
    }
}

fn lock(shared: &Shared) -> MutexGuard<'_, State> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
