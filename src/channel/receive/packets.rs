//! Receives packets from the platform's channel, turns them into messages, and merges these with
//! the messages in rings.

use std::io;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::budget::{MAX_ROUNDS, MAX_ROUNDS_OF_MEMBER, Step};
use super::rings::{Next, Rings, Waiting};
use crate::buffers;
use crate::channel::assembly::{Assembly, Contents, Whole};
use crate::channel::frame::{
    self, Dialect, Frame, HEADER_BYTES, Kind, MAX_HEAD_BYTES, Malformed, Position,
    announces_messages,
};
use crate::channel::hello::Hello;
use crate::channel::limits::MAX_PACKETS_PER_STEP;
use crate::channel::luggage::{Luggage, Room};
use crate::channel::message::{Body, Packed, Problem, Purpose, RecvError};
use crate::channel::options::Options;
use crate::channel::spin::{Seen, Spun};
use crate::platform::contract::{Attachment as _, PacketReceiver as _};
use crate::platform::{self, Arrival, Attachment, Landing, PacketReceiver, RECEIVE_BYTES, Wait};

/// How many attachments are held in incomplete messages, in this process.
static WAITING: AtomicUsize = AtomicUsize::new(0);

/// A packet that completes no message counts as this many bytes at least: it takes as long to
/// receive as they take to copy.
const PACKET_COST: usize = 4 * 1024;

/// The size from which on a message that is to be kept is received in place, instead of being
/// copied there.
const WORTH_A_PLACE: usize = 8 * 1024;

/// Receives messages.
#[derive(Debug)]
pub(in crate::channel) struct Incoming {
    packets: PacketReceiver,
    assembly: Assembly<Attachment>,
    expected: Expected,
    options: Options,
    /// Made when the first ring is announced.
    rings: Option<Box<Rings>>,
    /// A poller or a task waits for the receiver without calling it. So a call that finds nothing
    /// asks senders for a wake-up.
    is_watched: AtomicBool,
    /// What to do with a sender's notification that it waits for a permit.
    wants: Wants,
    /// There was a notification, which the caller has not taken yet.
    is_wanted: bool,
    /// How many senders have notified it and have not sent yet.
    guests: usize,
    /// How much the last call took.
    taken: usize,
    /// How many packets have completed no message, of all calls.
    in_vain: u64,
    /// Other receivers have their turn after it.
    is_member: bool,
    /// The sender's name for the type of its messages, if it has sent one.
    sent_type: Option<Arc<str>>,
}

/// What a receiver does with notifications of senders that wait for permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wants {
    /// Ignores them: the channel is unbounded.
    Ignored,
    /// Reports them to the caller.
    Told,
    /// Reports them to the caller, and counts them: the channel is a rendezvous.
    Counted,
}

/// What will probably arrive next. A wrong guess costs a copy.
#[derive(Clone, Copy, Debug)]
enum Expected {
    /// A message of this size, like the last one.
    Message(usize),
    /// A further part of this message.
    Part(u128),
}

impl From<PacketReceiver> for Incoming {
    fn from(packets: PacketReceiver) -> Incoming {
        Incoming {
            packets,
            assembly: Assembly::new(&WAITING),
            expected: Expected::Message(0),
            options: Options::default(),
            rings: None,
            is_watched: AtomicBool::new(false),
            wants: Wants::Ignored,
            is_wanted: false,
            guests: 0,
            taken: 0,
            in_vain: 0,
            is_member: false,
            sent_type: None,
        }
    }
}

/// A message that came by socket.
struct Arrived {
    stamp: u64,
    message: Packed,
}

/// The result of reading the socket.
#[derive(PartialEq, Eq)]
enum Socket {
    /// Nothing is left in it, or no more may be read ahead.
    Read,
    /// There may be more packets in it.
    Busy,
    /// The channel is disconnected.
    Ended,
}

impl Incoming {
    /// Receives the next message, with `buffer` to receive in.
    #[inline]
    pub(in crate::channel) fn receive(
        &mut self,
        buffer: &mut Vec<u8>,
        purpose: Purpose,
        wait: Wait,
    ) -> Result<Packed, RecvError> {
        let mut step = Step::new(wait);
        let received = if self.has_other_sources() {
            self.receive_in_order(buffer, purpose, &mut step)
        } else {
            self.receive_step(buffer, purpose, &mut step)
        };
        if self.is_wanted || matches!(received, Err(RecvError::Lost(_))) {
            step.packets += 1;
        }
        self.taken = step.bytes.max(step.packets * PACKET_COST);
        self.in_vain += step.packets as u64;
        if received.is_ok() {
            self.guests = self.guests.saturating_sub(1);
        }
        if self.packets.shows_more() {
            // A caller that finds nothing waits for the next event, so there must be one. Until
            // then, readiness may be reported once too often: if senders were asked to wake the
            // caller, they would do that for every message.
            let is_told_nothing = matches!(received, Err(RecvError::Empty | RecvError::Unfinished));
            if is_told_nothing || !self.packets.is_showing() {
                self.show(is_told_nothing);
            }
        }
        if let Err(RecvError::Disconnected) = received {
            if self.rings.as_mut().is_some_and(|rings| rings.has_missed()) {
                return Err(RecvError::Lost(Problem::AttachmentsLost));
            }
        }
        received
    }

    fn receive_step(
        &mut self,
        buffer: &mut Vec<u8>,
        purpose: Purpose,
        step: &mut Step,
    ) -> Result<Packed, RecvError> {
        loop {
            if let Some(Arrived { message, .. }) =
                self.receive_packet(buffer, purpose, step, step.wait)?
            {
                return Ok(message);
            }
            if self.has_other_sources() {
                return self.receive_in_order(buffer, purpose, step);
            }
            if self.is_wanted {
                return Err(RecvError::Empty);
            }
            step.may_go_on(&self.packets)?;
        }
    }

    /// Receives the next message of the socket and the rings: the steps are explained in
    /// [`rings`](super::rings).
    fn receive_in_order(
        &mut self,
        buffer: &mut Vec<u8>,
        purpose: Purpose,
        step: &mut Step,
    ) -> Result<Packed, RecvError> {
        let mut socket = None;
        let mut may_look_ahead = true;
        loop {
            let is_known = self.rings().is_known() || (may_look_ahead && self.rings().look_ahead());
            if !is_known {
                self.rings().look_before();
                socket = Some(self.read_socket(buffer, step)?);
                self.rings().look();
            }
            match self.rings().next(buffer, purpose) {
                Next::Message(message) => {
                    step.bytes += message.body.bytes(buffer).len();
                    return Ok(message);
                }
                Next::Unconfirmed => continue,
                Next::Unfinished => {
                    step.may_look_again(self.max_rounds())?;
                    continue;
                }
                Next::Lost(problem) => return Err(RecvError::Lost(problem)),
                Next::Nothing => {}
            }
            // The result of an earlier call is used up, or what was in rings is no message yet. From
            // now on the socket is read each time: it must not wait for the rest of that message.
            let Some(socket) = socket.take() else {
                may_look_ahead = false;
                continue;
            };
            // There is more in rings, and it cannot be delivered before what could not be received.
            if self.rings().must_read() {
                if let Some(error) = self.rings().take_trouble() {
                    return Err(RecvError::Io(error));
                }
            }
            if self.rings().sweep() {
                step.may_look_again(self.max_rounds())?;
                continue;
            }
            // While a ring cannot be mapped, nothing more is read from the socket, however much
            // there is.
            if let Some(error) = self.rings().take_trouble() {
                return Err(RecvError::Io(error));
            }
            if socket == Socket::Busy {
                step.may_go_on(&self.packets)?;
                continue;
            }
            if socket == Socket::Ended {
                return Err(RecvError::Disconnected);
            }
            if self.is_wanted {
                return Err(RecvError::Empty);
            }
            if step.wait == Wait::Never {
                if !self.is_watched.load(Ordering::Relaxed) || self.rings().arm() {
                    return Err(RecvError::Empty);
                }
                // Something came to a ring since it was checked.
                step.may_look_again(self.max_rounds())?;
            } else {
                self.wait(buffer, step)?;
            }
        }
    }

    fn max_rounds(&self) -> u32 {
        if self.is_member { MAX_ROUNDS_OF_MEMBER } else { MAX_ROUNDS }
    }

    /// Reads the socket until nothing is left in it, or no more may be read ahead. Its messages
    /// wait in [`Rings`].
    fn read_socket(&mut self, buffer: &mut Vec<u8>, step: &mut Step) -> Result<Socket, RecvError> {
        let mut socket = Socket::Busy;
        // As many as there can be: later packets need not be seen.
        for _ in 0..MAX_PACKETS_PER_STEP {
            if !self.rings().may_read_more() {
                if self.rings().has_delivered_packets() {
                    self.rings().socket_was_cut_short();
                    return Ok(Socket::Busy);
                }
                socket = Socket::Read;
                break;
            }
            self.rings().forget_trouble();
            match self.receive_packet(buffer, Purpose::Look, step, Wait::Never) {
                Ok(Some(arrived)) => self.add_waiting(arrived, buffer),
                Ok(None) => step.packets += 1,
                Err(RecvError::Empty) => {
                    self.rings().socket_was_read(true);
                    return Ok(Socket::Read);
                }
                Err(RecvError::Disconnected) => {
                    self.rings().socket_was_read(true);
                    return Ok(Socket::Ended);
                }
                // Draining these rings frees handles.
                Err(RecvError::Io(error)) if self.rings().has_burdens() => {
                    self.rings().defer(error);
                    self.rings().socket_was_cut_short();
                    return Ok(Socket::Read);
                }
                Err(error) => return Err(error),
            }
        }
        self.rings().socket_was_read(false);
        Ok(socket)
    }

    fn add_waiting(&mut self, arrived: Arrived, buffer: &[u8]) {
        let Arrived { stamp, message: Packed { body, attachments } } = arrived;
        let bytes = body.into_vec(buffer);
        self.rings().add_waiting(Waiting::new(stamp, bytes, attachments));
    }

    /// Waits until there is something in a ring or the socket, or something may have changed.
    fn wait(&mut self, buffer: &mut Vec<u8>, step: &mut Step) -> Result<(), RecvError> {
        // What has ended the last wait may come before the end of each.
        if mem::replace(&mut step.has_waited, true) && step.wait.is_over() {
            return Err(RecvError::Empty);
        }
        match self.rings().spin(step.wait) {
            Spun::Progress if step.wait.is_over() => return Err(RecvError::Empty),
            Spun::InVain if self.rings().arm() => {}
            _ => return Ok(()),
        }
        let until_idle = self.options.idle().map_or(Wait::Forever, Wait::at_most);
        let is_limited = self.rings().has_any() && until_idle.is_before(step.wait);
        let wait = if is_limited { until_idle } else { step.wait };
        match self.receive_packet(buffer, Purpose::Look, step, wait) {
            Ok(Some(arrived)) => self.add_waiting(arrived, buffer),
            Err(RecvError::Empty) if is_limited => self.rings().retire_idle(),
            // Disconnection of the socket does not concern the messages in rings.
            Ok(None) | Err(RecvError::Disconnected) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Receives one packet, `None` if it completes no message.
    fn receive_packet(
        &mut self,
        buffer: &mut Vec<u8>,
        purpose: Purpose,
        step: &mut Step,
        wait: Wait,
    ) -> Result<Option<Arrived>, RecvError> {
        buffer.clear();
        buffer.reserve(RECEIVE_BYTES);
        match self.expected {
            Expected::Part(id) => self.receive_part(id, buffer, step, wait),
            Expected::Message(size) if purpose == Purpose::Keep && size >= WORTH_A_PLACE => {
                self.receive_in_place(size, buffer, step, wait)
            }
            Expected::Message(_) => self.receive_in_buffer(buffer, step, wait),
        }
    }

    /// Sets that notifications of senders that wait for permits are reported from now on.
    pub(in crate::channel) fn heed_wants(&mut self, is_rendezvous: bool) {
        self.wants = if is_rendezvous { Wants::Counted } else { Wants::Told };
    }

    /// Sets whether other receivers have their turn after it, so that a call that does not block is
    /// short.
    pub(in crate::channel) fn share_time(&mut self, is_member: bool) {
        self.is_member = is_member;
    }

    /// Receives a packet that has to be a HELLO, of whatever version and codec, with its
    /// attachments.
    pub(in crate::channel) fn receive_hello(
        &mut self,
        buffer: &mut Vec<u8>,
        wait: Wait,
    ) -> Result<(Hello, Vec<Attachment>), RecvError> {
        buffer.clear();
        buffer.reserve(RECEIVE_BYTES);
        let mut head = [0; HEADER_BYTES];
        let mut attachments = Vec::new();
        let landing = Landing { head: &mut head, body: buffer, rest: &mut Vec::new() };
        let arrival = self.packets.recv(landing, &mut attachments, wait, |_| false)?;
        match self.inspect(&head, buffer, arrival, attachments.len())? {
            Some(Frame { kind: Kind::Hello { dialect }, .. }) => {
                let hello = Hello::read(dialect, buffer).map_err(lost)?;
                self.note_type(&hello);
                Ok((hello, attachments))
            }
            _ => Err(lost(Malformed::Hello)),
        }
    }

    /// Stores the peer's name for the type that it sends.
    pub(in crate::channel) fn note_type(&mut self, hello: &Hello) {
        self.sent_type = hello.sent.as_deref().map(Arc::from);
    }

    /// Returns the sender's name for the type of its messages, if it has sent one.
    #[inline]
    pub(in crate::channel) fn sent_type(&self) -> Option<&Arc<str>> {
        self.sent_type.as_ref()
    }

    /// Adds a message that was sent before the platform's channel was made.
    pub(in crate::channel) fn add_backlog(&mut self, bytes: Vec<u8>, attachments: Vec<Attachment>) {
        self.rings().add_waiting(Waiting::new(0, bytes, attachments));
    }

    /// Returns whether a sender has sent a notification that was not taken. Until it is taken, the
    /// receiver does not block.
    pub(in crate::channel) fn is_wanted(&self) -> bool {
        self.is_wanted
    }

    /// Returns whether a sender has sent a notification since the last call.
    pub(in crate::channel) fn take_wanted(&mut self) -> bool {
        mem::take(&mut self.is_wanted)
    }

    /// Returns whether more senders have sent a notification of a rendezvous than have sent a
    /// message since.
    pub(in crate::channel) fn has_guests(&self) -> bool {
        self.guests > 0
    }

    /// Stops expecting senders. Those that did not send when they could have will send another
    /// notification.
    pub(in crate::channel) fn give_up_guests(&mut self) {
        if !self.is_wanted && mem::take(&mut self.guests) > 0 && self.packets.shows_more() {
            self.show(true);
        }
    }

    fn rings(&mut self) -> &mut Rings {
        self.rings.get_or_insert_with(|| Box::new(Rings::new(self.options)))
    }

    /// Returns the receiver's options.
    pub(in crate::channel) fn options(&self) -> Options {
        self.options
    }

    /// Sets the receiver's options.
    pub(in crate::channel) fn set_options(&mut self, options: Options) {
        self.options = options.clamped();
        self.assembly.limit(self.options.limits);
        if let Some(rings) = &mut self.rings {
            rings.set_options(self.options);
        }
    }

    /// Releases idle rings. Returns whether there are some left.
    pub(in crate::channel) fn retire_idle(&mut self) -> bool {
        let Some(rings) = &mut self.rings else { return false };
        rings.retire_idle();
        rings.sweep();
        rings.has_any()
    }

    /// Returns how much the last call of [`receive`](Incoming::receive) took from the channel, in
    /// bytes, parts of incomplete messages included. Packets that complete no message count as more
    /// than their bytes.
    pub(in crate::channel) fn taken(&self) -> usize {
        self.taken
    }

    /// Returns how many packets have completed no message, of all calls of
    /// [`receive`](Incoming::receive). A loop that calls it again for each of them takes no more than
    /// one call may take.
    pub(in crate::channel) fn in_vain(&self) -> u64 {
        self.in_vain
    }

    /// Receives a packet that is probably a small message.
    fn receive_in_buffer(
        &mut self,
        buffer: &mut Vec<u8>,
        step: &mut Step,
        wait: Wait,
    ) -> Result<Option<Arrived>, RecvError> {
        let mut head = [0; HEADER_BYTES];
        let mut attachments = Vec::new();
        let landing = Landing { head: &mut head, body: buffer, rest: &mut Vec::new() };
        let arrival = self.packets.recv(landing, &mut attachments, wait, announces_messages)?;
        step.bytes += arrival.len;
        let Some(frame) = self.inspect(&head, buffer, arrival, attachments.len())? else {
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
        step: &mut Step,
        wait: Wait,
    ) -> Result<Option<Arrived>, RecvError> {
        let mut head = [0; HEADER_BYTES];
        let mut attachments = Vec::new();
        let mut body = buffers::take_vector(size);
        let landing = Landing { head: &mut head, body: &mut body, rest: buffer };
        let arrival = match self.packets.recv(landing, &mut attachments, wait, announces_messages) {
            Ok(arrival) => arrival,
            Err(error) => {
                buffers::give_back(body);
                return Err(error.into());
            }
        };
        step.bytes += arrival.len;
        body.append(buffer);
        let Some(frame) = self.inspect(&head, &body, arrival, attachments.len())? else {
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
        step: &mut Step,
        wait: Wait,
    ) -> Result<Option<Arrived>, RecvError> {
        let Some(mut bytes) = self.assembly.lend(id) else {
            self.expected = Expected::Message(0);
            return Ok(None);
        };
        let before = bytes.len();
        let mut head = [0; MAX_HEAD_BYTES];
        let mut attachments = Vec::new();
        let landing = Landing { head: &mut head, body: &mut bytes, rest: buffer };
        let received = self.packets.recv(landing, &mut attachments, wait, announces_messages);
        step.bytes += received.as_ref().map_or(0, |arrival| arrival.len);
        if let Some((position, stamp)) = continues(id, &head, &received, attachments.len()) {
            let limit = max_waiting(&attachments);
            // In most cases nothing is left over, and no room is needed.
            if bytes.try_reserve_exact(buffer.len()).is_err() {
                self.assembly.damage(id, position);
                return Err(lost(Malformed::NoMemory));
            }
            bytes.append(buffer);
            let added = self.assembly.add_landed(id, position, bytes, attachments, limit);
            return self.finish(id, stamp, added);
        }
        // Another packet, some of which is in the wrong place.
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
    ) -> Result<Option<Arrived>, RecvError> {
        let bytes = body.bytes(buffer).len();
        if !self.options.limits.admit(bytes as u64, attachments.len()) {
            self.expected = Expected::Message(0);
            return Err(lost(Malformed::TooLarge));
        }
        self.expected = Expected::Message(bytes);
        Ok(Some(Arrived { stamp, message: Packed { body, attachments } }))
    }

    /// Parses the head of a packet that was received in two pieces; `None` if the packet can be
    /// ignored.
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
            Ok(Frame { kind: Kind::Attach { is_used, .. }, .. }) => {
                // Its sender will try again, unless it exits before that.
                if is_used {
                    self.rings().miss();
                }
                Ok(None)
            }
            _ => Err(RecvError::Lost(Problem::AttachmentsLost)),
        }
    }

    fn add(
        &mut self,
        frame: Frame,
        body: &[u8],
        attachments: Vec<Attachment>,
    ) -> Result<Option<Arrived>, RecvError> {
        match frame.kind {
            Kind::Message => Err(lost(Malformed::Part)),
            Kind::Abort { id } => self.assembly.abort(id).map(|()| None).map_err(lost),
            Kind::Part { id, position } => {
                let limit = max_waiting(&attachments);
                let added = self.assembly.add(id, position, body, attachments, limit);
                self.finish(id, frame.stamp, added)
            }
            Kind::Bell => Ok(None),
            Kind::Hello { dialect } => self.greet(dialect, body).map(|()| None),
            Kind::Want => {
                self.is_wanted = self.wants != Wants::Ignored;
                let guests = usize::from(self.wants == Wants::Counted);
                self.guests = self.guests.saturating_add(guests);
                Ok(None)
            }
            Kind::Attach { clock_domain, .. } => {
                for memory in attachments {
                    let attached = self.rings().attach(memory, clock_domain);
                    attached.map_err(|error| RecvError::Lost(Problem::NoRing(error)))?;
                }
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
    ) -> Result<Option<Arrived>, RecvError> {
        match added.map_err(lost)? {
            Some((bytes, attachments)) => {
                self.expected = Expected::Message(0);
                let message = Packed { body: Body::Owned(bytes), attachments };
                Ok(Some(Arrived { stamp, message }))
            }
            None => {
                self.expected = Expected::Part(id);
                Ok(None)
            }
        }
    }

    /// Returns the backend's receiver, for waiting until it is ready. From now on, a receiver that
    /// finds nothing asks senders to wake it.
    pub(in crate::channel) fn watch(&self) -> &PacketReceiver {
        self.is_watched.store(true, Ordering::Relaxed);
        &self.packets
    }

    /// Returns whether messages can come from elsewhere than the socket, so that a caller that
    /// waits for packets has to [ask to be woken](Incoming::arm).
    #[inline]
    pub(in crate::channel) fn has_other_sources(&self) -> bool {
        self.rings.as_ref().is_some_and(|rings| rings.is_in_use())
    }

    /// Asks senders to wake the thread that waits for packets. Returns `false` if there may be a
    /// message already.
    pub(in crate::channel) fn arm(&mut self) -> bool {
        self.rings().arm()
    }

    /// Checks whether something arrived by shared memory.
    pub(in crate::channel) fn glance(&mut self) -> Seen {
        self.rings().glance()
    }

    /// Like [`watch`](Incoming::watch), for a file descriptor that the user polls. From now on it
    /// is ready while there may be a message, wherever that is. If it cannot show messages in some
    /// place, that place is no longer used: all messages are to come by socket.
    #[allow(dead_code, reason = "only the modules in `os` need it")]
    pub(in crate::channel) fn lend(&mut self) -> &PacketReceiver {
        let shows_all = self.packets.lend();
        if self.rings.is_some() || !shows_all {
            self.rings().refuse(!shows_all);
        }
        self.show(false);
        self.watch()
    }

    /// Notes that the user no longer polls.
    pub(in crate::channel) fn recall(&mut self) {
        self.packets.recall();
        *self.is_watched.get_mut() = false;
        if let Some(rings) = &mut self.rings {
            rings.refuse(false);
        }
    }

    /// Makes the lent file descriptor show whether there is something besides packets. If there is
    /// nothing, asks senders to wake its poller. If it `is_news`, an edge-triggered poller is
    /// notified even if the same was shown before.
    fn show(&mut self, is_news: bool) {
        let is_there = self.rings.as_mut().is_some_and(|rings| !rings.arm());
        self.packets.show(is_there || self.has_guests(), is_news);
    }

    /// Returns the backend's receiver.
    pub(in crate::channel) fn packets(&self) -> &PacketReceiver {
        &self.packets
    }

    /// Makes all messages come by socket, if no message was received incompletely or waits to be
    /// delivered.
    #[allow(dead_code, reason = "only the modules in `os` need it")]
    pub(in crate::channel) fn detach(&mut self) -> bool {
        self.assembly.is_empty() && self.rings().retire()
    }

    /// Takes the backend's receiver.
    #[allow(dead_code, reason = "only the modules in `os` need it")]
    pub(in crate::channel) fn into_packets(self) -> PacketReceiver {
        self.packets
    }

    /// Takes the receiver apart so that it can move to another process. Also returns what has to
    /// stay in this process.
    pub(in crate::channel) fn depart(
        self,
        room: &mut Room,
    ) -> Result<(Attachment, Luggage, platform::Remains), (io::Error, Incoming)> {
        let (packets, remains) = match self.packets.depart() {
            Ok(departed) => departed,
            Err((error, packets)) => return Err((error, Incoming { packets, ..self })),
        };
        let Incoming { assembly, options, rings, sent_type, .. } = self;
        let Contents { mut unfinished, lost } = assembly.into_contents();
        // Messages that a peer has piled up here must not keep the receiver from moving, nor
        // others' messages from moving with it.
        unfinished.sort_by_key(|message| message.bytes.len());
        let (carried, left_behind) = unfinished.into_iter().partition(|message| room.take(message));
        let (rings, waiting) =
            rings.map_or_else(Default::default, |rings| rings.depart(&mut room.drained));
        let luggage = Luggage {
            carried,
            left_behind,
            lost,
            rings,
            waiting,
            options,
            issuer: None,
            sent_type,
        };
        Ok((Attachment::from_receiver(packets), luggage, remains))
    }

    /// Puts together a receiver that was taken apart, here or elsewhere. An invalid part of its
    /// state is discarded, and only that part.
    pub(in crate::channel) fn arrive(
        attachment: Attachment,
        luggage: Luggage,
    ) -> io::Result<Incoming> {
        let mut receiver = Incoming::from(attachment.into_receiver()?);
        receiver.set_options(luggage.options);
        receiver.sent_type = luggage.sent_type;
        let assembly = &mut receiver.assembly;
        let limit = platform::max_waiting_attachments();
        luggage.carried.into_iter().for_each(|message| assembly.resume(message, limit));
        luggage.left_behind.into_iter().for_each(|message| assembly.resume(message, limit));
        luggage.lost.into_iter().for_each(|lost| assembly.remember(lost));
        luggage.rings.into_iter().for_each(|ring| receiver.rings().arrive(ring));
        if !luggage.waiting.is_empty() {
            receiver.rings().resume(luggage.waiting);
        }
        Ok(receiver)
    }

    /// Takes back what stayed here when the receiver was taken apart.
    pub(in crate::channel) fn come_back(&mut self, remains: platform::Remains) {
        self.packets.come_back(remains);
        if self.packets.is_lent() {
            // Senders that were waiting for it may continue.
            self.watch();
            if !self.packets.shows_more() {
                self.rings().refuse(true);
            }
        }
    }
}

/// Returns the position in message `id` of the received packet, and its stamp; `None` if it is
/// something else.
fn continues(
    id: u128,
    head: &[u8],
    received: &Result<Arrival, platform::RecvError>,
    attachments: usize,
) -> Option<(Position, u64)> {
    let arrival = received.as_ref().ok()?;
    if arrival.truncated || arrival.attachments_lost {
        return None;
    }
    let frame = frame::parse(head, arrival.len, attachments).ok()?;
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
