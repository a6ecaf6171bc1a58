//! Objects in transit.

use std::io;
use std::sync::Arc;

use super::{
    Memory, MemoryReader, MemoryWriter, PacketReceiver, PacketSender, PermitIssuer, PermitTaker,
    RingMemory, Spool, SpoolWriter,
};
use crate::platform::{self, OsHandle};

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

impl Attachment {
    /// Makes an attachment that is one more sender.
    pub fn from_sender(sender: Arc<PacketSender>) -> Attachment {
        Attachment::Sender(sender)
    }

    /// Makes an attachment that moves a receiver.
    pub fn from_receiver(receiver: PacketReceiver) -> Attachment {
        Attachment::Receiver(receiver)
    }

    /// Makes an attachment that shares memory.
    pub fn from_memory(memory: &Memory) -> Attachment {
        Attachment::Memory(memory.clone())
    }

    /// Makes an attachment of an OS handle.
    pub fn from_handle(handle: OsHandle) -> Attachment {
        Attachment::Handle(handle)
    }

    /// Converts it into a sender.
    pub fn into_sender(self) -> io::Result<Arc<PacketSender>> {
        match self {
            Attachment::Sender(sender) => Ok(sender),
            _ => Err(wrong_kind("sender")),
        }
    }

    /// Converts it into a receiver.
    pub fn into_receiver(self) -> io::Result<PacketReceiver> {
        match self {
            Attachment::Receiver(receiver) => Ok(receiver),
            _ => Err(wrong_kind("receiver")),
        }
    }

    /// Converts it into shared memory of `len` bytes.
    pub fn into_memory(self, len: u64) -> io::Result<Memory> {
        match self {
            Attachment::Memory(memory) if memory.size() as u64 == len => Ok(memory),
            _ => Err(wrong_kind("shared memory of that length")),
        }
    }

    /// Makes an attachment that shares memory which this process writes.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the memory has a reader.
    pub fn from_memory_writer(memory: &MemoryWriter) -> io::Result<Attachment> {
        if memory.has_readers() {
            return Err(platform::writer_has_readers());
        }
        Ok(Attachment::MemoryWriter(memory.clone()))
    }

    /// Converts it into memory of `len` bytes to write to.
    pub fn into_memory_writer(self, len: u64) -> io::Result<MemoryWriter> {
        match self {
            Attachment::MemoryWriter(memory) if memory.size() as u64 == len => Ok(memory),
            _ => Err(wrong_kind("writer of shared memory of that length")),
        }
    }

    /// Makes an attachment that shares memory read-only.
    pub fn from_memory_reader(memory: &MemoryReader) -> Attachment {
        Attachment::MemoryReader(memory.clone())
    }

    /// Converts it into memory of `len` bytes that others write.
    pub fn into_memory_reader(self, len: u64) -> io::Result<MemoryReader> {
        match self {
            Attachment::MemoryReader(memory) if memory.size() as u64 == len => Ok(memory),
            _ => Err(wrong_kind("reader of shared memory of that length")),
        }
    }

    /// Makes an attachment that shares the memory of a ring.
    pub fn from_shared_ring(memory: &RingMemory) -> Attachment {
        memory.never()
    }

    /// Makes an attachment that moves the memory of a ring.
    pub fn from_ring(memory: RingMemory) -> Attachment {
        memory.never()
    }

    /// Converts it into the memory of a ring.
    pub fn into_ring(self) -> Result<RingMemory, (io::Error, Attachment)> {
        Err((wrong_kind("ring"), self))
    }

    /// Makes an attachment of bytes beside a message.
    pub fn from_spool(spool: SpoolWriter) -> io::Result<Attachment> {
        spool.finish().map(Attachment::Spool)
    }

    /// Converts it into bytes beside a message.
    pub fn into_spool(self) -> io::Result<Spool> {
        match self {
            Attachment::Spool(bytes) => Ok(Spool::new(bytes)),
            _ => Err(wrong_kind("spool")),
        }
    }

    /// Makes an attachment by which others can take permits, too.
    pub fn from_taker(taker: Arc<PermitTaker>) -> Attachment {
        Attachment::Taker(taker)
    }

    /// Converts it into a taker of permits.
    pub fn into_taker(self) -> io::Result<Arc<PermitTaker>> {
        match self {
            Attachment::Taker(taker) => Ok(taker),
            _ => Err(wrong_kind("semaphore of permits")),
        }
    }

    /// Makes an attachment that moves an issuer of permits.
    pub fn from_issuer(issuer: PermitIssuer) -> Vec<Attachment> {
        vec![Attachment::Issuer(issuer)]
    }

    /// Converts attachments into an issuer of permits.
    pub fn into_issuer(mut attachments: Vec<Attachment>) -> io::Result<PermitIssuer> {
        match (attachments.pop(), attachments.pop()) {
            (Some(Attachment::Issuer(issuer)), None) => Ok(issuer),
            _ => Err(wrong_kind("semaphore of permits")),
        }
    }

    /// Converts it into an OS handle.
    pub fn into_handle(self) -> io::Result<OsHandle> {
        match self {
            Attachment::Handle(handle) => Ok(handle),
            _ => Err(wrong_kind("handle")),
        }
    }
}

fn wrong_kind(expected: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the received object is not a {expected}"))
}
