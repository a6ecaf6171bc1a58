//! A hostile producer, which writes any bytes at any time. Its program is any sequence of
//! bytes. Most of its records are almost valid, so that they pass the first check.

#![allow(dead_code, unreachable_pub, reason = "each user uses a part of it")]

use strait::internals::ring::{
    CLOSED, Consumer, ConsumerLimits, ConsumerState, FIRST_LEN, Memory, Partial, Place, Poisoned,
    UNIT, Why,
};

use super::memory::{TestMemory, memory};

/// Low enough to be exceeded.
const LIMITS: ConsumerLimits =
    ConsumerLimits { max_message: 200_000, max_jumps: 3, max_bytes: 64 << 10 };

/// The end of the memory, behind the first page: the first segment and as much again.
const END: u64 = UNIT + 2 * FIRST_LEN as u64;

/// The rest of the program, followed by zeroes without end.
struct Program<'a>(&'a [u8]);

impl Program<'_> {
    fn byte(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let (now, later) = self.0.split_at(N.min(self.0.len()));
        array[..now.len()].copy_from_slice(now);
        self.0 = later;
        array
    }

    /// A number, small ones more often than large ones.
    fn number(&mut self) -> u64 {
        match self.byte() % 8 {
            0 => 0,
            1..4 => self.byte().into(),
            4..6 => u16::from_le_bytes(self.array()).into(),
            6 => u32::from_le_bytes(self.array()).into(),
            _ => u64::from_le_bytes(self.array()),
        }
    }

    fn place(&mut self) -> Place {
        let pages = FIRST_LEN / UNIT as u32;
        match self.byte() % 4 {
            0 => Place::FIRST,
            // Perhaps not all of it is there.
            1 | 2 => Place {
                offset: UNIT * (1 + u64::from(self.byte()) % u64::from(3 * pages)),
                len: (UNIT as u32) << (self.byte() % 6),
            },
            _ => Place { offset: self.number(), len: self.number() as u32 },
        }
    }
}

/// A producer, with the state of an honest one.
struct Hostile<'a> {
    program: Program<'a>,
    outside: TestMemory,
    place: Place,
    base: u64,
    tail: u64,
    /// What is missing of the message whose fragments are being written.
    missing: u64,
    stamp: u8,
}

impl Hostile<'_> {
    /// Writes bytes as far as there is memory, wrapping at the end of the segment.
    fn write(&self, position: u64, bytes: &[u8]) {
        let len = u64::from(self.place.len.max(1));
        let at = position.wrapping_sub(self.base) % len;
        let until_end = bytes.len().min((len - at) as usize);
        let (before, after) = bytes.split_at(until_end);
        self.outside.scribble(self.place.offset.wrapping_add(at), before);
        self.outside.scribble(self.place.offset, after);
    }

    fn record(&mut self) {
        let choice = self.program.byte();
        let kind = match choice % 16 {
            0..4 => 1,
            4..7 => 2,
            7..10 => 3,
            10..12 => 4,
            12..15 => 5,
            _ => self.program.byte(),
        };
        let mut body = Vec::new();
        match kind {
            2 => {
                let total = self.program.number();
                body.extend(total.to_le_bytes());
                let bytes = self.program.number() % 40_000;
                self.missing = total.saturating_sub(bytes);
                body.resize(8 + bytes as usize, choice);
                self.stamp = choice / 16 % 4;
            }
            3 => {
                let bytes = self.program.number() % self.missing.clamp(1, 40_000);
                self.missing -= bytes.min(self.missing);
                body.resize(bytes as usize, choice);
            }
            4 if self.missing < 50_000 => body.resize(self.missing as usize, choice),
            5 => {
                let place = self.program.place();
                body.extend(place.offset.to_le_bytes());
                body.extend(place.len.to_le_bytes());
                body.extend([0; 4]);
            }
            _ => body.resize(self.program.number() as usize % 40_000, choice),
        }
        // One in eight has a false length, one another stamp.
        let lie = self.program.byte();
        let len = if lie % 8 == 0 { self.program.number() as u32 } else { body.len() as u32 };
        let stamp = if lie / 8 % 8 == 0 { self.program.byte() } else { self.stamp };
        self.write(self.tail, &len.to_le_bytes());
        self.write(self.tail + 4, &[kind, lie, choice, 0]);
        self.write(self.tail + 8, &u64::from(stamp).to_le_bytes());
        self.write(self.tail + 16, &body);
        self.tail += (body.len() as u64 + 31) & !15;
        if kind == 5 {
            self.place = Place {
                offset: u64::from_le_bytes(body[..8].try_into().unwrap()),
                len: u32::from_le_bytes(body[8..12].try_into().unwrap()),
            };
            self.base = self.tail;
        }
    }

    /// Fills the memory with one record, and announces many.
    fn flood(&mut self) {
        let (kind, stamp) = (self.program.byte() % 8, self.stamp);
        let body = self.program.number().to_le_bytes();
        let place = self.program.place();
        let mut record = vec![self.program.byte() % 48, 0, 0, 0, kind, 0, 0, 0, stamp, 0, 0, 0];
        record.resize(16, 0);
        match kind {
            5 => record.extend(place.offset.to_le_bytes()),
            _ => record.extend(body),
        }
        record.extend(place.len.to_le_bytes());
        record.resize(32, 0);
        self.outside.scribble(UNIT, &record.repeat((END - UNIT) as usize / record.len()));
        self.tail += 32 << (self.program.byte() % 56);
        self.outside.set_tail(self.tail);
    }
}

/// Runs the producer and the consumer.
pub fn run(program: &[u8]) {
    let (producer, memory) = memory();
    for offset in [UNIT, UNIT + u64::from(FIRST_LEN)] {
        producer.segment(Place { offset, len: FIRST_LEN }).unwrap();
    }
    let mut peer = Hostile {
        program: Program(program),
        outside: producer,
        place: Place::FIRST,
        base: 0,
        tail: 0,
        missing: 0,
        stamp: 0,
    };
    let mut victim = Victim::new(memory);
    while !peer.program.0.is_empty() && victim.poisoned.is_none() {
        match peer.program.byte() % 20 {
            0..6 => peer.record(),
            6..8 => peer.outside.set_tail(peer.tail),
            8 => {
                let bits = u64::from(peer.program.byte() & 3) << 62;
                peer.outside.set_tail(peer.tail.wrapping_add(peer.program.number()) | bits);
            }
            9 => {
                let offset = UNIT + u64::from(u16::from_le_bytes(peer.program.array())) * 2;
                let bytes = peer.program.array::<8>();
                peer.outside.scribble(offset, &bytes);
            }
            10 => peer.flood(),
            11 | 12 => victim.scan(),
            13 | 14 => victim.front(peer.program.byte()),
            15 => victim.take(),
            16 => victim.arm(peer.program.byte()),
            17 => victim.moved(),
            18 => victim.replaced(&mut peer.program),
            _ if peer.program.byte() % 16 == 0 => victim.retire(),
            _ => {}
        }
    }
    victim.comes_to_rest();
}

/// A consumer, with checks of all its results.
pub struct Victim {
    /// `None` only while it is moved.
    consumer: Option<Consumer<TestMemory>>,
    outside: TestMemory,
    scans: Vec<u64>,
    has_front: bool,
    poisoned: Option<Why>,
}

impl Victim {
    pub fn new(memory: TestMemory) -> Victim {
        let outside = memory.clone();
        let consumer = Some(Consumer::new(memory, LIMITS).unwrap());
        Victim { consumer, outside, scans: vec![0], has_front: false, poisoned: None }
    }

    fn consumer(&mut self) -> &mut Consumer<TestMemory> {
        self.consumer.as_mut().unwrap()
    }

    /// Checks that a poisoned ring stays poisoned.
    fn checked<T>(&mut self, result: Result<T, Poisoned>) -> Option<T> {
        match result {
            Ok(it) => {
                assert_eq!(self.poisoned, None, "it was poisoned and is no more");
                Some(it)
            }
            Err(Poisoned(why)) => {
                assert!(self.poisoned.is_none_or(|before| before == why), "{why}");
                self.poisoned = Some(why);
                None
            }
        }
    }

    fn scan(&mut self) {
        let result = self.consumer().scan();
        if let Some(visible) = self.checked(result) {
            assert!(visible >= *self.scans.last().unwrap());
            self.scans.push(visible);
        }
    }

    fn front(&mut self, scan: u8) {
        let back = usize::from(scan % 4).min(self.scans.len() - 1);
        let visible = self.scans[self.scans.len() - 1 - back];
        let result = self.consumer().front(visible);
        self.has_front = self.checked(result).flatten().is_some();
        assert!(self.consumer().position() <= *self.scans.last().unwrap());
    }

    fn take(&mut self) {
        if std::mem::take(&mut self.has_front) {
            let mut out = Vec::new();
            let result = self.consumer().take(&mut out);
            self.checked(result);
            assert!(out.len() <= LIMITS.max_message && out.capacity() <= out.len() + 8);
        }
    }

    fn arm(&mut self, choice: u8) {
        self.consumer().arm();
        if choice % 4 == 0 {
            self.consumer().disarm();
        }
    }

    fn retire(&mut self) {
        let result = self.consumer().retire();
        if let Some(end) = self.checked(result) {
            self.scans.push(end);
        }
    }

    fn moved(&mut self) {
        let (memory, state) = self.consumer.take().unwrap().into_parts();
        if let Some(Partial { total, bytes, .. }) = &state.partial {
            assert!(bytes.len() as u64 <= *total && *total <= LIMITS.max_message as u64);
            assert!(bytes.capacity() <= 17 * bytes.len(), "reserved for what did not arrive");
        }
        self.consumer = Some(Consumer::from_parts(memory, state, LIMITS).unwrap());
        self.has_front = false;
    }

    /// Continues with a state that a peer has sent.
    fn replaced(&mut self, program: &mut Program<'_>) {
        let partial = match program.byte() % 2 {
            0 => None,
            _ => Some(Partial {
                total: program.number(),
                stamp: program.byte().into(),
                bytes: vec![0; program.number() as usize % 100],
                skipped: (program.byte() % 4 == 0).then(|| program.number()),
            }),
        };
        let position = program.number() & !15;
        let state = ConsumerState {
            position: position.wrapping_add(program.number()),
            base: position,
            place: program.place(),
            visible: position.wrapping_add(program.number() & !15),
            partial,
            is_retired: program.byte() % 2 == 0,
        };
        let visible = state.visible;
        if let Ok(consumer) = Consumer::from_parts(self.outside.clone(), state, LIMITS) {
            self.consumer = Some(consumer);
            self.has_front = false;
            self.scans = vec![visible];
        }
    }

    /// While the memory is overwritten, all that is expected of a call is that it returns.
    pub fn runs(&mut self) {
        for choice in 0..100 {
            self.scan();
            self.front(choice);
            self.take();
            self.arm(choice);
        }
    }

    /// Once the memory is not overwritten any more, the consumer continues, or sleeps, or
    /// is poisoned.
    fn comes_to_rest(&mut self) {
        // There may be more messages than this loop takes.
        for _ in 0..100 {
            let before = self.consumer().position();
            self.scan();
            self.front(0);
            if self.poisoned.is_some() {
                break;
            }
            if self.has_front {
                self.take();
            } else if self.consumer().arm() {
                return;
            } else {
                assert!(self.consumer().position() > before, "it stands still");
            }
        }
        if let Some(why) = self.poisoned {
            let poisoned = Poisoned(why);
            assert_ne!(self.outside.tail_word() & CLOSED, 0);
            assert_eq!(self.consumer().scan(), Err(poisoned));
            assert_eq!(self.consumer().front(u64::MAX), Err(poisoned));
            assert_eq!(self.consumer().take(&mut Vec::new()), Err(poisoned));
            assert_eq!(self.consumer().retire(), Err(poisoned));
            assert_eq!(self.consumer().partial_bytes(), 0);
            assert!(self.consumer().arm(), "nothing will be taken any more");
        }
    }
}
