//! The producer of a ring.
//!
//! It keeps its state in private memory. Of what the consumer writes it only uses a `head` that is
//! possible. Even a false `head` costs no more than the consumer's own messages.

use std::io;
use std::sync::atomic::Ordering;
use std::{error, fmt, mem};

use super::memory::{MAX_SEGMENT, Memory, Place, Segment, Word};
use super::record::{self, Code, HEADER_BYTES, Header, JUMP_BODY_BYTES, JUMP_BYTES, Kind};
use super::{CLOSED, SLEEPING};

/// Publishes records in a ring.
pub struct Producer<M: Memory> {
    memory: M,
    segment: M::Segment,
    place: Place,
    /// The position at which the segment was begun.
    base: u64,
    /// The position up to which records are published.
    tail: u64,
    /// The position up to which they were consumed at the last check. There is never less room than
    /// this implies.
    head: u64,
    /// The position up to which records may be published without another check. Beyond it is the
    /// room for a JUMP.
    limit: u64,
    /// The segments that were left for others, except the first, each with the position from which
    /// on it is no longer read.
    left: Vec<(Place, u64)>,
    /// A JUMP cleared the consumer's bit, and the wake-up is still to be sent.
    owes_wake: bool,
    is_closed: bool,
}

/// The result of publishing a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the consumer may be waiting to be woken"]
pub struct Pushed {
    /// The consumer had asked to be woken, and only this caller can do so.
    pub must_wake: bool,
}

/// Why a record is not published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushError {
    /// There is no room for it now, or never in this segment. [`Producer::grow`] makes some.
    Full,
    /// The consumer has retired the ring. It may have consumed earlier records, or still do so. It
    /// will consume no later ones.
    Closed,
}

/// The state that the consumer gives a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The consumer has not set one yet.
    Offered,
    /// The consumer reads the ring.
    Accepted,
    /// The consumer reads the ring, and ignores the order between this and other rings.
    AcceptedAlone,
    /// The consumer does not read the ring now, or the value is not valid.
    Refused,
    /// The consumer will never read a ring.
    Unwanted,
}

impl State {
    const OFFERED: u64 = 0;
    const ACCEPTED: u64 = 1;
    const REFUSED: u64 = 2;
    const ACCEPTED_ALONE: u64 = 3;
    const UNWANTED: u64 = 4;

    /// Returns the state of the ring in this memory.
    pub fn of<M: Memory>(memory: &M) -> State {
        // Acquire: what was done before the state was set, is done.
        match memory.state().load(Ordering::Acquire) {
            State::OFFERED => State::Offered,
            State::ACCEPTED => State::Accepted,
            State::ACCEPTED_ALONE => State::AcceptedAlone,
            State::UNWANTED => State::Unwanted,
            _ => State::Refused,
        }
    }

    /// Sets the state of the ring in this memory.
    pub fn tell<M: Memory>(self, memory: &M) {
        let word = match self {
            State::Offered => State::OFFERED,
            State::Accepted => State::ACCEPTED,
            State::AcceptedAlone => State::ACCEPTED_ALONE,
            State::Refused => State::REFUSED,
            State::Unwanted => State::UNWANTED,
        };
        memory.state().store(word, Ordering::Release);
    }
}

impl<M: Memory> Producer<M> {
    /// Begins a ring in new memory, which is all zero.
    ///
    /// # Errors
    ///
    /// The errors of [`Memory::segment`].
    pub fn new(memory: M) -> io::Result<Producer<M>> {
        let segment = memory.segment(Place::FIRST)?;
        Ok(Producer {
            memory,
            segment,
            place: Place::FIRST,
            base: 0,
            tail: 0,
            head: 0,
            limit: u64::from(Place::FIRST.len) - JUMP_BYTES,
            left: Vec::new(),
            owes_wake: false,
            is_closed: false,
        })
    }

    /// Writes and publishes a record whose body is both parts, one after the other.
    ///
    /// Beginning another message aborts one that is not complete.
    ///
    /// # Errors
    ///
    /// [`PushError`]; nothing was published.
    ///
    /// [`PushError`]; nothing was published.
    #[inline]
    pub fn push(&mut self, kind: Kind, stamp: u64, parts: [&[u8]; 2]) -> Result<Pushed, PushError> {
        let len = (parts[0].len() as u64).saturating_add(parts[1].len() as u64);
        let size = record::size(len);
        if self.is_closed {
            return Err(PushError::Closed);
        }
        if size > self.limit - self.tail {
            self.find_room(size)?;
        }
        // It fits into a segment, so its length fits into 32 bits.
        let header = Header { len: len as u32, code: Code::Carries(kind), stamp };
        let body = self.tail + HEADER_BYTES as u64;
        self.segment.write(self.place.at(self.base, self.tail), &header.to_bytes());
        self.write(body, parts[0]);
        self.write(body + parts[0].len() as u64, parts[1]);
        let was_sleeping = self.publish(self.tail + size)?;
        Ok(Pushed { must_wake: was_sleeping | mem::take(&mut self.owes_wake) })
    }

    /// Continues in a new segment. It is larger than this one unless that is not allowed, and large
    /// enough for a record with a body of `need` bytes. If the ring was retired, does nothing, and
    /// the next [`push`](Producer::push) fails.
    ///
    /// # Errors
    ///
    /// The errors of [`Memory::segment`], and [`InvalidInput`](io::ErrorKind::InvalidInput) if no
    /// segment is large enough. The ring goes on as before.
    pub fn grow(&mut self, need: usize) -> io::Result<()> {
        let need = need as u64;
        if need > record::MAX_BODY_BYTES {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a record is longer than any segment",
            ));
        }
        // At most the longest segment, so it fits.
        let enough = (record::size(need) + JUMP_BYTES).next_power_of_two() as u32;
        let len = (2 * self.place.len).min(MAX_SEGMENT).max(enough);
        self.look();
        self.release_left();
        let place = self.vacancy(len)?;
        self.jump(place)
    }

    /// Goes back to the first segment if everything was consumed, and releases segments that are no
    /// longer read. That is little work, but more than none: not for every message.
    pub fn settle(&mut self) {
        self.look();
        self.release_left();
        if self.place != Place::FIRST && self.head == self.tail {
            // If that fails, this segment is as good.
            let _ = self.jump(Place::FIRST);
        }
    }

    /// Ends the ring: nothing is published any more. Earlier records are still consumed.
    pub fn retire(&mut self) {
        if !self.is_closed {
            self.close();
        }
    }

    /// Returns the ring's memory, for the consumer.
    pub fn memory(&self) -> &M {
        &self.memory
    }

    /// Returns the length of the current segment.
    pub fn len(&self) -> u32 {
        self.place.len
    }

    /// Returns the state that the consumer gives the ring.
    pub fn state(&self) -> State {
        State::of(&self.memory)
    }

    /// Returns the position up to which records were consumed, as far as the consumer says, which
    /// shows whether it is moving. An impossible value is ignored.
    pub fn consumed(&self) -> u64 {
        // Acquire: it has read the bytes before `head`, so they may be overwritten.
        let head = self.memory.head().load(Ordering::Acquire);
        if (self.head..=self.tail).contains(&head) { head } else { self.head }
    }

    /// Returns whether everything that was published was consumed, as far as the consumer says.
    pub fn is_empty(&self) -> bool {
        self.consumed() == self.tail
    }

    /// Checks how far the consumer is, because there is no room.
    #[cold]
    fn find_room(&mut self, size: u64) -> Result<(), PushError> {
        self.look();
        if size <= self.limit - self.tail {
            return Ok(());
        }
        // Relaxed: nothing is read on the strength of it. A ring that was retired need not grow
        // first to find that out.
        if self.memory.tail().load(Ordering::Relaxed) & CLOSED != 0 {
            return Err(self.close());
        }
        Err(PushError::Full)
    }

    fn look(&mut self) {
        self.head = self.consumed();
        self.limit = self.head.max(self.base) + u64::from(self.place.len) - JUMP_BYTES;
    }

    /// Writes part of a body.
    #[inline]
    fn write(&self, position: u64, bytes: &[u8]) {
        // Most bodies have one part. A call to copy nothing takes as long as one that copies a few
        // bytes.
        if bytes.is_empty() {
            return;
        }
        let at = self.place.at(self.base, position);
        let until_end = self.place.len as usize - at;
        match bytes.split_at_checked(until_end) {
            None => self.segment.write(at, bytes),
            Some((before, after)) => {
                self.segment.write(at, before);
                self.segment.write(0, after);
            }
        }
    }

    /// Publishes what was written, up to `end`. Returns whether the consumer slept.
    #[inline]
    fn publish(&mut self, end: u64) -> Result<bool, PushError> {
        // Release: a consumer that sees `end` sees the bytes before it. Acquire: a consumer that
        // went to sleep or retired the ring has consumed what it has, and `head` says so. One
        // operation: between a load of the bits and a store the consumer could set them.
        let old = self.memory.tail().swap(end, Ordering::AcqRel);
        if old & CLOSED != 0 {
            return Err(self.close());
        }
        self.tail = end;
        Ok(old & SLEEPING != 0)
    }

    #[cold]
    fn close(&mut self) -> PushError {
        self.is_closed = true;
        // If the consumer has set it, it has its final position already, and this is for consumers
        // that load the word later.
        self.memory.tail().fetch_or(CLOSED, Ordering::Relaxed);
        PushError::Closed
    }

    /// Publishes a JUMP to another segment. There is always room for that.
    fn jump(&mut self, place: Place) -> io::Result<()> {
        if self.is_closed {
            return Ok(());
        }
        let segment = self.memory.segment(place)?;
        let header = Header { len: JUMP_BODY_BYTES as u32, code: Code::Jump, stamp: 0 };
        self.segment.write(self.place.at(self.base, self.tail), &header.to_bytes());
        self.write(self.tail + HEADER_BYTES as u64, &record::jump_to_bytes(place));
        let Ok(was_sleeping) = self.publish(self.tail + JUMP_BYTES) else {
            return Ok(());
        };
        // A JUMP is nothing to wake up for, but the next record will not find the bit.
        self.owes_wake |= was_sleeping;
        let left = mem::replace(&mut self.place, place);
        if left != Place::FIRST {
            self.left.push((left, self.tail));
        }
        self.segment = segment;
        self.base = self.tail;
        self.look();
        Ok(())
    }

    /// Releases the segments that the consumer has left, too.
    fn release_left(&mut self) {
        let (memory, head) = (&self.memory, self.head);
        self.left.retain(|(place, end)| {
            let is_read = head < *end;
            if !is_read {
                memory.release(*place);
            }
            is_read
        });
    }

    /// Returns the first place that is free and long enough, so that the memory does not grow for
    /// ever.
    fn vacancy(&self, len: u32) -> io::Result<Place> {
        let mut taken: Vec<Place> = self.left.iter().map(|(place, _)| *place).collect();
        taken.extend([Place::FIRST, self.place]);
        taken.sort_by_key(|place| place.offset);
        let mut vacancy = Place { offset: Place::FIRST.offset, len };
        for place in taken {
            if vacancy.end() <= place.offset {
                break;
            }
            vacancy.offset = place.end();
        }
        let is_too_far = io::ErrorKind::FileTooLarge;
        if vacancy.is_valid() { Ok(vacancy) } else { Err(is_too_far.into()) }
    }
}

impl<M: Memory> fmt::Debug for Producer<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer")
            .field("place", &self.place)
            .field("tail", &self.tail)
            .field("head", &self.head)
            .field("is_closed", &self.is_closed)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for PushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PushError::Full => "the ring is full",
            PushError::Closed => "the ring is retired",
        })
    }
}

impl error::Error for PushError {}
