//! Channels of typed messages.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{ChannelOptions, OpaqueIpcReceiver, OpaqueIpcSender};
use crate::channel::{self, Purpose, RecvError, Sender, Slot, scratch};
use crate::codec::{self, Fate, endpoint};
use crate::error::{IpcError, TryRecvError};
use crate::platform::Wait;

/// Makes a channel for messages of type `T`.
///
/// Either end can be sent in a message of another channel, to another process, too. The channel is an object of the
/// operating system from the start, so a forked child inherits it.
///
/// # Errors
///
/// The operating system's, when it has no more handles for this process, say.
///
/// # Platform
///
/// On Linux a channel is a pair of sockets: two descriptors, closed on `exec`. Each process that sends much, or large
/// messages, shares memory with the receiver: one descriptor more on either side.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (sender, receiver) = strait::ipc::channel()?;
/// sender.send(("answer".to_string(), 42))?;
/// assert_eq!(receiver.recv()?, ("answer".to_string(), 42));
/// # Ok(())
/// # }
/// ```
pub fn channel<T>() -> Result<(IpcSender<T>, IpcReceiver<T>), io::Error>
where
    T: for<'de> Deserialize<'de> + Serialize,
{
    ChannelOptions::new().channel()
}

/// The sending end of a channel.
///
/// Clones send into the same channel. Sending one in a message clones it, too. The channel is disconnected when the last of
/// them is gone, in whatever process, those inside messages that nobody received included.
pub struct IpcSender<T> {
    sender: Sender,
    /// Has no values, and is covariant: one of `&'static str` will do for one of `&'a str`.
    values: PhantomData<fn() -> T>,
}

impl<T> IpcSender<T> {
    /// Connects to the [`IpcOneShotServer`](super::IpcOneShotServer) of that name.
    ///
    /// # Errors
    ///
    /// - [`NotFound`](io::ErrorKind::NotFound): there is no such server.
    /// - [`ConnectionRefused`](io::ErrorKind::ConnectionRefused): the server was killed, and left its name behind.
    /// - [`InvalidInput`](io::ErrorKind::InvalidInput): it is not the name of a server.
    /// - Others of the operating system.
    pub fn connect(name: String) -> Result<IpcSender<T>, io::Error>
    where
        T: Serialize,
    {
        Sender::connect(&name).map(IpcSender::from)
    }

    /// Sends a value.
    ///
    /// Once it returned `Ok` the message survives this process. Messages of one sender arrive in the order they were sent in, and
    /// a message that was sent before another send began, on whichever sender, arrives first.
    ///
    /// # Errors
    ///
    /// - [`Disconnected`](IpcError::Disconnected): the receiver is gone.
    /// - [`SerializationError`](IpcError::SerializationError): the value could not be encoded, is larger than
    ///   [`MAX_MESSAGE_BYTES`](super::MAX_MESSAGE_BYTES), has more than [`MAX_MESSAGE_ATTACHMENTS`](super::MAX_MESSAGE_ATTACHMENTS) handles, or is
    ///   [nested too deeply](crate#what-is-not-guaranteed).
    /// - [`Io`](IpcError::Io): the operating system refused.
    ///
    /// # Platform
    ///
    /// It does not wait for the receiver: what is not received takes up memory of this process. But on Linux a message with handles in
    /// it waits while the socket's buffer is full, when 278 such messages are waiting to be received, and up to ten seconds
    /// while the user has as many handles in unreceived messages as the kernel allows. Where a sandbox forbids shared memory, all
    /// messages wait like that, while some 200 KiB of them are not received.
    pub fn send(&self, data: T) -> Result<(), IpcError>
    where
        T: Serialize,
    {
        codec::send(&self.sender, &data, Fate::Dropped, Wait::Forever).map_err(IpcError::from)
    }

    /// Sends a value without taking it.
    ///
    /// Receivers in the value move to where it is received: what stays here of them is empty and returns errors. If
    /// the message is not sent, they stay as they were. A receiver takes along what it has received of messages that are not
    /// complete, up to 64 MiB of them, so a message with a receiver can be a large one.
    ///
    /// # Errors
    ///
    /// As [`send`](IpcSender::send).
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (sender, receiver) = strait::ipc::channel::<Vec<String>>()?;
    /// let words = vec!["several".to_string(), "words".to_string()];
    /// sender.send_ref(&words)?;
    /// assert_eq!(receiver.recv()?, words);
    /// # Ok(())
    /// # }
    /// ```
    pub fn send_ref(&self, data: &T) -> Result<(), IpcError>
    where
        T: Serialize,
    {
        codec::send(&self.sender, data, Fate::Kept, Wait::Forever).map_err(IpcError::from)
    }

    /// Forgets the type of the messages.
    pub fn to_opaque(self) -> OpaqueIpcSender {
        OpaqueIpcSender::from(self.sender)
    }

    #[allow(dead_code, reason = "only the modules in `os` need it")]
    pub(crate) fn core(&self) -> &Sender {
        &self.sender
    }
}

impl<T> From<Sender> for IpcSender<T> {
    fn from(sender: Sender) -> IpcSender<T> {
        IpcSender { sender, values: PhantomData }
    }
}

impl<T> Clone for IpcSender<T> {
    fn clone(&self) -> IpcSender<T> {
        IpcSender::from(self.sender.clone())
    }
}

impl<T> fmt::Debug for IpcSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("IpcSender").field(&self.sender).finish()
    }
}

impl<T> Serialize for IpcSender<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        endpoint::serialize_sender(&self.sender, serializer)
    }
}

impl<'de, T> Deserialize<'de> for IpcSender<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        endpoint::deserialize_sender(deserializer).map(IpcSender::from)
    }
}

/// The receiving end of a channel.
///
/// It can be sent in a message and takes with it whatever it has not delivered. The one that was sent is empty then: using
/// it is an error that says so.
///
/// A message that cannot be decoded or breaks the protocol is one error, and the channel goes on with the next.
///
/// # Platform
///
/// On Linux it is [`AsFd`](std::os::fd::AsFd): readable while there may be something to receive. See [`os`](crate::os).
pub struct IpcReceiver<T> {
    slot: Slot,
    /// Gives values, has none.
    values: PhantomData<fn() -> T>,
}

impl<T> IpcReceiver<T>
where
    T: for<'de> Deserialize<'de> + Serialize,
{
    /// Receives the next message, waiting until one arrives.
    ///
    /// # Errors
    ///
    /// - [`Disconnected`](IpcError::Disconnected): all senders are gone and all messages were received.
    /// - [`SerializationError`](IpcError::SerializationError): a message arrived that is malformed or not a `T`. It is lost.
    /// - [`Io`](IpcError::Io): the operating system refused, or this receiver was moved into a message.
    pub fn recv(&self) -> Result<T, IpcError> {
        // Without a limit `Empty` does not happen.
        self.receive(Wait::Forever).map_err(|error| match error {
            TryRecvError::IpcError(error) => error,
            TryRecvError::Empty => IpcError::Io(io::ErrorKind::WouldBlock.into()),
        })
    }

    /// Receives the next message if it is there.
    ///
    /// # Errors
    ///
    /// [`Empty`](TryRecvError::Empty) if none is there; else as [`recv`](IpcReceiver::recv).
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.receive(Wait::Never)
    }

    /// Receives the next message, waiting for at most `duration`.
    ///
    /// The wait is as exact as the system's clock, signals do not shorten it, and a peer that stopped in the middle of a
    /// message does not prolong it. A duration beyond what the clock can express is no limit.
    ///
    /// # Errors
    ///
    /// [`Empty`](TryRecvError::Empty) if none came in time; else as [`recv`](IpcReceiver::recv).
    pub fn try_recv_timeout(&self, duration: Duration) -> Result<T, TryRecvError> {
        self.receive(Wait::at_most(duration))
    }

    /// Receives the next message, waiting for at most `timeout`: the name that `std` has for
    /// [`try_recv_timeout`](IpcReceiver::try_recv_timeout).
    ///
    /// # Errors
    ///
    /// [`Empty`](TryRecvError::Empty) if none came in time; else as [`recv`](IpcReceiver::recv).
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, TryRecvError> {
        self.try_recv_timeout(timeout)
    }

    /// Iterates over the messages, waiting for each, until the channel is disconnected.
    ///
    /// Messages that cannot be decoded are passed over; use [`recv`](IpcReceiver::recv) to see them as errors.
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
    pub fn iter(&self) -> Iter<'_, T> {
        Iter { receiver: self }
    }

    /// Iterates over the messages that are there, without waiting.
    ///
    /// Messages that cannot be decoded are passed over.
    pub fn try_iter(&self) -> TryIter<'_, T> {
        TryIter { receiver: self }
    }

    /// Makes the channel behave differently from now on.
    ///
    /// # Errors
    ///
    /// This receiver was moved into a message.
    ///
    /// # Examples
    ///
    /// ```
    /// use strait::ipc::{self, ChannelOptions, Limits};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (sender, receiver) = ipc::channel::<u32>()?;
    /// // From somebody who is not trusted.
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

    /// How the channel behaves.
    ///
    /// # Errors
    ///
    /// This receiver was moved into a message.
    pub fn options(&self) -> Result<ChannelOptions, io::Error> {
        ChannelOptions::of(&self.slot)
    }

    /// Forgets the type of the messages.
    pub fn to_opaque(self) -> OpaqueIpcReceiver {
        OpaqueIpcReceiver::from(self.slot)
    }

    fn receive(&self, wait: Wait) -> Result<T, TryRecvError> {
        receive(&self.slot, Purpose::Look, wait, |message, buffer| {
            let value = codec::decode(message.body.bytes(buffer), message.attachments)?;
            Ok(value)
        })
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

/// Receives one message from the receiver in `slot` and makes something of it.
pub(super) fn receive<R>(
    slot: &Slot,
    purpose: Purpose,
    wait: Wait,
    take: impl FnOnce(channel::Message, &[u8]) -> Result<R, IpcError>,
) -> Result<R, TryRecvError> {
    scratch::with_receive_buffer(|buffer| {
        let received =
            slot.with(|receiver| receiver.receive(buffer, purpose, wait)).map_err(IpcError::Io)?;
        Ok(take(received.map_err(TryRecvError::from)?, buffer)?)
    })
}

impl From<RecvError> for TryRecvError {
    fn from(error: RecvError) -> TryRecvError {
        TryRecvError::IpcError(match error {
            RecvError::Empty | RecvError::Unfinished => return TryRecvError::Empty,
            RecvError::Disconnected => IpcError::Disconnected,
            RecvError::Lost(problem) => IpcError::SerializationError(problem.into()),
            RecvError::Io(error) | RecvError::Broken(error) => IpcError::Io(error),
        })
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
#[derive(Debug)]
pub struct Iter<'a, T> {
    receiver: &'a IpcReceiver<T>,
}

impl<T: DeserializeOwned + Serialize> Iterator for Iter<'_, T> {
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
#[derive(Debug)]
pub struct TryIter<'a, T> {
    receiver: &'a IpcReceiver<T>,
}

impl<T: DeserializeOwned + Serialize> Iterator for TryIter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        loop {
            match self.receiver.try_recv() {
                Ok(value) => return Some(value),
                Err(TryRecvError::IpcError(IpcError::SerializationError(_))) => {}
                Err(TryRecvError::Empty | TryRecvError::IpcError(_)) => return None,
            }
        }
    }
}

/// The iterator that a receiver becomes: [`Iter`], owning the receiver.
#[derive(Debug)]
pub struct IntoIter<T> {
    receiver: IpcReceiver<T>,
}

impl<T: DeserializeOwned + Serialize> Iterator for IntoIter<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.receiver.iter().next()
    }
}

impl<T: DeserializeOwned + Serialize> IntoIterator for IpcReceiver<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;

    fn into_iter(self) -> IntoIter<T> {
        IntoIter { receiver: self }
    }
}

impl<'a, T: DeserializeOwned + Serialize> IntoIterator for &'a IpcReceiver<T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}
