//! The receiver of the platform's channel: takes packets from it, and merges their messages with
//! those in rings.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::budget::{Budget, MAX_ROUNDS, MAX_ROUNDS_OF_MEMBER};
use super::notifications::Notifications;
use super::ordered::Ordered;
use super::packets::{PacketReader, Request, SocketMessage};
use super::queue::QueuedMessage;
use super::rings::AttachedRings;
use crate::channel::hello::Hello;
use crate::channel::message::{Packed, Problem, Purpose, RecvError};
use crate::channel::options::Options;
use crate::platform::contract::PacketReceiver as _;
use crate::platform::{Attachment, PacketReceiver, Wait};

/// Receives messages.
#[derive(Debug)]
pub(in crate::channel) struct Inbound {
    pub(super) reader: PacketReader,
    pub(super) options: Options,
    /// The rings. Made when the first is announced.
    pub(super) ordered: Option<Box<Ordered>>,
    /// A poller or a task waits for the receiver without calling it. So a call that finds nothing
    /// asks senders for a wake-up.
    pub(super) is_watched: AtomicBool,
    /// The notifications of senders that wait for permits.
    pub(super) notifications: Notifications,
    /// How much the last call took.
    pub(super) taken: usize,
    /// How many packets have completed no message, of all calls.
    pub(super) packets_without_message: u64,
    /// Other receivers have their turn after it.
    pub(super) is_member: bool,
}

impl From<PacketReceiver> for Inbound {
    fn from(packets: PacketReceiver) -> Inbound {
        Inbound {
            reader: PacketReader::from(packets),
            options: Options::default(),
            ordered: None,
            is_watched: AtomicBool::new(false),
            notifications: Notifications::default(),
            taken: 0,
            packets_without_message: 0,
            is_member: false,
        }
    }
}

impl Inbound {
    /// Receives the next message, with `buffer` to receive in.
    #[inline]
    pub(in crate::channel) fn receive(
        &mut self,
        buffer: &mut Vec<u8>,
        purpose: Purpose,
        wait: Wait,
    ) -> Result<Packed, RecvError> {
        let mut budget = Budget::new(wait);
        let received = if self.has_other_sources() {
            self.receive_in_order(buffer, purpose, &mut budget)
        } else {
            self.receive_step(buffer, purpose, &mut budget)
        };
        if self.notifications.is_wanted() || matches!(received, Err(RecvError::Lost(_))) {
            budget.packets += 1;
        }
        self.taken = budget.taken();
        self.packets_without_message += budget.packets as u64;
        if received.is_ok() {
            self.notifications.note_message();
        }
        if self.reader.packets.shows_more() {
            // A caller that finds nothing waits for the next event, so there must be one. Until
            // then, readiness may be reported once too often: if senders were asked to wake the
            // caller, they would do that for every message.
            let is_told_nothing =
                matches!(received, Err(RecvError::Empty | RecvError::BudgetSpent));
            if is_told_nothing || !self.reader.packets.is_showing() {
                self.show(is_told_nothing);
            }
        }
        if let Err(RecvError::Disconnected) = received {
            if self.reader.take_missed_ring() {
                return Err(RecvError::Lost(Problem::AttachmentsLost));
            }
        }
        received
    }

    fn receive_step(
        &mut self,
        buffer: &mut Vec<u8>,
        purpose: Purpose,
        budget: &mut Budget,
    ) -> Result<Packed, RecvError> {
        loop {
            if let Some(SocketMessage { message, .. }) =
                self.receive_packet(buffer, purpose, budget, budget.wait)?
            {
                return Ok(message);
            }
            if self.has_other_sources() {
                return self.receive_in_order(buffer, purpose, budget);
            }
            if self.notifications.is_wanted() {
                return Err(RecvError::Empty);
            }
            budget.may_go_on(&self.reader.packets)?;
        }
    }

    /// Returns after how many checks that find only parts of messages a call that does not block
    /// ends.
    pub(super) fn max_rounds(&self) -> u32 {
        if self.is_member { MAX_ROUNDS_OF_MEMBER } else { MAX_ROUNDS }
    }

    /// Receives one packet, `None` if it completes no message.
    fn receive_packet(
        &mut self,
        buffer: &mut Vec<u8>,
        purpose: Purpose,
        budget: &mut Budget,
        wait: Wait,
    ) -> Result<Option<SocketMessage>, RecvError> {
        let received = self.reader.receive(buffer, purpose, budget, wait)?;
        if received.is_none() {
            let Inbound { reader, ordered, options, notifications, .. } = self;
            grant_request(reader, notifications, || &mut ordered_in(ordered, options).rings)?;
        }
        Ok(received)
    }

    /// Receives a packet that has to be a HELLO, of whatever version and codec, with its
    /// attachments.
    pub(in crate::channel) fn receive_hello(
        &mut self,
        buffer: &mut Vec<u8>,
        wait: Wait,
    ) -> Result<(Hello, Vec<Attachment>), RecvError> {
        self.reader.receive_hello(buffer, wait)
    }

    /// Stores the peer's name for the type that it sends.
    pub(in crate::channel) fn note_type(&mut self, hello: &Hello) {
        self.reader.note_type(hello);
    }

    /// Returns the sender's name for the type of its messages, if it has sent one.
    #[inline]
    pub(super) fn sent_type(&self) -> Option<&Arc<str>> {
        self.reader.sent_type.as_ref()
    }

    /// Sets whether other receivers have their turn after it, so that a call that does not block is
    /// short.
    pub(super) fn share_time(&mut self, is_member: bool) {
        self.is_member = is_member;
    }

    /// Adds a message that was sent before the platform's channel was made.
    pub(super) fn add_queued(&mut self, bytes: Vec<u8>, attachments: Vec<Attachment>) {
        self.ordered().add(QueuedMessage::new(0, bytes, attachments));
    }

    pub(super) fn ordered(&mut self) -> &mut Ordered {
        ordered_in(&mut self.ordered, &self.options)
    }

    /// Returns the receiver's options.
    pub(in crate::channel) fn options(&self) -> Options {
        self.options
    }

    /// Sets the receiver's options.
    pub(super) fn set_options(&mut self, options: Options) {
        self.options = options.clamped();
        self.reader.limit(self.options.limits);
        if let Some(ordered) = &mut self.ordered {
            ordered.set_options(self.options);
        }
    }

    /// Releases idle rings. Returns whether there are some left.
    pub(super) fn retire_idle(&mut self) -> bool {
        let Some(ordered) = &mut self.ordered else { return false };
        let rings = &mut ordered.rings;
        rings.retire_idle();
        rings.sweep();
        rings.has_any()
    }

    /// Returns how much the last call of [`receive`](Inbound::receive) took from the channel, in
    /// bytes, parts of incomplete messages included. Packets that complete no message count as more
    /// than their bytes.
    pub(super) fn taken(&self) -> usize {
        self.taken
    }

    /// Returns how many packets have completed no message, of all calls of
    /// [`receive`](Inbound::receive). A loop that calls it again for each of them takes no more
    /// than one call may take.
    pub(super) fn packets_without_message(&self) -> u64 {
        self.packets_without_message
    }

    /// Returns the backend's receiver.
    pub(in crate::channel) fn packets(&self) -> &PacketReceiver {
        &self.reader.packets
    }

    /// Makes all messages come by socket, if no message was received incompletely or waits to be
    /// delivered.
    #[allow(dead_code, reason = "only the modules in `os` need it")]
    pub(super) fn detach(&mut self) -> bool {
        self.reader.assembly.is_empty() && self.ordered().retire()
    }

    /// Takes the backend's receiver.
    #[allow(dead_code, reason = "only the modules in `os` need it")]
    pub(super) fn into_packets(self) -> PacketReceiver {
        self.reader.packets
    }
}

/// Returns the rings, and makes an empty value if there are none.
#[inline]
pub(super) fn ordered_in<'a>(
    ordered: &'a mut Option<Box<Ordered>>,
    options: &Options,
) -> &'a mut Ordered {
    ordered.get_or_insert_with(|| Box::new(Ordered::new(*options)))
}

/// Does what the last packet asks for, if it is a request: notes that a sender waits for a permit,
/// or attaches an offered ring.
#[cold]
pub(super) fn grant_request<'a>(
    reader: &mut PacketReader,
    notifications: &mut Notifications,
    rings: impl FnOnce() -> &'a mut AttachedRings,
) -> Result<(), RecvError> {
    match reader.take_request() {
        None => {}
        Some(Request::Permit) => notifications.note(),
        Some(Request::Ring { memory, clock_domain }) => {
            let rings = rings();
            for memory in memory {
                let attached = rings.attach(memory, clock_domain);
                attached.map_err(|error| RecvError::Lost(Problem::NoRing(error)))?;
            }
        }
    }
    Ok(())
}
