//! Errors of a producer, one by one and all at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use proptest::collection::vec;
use proptest::prelude::*;
use strait::internals::ring::{
    CLOSED, Consumer, ConsumerLimits, ConsumerState, FIRST_LEN, MAX_POSITION, MAX_UNREAD, Memory,
    Partial, Place, Poisoned, SLEEPING, UNIT, Why,
};

use super::hostile::{self, Victim};
use super::memory::{TestMemory, memory};
use super::watchdog;

const LIMITS: ConsumerLimits =
    ConsumerLimits { max_message: 1000, max_jumps: 3, max_bytes: 64 << 10 };

/// Where a segment can begin that follows the first.
const SECOND: u64 = UNIT + FIRST_LEN as u64;

const MESSAGE: u8 = 1;
const FIRST: u8 = 2;
const MIDDLE: u8 = 3;
const LAST: u8 = 4;
const JUMP: u8 = 5;

/// A ring whose producer is the test.
fn ring() -> (Consumer<TestMemory>, TestMemory) {
    let (peer, memory) = memory();
    peer.segment(Place::FIRST).unwrap();
    (Consumer::new(memory, LIMITS).unwrap(), peer)
}

/// Writes and publishes records of a kind, with a body each.
fn write(peer: &TestMemory, records: &[(u8, &[u8])]) -> u64 {
    let mut position = 0;
    for (kind, body) in records {
        let mut record = (body.len() as u32).to_le_bytes().to_vec();
        record.extend([*kind, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0]);
        record.extend(*body);
        record.resize(record.len().next_multiple_of(16), 0);
        peer.scribble(UNIT + position, &record);
        position += record.len() as u64;
    }
    peer.set_tail(position);
    position
}

fn first(total: u64, bytes: &[u8]) -> Vec<u8> {
    [&total.to_le_bytes()[..], bytes].concat()
}

fn jump(offset: u64, len: u32) -> Vec<u8> {
    [&offset.to_le_bytes()[..], &len.to_le_bytes(), &[0; 4]].concat()
}

/// The result of the consumer.
#[track_caller]
fn verdict(records: &[(u8, &[u8])]) -> Result<Option<u64>, Why> {
    let (mut consumer, peer) = ring();
    write(&peer, records);
    let visible = consumer.scan().unwrap();
    let front = consumer.front(visible).map_err(|Poisoned(why)| why);
    if let Err(why) = front {
        assert_ne!(peer.tail_word() & CLOSED, 0, "the producer must hear of it");
        assert_eq!(consumer.scan(), Err(Poisoned(why)));
        assert_eq!(consumer.partial_bytes(), 0);
    }
    front
}

#[test]
fn every_malformed_record_poisons_the_ring() {
    let _watchdog = watchdog();
    for kind in [0, 6, 255] {
        assert_eq!(verdict(&[(kind, b"")]), Err(Why::Record(kind)));
    }
    assert_eq!(verdict(&[(MESSAGE, &[1; 1000])]), Ok(Some(7)));
    assert_eq!(verdict(&[(MESSAGE, &[1; 1001])]), Err(Why::TooLarge));
    assert_eq!(verdict(&[(FIRST, &[0; 7])]), Err(Why::Length));
    assert_eq!(verdict(&[(FIRST, &first(1000, b"a"))]), Ok(None));
    assert_eq!(verdict(&[(FIRST, &first(1001, b"a"))]), Err(Why::TooLarge));
    assert_eq!(verdict(&[(FIRST, &first(u64::MAX, b"a"))]), Err(Why::TooLarge));
    assert_eq!(verdict(&[(FIRST, &first(2, b""))]), Err(Why::Fragment));
    assert_eq!(verdict(&[(FIRST, &first(0, b"a"))]), Err(Why::Fragment));
    assert_eq!(verdict(&[(FIRST, &first(2, b"ab"))]), Err(Why::Fragment), "the last is to come");
    let begun = first(4, b"ab");
    assert_eq!(verdict(&[(FIRST, &begun), (LAST, b"cd")]), Ok(Some(7)));
    assert_eq!(verdict(&[(FIRST, &begun), (LAST, b"c")]), Err(Why::Fragment));
    assert_eq!(verdict(&[(FIRST, &begun), (LAST, b"cde")]), Err(Why::Fragment));
    assert_eq!(verdict(&[(FIRST, &begun), (MIDDLE, b"")]), Err(Why::Fragment));
    assert_eq!(verdict(&[(FIRST, &begun), (MIDDLE, b"cd")]), Err(Why::Fragment));
    assert_eq!(verdict(&[(FIRST, &begun), (MIDDLE, b"cde")]), Err(Why::Fragment));
    for kind in [MIDDLE, LAST] {
        assert_eq!(verdict(&[(kind, b"a")]), Err(Why::Fragment));
        assert_eq!(verdict(&[(MESSAGE, b"a"), (kind, b"a")]), Ok(Some(7)), "that comes later");
    }
    assert_eq!(verdict(&[(JUMP, &[0; 15])]), Err(Why::Length));
    assert_eq!(verdict(&[(JUMP, &[0; 17])]), Err(Why::Length));
    assert_eq!(verdict(&[(JUMP, &jump(UNIT, FIRST_LEN))]), Ok(None));
    assert_eq!(verdict(&[(JUMP, &jump(0, FIRST_LEN))]), Err(Why::Jump));
    assert_eq!(verdict(&[(JUMP, &jump(UNIT + 4096, FIRST_LEN))]), Err(Why::Jump));
    assert_eq!(verdict(&[(JUMP, &jump(UNIT, FIRST_LEN + 4096))]), Err(Why::Jump));
    assert_eq!(verdict(&[(JUMP, &jump(UNIT, FIRST_LEN / 2))]), Err(Why::Jump));
    assert_eq!(verdict(&[(JUMP, &jump(SECOND, FIRST_LEN))]), Err(Why::Memory));
    assert_eq!(verdict(&[(JUMP, &jump(UNIT, 2 * FIRST_LEN))]), Err(Why::Memory));
}

#[test]
fn fragment_of_another_message_poisons_the_ring() {
    let _watchdog = watchdog();
    let (mut consumer, peer) = ring();
    write(&peer, &[(FIRST, &first(4, b"ab")), (LAST, b"cd")]);
    peer.scribble(UNIT + 32 + 8, &[8]);
    let visible = consumer.scan().unwrap();
    assert_eq!(consumer.front(visible), Err(Poisoned(Why::Fragment)));
}

#[test]
fn a_record_is_not_longer_than_what_was_published_nor_than_its_segment() {
    let _watchdog = watchdog();
    for (len, published) in
        [(1, 16), (17, 32), (1000, 32), (u32::MAX, 1 << 33), (FIRST_LEN, 1 << 33)]
    {
        let (mut consumer, peer) = ring();
        write(&peer, &[(MESSAGE, b"")]);
        peer.scribble(UNIT, &len.to_le_bytes());
        peer.set_tail(published);
        let visible = consumer.scan().unwrap();
        assert_eq!(consumer.front(visible), Err(Poisoned(Why::Length)), "{len} {published}");
    }
}

#[test]
fn impossible_tail_poisons_the_ring() {
    let _watchdog = watchdog();
    for tail in [0, 16, 32 + 8, 33, MAX_POSITION + 16, CLOSED - 16, 8 | CLOSED, CLOSED | SLEEPING] {
        let (mut consumer, peer) = ring();
        write(&peer, &[(MESSAGE, b""), (MESSAGE, b"")]);
        assert_eq!(consumer.scan(), Ok(32));
        peer.set_tail(tail);
        assert_eq!(consumer.scan(), Err(Poisoned(Why::Tail)), "{tail:x}");
        if tail & CLOSED == 0 {
            let (mut consumer, peer) = ring();
            peer.set_tail(32);
            assert_eq!(consumer.scan(), Ok(32));
            peer.set_tail(tail);
            assert_eq!(consumer.retire(), Err(Poisoned(Why::Tail)), "{tail:x}");
            assert_eq!(consumer.retire(), Err(Poisoned(Why::Tail)), "{tail:x}");
        }
    }
    let (mut consumer, peer) = ring();
    peer.set_tail(MAX_UNREAD | SLEEPING);
    assert_eq!(consumer.scan(), Ok(MAX_UNREAD));
    // More than any memory has: reading it would never end.
    let (mut consumer, peer) = ring();
    peer.set_tail(MAX_UNREAD + 16);
    assert_eq!(consumer.scan(), Err(Poisoned(Why::Tail)));
}

#[test]
fn moving_the_tail_back_and_forth_does_not_stop_the_consumer() {
    let _watchdog = watchdog();
    let (mut consumer, peer) = ring();
    for tail in [16, CLOSED, CLOSED | SLEEPING, 16 | SLEEPING] {
        peer.set_tail(tail);
        assert!(!consumer.arm(), "{tail:x}");
    }
    peer.set_tail(SLEEPING);
    assert!(consumer.arm());
}

#[test]
fn records_are_read_once() {
    let _watchdog = watchdog();
    let (mut consumer, peer) = ring();
    let visible = write(&peer, &[(MESSAGE, b"content")]);
    assert_eq!(consumer.scan(), Ok(visible));
    assert_eq!(consumer.front(visible), Ok(Some(7)));
    // Changes length, kind and stamp after they were checked.
    peer.scribble(UNIT, &[0xff; 16]);
    assert_eq!(consumer.front(visible), Ok(Some(7)));
    let mut out = Vec::new();
    consumer.take(&mut out).unwrap();
    assert_eq!((&out[..], consumer.position()), (&b"content"[..], visible));
}

#[test]
fn flood_of_jumps_is_followed_in_steps() {
    let _watchdog = watchdog();
    let (mut consumer, peer) = ring();
    // The JUMP leads to itself.
    write(&peer, &[(JUMP, &jump(UNIT, FIRST_LEN))]);
    peer.set_tail(32 * 10);
    let visible = consumer.scan().unwrap();
    for done in [3, 6, 9, 10, 10] {
        assert_eq!(consumer.front(visible), Ok(None));
        assert_eq!(consumer.position(), 32 * done);
        assert_eq!(consumer.arm(), done == 10);
    }
}

#[test]
fn flood_of_first_fragments_is_taken_in_steps() {
    let _watchdog = watchdog();
    let (mut consumer, peer) = ring();
    let begun = first(100, b"a");
    write(&peer, &vec![(FIRST, &begun[..]); 2048]);
    peer.set_tail(MAX_UNREAD);
    let visible = consumer.scan().unwrap();
    for _ in 0..100 {
        let before = consumer.position();
        assert_eq!(consumer.front(visible), Ok(None));
        let done = (consumer.position() - before) / 32;
        assert!((1..=40).contains(&done), "{done}");
        assert!(!consumer.arm());
    }
}

#[test]
fn an_honest_message_is_taken_in_one_step() {
    let _watchdog = watchdog();
    let (mut consumer, peer) = ring();
    peer.segment(Place { offset: SECOND, len: FIRST_LEN }).unwrap();
    let jump_on = jump(SECOND, FIRST_LEN);
    let begun = first(1000, &[1; 500]);
    write(&peer, &[(FIRST, &begun), (JUMP, &jump_on)]);
    peer.scribble(SECOND, &[&[0xf4, 1, 0, 0, LAST, 0, 0, 0, 7][..], &[0; 7], &[2; 500]].concat());
    let visible = peer.tail_word() + 16 + 512;
    peer.set_tail(visible);
    assert_eq!(consumer.scan(), Ok(visible));
    assert_eq!(consumer.front(visible), Ok(Some(7)));
    let mut out = Vec::new();
    consumer.take(&mut out).unwrap();
    assert_eq!(out, [[1; 500], [2; 500]].concat());
}

#[test]
fn announced_lengths_reserve_no_memory() {
    let _watchdog = watchdog();
    let (peer, memory) = memory();
    peer.segment(Place::FIRST).unwrap();
    let limits = ConsumerLimits { max_message: 1 << 30, max_jumps: 3, max_bytes: 1 << 20 };
    let mut consumer = Consumer::new(memory, limits).unwrap();
    write(&peer, &[(FIRST, &first(1 << 30, &[1; 1000])), (MIDDLE, &[1; 17_000])]);
    let visible = consumer.scan().unwrap();
    assert_eq!(consumer.front(visible), Ok(None));
    assert_eq!(consumer.partial_bytes(), 18_000);
    let (_, state) = consumer.into_parts();
    let reserved = state.partial.unwrap().bytes.capacity();
    assert!(reserved <= 17 * 18_000, "{reserved}");
}

#[test]
fn impossible_state_of_a_moved_consumer_is_refused() {
    let _watchdog = watchdog();
    let good = || ConsumerState {
        position: 64,
        base: 32,
        place: Place::FIRST,
        visible: 96,
        partial: Some(Partial { total: 10, stamp: 1, bytes: vec![1; 5], skipped: None }),
        is_retired: false,
    };
    let is_believed = |change: &dyn Fn(&mut ConsumerState)| {
        let (_, peer) = ring();
        let mut state = good();
        change(&mut state);
        Consumer::from_parts(peer, state, LIMITS).is_ok()
    };
    let partial =
        |total, len| Some(Partial { total, stamp: 1, bytes: vec![1; len], skipped: None });
    assert!(is_believed(&|_| {}));
    assert!(is_believed(&|state| state.partial = partial(5, 5)), "it is complete");
    assert!(!is_believed(&|state| state.partial = partial(4, 5)));
    assert!(!is_believed(&|state| state.partial = partial(1001, 5)));
    assert!(!is_believed(&|state| state.partial = partial(5, 0)));
    let skipped =
        |skipped| Some(Partial { total: 9, stamp: 1, bytes: vec![1; 5], skipped: Some(skipped) });
    assert!(is_believed(&|state| state.partial = skipped(4)));
    assert!(!is_believed(&|state| state.partial = skipped(5)));
    assert!(!is_believed(&|state| state.partial = skipped(u64::MAX)));
    assert!(!is_believed(&|state| state.base = 80));
    assert!(!is_believed(&|state| state.base = 31));
    assert!(!is_believed(&|state| state.position = 65));
    assert!(!is_believed(&|state| state.position = 112));
    assert!(!is_believed(&|state| state.visible = 97));
    assert!(!is_believed(&|state| state.visible = MAX_POSITION + 16));
    assert!(!is_believed(&|state| state.place.len = 5000));
    assert!(!is_believed(&|state| state.place.offset = 0));
    assert!(
        is_believed(&|state| state.place.offset = UNIT),
        "the consumer reads the bytes at the false place"
    );
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 500,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn consumer_continues_whatever_a_peer_writes(program in vec(any::<u8>(), 0..500)) {
        hostile::run(&program);
    }
}

#[test]
fn memory_may_be_written_while_it_is_read() {
    let _watchdog = watchdog();
    let (peer, memory) = memory();
    peer.segment(Place::FIRST).unwrap();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = 0x9e37_79b9_7f4a_7c15_u64;
            while !is_over.load(Ordering::Relaxed) {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                // Headers that may be valid, at the start, where each consumer begins.
                let header = [(random >> 8) as u8, 0, 0, 0, (random >> 16) as u8 % 7, 0, 0, 0];
                peer.scribble(UNIT + (random >> 24) % 128 * 16, &header);
                peer.set_tail((random >> 32) % 256 * 16);
            }
        });
        for _ in 0..2000 {
            peer.set_tail(0);
            Victim::new(memory.clone()).runs();
        }
        is_over.store(true, Ordering::Relaxed);
    });
}
