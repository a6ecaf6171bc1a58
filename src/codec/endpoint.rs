//! What is written into a message of the endpoints, handles and memory in it.
//!
//! Only the message's own format has a place for them. A value may write itself, or a part of itself, in another one while it is
//! being sent, and endpoints in that would go into the message all the same, with nobody to take them out. What can be known
//! of another format is whether people can read it; ours cannot be read.

use std::fmt;
use std::io;

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::scope;
use crate::channel::assembly::Lost;
use crate::channel::{Luggage, Receiver, Sender, Slot, Unfinished};
use crate::platform::{Attachment, Memory};

/// A receiver, in terms of a message: the index of its handle, and what it has received incompletely.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ReceiverParts {
    index: u32,
    unfinished: Vec<UnfinishedParts>,
    lost: Vec<LostParts>,
}

#[derive(Clone, Serialize, Deserialize)]
struct UnfinishedParts {
    id: u128,
    total_bytes: u64,
    total_attachments: u32,
    #[serde(with = "byte_string")]
    bytes: Vec<u8>,
    attachments: Vec<u32>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct LostParts {
    id: u128,
    is_told: bool,
}

impl ReceiverParts {
    /// Describes a receiver whose objects get the indices that `attach` gives. What its luggage has no room for stays there.
    pub(super) fn new(
        receiver: Attachment,
        luggage: &mut Luggage,
        mut attach: impl FnMut(Attachment) -> io::Result<u32>,
    ) -> io::Result<ReceiverParts> {
        let index = attach(receiver)?;
        let unfinished = std::mem::take(&mut luggage.carried).into_iter().map(|message| {
            Ok(UnfinishedParts {
                id: message.id,
                total_bytes: message.total_bytes,
                total_attachments: message.total_attachments,
                bytes: message.bytes,
                attachments: message
                    .attachments
                    .into_iter()
                    .map(&mut attach)
                    .collect::<io::Result<_>>()?,
            })
        });
        let unfinished = unfinished.collect::<io::Result<_>>()?;
        let left_behind =
            luggage.left_behind.iter().map(|message| LostParts { id: message.id, is_told: false });
        let lost = luggage.lost.iter().map(|lost| LostParts { id: lost.id, is_told: lost.is_told });
        Ok(ReceiverParts { index, unfinished, lost: lost.chain(left_behind).collect() })
    }

    /// Puts the receiver together from the objects that `detach` gives for the indices, and from what it left behind if it is
    /// still there.
    pub(super) fn assemble(
        self,
        left_behind: Vec<Unfinished>,
        mut detach: impl FnMut(u32) -> io::Result<Attachment>,
    ) -> io::Result<Receiver> {
        let receiver = detach(self.index)?;
        let carried = self.unfinished.into_iter().map(|message| {
            Ok(Unfinished {
                id: message.id,
                total_bytes: message.total_bytes,
                total_attachments: message.total_attachments,
                bytes: message.bytes,
                attachments: message
                    .attachments
                    .into_iter()
                    .map(&mut detach)
                    .collect::<io::Result<_>>()?,
            })
        });
        let carried = carried.collect::<io::Result<_>>()?;
        let is_here = |lost: &LostParts| left_behind.iter().any(|message| message.id == lost.id);
        let lost = self.lost.iter().filter(|lost| !is_here(lost));
        let lost = lost.map(|lost| Lost { id: lost.id, is_told: lost.is_told }).collect();
        Receiver::arrive(receiver, Luggage { carried, left_behind, lost })
    }
}

/// Numbers only: what a peer sent may be long, and nobody's business.
impl fmt::Debug for UnfinishedParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnfinishedParts").field("bytes", &self.bytes.len()).finish_non_exhaustive()
    }
}

/// Writes a sender.
pub(crate) fn serialize_sender<S: Serializer>(
    sender: &Sender,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serialize_attachment(sender.to_attachment(), serializer)
}

/// Reads a sender.
pub(crate) fn deserialize_sender<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Sender, D::Error> {
    let attachment = deserialize_attachment(deserializer)?;
    Sender::from_attachment(attachment).map_err(D::Error::custom)
}

/// Writes a receiver, which leaves its slot.
pub(crate) fn serialize_receiver<S: Serializer>(
    slot: &Slot,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    check_written(&serializer)?;
    let parts = scope::attach_receiver(|room| slot.depart(room)).map_err(S::Error::custom)?;
    parts.serialize(serializer)
}

/// Reads a receiver.
pub(crate) fn deserialize_receiver<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Slot, D::Error> {
    check_read(&deserializer)?;
    let parts = ReceiverParts::deserialize(deserializer)?;
    scope::detach_receiver(parts).map(Slot::from).map_err(D::Error::custom)
}

/// Writes shared memory; none is the empty one.
pub(crate) fn serialize_memory<S: Serializer>(
    memory: Option<&Memory>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    check_written(&serializer)?;
    let parts = memory.map(|memory| {
        let index = scope::attach(Attachment::from_memory(memory))?;
        Ok((index, memory.size() as u64))
    });
    let parts: Option<(u32, u64)> =
        parts.transpose().map_err(|error: io::Error| S::Error::custom(error))?;
    parts.serialize(serializer)
}

/// Reads shared memory.
pub(crate) fn deserialize_memory<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Memory>, D::Error> {
    check_read(&deserializer)?;
    let parts = Option::<(u32, u64)>::deserialize(deserializer)?;
    let memory = parts.map(|(index, len)| scope::detach(index)?.into_memory(len));
    memory.transpose().map_err(D::Error::custom)
}

/// Writes any attachment.
pub(crate) fn serialize_attachment<S: Serializer>(
    attachment: Attachment,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    check_written(&serializer)?;
    let index = scope::attach(attachment).map_err(S::Error::custom)?;
    serializer.serialize_u32(index)
}

/// Reads any attachment.
pub(crate) fn deserialize_attachment<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Attachment, D::Error> {
    check_read(&deserializer)?;
    let index = u32::deserialize(deserializer)?;
    scope::detach(index).map_err(D::Error::custom)
}

fn check_written<S: Serializer>(serializer: &S) -> Result<(), S::Error> {
    if serializer.is_human_readable() {
        return Err(S::Error::custom(scope::not_sent()));
    }
    Ok(())
}

fn check_read<'de, D: Deserializer<'de>>(deserializer: &D) -> Result<(), D::Error> {
    if deserializer.is_human_readable() {
        return Err(D::Error::custom(scope::not_received()));
    }
    Ok(())
}

/// Bytes in one piece; a `Vec<u8>` by itself is a sequence of numbers to serde.
mod byte_string {
    use std::fmt;

    use serde::de::{Error, Visitor};
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        struct Bytes;

        impl Visitor<'_> for Bytes {
            type Value = Vec<u8>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
                Ok(bytes.to_vec())
            }
        }

        deserializer.deserialize_bytes(Bytes)
    }
}
