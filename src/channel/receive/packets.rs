//! Packets to messages: receives them from the platform's channel, checks them, and assembles
//! messages that came in parts.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use super::budget::Budget;
use crate::buffers;
use crate::channel::assembly::{Assembly, Whole};
use crate::channel::frame::{
    self, Dialect, Frame, HEADER_BYTES, Kind, MAX_HEAD_BYTES, Malformed, Position,
    announces_messages,
};
use crate::channel::hello::Hello;
use crate::channel::limits::Limits;
use crate::channel::message::{Body, Packed, Problem, Purpose, RecvError};
use crate::platform::contract::PacketReceiver as _;
use crate::platform::{
    self, Attachment, PacketReceiver, RECEIVE_BYTES, ReceiveBuffers, ReceivedPacket, Wait,
};

/// How many attachments are held in incomplete messages, in this process.
static INCOMPLETE_ATTACHMENTS: AtomicUsize = AtomicUsize::new(0);

/// The size from which on a message that is to be kept is received in place, instead of being
/// copied there.
const WORTH_A_PLACE: usize = 8 * 1024;

/// Receives packets, and makes messages of them.
#[derive(Debug)]
pub(super) struct PacketReader {
    pub(super) packets: PacketReceiver,
    pub(super) assembly: Assembly<Attachment>,
    pub(super) expected: Expected,
    pub(super) limits: Limits,
    /// The request of the last packet, until the caller takes it.
    pub(super) request: Option<Request>,
    /// A ring with messages was offered, and its memory did not arrive.
    pub(super) has_missed_ring: bool,
    /// The sender's name for the type of its messages, if it has sent one.
    pub(super) sent_type: Option<Arc<str>>,
}

/// What will probably arrive next. A wrong guess costs a copy.
#[derive(Clone, Copy, Debug)]
pub(super) enum Expected {
    /// A message of this size, like the last one.
    Message(usize),
    /// A further part of this message.
    Part(u128),
}

/// What a packet asks for that is neither a message nor a part of one.
#[derive(Debug)]
pub(super) enum Request {
    /// A sender waits for a permit.
    Permit,
    /// A sender offers a ring.
    Ring {
        /// The memory of the ring.
        memory: Vec<Attachment>,
        /// Which clock the sender reads.
        clock_domain: u64,
    },
}

/// A message that came by socket.
pub(super) struct SocketMessage {
    pub(super) stamp: u64,
    pub(super) message: Packed,
}

impl From<PacketReceiver> for PacketReader {
    fn from(packets: PacketReceiver) -> PacketReader {
        PacketReader {
            packets,
            assembly: Assembly::new(&INCOMPLETE_ATTACHMENTS),
            expected: Expected::Message(0),
            limits: Limits::default(),
            request: None,
            has_missed_ring: false,
            sent_type: None,
        }
    }
}

impl PacketReader {
    /// Sets the limits on messages.
    pub(super) fn limit(&mut self, limits: Limits) {
        self.limits = limits;
        self.assembly.limit(limits);
    }

    /// Receives one packet, `None` if it completes no message. It may have been a
    /// [request](PacketReader::take_request) then.
    #[inline]
    pub(super) fn receive(
        &mut self,
        buffer: &mut Vec<u8>,
        purpose: Purpose,
        budget: &mut Budget,
        wait: Wait,
    ) -> Result<Option<SocketMessage>, RecvError> {
        buffer.clear();
        buffer.reserve(RECEIVE_BYTES);
        match self.expected {
            Expected::Part(id) => self.receive_part(id, buffer, budget, wait),
            Expected::Message(size) if purpose == Purpose::Keep && size >= WORTH_A_PLACE => {
                self.receive_in_place(size, buffer, budget, wait)
            }
            Expected::Message(_) => self.receive_in_buffer(buffer, budget, wait),
        }
    }

    /// Returns the request of the last packet, once.
    #[inline]
    pub(super) fn take_request(&mut self) -> Option<Request> {
        self.request.take()
    }

    /// Receives a packet that has to be a HELLO, of whatever version and codec, with its
    /// attachments.
    pub(super) fn receive_hello(
        &mut self,
        buffer: &mut Vec<u8>,
        wait: Wait,
    ) -> Result<(Hello, Vec<Attachment>), RecvError> {
        buffer.clear();
        buffer.reserve(RECEIVE_BYTES);
        let mut head = [0; HEADER_BYTES];
        let mut attachments = Vec::new();
        let buffers = ReceiveBuffers { head: &mut head, body: buffer, rest: &mut Vec::new() };
        let packet = self.packets.recv(buffers, &mut attachments, wait, |_| false)?;
        match self.inspect(&head, buffer, packet, attachments.len())? {
            Some(Frame { kind: Kind::Hello { dialect }, .. }) => {
                let hello = Hello::read(dialect, buffer).map_err(lost)?;
                self.note_type(&hello);
                Ok((hello, attachments))
            }
            _ => Err(lost(Malformed::Hello)),
        }
    }

    /// Returns whether messages may be lost because the memory of a ring did not arrive, now that
    /// all senders have been dropped. Returns `true` once.
    pub(super) fn take_missed_ring(&mut self) -> bool {
        mem::take(&mut self.has_missed_ring)
    }

    /// Stores the peer's name for the type that it sends.
    pub(super) fn note_type(&mut self, hello: &Hello) {
        self.sent_type = hello.sent.as_deref().map(Arc::from);
    }

    /// Receives a packet that is probably a small message.
    fn receive_in_buffer(
        &mut self,
        buffer: &mut Vec<u8>,
        budget: &mut Budget,
        wait: Wait,
    ) -> Result<Option<SocketMessage>, RecvError> {
        let mut head = [0; HEADER_BYTES];
        let mut attachments = Vec::new();
        let buffers = ReceiveBuffers { head: &mut head, body: buffer, rest: &mut Vec::new() };
        let packet = self.packets.recv(buffers, &mut attachments, wait, announces_messages)?;
        budget.bytes += packet.len;
        let Some(frame) = self.inspect(&head, buffer, packet, attachments.len())? else {
            return Ok(None);
        };
        if frame.kind == Kind::Message {
            return self.whole(frame.stamp, Body::Buffered, buffer, attachments);
        }
        self.add(frame, &buffer[frame.head_len - HEADER_BYTES..], attachments)
    }

    /// Receives a packet that is probably a message of about `size` bytes.
    fn receive_in_place(
        &mut self,
        size: usize,
        buffer: &mut Vec<u8>,
        budget: &mut Budget,
        wait: Wait,
    ) -> Result<Option<SocketMessage>, RecvError> {
        let mut head = [0; HEADER_BYTES];
        let mut attachments = Vec::new();
        let mut body = buffers::take_vector(size);
        let buffers = ReceiveBuffers { head: &mut head, body: &mut body, rest: buffer };
        let packet = match self.packets.recv(buffers, &mut attachments, wait, announces_messages) {
            Ok(packet) => packet,
            Err(error) => {
                buffers::give_back(body);
                return Err(error.into());
            }
        };
        budget.bytes += packet.len;
        body.append(buffer);
        let Some(frame) = self.inspect(&head, &body, packet, attachments.len())? else {
            return Ok(None);
        };
        if frame.kind == Kind::Message {
            body.shrink_to_fit();
            return self.whole(frame.stamp, Body::Owned(body), buffer, attachments);
        }
        self.add(frame, &body[frame.head_len - HEADER_BYTES..], attachments)
    }

    /// Receives a packet that is probably a further part of message `id`.
    fn receive_part(
        &mut self,
        id: u128,
        buffer: &mut Vec<u8>,
        budget: &mut Budget,
        wait: Wait,
    ) -> Result<Option<SocketMessage>, RecvError> {
        let Some(mut bytes) = self.assembly.lend(id) else {
            self.expected = Expected::Message(0);
            return Ok(None);
        };
        let before = bytes.len();
        let mut head = [0; MAX_HEAD_BYTES];
        let mut attachments = Vec::new();
        let buffers = ReceiveBuffers { head: &mut head, body: &mut bytes, rest: buffer };
        let received = self.packets.recv(buffers, &mut attachments, wait, announces_messages);
        budget.bytes += received.as_ref().map_or(0, |packet| packet.len);
        if let Some((position, stamp)) = continues(id, &head, &received, attachments.len()) {
            let limit = max_kept(&attachments);
            // In most cases nothing is left over, and no room is needed.
            if bytes.try_reserve_exact(buffer.len()).is_err() {
                self.assembly.damage(id, position);
                return Err(lost(Malformed::NoMemory));
            }
            bytes.append(buffer);
            let added = self.assembly.add_in_place(id, position, bytes, attachments, limit);
            return self.finish(id, stamp, added);
        }
        // Another packet, some of which is in the wrong place.
        let stray = bytes.split_off(before);
        self.assembly.give_back(id, bytes);
        let packet = received?;
        let head = &head[..packet.len.min(MAX_HEAD_BYTES)];
        let content = [head, &stray, buffer].concat();
        let Some(frame) = self.inspect(&[], &content, packet, attachments.len())? else {
            return Ok(None);
        };
        let body = &content[frame.head_len..];
        if frame.kind == Kind::Message {
            return self.whole(frame.stamp, Body::Owned(body.to_vec()), &[], attachments);
        }
        self.add(frame, body, attachments)
    }

    /// Makes a message of one packet, if it is within the limits. Its body is the content of
    /// `buffer`, unless it is owned.
    fn whole(
        &mut self,
        stamp: u64,
        body: Body,
        buffer: &[u8],
        attachments: Vec<Attachment>,
    ) -> Result<Option<SocketMessage>, RecvError> {
        let bytes = body.bytes(buffer).len();
        if !self.limits.admit(bytes as u64, attachments.len()) {
            self.expected = Expected::Message(0);
            return Err(lost(Malformed::TooLarge));
        }
        self.expected = Expected::Message(bytes);
        Ok(Some(SocketMessage { stamp, message: Packed { body, attachments } }))
    }

    /// Parses the head of a packet that was received in two pieces; `None` if the packet can be
    /// ignored.
    fn inspect(
        &mut self,
        head: &[u8],
        rest: &[u8],
        packet: ReceivedPacket,
        attachments: usize,
    ) -> Result<Option<Frame>, RecvError> {
        let mut start = [0; MAX_HEAD_BYTES];
        let len = packet.len.min(MAX_HEAD_BYTES);
        let from_head = len.min(head.len());
        start[..from_head].copy_from_slice(&head[..from_head]);
        start[from_head..len].copy_from_slice(&rest[..len - from_head]);
        let start = &start[..len];
        if packet.truncated {
            return Err(lost(Malformed::Length));
        }
        if !packet.attachments_lost {
            return frame::parse(start, packet.len, attachments).map(Some).map_err(lost);
        }
        match frame::parse(start, packet.len, frame::announced_attachments(start)) {
            Ok(Frame { kind: Kind::Part { id, position }, .. })
                if !self.assembly.damage(id, position) =>
            {
                Ok(None)
            }
            Ok(Frame { kind: Kind::RingOffer { has_messages, .. }, .. }) => {
                // Its sender will try again, unless it exits before that.
                self.has_missed_ring |= has_messages;
                Ok(None)
            }
            _ => Err(RecvError::Lost(Problem::AttachmentsLost)),
        }
    }

    /// Acts on a packet that is no message of its own.
    fn add(
        &mut self,
        frame: Frame,
        body: &[u8],
        attachments: Vec<Attachment>,
    ) -> Result<Option<SocketMessage>, RecvError> {
        match frame.kind {
            Kind::Message => Err(lost(Malformed::Part)),
            Kind::Abort { id } => self.assembly.abort(id).map(|()| None).map_err(lost),
            Kind::Part { id, position } => {
                let limit = max_kept(&attachments);
                let added = self.assembly.add(id, position, body, attachments, limit);
                self.finish(id, frame.stamp, added)
            }
            Kind::WakeUp => Ok(None),
            Kind::Hello { dialect } => self.greet(dialect, body).map(|()| None),
            Kind::PermitRequest => {
                self.request = Some(Request::Permit);
                Ok(None)
            }
            Kind::RingOffer { clock_domain, .. } => {
                self.has_missed_ring = false;
                self.request = Some(Request::Ring { memory: attachments, clock_domain });
                Ok(None)
            }
        }
    }

    /// Stores what a sender says about itself in a HELLO.
    fn greet(&mut self, dialect: Dialect, fields: &[u8]) -> Result<(), RecvError> {
        let hello = Hello::read(dialect, fields).map_err(lost)?;
        if !dialect.is_own() {
            return Err(hello.into());
        }
        self.note_type(&hello);
        Ok(())
    }

    fn finish(
        &mut self,
        id: u128,
        stamp: u64,
        added: Result<Option<Whole<Attachment>>, Malformed>,
    ) -> Result<Option<SocketMessage>, RecvError> {
        match added.map_err(lost)? {
            Some((bytes, attachments)) => {
                self.expected = Expected::Message(0);
                let message = Packed { body: Body::Owned(bytes), attachments };
                Ok(Some(SocketMessage { stamp, message }))
            }
            None => {
                self.expected = Expected::Part(id);
                Ok(None)
            }
        }
    }
}

/// Returns the position in message `id` of the received packet, and its stamp; `None` if it is
/// something else.
fn continues(
    id: u128,
    head: &[u8],
    received: &Result<ReceivedPacket, platform::RecvError>,
    attachments: usize,
) -> Option<(Position, u64)> {
    let packet = received.as_ref().ok()?;
    if packet.truncated || packet.attachments_lost {
        return None;
    }
    let frame = frame::parse(head, packet.len, attachments).ok()?;
    match frame.kind {
        Kind::Part { position: Position::First { .. }, .. } => None,
        Kind::Part { id: whose, position } if whose == id => Some((position, frame.stamp)),
        _ => None,
    }
}

fn lost(problem: Malformed) -> RecvError {
    RecvError::Lost(Problem::Malformed(problem))
}

/// Returns how many attachments may wait. Requested only where it matters, since it is a system
/// call.
fn max_kept(new: &[Attachment]) -> usize {
    if new.is_empty() { usize::MAX } else { platform::max_kept_attachments() }
}

impl From<platform::RecvError> for RecvError {
    fn from(error: platform::RecvError) -> RecvError {
        match error {
            platform::RecvError::Empty => RecvError::Empty,
            platform::RecvError::Closed => RecvError::Disconnected,
            platform::RecvError::Io(error) => RecvError::Io(error),
            platform::RecvError::Broken(error) => RecvError::Broken(error),
        }
    }
}
