//! The sender of an unbounded channel.

use std::fmt;
use std::marker::PhantomData;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::{Duration, Instant};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{SendError, SendTimeoutError, TrySendError};
use crate::channel;
use crate::codec::{Fate, endpoint};
use crate::error::{self, IpcError};
use crate::ipc::IpcSender;
use crate::platform::Wait;
use crate::typed;

/// The sender of a [`channel`](super::channel).
///
/// Clones send into the same channel, from any thread. Sending a sender in a message clones it,
/// too. The channel is disconnected when the last sender in any process has been dropped. Senders
/// in messages that were not received count.
///
/// # Examples
///
/// ```
/// use std::thread;
///
/// use strait::mpsc;
///
/// let (sender, receiver) = mpsc::channel();
/// for number in 0..3 {
///     let sender = sender.clone();
///     thread::spawn(move || sender.send(number * number).unwrap());
/// }
/// drop(sender);
/// let mut squares: Vec<u32> = receiver.iter().collect();
/// squares.sort();
/// assert_eq!(squares, [0, 1, 4]);
/// ```
pub struct Sender<T> {
    sender: channel::Sender,
    /// Contains no values. Makes the sender covariant, unlike std's: a sender of `&'static str` can
    /// be used as a sender of `&'a str`.
    values: PhantomData<fn() -> T>,
}

impl<T> Sender<T> {
    /// Sends a value into the channel. The value is encoded and dropped.
    ///
    /// After `send` returned `Ok`, a receiver in another process receives the value even if this
    /// process ends. `Ok` does not mean that the value will be received: the receiver can be
    /// dropped before.
    ///
    /// # Errors
    ///
    /// Returns [`SendError`] with the value if the receiver has been dropped or the value could not
    /// be sent. [`send_ref`](Sender::send_ref) returns the reason.
    ///
    /// # Blocking
    ///
    /// `send` does not block until the receiver has received. Between processes there are
    /// exceptions, above all messages with handles. In these cases `send` blocks for at most
    /// [`SEND_TIMEOUT`](crate::ipc::SEND_TIMEOUT) and then returns the value: see
    /// [`IpcSender::send`](IpcSender#blocking).
    ///
    /// # Examples
    ///
    /// See [`Sender`].
    pub fn send(&self, value: T) -> Result<(), SendError<T>>
    where
        T: Serialize,
    {
        let sent = typed::send(&self.sender, &value, Fate::Dropped, Wait::Forever);
        sent.map_err(|_| SendError(value))
    }

    /// Sends a value if that is possible without blocking. Does not block.
    ///
    /// The unbounded sender of `std::sync::mpsc` has no such method; between processes
    /// [`send`](Sender::send) can block.
    ///
    /// # Errors
    ///
    /// - [`Full`](TrySendError::Full) if [`send`](IpcSender#blocking) would block.
    /// - [`Disconnected`](TrySendError::Disconnected) if the receiver has been dropped, or the
    ///   value could not be sent.
    ///
    /// # Examples
    ///
    /// ```
    /// use strait::mpsc::{self, TrySendError};
    ///
    /// let (sender, receiver) = mpsc::channel();
    /// assert_eq!(sender.try_send(1), Ok(()));
    /// drop(receiver);
    /// assert_eq!(sender.try_send(2), Err(TrySendError::Disconnected(2)));
    /// ```
    pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>>
    where
        T: Serialize,
    {
        match self.send_within(&value, Wait::Never) {
            Ok(()) => Ok(()),
            Err(error) if error.is_full() => Err(TrySendError::Full(value)),
            Err(_) => Err(TrySendError::Disconnected(value)),
        }
    }

    /// Sends a value, blocking for at most `timeout` where [`send`](IpcSender#blocking) would
    /// block.
    ///
    /// A timeout beyond the range of the clock never expires: then
    /// [`SEND_TIMEOUT`](crate::ipc::SEND_TIMEOUT) applies, as for `send`.
    ///
    /// # Errors
    ///
    /// - [`Timeout`](SendTimeoutError::Timeout) if it could not be sent in time.
    /// - [`Disconnected`](SendTimeoutError::Disconnected) if the receiver has been dropped, or the
    ///   value could not be sent.
    ///
    /// # Examples
    ///
    /// See [`SendTimeoutError`].
    pub fn send_timeout(&self, value: T, timeout: Duration) -> Result<(), SendTimeoutError<T>>
    where
        T: Serialize,
    {
        self.send_until(value, Wait::at_most(timeout))
    }

    /// Sends a value, blocking until `deadline` at most where [`send`](IpcSender#blocking) would
    /// block.
    ///
    /// # Errors
    ///
    /// Fails with the errors of [`send_timeout`](Sender::send_timeout).
    pub fn send_deadline(&self, value: T, deadline: Instant) -> Result<(), SendTimeoutError<T>>
    where
        T: Serialize,
    {
        self.send_until(value, Wait::Until(deadline))
    }

    /// Sends a value without taking ownership of it, and returns the reason if it was not sent.
    /// Blocks like [`send`](Sender::send).
    ///
    /// Receivers in the value move to the process that receives it. The copies that stay here are
    /// empty and disconnected. If the message is not sent, they stay as they were.
    ///
    /// # Errors
    ///
    /// Fails with the errors of [`IpcSender::send`].
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
        self.send_within(value, Wait::Forever).map_err(IpcError::from)
    }

    /// Returns whether the receiver has been dropped, like [`IpcSender::is_closed`].
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    fn send_until(&self, value: T, wait: Wait) -> Result<(), SendTimeoutError<T>>
    where
        T: Serialize,
    {
        match self.send_within(&value, wait) {
            Ok(()) => Ok(()),
            Err(error) if error.is_full() => Err(SendTimeoutError::Timeout(value)),
            Err(_) => Err(SendTimeoutError::Disconnected(value)),
        }
    }

    fn send_within(&self, value: &T, wait: Wait) -> Result<(), error::TrySendError>
    where
        T: Serialize,
    {
        typed::send(&self.sender, value, Fate::Kept, wait)
    }
}

impl<T> From<channel::Sender> for Sender<T> {
    fn from(sender: channel::Sender) -> Sender<T> {
        Sender { sender, values: PhantomData }
    }
}

/// Returns the same endpoint, with the methods and errors of `ipc`.
impl<T> From<Sender<T>> for IpcSender<T> {
    fn from(sender: Sender<T>) -> IpcSender<T> {
        IpcSender::from(sender.sender)
    }
}

/// Returns the same endpoint, with the methods and errors of `std::sync::mpsc`.
impl<T> From<IpcSender<T>> for Sender<T> {
    fn from(sender: IpcSender<T>) -> Sender<T> {
        Sender::from(sender.into_core())
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

/// After a panic a message is either sent or not sent, nothing in between, which is so in std as
/// well.
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
