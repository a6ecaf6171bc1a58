//! File descriptors in transit.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::net::sockopt;
use rustix::net::{AddressFamily, SocketType};

use super::flavour::{self, Shared};
use super::received::Received;
use super::{
    Memory, MemoryReader, MemoryWriter, PacketReceiver, PacketSender, PermitIssuer, PermitTaker,
    RingMemory, Spool, SpoolWriter, Unix,
};
use crate::platform;
use crate::platform::contract;
use crate::platform::contract::{Memory as _, MemoryReader as _, MemoryWriter as _};

/// One object in transit. When it is sent, it shares the object that the sending process goes on
/// using. When it was received, it is just a file descriptor, and its kind is unchecked.
#[derive(Debug)]
pub struct Attachment(Object);

#[derive(Debug)]
enum Object {
    Sender(Arc<PacketSender>),
    /// The memory, and its file descriptor.
    Memory(Memory, Arc<Shared>),
    MemoryWriter(MemoryWriter, Arc<Shared>),
    MemoryReader(MemoryReader, Arc<Shared>),
    Ring(RingMemory),
    RingFile(Arc<OwnedFd>),
    Permits(Arc<PermitTaker>),
    Descriptor(OwnedFd),
    Received(Received),
}

impl contract::Attachment<Unix> for Attachment {
    fn from_sender(sender: Arc<PacketSender>) -> Attachment {
        Attachment(Object::Sender(sender))
    }

    fn from_receiver(receiver: PacketReceiver) -> Attachment {
        Attachment(Object::Descriptor(receiver.into_fd()))
    }

    fn from_memory(memory: &Memory) -> Attachment {
        Attachment(Object::Memory(memory.clone(), memory.shared()))
    }

    fn from_shared_ring(memory: &RingMemory) -> Attachment {
        Attachment(Object::RingFile(Arc::clone(memory.file())))
    }

    fn from_ring(memory: RingMemory) -> Attachment {
        Attachment(Object::Ring(memory))
    }

    fn from_handle(handle: OwnedFd) -> Attachment {
        Attachment(Object::Descriptor(handle))
    }

    fn into_sender(self) -> io::Result<Arc<PacketSender>> {
        match self.0 {
            Object::Sender(sender) => Ok(sender),
            object => Ok(Arc::new(PacketSender::from(packet_socket(object)?))),
        }
    }

    fn into_receiver(self) -> io::Result<PacketReceiver> {
        packet_socket(self.0).map(PacketReceiver::from_received)
    }

    fn into_memory(self, len: u64) -> io::Result<Memory> {
        match self.0 {
            Object::Received(fd) => Memory::from_received(fd, len),
            // It was not sent to another process.
            Object::Memory(memory, _) if memory.size() as u64 == len => Ok(memory),
            _ => Err(wrong_kind("shared memory")),
        }
    }

    fn from_memory_writer(memory: &MemoryWriter) -> io::Result<Attachment> {
        if memory.has_readers() {
            return Err(platform::writer_has_readers());
        }
        Ok(Attachment(Object::MemoryWriter(memory.clone(), memory.shared())))
    }

    fn into_memory_writer(self, len: u64) -> io::Result<MemoryWriter> {
        match self.0 {
            Object::Received(fd) => MemoryWriter::from_received(fd, len),
            Object::MemoryWriter(memory, _) if memory.size() as u64 == len => Ok(memory),
            _ => Err(wrong_kind("shared memory")),
        }
    }

    fn from_memory_reader(memory: &MemoryReader) -> Attachment {
        Attachment(Object::MemoryReader(memory.clone(), memory.shared()))
    }

    fn into_memory_reader(self, len: u64) -> io::Result<MemoryReader> {
        match self.0 {
            Object::Received(fd) => MemoryReader::from_received(fd, len),
            Object::MemoryReader(memory, _) if memory.size() as u64 == len => Ok(memory),
            _ => Err(wrong_kind("shared memory")),
        }
    }

    fn into_ring(self) -> Result<RingMemory, (io::Error, Attachment)> {
        match self.0 {
            Object::Ring(memory) => Ok(memory),
            Object::Received(fd) => RingMemory::from_received(fd)
                .map_err(|(error, fd)| (error, Attachment(Object::Received(fd)))),
            object => Err((wrong_kind("ring"), Attachment(object))),
        }
    }

    fn from_spool(spool: SpoolWriter) -> io::Result<Attachment> {
        Ok(Attachment(Object::Descriptor(spool.finish()?)))
    }

    fn into_spool(self) -> io::Result<Spool> {
        match self.0 {
            Object::Received(fd) => Spool::from_received(fd),
            Object::Descriptor(fd) => Spool::from_written(fd),
            _ => Err(wrong_kind("spool")),
        }
    }

    fn from_taker(taker: Arc<PermitTaker>) -> Attachment {
        Attachment(Object::Permits(taker))
    }

    fn into_taker(self) -> io::Result<Arc<PermitTaker>> {
        match self.0 {
            Object::Permits(taker) => Ok(taker),
            object => Ok(Arc::new(PermitTaker::from(place_for_permits(object)?))),
        }
    }

    fn from_issuer(issuer: PermitIssuer) -> Vec<Attachment> {
        vec![Attachment(Object::Descriptor(issuer.into()))]
    }

    fn into_issuer(mut attachments: Vec<Attachment>) -> io::Result<PermitIssuer> {
        match (attachments.pop(), attachments.pop()) {
            (Some(place), None) => place_for_permits(place.0).map(PermitIssuer::from),
            _ => Err(wrong_kind("semaphore of permits")),
        }
    }

    fn into_handle(self) -> io::Result<OwnedFd> {
        match self.0 {
            Object::Received(fd) => Ok(fd.accept()),
            Object::Descriptor(fd) => Ok(fd),
            _ => Err(wrong_kind("handle")),
        }
    }
}

impl Attachment {
    /// Makes an attachment of a received file descriptor.
    pub fn received(fd: OwnedFd) -> Attachment {
        Attachment(Object::Received(Received::from(fd)))
    }
}

impl AsFd for Attachment {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            Object::Sender(sender) => sender.as_fd(),
            Object::Memory(_, descriptor)
            | Object::MemoryWriter(_, descriptor)
            | Object::MemoryReader(_, descriptor) => descriptor.as_fd(),
            Object::Ring(memory) => memory.as_fd(),
            Object::RingFile(file) => file.as_fd(),
            Object::Permits(taker) => taker.as_fd(),
            Object::Descriptor(fd) => fd.as_fd(),
            Object::Received(fd) => fd.as_fd(),
        }
    }
}

fn packet_socket(object: Object) -> io::Result<OwnedFd> {
    let is_ours = |fd: BorrowedFd<'_>| {
        sockopt::socket_type(fd) == Ok(SocketType::SEQPACKET)
            && sockopt::socket_domain(fd) == Ok(AddressFamily::UNIX)
    };
    match object {
        Object::Received(fd) if is_ours(fd.as_fd()) => Ok(fd.accept()),
        Object::Descriptor(fd) if is_ours(fd.as_fd()) => Ok(fd),
        _ => Err(wrong_kind("channel")),
    }
}

fn place_for_permits(object: Object) -> io::Result<OwnedFd> {
    match object {
        Object::Received(fd) if flavour::is_place(fd.as_fd()) => Ok(fd.accept()),
        Object::Descriptor(fd) => Ok(fd),
        _ => Err(wrong_kind("semaphore of permits")),
    }
}

fn wrong_kind(expected: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the received handle is not a {expected}"))
}
