//! A queue that notifies a poller when it becomes ready: crossbeam's channel and an observer.

use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{RecvTimeoutError, TryRecvError};

use super::poller::Interest;
use crate::platform::{RecvError, Wait};

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

    /// Notifies `interest` from now on, and at once if there may be something already.
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
