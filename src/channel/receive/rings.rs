//! Rings and a socket as one channel: decides which message is next.
//!
//! Each of them is an ordered queue. Between them, the stamps tell what was sent first, as far as
//! that can be known. If one `send` returned before another was called, its stamp is less. The
//! least visible stamp need not be the next message: an earlier message may have become visible
//! meanwhile in a place that was checked before. Therefore:
//!
//! 1. check the rings: what is published, is *before*;
//! 2. read the socket, until nothing more is there;
//! 3. check the rings again: what is published, is *visible*;
//! 4. of what is visible and what came by socket, take the least. If it came by socket or was
//!    before, it is next. If not, it may be later than something that was missed: what is visible
//!    now becomes what was before, and continue with 2.
//!
//! As long as step 4 finds a message, nothing is checked again: a batch of messages costs one
//! check. Of the messages by socket, too, the least is next and not the first. So a false stamp
//! only reorders the messages of the sender that wrote it. If the socket has too much to be read
//! completely, it has to be read again after each message. `tests/ordering.rs` shows that this is
//! enough, and that no step of it can be left out.
//!
//! A receiver that wants [no more than each sender's own order](Ordering::PerSender) takes what is
//! visible without reading the socket, and need not confirm it. The exception is a record whose
//! flag says that its sender has sent something [by socket](AFTER_SOCKET) since the record before.
//! If there is something to be read from the socket, stamps order that and the rings as above:
//! those of one sender always grow.

use std::collections::VecDeque;
use std::sync::atomic::{self, AtomicUsize};
use std::{io, mem};

use crate::channel::frame::Malformed;
use crate::channel::limits::MAX_MESSAGE_BYTES;
use crate::channel::message::{Body, Packed, Problem, Purpose};
use crate::channel::options::{Options, Ordering};
use crate::channel::ring::{Consumer, ConsumerLimits, ConsumerState, Poisoned, State, Taken};
use crate::channel::spin::{Seen, Spin, Spun};
use crate::platform::contract::{Attachment as _, RingMemory as _};
use crate::platform::{self, Attachment, RingMemory, Wait};

/// A flag in the stamp of a record: since the record before, its sender has sent something by
/// socket.
pub(in crate::channel) const AFTER_SOCKET: u64 = 1 << 63;

/// After so many messages in a row from rings, the socket has its turn.
const MAX_WITHOUT_SOCKET: u32 = 64;

/// After so many checks of the rings, idle ones are looked for.
const LOOKS_PER_SWEEP: u32 = 1024;

/// How much one ring may make this process do at a time.
const LIMITS: ConsumerLimits =
    ConsumerLimits { max_message: MAX_MESSAGE_BYTES, max_jumps: 16, max_bytes: 4 << 20 };

/// For how many checks in a row a message in a ring blocks later ones: as many as the longest
/// needs, and a few more. A peer that never completes a message blocks nothing after that.
const MAX_STOPS: u32 = 300;

/// With so many messages waiting, no more is read from the socket. It does not hold as many.
const MAX_WAITING: usize = 1024;

/// ... nor with so many bytes of them, ...
const MAX_WAITING_BYTES: usize = 1 << 20;

/// ... nor with so many attachments: they would fill the table of handles.
const MAX_WAITING_ATTACHMENTS: usize = 64;

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
const MAX_BURDENS: usize = 8;

/// How far in the future a stamp is still accepted without reading the clock, in nanoseconds.
const FUTURE_NANOS: u64 = 1_000_000_000;

/// How many attachments were read ahead in this process, by all receivers.
static READ_AHEAD: AtomicUsize = AtomicUsize::new(0);

/// The rings of a channel, and the messages that came by its socket.
#[derive(Debug)]
pub(in crate::channel) struct Rings {
    rings: Vec<Ring>,
    /// Messages from the socket, the earliest first.
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    waiting_attachments: usize,
    /// Messages that moved here with the receiver, the earliest first. They may be from rings, and
    /// so be later than messages that are still in the socket: they do not keep it from being read.
    moved: VecDeque<Waiting>,
    /// The latest stamp of what came by socket.
    last_arrival: u64,
    /// Rings that were announced, and that this process could not map. They are kept, and nothing
    /// else is read from the socket.
    pending: VecDeque<Pending>,
    /// Why something could not be received. No message is lost by that.
    trouble: Option<io::Error>,
    /// The time when the clock was last read.
    latest: u64,
    /// The socket was not read to its end, and there may be anything in it. A record that was sent
    /// after something by socket waits.
    is_cut_short: bool,
    /// Only such records are left, so more has to be read.
    must_read: bool,
    /// The socket had nothing more.
    is_all_read: bool,
    progress: Progress,
    options: Options,
    spin: Spin,
    /// How many messages came from rings since the socket was read.
    without_socket: u32,
    /// How often the rings were checked.
    looks: u32,
    /// The process can read no more rings for now.
    refuses: bool,
    /// A ring with messages was announced, and its memory did not arrive.
    misses_one: bool,
    /// Why a ring is lost that moved here with the receiver. Not reported yet.
    lost: Option<io::Error>,
    /// The process that owns the rings.
    owner: u64,
}

/// How many of the steps are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// None.
    Nothing,
    /// Step 1 is done.
    Before,
    /// Step 3 is done.
    Visible,
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
    is_burden: bool,
}

/// A ring that was announced.
#[derive(Debug)]
struct Pending {
    memory: Attachment,
    clock_domain: u64,
}

/// A message that came by socket and was not delivered.
#[derive(Debug)]
pub(crate) struct Waiting<A = Attachment> {
    /// The time when it was sent.
    pub(crate) stamp: u64,
    /// Its bytes.
    pub(crate) bytes: Vec<u8>,
    /// Its attachments.
    pub(crate) attachments: Vec<A>,
    /// It was longer than the limit, and nothing of it was kept.
    pub(crate) is_too_long: bool,
}

impl<A> Waiting<A> {
    pub(crate) fn new(stamp: u64, bytes: Vec<u8>, attachments: Vec<A>) -> Waiting<A> {
        Waiting { stamp, bytes, attachments, is_too_long: false }
    }
}

/// The result of step 4.
#[derive(Debug)]
pub(in crate::channel) enum Next {
    /// The next message.
    Message(Packed),
    /// The next message is not certain: check again.
    Unconfirmed,
    /// A ring has more of an earlier message than one check takes in: check again.
    Unfinished,
    /// A ring is lost.
    Lost(Problem),
    /// There is no message.
    Nothing,
}

/// A ring that moves to another process.
#[derive(Debug)]
pub(crate) struct MovedRing<A = Attachment> {
    /// Its memory.
    pub(crate) memory: A,
    /// The position that it was read up to, and more.
    pub(crate) state: ConsumerState,
}

impl Rings {
    /// Makes a value without rings.
    pub(in crate::channel) fn new(options: Options) -> Rings {
        Rings {
            rings: Vec::new(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            waiting_attachments: 0,
            moved: VecDeque::new(),
            last_arrival: 0,
            pending: VecDeque::new(),
            trouble: None,
            latest: 0,
            is_cut_short: false,
            must_read: false,
            is_all_read: false,
            progress: Progress::Nothing,
            options,
            spin: Spin::new(options.spin_nanos),
            without_socket: 0,
            looks: 0,
            refuses: false,
            misses_one: false,
            lost: None,
            owner: 0,
        }
    }

    /// Sets the receiver's options.
    pub(in crate::channel) fn set_options(&mut self, options: Options) {
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
        self.progress = Progress::Nothing;
    }

    /// Returns whether there is anything but the socket.
    #[inline]
    pub(in crate::channel) fn is_in_use(&self) -> bool {
        !self.rings.is_empty() || !self.pending.is_empty() || self.has_something()
    }

    /// Returns how many rings can still get messages.
    fn places(&self) -> usize {
        self.rings.iter().filter(|ring| !ring.consumer.is_retired()).count()
    }

    /// Returns whether step 4 can be done at once.
    #[inline]
    pub(in crate::channel) fn is_known(&self) -> bool {
        self.progress == Progress::Visible
    }

    /// Does step 3 alone, if that is enough. Returns whether a ring has something.
    #[inline]
    pub(in crate::channel) fn look_ahead(&mut self) -> bool {
        let is_enough = self.options.ordering == Ordering::PerSender
            && self.progress == Progress::Nothing
            && self.without_socket < MAX_WITHOUT_SOCKET
            && self.pending.is_empty()
            && !self.has_something();
        if !is_enough {
            return false;
        }
        self.look();
        let is_any = self.rings.iter().any(|ring| ring.consumer.has_more());
        if !is_any {
            self.progress = Progress::Nothing;
        }
        is_any
    }

    /// Does step 1, unless it is done.
    pub(in crate::channel) fn look_before(&mut self) {
        if self.progress == Progress::Nothing {
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
            self.progress = Progress::Before;
        }
    }

    /// Returns whether step 2 continues although it has found messages.
    pub(in crate::channel) fn may_read_more(&self) -> bool {
        self.waiting.len() < MAX_WAITING
            && self.waiting_bytes < MAX_WAITING_BYTES
            && self.may_read_attachments()
            && self.pending.is_empty()
            && self.may_read_behind_burdens()
    }

    /// While there are rings that this process has hardly handles for, the socket is read until one
    /// message waits, and no further. The order needs that one. What is behind it was put there
    /// after it was stamped, and so is not before an earlier message in a ring.
    fn may_read_behind_burdens(&self) -> bool {
        match self.rings.iter().filter(|ring| ring.is_burden).count() {
            0 => true,
            burdens => (burdens < MAX_BURDENS || self.must_read) && self.waiting.is_empty(),
        }
    }

    /// Returns whether there are rings that this process has hardly handles for.
    pub(in crate::channel) fn has_burdens(&self) -> bool {
        self.rings.iter().any(|ring| ring.is_burden)
    }

    /// Returns whether more attachments may be read. Handles belong to the process, so those that
    /// other receivers have read ahead count as well.
    fn may_read_attachments(&self) -> bool {
        self.waiting_attachments == 0
            || (self.waiting_attachments < MAX_WAITING_ATTACHMENTS
                && READ_AHEAD.load(atomic::Ordering::Relaxed)
                    < platform::max_waiting_attachments() / 3)
    }

    /// Returns whether all messages that came by socket were delivered.
    pub(in crate::channel) fn has_delivered_packets(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Notes that something could not be received now. It is reported when there is nothing else.
    pub(in crate::channel) fn defer(&mut self, error: io::Error) {
        self.trouble = Some(error);
    }

    /// Forgets the noted error before the socket is read again.
    pub(in crate::channel) fn forget_trouble(&mut self) {
        self.trouble = None;
    }

    /// Returns whether all remaining messages were sent after something that is still in the
    /// socket.
    pub(in crate::channel) fn must_read(&self) -> bool {
        self.must_read
    }

    /// Returns the noted error.
    pub(in crate::channel) fn take_trouble(&mut self) -> Option<io::Error> {
        self.trouble.take()
    }

    /// Adds a message that came by socket.
    pub(in crate::channel) fn add_waiting(&mut self, mut message: Waiting) {
        self.is_all_read = false;
        message.stamp = self.arrival(message.stamp, platform::now());
        self.waiting_bytes += message.bytes.len();
        self.waiting_attachments += message.attachments.len();
        READ_AHEAD.fetch_add(message.attachments.len(), atomic::Ordering::Relaxed);
        // In most cases that is the end.
        let place = self.waiting.iter().rposition(|other| other.stamp <= message.stamp);
        self.waiting.insert(place.map_or(0, |before| before + 1), message);
    }

    /// Returns the stamp that a message by socket counts as. A stamp in the future is false, or of
    /// another clock. It must not delay other messages if no more is read before it. Nor may it
    /// overtake earlier ones, which may be of the same sender. So it counts as the latest so far.
    fn arrival(&mut self, stamp: u64, now: u64) -> u64 {
        // Where the clock does not advance for a moment, senders run ahead of it.
        let is_late = stamp > now.saturating_add(platform::clock_tick());
        let stamp = if is_late { self.last_arrival } else { stamp };
        self.last_arrival = self.last_arrival.max(stamp);
        stamp
    }

    /// Adds the messages that had been received and not delivered when the receiver moved. They may
    /// be in any order, and as many as fit beside a message.
    pub(in crate::channel) fn resume(&mut self, mut messages: Vec<Waiting>) {
        messages.sort_by_key(|message| message.stamp);
        let now = platform::now();
        for message in &mut messages {
            message.stamp = self.arrival(message.stamp, now);
            READ_AHEAD.fetch_add(message.attachments.len(), atomic::Ordering::Relaxed);
        }
        // There may be very many. In most cases there are no others, and they stay in place.
        if self.moved.is_empty() {
            self.moved = messages.into();
        } else {
            self.moved.extend(messages);
        }
    }

    /// Returns the stamp of the earliest message that is not in a ring.
    fn first_stamp(&self) -> Option<u64> {
        let fronts = [self.waiting.front(), self.moved.front()];
        fronts.into_iter().flatten().map(|message| message.stamp).min()
    }

    /// Ends step 2. `is_all_read` says whether the socket has nothing more.
    pub(in crate::channel) fn socket_was_read(&mut self, is_all_read: bool) {
        self.is_all_read = is_all_read;
        self.without_socket = 0;
        (self.is_cut_short, self.must_read) = (false, false);
    }

    /// Ends step 2 if the socket could not be read as far as the order needs.
    pub(in crate::channel) fn socket_was_cut_short(&mut self) {
        self.socket_was_read(false);
        self.is_cut_short = true;
    }

    /// Does step 3.
    pub(in crate::channel) fn look(&mut self) {
        for ring in &mut self.rings {
            ring.visible = ring.look();
        }
        self.progress = Progress::Visible;
    }

    /// Does step 4.
    #[inline]
    pub(in crate::channel) fn next(&mut self, buffer: &mut Vec<u8>, purpose: Purpose) -> Next {
        if self.lost.is_some() {
            return self.tell_lost();
        }
        // The least stamp, the one that it is compared by, and its place.
        let mut least: Option<(u64, u64, usize)> = None;
        // The earliest message that one check has not taken in completely.
        let mut stopped: Option<u64> = None;
        let mut partial = 0;
        let mut has_held = false;
        for (index, ring) in self.rings.iter_mut().enumerate() {
            let front = ring.consumer.front(ring.visible);
            partial += ring.consumer.partial_bytes();
            match front {
                Ok(Some(stamp))
                    if self.is_cut_short && ring.was_read && stamp & AFTER_SOCKET != 0 =>
                {
                    has_held = true;
                }
                Ok(Some(stamp)) => {
                    ring.stops = 0;
                    let mut key = order(stamp);
                    if key > self.latest.saturating_add(FUTURE_NANOS) {
                        key = ring.key_of_late(key, &mut self.latest);
                    }
                    if least.is_none_or(|(other, ..)| key < other) {
                        least = Some((key, stamp, index));
                    }
                }
                Ok(None) => {
                    let at = ring.consumer.stopped_at(ring.visible).map(order);
                    if at.is_some() && ring.stops < MAX_STOPS {
                        ring.stops += 1;
                        stopped = stopped.min(at).or(at);
                    }
                }
                Err(poisoned) => return self.give_up(index, poisoned),
            }
        }
        if partial > self.options.limits.unfinished_bytes {
            self.retire_largest();
        }
        if let Some(stopped) = stopped {
            let first = least.map(|(key, ..)| key).into_iter().chain(self.first_stamp()).min();
            if first.is_some_and(|first| stopped <= first) {
                return Next::Unfinished;
            }
        }
        if let Some(first) = self.first_stamp() {
            if least.is_none_or(|(key, ..)| first <= key) {
                return self.take_waiting(first);
            }
        }
        let Some((_, stamp, index)) = least else {
            self.progress = Progress::Nothing;
            self.must_read = has_held;
            return Next::Nothing;
        };
        let ring = &mut self.rings[index];
        let is_free = self.options.ordering == Ordering::PerSender && stamp & AFTER_SOCKET == 0;
        if !is_free {
            match ring.consumer.front(ring.before) {
                Ok(Some(_)) => {}
                Ok(None) => {
                    self.confirm();
                    return Next::Unconfirmed;
                }
                Err(poisoned) => return self.give_up(index, poisoned),
            }
        }
        ring.was_read = true;
        let mut kept = Vec::new();
        let taken = match purpose {
            Purpose::Look => {
                buffer.clear();
                ring.consumer.take(buffer)
            }
            Purpose::Keep => ring.consumer.take(&mut kept),
        };
        self.without_socket = self.without_socket.saturating_add(1);
        let body = match (taken, purpose) {
            (Ok(Taken::Message), Purpose::Look) => Body::Buffered,
            (Ok(Taken::Message), Purpose::Keep) => {
                kept.shrink_to_fit();
                Body::Owned(kept)
            }
            (Ok(Taken::TooLong), _) => return Next::Lost(Problem::Malformed(Malformed::TooLarge)),
            (Err(poisoned), _) => return self.give_up(index, poisoned),
        };
        Next::Message(Packed { body, attachments: Vec::new() })
    }

    /// What is visible now becomes what was before.
    fn confirm(&mut self) {
        for ring in &mut self.rings {
            ring.before = ring.visible;
        }
        self.progress = Progress::Before;
    }

    /// Takes the message that has the stamp [`first_stamp`](Rings::first_stamp).
    fn take_waiting(&mut self, first: u64) -> Next {
        if !self.is_all_read {
            self.confirm();
        }
        let has_moved = self.moved.front().is_some_and(|message| message.stamp == first);
        let message = if has_moved { self.moved.pop_front() } else { self.waiting.pop_front() };
        match message {
            Some(Waiting { bytes, attachments, is_too_long, .. }) => {
                if !has_moved {
                    self.waiting_bytes -= bytes.len();
                    self.waiting_attachments -= attachments.len();
                }
                READ_AHEAD.fetch_sub(attachments.len(), atomic::Ordering::Relaxed);
                // It may be here from before there were limits to check it by.
                if is_too_long || !self.options.limits.admit(bytes.len() as u64, attachments.len())
                {
                    return Next::Lost(Problem::Malformed(Malformed::TooLarge));
                }
                Next::Message(Packed { body: Body::Owned(bytes), attachments })
            }
            None => Next::Nothing,
        }
    }

    #[cold]
    fn tell_lost(&mut self) -> Next {
        self.lost.take().map_or(Next::Unconfirmed, |error| Next::Lost(Problem::NoRing(error)))
    }

    #[cold]
    fn give_up(&mut self, index: usize, poisoned: Poisoned) -> Next {
        self.rings.remove(index);
        self.progress = Progress::Nothing;
        Next::Lost(Problem::Poisoned(poisoned))
    }

    /// Drops the rings that are retired and drained. Returns whether there may be more in others,
    /// which could not all be taken in.
    pub(in crate::channel) fn sweep(&mut self) -> bool {
        self.rings.retain(|ring| !ring.consumer.is_over());
        self.rings.iter().any(|ring| ring.consumer.has_more())
    }

    /// Retires all rings. Returns whether there is nothing left in them.
    pub(in crate::channel) fn retire(&mut self) -> bool {
        self.rings.iter_mut().for_each(Ring::retire);
        self.sweep();
        !self.is_in_use()
    }

    /// Sets whether all messages are to come by socket from now on. Messages in rings are still
    /// delivered.
    pub(in crate::channel) fn refuse(&mut self, refuses: bool) {
        self.refuses = refuses;
        if refuses {
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
    pub(in crate::channel) fn attach(
        &mut self,
        memory: Attachment,
        clock_domain: u64,
    ) -> io::Result<()> {
        self.misses_one = false;
        let memory = match memory.into_ring() {
            Ok(memory) => memory,
            Err((error, _)) if error.kind() == io::ErrorKind::InvalidData => return Err(error),
            Err((error, memory)) => {
                self.pending.push_back(Pending { memory, clock_domain });
                self.trouble = Some(error);
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
        if is_wanted && has_our_time && has_place && is_affordable && !self.refuses {
            let is_alone = self.options.ordering == Ordering::PerSender;
            ring.consumer.tell(if is_alone { State::AcceptedAlone } else { State::Accepted });
        } else {
            // In this order: once the sender is told, it puts nothing more in there.
            ring.retire();
            ring.consumer.tell(if is_wanted { State::Refused } else { State::Unwanted });
            ring.is_burden = !is_affordable;
        }
        if !ring.consumer.is_over() {
            self.add(ring);
        }
        Ok(())
    }

    /// Tries again to read the rings that could not be mapped.
    fn take_in_pending(&mut self) {
        if !self.pending.is_empty() {
            self.forget_trouble();
        }
        for _ in 0..self.pending.len() {
            let Some(Pending { memory, clock_domain }) = self.pending.pop_front() else { return };
            if let Err(error) = self.attach(memory, clock_domain) {
                self.lost = Some(error);
            }
        }
    }

    /// Notes that a ring with messages was announced, and there was no handle left for it.
    pub(in crate::channel) fn miss(&mut self) {
        self.misses_one = true;
    }

    /// Returns whether messages may be lost because of that, now that all senders have been
    /// dropped. Returns `true` once.
    pub(in crate::channel) fn has_missed(&mut self) -> bool {
        mem::take(&mut self.misses_one)
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
    pub(in crate::channel) fn retire_idle(&mut self) {
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
    pub(in crate::channel) fn spin(&mut self, wait: Wait) -> Spun {
        let Rings { rings, spin, options, .. } = self;
        if rings.is_empty() {
            return Spun::InVain;
        }
        spin.spin(wait, || glance(rings, options.limits.unfinished_bytes))
    }

    /// Returns whether any ring is read.
    pub(in crate::channel) fn has_any(&self) -> bool {
        !self.rings.is_empty()
    }

    /// Checks whether something came.
    pub(in crate::channel) fn glance(&mut self) -> Seen {
        if self.has_something() {
            return Seen::Something;
        }
        glance(&mut self.rings, self.options.limits.unfinished_bytes)
    }

    /// Asks all rings to be woken. Returns `false` if there is something already.
    pub(in crate::channel) fn arm(&mut self) -> bool {
        // What could not be mapped is tried again with each call, and no event comes before that.
        let has_something = self.has_something() || !self.pending.is_empty();
        let mut rings = self.rings.iter_mut().map(|ring| &mut ring.consumer);
        // A poisoned ring that is still here has not been reported.
        !has_something && rings.all(|ring| !ring.is_poisoned() && ring.arm())
    }

    /// Returns whether there is something to report that is neither in a ring nor in the socket.
    fn has_something(&self) -> bool {
        !(self.waiting.is_empty() && self.moved.is_empty())
            || self.lost.is_some()
            || self.trouble.is_some()
    }

    /// Takes the rings apart so that they can move to another process. They are retired, and their
    /// content becomes messages, so that their memory, which still has delivered messages, stays
    /// here. A ring with more content than there is `room` for moves along.
    pub(in crate::channel) fn depart(mut self, room: &mut usize) -> (Vec<MovedRing>, Vec<Waiting>) {
        self.forget_attachments();
        let mut waiting: Vec<Waiting> = mem::take(&mut self.moved).into();
        waiting.extend(mem::take(&mut self.waiting));
        // A receiver that moves again and again must not grow without end.
        let bytes: usize = waiting.iter().map(|message| message.bytes.len()).sum();
        *room = room.saturating_sub(bytes);
        let mut looks = MAX_LOOKS_TO_DRAIN;
        for ring in &mut self.rings {
            ring.retire();
            ring.drain(&mut waiting, room, &mut looks);
        }
        let announced = mem::take(&mut self.pending).into_iter();
        let announced =
            announced.map(|Pending { memory, .. }| MovedRing { memory, state: ConsumerState::NEW });
        let rings = mem::take(&mut self.rings).into_iter();
        let rings = rings.filter(|ring| !ring.consumer.is_over()).map(|ring| {
            let (memory, state) = ring.consumer.into_parts();
            MovedRing { memory: Attachment::from_ring(memory), state }
        });
        (rings.chain(announced).collect(), waiting)
    }

    /// The attachments that wait here are delivered by another receiver, or not at all.
    fn forget_attachments(&mut self) {
        let moved: usize = self.moved.iter().map(|message| message.attachments.len()).sum();
        let count = moved + mem::take(&mut self.waiting_attachments);
        READ_AHEAD.fetch_sub(count, atomic::Ordering::Relaxed);
    }

    /// Adds a ring that was taken apart, here or elsewhere. If it is invalid, that is reported at
    /// the next receive, and the receiver continues without it.
    pub(in crate::channel) fn arrive(&mut self, ring: MovedRing) {
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

    fn reassemble(&self, ring: MovedRing) -> io::Result<Ring> {
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
            is_burden: false,
        }
    }

    fn add(&mut self, ring: Ring) {
        if self.rings.is_empty() {
            self.owner = platform::process_mark();
        }
        self.rings.push(ring);
        self.progress = Progress::Nothing;
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
    fn drain(&mut self, waiting: &mut Vec<Waiting>, room: &mut usize, looks: &mut usize) {
        let visible = self.look();
        while *room > 0 && self.consumer.has_more() && *looks > 0 {
            match self.consumer.front(visible) {
                Ok(Some(stamp)) => {
                    let mut bytes = Vec::new();
                    let Ok(taken) = self.consumer.take(&mut bytes) else { return };
                    *room = room.saturating_sub(bytes.len() + DRAINED_COST);
                    bytes.shrink_to_fit();
                    let is_too_long = taken == Taken::TooLong;
                    let message = Waiting::new(order(stamp), bytes, Vec::new());
                    waiting.push(Waiting { is_too_long, ..message });
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
impl Drop for Rings {
    fn drop(&mut self) {
        if !self.rings.is_empty() && self.owner == platform::process_mark() {
            self.rings.iter_mut().for_each(Ring::retire);
        }
        self.forget_attachments();
    }
}
