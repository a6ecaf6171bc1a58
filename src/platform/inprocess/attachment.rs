//! Objects in transit.

use std::io;
use std::sync::Arc;

use super::{Memory, PacketReceiver, PacketSender, PermitIssuer, PermitTaker, RingMemory};
use crate::platform::OsHandle;

/// One object in transit.
#[derive(Debug)]
pub enum Attachment {
    /// A sender.
    Sender(Arc<PacketSender>),
    /// A receiver.
    Receiver(PacketReceiver),
    /// Shared memory.
    Memory(Memory),
    /// A handle of the operating system.
    Handle(OsHandle),
    /// What permits are taken from.
    Taker(Arc<PermitTaker>),
    /// What issues permits.
    Issuer(PermitIssuer),
}

impl Attachment {
    /// Sends a further sender.
    pub fn from_sender(sender: Arc<PacketSender>) -> Attachment {
        Attachment::Sender(sender)
    }

    /// Moves a receiver.
    pub fn from_receiver(receiver: PacketReceiver) -> Attachment {
        Attachment::Receiver(receiver)
    }

    /// Shares memory.
    pub fn from_memory(memory: &Memory) -> Attachment {
        Attachment::Memory(memory.clone())
    }

    /// Sends an OS handle.
    pub fn from_handle(handle: OsHandle) -> Attachment {
        Attachment::Handle(handle)
    }

    /// Takes it as a sender.
    pub fn into_sender(self) -> io::Result<Arc<PacketSender>> {
        match self {
            Attachment::Sender(sender) => Ok(sender),
            _ => Err(wrong_kind("sender")),
        }
    }

    /// Takes it as a receiver.
    pub fn into_receiver(self) -> io::Result<PacketReceiver> {
        match self {
            Attachment::Receiver(receiver) => Ok(receiver),
            _ => Err(wrong_kind("receiver")),
        }
    }

    /// Takes it as shared memory of `len` bytes.
    pub fn into_memory(self, len: u64) -> io::Result<Memory> {
        match self {
            Attachment::Memory(memory) if memory.size() as u64 == len => Ok(memory),
            _ => Err(wrong_kind("shared memory of that length")),
        }
    }

    /// Shares the memory of a ring.
    pub fn from_shared_ring(memory: &RingMemory) -> Attachment {
        memory.never()
    }

    /// Moves the memory of a ring.
    pub fn from_ring(memory: RingMemory) -> Attachment {
        memory.never()
    }

    /// Takes it as the memory of a ring.
    pub fn into_ring(self) -> io::Result<RingMemory> {
        Err(wrong_kind("ring"))
    }

    /// Lets somebody else take permits, too.
    pub fn from_taker(taker: Arc<PermitTaker>) -> Attachment {
        Attachment::Taker(taker)
    }

    /// Takes it as what permits are taken from.
    pub fn into_taker(self) -> io::Result<Arc<PermitTaker>> {
        match self {
            Attachment::Taker(taker) => Ok(taker),
            _ => Err(wrong_kind("place for permits")),
        }
    }

    /// Moves what issues permits.
    pub fn from_issuer(issuer: PermitIssuer) -> Vec<Attachment> {
        vec![Attachment::Issuer(issuer)]
    }

    /// Takes them as what issues permits.
    pub fn into_issuer(mut attachments: Vec<Attachment>) -> io::Result<PermitIssuer> {
        match (attachments.pop(), attachments.pop()) {
            (Some(Attachment::Issuer(issuer)), None) => Ok(issuer),
            _ => Err(wrong_kind("place for permits")),
        }
    }

    /// Takes it as an OS handle.
    pub fn into_handle(self) -> io::Result<OsHandle> {
        match self {
            Attachment::Handle(handle) => Ok(handle),
            _ => Err(wrong_kind("handle")),
        }
    }
}

fn wrong_kind(expected: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the object received is not a {expected}"))
}
