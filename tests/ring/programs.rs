//! Random programs of producer and consumer, compared with a queue.

use std::collections::VecDeque;

use proptest::collection::vec;
use proptest::prelude::*;
use strait::internals::ring::{
    Consumer, ConsumerLimits, FIRST_LEN, FRAGMENT_BYTES, Kind, POSITION, Producer, PushError,
};

use super::memory::{TestMemory, memory};
use super::message;

#[derive(Clone, Copy, Debug)]
enum WhenFull {
    Grow,
    Wait,
    GiveUp,
}

#[derive(Clone, Debug)]
enum Step {
    /// Sends a message, in one piece or in pieces that begin with so many bytes.
    Send {
        len: usize,
        pieces: Vec<usize>,
        when_full: WhenFull,
    },
    Grow {
        need: usize,
    },
    Settle,
    Scan,
    /// Takes so many messages, if they were there when that scan was made.
    Take {
        count: usize,
        scan: usize,
        into: usize,
    },
    Arm,
    Disarm,
    Move,
}

fn a_len() -> impl Strategy<Value = usize> {
    prop_oneof![
        5 => 0..100_usize,
        2 => 0..5000_usize,
        2 => 30_000..66_000_usize,
        1 => 0..150_000_usize,
    ]
}

fn a_step() -> impl Strategy<Value = Step> {
    let pieces = prop_oneof![Just(Vec::new()), vec(1..40_usize, 1..30), vec(1..40_000_usize, 1..5)];
    let when_full = prop_oneof![
        3 => Just(WhenFull::Grow),
        3 => Just(WhenFull::Wait),
        1 => Just(WhenFull::GiveUp),
    ];
    let send = (a_len(), pieces, when_full).prop_map(|(len, pieces, when_full)| Step::Send {
        len,
        pieces,
        when_full,
    });
    let take = (0..20_usize, 0..10_usize, 0..3_usize).prop_map(|(count, scan, into)| Step::Take {
        count,
        scan,
        into,
    });
    prop_oneof![
        10 => send,
        1 => (0..100_000_usize).prop_map(|need| Step::Grow { need }),
        3 => Just(Step::Settle),
        2 => Just(Step::Scan),
        5 => take,
        2 => Just(Step::Arm),
        1 => Just(Step::Disarm),
        1 => Just(Step::Move),
    ]
}

/// Limits above the JUMPs and bytes of all these programs.
const LIMITS: ConsumerLimits =
    ConsumerLimits { max_message: 1 << 30, max_jumps: 10_000, max_bytes: u64::MAX };

/// So that the programs stay quick.
const MOST_MEMORY: u64 = 4 << 20;

struct Run {
    producer: Producer<TestMemory>,
    /// `None` only while it is moved.
    consumer: Option<Consumer<TestMemory>>,
    outside: TestMemory,
    /// Stamp, bytes, and the position of their end in the ring.
    sent: VecDeque<(u64, Vec<u8>, u64)>,
    last_stamp: u64,
    scans: Vec<u64>,
    /// Whether the consumer asked to be woken; and whether a JUMP saw that.
    sleeps: bool,
    owed: bool,
}

impl Run {
    fn new() -> Run {
        let (memory, other) = memory();
        let outside = other.clone();
        let producer = Producer::new(memory).unwrap();
        let consumer = Some(Consumer::new(other, LIMITS).unwrap());
        Run {
            producer,
            consumer,
            outside,
            sent: VecDeque::new(),
            last_stamp: 0,
            scans: vec![0],
            sleeps: false,
            owed: false,
        }
    }

    fn consumer(&mut self) -> &mut Consumer<TestMemory> {
        self.consumer.as_mut().unwrap()
    }

    fn tail(&self) -> u64 {
        self.outside.tail_word() & POSITION
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Send { len, pieces, when_full } => self.send(len, &pieces, when_full),
            Step::Grow { need } => self.grow(need),
            Step::Settle => self.settle(),
            Step::Scan => self.scan(),
            Step::Take { count, scan, into } => {
                let back = scan.min(self.scans.len() - 1);
                let visible = self.scans[self.scans.len() - 1 - back];
                for _ in 0..count {
                    self.take(visible, into);
                }
            }
            Step::Arm => {
                let is_up_to_date = self.consumer().position() == self.tail();
                let is_armed = self.consumer().arm();
                let nothing_assembled = self.sent.is_empty();
                assert!(!is_armed || (is_up_to_date && nothing_assembled));
                self.sleeps |= is_armed;
            }
            Step::Disarm => {
                self.consumer().disarm();
                self.sleeps = false;
            }
            Step::Move => {
                let (memory, state) = self.consumer.take().unwrap().into_parts();
                self.consumer = Some(Consumer::from_parts(memory, state, LIMITS).unwrap());
                self.sleeps = false;
            }
        }
    }

    fn send(&mut self, len: usize, pieces: &[usize], when_full: WhenFull) {
        self.last_stamp += 1;
        let stamp = self.last_stamp;
        let body = message(stamp, len);
        let total = (len as u64).to_le_bytes();
        let (mut rest, mut lens) = (&body[..], pieces.iter());
        loop {
            let is_first = rest.len() == body.len();
            let piece = match lens.next() {
                None if pieces.is_empty() => rest.len(),
                None => rest.len().min(FRAGMENT_BYTES),
                Some(piece) => rest.len().min(*piece),
            };
            let is_last = piece == rest.len();
            let (bytes, after) = rest.split_at(piece);
            let (kind, parts) = match (is_first, is_last) {
                (true, true) => (Kind::Message, [&bytes[..piece / 2], &bytes[piece / 2..]]),
                (true, false) => (Kind::First, [&total[..], bytes]),
                (false, false) => (Kind::Middle, [bytes, &[]]),
                (false, true) => (Kind::Last, [&[], bytes]),
            };
            if !self.push(kind, stamp, parts, when_full) {
                return;
            }
            if is_last {
                break;
            }
            rest = after;
        }
        let end = self.tail();
        self.sent.push_back((stamp, body, end));
    }

    fn push(&mut self, kind: Kind, stamp: u64, parts: [&[u8]; 2], when_full: WhenFull) -> bool {
        let need = parts[0].len() + parts[1].len();
        loop {
            let before = self.outside.tail_word();
            match self.producer.push(kind, stamp, parts) {
                Ok(pushed) => {
                    assert_eq!(pushed.must_wake, self.sleeps | self.owed);
                    (self.sleeps, self.owed) = (false, false);
                    return true;
                }
                Err(error) => assert_eq!(error, PushError::Full),
            }
            assert_eq!(self.outside.tail_word(), before);
            match when_full {
                WhenFull::GiveUp => return false,
                WhenFull::Grow if self.outside.held() < MOST_MEMORY => self.grow(need),
                WhenFull::Grow | WhenFull::Wait => {
                    let is_drained = self.producer.is_empty();
                    self.drain();
                    // Some records are longer than an empty segment.
                    if is_drained {
                        self.grow(need);
                    }
                }
            }
        }
    }

    fn grow(&mut self, need: usize) {
        if self.outside.held() < 2 * MOST_MEMORY {
            self.producer.grow(need).unwrap();
            self.owed |= self.sleeps;
            self.sleeps = false;
        }
    }

    fn settle(&mut self) {
        let before = self.tail();
        self.producer.settle();
        if self.tail() != before {
            assert_eq!(self.consumer().position(), before, "not everything was consumed");
            self.owed |= self.sleeps;
            self.sleeps = false;
        }
    }

    fn scan(&mut self) {
        let tail = self.tail();
        assert_eq!(self.consumer().scan(), Ok(tail));
        self.scans.push(tail);
    }

    /// Takes a message if it was there as of `visible`, into memory of one kind or another.
    fn take(&mut self, visible: u64, into: usize) -> bool {
        let expected = self.sent.front().filter(|(.., end)| *end <= visible);
        let stamp = expected.map(|(stamp, ..)| *stamp);
        assert_eq!(self.consumer().front(visible), Ok(stamp));
        if stamp.is_none() {
            return false;
        }
        let mut out = match into {
            0 => Vec::new(),
            1 => Vec::with_capacity(1000),
            _ => b"before".to_vec(),
        };
        let before = out.len();
        self.consumer().take(&mut out).unwrap();
        let (_, body, _) = self.sent.pop_front().unwrap();
        assert!(out[before..] == body, "other bytes");
        true
    }

    fn drain(&mut self) {
        self.scan();
        let visible = self.tail();
        while self.take(visible, 0) {}
        assert_eq!(self.consumer().position(), visible);
        assert!(self.producer.is_empty());
    }

    fn end(mut self) {
        self.drain();
        assert_eq!(self.sent.len(), 0);
        // Once to go back to the first segment, once to notice that the consumer did.
        self.settle();
        self.drain();
        self.settle();
        assert_eq!(self.outside.held(), u64::from(FIRST_LEN));
        self.send(10, &[], WhenFull::Grow);
        let end = self.tail();
        assert_eq!(self.consumer().retire(), Ok(end));
        let late = self.producer.push(Kind::Message, 0, [b"too", b" late"]);
        assert_eq!(late, Err(PushError::Closed));
        assert!(self.take(end, 0));
        assert_eq!(self.consumer().scan(), Ok(end));
        assert_eq!(self.consumer().front(end), Ok(None));
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 128,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn random_programs_take_what_was_pushed(program in vec(a_step(), 1..60)) {
        let _watchdog = super::watchdog();
        let mut run = Run::new();
        for step in program {
            run.step(step);
        }
        run.end();
    }
}
