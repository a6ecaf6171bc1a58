//! Rings and a socket as one channel: which message is next.
//!
//! Each of them is a queue in order. Between them, the stamps tell what was sent first, as far as anybody can know: if one `send`
//! returned before another was called, its stamp is less. What is least of what is visible here and now need not be the next:
//! an earlier message may have become visible meanwhile in a place that was looked at before. Therefore:
//!
//! 1. look at the rings: what is published, is *before*;
//! 2. read the socket, until nothing more is there;
//! 3. look at the rings again: what is published, is *visible*;
//! 4. of what is visible and what came by socket, take the least. If it came by socket or was before, it is next. If not, it may
//!    be later than something that was missed: what is visible now becomes what was before, and on with 2.
//!
//! As long as 4 finds something, nothing is looked at again: a batch of messages costs one look. Of what came by socket, too, the
//! least is next and not the first, so that a false stamp reorders the messages of who wrote it and nobody else's. If it
//! is too much for all to be read, the socket has to be read again after each message.
//! `tests/ordering.rs` shows that this is enough, and that no step of it can be left out.
//!
//! A receiver that wants [no more than each sender's own order](Ordering::PerSender) takes what is visible without reading the socket,
//! and need not confirm it, but where a record says that its sender has sent something [by socket](AFTER_SOCKET) since the record
//! before. If there is something to be read from the socket, stamps order that and the rings as above: those of one sender
//! always grow.

use std::collections::VecDeque;
use std::{io, mem};

use super::frame::Malformed;
use super::limits::MAX_MESSAGE_BYTES;
use super::message::{Body, Message, Problem, Purpose};
use super::options::{Options, Ordering};
use super::ring::{Consumer, ConsumerLimits, ConsumerState, Poisoned, State, Taken};
use super::spin::{Seen, Spin};
use crate::platform::{self, Attachment, RingMemory};

/// In the stamp of a record: since the record before, its sender has sent something by socket.
pub(super) const AFTER_SOCKET: u64 = 1 << 63;

/// After so many messages in a row from rings, the socket has its turn.
const MAX_WITHOUT_SOCKET: u32 = 64;

/// After so many looks at the rings, idle ones are looked for.
const LOOKS_PER_SWEEP: u32 = 1024;

/// What one ring may make this process do.
const LIMITS: ConsumerLimits = ConsumerLimits { max_message: MAX_MESSAGE_BYTES, max_jumps: 64 };

/// With so many messages waiting, no more is read from the socket. It does not hold as many.
const MAX_WAITING: usize = 1024;

/// ... nor with so many bytes of them, ...
const MAX_WAITING_BYTES: usize = 1 << 20;

/// ... nor with so many attachments: they would fill the table of handles.
const MAX_WAITING_ATTACHMENTS: usize = 64;

/// How many rings beyond the limit may be on their way out.
const MAX_RETIRED: usize = 16;

/// The rings of a channel, and what has come by its socket.
#[derive(Debug)]
pub(super) struct Rings {
    rings: Vec<Ring>,
    /// From the socket, the earliest first.
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    waiting_attachments: usize,
    /// The socket had nothing more.
    is_all_read: bool,
    progress: Progress,
    options: Options,
    spin: Spin,
    /// How many messages came from rings since the socket was read.
    without_socket: u32,
    /// How often the rings were looked at.
    looks: u32,
    /// No more can be read for now.
    refuses: bool,
    /// A ring with messages was announced, and its memory did not arrive.
    misses_one: bool,
    /// Why a ring is lost that came with the receiver. Yet to be told.
    lost: Option<io::Error>,
    /// The process whose rings these are.
    owner: u64,
}

/// How far the steps have got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// Nothing is known.
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
    /// How far it was read when that was looked at, ...
    seen_position: u64,
    /// ... and since when it is no further.
    seen_at: u64,
}

/// A message that came by socket and is not delivered.
#[derive(Debug)]
pub(crate) struct Waiting {
    /// When it was sent.
    pub(crate) stamp: u64,
    /// Its bytes.
    pub(crate) bytes: Vec<u8>,
    /// Its attachments.
    pub(crate) attachments: Vec<Attachment>,
}

/// What is next.
#[derive(Debug)]
pub(super) enum Next {
    /// This message.
    Message(Message),
    /// Not certain: look again.
    Unconfirmed,
    /// A ring is lost.
    Lost(Problem),
    /// There is nothing.
    Nothing,
}

/// A ring on its way to another process.
#[derive(Debug)]
pub(crate) struct MovedRing {
    /// Its memory.
    pub(crate) memory: Attachment,
    /// How far it was read.
    pub(crate) state: ConsumerState,
}

impl Rings {
    /// None yet.
    pub(super) fn new(options: Options) -> Rings {
        Rings {
            rings: Vec::new(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            waiting_attachments: 0,
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

    /// From now on, behaves like this.
    pub(super) fn set_options(&mut self, options: Options) {
        // Each ring was told when it was accepted what is expected of its sender.
        if self.options.ordering != options.ordering
            || !options.wants_memory()
            || self.rings.len() > options.limits.shared_memories
        {
            for ring in &mut self.rings {
                if !options.wants_memory() {
                    ring.consumer.tell(State::Unwanted);
                }
                ring.retire();
            }
        }
        self.rings.iter_mut().for_each(|ring| ring.consumer.want(options.limits.message_bytes));
        self.spin = Spin::new(options.spin_nanos);
        self.options = options;
        self.progress = Progress::Nothing;
    }

    /// Whether there is anything but the socket.
    #[inline]
    pub(super) fn is_in_use(&self) -> bool {
        !self.rings.is_empty() || self.has_something()
    }

    /// Whether step 4 can be done at once.
    #[inline]
    pub(super) fn is_known(&self) -> bool {
        self.progress == Progress::Visible
    }

    /// Step 3 alone, if no more is needed and there is something. Whether that is so.
    #[inline]
    pub(super) fn look_ahead(&mut self) -> bool {
        let is_enough = self.options.ordering == Ordering::PerSender
            && self.progress == Progress::Nothing
            && self.without_socket < MAX_WITHOUT_SOCKET
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

    /// Step 1, unless it is done.
    pub(super) fn look_before(&mut self) {
        if self.progress == Progress::Nothing {
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

    /// Whether step 2 is to go on although it has found messages.
    pub(super) fn may_read_more(&self) -> bool {
        self.waiting.len() < MAX_WAITING
            && self.waiting_bytes < MAX_WAITING_BYTES
            && self.waiting_attachments < MAX_WAITING_ATTACHMENTS
    }

    /// A message came by socket.
    pub(super) fn add_waiting(&mut self, mut message: Waiting) {
        self.is_all_read = false;
        // A stamp in the future is a lie, or of another clock. It shall not keep others waiting, should no more be read before it.
        if message.stamp > platform::now() {
            message.stamp = 0;
        }
        self.waiting_bytes += message.bytes.len();
        self.waiting_attachments += message.attachments.len();
        // Most of the time that is the end.
        let place = self.waiting.iter().rposition(|other| other.stamp <= message.stamp);
        self.waiting.insert(place.map_or(0, |before| before + 1), message);
    }

    /// What had come by socket when the receiver moved. It may be in any order, and as much as there is room for in a message.
    pub(super) fn resume(&mut self, mut messages: Vec<Waiting>) {
        let now = platform::now();
        let place = |message: &Waiting| if message.stamp > now { 0 } else { message.stamp };
        // So that each has its place at the end.
        messages.sort_by_key(place);
        messages.into_iter().for_each(|message| self.add_waiting(message));
    }

    /// The end of step 2: whether nothing more is there.
    pub(super) fn socket_was_read(&mut self, is_all_read: bool) {
        self.is_all_read = is_all_read;
        self.without_socket = 0;
    }

    /// Step 3.
    pub(super) fn look(&mut self) {
        for ring in &mut self.rings {
            ring.visible = ring.look();
        }
        self.progress = Progress::Visible;
    }

    /// Step 4.
    #[inline]
    pub(super) fn next(&mut self, buffer: &mut Vec<u8>, purpose: Purpose) -> Next {
        if self.lost.is_some() {
            return self.tell_lost();
        }
        let mut least: Option<(u64, usize)> = None;
        let mut partial = 0;
        for (index, ring) in self.rings.iter_mut().enumerate() {
            let front = ring.consumer.front(ring.visible);
            partial += ring.consumer.partial_bytes();
            match front {
                Ok(Some(stamp)) if least.is_none_or(|(other, _)| order(stamp) < order(other)) => {
                    least = Some((stamp, index));
                }
                Ok(_) => {}
                Err(poisoned) => return self.give_up(index, poisoned),
            }
        }
        if partial > self.options.limits.unfinished_bytes {
            self.retire_largest();
        }
        if let Some(message) = self.waiting.front() {
            if least.is_none_or(|(stamp, _)| message.stamp <= order(stamp)) {
                return self.take_waiting();
            }
        }
        let Some((stamp, index)) = least else {
            self.progress = Progress::Nothing;
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
        Next::Message(Message { body, attachments: Vec::new() })
    }

    /// What is visible now becomes what was before.
    fn confirm(&mut self) {
        for ring in &mut self.rings {
            ring.before = ring.visible;
        }
        self.progress = Progress::Before;
    }

    fn take_waiting(&mut self) -> Next {
        if !self.is_all_read {
            self.confirm();
        }
        match self.waiting.pop_front() {
            Some(Waiting { bytes, attachments, .. }) => {
                self.waiting_bytes -= bytes.len();
                self.waiting_attachments -= attachments.len();
                let limits = self.options.limits;
                // It may be here from before there was anything to check it by.
                if bytes.len() > limits.message_bytes || attachments.len() > limits.message_handles
                {
                    return Next::Lost(Problem::Malformed(Malformed::TooLarge));
                }
                Next::Message(Message { body: Body::Owned(bytes), attachments })
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

    /// Drops the rings that are retired and drained, and gives their memory back. Whether there may be more in others, which could
    /// not all be taken in.
    pub(super) fn sweep(&mut self) -> bool {
        self.rings.retain(|ring| {
            let is_over = ring.consumer.is_over();
            if is_over {
                // Its sender need not find out before it sends again.
                ring.consumer.memory().give_back_all();
            }
            !is_over
        });
        self.rings.iter().any(|ring| ring.consumer.has_more())
    }

    /// Retires all rings. Whether there is nothing left in them.
    pub(super) fn retire(&mut self) -> bool {
        self.rings.iter_mut().for_each(Ring::retire);
        self.sweep();
        !self.is_in_use()
    }

    /// Whether all messages are to come by socket from now on. What is in rings is still delivered.
    pub(super) fn refuse(&mut self, refuses: bool) {
        self.refuses = refuses;
        if refuses {
            self.retire();
        }
    }

    /// Begins to read a ring, whose sender reads the time of `clock_domain`.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub(super) fn attach(&mut self, memory: Attachment, clock_domain: u64) -> io::Result<()> {
        self.misses_one = false;
        let memory = memory.into_ring()?;
        if State::of(&memory) != State::Offered {
            // It was offered again because its sender could not know that it had arrived.
            return Ok(());
        }
        // Unless it turns out that it can be read.
        let most = self.options.limits.shared_memories;
        let is_wanted = self.options.wants_memory();
        if is_wanted { State::Refused } else { State::Unwanted }.tell(&memory);
        let is_affordable = memory.is_affordable();
        let consumer = Consumer::new(memory, LIMITS)?;
        self.retire_idle();
        let mut ring = self.ring(consumer);
        if self.rings.len() >= most + MAX_RETIRED {
            ring.retire();
            return Err(too_many());
        }
        let is_alone = self.options.ordering == Ordering::PerSender;
        // Also who keeps no order between processes takes from all in turn, which the time decides.
        let has_our_time = platform::clock_domain() == Some(clock_domain);
        let has_room = self.rings.len() < most && is_affordable && !self.refuses;
        if !is_wanted || !has_our_time || !has_room {
            // There may be messages in it already. No more than those.
            ring.retire();
        } else {
            ring.consumer.tell(if is_alone { State::AcceptedAlone } else { State::Accepted });
        }
        if !ring.consumer.is_over() {
            self.add(ring);
        }
        Ok(())
    }

    /// A ring with messages was announced, and there was no handle left for it.
    pub(super) fn miss(&mut self) {
        self.misses_one = true;
    }

    /// Whether messages may be lost because of that, now that all senders are gone. Said once.
    pub(super) fn has_missed(&mut self) -> bool {
        mem::take(&mut self.misses_one)
    }

    /// Makes room for others' messages. Who is still sending the largest goes by socket, where it can be made to wait.
    #[cold]
    fn retire_largest(&mut self) {
        let rings = self.rings.iter_mut().filter(|ring| !ring.consumer.is_retired());
        if let Some(ring) = rings.max_by_key(|ring| ring.consumer.partial_bytes()) {
            ring.retire();
        }
    }

    /// Retires the rings that nothing has come through for a while. Their senders go on by socket.
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

    /// Waits for a message for a moment, without going to sleep.
    pub(super) fn spin(&mut self) -> bool {
        let Rings { rings, spin, options, .. } = self;
        !rings.is_empty() && spin.spin(|| glance(rings, options.limits.unfinished_bytes))
    }

    /// Whether any is read.
    pub(super) fn has_any(&self) -> bool {
        !self.rings.is_empty()
    }

    /// Looks whether something came.
    pub(super) fn glance(&mut self) -> Seen {
        if self.has_something() {
            return Seen::Something;
        }
        glance(&mut self.rings, self.options.limits.unfinished_bytes)
    }

    /// Asks all rings to be woken. `false` if there is something already.
    pub(super) fn arm(&mut self) -> bool {
        let has_something = self.has_something();
        let mut rings = self.rings.iter_mut().map(|ring| &mut ring.consumer);
        // A poisoned one that is still here is yet to be told of.
        !has_something && rings.all(|ring| !ring.is_poisoned() && ring.arm())
    }

    /// Whether there is something to be told that is neither in a ring nor in the socket.
    fn has_something(&self) -> bool {
        !self.waiting.is_empty() || self.lost.is_some()
    }

    /// Takes the rings apart for their way into another process.
    pub(super) fn depart(mut self) -> (Vec<MovedRing>, Vec<Waiting>) {
        let rings = mem::take(&mut self.rings).into_iter().map(|ring| {
            let (memory, state) = ring.consumer.into_parts();
            MovedRing { memory: Attachment::from_ring(memory), state }
        });
        (rings.collect(), mem::take(&mut self.waiting).into())
    }

    /// Puts a ring back that was taken apart, here or elsewhere. If there can be none like this here, that is told when messages
    /// are asked for: the receiver goes on without it.
    pub(super) fn arrive(&mut self, ring: MovedRing) {
        match self.reassemble(ring) {
            Ok(ring) => self.add(ring),
            Err(error) => self.lost = Some(error),
        }
    }

    fn reassemble(&self, ring: MovedRing) -> io::Result<Ring> {
        let MovedRing { memory, state } = ring;
        if self.rings.len() >= self.options.limits.shared_memories + MAX_RETIRED {
            return Err(too_many());
        }
        let consumer = Consumer::from_parts(memory.into_ring()?, state, LIMITS)?;
        Ok(self.ring(consumer))
    }

    fn ring(&self, mut consumer: Consumer<RingMemory>) -> Ring {
        consumer.want(self.options.limits.message_bytes);
        let seen_position = consumer.position();
        Ring { consumer, before: 0, visible: 0, seen_position, seen_at: platform::now() }
    }

    fn add(&mut self, ring: Ring) {
        if self.rings.is_empty() {
            self.owner = platform::process_mark();
        }
        self.rings.push(ring);
        self.progress = Progress::Nothing;
    }
}

/// What a record is ordered by.
#[inline]
pub(super) fn order(stamp: u64) -> u64 {
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
    // Something has to be done about it.
    if partial > max_partial { Seen::Something } else { seen }
}

fn too_many() -> io::Error {
    io::Error::other("too many senders use shared memory")
}

impl Ring {
    /// How far it is published. If that cannot be, the ring is poisoned, which shows when its front is asked for.
    fn look(&mut self) -> u64 {
        self.consumer.scan().unwrap_or(self.visible)
    }

    fn retire(&mut self) {
        // As above.
        let _ = self.consumer.retire();
    }
}

/// Senders learn at once that the receiver is gone, and send no more into memory that nobody reads.
impl Drop for Rings {
    fn drop(&mut self) {
        if !self.rings.is_empty() && self.owner == platform::process_mark() {
            for ring in &mut self.rings {
                ring.retire();
                ring.consumer.memory().give_back_all();
            }
        }
    }
}
