//! The consumer of a ring, which does not trust the producer.
//!
//! The peer may write anything at any time. Each of its words is loaded once and checked against
//! the consumer's own state, and only the copy is used. The memory that is held grows with what
//! arrived, not with what was announced. A peer that breaks the rules poisons its ring: nothing
//! more is taken from it.

use std::sync::atomic::Ordering;
use std::{fmt, io, mem};

use super::memory::{Memory, Place, Segment, Word};
use super::partial::Partial;
use super::poison::{Poisoned, Why};
use super::producer::State;
use super::record::{
    self, Code, FRAGMENT_BYTES, HEADER_BYTES, Header, JUMP_BODY_BYTES, Kind, TOTAL_BYTES,
};
use super::{CLOSED, MAX_POSITION, MAX_UNREAD, POSITION, SLEEPING};

/// The minimum that a fragment counts for in the budget of one call, so that a flood of tiny ones
/// does not block the caller. It is less than a fragment of an honest peer, which has
/// [`FRAGMENT_BYTES`].
const LEAST_COST: u64 = FRAGMENT_BYTES as u64 / 8;

/// Takes records out of a ring.
pub struct Consumer<M: Memory> {
    memory: M,
    segment: M::Segment,
    place: Place,
    /// The position at which the segment was begun.
    base: u64,
    /// The position up to which records are consumed.
    position: u64,
    /// The position up to which records are published, as of the last scan.
    visible: u64,
    /// The next message, once it is known.
    next: Option<Next>,
    /// The message of which there are fragments: all of them if it is the next.
    partial: Option<Partial>,
    /// Memory for the next message in fragments: empty, from the caller of the last `take`.
    spare: Vec<u8>,
    is_armed: bool,
    is_retired: bool,
    poisoned: Option<Why>,
    limits: ConsumerLimits,
    /// The maximum length of a message that is kept.
    wanted: u64,
}

/// How much work a peer can make a consumer do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsumerLimits {
    /// The length of the longest message.
    pub max_message: usize,
    /// How many JUMPs one call follows. A message of an honest peer needs at most ten and one for
    /// every [`MAX_SEGMENT`](super::MAX_SEGMENT) of its bytes.
    pub max_jumps: u32,
    /// About how many bytes of fragments one call takes in. A longer message takes several calls.
    pub max_bytes: u64,
}

/// The state of a consumer, with which another process can continue.
#[derive(Debug, PartialEq, Eq)]
pub struct ConsumerState {
    /// The position up to which records are consumed.
    pub position: u64,
    /// The position at which the current segment was begun.
    pub base: u64,
    /// The place of that segment.
    pub place: Place,
    /// The position up to which records were published.
    pub visible: u64,
    /// The message of which there are fragments.
    pub partial: Option<Partial>,
    /// Whether records after `visible` do not count.
    pub is_retired: bool,
}

impl ConsumerState {
    /// The state at the beginning of a ring.
    pub const NEW: ConsumerState = ConsumerState {
        position: 0,
        base: 0,
        place: Place::FIRST,
        visible: 0,
        partial: None,
        is_retired: false,
    };
}

/// The outcome of taking a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It was appended to the output.
    Message,
    /// It was longer than [wanted](Consumer::want), and was discarded.
    TooLong,
}

enum Next {
    /// It is whole in the ring.
    InRing { stamp: u64, len: usize, end: u64 },
    /// Its last fragment was taken from the ring.
    Assembled { stamp: u64 },
}

/// A record whose header is valid.
struct Record {
    header: Header,
    len: usize,
    body: u64,
    end: u64,
}

impl<M: Memory> Consumer<M> {
    /// Begins to read a ring.
    ///
    /// # Errors
    ///
    /// The errors of [`Memory::segment`].
    pub fn new(memory: M, limits: ConsumerLimits) -> io::Result<Consumer<M>> {
        Consumer::from_parts(memory, ConsumerState::NEW, limits)
    }

    /// Continues where another consumer has stopped. Its state need not be trusted.
    ///
    /// # Errors
    ///
    /// [`InvalidData`](io::ErrorKind::InvalidData) if the state is not valid, and the errors of
    /// [`Memory::segment`].
    pub fn from_parts(
        memory: M,
        state: ConsumerState,
        limits: ConsumerLimits,
    ) -> io::Result<Consumer<M>> {
        let ConsumerState { position, base, place, visible, partial, is_retired } = state;
        let is_sound = place.is_valid()
            && base <= position
            && position <= visible
            && visible <= MAX_POSITION
            && visible - position <= MAX_UNREAD
            && [base, position, visible].iter().all(|position| is_aligned(*position))
            && partial.as_ref().is_none_or(|partial| partial.is_sound(limits.max_message));
        if !is_sound {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the saved state of a ring is invalid",
            ));
        }
        let is_complete = |partial: &&Partial| partial.missing() == 0;
        let complete = partial.as_ref().filter(is_complete);
        Ok(Consumer {
            segment: memory.segment(place)?,
            memory,
            place,
            base,
            position,
            visible,
            next: complete.map(|message| Next::Assembled { stamp: message.stamp }),
            partial,
            spare: Vec::new(),
            is_armed: false,
            is_retired,
            poisoned: None,
            limits,
            wanted: u64::MAX,
        })
    }

    /// Stops, and returns the state, so that another consumer can continue.
    pub fn into_parts(mut self) -> (M, ConsumerState) {
        self.disarm();
        let state = ConsumerState {
            position: self.position,
            base: self.base,
            place: self.place,
            visible: self.visible,
            partial: self.partial,
            is_retired: self.is_retired,
        };
        (self.memory, state)
    }

    /// Sets the maximum length of messages that are kept from now on. Longer ones are skipped as
    /// they come.
    pub fn want(&mut self, len: usize) {
        self.wanted = len as u64;
        if let Some(partial) = self.partial.as_mut().filter(|partial| partial.total > self.wanted) {
            partial.skip();
        }
    }

    /// Tells the producer the state of the ring.
    pub fn tell(&self, state: State) {
        state.tell(&self.memory);
    }

    /// Returns the position up to which records are published, by loading it once.
    ///
    /// # Errors
    ///
    /// [`Poisoned`] if the position is invalid.
    #[inline]
    pub fn scan(&mut self) -> Result<u64, Poisoned> {
        self.check()?;
        if !self.is_retired {
            // Acquire: the bytes before the position are there.
            let tail = self.memory.tail().load(Ordering::Acquire);
            self.see(tail)?;
            // By a forked process that had the same receiver. It has read the final position in the
            // same operation.
            self.is_retired = tail & CLOSED != 0;
            // The producer clears the bit itself when it wakes this consumer.
            self.is_armed &= tail & SLEEPING != 0;
        }
        Ok(self.visible)
    }

    /// Returns the stamp of the next message, if it is completely published before `visible`. That
    /// is a position that a [`scan`](Consumer::scan) has returned, not necessarily the last. Takes
    /// in the fragments and JUMPs before the message.
    ///
    /// The work of one call is limited. If the limit stops it, it returns `None`,
    /// [`arm`](Consumer::arm) refuses, and the next call continues.
    ///
    /// # Errors
    ///
    /// [`Poisoned`] if there is something that no honest producer writes.
    #[inline]
    pub fn front(&mut self, visible: u64) -> Result<Option<u64>, Poisoned> {
        self.check()?;
        if self.next.is_none() {
            if let Err(why) = self.advance(visible.min(self.visible)) {
                return Err(self.poison(why));
            }
        }
        Ok(match self.next {
            Some(Next::InRing { stamp, end, .. }) if end <= visible => Some(stamp),
            Some(Next::Assembled { stamp }) if self.position <= visible => Some(stamp),
            _ => None,
        })
    }

    /// Returns the stamp of the message that [`front`](Consumer::front) has stopped in although
    /// more is published before `visible`; zero if it has stopped between messages. A message with
    /// a later stamp is not next.
    pub fn stopped_at(&self, visible: u64) -> Option<u64> {
        let has_stopped = self.next.is_none() && self.position < visible.min(self.visible);
        has_stopped.then(|| self.partial.as_ref().map_or(0, |partial| partial.stamp))
    }

    /// Appends the next message to `out`, or swaps in its own memory if `out` is empty.
    /// [`front`](Consumer::front) must just have returned the stamp of that message.
    ///
    /// # Errors
    ///
    /// [`Poisoned`] if the ring was poisoned meanwhile, or there is no memory for the message.
    ///
    /// # Panics
    ///
    /// Panics if `front` has not returned a stamp.
    #[inline]
    pub fn take(&mut self, out: &mut Vec<u8>) -> Result<Taken, Poisoned> {
        self.check()?;
        match self.next.take().expect("`front` returned the stamp of a message") {
            Next::InRing { len, end, .. } => {
                if len as u64 > self.wanted {
                    self.consume(end);
                    return Ok(Taken::TooLong);
                }
                if out.try_reserve(len).is_err() {
                    return Err(self.poison(Why::NoMemory));
                }
                self.read(self.position + HEADER_BYTES as u64, len, out);
                self.consume(end);
            }
            Next::Assembled { .. } => {
                let whole = self.partial.take();
                if whole.as_ref().is_some_and(|whole| whole.skipped.is_some()) {
                    return Ok(Taken::TooLong);
                }
                let message = whole.map(|whole| whole.bytes).unwrap_or_default();
                if out.is_empty() {
                    self.spare = mem::replace(out, message);
                } else if out.try_reserve(message.len()).is_ok() {
                    out.extend_from_slice(&message);
                } else {
                    return Err(self.poison(Why::NoMemory));
                }
            }
        }
        Ok(Taken::Message)
    }

    /// Returns how many bytes of an incomplete message are held.
    pub fn partial_bytes(&self) -> usize {
        let is_held = |partial: &&Partial| partial.missing() > 0;
        self.partial.as_ref().filter(is_held).map_or(0, |partial| partial.bytes.len())
    }

    /// Asks to be woken by the next record. Returns `false` if there is one already, or something
    /// is wrong: call [`scan`](Consumer::scan) again.
    pub fn arm(&mut self) -> bool {
        if self.poisoned.is_some() {
            // This was reported, and no record will be taken any more.
            return true;
        }
        if self.next.is_some() || self.position != self.visible {
            return false;
        }
        if self.is_retired {
            return true;
        }
        // Only if nothing was published since: such a record would not wake this consumer. Release:
        // a producer that sees the bit sees how far this consumer is. No acquire: nothing is read
        // on the strength of the loaded value.
        let armed = self.memory.tail().compare_exchange(
            self.position,
            self.position | SLEEPING,
            Ordering::Release,
            Ordering::Relaxed,
        );
        self.is_armed = match armed {
            Ok(_) => true,
            Err(tail) => tail == self.position | SLEEPING,
        };
        self.is_armed
    }

    /// Removes the request for a wake-up. One may have been sent already.
    pub fn disarm(&mut self) {
        if mem::take(&mut self.is_armed) {
            // Relaxed: only the bit changes, and earlier publications stay visible.
            self.memory.tail().fetch_and(!SLEEPING, Ordering::Relaxed);
        }
    }

    /// Retires the ring. Records that are published after the returned position do not count.
    ///
    /// # Errors
    ///
    /// [`Poisoned`] if that position is invalid.
    pub fn retire(&mut self) -> Result<u64, Poisoned> {
        self.check()?;
        if !self.is_retired {
            let tail = self.close();
            self.see(tail)?;
            self.is_retired = true;
            self.is_armed = false;
        }
        Ok(self.visible)
    }

    /// Returns the ring's memory.
    pub fn memory(&self) -> &M {
        &self.memory
    }

    /// Returns the position up to which records are consumed.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Returns whether there is something that was published and not taken in yet.
    pub fn has_more(&self) -> bool {
        self.poisoned.is_none() && (self.next.is_some() || self.position != self.visible)
    }

    /// Returns whether nothing more will come.
    pub fn is_over(&self) -> bool {
        self.is_retired && !self.has_more()
    }

    /// Returns whether there was something that no honest producer writes.
    pub fn is_poisoned(&self) -> bool {
        self.poisoned.is_some()
    }

    /// Returns whether new records do not count.
    pub fn is_retired(&self) -> bool {
        self.is_retired
    }

    #[inline]
    fn check(&self) -> Result<(), Poisoned> {
        self.poisoned.map_or(Ok(()), |why| Err(Poisoned(why)))
    }

    #[cold]
    fn poison(&mut self, why: Why) -> Poisoned {
        self.poisoned = Some(why);
        self.next = None;
        self.partial = None;
        self.spare = Vec::new();
        self.close();
        Poisoned(why)
    }

    /// Sets the bit, and returns the word with the position that was published just then.
    fn close(&self) -> u64 {
        // Acquire: the bytes before the position are there. Release: a producer that sees the bit
        // sees how far this consumer is.
        self.memory.tail().fetch_or(CLOSED, Ordering::AcqRel)
    }

    /// Accepts a tail, if it is valid.
    #[inline]
    fn see(&mut self, tail: u64) -> Result<(), Poisoned> {
        let position = tail & POSITION;
        let can_be = (self.visible..=MAX_POSITION).contains(&position)
            && position - self.position <= MAX_UNREAD
            && is_aligned(position);
        if !can_be {
            return Err(self.poison(Why::Tail));
        }
        self.visible = position;
        Ok(())
    }

    /// Takes in records before `visible`, up to the next message. Always takes in something, if
    /// there is anything.
    fn advance(&mut self, visible: u64) -> Result<(), Why> {
        let mut jumps = self.limits.max_jumps.max(1);
        let mut budget = self.limits.max_bytes;
        while self.next.is_none() && self.position < visible {
            // 1. Read the header of the next record, and check it.
            let record = self.record()?;
            match record.header.code {
                // 2. A whole message: it is next, and is copied when it is taken.
                Code::Carries(Kind::Message) => self.begin_message(&record)?,
                _ if record.end > visible => break,
                // 3. A fragment: add it to the incomplete message. A peer decides how many there
                //    are, so one call takes a limited number of bytes.
                Code::Carries(kind) => {
                    if budget == 0 {
                        break;
                    }
                    budget = budget.saturating_sub(LEAST_COST.max(record.len as u64));
                    self.take_in(kind, &record)?;
                }
                // 4. The ring goes on in another segment: map it. One call follows a limited number
                //    of these.
                Code::Jump => {
                    if jumps == 0 {
                        break;
                    }
                    jumps -= 1;
                    self.jump(&record)?;
                }
            }
        }
        Ok(())
    }

    /// Reads the header of the next record.
    #[inline]
    fn record(&self) -> Result<Record, Why> {
        let header = self.segment.read_array(self.place.at(self.base, self.position));
        let header = Header::from_bytes(header).map_err(Why::Record)?;
        let size = record::size(header.len.into());
        if size > u64::from(self.place.len) || size > self.visible - self.position {
            return Err(Why::Length);
        }
        Ok(Record {
            header,
            // Not longer than a segment, so it fits.
            len: header.len as usize,
            body: self.position + HEADER_BYTES as u64,
            end: self.position + size,
        })
    }

    #[inline]
    fn begin_message(&mut self, record: &Record) -> Result<(), Why> {
        if record.len > self.limits.max_message {
            return Err(Why::TooLarge);
        }
        // A message that its sender did not complete is forgotten.
        self.partial = None;
        let Record { header: Header { stamp, .. }, len, end, .. } = *record;
        self.next = Some(Next::InRing { stamp, len, end });
        Ok(())
    }

    /// Adds a fragment to the incomplete message.
    fn take_in(&mut self, kind: Kind, record: &Record) -> Result<(), Why> {
        // 1. The first fragment begins with the length of the message.
        let (mut at, mut len) = (record.body, record.len);
        if kind == Kind::First {
            len = len.checked_sub(TOTAL_BYTES).ok_or(Why::Length)?;
            at += TOTAL_BYTES as u64;
            self.begin_partial(record)?;
        }
        // 2. Check that it belongs to the message, and that only the last fragment completes that.
        let mut partial = self.partial.take().ok_or(Why::Fragment)?;
        let missing = partial.missing();
        let fits = if kind == Kind::Last { len as u64 == missing } else { (len as u64) < missing };
        if partial.stamp != record.header.stamp || len == 0 || !fits {
            return Err(Why::Fragment);
        }
        // 3. Copy its bytes, or count them if the message is too long for the receiver.
        if let Some(skipped) = &mut partial.skipped {
            *skipped += len as u64;
        } else {
            partial.reserve(len)?;
            self.read(at, len, &mut partial.bytes);
        }
        if kind == Kind::Last {
            self.next = Some(Next::Assembled { stamp: partial.stamp });
        }
        self.partial = Some(partial);
        // 4. The producer may overwrite it.
        self.consume(record.end);
        Ok(())
    }

    fn begin_partial(&mut self, record: &Record) -> Result<(), Why> {
        // The body begins at a multiple of 16, so these are in one piece.
        let total = self.segment.read_array::<TOTAL_BYTES>(self.place.at(self.base, record.body));
        let total = u64::from_le_bytes(total);
        if total > self.limits.max_message as u64 {
            return Err(Why::TooLarge);
        }
        let is_wanted = total <= self.wanted;
        self.partial = Some(Partial {
            total,
            stamp: record.header.stamp,
            bytes: if is_wanted { mem::take(&mut self.spare) } else { Vec::new() },
            skipped: (!is_wanted).then_some(0),
        });
        Ok(())
    }

    fn jump(&mut self, record: &Record) -> Result<(), Why> {
        if record.len != JUMP_BODY_BYTES {
            return Err(Why::Length);
        }
        let body = self.segment.read_array(self.place.at(self.base, record.body));
        let place = record::jump_from_bytes(body);
        if !place.is_valid() {
            return Err(Why::Jump);
        }
        if place != self.place {
            self.segment = self.memory.segment(place).map_err(|_| Why::Memory)?;
            self.place = place;
        }
        self.base = record.end;
        self.consume(record.end);
        Ok(())
    }

    /// Copies from the segment, where the bytes may be in two pieces.
    #[inline]
    fn read(&self, position: u64, len: usize, out: &mut Vec<u8>) {
        let at = self.place.at(self.base, position);
        let until_end = self.place.len as usize - at;
        self.segment.read(at, len.min(until_end), out);
        if len > until_end {
            self.segment.read(0, len - until_end, out);
        }
    }

    /// Returns the room of what was read to the producer.
    #[inline]
    fn consume(&mut self, end: u64) {
        self.position = end;
        // Release: the bytes before `end` have been read, and may be overwritten by a producer that
        // sees this.
        self.memory.head().store(end, Ordering::Release);
    }
}

#[inline]
fn is_aligned(position: u64) -> bool {
    position % HEADER_BYTES as u64 == 0
}

impl<M: Memory> fmt::Debug for Consumer<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("place", &self.place)
            .field("position", &self.position)
            .field("visible", &self.visible)
            .field("partial", &self.partial)
            .field("is_retired", &self.is_retired)
            .field("poisoned", &self.poisoned)
            .finish_non_exhaustive()
    }
}
