//! The receiving end: packets become messages.

use std::io;
use std::sync::atomic::AtomicUsize;

use super::assembly::{Assembly, Contents, Lost, Unfinished as UnfinishedMessage, Whole};
use super::frame::{self, Frame, HEADER_BYTES, Kind, MAX_HEAD_BYTES, Malformed, Position};
use super::limits::{MAX_MOVED_ATTACHMENTS, MAX_MOVED_BYTES, MAX_PACKETS_PER_STEP};
use super::message::{Body, Message, Problem, Purpose, RecvError};
use super::scratch;
use crate::platform::{self, Arrival, Attachment, Landing, PacketReceiver, RECEIVE_BYTES, Wait};

/// How far one call has got.
struct Step {
    wait: Wait,
    packets: usize,
    bytes: usize,
    /// After how many bytes a call that does not wait is over: what had arrived when it had taken many packets. What comes
    /// later is news to whoever polls.
    last_byte: Option<usize>,
}

impl Step {
    fn new(wait: Wait) -> Step {
        Step { wait, packets: 0, bytes: 0, last_byte: None }
    }

    /// Ends a call that has taken many packets without a message to show for it.
    fn may_go_on(&mut self, receiver: &PacketReceiver) -> Result<(), RecvError> {
        self.packets += 1;
        match self.wait {
            Wait::Never if self.packets >= MAX_PACKETS_PER_STEP => {
                let bytes = self.bytes;
                let last_byte = self.last_byte.get_or_insert_with(|| bytes + receiver.backlog());
                if bytes >= *last_byte { Err(RecvError::Unfinished) } else { Ok(()) }
            }
            Wait::Until(_) if self.packets % PACKETS_PER_CLOCK == 0 && self.wait.is_over() => {
                Err(RecvError::Empty)
            }
            _ => Ok(()),
        }
    }
}

/// A message of which parts are missing.
pub(crate) type Unfinished = UnfinishedMessage<Attachment>;

/// What a receiver that moves has received incompletely.
#[derive(Debug, Default)]
pub(crate) struct Luggage {
    /// What goes with it.
    pub(crate) carried: Vec<Unfinished>,
    /// What there is no room for: lost, unless the receiver comes back.
    pub(crate) left_behind: Vec<Unfinished>,
    /// What was lost before.
    pub(crate) lost: Vec<Lost>,
}

/// How much may go with the receivers in one message.
#[derive(Debug)]
pub(crate) struct Room {
    bytes: usize,
    attachments: usize,
}

impl Default for Room {
    fn default() -> Room {
        Room { bytes: MAX_MOVED_BYTES, attachments: MAX_MOVED_ATTACHMENTS }
    }
}

impl Room {
    /// Takes what a message needs, if there is as much.
    fn take(&mut self, message: &Unfinished) -> bool {
        let bytes = self.bytes.checked_sub(message.bytes.len());
        let attachments = self.attachments.checked_sub(message.attachments.len());
        let (Some(bytes), Some(attachments)) = (bytes, attachments) else {
            return false;
        };
        *self = Room { bytes, attachments };
        true
    }
}

/// How many attachments are waiting in unfinished messages, in this process.
static WAITING: AtomicUsize = AtomicUsize::new(0);

/// How often a limited wait looks at the clock while packets keep coming.
const PACKETS_PER_CLOCK: usize = 64;

/// As how many bytes a packet counts at least that is no message: it takes as long to receive as these take to copy.
const PACKET_COST: usize = 4 * 1024;

/// From which size on a message that is to be kept is received where it stays, instead of copied there.
const WORTH_A_PLACE: usize = 8 * 1024;

/// Receives messages.
#[derive(Debug)]
pub(crate) struct Receiver {
    packets: PacketReceiver,
    assembly: Assembly<Attachment>,
    expected: Expected,
    /// How much the last call took.
    taken: usize,
}

/// What will probably come next. Being wrong costs a copy.
#[derive(Clone, Copy, Debug)]
enum Expected {
    /// A message of this size, as the last one was.
    Message(usize),
    /// A further part of this message.
    Part(u128),
}

impl From<PacketReceiver> for Receiver {
    fn from(packets: PacketReceiver) -> Receiver {
        Receiver {
            packets,
            assembly: Assembly::new(&WAITING),
            expected: Expected::Message(0),
            taken: 0,
        }
    }
}

impl Receiver {
    /// Receives the next message, with `buffer` to receive in.
    pub(crate) fn receive(
        &mut self,
        buffer: &mut Vec<u8>,
        purpose: Purpose,
        wait: Wait,
    ) -> Result<Message, RecvError> {
        let mut step = Step::new(wait);
        let received = self.receive_step(buffer, purpose, &mut step);
        self.taken = step.bytes.max(step.packets * PACKET_COST);
        received
    }

    fn receive_step(
        &mut self,
        buffer: &mut Vec<u8>,
        purpose: Purpose,
        step: &mut Step,
    ) -> Result<Message, RecvError> {
        loop {
            buffer.clear();
            buffer.reserve(RECEIVE_BYTES);
            let received = match self.expected {
                Expected::Part(id) => self.receive_part(id, buffer, step)?,
                Expected::Message(size) if purpose == Purpose::Keep && size >= WORTH_A_PLACE => {
                    self.receive_in_place(size, buffer, step)?
                }
                Expected::Message(_) => self.receive_in_buffer(buffer, step)?,
            };
            if let Some(message) = received {
                return Ok(message);
            }
            step.may_go_on(&self.packets)?;
        }
    }

    /// How much the last call of [`receive`](Receiver::receive) took from the channel, in bytes, parts of what is yet to be
    /// completed included. Many small ones count as more than they have.
    pub(crate) fn taken(&self) -> usize {
        self.taken
    }

    /// Receives a packet that is probably a small message.
    fn receive_in_buffer(
        &mut self,
        buffer: &mut Vec<u8>,
        step: &mut Step,
    ) -> Result<Option<Message>, RecvError> {
        let mut head = [0; HEADER_BYTES];
        let mut attachments = Vec::new();
        let landing = Landing { head: &mut head, body: buffer, rest: &mut Vec::new() };
        let arrival = self.packets.recv(landing, &mut attachments, step.wait)?;
        step.bytes += arrival.len;
        let Some(frame) = self.inspect(&head, buffer, arrival, attachments.len())? else {
            return Ok(None);
        };
        if frame.kind == Kind::Message {
            self.expected = Expected::Message(buffer.len());
            return Ok(Some(Message { body: Body::Buffered, attachments }));
        }
        self.add(frame.kind, &buffer[frame.head_len - HEADER_BYTES..], attachments)
    }

    /// Receives a packet that is probably a message of about `size` bytes.
    fn receive_in_place(
        &mut self,
        size: usize,
        buffer: &mut Vec<u8>,
        step: &mut Step,
    ) -> Result<Option<Message>, RecvError> {
        let mut head = [0; HEADER_BYTES];
        let mut attachments = Vec::new();
        let mut body = scratch::take_vector(size);
        let landing = Landing { head: &mut head, body: &mut body, rest: buffer };
        let arrival = match self.packets.recv(landing, &mut attachments, step.wait) {
            Ok(arrival) => arrival,
            Err(error) => {
                scratch::give_back(body);
                return Err(error.into());
            }
        };
        step.bytes += arrival.len;
        body.append(buffer);
        let Some(frame) = self.inspect(&head, &body, arrival, attachments.len())? else {
            return Ok(None);
        };
        if frame.kind == Kind::Message {
            self.expected = Expected::Message(body.len());
            body.shrink_to_fit();
            return Ok(Some(Message { body: Body::Owned(body), attachments }));
        }
        self.add(frame.kind, &body[frame.head_len - HEADER_BYTES..], attachments)
    }

    /// Receives a packet that is probably a further part of message `id`.
    fn receive_part(
        &mut self,
        id: u128,
        buffer: &mut Vec<u8>,
        step: &mut Step,
    ) -> Result<Option<Message>, RecvError> {
        let Some(mut bytes) = self.assembly.lend(id) else {
            self.expected = Expected::Message(0);
            return Ok(None);
        };
        let before = bytes.len();
        let mut head = [0; MAX_HEAD_BYTES];
        let mut attachments = Vec::new();
        let landing = Landing { head: &mut head, body: &mut bytes, rest: buffer };
        let received = self.packets.recv(landing, &mut attachments, step.wait);
        step.bytes += received.as_ref().map_or(0, |arrival| arrival.len);
        if let Some(position) = continues(id, &head, &received, attachments.len()) {
            let limit = max_waiting(&attachments);
            // Most of the time nothing is left over, and there is nothing to make room for.
            if bytes.try_reserve_exact(buffer.len()).is_err() {
                self.assembly.damage(id, position);
                return Err(lost(Malformed::NoMemory));
            }
            bytes.append(buffer);
            let added = self.assembly.add_landed(id, position, bytes, attachments, limit);
            return self.finish(id, added);
        }
        // Something else, some of it where it does not belong.
        let stray = bytes.split_off(before);
        self.assembly.give_back(id, bytes);
        let arrival = received?;
        let head = &head[..arrival.len.min(MAX_HEAD_BYTES)];
        let packet = [head, &stray, buffer].concat();
        let Some(frame) = self.inspect(&[], &packet, arrival, attachments.len())? else {
            return Ok(None);
        };
        let body = &packet[frame.head_len..];
        if frame.kind == Kind::Message {
            self.expected = Expected::Message(body.len());
            return Ok(Some(Message { body: Body::Owned(body.to_vec()), attachments }));
        }
        self.add(frame.kind, body, attachments)
    }

    /// Reads the head of a packet that landed in two pieces; `None` if nobody needs to know of it any more.
    fn inspect(
        &mut self,
        head: &[u8],
        rest: &[u8],
        arrival: Arrival,
        attachments: usize,
    ) -> Result<Option<Frame>, RecvError> {
        let mut start = [0; MAX_HEAD_BYTES];
        let len = arrival.len.min(MAX_HEAD_BYTES);
        let from_head = len.min(head.len());
        start[..from_head].copy_from_slice(&head[..from_head]);
        start[from_head..len].copy_from_slice(&rest[..len - from_head]);
        let start = &start[..len];
        if arrival.truncated {
            return Err(lost(Malformed::Length));
        }
        if !arrival.attachments_lost {
            return frame::parse(start, arrival.len, attachments).map(Some).map_err(lost);
        }
        match frame::parse(start, arrival.len, frame::announced_attachments(start)) {
            Ok(Frame { kind: Kind::Part { id, position }, .. })
                if !self.assembly.damage(id, position) =>
            {
                Ok(None)
            }
            _ => Err(RecvError::Lost(Problem::AttachmentsLost)),
        }
    }

    fn add(
        &mut self,
        kind: Kind,
        body: &[u8],
        attachments: Vec<Attachment>,
    ) -> Result<Option<Message>, RecvError> {
        match kind {
            Kind::Message => Err(lost(Malformed::Part)),
            Kind::Abort { id } => self.assembly.abort(id).map(|()| None).map_err(lost),
            Kind::Part { id, position } => {
                let limit = max_waiting(&attachments);
                let added = self.assembly.add(id, position, body, attachments, limit);
                self.finish(id, added)
            }
        }
    }

    fn finish(
        &mut self,
        id: u128,
        added: Result<Option<Whole<Attachment>>, Malformed>,
    ) -> Result<Option<Message>, RecvError> {
        match added.map_err(lost)? {
            Some((bytes, attachments)) => {
                self.expected = Expected::Message(0);
                Ok(Some(Message { body: Body::Owned(bytes), attachments }))
            }
            None => {
                self.expected = Expected::Part(id);
                Ok(None)
            }
        }
    }

    /// What the backend receives with.
    pub(crate) fn packets(&self) -> &PacketReceiver {
        &self.packets
    }

    /// Whether there is nothing here that was received incompletely.
    #[allow(dead_code, reason = "only the modules in `os` need it")]
    pub(crate) fn is_idle(&self) -> bool {
        self.assembly.is_empty()
    }

    /// Takes what the backend receives with.
    #[allow(dead_code, reason = "only the modules in `os` need it")]
    pub(crate) fn into_packets(self) -> PacketReceiver {
        self.packets
    }

    /// Takes the receiver apart for its way into another process; what has to stay in this one comes with it.
    pub(crate) fn depart(
        self,
        room: &mut Room,
    ) -> Result<(Attachment, Luggage, platform::Remains), (io::Error, Receiver)> {
        let Receiver { packets, assembly, expected, taken } = self;
        let (packets, remains) = match packets.depart() {
            Ok(departed) => departed,
            Err((error, packets)) => {
                return Err((error, Receiver { packets, assembly, expected, taken }));
            }
        };
        let Contents { mut unfinished, lost } = assembly.into_contents();
        // What a peer has piled up here must not keep the receiver from moving, nor others' messages from moving with it.
        unfinished.sort_by_key(|message| message.bytes.len());
        let (carried, left_behind) = unfinished.into_iter().partition(|message| room.take(message));
        let luggage = Luggage { carried, left_behind, lost };
        Ok((Attachment::from_receiver(packets), luggage, remains))
    }

    /// Puts a receiver together that was taken apart, here or elsewhere. What is wrong with its luggage is lost with that alone.
    pub(crate) fn arrive(attachment: Attachment, luggage: Luggage) -> io::Result<Receiver> {
        let mut receiver = Receiver::from(attachment.into_receiver()?);
        let assembly = &mut receiver.assembly;
        let limit = platform::max_waiting_attachments();
        luggage.carried.into_iter().for_each(|message| assembly.resume(message, limit));
        luggage.left_behind.into_iter().for_each(|message| assembly.resume(message, limit));
        luggage.lost.into_iter().for_each(|lost| assembly.remember(lost));
        Ok(receiver)
    }

    /// Takes back what stayed here of the receiver when it was taken apart.
    pub(crate) fn come_back(&mut self, remains: platform::Remains) {
        self.packets.come_back(remains);
    }
}

/// Where in message `id` the packet stands that was received; `None` if it is something else.
fn continues(
    id: u128,
    head: &[u8],
    received: &Result<Arrival, platform::RecvError>,
    attachments: usize,
) -> Option<Position> {
    let arrival = received.as_ref().ok()?;
    if arrival.truncated || arrival.attachments_lost {
        return None;
    }
    match frame::parse(head, arrival.len, attachments).ok()?.kind {
        Kind::Part { position: Position::First { .. }, .. } => None,
        Kind::Part { id: whose, position } if whose == id => Some(position),
        _ => None,
    }
}

fn lost(problem: Malformed) -> RecvError {
    RecvError::Lost(Problem::Malformed(problem))
}

/// How many attachments may wait; asked for only where it matters, since it is a system call.
fn max_waiting(new: &[Attachment]) -> usize {
    if new.is_empty() { usize::MAX } else { platform::max_waiting_attachments() }
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
