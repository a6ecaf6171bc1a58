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

use std::collections::VecDeque;
use std::{io, mem};

use super::limits::{MAX_MESSAGE_BYTES, MAX_RINGS, MAX_UNFINISHED_BYTES};
use super::message::{Body, Message, Problem, Purpose};
use super::ring::{Consumer, ConsumerLimits, ConsumerState, Poisoned, State};
use super::spin::{SPIN_NANOS, Seen, Spin};
use crate::platform::{self, Attachment, RingMemory};

/// What one ring may make this process do.
const LIMITS: ConsumerLimits = ConsumerLimits { max_message: MAX_MESSAGE_BYTES, max_jumps: 64 };

/// A ring that nothing came through for so long is retired when others come: its sender may be gone, which does not show.
const IDLE_NANOS: u64 = 1_000_000_000;

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
    /// From the socket, in the order in which it came.
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    waiting_attachments: usize,
    /// The socket had nothing more.
    is_all_read: bool,
    progress: Progress,
    spin: Spin,
    /// No more are wanted.
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

impl Default for Rings {
    fn default() -> Rings {
        Rings {
            rings: Vec::new(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            waiting_attachments: 0,
            is_all_read: false,
            progress: Progress::Nothing,
            spin: Spin::new(SPIN_NANOS),
            refuses: false,
            misses_one: false,
            lost: None,
            owner: 0,
        }
    }
}

impl Rings {
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

    /// Step 1, unless it is done.
    pub(super) fn look_before(&mut self) {
        if self.progress == Progress::Nothing {
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
        self.waiting.push_back(message);
    }

    /// The end of step 2: whether nothing more is there.
    pub(super) fn socket_was_read(&mut self, is_all_read: bool) {
        self.is_all_read = is_all_read;
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
                Ok(Some(stamp)) if least.is_none_or(|(other, _)| stamp < other) => {
                    least = Some((stamp, index));
                }
                Ok(_) => {}
                Err(poisoned) => return self.give_up(index, poisoned),
            }
        }
        if partial > MAX_UNFINISHED_BYTES {
            self.retire_largest();
        }
        let waiting = self.waiting.iter().enumerate().min_by_key(|(_, message)| message.stamp);
        if let Some((index, message)) = waiting {
            if least.is_none_or(|(stamp, _)| message.stamp <= stamp) {
                return self.take_waiting(index);
            }
        }
        let Some((_, index)) = least else {
            self.progress = Progress::Nothing;
            return Next::Nothing;
        };
        let ring = &mut self.rings[index];
        let was_before = match ring.consumer.front(ring.before) {
            Ok(front) => front.is_some(),
            Err(poisoned) => return self.give_up(index, poisoned),
        };
        if !was_before {
            self.confirm();
            return Next::Unconfirmed;
        }
        let taken = match purpose {
            Purpose::Look => {
                buffer.clear();
                ring.consumer.take(buffer).map(|()| Body::Buffered)
            }
            Purpose::Keep => {
                let mut bytes = Vec::new();
                ring.consumer.take(&mut bytes).map(|()| {
                    bytes.shrink_to_fit();
                    Body::Owned(bytes)
                })
            }
        };
        match taken {
            Ok(body) => Next::Message(Message { body, attachments: Vec::new() }),
            Err(poisoned) => self.give_up(index, poisoned),
        }
    }

    /// What is visible now becomes what was before.
    fn confirm(&mut self) {
        for ring in &mut self.rings {
            ring.before = ring.visible;
        }
        self.progress = Progress::Before;
    }

    fn take_waiting(&mut self, index: usize) -> Next {
        if !self.is_all_read {
            self.confirm();
        }
        match self.waiting.remove(index) {
            Some(Waiting { bytes, attachments, .. }) => {
                self.waiting_bytes -= bytes.len();
                self.waiting_attachments -= attachments.len();
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

    /// Drops the rings that are retired and drained. Whether there may be more in others, which could not all be taken in.
    pub(super) fn sweep(&mut self) -> bool {
        self.rings.retain(|ring| !ring.consumer.is_over());
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
        State::Refused.tell(&memory);
        let is_affordable = memory.is_affordable();
        let consumer = Consumer::new(memory, LIMITS)?;
        let now = platform::now();
        let mut ring = Ring::new(consumer, now);
        self.retire_idle(now);
        if self.rings.len() >= MAX_RINGS + MAX_RETIRED {
            ring.retire();
            return Err(too_many());
        }
        let is_wanted = self.rings.len() < MAX_RINGS && is_affordable && !self.refuses;
        if !is_wanted || platform::clock_domain() != Some(clock_domain) {
            // There may be messages in it already. No more than those.
            ring.retire();
        } else {
            ring.consumer.accept();
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

    fn retire_idle(&mut self, now: u64) {
        for ring in &mut self.rings {
            let position = ring.consumer.position();
            if position != ring.seen_position {
                (ring.seen_position, ring.seen_at) = (position, now);
            } else if now.saturating_sub(ring.seen_at) > IDLE_NANOS {
                ring.retire();
            }
        }
    }

    /// Waits for a message for a moment, without going to sleep.
    pub(super) fn spin(&mut self) -> bool {
        let Rings { rings, spin, .. } = self;
        !rings.is_empty() && spin.spin(|| glance(rings))
    }

    /// Looks whether something came.
    pub(super) fn glance(&mut self) -> Seen {
        if self.has_something() { Seen::Something } else { glance(&mut self.rings) }
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
        if self.rings.len() >= MAX_RINGS + MAX_RETIRED {
            return Err(too_many());
        }
        let consumer = Consumer::from_parts(memory.into_ring()?, state, LIMITS)?;
        Ok(Ring::new(consumer, platform::now()))
    }

    fn add(&mut self, ring: Ring) {
        if self.rings.is_empty() {
            self.owner = platform::process_mark();
        }
        self.rings.push(ring);
        self.progress = Progress::Nothing;
    }
}

fn glance(rings: &mut [Ring]) -> Seen {
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
    if partial > MAX_UNFINISHED_BYTES { Seen::Something } else { seen }
}

fn too_many() -> io::Error {
    io::Error::other("too many senders use shared memory")
}

impl Ring {
    fn new(consumer: Consumer<RingMemory>, now: u64) -> Ring {
        let seen_position = consumer.position();
        Ring { consumer, before: 0, visible: 0, seen_position, seen_at: now }
    }

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
            self.rings.iter_mut().for_each(Ring::retire);
        }
    }
}
