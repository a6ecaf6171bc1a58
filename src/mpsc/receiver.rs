//! The receiving end of a channel: what std's errors have no word for is passed over, waited out, or an end.

use std::fmt;
use std::marker::PhantomData;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::thread;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{IntoIter, Iter, RecvError, RecvTimeoutError, TryIter, TryRecvError};
use crate::channel::{self, Purpose, Slot, scratch};
use crate::codec::{self, endpoint};
use crate::error::SerDeError;
use crate::ipc::IpcReceiver;
use crate::platform::Wait;

/// How many messages that cannot be decoded a call passes over that does not wait.
const MAX_PASSED_OVER: usize = 1024;

/// How long the operating system is left alone after it refused to receive, at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// The receiving end of a channel.
///
/// It can be sent in a message, and takes with it whatever it has not delivered. The one that was sent has left: it receives
/// nothing, and says that it is disconnected. If that message was not sent, it is here again.
///
/// Messages that cannot be decoded are passed over, as [said above](super#what-differs).
pub struct Receiver<T> {
    slot: Slot,
    /// Gives values, has none.
    values: PhantomData<fn() -> T>,
}

impl<T> Receiver<T>
where
    T: DeserializeOwned + Serialize,
{
    /// Receives the next value, waiting until one arrives.
    ///
    /// # Errors
    ///
    /// None will: all senders are gone, in whatever process, and everything was received. Or this receiver was moved into a message, or
    /// the operating system does not let it receive any more.
    pub fn recv(&self) -> Result<T, RecvError> {
        self.receive(Wait::Forever).map_err(|_| RecvError)
    }

    /// Receives the next value if it is there.
    ///
    /// # Errors
    ///
    /// - [`Empty`](TryRecvError::Empty): none is there. Also after passing over a thousand messages that cannot be decoded.
    /// - [`Disconnected`](TryRecvError::Disconnected): none will ever be, as [`recv`](Receiver::recv) says.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.receive(Wait::Never).map_err(|error| match error {
            RecvTimeoutError::Timeout => TryRecvError::Empty,
            RecvTimeoutError::Disconnected => TryRecvError::Disconnected,
        })
    }

    /// Receives the next value, waiting for at most `timeout`.
    ///
    /// Signals do not shorten the wait. A timeout beyond what the clock can express is no limit.
    ///
    /// # Errors
    ///
    /// - [`Timeout`](RecvTimeoutError::Timeout): none came in time.
    /// - [`Disconnected`](RecvTimeoutError::Disconnected): none ever will, as [`recv`](Receiver::recv) says.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        self.receive(Wait::at_most(timeout))
    }

    /// Iterates over the values, waiting for each, until [`recv`](Receiver::recv) would return an error.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter::new(self)
    }

    /// Iterates over the values that are there, without waiting.
    pub fn try_iter(&self) -> TryIter<'_, T> {
        TryIter::new(self)
    }

    fn receive(&self, wait: Wait) -> Result<T, RecvTimeoutError> {
        let mut passed_over = 0;
        let mut pause = FIRST_PAUSE;
        loop {
            match self.receive_message(wait) {
                Ok(Ok(value)) => return Ok(value),
                Ok(Err(_)) | Err(channel::RecvError::Lost(_)) => {
                    passed_over += 1;
                    // Whoever sends nothing but such messages must not prolong the wait.
                    let is_over = match wait {
                        Wait::Never => passed_over >= MAX_PASSED_OVER,
                        wait => wait.is_over(),
                    };
                    if is_over {
                        return Err(RecvTimeoutError::Timeout);
                    }
                }
                // It lacks memory, say. Nothing is lost, and there is nothing to wait for but time.
                Err(channel::RecvError::Io(_)) => {
                    if wait.is_over() {
                        return Err(RecvTimeoutError::Timeout);
                    }
                    thread::sleep(wait.remaining().map_or(pause, |remaining| pause.min(remaining)));
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Err(channel::RecvError::Empty | channel::RecvError::Unfinished) => {
                    return Err(RecvTimeoutError::Timeout);
                }
                Err(channel::RecvError::Disconnected | channel::RecvError::Broken(_)) => {
                    return Err(RecvTimeoutError::Disconnected);
                }
            }
        }
    }

    /// Receives a message, and makes a value of it.
    fn receive_message(&self, wait: Wait) -> Result<Result<T, SerDeError>, channel::RecvError> {
        scratch::with_receive_buffer(|buffer| {
            let received = self.slot.with(|receiver| receiver.receive(buffer, Purpose::Look, wait));
            // A receiver that has left does not come back by itself.
            let message = received.map_err(channel::RecvError::Broken)??;
            Ok(codec::decode(message.body.bytes(buffer), message.attachments))
        })
    }
}

impl<T> From<Slot> for Receiver<T> {
    fn from(slot: Slot) -> Receiver<T> {
        Receiver { slot, values: PhantomData }
    }
}

/// The same end, with the methods and errors of that one.
impl<T> From<Receiver<T>> for IpcReceiver<T> {
    fn from(receiver: Receiver<T>) -> IpcReceiver<T> {
        IpcReceiver::from(receiver.slot)
    }
}

/// The same end, with the methods and errors of std's.
impl<T> From<IpcReceiver<T>> for Receiver<T> {
    fn from(receiver: IpcReceiver<T>) -> Receiver<T> {
        Receiver::from(receiver.into_slot())
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}

/// A panic leaves a message received or not received, nothing in between; as in std.
impl<T> UnwindSafe for Receiver<T> {}
impl<T> RefUnwindSafe for Receiver<T> {}

impl<T> Serialize for Receiver<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        endpoint::serialize_receiver(&self.slot, serializer)
    }
}

impl<'de, T> Deserialize<'de> for Receiver<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        endpoint::deserialize_receiver(deserializer).map(Receiver::from)
    }
}

impl<T: DeserializeOwned + Serialize> IntoIterator for Receiver<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;

    fn into_iter(self) -> IntoIter<T> {
        IntoIter::new(self)
    }
}

impl<'a, T: DeserializeOwned + Serialize> IntoIterator for &'a Receiver<T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}
