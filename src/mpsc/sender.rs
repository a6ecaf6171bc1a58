//! The sending end of a channel without a bound.

use std::fmt;
use std::marker::PhantomData;
use std::panic::{RefUnwindSafe, UnwindSafe};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::SendError;
use crate::channel;
use crate::codec::{self, Fate, endpoint};
use crate::error::IpcError;
use crate::ipc::IpcSender;
use crate::platform::Wait;

/// The sending end of a [`channel`](super::channel).
///
/// Clones send into the same channel, from whatever thread. Sending one in a message clones it, too. The channel is disconnected when the last of them
/// is gone, in whatever process, those inside messages that nobody received included.
pub struct Sender<T> {
    sender: channel::Sender,
    /// Has no values. Also covariant, which std's is not: one of `&'static str` will do for one of `&'a str`.
    values: PhantomData<fn() -> T>,
}

impl<T> Sender<T> {
    /// Sends a value, which is encoded and dropped.
    ///
    /// `Ok` does not mean that it will be received: the receiver may be dropped before. But if that is in another process, it survives this one.
    ///
    /// # Errors
    ///
    /// The receiver is gone, or the value could not be sent; it comes back. [`send_ref`](Sender::send_ref) tells one from the other.
    ///
    /// # Platform
    ///
    /// It does not wait for the receiver, but for messages with handles in them: see [`IpcSender::send`].
    pub fn send(&self, value: T) -> Result<(), SendError<T>>
    where
        T: Serialize,
    {
        let sent = codec::send(&self.sender, &value, Fate::Dropped, Wait::Forever);
        sent.map_err(|_| SendError(value))
    }

    /// Sends a value without taking it, and says why if it was not sent.
    ///
    /// Receivers in the value move to where it is received: what stays here of them is disconnected. If the message is not sent,
    /// they stay as they were.
    ///
    /// # Errors
    ///
    /// As [`IpcSender::send`].
    ///
    /// # Examples
    ///
    /// ```
    /// use std::cell::RefCell;
    ///
    /// use strait::{IpcError, mpsc};
    ///
    /// let (sender, receiver) = mpsc::channel::<RefCell<u32>>();
    /// let value = RefCell::new(1);
    /// let lent = value.borrow_mut();
    /// // Serde does not encode what is borrowed.
    /// assert!(matches!(sender.send_ref(&value), Err(IpcError::SerializationError(_))));
    /// drop(lent);
    /// sender.send_ref(&value).unwrap();
    /// drop(receiver);
    /// assert!(matches!(sender.send_ref(&value), Err(IpcError::Disconnected)));
    /// ```
    pub fn send_ref(&self, value: &T) -> Result<(), IpcError>
    where
        T: Serialize,
    {
        codec::send(&self.sender, value, Fate::Kept, Wait::Forever).map_err(IpcError::from)
    }
}

impl<T> From<channel::Sender> for Sender<T> {
    fn from(sender: channel::Sender) -> Sender<T> {
        Sender { sender, values: PhantomData }
    }
}

/// The same end, with the methods and errors of that one.
impl<T> From<Sender<T>> for IpcSender<T> {
    fn from(sender: Sender<T>) -> IpcSender<T> {
        IpcSender::from(sender.sender)
    }
}

/// The same end, with the methods and errors of std's.
impl<T> From<IpcSender<T>> for Sender<T> {
    fn from(sender: IpcSender<T>) -> Sender<T> {
        Sender::from(sender.core().clone())
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        Sender::from(self.sender.clone())
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

/// A panic leaves a message sent or not sent, nothing in between; as in std.
impl<T> UnwindSafe for Sender<T> {}
impl<T> RefUnwindSafe for Sender<T> {}

impl<T> Serialize for Sender<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        endpoint::serialize_sender(&self.sender, serializer)
    }
}

impl<'de, T> Deserialize<'de> for Sender<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        endpoint::deserialize_sender(deserializer).map(Sender::from)
    }
}
