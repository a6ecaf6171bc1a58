//! Channels of bytes, without serde.

use std::io;
use std::time::{Duration, Instant};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{ChannelOptions, OpaqueIpcReceiver, OpaqueIpcSender};
use crate::channel::{Sender, Slot, one_shot};
use crate::codec::{self, endpoint};
use crate::error::{IpcError, TryRecvError, TrySendError};
use crate::platform::Wait;
use crate::typed;

/// Creates an unbounded channel for byte messages, which arrive as they were sent, without
/// encoding.
///
/// # Errors
///
/// - Any error of [`channel`](super::channel).
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (sender, receiver) = strait::ipc::bytes_channel()?;
/// sender.send(b"as they are")?;
/// assert_eq!(receiver.recv()?, b"as they are");
/// # Ok(())
/// # }
/// ```
pub fn bytes_channel() -> Result<(IpcBytesSender, IpcBytesReceiver), io::Error> {
    ChannelOptions::new().bytes_channel()
}

/// The sender of a [channel of bytes](bytes_channel). It works as [`IpcSender`](super::IpcSender)
/// does.
///
/// # Examples
///
/// See [`send`](IpcBytesSender::send).
#[derive(Clone, Debug)]
pub struct IpcBytesSender {
    sender: Sender,
}

impl IpcBytesSender {
    /// Connects to the [`IpcOneShotServer`](super::IpcOneShotServer) with this name, to send byte
    /// messages.
    ///
    /// # Errors
    ///
    /// - Any error of [`IpcSender::connect`](super::IpcSender::connect).
    pub fn connect(name: String) -> Result<IpcBytesSender, io::Error> {
        let introduction = codec::introduction_of_sender::<[u8]>();
        one_shot::connect(&name, &introduction).map(IpcBytesSender::from)
    }

    /// Sends one message, and blocks where [`IpcSender::send`](super::IpcSender#blocking) blocks.
    ///
    /// # Errors
    ///
    /// - [`ConnectionReset`](io::ErrorKind::ConnectionReset) if the receiver has been dropped. The
    ///   operator `?` converts this error to [`IpcError::Disconnected`].
    /// - [`InvalidInput`](io::ErrorKind::InvalidInput) if the message is larger than
    ///   [`MAX_MESSAGE_BYTES`](super::MAX_MESSAGE_BYTES).
    /// - [`TimedOut`](io::ErrorKind::TimedOut) if `send` has blocked for
    ///   [`SEND_TIMEOUT`](super::SEND_TIMEOUT), ten seconds, without success.
    /// - Any other error of the operating system.
    ///
    /// # Examples
    ///
    /// ```
    /// use strait::{IpcError, ipc};
    ///
    /// fn send_twice(sender: &ipc::IpcBytesSender) -> Result<(), IpcError> {
    ///     sender.send(b"once")?;
    ///     sender.send(b"twice")?;
    ///     Ok(())
    /// }
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (sender, receiver) = ipc::bytes_channel()?;
    /// send_twice(&sender)?;
    /// drop(receiver);
    /// assert!(send_twice(&sender).is_err_and(|error| error.is_disconnected()));
    /// # Ok(())
    /// # }
    /// ```
    pub fn send(&self, data: &[u8]) -> Result<(), io::Error> {
        self.send_within(data, Wait::Forever).map_err(|error| IpcError::from(error).into())
    }

    /// Sends one message if there is room for it. Never blocks.
    ///
    /// [`IpcSender::try_send`](super::IpcSender::try_send) describes when there is room.
    ///
    /// # Errors
    ///
    /// - [`Full`](TrySendError::Full) if [`send`](IpcBytesSender::send) would block.
    /// - [`Disconnected`](IpcError::Disconnected) if the receiver has been dropped.
    /// - [`Io`](IpcError::Io) of another kind for any other error of
    ///   [`send`](IpcBytesSender::send).
    pub fn try_send(&self, data: &[u8]) -> Result<(), TrySendError> {
        self.send_within(data, Wait::Never)
    }

    /// Sends one message, and blocks for at most `timeout` where [`send`](IpcBytesSender::send)
    /// blocks.
    ///
    /// A timeout beyond the range of the clock is treated as in
    /// [`IpcSender::send_timeout`](super::IpcSender::send_timeout).
    ///
    /// # Errors
    ///
    /// - [`Full`](TrySendError::Full) if the message could not be sent within `timeout`.
    /// - Any error of [`try_send`](IpcBytesSender::try_send).
    pub fn send_timeout(&self, data: &[u8], timeout: Duration) -> Result<(), TrySendError> {
        self.send_within(data, Wait::at_most(timeout))
    }

    /// Sends one message, and blocks until `deadline` at most where [`send`](IpcBytesSender::send)
    /// blocks.
    ///
    /// # Errors
    ///
    /// - [`Full`](TrySendError::Full) if the message could not be sent before `deadline`.
    /// - Any error of [`try_send`](IpcBytesSender::try_send).
    pub fn send_deadline(&self, data: &[u8], deadline: Instant) -> Result<(), TrySendError> {
        self.send_within(data, Wait::Until(deadline))
    }

    fn send_within(&self, data: &[u8], wait: Wait) -> Result<(), TrySendError> {
        typed::send_bytes(&self.sender, data, wait)
    }

    /// Returns whether the receiver has been dropped, as
    /// [`IpcSender::is_closed`](super::IpcSender::is_closed) does.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Converts the sender into one for messages of an unknown type.
    pub fn to_opaque(self) -> OpaqueIpcSender {
        OpaqueIpcSender::from(self.sender)
    }

    #[allow(dead_code, reason = "only the modules in `os` need it")]
    pub(crate) fn core(&self) -> &Sender {
        &self.sender
    }
}

impl From<Sender> for IpcBytesSender {
    fn from(sender: Sender) -> IpcBytesSender {
        IpcBytesSender { sender }
    }
}

impl Serialize for IpcBytesSender {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        endpoint::serialize_sender(&self.sender, serializer)
    }
}

impl<'de> Deserialize<'de> for IpcBytesSender {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        endpoint::deserialize_sender(deserializer).map(IpcBytesSender::from)
    }
}

/// The receiver of a [channel of bytes](bytes_channel). It works as
/// [`IpcReceiver`](super::IpcReceiver) does.
///
/// # Examples
///
/// See [`iter`](IpcBytesReceiver::iter).
#[derive(Debug)]
pub struct IpcBytesReceiver {
    slot: Slot,
}

impl IpcBytesReceiver {
    /// Receives the next message, blocking until one arrives or the channel is disconnected.
    ///
    /// The vector is exactly as large as the message.
    ///
    /// # Errors
    ///
    /// - Any error of [`IpcReceiver::recv`](super::IpcReceiver::recv).
    pub fn recv(&self) -> Result<Vec<u8>, IpcError> {
        // Without a timeout `Empty` cannot occur.
        self.receive(Wait::Forever).map_err(IpcError::from)
    }

    /// Receives the next message if one is available. Never blocks.
    ///
    /// # Errors
    ///
    /// - [`Empty`](TryRecvError::Empty) if no message is available.
    /// - Any error of [`recv`](IpcBytesReceiver::recv).
    pub fn try_recv(&self) -> Result<Vec<u8>, TryRecvError> {
        self.receive(Wait::Never)
    }

    /// Receives the next message, blocking for at most `duration` until one arrives or the channel
    /// is disconnected.
    ///
    /// The timeout is as exact as that of
    /// [`IpcReceiver::try_recv_timeout`](super::IpcReceiver::try_recv_timeout).
    ///
    /// # Errors
    ///
    /// - [`Empty`](TryRecvError::Empty) if no message arrived within `duration`.
    /// - Any error of [`recv`](IpcBytesReceiver::recv).
    pub fn try_recv_timeout(&self, duration: Duration) -> Result<Vec<u8>, TryRecvError> {
        self.receive(Wait::at_most(duration))
    }

    /// Receives the next message, blocking for at most `timeout` until one arrives or the channel
    /// is disconnected.
    ///
    /// This is [`try_recv_timeout`](IpcBytesReceiver::try_recv_timeout) under the name that
    /// `std::sync::mpsc` has for it.
    ///
    /// # Errors
    ///
    /// - Any error of [`try_recv_timeout`](IpcBytesReceiver::try_recv_timeout).
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Vec<u8>, TryRecvError> {
        self.try_recv_timeout(timeout)
    }

    /// Receives the next message, blocking until one arrives or the channel is disconnected, until
    /// `deadline` at most.
    ///
    /// A message that is available is returned even if the deadline has passed, as by
    /// [`IpcReceiver::recv_deadline`](super::IpcReceiver::recv_deadline).
    ///
    /// # Errors
    ///
    /// - [`Empty`](TryRecvError::Empty) if no message arrived before `deadline`.
    /// - Any error of [`recv`](IpcBytesReceiver::recv).
    pub fn recv_deadline(&self, deadline: Instant) -> Result<Vec<u8>, TryRecvError> {
        self.receive(Wait::Until(deadline))
    }

    /// Returns an iterator over the messages, which blocks until the next one arrives. It ends when
    /// the channel is disconnected.
    ///
    /// The iterator skips messages that break the protocol; [`recv`](IpcBytesReceiver::recv)
    /// returns an error for each of them.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (sender, receiver) = strait::ipc::bytes_channel()?;
    /// for word in ["as", "they", "are"] {
    ///     sender.send(word.as_bytes())?;
    /// }
    /// drop(sender);
    /// assert_eq!(receiver.iter().collect::<Vec<_>>().concat(), b"astheyare");
    /// # Ok(())
    /// # }
    /// ```
    pub fn iter(&self) -> BytesIter<'_> {
        BytesIter { receiver: self }
    }

    /// Returns an iterator over the available messages, which blocks no longer than
    /// [`try_recv`](IpcBytesReceiver::try_recv).
    ///
    /// The iterator skips messages that break the protocol, and returns `None` after 1024 of
    /// them in a row.
    ///
    /// # Examples
    ///
    /// See [`IpcReceiver::try_iter`](super::IpcReceiver::try_iter).
    pub fn try_iter(&self) -> BytesTryIter<'_> {
        BytesTryIter { receiver: self }
    }

    /// Sets the options of the channel from now on, as
    /// [`IpcReceiver::set_options`](super::IpcReceiver::set_options) does.
    ///
    /// # Errors
    ///
    /// - An error if this receiver was moved into a message.
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
    pub fn to_opaque(self) -> OpaqueIpcReceiver {
        OpaqueIpcReceiver::from(self.slot)
    }

    fn receive(&self, wait: Wait) -> Result<Vec<u8>, TryRecvError> {
        typed::receive_bytes(&self.slot, wait)
    }

    #[allow(dead_code, reason = "only the modules in `os` need it")]
    pub(crate) fn slot(&self) -> &Slot {
        &self.slot
    }

    pub(crate) fn into_slot(self) -> Slot {
        self.slot
    }
}

/// The iterator that [`IpcBytesReceiver::iter`] returns.
///
/// # Examples
///
/// See [`IpcBytesReceiver::iter`].
#[derive(Debug)]
pub struct BytesIter<'a> {
    receiver: &'a IpcBytesReceiver,
}

impl Iterator for BytesIter<'_> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            match self.receiver.recv() {
                Ok(bytes) => return Some(bytes),
                Err(IpcError::SerializationError(_)) => {}
                Err(IpcError::Disconnected | IpcError::Io(_)) => return None,
            }
        }
    }
}

/// The iterator that [`IpcBytesReceiver::try_iter`] returns.
///
/// # Examples
///
/// See [`IpcReceiver::try_iter`](super::IpcReceiver::try_iter).
#[derive(Debug)]
pub struct BytesTryIter<'a> {
    receiver: &'a IpcBytesReceiver,
}

impl Iterator for BytesTryIter<'_> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        typed::next_available(&self.receiver.slot, || self.receiver.try_recv())
    }
}

/// The iterator that a `for` loop over an [`IpcBytesReceiver`] uses. It works as [`BytesIter`]
/// does, and owns the receiver.
///
/// # Examples
///
/// See [`IntoIter`](super::IntoIter).
#[derive(Debug)]
pub struct BytesIntoIter {
    receiver: IpcBytesReceiver,
}

impl Iterator for BytesIntoIter {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        self.receiver.iter().next()
    }
}

impl IntoIterator for IpcBytesReceiver {
    type Item = Vec<u8>;
    type IntoIter = BytesIntoIter;

    fn into_iter(self) -> BytesIntoIter {
        BytesIntoIter { receiver: self }
    }
}

impl<'a> IntoIterator for &'a IpcBytesReceiver {
    type Item = Vec<u8>;
    type IntoIter = BytesIter<'a>;

    fn into_iter(self) -> BytesIter<'a> {
        self.iter()
    }
}

impl From<Slot> for IpcBytesReceiver {
    fn from(slot: Slot) -> IpcBytesReceiver {
        IpcBytesReceiver { slot }
    }
}

impl Serialize for IpcBytesReceiver {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        endpoint::serialize_receiver(&self.slot, serializer)
    }
}

impl<'de> Deserialize<'de> for IpcBytesReceiver {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        endpoint::deserialize_receiver(deserializer).map(IpcBytesReceiver::from)
    }
}
