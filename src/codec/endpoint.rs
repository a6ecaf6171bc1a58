//! Encodes the endpoints, handles and memory in a message: the user's bytes contain the number of
//! the [entry](crate::channel::table) that each of them has.
//!
//! Only the message's own format has a place for them. While a value is being sent, it may encode
//! itself, or a part of itself, in another format. Endpoints in that would go into the message all
//! the same, and would never be taken out. Another format only says whether it is human-readable;
//! strait's own is not.

use std::io;

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::scope::{self, Bound};
use crate::channel::table::{Access, Entry, MovedMemory};
use crate::channel::{Sender, Slot};
use crate::platform::contract::{
    Attachment as _, Memory as _, MemoryReader as _, MemoryWriter as _,
};
use crate::platform::{Attachment, Memory, MemoryReader, MemoryWriter};

/// Encodes a sender.
pub(crate) fn serialize_sender<S: Serializer>(
    sender: &Sender,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    check_written(&serializer)?;
    let number = scope::attach_sender(sender).map_err(S::Error::custom)?;
    serializer.serialize_u32(number)
}

/// Decodes a sender into an unbounded channel.
pub(crate) fn deserialize_sender<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Sender, D::Error> {
    read_sender(deserializer, Bound::None)
}

/// Decodes a sender into a channel that may be bounded.
pub(crate) fn deserialize_bounded_sender<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Sender, D::Error> {
    read_sender(deserializer, Bound::Any)
}

fn read_sender<'de, D: Deserializer<'de>>(
    deserializer: D,
    bound: Bound,
) -> Result<Sender, D::Error> {
    check_read(&deserializer)?;
    let number = u32::deserialize(deserializer)?;
    scope::detach_sender(number, bound).map_err(D::Error::custom)
}

/// Encodes a receiver, which moves out of its slot.
pub(crate) fn serialize_receiver<S: Serializer>(
    slot: &Slot,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    check_written(&serializer)?;
    let number = scope::attach_receiver(|room| slot.take_apart(room)).map_err(S::Error::custom)?;
    serializer.serialize_u32(number)
}

/// Decodes a receiver.
pub(crate) fn deserialize_receiver<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Slot, D::Error> {
    check_read(&deserializer)?;
    let number = u32::deserialize(deserializer)?;
    scope::detach_receiver(number).map(Slot::from).map_err(D::Error::custom)
}

/// Encodes shared memory; `None` is empty memory.
pub(crate) fn serialize_memory<S: Serializer>(
    memory: Option<&Memory>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let of = |memory: &Memory| Ok((Attachment::from_memory(memory), memory.size()));
    write_memory(memory.map(of), Access::Fixed, serializer)
}

/// Decodes shared memory.
pub(crate) fn deserialize_memory<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Memory>, D::Error> {
    read_memory(deserializer, Access::Fixed, Attachment::into_memory)
}

/// Encodes the writer of shared memory; `None` is that of empty memory.
pub(crate) fn serialize_memory_writer<S: Serializer>(
    memory: Option<&MemoryWriter>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let of = |memory: &MemoryWriter| Ok((Attachment::from_memory_writer(memory)?, memory.size()));
    write_memory(memory.map(of), Access::Write, serializer)
}

/// Decodes the writer of shared memory.
pub(crate) fn deserialize_memory_writer<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<MemoryWriter>, D::Error> {
    read_memory(deserializer, Access::Write, Attachment::into_memory_writer)
}

/// Encodes a reader of shared memory; `None` is that of empty memory.
pub(crate) fn serialize_memory_reader<S: Serializer>(
    memory: Option<&MemoryReader>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let of = |memory: &MemoryReader| Ok((Attachment::from_memory_reader(memory), memory.size()));
    write_memory(memory.map(of), Access::Read, serializer)
}

/// Decodes a reader of shared memory.
pub(crate) fn deserialize_memory_reader<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<MemoryReader>, D::Error> {
    read_memory(deserializer, Access::Read, Attachment::into_memory_reader)
}

/// Encodes memory that has so many bytes.
fn write_memory<S: Serializer>(
    memory: Option<io::Result<(Attachment, usize)>>,
    access: Access,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    check_written(&serializer)?;
    let number = memory.map(|memory| {
        let (memory, len) = memory?;
        scope::attach(Entry::Memory(MovedMemory { memory, bytes: len as u64, access }))
    });
    let number: Option<u32> = number.transpose().map_err(S::Error::custom)?;
    number.serialize(serializer)
}

/// Decodes memory that `take` makes of an attachment and so many bytes.
fn read_memory<'de, D: Deserializer<'de>, M>(
    deserializer: D,
    access: Access,
    take: impl FnOnce(Attachment, u64) -> io::Result<M>,
) -> Result<Option<M>, D::Error> {
    check_read(&deserializer)?;
    let number = Option::<u32>::deserialize(deserializer)?;
    let memory = number.map(|number| {
        let MovedMemory { memory, bytes, .. } = scope::detach_memory(number, access)?;
        take(memory, bytes)
    });
    memory.transpose().map_err(D::Error::custom)
}

/// Encodes a handle of the operating system.
pub(crate) fn serialize_handle<S: Serializer>(
    handle: Attachment,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    check_written(&serializer)?;
    let number = scope::attach(Entry::Handle(handle)).map_err(S::Error::custom)?;
    serializer.serialize_u32(number)
}

/// Decodes a handle of the operating system.
pub(crate) fn deserialize_handle<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Attachment, D::Error> {
    check_read(&deserializer)?;
    let number = u32::deserialize(deserializer)?;
    scope::detach_handle(number).map_err(D::Error::custom)
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
