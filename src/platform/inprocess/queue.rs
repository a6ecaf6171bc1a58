//! A queue that tells a poller when it became ready: crossbeam's channel and somebody to notify.

use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{RecvTimeoutError, TryRecvError};

use super::poller::Interest;
use crate::platform::{RecvError, Wait};

/// Who wants to know that the queue became ready.
type Observer = Arc<Mutex<Option<Arc<Interest>>>>;

/// Makes an unbounded queue.
pub(super) fn queue<T>() -> (Producer<T>, Consumer<T>) {
    let (sender, receiver) = crossbeam_channel::unbounded();
    let observer = Observer::default();
    (
        Producer { sender: Some(sender), observer: Arc::clone(&observer) },
        Consumer { receiver, observer },
    )
}

/// The end that items go into. There is one; whoever needs more shares it.
#[derive(Debug)]
pub(super) struct Producer<T> {
    /// `None` only while it is being dropped.
    sender: Option<crossbeam_channel::Sender<T>>,
    observer: Observer,
}

impl<T> Producer<T> {
    /// A number that no other queue has which is there at the same time.
    pub(super) fn identity(&self) -> Option<NonZeroU64> {
        NonZeroU64::new(Arc::as_ptr(&self.observer).addr() as u64)
    }

    /// Adds an item, or gives it back if the consumer is gone.
    pub(super) fn push(&self, item: T) -> Result<(), T> {
        match &self.sender {
            Some(sender) => sender.send(item).map_err(|error| error.0)?,
            None => return Err(item),
        }
        notify(&self.observer);
        Ok(())
    }
}

impl<T> Drop for Producer<T> {
    fn drop(&mut self) {
        // First the disconnection, then the news of it.
        self.sender = None;
        notify(&self.observer);
    }
}

/// The end that items come out of.
#[derive(Debug)]
pub(super) struct Consumer<T> {
    receiver: crossbeam_channel::Receiver<T>,
    observer: Observer,
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

    /// Notifies `interest` from now on, and at once if there may be something already.
    pub(super) fn observe(&self, interest: Option<Arc<Interest>>) {
        *self.observer.lock().unwrap_or_else(PoisonError::into_inner) = interest;
        notify(&self.observer);
    }
}

fn notify(observer: &Observer) {
    let interest = observer.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some(interest) = interest {
        interest.mark_ready();
    }
}
