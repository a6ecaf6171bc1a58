//! The rings that a receiver reads: how they are attached, checked, read and retired.

use std::collections::VecDeque;
use std::{io, mem};

use super::merge::{Front, QueueState};
use super::queue::QueuedMessage;
use crate::channel::frame::Malformed;
use crate::channel::limits::MAX_MESSAGE_BYTES;
use crate::channel::message::{Body, Packed, Problem, Purpose, RecvError};
use crate::channel::options::{Options, Ordering};
use crate::channel::ring::{Consumer, ConsumerLimits, ConsumerState, Poisoned, State, Taken};
use crate::channel::spin::{Seen, Spin, Spun};
use crate::channel::table::MovedRing;
use crate::platform::contract::{Attachment as _, RingMemory as _};
use crate::platform::{self, Attachment, RingMemory, Wait};

/// A flag in the stamp of a record: since the record before, its sender has sent something by
/// socket.
pub(in crate::channel) const AFTER_SOCKET: u64 = 1 << 63;

/// After so many checks of the rings, idle ones are looked for.
const LOOKS_PER_SWEEP: u32 = 1024;

/// How much one ring may make this process do at a time.
const LIMITS: ConsumerLimits =
    ConsumerLimits { max_message: MAX_MESSAGE_BYTES, max_jumps: 16, max_bytes: 4 << 20 };

/// For how many checks in a row a message in a ring blocks later ones: as many as the longest
/// needs, and a few more. A peer that never completes a message blocks nothing after that.
const MAX_STOPS: u32 = 300;

/// The additional bytes that a message counts for that is taken out of a ring when a receiver
/// moves.
const DRAINED_COST: usize = 256;

/// How often rings that have parts of a message are checked for the rest when a receiver moves.
const MAX_LOOKS_TO_DRAIN: usize = 300;

/// A clock domain that no process is in: that of a ring whose announcement stayed where the
/// receiver was.
const UNKNOWN_DOMAIN: u64 = 0;

/// With so many rings that this process has hardly handles for, no more is read from the socket
/// until one is drained. Until then, messages behind them are delivered later than they should be.
const MAX_RINGS_LOW_ON_HANDLES: usize = 8;

/// How far in the future a stamp is still accepted without reading the clock, in nanoseconds.
const FUTURE_NANOS: u64 = 1_000_000_000;

/// The rings of a channel.
#[derive(Debug)]
pub(super) struct AttachedRings {
    rings: Vec<Ring>,
    /// Rings that were announced, and that this process could not map. They are kept, and nothing
    /// else is read from the socket.
    pending: VecDeque<Pending>,
    /// Why something could not be received. No message is lost by that.
    deferred: Option<io::Error>,
    /// The time when the clock was last read.
    latest: u64,
    options: Options,
    spin: Spin,
    /// How often the rings were checked.
    looks: u32,
    /// The process can read no more rings for now.
    refuses_rings: bool,
    /// Why a ring is lost that moved here with the receiver. Not reported yet.
    lost: Option<io::Error>,
    /// The process that owns the rings.
    owner: u64,
}

#[derive(Debug)]
struct Ring {
    consumer: Consumer<RingMemory>,
    before: u64,
    visible: u64,
    /// The position that was read up to at the last check for idleness, ...
    seen_position: u64,
    /// ... and since when it has not changed.
    seen_at: u64,
    /// The stamp of its next message that is in the future, and the stamp that it counts as.
    late: Option<(u64, u64)>,
    /// A message was taken from it. The first was sent after the ring was announced by socket, and
    /// the announcement was read.
    was_read: bool,
    /// How many checks in a row have not reached the end of a message.
    stops: u32,
    /// Until it is drained, few other rings are accepted: this process has hardly a handle left.
    is_low_on_handles: bool,
}

/// A ring that was announced.
#[derive(Debug)]
struct Pending {
    memory: Attachment,
    clock_domain: u64,
}

impl AttachedRings {
    /// Makes a value without rings.
    pub(super) fn new(options: Options) -> AttachedRings {
        AttachedRings {
            rings: Vec::new(),
            pending: VecDeque::new(),
            deferred: None,
            latest: 0,
            options,
            spin: Spin::new(options.spin_nanos),
            looks: 0,
            refuses_rings: false,
            lost: None,
            owner: 0,
        }
    }

    /// Sets the receiver's options.
    pub(super) fn set_options(&mut self, options: Options) {
        // Each sender was told its ring's mode when the ring was accepted.
        if self.options.ordering != options.ordering
            || !options.wants_memory()
            || self.places() > options.limits.shared_memories
        {
            for ring in &mut self.rings {
                ring.retire();
                if !options.wants_memory() {
                    ring.consumer.tell(State::Unwanted);
                }
            }
        }
        self.rings.iter_mut().for_each(|ring| ring.consumer.want(options.limits.message_bytes));
        self.spin = Spin::new(options.spin_nanos);
        self.options = options;
    }

    /// Returns whether there is a ring, or something to report of one.
    #[inline]
    pub(super) fn is_in_use(&self) -> bool {
        !self.rings.is_empty() || !self.pending.is_empty() || self.has_something()
    }

    /// Returns how many rings can still get messages.
    fn places(&self) -> usize {
        self.rings.iter().filter(|ring| !ring.consumer.is_retired()).count()
    }

    /// Returns whether records may be taken without reading the socket: no ring is still to be
    /// mapped, and there is nothing to report.
    #[inline]
    pub(super) fn may_look_ahead(&self) -> bool {
        self.pending.is_empty() && !self.has_something()
    }

    /// Checks how far the rings are published, for step 1 of the [merge](super::merge).
    pub(super) fn look_before(&mut self) {
        self.take_in_pending();
        self.looks = self.looks.wrapping_add(1);
        if self.looks % LOOKS_PER_SWEEP == 0 {
            self.retire_idle();
        }
        if self.rings.iter().any(|ring| ring.consumer.is_over()) {
            self.sweep();
        }
        for ring in &mut self.rings {
            ring.before = ring.look();
        }
    }

    /// Checks how far the rings are published, for step 3.
    #[inline]
    pub(super) fn look(&mut self) {
        for ring in &mut self.rings {
            ring.visible = ring.look();
        }
    }

    /// Returns whether any ring has something that was published at the last check.
    #[inline]
    pub(super) fn has_more(&self) -> bool {
        self.rings.iter().any(|ring| ring.consumer.has_more())
    }

    /// Returns whether more may be read from the socket.
    pub(super) fn may_read_more(&self, queue: QueueState) -> bool {
        self.pending.is_empty() && self.may_read_while_low_on_handles(queue)
    }

    /// While there are rings that this process has hardly handles for, the socket is read until one
    /// message waits, and no further. The order needs that one. What is behind it was put there
    /// after it was stamped, and so is not before an earlier message in a ring.
    fn may_read_while_low_on_handles(&self, queue: QueueState) -> bool {
        match self.rings.iter().filter(|ring| ring.is_low_on_handles).count() {
            0 => true,
            rings => (rings < MAX_RINGS_LOW_ON_HANDLES || queue.must_read) && queue.len == 0,
        }
    }

    /// Returns whether there are rings that this process has hardly handles for.
    pub(super) fn is_low_on_handles(&self) -> bool {
        self.rings.iter().any(|ring| ring.is_low_on_handles)
    }

    /// Notes that something could not be received now. It is reported when there is nothing else.
    pub(super) fn defer(&mut self, error: io::Error) {
        self.deferred = Some(error);
    }

    /// Forgets the noted error before the socket is read again.
    pub(super) fn forget_deferred(&mut self) {
        self.deferred = None;
    }

    /// Reports the noted error.
    pub(super) fn report_deferred(&mut self) -> Result<(), RecvError> {
        self.deferred.take().map_or(Ok(()), |error| Err(RecvError::Io(error)))
    }

    /// Calls `visit` with what is first in each ring, for step 4.
    ///
    /// # Errors
    ///
    /// The reason why a ring is lost.
    #[inline]
    pub(super) fn fronts(&mut self, mut visit: impl FnMut(usize, Front)) -> Result<(), Problem> {
        if self.lost.is_some() {
            return self.report_lost();
        }
        let mut partial = 0;
        for (index, ring) in self.rings.iter_mut().enumerate() {
            let front = ring.consumer.front(ring.visible);
            partial += ring.consumer.partial_bytes();
            match front {
                Ok(Some(stamp)) => {
                    ring.stops = 0;
                    let mut key = order(stamp);
                    if key > self.latest.saturating_add(FUTURE_NANOS) {
                        key = ring.key_of_late(key, &mut self.latest);
                    }
                    let is_after_socket = stamp & AFTER_SOCKET != 0;
                    let was_read = ring.was_read;
                    visit(index, Front::Record { stamp: key, is_after_socket, was_read });
                }
                Ok(None) => {
                    if let Some(at) = ring.consumer.stopped_at(ring.visible) {
                        if ring.stops < MAX_STOPS {
                            ring.stops += 1;
                            visit(index, Front::Stopped(order(at)));
                        }
                    }
                }
                Err(poisoned) => return Err(self.give_up(index, poisoned)),
            }
        }
        if partial > self.options.limits.incomplete_bytes {
            self.retire_largest();
        }
        Ok(())
    }

    /// Returns whether the front of a ring was published at the check of step 1.
    #[inline]
    pub(super) fn was_before(&mut self, index: usize) -> Result<bool, Problem> {
        let ring = &mut self.rings[index];
        match ring.consumer.front(ring.before) {
            Ok(front) => Ok(front.is_some()),
            Err(poisoned) => Err(self.give_up(index, poisoned)),
        }
    }

    /// Takes the front of a ring.
    ///
    /// # Errors
    ///
    /// The reason why the message or the ring is lost.
    #[inline]
    pub(super) fn take(
        &mut self,
        index: usize,
        buffer: &mut Vec<u8>,
        purpose: Purpose,
    ) -> Result<Packed, Problem> {
        let ring = &mut self.rings[index];
        ring.was_read = true;
        let mut kept = Vec::new();
        let taken = match purpose {
            Purpose::Look => {
                buffer.clear();
                ring.consumer.take(buffer)
            }
            Purpose::Keep => ring.consumer.take(&mut kept),
        };
        let body = match (taken, purpose) {
            (Ok(Taken::Message), Purpose::Look) => Body::Buffered,
            (Ok(Taken::Message), Purpose::Keep) => {
                kept.shrink_to_fit();
                Body::Owned(kept)
            }
            (Ok(Taken::TooLong), _) => return Err(Problem::Malformed(Malformed::TooLarge)),
            (Err(poisoned), _) => return Err(self.give_up(index, poisoned)),
        };
        Ok(Packed { body, attachments: Vec::new() })
    }

    /// What is visible now becomes what was before, for step 4.
    pub(super) fn confirm(&mut self) {
        for ring in &mut self.rings {
            ring.before = ring.visible;
        }
    }

    #[cold]
    fn report_lost(&mut self) -> Result<(), Problem> {
        self.lost.take().map_or(Ok(()), |error| Err(Problem::NoRing(error)))
    }

    #[cold]
    fn give_up(&mut self, index: usize, poisoned: Poisoned) -> Problem {
        self.rings.remove(index);
        Problem::Poisoned(poisoned)
    }

    /// Drops the rings that are retired and drained. Returns whether there may be more in others,
    /// which could not all be taken in.
    pub(super) fn sweep(&mut self) -> bool {
        self.rings.retain(|ring| !ring.consumer.is_over());
        self.has_more()
    }

    /// Retires all rings, and drops those that are drained.
    pub(super) fn retire(&mut self) {
        self.rings.iter_mut().for_each(Ring::retire);
        self.sweep();
    }

    /// Sets whether all messages are to come by socket from now on. Messages in rings are still
    /// delivered.
    pub(super) fn refuse_rings(&mut self, refuses_rings: bool) {
        self.refuses_rings = refuses_rings;
        if refuses_rings {
            self.retire();
        }
    }

    /// Begins to read a ring whose sender reads the clock of `clock_domain`. Messages that are in
    /// it already are read in any case. Whether more may follow depends on the resources of this
    /// process.
    ///
    /// # Errors
    ///
    /// Fails if the ring cannot be read, now or ever.
    pub(super) fn attach(&mut self, memory: Attachment, clock_domain: u64) -> io::Result<()> {
        let memory = match memory.into_ring() {
            Ok(memory) => memory,
            Err((error, _)) if error.kind() == io::ErrorKind::InvalidData => return Err(error),
            Err((error, memory)) => {
                self.pending.push_back(Pending { memory, clock_domain });
                self.deferred = Some(error);
                return Ok(());
            }
        };
        if State::of(&memory) != State::Offered {
            // It was offered again because its sender could not know that it had arrived.
            return Ok(());
        }
        let is_affordable = memory.is_affordable();
        let consumer = Consumer::new(memory, LIMITS)?;
        self.retire_idle();
        let mut ring = self.ring(consumer);
        let is_wanted = self.options.wants_memory();
        // A receiver that keeps no order between processes, too, takes from all in turn, which the
        // time decides.
        let has_our_time = platform::clock_domain() == Some(clock_domain);
        let has_place = self.places() < self.options.limits.shared_memories;
        if is_wanted && has_our_time && has_place && is_affordable && !self.refuses_rings {
            let is_alone = self.options.ordering == Ordering::PerSender;
            ring.consumer.tell(if is_alone { State::AcceptedAlone } else { State::Accepted });
        } else {
            // In this order: once the sender is told, it puts nothing more in there.
            ring.retire();
            ring.consumer.tell(if is_wanted { State::Refused } else { State::Unwanted });
            ring.is_low_on_handles = !is_affordable;
        }
        if !ring.consumer.is_over() {
            self.add(ring);
        }
        Ok(())
    }

    /// Tries again to read the rings that could not be mapped.
    fn take_in_pending(&mut self) {
        if !self.pending.is_empty() {
            self.forget_deferred();
        }
        for _ in 0..self.pending.len() {
            let Some(Pending { memory, clock_domain }) = self.pending.pop_front() else { return };
            if let Err(error) = self.attach(memory, clock_domain) {
                self.lost = Some(error);
            }
        }
    }

    /// Makes room for others' messages by retiring the largest ring. A sender that still uses it
    /// continues by socket, where it can be made to block.
    #[cold]
    fn retire_largest(&mut self) {
        let rings = self.rings.iter_mut().filter(|ring| !ring.consumer.is_retired());
        if let Some(ring) = rings.max_by_key(|ring| ring.consumer.partial_bytes()) {
            ring.retire();
        }
    }

    /// Retires idle rings. Their senders continue by socket.
    pub(super) fn retire_idle(&mut self) {
        let now = platform::now();
        let idle = self.options.idle_nanos;
        for ring in &mut self.rings {
            let position = ring.consumer.position();
            if position != ring.seen_position {
                (ring.seen_position, ring.seen_at) = (position, now);
            } else if now.saturating_sub(ring.seen_at) > idle {
                ring.retire();
            }
        }
    }

    /// Spins for a message for a moment.
    pub(super) fn spin(&mut self, wait: Wait) -> Spun {
        let AttachedRings { rings, spin, options, .. } = self;
        if rings.is_empty() {
            return Spun::InVain;
        }
        spin.spin(wait, || glance(rings, options.limits.incomplete_bytes))
    }

    /// Returns whether any ring is read.
    pub(super) fn has_any(&self) -> bool {
        !self.rings.is_empty()
    }

    /// Checks whether something came.
    pub(super) fn glance(&mut self) -> Seen {
        if self.has_something() {
            return Seen::Something;
        }
        glance(&mut self.rings, self.options.limits.incomplete_bytes)
    }

    /// Asks all rings to be woken. Returns `false` if there is something already.
    pub(super) fn arm(&mut self) -> bool {
        // What could not be mapped is tried again with each call, and no event comes before that.
        let has_something = self.has_something() || !self.pending.is_empty();
        let mut rings = self.rings.iter_mut().map(|ring| &mut ring.consumer);
        // A poisoned ring that is still here has not been reported.
        !has_something && rings.all(|ring| !ring.is_poisoned() && ring.arm())
    }

    /// Returns whether there is something to report.
    fn has_something(&self) -> bool {
        self.lost.is_some() || self.deferred.is_some()
    }

    /// Takes the rings apart so that they can move to another process. They are retired, and their
    /// content becomes messages, so that their memory, which still has delivered messages, stays
    /// here. A ring with more content than there is `room` for moves along.
    pub(super) fn take_apart(
        mut self,
        messages: &mut Vec<QueuedMessage>,
        room: &mut usize,
    ) -> Vec<MovedRing<Attachment>> {
        let mut looks = MAX_LOOKS_TO_DRAIN;
        for ring in &mut self.rings {
            ring.retire();
            ring.drain(messages, room, &mut looks);
        }
        let announced = mem::take(&mut self.pending).into_iter();
        let announced =
            announced.map(|Pending { memory, .. }| MovedRing { memory, state: ConsumerState::NEW });
        let rings = mem::take(&mut self.rings).into_iter();
        let rings = rings.filter(|ring| !ring.consumer.is_over()).map(|ring| {
            let (memory, state) = ring.consumer.into_parts();
            MovedRing { memory: Attachment::from_ring(memory), state }
        });
        rings.chain(announced).collect()
    }

    /// Adds a ring that was taken apart, here or elsewhere. If it is invalid, that is reported at
    /// the next receive, and the receiver continues without it.
    pub(super) fn put_together(&mut self, ring: MovedRing<Attachment>) {
        if ring.state == ConsumerState::NEW {
            // It was announced, and could not be mapped where the receiver was. Its content is
            // read, and no more comes.
            let clock_domain = UNKNOWN_DOMAIN;
            return self.pending.push_back(Pending { memory: ring.memory, clock_domain });
        }
        match self.reassemble(ring) {
            Ok(ring) => self.add(ring),
            Err(error) => self.lost = Some(error),
        }
    }

    fn reassemble(&self, ring: MovedRing<Attachment>) -> io::Result<Ring> {
        let MovedRing { memory, state } = ring;
        let memory = memory.into_ring().map_err(|(error, _)| error)?;
        let consumer = Consumer::from_parts(memory, state, LIMITS)?;
        let mut ring = self.ring(consumer);
        if self.places() >= self.options.limits.shared_memories {
            ring.retire();
        }
        Ok(ring)
    }

    fn ring(&self, mut consumer: Consumer<RingMemory>) -> Ring {
        consumer.want(self.options.limits.message_bytes);
        let seen_position = consumer.position();
        Ring {
            consumer,
            before: 0,
            visible: 0,
            seen_position,
            seen_at: platform::now(),
            late: None,
            was_read: seen_position > 0,
            stops: 0,
            is_low_on_handles: false,
        }
    }

    fn add(&mut self, ring: Ring) {
        if self.rings.is_empty() {
            self.owner = platform::fork_generation();
        }
        self.rings.push(ring);
    }
}

/// The value that a record is ordered by.
#[inline]
pub(in crate::channel) fn order(stamp: u64) -> u64 {
    stamp & !AFTER_SOCKET
}

fn glance(rings: &mut [Ring], max_partial: usize) -> Seen {
    let mut seen = Seen::Nothing;
    let mut partial = 0;
    for ring in rings {
        let before = ring.visible;
        let front = ring.consumer.scan().and_then(|visible| {
            ring.visible = visible;
            if visible == before { Ok(None) } else { ring.consumer.front(visible) }
        });
        partial += ring.consumer.partial_bytes();
        match front {
            Ok(None) if ring.visible == before => {}
            Ok(None) => seen = Seen::Progress,
            Ok(Some(_)) | Err(_) => return Seen::Something,
        }
    }
    // The caller has to act on it.
    if partial > max_partial { Seen::Something } else { seen }
}

impl Ring {
    /// Returns the stamp that its next message counts as if the stamp is in the future: at most the
    /// time when it was first seen.
    #[cold]
    fn key_of_late(&mut self, key: u64, latest: &mut u64) -> u64 {
        if let Some((_, known)) = self.late.filter(|(late, _)| *late == key) {
            return known;
        }
        *latest = platform::now();
        let counts_as = key.min(latest.saturating_add(platform::clock_tick()));
        self.late = Some((key, counts_as));
        counts_as
    }

    /// Returns the position up to which it is published. If that is invalid, the ring is poisoned,
    /// which shows when its front is requested.
    fn look(&mut self) -> u64 {
        self.consumer.scan().unwrap_or(self.visible)
    }

    /// Takes its messages out, as long as there is room, in at most so many `looks`. The ring is
    /// retired.
    fn drain(&mut self, messages: &mut Vec<QueuedMessage>, room: &mut usize, looks: &mut usize) {
        let visible = self.look();
        while *room > 0 && self.consumer.has_more() && *looks > 0 {
            match self.consumer.front(visible) {
                Ok(Some(stamp)) => {
                    let mut bytes = Vec::new();
                    let Ok(taken) = self.consumer.take(&mut bytes) else { return };
                    *room = room.saturating_sub(bytes.len() + DRAINED_COST);
                    bytes.shrink_to_fit();
                    let is_too_long = taken == Taken::TooLong;
                    let message = QueuedMessage::new(order(stamp), bytes, Vec::new());
                    messages.push(QueuedMessage { is_too_long, ..message });
                }
                Ok(None) => *looks -= 1,
                Err(_) => return,
            }
        }
    }

    fn retire(&mut self) {
        // As above.
        let _ = self.consumer.retire();
    }
}

/// Retires all rings, so that senders learn at once that the receiver has been dropped, and write
/// no more into memory that no process reads.
impl Drop for AttachedRings {
    fn drop(&mut self) {
        if !self.rings.is_empty() && self.owner == platform::fork_generation() {
            self.rings.iter_mut().for_each(Ring::retire);
        }
    }
}
