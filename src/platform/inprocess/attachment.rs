//! Objects in transit.

use std::io;
use std::sync::Arc;

use super::{
    InProcess, Memory, MemoryReader, MemoryWriter, PacketReceiver, PacketSender, PermitIssuer,
    PermitTaker, RingMemory, Spool, SpoolWriter,
};
use crate::platform::contract::{Memory as _, MemoryReader as _, MemoryWriter as _};
use crate::platform::{self, OsHandle, contract};

/// One object in transit.
#[derive(Debug)]
pub enum Attachment {
    /// A sender.
    Sender(Arc<PacketSender>),
    /// A receiver.
    Receiver(PacketReceiver),
    /// Shared memory.
    Memory(Memory),
    /// Shared memory that this process writes.
    MemoryWriter(MemoryWriter),
    /// Shared memory that others write.
    MemoryReader(MemoryReader),
    /// A handle of the operating system.
    Handle(OsHandle),
    /// Takes permits.
    Taker(Arc<PermitTaker>),
    /// Issues permits.
    Issuer(PermitIssuer),
    /// Bytes beside a message.
    Spool(Vec<u8>),
}

impl contract::Attachment<InProcess> for Attachment {
    fn from_sender(sender: Arc<PacketSender>) -> Attachment {
        Attachment::Sender(sender)
    }

    fn from_receiver(receiver: PacketReceiver) -> Attachment {
        Attachment::Receiver(receiver)
    }

    fn from_memory(memory: &Memory) -> Attachment {
        Attachment::Memory(memory.clone())
    }

    fn from_handle(handle: OsHandle) -> Attachment {
        Attachment::Handle(handle)
    }

    fn into_sender(self) -> io::Result<Arc<PacketSender>> {
        match self {
            Attachment::Sender(sender) => Ok(sender),
            _ => Err(wrong_kind("sender")),
        }
    }

    fn into_receiver(self) -> io::Result<PacketReceiver> {
        match self {
            Attachment::Receiver(receiver) => Ok(receiver),
            _ => Err(wrong_kind("receiver")),
        }
    }

    fn into_memory(self, len: u64) -> io::Result<Memory> {
        match self {
            Attachment::Memory(memory) if memory.size() as u64 == len => Ok(memory),
            _ => Err(wrong_kind("shared memory of that length")),
        }
    }

    fn from_memory_writer(memory: &MemoryWriter) -> io::Result<Attachment> {
        if memory.has_readers() {
            return Err(platform::writer_has_readers());
        }
        Ok(Attachment::MemoryWriter(memory.clone()))
    }

    fn into_memory_writer(self, len: u64) -> io::Result<MemoryWriter> {
        match self {
            Attachment::MemoryWriter(memory) if memory.size() as u64 == len => Ok(memory),
            _ => Err(wrong_kind("writer of shared memory of that length")),
        }
    }

    fn from_memory_reader(memory: &MemoryReader) -> Attachment {
        Attachment::MemoryReader(memory.clone())
    }

    fn into_memory_reader(self, len: u64) -> io::Result<MemoryReader> {
        match self {
            Attachment::MemoryReader(memory) if memory.size() as u64 == len => Ok(memory),
            _ => Err(wrong_kind("reader of shared memory of that length")),
        }
    }

    fn from_shared_ring(memory: &RingMemory) -> Attachment {
        memory.never()
    }

    fn from_ring(memory: RingMemory) -> Attachment {
        memory.never()
    }

    fn into_ring(self) -> Result<RingMemory, (io::Error, Attachment)> {
        Err((wrong_kind("ring"), self))
    }

    fn from_spool(spool: SpoolWriter) -> io::Result<Attachment> {
        spool.finish().map(Attachment::Spool)
    }

    fn into_spool(self) -> io::Result<Spool> {
        match self {
            Attachment::Spool(bytes) => Ok(Spool::new(bytes)),
            _ => Err(wrong_kind("spool")),
        }
    }

    fn from_taker(taker: Arc<PermitTaker>) -> Attachment {
        Attachment::Taker(taker)
    }

    fn into_taker(self) -> io::Result<Arc<PermitTaker>> {
        match self {
            Attachment::Taker(taker) => Ok(taker),
            _ => Err(wrong_kind("semaphore of permits")),
        }
    }

    fn from_issuer(issuer: PermitIssuer) -> Vec<Attachment> {
        vec![Attachment::Issuer(issuer)]
    }

    fn into_issuer(mut attachments: Vec<Attachment>) -> io::Result<PermitIssuer> {
        match (attachments.pop(), attachments.pop()) {
            (Some(Attachment::Issuer(issuer)), None) => Ok(issuer),
            _ => Err(wrong_kind("semaphore of permits")),
        }
    }

    fn into_handle(self) -> io::Result<OsHandle> {
        match self {
            Attachment::Handle(handle) => Ok(handle),
            _ => Err(wrong_kind("handle")),
        }
    }
}

fn wrong_kind(expected: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the received object is not a {expected}"))
}
