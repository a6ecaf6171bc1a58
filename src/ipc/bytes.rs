//! Channels of bytes, without serde.

use std::io;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::channel::receive;
use super::{ChannelOptions, OpaqueIpcReceiver, OpaqueIpcSender};
use crate::channel::{Purpose, Sender, Slot};
use crate::codec::endpoint;
use crate::error::{IpcError, TryRecvError, TrySendError};
use crate::platform::Wait;

/// Makes a channel for bytes, which arrive as they were sent.
///
/// # Errors
///
/// As [`channel`](super::channel).
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

/// The sending end of a channel of bytes. As [`IpcSender`](super::IpcSender).
#[derive(Clone, Debug)]
pub struct IpcBytesSender {
    sender: Sender,
}

impl IpcBytesSender {
    /// Connects to the server of that name. As [`IpcSender::connect`](super::IpcSender::connect).
    ///
    /// # Errors
    ///
    /// As [`IpcSender::connect`](super::IpcSender::connect).
    pub fn connect(name: String) -> Result<IpcBytesSender, io::Error> {
        Sender::connect(&name).map(IpcBytesSender::from)
    }

    /// Sends one message.
    ///
    /// # Errors
    ///
    /// [`ConnectionReset`](io::ErrorKind::ConnectionReset) if the receiver is gone,
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) if the message is larger than
    /// [`MAX_MESSAGE_BYTES`](super::MAX_MESSAGE_BYTES), and others of the operating system.
    pub fn send(&self, data: &[u8]) -> Result<(), io::Error> {
        let sent = self.sender.send(data, Vec::new(), Wait::Forever);
        sent.map_err(|failure| IpcError::from(TrySendError::from(failure.error)).into())
    }

    /// Forgets that the messages are bytes.
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

/// The receiving end of a channel of bytes. As [`IpcReceiver`](super::IpcReceiver).
#[derive(Debug)]
pub struct IpcBytesReceiver {
    slot: Slot,
}

impl IpcBytesReceiver {
    /// Receives the next message, waiting until one arrives. The vector is as large as the message.
    ///
    /// # Errors
    ///
    /// As [`IpcReceiver::recv`](super::IpcReceiver::recv).
    pub fn recv(&self) -> Result<Vec<u8>, IpcError> {
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
    /// [`Empty`](TryRecvError::Empty) if none is there; else as [`recv`](IpcBytesReceiver::recv).
    pub fn try_recv(&self) -> Result<Vec<u8>, TryRecvError> {
        self.receive(Wait::Never)
    }

    /// Receives the next message, waiting for at most `duration`. As
    /// [`IpcReceiver::try_recv_timeout`](super::IpcReceiver::try_recv_timeout).
    ///
    /// # Errors
    ///
    /// [`Empty`](TryRecvError::Empty) if none came in time; else as [`recv`](IpcBytesReceiver::recv).
    pub fn try_recv_timeout(&self, duration: Duration) -> Result<Vec<u8>, TryRecvError> {
        self.receive(Wait::at_most(duration))
    }

    /// Makes the channel behave differently from now on. As [`IpcReceiver::set_options`](super::IpcReceiver::set_options).
    ///
    /// # Errors
    ///
    /// This receiver was moved into a message.
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

    /// Forgets that the messages are bytes.
    pub fn to_opaque(self) -> OpaqueIpcReceiver {
        OpaqueIpcReceiver::from(self.slot)
    }

    fn receive(&self, wait: Wait) -> Result<Vec<u8>, TryRecvError> {
        receive(&self.slot, Purpose::Keep, wait, |message, buffer| {
            Ok(message.body.into_vec(buffer))
        })
    }

    #[allow(dead_code, reason = "only the modules in `os` need it")]
    pub(crate) fn slot(&self) -> &Slot {
        &self.slot
    }

    pub(crate) fn into_slot(self) -> Slot {
        self.slot
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
