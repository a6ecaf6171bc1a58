//! The ring in one thread, where every step is determined: the consumer takes the messages that
//! the producer pushed. Whatever a peer writes into the memory, the consumer does not panic,
//! reads only the ring's memory, and makes progress.

#[path = "../harness/mod.rs"]
mod harness;
mod hostile;
mod malformed;
mod memory;
mod programs;

use std::sync::mpsc;
use std::{io, thread};

use strait::internals::ring::{
    CLOSED, Consumer, ConsumerLimits, FIRST_LEN, Kind, MAX_SEGMENT, POSITION, Poisoned, Producer,
    PushError, Pushed, SLEEPING, State, Taken, Why,
};

use harness::watchdog;
use memory::{TestMemory, memory};

const LIMITS: ConsumerLimits =
    ConsumerLimits { max_message: 1 << 30, max_jumps: 64, max_bytes: 4 << 20 };

fn ring() -> (Producer<TestMemory>, Consumer<TestMemory>, TestMemory) {
    let (producer, consumer) = memory();
    let outside = consumer.clone();
    (Producer::new(producer).unwrap(), Consumer::new(consumer, LIMITS).unwrap(), outside)
}

fn message(stamp: u64, len: usize) -> Vec<u8> {
    (0..len as u64).map(|at| (stamp.wrapping_mul(31) ^ at ^ (at >> 8)) as u8).collect()
}

fn push(producer: &mut Producer<TestMemory>, stamp: u64, len: usize) -> Result<Pushed, PushError> {
    let body = message(stamp, len);
    let (before, after) = body.split_at(len / 3);
    producer.push(Kind::Message, stamp, [before, after])
}

/// Takes the next message, if there is one.
fn next(consumer: &mut Consumer<TestMemory>) -> Option<(u64, Vec<u8>)> {
    let visible = consumer.scan().unwrap();
    let stamp = consumer.front(visible).unwrap()?;
    let mut out = Vec::new();
    consumer.take(&mut out).unwrap();
    Some((stamp, out))
}

const WOKEN: Result<Pushed, PushError> = Ok(Pushed { must_wake: true });
const UNNOTICED: Result<Pushed, PushError> = Ok(Pushed { must_wake: false });

#[test]
fn pushed_messages_are_taken_in_order() {
    let _watchdog = watchdog();
    let (mut producer, mut consumer, _) = ring();
    assert_eq!(next(&mut consumer), None);
    for len in [0, 1, 15, 16, 17, 5000] {
        assert_eq!(push(&mut producer, len as u64, len), UNNOTICED);
    }
    assert!(!producer.is_empty());
    for len in [0, 1, 15, 16, 17, 5000] {
        assert_eq!(next(&mut consumer), Some((len as u64, message(len as u64, len))));
    }
    assert_eq!(next(&mut consumer), None);
    assert!(producer.is_empty());
    assert_eq!(producer.consumed(), consumer.position());
}

#[test]
fn scan_does_not_see_records_published_after_it() {
    let _watchdog = watchdog();
    let (mut producer, mut consumer, _) = ring();
    let before = consumer.scan().unwrap();
    assert_eq!(push(&mut producer, 1, 100), UNNOTICED);
    let between = consumer.scan().unwrap();
    assert_eq!(push(&mut producer, 2, 100), UNNOTICED);
    let after = consumer.scan().unwrap();
    // No scan has reached this place.
    for (visible, front) in
        [(before, None), (between, Some(1)), (after, Some(1)), (u64::MAX, Some(1))]
    {
        assert_eq!(consumer.front(visible), Ok(front), "{visible}");
    }
    consumer.take(&mut Vec::new()).unwrap();
    for (visible, front) in [(before, None), (between, None), (after, Some(2)), (between, None)] {
        assert_eq!(consumer.front(visible), Ok(front), "{visible}");
    }
}

#[test]
fn a_message_in_fragments_is_seen_when_its_last_is() {
    let _watchdog = watchdog();
    let (mut producer, mut consumer, _) = ring();
    let body = message(7, 100);
    let total = 100_u64.to_le_bytes();
    let pieces = [
        (Kind::First, [&total[..], &body[..1]]),
        (Kind::Middle, [&body[1..20], &body[20..50]]),
        (Kind::Last, [&body[50..], &[]]),
    ];
    let mut seen = Vec::new();
    for (kind, parts) in pieces {
        assert_eq!(producer.push(kind, 7, parts), UNNOTICED);
        seen.push(consumer.scan().unwrap());
    }
    assert_eq!(consumer.front(seen[1]), Ok(None));
    assert_eq!(consumer.partial_bytes(), 50);
    assert_eq!(consumer.front(seen[2]), Ok(Some(7)));
    assert_eq!(consumer.front(seen[1]), Ok(None), "its last fragment was not there yet");
    assert_eq!(consumer.partial_bytes(), 0);
    // The message has the exact length, and the memory of `out` is used for the next.
    let mut out = Vec::with_capacity(5000);
    consumer.take(&mut out).unwrap();
    assert_eq!((out.capacity(), &out), (100, &body));
    for (kind, parts) in pieces {
        assert_eq!(producer.push(kind, 7, parts), UNNOTICED);
    }
    let visible = consumer.scan().unwrap();
    assert_eq!(consumer.front(visible), Ok(Some(7)));
    let mut other = b"before".to_vec();
    consumer.take(&mut other).unwrap();
    assert_eq!(other, [b"before", &body[..]].concat());
}

#[test]
fn message_beyond_the_limit_is_skipped() {
    let _watchdog = watchdog();
    let (mut producer, mut consumer, _) = ring();
    let total = 100_u64.to_le_bytes();
    let pieces = [
        (Kind::First, [&total[..], &[1; 40]]),
        (Kind::Middle, [&[2; 50], &[]]),
        (Kind::Last, [&[3; 10], &[]]),
    ];
    let taken = |consumer: &mut Consumer<TestMemory>| {
        let visible = consumer.scan().unwrap();
        let stamp = consumer.front(visible).unwrap()?;
        let mut out = Vec::new();
        let taken = consumer.take(&mut out).unwrap();
        assert!(taken == Taken::Message || out.is_empty());
        Some((stamp, taken))
    };
    consumer.want(99);
    for (len, expected) in [(99, Taken::Message), (100, Taken::TooLong), (0, Taken::Message)] {
        assert_eq!(push(&mut producer, len as u64, len), UNNOTICED);
        assert_eq!(taken(&mut consumer), Some((len as u64, expected)));
    }
    // At whichever step it is noticed.
    for decided in 0..=pieces.len() {
        consumer.want(100);
        for (index, (kind, parts)) in pieces.into_iter().enumerate() {
            if index == decided {
                consumer.want(99);
            }
            assert_eq!(producer.push(kind, 7, parts), UNNOTICED);
            let visible = consumer.scan().unwrap();
            assert_eq!(consumer.front(visible).unwrap().is_some(), kind == Kind::Last);
            if index >= decided {
                assert_eq!(consumer.partial_bytes(), 0);
            }
            if index == 1 {
                // A moved consumer remembers it, too.
                let (memory, state) = consumer.into_parts();
                consumer = Consumer::from_parts(memory, state, LIMITS).unwrap();
            }
        }
        if decided == pieces.len() {
            consumer.want(99);
        }
        assert_eq!(taken(&mut consumer), Some((7, Taken::TooLong)));
        assert_eq!(taken(&mut consumer), None);
        assert!(producer.is_empty());
    }
}

#[test]
fn aborted_message_is_discarded() {
    let _watchdog = watchdog();
    let (mut producer, mut consumer, _) = ring();
    let first = |producer: &mut Producer<_>, stamp| {
        producer.push(Kind::First, stamp, [&100_u64.to_le_bytes(), b"beginning"])
    };
    assert_eq!(first(&mut producer, 1), UNNOTICED);
    assert_eq!(first(&mut producer, 2), UNNOTICED);
    assert_eq!(producer.push(Kind::Middle, 2, [b"more", b""]), UNNOTICED);
    assert_eq!(push(&mut producer, 3, 10), UNNOTICED);
    assert_eq!(next(&mut consumer), Some((3, message(3, 10))));
    assert_eq!(consumer.partial_bytes(), 0);
}

#[test]
fn a_full_ring_can_always_grow() {
    let _watchdog = watchdog();
    // There is room for a JUMP wherever in the segment the ring becomes full.
    for lag in (0..160).step_by(32) {
        for len in [16, 17, 48, 1000, 16_384] {
            let (mut producer, mut consumer, outside) = ring();
            assert_eq!(push(&mut producer, 0, lag), UNNOTICED);
            assert!(next(&mut consumer).is_some());
            let mut stamp = 1;
            for _ in 0..2 {
                loop {
                    let tail = outside.tail_word();
                    match push(&mut producer, stamp, len) {
                        Ok(_) => stamp += 1,
                        Err(error) => {
                            assert_eq!(error, PushError::Full);
                            assert_eq!(outside.tail_word(), tail);
                            break;
                        }
                    }
                }
                producer.grow(len).unwrap();
                assert_eq!(push(&mut producer, stamp, len), UNNOTICED);
                stamp += 1;
            }
            for expected in 1..stamp {
                assert_eq!(next(&mut consumer), Some((expected, message(expected, len))));
            }
            assert_eq!(next(&mut consumer), None);
        }
    }
}

#[test]
fn a_ring_has_all_of_its_segment_but_the_room_for_a_jump() {
    let _watchdog = watchdog();
    let (mut producer, mut consumer, _) = ring();
    let most = FIRST_LEN as usize - 16 - 32;
    for stamp in 0..5 {
        assert_eq!(push(&mut producer, stamp, most + 1), Err(PushError::Full));
        assert_eq!(push(&mut producer, stamp, most), UNNOTICED);
        assert_eq!(push(&mut producer, stamp, 0), Err(PushError::Full));
        assert_eq!(next(&mut consumer), Some((stamp, message(stamp, most))));
    }
}

#[test]
fn a_ring_grows_as_far_as_a_record_needs() {
    let _watchdog = watchdog();
    let (mut producer, mut consumer, outside) = ring();
    let first = u64::from(FIRST_LEN);
    assert_eq!(outside.held(), first);
    producer.grow(0).unwrap();
    assert_eq!(outside.held(), 3 * first, "at least twice as long");
    producer.grow((1 << 20) - 48).unwrap();
    assert_eq!(outside.held(), 3 * first + (1 << 20), "long enough");
    assert_eq!(push(&mut producer, 1, (1 << 20) - 48), UNNOTICED);
    assert_eq!(next(&mut consumer), Some((1, message(1, (1 << 20) - 48))));
    // The consumer has left the second segment, so a segment that is small enough would be
    // placed there: there is none.
    producer.grow((1 << 20) - 47).unwrap();
    assert_eq!(outside.held(), first + (1 << 20) + (2 << 20));

    let too_long = MAX_SEGMENT as usize - 47;
    assert_eq!(producer.grow(too_long).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    assert_eq!(producer.grow(usize::MAX).unwrap_err().kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn unused_segments_are_given_back() {
    let _watchdog = watchdog();
    let (mut producer, mut consumer, outside) = ring();
    let first = u64::from(FIRST_LEN);
    let mut stamp = 0;
    for _ in 0..3 {
        for _ in 0..4 {
            producer.grow(0).unwrap();
            stamp += 1;
            assert_eq!(push(&mut producer, stamp, 10), UNNOTICED);
        }
        let tail = outside.tail_word();
        producer.settle();
        assert_eq!(outside.tail_word(), tail, "not everything was consumed");
        assert_eq!(outside.held(), 31 * first);
        for expected in stamp - 3..=stamp {
            assert_eq!(next(&mut consumer), Some((expected, message(expected, 10))));
        }
        producer.settle();
        assert_eq!(outside.held(), 17 * first, "the first and the one that the consumer is in");
        assert_eq!(next(&mut consumer), None);
        producer.settle();
        assert_eq!(outside.held(), first);
        let tail = outside.tail_word();
        producer.settle();
        assert_eq!(outside.tail_word(), tail, "nothing to do");
    }
}

#[test]
fn lagging_consumer_does_not_make_the_memory_grow_for_ever() {
    let _watchdog = watchdog();
    let (mut producer, mut consumer, outside) = ring();
    let mut expected = 0;
    for stamp in 0..100 {
        assert_eq!(push(&mut producer, stamp, 10), UNNOTICED);
        if stamp % 10 == 9 {
            producer.grow(0).unwrap();
        }
        if stamp > 15 {
            assert_eq!(next(&mut consumer), Some((expected, message(expected, 10))));
            expected += 1;
        }
        // The first, and as many as the consumer lags behind, and one.
        assert!(outside.held() <= u64::from(FIRST_LEN) + 4 * (64 << 20), "{stamp}");
    }
}

#[test]
fn sleeping_consumer_is_woken_once() {
    let _watchdog = watchdog();
    let (mut producer, mut consumer, outside) = ring();
    assert!(consumer.arm());
    assert!(consumer.arm(), "it may ask twice");
    assert_eq!(outside.tail_word(), SLEEPING);
    assert_eq!(push(&mut producer, 1, 10), WOKEN);
    assert_eq!(push(&mut producer, 2, 10), UNNOTICED);
    assert!(!consumer.arm(), "there are two");
    assert!(next(&mut consumer).is_some());
    assert!(!consumer.arm(), "there is one");
    assert!(next(&mut consumer).is_some());
    assert!(consumer.arm());
    consumer.disarm();
    assert_eq!(outside.tail_word() & SLEEPING, 0);
    assert_eq!(push(&mut producer, 3, 10), UNNOTICED);
    let visible = consumer.scan().unwrap();
    assert_eq!(consumer.front(visible), Ok(Some(3)));
    assert!(!consumer.arm(), "it was seen, but not taken");
}

#[test]
fn jump_loses_no_wake_up() {
    let _watchdog = watchdog();
    let (mut producer, mut consumer, _) = ring();
    assert!(consumer.arm());
    producer.grow(0).unwrap();
    assert_eq!(push(&mut producer, 1, 10), WOKEN);
    assert_eq!(push(&mut producer, 2, 10), UNNOTICED);
    assert!(next(&mut consumer).is_some() && next(&mut consumer).is_some());
    assert!(consumer.arm());
    producer.settle();
    assert!(!producer.is_empty(), "a JUMP is there");
    assert_eq!(push(&mut producer, 3, 1 << 20), Err(PushError::Full), "it must be told later");
    assert_eq!(push(&mut producer, 3, 10), WOKEN);
    assert_eq!(push(&mut producer, 4, 10), UNNOTICED);
}

#[test]
fn push_after_the_end_publishes_nothing() {
    let _watchdog = watchdog();
    let (mut producer, mut consumer, outside) = ring();
    assert_eq!(push(&mut producer, 1, 10), UNNOTICED);
    let end = consumer.retire().unwrap();
    assert_eq!(end, 32);
    for _ in 0..2 {
        assert_eq!(push(&mut producer, 2, 10), Err(PushError::Closed));
        assert_ne!(outside.tail_word() & CLOSED, 0);
        assert_eq!((consumer.retire(), consumer.scan()), (Ok(end), Ok(end)));
    }
    assert!(!consumer.arm());
    // A moved consumer continues, and still ends there.
    let (memory, state) = consumer.into_parts();
    let mut consumer = Consumer::from_parts(memory, state, LIMITS).unwrap();
    assert_eq!(next(&mut consumer), Some((1, message(1, 10))));
    assert_eq!((next(&mut consumer), consumer.position()), (None, end));
    assert!(consumer.arm(), "nothing will come");

    let tail = outside.tail_word();
    producer.grow(1 << 20).unwrap();
    producer.settle();
    assert_eq!((outside.tail_word(), outside.held()), (tail, u64::from(FIRST_LEN)));
}

#[test]
fn retirement_is_noticed_without_growing() {
    let _watchdog = watchdog();
    let (mut producer, mut consumer, outside) = ring();
    while push(&mut producer, 1, 1000).is_ok() {}
    consumer.retire().unwrap();
    assert_eq!(push(&mut producer, 1, 1000), Err(PushError::Closed));
    assert_eq!(outside.tail_word() & POSITION, consumer.scan().unwrap());

    // Or notices it when it grows.
    let (mut producer, mut consumer, outside) = ring();
    producer.grow(0).unwrap();
    consumer.retire().unwrap();
    producer.grow(0).unwrap();
    assert_ne!(outside.tail_word() & CLOSED, 0);
    assert_eq!(push(&mut producer, 1, 10), Err(PushError::Closed));
    assert_eq!(next(&mut consumer), None);
}

#[test]
fn producer_sees_the_state_that_the_consumer_sets() {
    let _watchdog = watchdog();
    let (producer, consumer, outside) = ring();
    assert_eq!(producer.state(), State::Offered);
    for state in [State::Accepted, State::AcceptedAlone, State::Refused, State::Unwanted] {
        consumer.tell(state);
        assert_eq!(producer.state(), state);
    }
    for nonsense in [5, u64::MAX, 1 << 32] {
        outside.set_state(nonsense);
        assert_eq!(producer.state(), State::Refused);
    }
}

#[test]
fn impossible_head_is_ignored() {
    let _watchdog = watchdog();
    let (mut producer, mut consumer, outside) = ring();
    for stamp in 0..100 {
        assert_eq!(
            push(&mut producer, stamp, 1000),
            if stamp < 63 { UNNOTICED } else { Err(PushError::Full) }
        );
    }
    let tail = outside.tail_word();
    for head in [tail + 1, tail + 16, u64::MAX, 1 << 63] {
        outside.set_head(head);
        assert_eq!((producer.consumed(), producer.is_empty()), (0, false));
        assert_eq!(push(&mut producer, 100, 1000), Err(PushError::Full));
    }
    assert_eq!(next(&mut consumer), Some((0, message(0, 1000))));
    assert_eq!(producer.consumed(), consumer.position());
    assert_eq!(push(&mut producer, 100, 1000), UNNOTICED);
    outside.set_head(0);
    assert_eq!(producer.consumed(), consumer.position(), "it does not go back");
    assert_eq!(push(&mut producer, 101, 1000), Err(PushError::Full));
}

#[test]
fn ring_that_cannot_grow_is_unchanged() {
    let _watchdog = watchdog();
    let (mut producer, mut consumer, outside) = ring();
    producer.grow(0).unwrap();
    assert_eq!(push(&mut producer, 1, 10), UNNOTICED);
    assert_eq!(next(&mut consumer), Some((1, message(1, 10))));
    outside.set_exhausted(true);
    let tail = outside.tail_word();
    assert_eq!(producer.grow(0).unwrap_err().kind(), io::ErrorKind::OutOfMemory);
    producer.settle();
    assert_eq!(outside.tail_word(), tail);
    assert_eq!(push(&mut producer, 2, 10), UNNOTICED);
    assert_eq!(next(&mut consumer), Some((2, message(2, 10))));
    outside.set_exhausted(false);
    producer.settle();
    assert_ne!(outside.tail_word(), tail);
    // The consumer cannot map the segment that the producer has moved to.
    outside.set_exhausted(true);
    let visible = consumer.scan().unwrap();
    assert_eq!(consumer.front(visible), Err(Poisoned(Why::Memory)));
    assert_eq!(push(&mut producer, 3, 10), Err(PushError::Closed));
}

#[test]
fn consumer_does_not_sleep_while_there_is_a_record() {
    let _watchdog = watchdog();
    const MESSAGES: u64 = 20_000;
    let (mut producer, mut consumer, _) = ring();
    let (ring_bell, bell) = mpsc::channel();
    let len = |stamp: u64| if stamp % 100 == 0 { 20_000 } else { (stamp % 300) as usize };
    let sender = thread::spawn(move || {
        for stamp in 0..MESSAGES {
            let pushed = loop {
                match push(&mut producer, stamp, len(stamp)) {
                    Ok(pushed) => break pushed,
                    Err(PushError::Full) if stamp % 7 == 0 => producer.grow(len(stamp)).unwrap(),
                    Err(PushError::Full) => thread::yield_now(),
                    Err(PushError::Closed) => panic!("the consumer does not close it"),
                }
            };
            if pushed.must_wake {
                ring_bell.send(()).unwrap();
            }
            if stamp % 50 == 0 {
                producer.settle();
            }
        }
    });
    for expected in 0..MESSAGES {
        let taken = loop {
            match next(&mut consumer) {
                Some(taken) => break taken,
                None if consumer.arm() => bell.recv().unwrap(),
                None => {}
            }
        };
        assert_eq!(taken, (expected, message(expected, len(expected))));
    }
    sender.join().unwrap();
}

#[test]
#[should_panic(expected = "`front` returned the stamp of a message")]
fn a_message_is_taken_only_once() {
    let _watchdog = watchdog();
    let (mut producer, mut consumer, _) = ring();
    assert_eq!(push(&mut producer, 1, 10), UNNOTICED);
    assert!(next(&mut consumer).is_some());
    let _ = consumer.take(&mut Vec::new());
}
