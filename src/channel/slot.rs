//! A slot holds the user's receiver, which can be moved through a shared reference.
//!
//! `serde` serialises `&self`, and serialising a receiver moves it. So the user's receiver is a
//! slot. While a message with the receiver is being sent, the slot holds a [`ReturnSlot`]. If the
//! message is not sent, the receiver comes back through it. If it is sent, the slot stays empty and
//! reports that.

use std::cell::RefCell;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use super::receive::Receiver;
use super::table::MovedReceiver;
use super::transfer::{Incomplete, Room};
use crate::platform::{Attachment, PacketReceiver, Remainder};

/// Holds a receiver, or what stayed after it was moved.
#[derive(Debug)]
pub(crate) struct Slot {
    state: RefCell<State>,
}

#[derive(Debug)]
enum State {
    Here(Receiver),
    Away {
        /// Where the receiver would come back.
        return_slot: Arc<ReturnSlot>,
        remainder: Remainder,
    },
}

/// Returns a receiver whose message was not sent.
#[derive(Debug, Default)]
pub(crate) struct ReturnSlot(Mutex<Option<Receiver>>);

impl ReturnSlot {
    /// Puts the receiver back.
    pub(crate) fn put_back(&self, receiver: Receiver) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(receiver);
    }

    fn take(&self) -> Option<Receiver> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A receiver that was moved, in parts.
#[derive(Debug)]
pub(crate) struct TakenApart {
    /// The parts that go into the message.
    pub(crate) moved: MovedReceiver<Attachment>,
    /// The parts that there is no room for.
    pub(crate) left_behind: Vec<Incomplete>,
    /// Returns the receiver if the message is not sent.
    pub(crate) return_slot: Arc<ReturnSlot>,
}

impl From<Receiver> for Slot {
    fn from(receiver: Receiver) -> Slot {
        Slot { state: RefCell::new(State::Here(receiver)) }
    }
}

impl Slot {
    /// Calls `f` with the receiver.
    ///
    /// # Errors
    ///
    /// Fails if the receiver was moved.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut Receiver) -> R) -> io::Result<R> {
        let mut state = self.state.try_borrow_mut().map_err(|_| in_use())?;
        state.restore();
        match &mut *state {
            State::Here(receiver) => Ok(f(receiver)),
            State::Away { .. } => Err(has_left()),
        }
    }

    /// Calls `f` with what stayed of the receiver; returns `None` if it was not moved.
    #[allow(dead_code, reason = "only the modules in `os` need it")]
    pub(crate) fn with_remainder<R>(&self, f: impl FnOnce(&Remainder) -> R) -> Option<R> {
        match self.state.try_borrow().ok().as_deref() {
            Some(State::Away { remainder, .. }) => Some(f(remainder)),
            _ => None,
        }
    }

    /// Takes the receiver out for good. Anything lent out of it is no longer used.
    ///
    /// # Errors
    ///
    /// Fails if the receiver was moved.
    pub(crate) fn into_receiver(self) -> io::Result<Receiver> {
        let mut state = self.state.into_inner();
        state.restore();
        match state {
            State::Here(mut receiver) => {
                receiver.recall();
                Ok(receiver)
            }
            State::Away { .. } => Err(has_left()),
        }
    }

    /// Takes the backend's receiver out, for good, if all messages that were not delivered are in
    /// the operating system.
    ///
    /// # Errors
    ///
    /// Fails if some are not, or if the receiver was moved.
    #[allow(dead_code, reason = "only the modules in `os` need it")]
    pub(crate) fn into_packets(self) -> Result<PacketReceiver, Slot> {
        let mut state = self.state.into_inner();
        state.restore();
        match state {
            State::Here(receiver) => receiver.into_packets().map_err(Slot::from),
            away @ State::Away { .. } => Err(Slot { state: RefCell::new(away) }),
        }
    }

    /// Takes the receiver apart so that it can be sent.
    ///
    /// # Errors
    ///
    /// Fails if it was moved already, or cannot be moved.
    pub(crate) fn take_apart(&self, room: &mut Room) -> io::Result<TakenApart> {
        let mut state = self.state.try_borrow_mut().map_err(|_| in_use())?;
        state.restore();
        let return_slot = Arc::new(ReturnSlot::default());
        // For this moment only: an empty return slot counts as a receiver that was moved.
        let away =
            State::Away { return_slot: Arc::clone(&return_slot), remainder: Remainder::default() };
        match std::mem::replace(&mut *state, away) {
            State::Here(receiver) => match receiver.take_apart(room) {
                Ok((channel, transfer, left)) => {
                    if let State::Away { remainder, .. } = &mut *state {
                        *remainder = left;
                    }
                    match transfer.pack(channel, room) {
                        Ok((moved, left_behind)) => {
                            Ok(TakenApart { moved, left_behind, return_slot })
                        }
                        Err((error, channel, transfer)) => {
                            return_slot.put_back(Receiver::put_together(channel, transfer)?);
                            state.restore();
                            Err(error)
                        }
                    }
                }
                Err((error, receiver)) => {
                    *state = State::Here(receiver);
                    Err(error)
                }
            },
            away @ State::Away { .. } => {
                *state = away;
                Err(has_left())
            }
        }
    }
}

impl State {
    /// Takes the receiver back if its message was not sent.
    #[inline]
    fn restore(&mut self) {
        if let State::Away { .. } = self {
            self.take_back();
        }
    }

    #[cold]
    fn take_back(&mut self) {
        if let State::Away { return_slot, remainder } = self {
            if let Some(mut receiver) = return_slot.take() {
                receiver.restore(std::mem::take(remainder));
                *self = State::Here(receiver);
            }
        }
    }
}

fn has_left() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "the receiver was moved into a message")
}

fn in_use() -> io::Error {
    io::Error::new(
        io::ErrorKind::WouldBlock,
        "the receiver is already in use by this thread (re-entrant use)",
    )
}
