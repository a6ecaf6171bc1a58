//! A receiver as its user holds it: it can leave through a shared reference.
//!
//! `serde` serialises `&self`, and serialising a receiver moves it. So the user's receiver is a slot. While a message with the
//! receiver is on its way out, the slot holds the empty half of a [`Parcel`]; if the message is not sent, the receiver
//! comes back through it, and if it is, the slot stays empty and says so.

use std::cell::RefCell;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use super::receiver::{Receiver, Unfinished};
use crate::platform::{Attachment, Remains};

/// A place for a receiver.
#[derive(Debug)]
pub(crate) struct Slot {
    state: RefCell<State>,
    remains: RefCell<Vec<Remains>>,
}

#[derive(Debug)]
enum State {
    Here(Receiver),
    Away(Arc<Parcel>),
}

/// What a receiver comes back in when the message that it left with was not sent.
#[derive(Debug, Default)]
pub(crate) struct Parcel(Mutex<Option<Receiver>>);

impl Parcel {
    /// Puts the receiver back.
    pub(crate) fn put_back(&self, receiver: Receiver) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(receiver);
    }

    fn take(&self) -> Option<Receiver> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A receiver that has left, in parts.
#[derive(Debug)]
pub(crate) struct Departure {
    /// The receiver.
    pub(crate) attachment: Attachment,
    /// What it has received incompletely.
    pub(crate) unfinished: Vec<Unfinished>,
    /// The way back.
    pub(crate) parcel: Arc<Parcel>,
}

impl From<Receiver> for Slot {
    fn from(receiver: Receiver) -> Slot {
        Slot { state: RefCell::new(State::Here(receiver)), remains: RefCell::default() }
    }
}

impl Slot {
    /// Lends the receiver.
    ///
    /// # Errors
    ///
    /// It has left.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut Receiver) -> R) -> io::Result<R> {
        let mut state = self.state.try_borrow_mut().map_err(|_| in_use())?;
        state.come_back();
        match &mut *state {
            State::Here(receiver) => Ok(f(receiver)),
            State::Away(_) => Err(has_left()),
        }
    }

    /// Takes the receiver out for good.
    ///
    /// # Errors
    ///
    /// It has left.
    pub(crate) fn into_receiver(self) -> io::Result<Receiver> {
        let mut state = self.state.into_inner();
        state.come_back();
        match state {
            State::Here(receiver) => Ok(receiver),
            State::Away(_) => Err(has_left()),
        }
    }

    /// Takes the receiver out for good if it has received nothing incompletely.
    ///
    /// # Errors
    ///
    /// It has, or has left.
    #[allow(dead_code, reason = "only the modules in `os` need it")]
    pub(crate) fn into_idle_receiver(self) -> Result<Receiver, Slot> {
        match self.with(|receiver| receiver.is_idle()) {
            Ok(true) => match self.state.into_inner() {
                State::Here(receiver) => Ok(receiver),
                State::Away(parcel) => {
                    Err(Slot { state: RefCell::new(State::Away(parcel)), remains: self.remains })
                }
            },
            Ok(false) | Err(_) => Err(self),
        }
    }

    /// Sends the receiver on its way.
    ///
    /// # Errors
    ///
    /// It has left already, or cannot leave.
    pub(crate) fn depart(&self) -> io::Result<Departure> {
        let mut state = self.state.try_borrow_mut().map_err(|_| in_use())?;
        state.come_back();
        let parcel = Arc::new(Parcel::default());
        match std::mem::replace(&mut *state, State::Away(Arc::clone(&parcel))) {
            State::Here(receiver) => match receiver.depart() {
                Ok((attachment, unfinished, remains)) => {
                    self.remains.borrow_mut().push(remains);
                    Ok(Departure { attachment, unfinished, parcel })
                }
                Err((error, receiver)) => {
                    *state = State::Here(receiver);
                    Err(error)
                }
            },
            away => {
                *state = away;
                Err(has_left())
            }
        }
    }
}

impl State {
    fn come_back(&mut self) {
        if let State::Away(parcel) = self {
            if let Some(receiver) = parcel.take() {
                *self = State::Here(receiver);
            }
        }
    }
}

fn has_left() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "the receiver was moved into a message")
}

fn in_use() -> io::Error {
    io::Error::new(io::ErrorKind::WouldBlock, "the receiver is in use further up the stack")
}
