//! Descriptors in transit.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::OFlags;
use rustix::net::sockopt;
use rustix::net::{AddressFamily, SocketType};

use super::memory::Shared;
use super::permits;
use super::{Memory, PacketReceiver, PacketSender, PermitIssuer, PermitTaker, RingMemory};

/// One object in transit. On its way out it shares what the sending process goes on using; what came in is just a
/// descriptor, and its kind is what the peer says until it has been checked.
#[derive(Debug)]
pub struct Attachment(Object);

#[derive(Debug)]
enum Object {
    Sender(Arc<PacketSender>),
    Memory(Arc<Shared>),
    Ring(RingMemory),
    RingFile(Arc<OwnedFd>),
    Permits(Arc<PermitTaker>),
    Descriptor(OwnedFd),
    Received(Received),
}

/// A descriptor that a peer sent, and nobody has asked for yet. To drop it takes no time, whatever it is of: a peer may have sent a
/// socket whose last descriptor waits on close until all data are sent.
#[derive(Debug)]
pub(super) struct Received(Option<OwnedFd>);

impl Received {
    /// Takes the descriptor, as what it was asked for.
    pub(super) fn accept(mut self) -> OwnedFd {
        self.0.take().expect(IT_IS_THERE)
    }
}

const IT_IS_THERE: &str = "the descriptor is there until it is accepted, which takes the whole";

impl AsFd for Received {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_ref().expect(IT_IS_THERE).as_fd()
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        if let Some(fd) = &self.0 {
            // Of anything but a socket this is an error, and changes nothing.
            let _ = sockopt::set_socket_linger(fd, None);
        }
    }
}

impl Attachment {
    /// A descriptor that arrived.
    pub fn received(fd: OwnedFd) -> Attachment {
        Attachment(Object::Received(Received(Some(fd))))
    }

    /// Sends a further sender.
    pub fn from_sender(sender: Arc<PacketSender>) -> Attachment {
        Attachment(Object::Sender(sender))
    }

    /// Moves a receiver.
    pub fn from_receiver(receiver: PacketReceiver) -> Attachment {
        Attachment(Object::Descriptor(receiver.into_fd()))
    }

    /// Shares memory.
    pub fn from_memory(memory: &Memory) -> Attachment {
        Attachment(Object::Memory(memory.shared()))
    }

    /// Shares the memory of a ring with who is to read it.
    pub fn from_shared_ring(memory: &RingMemory) -> Attachment {
        Attachment(Object::RingFile(Arc::clone(memory.file())))
    }

    /// Moves the memory of a ring.
    pub fn from_ring(memory: RingMemory) -> Attachment {
        Attachment(Object::Ring(memory))
    }

    /// Sends any descriptor.
    pub fn from_handle(handle: OwnedFd) -> Attachment {
        Attachment(Object::Descriptor(handle))
    }

    /// Takes it as a sender.
    pub fn into_sender(self) -> io::Result<Arc<PacketSender>> {
        match self.0 {
            Object::Sender(sender) => Ok(sender),
            object => Ok(Arc::new(PacketSender::from(packet_socket(object)?))),
        }
    }

    /// Takes it as a receiver.
    pub fn into_receiver(self) -> io::Result<PacketReceiver> {
        packet_socket(self.0).map(PacketReceiver::from)
    }

    /// Takes it as shared memory of `len` bytes.
    pub fn into_memory(self, len: u64) -> io::Result<Memory> {
        match self.0 {
            Object::Received(fd) => Memory::from_received(fd, len),
            _ => Err(wrong_kind("shared memory")),
        }
    }

    /// Takes it as the memory of a ring.
    pub fn into_ring(self) -> io::Result<RingMemory> {
        match self.0 {
            Object::Ring(memory) => Ok(memory),
            Object::Received(fd) => RingMemory::from_received(fd),
            _ => Err(wrong_kind("ring")),
        }
    }

    /// Lets somebody else take permits, too.
    pub fn from_taker(taker: Arc<PermitTaker>) -> Attachment {
        Attachment(Object::Permits(taker))
    }

    /// Takes it as what permits are taken from.
    pub fn into_taker(self) -> io::Result<Arc<PermitTaker>> {
        match self.0 {
            Object::Permits(taker) => Ok(taker),
            object => Ok(Arc::new(PermitTaker::from(pipe_end(object, OFlags::RDONLY)?))),
        }
    }

    /// Moves what issues permits.
    pub fn from_issuer(issuer: PermitIssuer) -> Vec<Attachment> {
        issuer.into_fds().map(|fd| Attachment(Object::Descriptor(fd))).into()
    }

    /// Takes them as what issues permits.
    pub fn into_issuer(attachments: Vec<Attachment>) -> io::Result<PermitIssuer> {
        let [write, read] = <[Attachment; 2]>::try_from(attachments)
            .map_err(|_| wrong_kind("place for permits"))?;
        let write = pipe_end(write.0, OFlags::WRONLY)?;
        PermitIssuer::from_fds([write, pipe_end(read.0, OFlags::RDONLY)?])
    }

    /// Takes it as a descriptor of any kind.
    pub fn into_handle(self) -> io::Result<OwnedFd> {
        match self.0 {
            Object::Received(fd) => Ok(fd.accept()),
            Object::Descriptor(fd) => Ok(fd),
            _ => Err(wrong_kind("handle")),
        }
    }
}

impl AsFd for Attachment {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            Object::Sender(sender) => sender.as_fd(),
            Object::Memory(memory) => memory.as_fd(),
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

fn pipe_end(object: Object, access: OFlags) -> io::Result<OwnedFd> {
    match object {
        Object::Received(fd) if permits::is_end(fd.as_fd(), access)? => Ok(fd.accept()),
        Object::Descriptor(fd) => Ok(fd),
        _ => Err(wrong_kind("place for permits")),
    }
}

fn wrong_kind(expected: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the handle received is not a {expected}"))
}
