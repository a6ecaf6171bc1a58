//! Endpoints whose type is not known yet.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{IpcBytesReceiver, IpcBytesSender, IpcReceiver, IpcSender};
use crate::channel::{Sender, Slot};
use crate::codec::endpoint;

/// A sender of messages of some type.
///
/// The type that it is given back is not checked; messages of another one fail to decode.
#[derive(Clone, Debug)]
pub struct OpaqueIpcSender {
    sender: Sender,
}

impl OpaqueIpcSender {
    /// Makes it a sender of `T`.
    pub fn to<'de, T>(self) -> IpcSender<T>
    where
        T: Deserialize<'de> + Serialize,
    {
        IpcSender::from(self.sender)
    }

    /// Makes it a sender of bytes.
    pub fn to_bytes(self) -> IpcBytesSender {
        IpcBytesSender::from(self.sender)
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

/// A receiver of messages of some type.
///
/// The type that it is given back is not checked; messages of another one fail to decode.
#[derive(Debug)]
pub struct OpaqueIpcReceiver {
    slot: Slot,
}

impl OpaqueIpcReceiver {
    /// Makes it a receiver of `T`.
    pub fn to<'de, T>(self) -> IpcReceiver<T>
    where
        T: Deserialize<'de> + Serialize,
    {
        IpcReceiver::from(self.slot)
    }

    /// Makes it a receiver of bytes.
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
