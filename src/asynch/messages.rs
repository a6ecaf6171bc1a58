//! The common part of all streams of messages, whatever they convert a message to.

use std::io;
use std::mem;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use super::reactor::Watched;
use super::turn::Turn;
use crate::channel::{Message, Purpose, Receiver, RecvError, Slot};
use crate::error::SerDeError;
use crate::typed;

/// The messages of a receiver, for polling.
pub(super) struct Messages {
    /// A mutex, so that the stream is `Sync`. It is never contended.
    source: Mutex<Source>,
    turn: Turn,
}

enum Source {
    /// Not polled yet.
    New(Slot),
    /// Registered with the reactor.
    Watched(Box<Watched<Receiver>>),
    /// The stream has ended.
    Over,
}

impl Messages {
    pub(super) fn of(slot: Slot) -> Messages {
        Messages { source: Mutex::new(Source::New(slot)), turn: Turn::default() }
    }

    /// Polls for the next message, and converts it and its buffer with `take`. Returns `None` at
    /// the end of the stream.
    pub(super) fn poll_next<R>(
        &mut self,
        cx: &mut Context<'_>,
        purpose: Purpose,
        take: impl FnOnce(Message, &[u8]) -> Result<R, SerDeError>,
    ) -> Poll<Option<Result<R, SerDeError>>> {
        if self.turn.is_over(cx) {
            return Poll::Pending;
        }
        let source = self.source.get_mut().unwrap_or_else(PoisonError::into_inner);
        let item = source.poll_next(cx, purpose, take);
        self.turn.count(&item);
        item
    }

    pub(super) fn are_over(&self) -> bool {
        matches!(*self.source.lock().unwrap_or_else(PoisonError::into_inner), Source::Over)
    }
}

impl Source {
    fn poll_next<R>(
        &mut self,
        cx: &mut Context<'_>,
        purpose: Purpose,
        take: impl FnOnce(Message, &[u8]) -> Result<R, SerDeError>,
    ) -> Poll<Option<Result<R, SerDeError>>> {
        if let Err(error) = self.watch() {
            return Poll::Ready(Some(Err(lost(error))));
        }
        let Source::Watched(watch) = self else {
            return Poll::Ready(None);
        };
        // Before the receiver is checked, so that a message that arrives meanwhile wakes the task.
        watch.wake(cx.waker());
        match typed::receive_now(&mut watch.source, purpose, take) {
            Ok(item) => Poll::Ready(Some(item)),
            Err(RecvError::Empty) => Poll::Pending,
            Err(RecvError::BudgetSpent) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Err(RecvError::Lost(problem)) => Poll::Ready(Some(Err(problem.into()))),
            Err(RecvError::Io(error)) => Poll::Ready(Some(Err(lost(error)))),
            Err(RecvError::Broken(error)) => {
                *self = Source::Over;
                Poll::Ready(Some(Err(lost(error))))
            }
            Err(RecvError::Disconnected) => {
                *self = Source::Over;
                Poll::Ready(None)
            }
        }
    }

    /// Registers the receiver with the reactor, if it is not yet. An attempt after a failure may
    /// succeed. If the receiver was moved, the stream has ended.
    fn watch(&mut self) -> io::Result<()> {
        match mem::replace(self, Source::Over) {
            Source::New(slot) => match Watched::new(slot.into_receiver()?) {
                Ok(watch) => *self = Source::Watched(Box::new(watch)),
                Err((error, receiver)) => {
                    *self = Source::New(Slot::from(receiver));
                    return Err(error);
                }
            },
            source => *self = source,
        }
        Ok(())
    }
}

fn lost(error: io::Error) -> SerDeError {
    SerDeError::of_receiving(Box::new(error))
}
