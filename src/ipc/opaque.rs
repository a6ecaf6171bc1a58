//! Endpoints of channels whose message type is unknown.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{IpcBytesReceiver, IpcBytesSender, IpcReceiver, IpcSender, IpcSyncSender};
use crate::channel::{Sender, Slot};
use crate::codec::endpoint;

/// A sender of messages of an unknown type.
///
/// [`to`](OpaqueIpcSender::to) does not check the type. Messages of another type fail to decode.
///
/// # Examples
///
/// ```
/// use strait::ipc::{self, OpaqueIpcSender};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (words, inbox) = ipc::channel::<String>()?;
/// let (numbers, _receiver) = ipc::channel::<u32>()?;
/// let senders: Vec<OpaqueIpcSender> = vec![words.to_opaque(), numbers.to_opaque()];
/// senders[0].clone().to::<String>().send("word".to_string())?;
/// assert_eq!(inbox.recv()?, "word");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct OpaqueIpcSender {
    sender: Sender,
}

impl OpaqueIpcSender {
    /// Converts the sender into one for messages of type `T`.
    pub fn to<T>(self) -> IpcSender<T>
    where
        T: Serialize,
    {
        IpcSender::from(self.sender)
    }

    /// Converts the sender into one for byte messages.
    pub fn to_bytes(self) -> IpcBytesSender {
        IpcBytesSender::from(self.sender)
    }

    /// Returns whether the receiver has been dropped, as [`IpcSender::is_closed`] does.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    #[allow(dead_code, reason = "only the modules in `os` need it")]
    pub(crate) fn core(&self) -> &Sender {
        &self.sender
    }
}

impl From<Sender> for OpaqueIpcSender {
    fn from(sender: Sender) -> OpaqueIpcSender {
        OpaqueIpcSender { sender }
    }
}

impl Serialize for OpaqueIpcSender {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        endpoint::serialize_sender(&self.sender, serializer)
    }
}

impl<'de> Deserialize<'de> for OpaqueIpcSender {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        endpoint::deserialize_sender(deserializer).map(OpaqueIpcSender::from)
    }
}

/// A sender of messages of an unknown type into a [bounded channel](super::sync_channel).
///
/// [`to`](OpaqueIpcSyncSender::to) does not check the type. Messages of another type fail to
/// decode.
///
/// # Examples
///
/// ```
/// use strait::ipc::{self, IpcSyncSender, OpaqueIpcSyncSender};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (words, inbox) = ipc::sync_channel::<String>(1)?;
/// let (numbers, _) = ipc::sync_channel::<u32>(1)?;
/// let senders: Vec<OpaqueIpcSyncSender> = vec![words.to_opaque(), numbers.to_opaque()];
/// let words: IpcSyncSender<String> = senders[0].clone().to();
/// words.send("word".to_string())?;
/// assert_eq!(inbox.recv()?, "word");
/// assert!(senders[1].is_closed());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct OpaqueIpcSyncSender {
    sender: Sender,
}

impl OpaqueIpcSyncSender {
    /// Converts the sender into one for messages of type `T`.
    pub fn to<'de, T>(self) -> IpcSyncSender<T>
    where
        T: Deserialize<'de> + Serialize,
    {
        IpcSyncSender::from(self.sender)
    }

    /// Returns whether the receiver has been dropped, as [`IpcSender::is_closed`] does.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    #[allow(dead_code, reason = "only the modules in `os` need it")]
    pub(crate) fn core(&self) -> &Sender {
        &self.sender
    }
}

impl From<Sender> for OpaqueIpcSyncSender {
    fn from(sender: Sender) -> OpaqueIpcSyncSender {
        OpaqueIpcSyncSender { sender }
    }
}

impl Serialize for OpaqueIpcSyncSender {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        endpoint::serialize_sender(&self.sender, serializer)
    }
}

impl<'de> Deserialize<'de> for OpaqueIpcSyncSender {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        endpoint::deserialize_bounded_sender(deserializer).map(OpaqueIpcSyncSender::from)
    }
}

/// A receiver of messages of an unknown type.
///
/// [`to`](OpaqueIpcReceiver::to) does not check the type. Messages of another type fail to decode.
///
/// # Examples
///
/// ```
/// use strait::ipc::{self, IpcReceiverSet};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (sender, receiver) = ipc::channel::<u32>()?;
/// let mut set = IpcReceiverSet::new()?;
/// let id = set.add_opaque(receiver.to_opaque())?;
/// sender.send(1)?;
///
/// // A set returns its receivers as opaque ones.
/// let receiver = set.remove(id).ok_or("no such receiver")?.to::<u32>();
/// assert_eq!(receiver.recv()?, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct OpaqueIpcReceiver {
    slot: Slot,
}

impl OpaqueIpcReceiver {
    /// Converts the receiver into one for messages of type `T`.
    pub fn to<'de, T>(self) -> IpcReceiver<T>
    where
        T: Deserialize<'de>,
    {
        IpcReceiver::from(self.slot)
    }

    /// Converts the receiver into one for byte messages.
    pub fn to_bytes(self) -> IpcBytesReceiver {
        IpcBytesReceiver::from(self.slot)
    }

    #[allow(dead_code, reason = "only the modules in `os` need it")]
    pub(crate) fn slot(&self) -> &Slot {
        &self.slot
    }

    pub(crate) fn into_slot(self) -> Slot {
        self.slot
    }
}

impl From<Slot> for OpaqueIpcReceiver {
    fn from(slot: Slot) -> OpaqueIpcReceiver {
        OpaqueIpcReceiver { slot }
    }
}

impl Serialize for OpaqueIpcReceiver {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        endpoint::serialize_receiver(&self.slot, serializer)
    }
}

impl<'de> Deserialize<'de> for OpaqueIpcReceiver {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        endpoint::deserialize_receiver(deserializer).map(OpaqueIpcReceiver::from)
    }
}
