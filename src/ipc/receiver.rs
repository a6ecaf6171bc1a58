//! The receiver of typed messages, and its iterators.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{ChannelOptions, OpaqueIpcReceiver};
use crate::channel::Slot;
use crate::codec::endpoint;
use crate::error::{IpcError, TryRecvError};
use crate::platform::Wait;
use crate::typed;

/// The receiver of a [`channel`](super::channel()).
///
/// A receiver can be sent in a message. All messages that it has not returned move with it. The
/// receiver that stays is empty: every operation on it returns an error that says so.
///
/// If a message cannot be decoded or breaks the protocol, one call returns an error. The next call
/// receives the next message.
///
/// # Platform
///
/// On Linux a receiver implements [`AsFd`](https://doc.rust-lang.org/std/os/fd/trait.AsFd.html):
/// its file descriptor is readable while there may be something to receive. See [`os`](crate::os).
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use strait::{IpcError, TryRecvError, ipc};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (sender, receiver) = ipc::channel::<String>()?;
/// assert!(matches!(receiver.try_recv(), Err(TryRecvError::Empty)));
/// sender.send("one".to_string())?;
/// sender.send("two".to_string())?;
/// drop(sender);
///
/// // Blocks until a message arrives.
/// assert_eq!(receiver.recv()?, "one");
/// // Blocks for a second at most.
/// assert_eq!(receiver.recv_timeout(Duration::from_secs(1))?, "two");
/// // All senders have been dropped.
/// assert!(matches!(receiver.recv(), Err(IpcError::Disconnected)));
/// # Ok(())
/// # }
/// ```
pub struct IpcReceiver<T> {
    slot: Slot,
    /// Returns values, holds none.
    values: PhantomData<fn() -> T>,
}

impl<T> IpcReceiver<T> {
    /// Receives the next message, blocking until one arrives or the channel is disconnected.
    ///
    /// # Errors
    ///
    /// - [`Disconnected`](IpcError::Disconnected) if all senders have been dropped and all messages
    ///   have been received.
    /// - [`SerializationError`](IpcError::SerializationError) if the message is malformed or is not
    ///   a `T`. The message is discarded.
    /// - [`Io`](IpcError::Io) if this receiver was moved into a message.
    /// - [`Io`](IpcError::Io) for any error of the operating system.
    ///
    /// # Examples
    ///
    /// See [`IpcReceiver`].
    pub fn recv(&self) -> Result<T, IpcError>
    where
        T: for<'de> Deserialize<'de>,
    {
        // Without a timeout `Empty` cannot occur.
        self.receive(Wait::Forever).map_err(IpcError::from)
    }

    /// Receives the next message if one is available. Does not block, except for [a moment in a
    /// rendezvous](crate#what-may-block).
    ///
    /// # Errors
    ///
    /// - [`Empty`](TryRecvError::Empty) if no message is available.
    /// - Any error of [`recv`](IpcReceiver::recv).
    ///
    /// # Examples
    ///
    /// See [`IpcReceiver`].
    pub fn try_recv(&self) -> Result<T, TryRecvError>
    where
        T: for<'de> Deserialize<'de>,
    {
        self.receive(Wait::Never)
    }

    /// Receives the next message, blocking for at most `duration` until one arrives or the channel
    /// is disconnected.
    ///
    /// The timeout is as exact as the system's clock. Signals do not shorten it. A peer that stops
    /// in the middle of a message does not prolong it. A duration beyond the range of the clock
    /// counts as no timeout.
    ///
    /// # Errors
    ///
    /// - [`Empty`](TryRecvError::Empty) if no message arrived within `duration`.
    /// - Any error of [`recv`](IpcReceiver::recv).
    ///
    /// # Examples
    ///
    /// See [`IpcReceiver`].
    pub fn try_recv_timeout(&self, duration: Duration) -> Result<T, TryRecvError>
    where
        T: for<'de> Deserialize<'de>,
    {
        self.receive(Wait::at_most(duration))
    }

    /// Receives the next message, blocking for at most `timeout` until one arrives or the channel
    /// is disconnected.
    ///
    /// This is [`try_recv_timeout`](IpcReceiver::try_recv_timeout) under the name that
    /// `std::sync::mpsc` has for it.
    ///
    /// # Errors
    ///
    /// - Any error of [`try_recv_timeout`](IpcReceiver::try_recv_timeout).
    ///
    /// # Examples
    ///
    /// See [`IpcReceiver`].
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, TryRecvError>
    where
        T: for<'de> Deserialize<'de>,
    {
        self.try_recv_timeout(timeout)
    }

    /// Receives the next message, blocking until one arrives or the channel is disconnected, until
    /// `deadline` at most.
    ///
    /// A message that is available is returned even if the deadline has passed.
    ///
    /// # Errors
    ///
    /// - [`Empty`](TryRecvError::Empty) if no message arrived before `deadline`.
    /// - Any error of [`recv`](IpcReceiver::recv).
    ///
    /// # Examples
    ///
    /// One deadline for several messages:
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (sender, receiver) = strait::ipc::channel()?;
    /// sender.send(1)?;
    /// sender.send(2)?;
    /// let deadline = Instant::now() + Duration::from_millis(50);
    /// let mut numbers = Vec::new();
    /// while let Ok(number) = receiver.recv_deadline(deadline) {
    ///     numbers.push(number);
    /// }
    /// assert_eq!(numbers, [1, 2]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn recv_deadline(&self, deadline: Instant) -> Result<T, TryRecvError>
    where
        T: for<'de> Deserialize<'de>,
    {
        self.receive(Wait::Until(deadline))
    }

    /// Returns an iterator over the messages, which blocks until the next one arrives. It ends when
    /// the channel is disconnected, or when [`recv`](IpcReceiver::recv) returns
    /// [`Io`](IpcError::Io).
    ///
    /// The iterator skips messages that cannot be decoded; [`recv`](IpcReceiver::recv) returns an
    /// error for each of them.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (sender, receiver) = strait::ipc::channel()?;
    /// for number in 1..=3 {
    ///     sender.send(number)?;
    /// }
    /// drop(sender);
    /// assert_eq!(receiver.iter().sum::<i32>(), 6);
    /// # Ok(())
    /// # }
    /// ```
    pub fn iter(&self) -> Iter<'_, T>
    where
        T: for<'de> Deserialize<'de>,
    {
        Iter { receiver: self }
    }

    /// Returns an iterator over the available messages, which blocks no longer than
    /// [`try_recv`](IpcReceiver::try_recv).
    ///
    /// The iterator skips messages that cannot be decoded, and returns `None` after 1024
    /// of them in a row. After it has returned `None`, it continues when another message
    /// has arrived.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (sender, receiver) = strait::ipc::channel()?;
    /// sender.send(1)?;
    /// sender.send(2)?;
    /// assert_eq!(receiver.try_iter().collect::<Vec<i32>>(), [1, 2]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn try_iter(&self) -> TryIter<'_, T>
    where
        T: for<'de> Deserialize<'de>,
    {
        TryIter { receiver: self }
    }

    /// Sets the options of the channel from now on.
    ///
    /// # Errors
    ///
    /// - An error if this receiver was moved into a message.
    ///
    /// # Examples
    ///
    /// ```
    /// use strait::ipc::{self, ChannelOptions, Limits};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (sender, receiver) = ipc::channel::<u32>()?;
    /// // The sender is not trusted.
    /// let mut limits = Limits::default();
    /// limits.message_bytes = 64 << 10;
    /// receiver.set_options(&ChannelOptions::new().limits(limits))?;
    /// # sender.send(1)?;
    /// # assert_eq!(receiver.recv()?, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_options(&self, options: &ChannelOptions) -> Result<(), io::Error> {
        options.apply(&self.slot)
    }

    /// Returns the options of the channel.
    ///
    /// # Errors
    ///
    /// - An error if this receiver was moved into a message.
    pub fn options(&self) -> Result<ChannelOptions, io::Error> {
        ChannelOptions::of(&self.slot)
    }

    /// Converts the receiver into one for messages of an unknown type.
    ///
    /// # Examples
    ///
    /// See [`OpaqueIpcReceiver`].
    pub fn to_opaque(self) -> OpaqueIpcReceiver {
        OpaqueIpcReceiver::from(self.slot)
    }

    fn receive(&self, wait: Wait) -> Result<T, TryRecvError>
    where
        T: for<'de> Deserialize<'de>,
    {
        typed::receive(&self.slot, wait)
    }
}

impl<T> IpcReceiver<T> {
    #[allow(dead_code, reason = "only the modules in `os` need it")]
    pub(crate) fn slot(&self) -> &Slot {
        &self.slot
    }

    pub(crate) fn into_slot(self) -> Slot {
        self.slot
    }
}

impl<T> From<Slot> for IpcReceiver<T> {
    fn from(slot: Slot) -> IpcReceiver<T> {
        IpcReceiver { slot, values: PhantomData }
    }
}

impl<T> fmt::Debug for IpcReceiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("IpcReceiver").field(&self.slot).finish()
    }
}

impl<T> Serialize for IpcReceiver<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        endpoint::serialize_receiver(&self.slot, serializer)
    }
}

impl<'de, T> Deserialize<'de> for IpcReceiver<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        endpoint::deserialize_receiver(deserializer).map(IpcReceiver::from)
    }
}

/// The iterator that [`IpcReceiver::iter`] returns.
///
/// # Examples
///
/// See [`IpcReceiver::iter`].
#[derive(Debug)]
pub struct Iter<'a, T> {
    receiver: &'a IpcReceiver<T>,
}

impl<T: DeserializeOwned> Iterator for Iter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        loop {
            match self.receiver.recv() {
                Ok(value) => return Some(value),
                Err(IpcError::SerializationError(_)) => {}
                Err(IpcError::Disconnected | IpcError::Io(_)) => return None,
            }
        }
    }
}

/// The iterator that [`IpcReceiver::try_iter`] returns.
///
/// # Examples
///
/// See [`IpcReceiver::try_iter`].
#[derive(Debug)]
pub struct TryIter<'a, T> {
    receiver: &'a IpcReceiver<T>,
}

impl<T: DeserializeOwned> Iterator for TryIter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        typed::next_available(&self.receiver.slot, || self.receiver.try_recv())
    }
}

/// The iterator that a `for` loop over an [`IpcReceiver`] uses. It works as [`Iter`] does, and owns
/// the receiver.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (sender, receiver) = strait::ipc::channel::<u32>()?;
/// sender.send(1)?;
/// drop(sender);
/// for number in receiver {
///     assert_eq!(number, 1);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct IntoIter<T> {
    receiver: IpcReceiver<T>,
}

impl<T: DeserializeOwned> Iterator for IntoIter<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.receiver.iter().next()
    }
}

impl<T: DeserializeOwned> IntoIterator for IpcReceiver<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;

    fn into_iter(self) -> IntoIter<T> {
        IntoIter { receiver: self }
    }
}

impl<'a, T: DeserializeOwned> IntoIterator for &'a IpcReceiver<T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}
