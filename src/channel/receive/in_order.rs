//! Receives from rings and the socket: runs the [merge](super::merge) of both, and waits for both.

use std::mem;
use std::sync::atomic::Ordering;

use super::budget::Budget;
use super::inbound::{Inbound, grant_request, ordered_in};
use super::merge::{Front, Next, PacketSource, QueueState, Read, RingSource, SocketRead};
use super::notifications::Notifications;
use super::ordered::{Ordered, latest_stamp};
use super::packets::{PacketReader, SocketMessage};
use super::queue::{QueuedMessage, ReadAhead};
use super::rings::AttachedRings;
use crate::channel::frame::Malformed;
use crate::channel::limits::MAX_PACKETS_PER_STEP;
use crate::channel::message::{Body, Packed, Problem, Purpose, RecvError};
use crate::channel::options::Options;
use crate::channel::spin::Spun;
use crate::platform::Wait;

impl Inbound {
    /// Receives the next message of the socket and the rings.
    pub(super) fn receive_in_order(
        &mut self,
        buffer: &mut Vec<u8>,
        purpose: Purpose,
        budget: &mut Budget,
    ) -> Result<Packed, RecvError> {
        let max_rounds = self.max_rounds();
        let Inbound { reader, ordered, options, is_watched, notifications, .. } = self;
        let Ordered { rings, merge, read_ahead } = ordered_in(ordered, options);
        let mut sources = Sources {
            reader,
            rings,
            read_ahead,
            notifications,
            options,
            buffer,
            purpose,
            budget,
            reads: 0,
        };
        merge.begin();
        loop {
            // 1. Take the next message.
            let socket = match merge.next(&mut sources)? {
                Next::Record(message) => {
                    sources.budget.bytes += message.body.bytes(sources.buffer).len();
                    return Ok(message);
                }
                Next::Queued(message) => {
                    sources.read_ahead.remove(&message);
                    return sources.deliver(message);
                }
                Next::Moved(message) => {
                    sources.read_ahead.remove_moved(&message);
                    return sources.deliver(message);
                }
                Next::MoreToScan => {
                    sources.budget.may_look_again(max_rounds)?;
                    continue;
                }
                Next::Fault(problem) => return Err(RecvError::Lost(problem)),
                Next::Nothing(socket) => socket,
            };
            // 2. There may be more in rings, and it cannot be delivered before what could not be
            //    received.
            if merge.state.must_read {
                sources.rings.report_deferred()?;
            }
            // 3. Take in more of incomplete messages.
            if sources.rings.sweep() {
                sources.budget.may_look_again(max_rounds)?;
                continue;
            }
            // 4. While a ring cannot be mapped, nothing more is read from the socket, however much
            //    there is.
            sources.rings.report_deferred()?;
            // 5. There is no message. Read more, or return, or wait.
            match socket {
                SocketRead::Disconnected => return Err(RecvError::Disconnected),
                // As many packets as there can be were no message: a flood of notifications
                // does not keep the caller from acting on them.
                _ if sources.notifications.is_wanted() => return Err(RecvError::Empty),
                SocketRead::MaybeMore => sources.budget.may_go_on(&sources.reader.packets)?,
                SocketRead::Drained if sources.budget.wait == Wait::Never => {
                    // A caller that waits elsewhere has to be woken.
                    if !is_watched.load(Ordering::Relaxed) || sources.rings.arm() {
                        return Err(RecvError::Empty);
                    }
                    // Something came to a ring since it was checked.
                    sources.budget.may_look_again(max_rounds)?;
                }
                SocketRead::Drained => {
                    if let Some(message) = sources.wait()? {
                        merge.add(message, latest_stamp());
                    }
                    merge.begin();
                }
            }
        }
    }
}

/// The socket and the rings of a channel, during one call.
struct Sources<'a> {
    reader: &'a mut PacketReader,
    rings: &'a mut AttachedRings,
    read_ahead: &'a mut ReadAhead,
    notifications: &'a mut Notifications,
    options: &'a Options,
    buffer: &'a mut Vec<u8>,
    purpose: Purpose,
    budget: &'a mut Budget,
    /// How many packets were read since the socket was read as far as it should be.
    reads: usize,
}

impl PacketSource for Sources<'_> {
    type Queued = QueuedMessage;
    type Error = RecvError;

    fn read(&mut self, queue: QueueState) -> Result<Read<QueuedMessage>, RecvError> {
        // Later packets need not be seen: it is as many as there can be.
        if self.reads == MAX_PACKETS_PER_STEP {
            self.reads = 0;
            return Ok(Read::Busy);
        }
        if !self.read_ahead.may_read_more(queue.len) || !self.rings.may_read_more(queue) {
            self.reads = 0;
            return Ok(Read::Full);
        }
        self.reads += 1;
        self.rings.forget_deferred();
        let end = match self.receive_packet(Wait::Never) {
            Ok(Some(message)) => return Ok(Read::Message(message)),
            Ok(None) => {
                self.budget.packets += 1;
                return Ok(Read::Nothing);
            }
            Err(RecvError::Empty) => Read::Empty,
            Err(RecvError::Disconnected) => Read::Disconnected,
            // Draining these rings frees handles.
            Err(RecvError::Io(error)) if self.rings.is_low_on_handles() => {
                self.rings.defer(error);
                Read::Refused
            }
            Err(error) => return Err(error),
        };
        self.reads = 0;
        Ok(end)
    }

    fn latest_stamp(&self) -> u64 {
        latest_stamp()
    }
}

impl RingSource for Sources<'_> {
    type Record = Packed;
    type Fault = Problem;

    fn may_look_ahead(&self) -> bool {
        self.rings.may_look_ahead()
    }

    fn look_before(&mut self) -> bool {
        self.rings.look_before();
        true
    }

    #[inline]
    fn look(&mut self) -> bool {
        self.rings.look();
        true
    }

    #[inline]
    fn has_more(&self) -> bool {
        self.rings.has_more()
    }

    fn confirm(&mut self) {
        self.rings.confirm();
    }

    #[inline]
    fn fronts(&mut self, visit: impl FnMut(usize, Front)) -> Result<(), Problem> {
        self.rings.fronts(visit)
    }

    #[inline]
    fn was_before(&mut self, ring: usize) -> Result<bool, Problem> {
        self.rings.was_before(ring)
    }

    #[inline]
    fn take(&mut self, ring: usize) -> Result<Packed, Problem> {
        self.rings.take(ring, self.buffer, self.purpose)
    }
}

impl Sources<'_> {
    /// Receives one packet. Returns the message that it completes.
    fn receive_packet(&mut self, wait: Wait) -> Result<Option<QueuedMessage>, RecvError> {
        let Some(SocketMessage { stamp, message: Packed { body, attachments } }) =
            self.reader.receive(self.buffer, Purpose::Look, self.budget, wait)?
        else {
            grant_request(self.reader, self.notifications, || &mut *self.rings)?;
            return Ok(None);
        };
        let message = QueuedMessage::new(stamp, body.into_vec(self.buffer), attachments);
        self.read_ahead.add(&message);
        Ok(Some(message))
    }

    /// Waits until there is something in a ring or the socket, or something may have changed.
    /// Returns the message that has come by socket.
    fn wait(&mut self) -> Result<Option<QueuedMessage>, RecvError> {
        let until = self.budget.wait;
        // What has ended the last wait may come before the end of each.
        if mem::replace(&mut self.budget.has_waited, true) && until.is_over() {
            return Err(RecvError::Empty);
        }
        // 1. Spin.
        match self.rings.spin(until) {
            Spun::Progress if until.is_over() => return Err(RecvError::Empty),
            // 2. Ask senders for a wake-up, unless there is something.
            Spun::InVain if self.rings.arm() => {}
            _ => return Ok(None),
        }
        // 3. Sleep in the socket, but not for longer than until the rings are idle.
        let until_idle = self.options.idle().map_or(Wait::Forever, Wait::at_most);
        let is_limited = self.rings.has_any() && until_idle.is_before(until);
        match self.receive_packet(if is_limited { until_idle } else { until }) {
            Err(RecvError::Empty) if is_limited => {
                self.rings.retire_idle();
                Ok(None)
            }
            // Disconnection of the socket does not concern the messages in rings.
            Err(RecvError::Disconnected) => Ok(None),
            received => received,
        }
    }

    /// Delivers a message that was read ahead. It may be here from before there were limits to
    /// check it by.
    fn deliver(&mut self, message: QueuedMessage) -> Result<Packed, RecvError> {
        let QueuedMessage { bytes, attachments, is_too_long, .. } = message;
        if is_too_long || !self.options.limits.admit(bytes.len() as u64, attachments.len()) {
            return Err(RecvError::Lost(Problem::Malformed(Malformed::TooLarge)));
        }
        self.budget.bytes += bytes.len();
        Ok(Packed { body: Body::Owned(bytes), attachments })
    }
}
