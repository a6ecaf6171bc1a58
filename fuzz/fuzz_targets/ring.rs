//! The producer and the consumer of a ring, and a hostile process that writes to its memory,
//! between their steps and during them. No such write makes the producer or the consumer panic,
//! or the consumer exceed what it may take, map, read or keep. A record that was not
//! overwritten arrives as it was sent. All records do, unless a position or an unread record
//! was overwritten.
//!
//! Half of the inputs are programs for the hostile producer of the tests.

#![no_main]

#[path = "../../tests/ring/hostile.rs"]
mod hostile;
#[path = "../../tests/ring/memory.rs"]
mod memory;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use strait::internals::ring::{
    CLOSED, Consumer, ConsumerLimits, Kind, Memory, Place, Poisoned, Producer, PushError, Segment,
    State, UNIT, Word,
};

#[derive(Arbitrary, Debug)]
enum Input {
    Lies(Vec<u8>),
    Both(Vec<Step>),
}

#[derive(Arbitrary, Debug)]
enum Step {
    /// In one piece, or in pieces of that size. When there is no room, it grows or gives up.
    Send {
        len: Len,
        piece: Option<u16>,
        grows: bool,
    },
    Grow {
        need: u16,
    },
    Settle,
    Look,
    Scan,
    Front {
        scan: u8,
    },
    Take {
        into: u8,
    },
    /// Takes all messages.
    Drain,
    Arm,
    Disarm,
    Retire,
    Say {
        accepts: bool,
    },
    Move,
    /// Now, or before the memory is used so many more times.
    Lie {
        after: u8,
        lie: Lie,
    },
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Len {
    Short(u8),
    Middling(u16),
    Long(u32),
}

impl Len {
    fn number(self) -> u32 {
        match self {
            Len::Short(len) => len.into(),
            Len::Middling(len) => len.into(),
            Len::Long(len) => len,
        }
    }
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Publishes {
    Nothing,
    WhatIsWritten,
    WhatIsAnnounced,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Lie {
    Tail {
        word: u64,
    },
    /// An almost valid record.
    TailBy {
        records: i8,
        bits: u8,
    },
    Head {
        word: u64,
    },
    HeadBy {
        records: i8,
    },
    State {
        word: u64,
    },
    Bytes {
        at: u32,
        bytes: [u8; 4],
    },
    /// In the bytes that were written last.
    Damage {
        back: u16,
        byte: u8,
    },
    /// A record in the place of the next one, after the last write.
    Record {
        kind: u8,
        len: u16,
        wrong_len: Option<Len>,
        stamp: u8,
        total: Len,
        publishes: Publishes,
    },
    Jump {
        unit: u8,
        log: u8,
        publishes: Publishes,
    },
}

const LIMITS: ConsumerLimits =
    ConsumerLimits { max_message: 40_000, max_jumps: 3, max_bytes: 80_000 };

/// How much memory there is at most.
const MOST: u64 = 1 << 20;

/// The maximum that one step may read: fragments, one more that exceeds the limit, and headers.
const MOST_READ: u64 = LIMITS.max_bytes + 2 * LIMITS.max_message as u64;

const TAIL: usize = 0;
const HEAD: usize = 1;
const STATE: usize = 2;

/// A message that was sent and not taken yet.
struct Sent {
    stamp: u64,
    body: Vec<u8>,
    /// Its places in the memory, with the records before it.
    parts: Vec<Range<u64>>,
}

/// What the hostile process has done, and what the consumer may still expect.
#[derive(Default)]
struct Books {
    sent: VecDeque<Sent>,
    taken: u64,
    /// What the producer has written since.
    writing: Vec<Range<u64>>,
    /// From this message on, no content is guaranteed.
    doubtful: Option<u64>,
}

impl Books {
    fn doubt(&mut self, from: u64) {
        self.doubtful = Some(self.doubtful.map_or(from, |doubtful| doubtful.min(from)));
    }

    fn next_to_send(&self) -> u64 {
        self.taken + self.sent.len() as u64
    }

    fn damage(&mut self, bytes: &Range<u64>) {
        let is_hit = |parts: &[Range<u64>]| {
            parts.iter().any(|part| part.start < bytes.end && bytes.start < part.end)
        };
        if let Some(index) = self.sent.iter().position(|sent| is_hit(&sent.parts)) {
            self.doubt(self.taken + index as u64);
        } else if is_hit(&self.writing) {
            self.doubt(self.next_to_send());
        }
    }
}

/// The memory itself.
struct World {
    words: [Cell<u64>; 3],
    bytes: RefCell<Vec<u8>>,
    books: RefCell<Books>,
    /// Hostile writes, and before which use of the memory they are made.
    lies: RefCell<VecDeque<(u8, Lie)>>,
    /// Where the next record is expected.
    cursor: Cell<(Place, u64)>,
    /// What the consumer has mapped now, and mapped and read in this step.
    mapped: Cell<u32>,
    maps: Cell<u32>,
    reads: Cell<u64>,
}

impl World {
    /// Called for each use of the memory: writes what is due.
    fn is_used(&self) {
        if self.lies.borrow().is_empty() {
            return;
        }
        let due = {
            let mut lies = self.lies.borrow_mut();
            lies.iter_mut().for_each(|(after, _)| *after = after.saturating_sub(1));
            let due: Vec<Lie> = lies.iter().filter(|lie| lie.0 == 0).map(|lie| lie.1).collect();
            lies.retain(|lie| lie.0 > 0);
            due
        };
        due.into_iter().for_each(|lie| self.lie(lie));
    }

    fn lie(&self, lie: Lie) {
        let tail = self.words[TAIL].get();
        let by = |word: u64, records: i8| word.wrapping_add_signed(16 * i64::from(records));
        match lie {
            Lie::Tail { word } => self.lie_about_tail(word),
            Lie::TailBy { records, bits } => {
                self.lie_about_tail(by(tail, records) ^ u64::from(bits & 3) << 62);
            }
            Lie::Head { word } => self.lie_about_head(word),
            Lie::HeadBy { records } => self.lie_about_head(by(self.words[HEAD].get(), records)),
            Lie::State { word } => self.words[STATE].set(word),
            Lie::Bytes { at, bytes } => {
                let len = self.bytes.borrow().len() as u64;
                self.scribble(u64::from(at) % len, &bytes);
            }
            Lie::Damage { back, byte } => {
                let (place, at) = self.cursor.get();
                let len = u64::from(place.len);
                let at = at.wrapping_sub(u64::from(back)) % len;
                self.scribble(place.offset + at, &[byte]);
            }
            Lie::Record { kind, len, wrong_len, stamp, total, publishes } => {
                // There are five kinds.
                let kind = kind % 7;
                let mut body = vec![kind; len.into()];
                if kind == 2 {
                    let total = u64::from(total.number()).to_le_bytes();
                    body.iter_mut().zip(total).for_each(|(to, byte)| *to = byte);
                }
                let len = wrong_len.map_or(len.into(), Len::number);
                self.record(kind, len, stamp, &body, publishes);
            }
            Lie::Jump { unit, log, publishes } => {
                // Mostly where there is memory.
                let unit = if unit < 128 { unit % 16 } else { unit };
                let len = (UNIT as u32 / 2) << (log % 8);
                let place = Place { offset: UNIT * u64::from(unit), len };
                let mut body = place.offset.to_le_bytes().to_vec();
                body.extend(place.len.to_le_bytes());
                body.extend([0; 4]);
                self.record(5, 16, 0, &body, publishes);
                if !matches!(publishes, Publishes::Nothing) {
                    self.cursor.set((place, 0));
                }
            }
        }
    }

    fn lie_about_tail(&self, word: u64) {
        let mut books = self.books.borrow_mut();
        // Sent messages are still before it; the next ones may be at places that the consumer
        // has passed.
        let next = books.next_to_send();
        books.doubt(next);
        self.words[TAIL].set(word);
    }

    fn lie_about_head(&self, word: u64) {
        let mut books = self.books.borrow_mut();
        // The producer may overwrite unread records.
        let next = books.taken;
        books.doubt(next);
        self.words[HEAD].set(word);
    }

    fn record(&self, kind: u8, len: u32, stamp: u8, body: &[u8], publishes: Publishes) {
        let mut record = len.to_le_bytes().to_vec();
        record.extend([kind, 0, 0, 0, stamp, 0, 0, 0, 0, 0, 0, 0]);
        record.extend(body);
        record.resize(record.len().next_multiple_of(16), 0);
        let (place, at) = self.cursor.get();
        let until_end = record.len().min((u64::from(place.len) - at) as usize);
        let (before, after) = record.split_at(until_end);
        self.scribble(place.offset + at, before);
        self.scribble(place.offset, after);
        let size = match publishes {
            Publishes::Nothing => return,
            Publishes::WhatIsWritten => record.len() as u64,
            Publishes::WhatIsAnnounced => (u64::from(len) + 16).next_multiple_of(16),
        };
        self.cursor.set((place, (at + size) % u64::from(place.len)));
        self.lie_about_tail(self.words[TAIL].get().wrapping_add(size));
    }

    /// Writes as far as there is memory.
    fn scribble(&self, at: u64, bytes: &[u8]) {
        let mut memory = self.bytes.borrow_mut();
        let start = at.min(memory.len() as u64) as usize;
        let end = (start + bytes.len()).min(memory.len());
        memory[start..end].copy_from_slice(&bytes[..end - start]);
        self.books.borrow_mut().damage(&(start as u64..end as u64));
    }
}

/// One of the words.
struct FuzzWord(Rc<World>, usize);

impl FuzzWord {
    fn update(&self, new: impl FnOnce(u64) -> u64) -> u64 {
        self.0.is_used();
        let word = &self.0.words[self.1];
        word.replace(new(word.get()))
    }
}

impl Word for FuzzWord {
    fn load(&self, _: Ordering) -> u64 {
        self.update(|word| word)
    }

    fn store(&self, value: u64, _: Ordering) {
        self.update(|_| value);
    }

    fn swap(&self, value: u64, _: Ordering) -> u64 {
        self.update(|_| value)
    }

    fn fetch_or(&self, bits: u64, _: Ordering) -> u64 {
        self.update(|word| word | bits)
    }

    fn fetch_and(&self, bits: u64, _: Ordering) -> u64 {
        self.update(|word| word & bits)
    }

    fn compare_exchange(
        &self,
        current: u64,
        new: u64,
        _: Ordering,
        _: Ordering,
    ) -> Result<u64, u64> {
        let old = self.update(|word| if word == current { new } else { word });
        if old == current { Ok(old) } else { Err(old) }
    }
}

/// The memory of the producer or of the consumer.
struct FuzzMemory {
    world: Rc<World>,
    words: [FuzzWord; 3],
    is_producer: bool,
}

impl FuzzMemory {
    fn new(world: &Rc<World>, is_producer: bool) -> FuzzMemory {
        let words = [TAIL, HEAD, STATE].map(|word| FuzzWord(Rc::clone(world), word));
        FuzzMemory { world: Rc::clone(world), words, is_producer }
    }
}

impl Memory for FuzzMemory {
    type Word = FuzzWord;
    type Segment = FuzzSegment;

    fn tail(&self) -> &FuzzWord {
        &self.words[TAIL]
    }

    fn head(&self) -> &FuzzWord {
        &self.words[HEAD]
    }

    fn state(&self) -> &FuzzWord {
        &self.words[STATE]
    }

    fn segment(&self, place: Place) -> io::Result<FuzzSegment> {
        assert!(place.is_valid(), "{place:?}");
        self.world.is_used();
        let end = place.offset + u64::from(place.len);
        let mut bytes = self.world.bytes.borrow_mut();
        if self.is_producer {
            if end > MOST {
                return Err(io::ErrorKind::OutOfMemory.into());
            }
            let len = bytes.len().max(end as usize);
            bytes.resize(len, 0);
        } else {
            self.world.maps.set(self.world.maps.get() + 1);
            assert!(self.world.maps.get() <= LIMITS.max_jumps, "too many JUMPs in one step");
            if end > bytes.len() as u64 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.world.mapped.set(self.world.mapped.get() + 1);
            assert!(self.world.mapped.get() <= 2, "more is mapped than is used");
        }
        Ok(FuzzSegment { world: Rc::clone(&self.world), place, is_producer: self.is_producer })
    }

    fn release(&self, place: Place) {
        assert!(self.is_producer && place != Place::FIRST && place.is_valid(), "{place:?}");
        // Makes a later read of the released pages fail.
        let start = place.offset as usize;
        self.world.bytes.borrow_mut()[start..start + place.len as usize].fill(0xdb);
    }
}

/// A segment of it.
struct FuzzSegment {
    world: Rc<World>,
    place: Place,
    is_producer: bool,
}

impl Drop for FuzzSegment {
    fn drop(&mut self) {
        if !self.is_producer {
            self.world.mapped.set(self.world.mapped.get() - 1);
        }
    }
}

impl FuzzSegment {
    /// Where a part of it is in the memory.
    fn range(&self, at: usize, len: usize) -> Range<usize> {
        let end = at.checked_add(len).expect("the end of a segment is a number");
        assert!(end <= self.place.len as usize, "beyond the segment: {len} bytes from {at}");
        let offset = self.place.offset as usize;
        offset + at..offset + end
    }
}

impl Segment for FuzzSegment {
    fn write(&self, at: usize, bytes: &[u8]) {
        let range = self.range(at, bytes.len());
        self.world.is_used();
        let mut books = self.world.books.borrow_mut();
        books.writing.push(range.start as u64..range.end as u64);
        let next = (at + bytes.len()).next_multiple_of(16) as u64 % u64::from(self.place.len);
        self.world.cursor.set((self.place, next));
        self.world.bytes.borrow_mut()[range].copy_from_slice(bytes);
    }

    fn read(&self, at: usize, len: usize, out: &mut Vec<u8>) {
        let range = self.range(at, len);
        self.world.reads.set(self.world.reads.get() + len as u64);
        // Several writes can happen while many bytes are read.
        let middle = range.start + len / 2;
        for part in [range.start..middle, middle..range.end] {
            self.world.is_used();
            out.extend_from_slice(&self.world.bytes.borrow()[part]);
        }
    }

    fn read_array<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut bytes = Vec::with_capacity(N);
        self.read(at, N, &mut bytes);
        bytes.try_into().expect("as many were read")
    }
}

fn message(stamp: u64, len: usize) -> Vec<u8> {
    (0..len as u64).map(|at| (stamp.wrapping_mul(31) ^ at ^ (at >> 8)) as u8).collect()
}

struct Run {
    world: Rc<World>,
    producer: Producer<FuzzMemory>,
    /// `None` only while it is moved.
    consumer: Option<Consumer<FuzzMemory>>,
    scans: Vec<u64>,
    front: Option<u64>,
    stamp: u64,
    sleeps: bool,
    is_retired: bool,
    is_poisoned: bool,
}

impl Run {
    fn new() -> Run {
        let world = Rc::new(World {
            words: Default::default(),
            bytes: RefCell::default(),
            books: RefCell::default(),
            lies: RefCell::default(),
            cursor: Cell::new((Place::FIRST, 0)),
            mapped: Cell::new(0),
            maps: Cell::new(0),
            reads: Cell::new(0),
        });
        let producer = Producer::new(FuzzMemory::new(&world, true)).unwrap();
        let consumer = Some(Consumer::new(FuzzMemory::new(&world, false), LIMITS).unwrap());
        Run {
            world,
            producer,
            consumer,
            scans: vec![0],
            front: None,
            stamp: 0,
            sleeps: false,
            is_retired: false,
            is_poisoned: false,
        }
    }

    fn consumer(&mut self) -> &mut Consumer<FuzzMemory> {
        self.consumer.as_mut().unwrap()
    }

    /// Whether no write of the hostile process has made the ring doubtful.
    fn is_honest(&self) -> bool {
        self.world.books.borrow().doubtful.is_none()
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Send { len, piece, grows } => self.send(len, piece, grows),
            Step::Grow { need } => {
                // There may be no memory.
                let _ = self.producer.grow(need.into());
            }
            Step::Settle => self.producer.settle(),
            Step::Look => {
                self.producer.state();
                self.producer.consumed();
            }
            Step::Scan => self.scan(),
            Step::Front { scan } => self.front(scan),
            Step::Take { into } => self.take(into),
            Step::Drain => self.drain(),
            Step::Arm => self.arm(),
            Step::Disarm => {
                self.consumer().disarm();
                self.sleeps = false;
            }
            Step::Retire => {
                let end = self.consumer().retire();
                let end = self.checked(end);
                self.scans.extend(end);
                self.is_retired = true;
            }
            Step::Say { accepts: true } => self.consumer().tell(State::Accepted),
            Step::Say { accepts: false } => self.consumer().tell(State::Refused),
            Step::Move => self.moves(),
            Step::Lie { after: 0, lie } => self.world.lie(lie),
            Step::Lie { after, lie } => self.world.lies.borrow_mut().push_back((after, lie)),
        }
    }

    fn send(&mut self, len: Len, piece: Option<u16>, grows: bool) {
        let len = len.number() as usize % (LIMITS.max_message + 1);
        self.stamp += 1;
        let stamp = self.stamp;
        let body = message(stamp, len);
        let piece = piece.map_or(len, |piece| usize::from(piece).max(1 + len / 100));
        let mut rest = &body[..];
        loop {
            let is_first = rest.len() == len;
            let (bytes, after) = rest.split_at(rest.len().min(piece));
            let total = (len as u64).to_le_bytes();
            let (kind, parts) = match (is_first, after.is_empty()) {
                (true, true) => (Kind::Message, [&bytes[..len / 3], &bytes[len / 3..]]),
                (true, false) => (Kind::First, [&total[..], bytes]),
                (false, false) => (Kind::Middle, [bytes, &[]]),
                (false, true) => (Kind::Last, [&[], bytes]),
            };
            if !self.push(kind, stamp, parts, grows) {
                return;
            }
            if after.is_empty() {
                break;
            }
            rest = after;
        }
        let mut books = self.world.books.borrow_mut();
        let parts = std::mem::take(&mut books.writing);
        books.sent.push_back(Sent { stamp, body, parts });
    }

    fn push(&mut self, kind: Kind, stamp: u64, parts: [&[u8]; 2], grows: bool) -> bool {
        let mut pushed = self.producer.push(kind, stamp, parts);
        if pushed == Err(PushError::Full) && grows {
            let is_grown = self.producer.grow(parts[0].len() + parts[1].len()).is_ok();
            pushed = self.producer.push(kind, stamp, parts);
            let is_full = pushed == Err(PushError::Full);
            assert!(!is_full || !is_grown, "it has grown, and there is no room");
        }
        let slept = std::mem::take(&mut self.sleeps);
        match pushed {
            Ok(pushed) => {
                assert!(!self.is_retired || !self.is_honest(), "it was retired");
                assert!(pushed.must_wake || !slept || !self.is_honest(), "it sleeps on");
                return true;
            }
            Err(PushError::Full) => self.sleeps = slept,
            Err(PushError::Closed) => {
                assert!(self.is_retired || self.is_poisoned || !self.is_honest());
            }
        }
        false
    }

    /// Fails if an honest ring is reported as poisoned, or if a poisoned ring is not any more.
    fn checked<T>(&mut self, result: Result<T, Poisoned>) -> Option<T> {
        match result {
            Ok(it) => {
                assert!(!self.is_poisoned, "it was poisoned and is no more");
                Some(it)
            }
            Err(Poisoned(why)) => {
                assert!(!self.is_honest(), "{why}");
                if !self.is_poisoned {
                    let tail = self.world.words[TAIL].get();
                    assert_ne!(tail & CLOSED, 0, "the producer must hear of it");
                }
                self.is_poisoned = true;
                self.front = None;
                None
            }
        }
    }

    fn scan(&mut self) {
        let visible = self.consumer().scan();
        if let Some(visible) = self.checked(visible) {
            assert!(visible >= *self.scans.last().unwrap());
            self.scans.push(visible);
        }
    }

    fn front(&mut self, scan: u8) {
        let back = usize::from(scan % 4).min(self.scans.len() - 1);
        let visible = self.scans[self.scans.len() - 1 - back];
        self.world.maps.set(0);
        self.world.reads.set(0);
        let before = self.consumer().position();
        let front = self.consumer().front(visible);
        let position = self.consumer().position();
        assert!(position == before || before < position && position <= visible);
        assert!(self.world.reads.get() <= MOST_READ, "too much in one step");
        assert!(self.consumer().partial_bytes() < LIMITS.max_message);
        self.front = self.checked(front).flatten();
    }

    fn take(&mut self, into: u8) {
        let Some(stamp) = self.front.take() else {
            return;
        };
        let mut out = match into % 3 {
            0 => Vec::new(),
            1 => Vec::with_capacity(1000),
            _ => b"before".to_vec(),
        };
        let before = out.len();
        let result = self.consumer().take(&mut out);
        assert!(self.consumer().position() <= *self.scans.last().unwrap());
        if self.checked(result).is_none() {
            return;
        }
        let body = &out[before..];
        assert!(body.len() <= LIMITS.max_message);
        let mut books = self.world.books.borrow_mut();
        let sent = books.sent.pop_front();
        if books.doubtful.is_none_or(|doubtful| books.taken < doubtful) {
            let sent = sent.expect("what is taken was sent");
            assert!(stamp == sent.stamp && body == sent.body, "it is not what was sent");
        }
        books.taken += 1;
    }

    fn arm(&mut self) {
        let is_armed = self.consumer().arm();
        if is_armed && self.is_honest() {
            // Also if there was no need for it.
            assert!(self.front.is_none(), "it sleeps while there is something");
        }
        self.sleeps |= is_armed && !self.is_retired;
    }

    fn moves(&mut self) {
        let (memory, state) = self.consumer.take().unwrap().into_parts();
        if let Some(partial) = &state.partial {
            let (len, capacity) = (partial.bytes.len(), partial.bytes.capacity());
            assert!(partial.total <= LIMITS.max_message as u64 && len as u64 <= partial.total);
            assert!(capacity <= LIMITS.max_message + 1000, "reserved for more than there may be");
        }
        self.world.maps.set(0);
        self.sleeps = false;
        self.front = None;
        // A moved consumer would continue with the state of a poisoned one.
        self.is_poisoned = false;
        self.consumer = Some(Consumer::from_parts(memory, state, LIMITS).unwrap());
    }

    fn drain(&mut self) {
        // A false count can announce more messages than this loop waits for.
        let mut patience = 100;
        loop {
            let before = self.consumer().position();
            self.scan();
            self.front(0);
            if self.is_poisoned {
                return;
            }
            let has_front = self.front.is_some();
            self.take(0);
            if !has_front && self.consumer().arm() {
                break;
            }
            if !self.is_honest() {
                patience -= 1;
                if patience == 0 {
                    return;
                }
            }
            let is_disturbed = !self.world.lies.borrow().is_empty() || !self.is_honest();
            let has_moved = has_front || self.consumer().position() > before;
            assert!(has_moved || is_disturbed, "it stands still");
        }
        if self.is_honest() {
            self.sleeps |= !self.is_retired;
            assert!(self.world.books.borrow().sent.is_empty(), "something is missing");
            let is_empty = self.producer.is_empty();
            assert!(is_empty || !self.is_honest());
        }
    }

    fn end(mut self) {
        self.drain();
        // From here on the memory is not overwritten.
        self.world.lies.borrow_mut().clear();
        self.drain();
        if self.is_honest() && !self.is_retired {
            self.send(Len::Short(60), None, true);
            self.drain();
        }
        if self.is_poisoned {
            assert_eq!(self.consumer().partial_bytes(), 0);
            assert!(self.consumer().arm(), "nothing will be taken any more");
        }
    }
}

fuzz_target!(|input: Input| {
    match input {
        Input::Lies(program) => hostile::run(&program),
        Input::Both(steps) => {
            let mut run = Run::new();
            for step in steps {
                run.step(step);
            }
            run.end();
        }
    }
});
