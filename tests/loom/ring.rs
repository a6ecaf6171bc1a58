//! The producer and the consumer of a ring at the same time, in every order that weakly ordered
//! memory allows.

use loom::sync::mpsc;
use loom::thread;
use strait::internals::ring::{
    Consumer, ConsumerLimits, FIRST_LEN, Kind, Producer, PushError, Pushed, State,
};

use super::memory::{LoomMemory, memory};
use crate::harness::watchdog;

type Sides = (Producer<LoomMemory>, Consumer<LoomMemory>);

fn ring() -> Sides {
    let limits = ConsumerLimits { max_message: 1 << 20, max_jumps: 10, max_bytes: 4 << 20 };
    let (memory, other) = memory();
    (Producer::new(memory).unwrap(), Consumer::new(other, limits).unwrap())
}

fn push(producer: &mut Producer<LoomMemory>, stamp: u64, len: usize) -> Result<Pushed, PushError> {
    producer.push(Kind::Message, stamp, [&vec![stamp as u8; len], &[]])
}

/// Takes a message, if there is one, and checks its content. Returns its stamp.
fn next(consumer: &mut Consumer<LoomMemory>) -> Option<u64> {
    let visible = consumer.scan().unwrap();
    let stamp = consumer.front(visible).unwrap()?;
    let mut out = Vec::new();
    consumer.take(&mut out).unwrap();
    assert!(out.iter().all(|byte| *byte == stamp as u8), "bytes of another message");
    Some(stamp)
}

/// Takes all messages up to `last`, and sleeps while there is none.
fn take_until(consumer: &mut Consumer<LoomMemory>, last: u64, bell: &mpsc::Receiver<()>) {
    let mut expected = 1;
    while expected <= last {
        match next(consumer) {
            Some(stamp) => {
                assert_eq!(stamp, expected);
                expected += 1;
            }
            None if consumer.arm() => bell.recv().unwrap(),
            None => {}
        }
    }
}

/// Pushes, grows if there is no room, and wakes the consumer if it sleeps.
fn send(producer: &mut Producer<LoomMemory>, stamp: u64, len: usize, bell: &mpsc::Sender<()>) {
    let pushed = push(producer, stamp, len).or_else(|_| {
        producer.grow(len).unwrap();
        push(producer, stamp, len)
    });
    if pushed.unwrap().must_wake {
        bell.send(()).unwrap();
    }
}

/// Runs a test in every order.
#[track_caller]
fn in_every_order(test: impl Fn() + Send + Sync + 'static) {
    let _watchdog = watchdog();
    loom::model(test);
}

#[test]
fn a_record_that_is_seen_has_its_bytes() {
    in_every_order(|| {
        let (mut producer, mut consumer) = ring();
        let sender = thread::spawn(move || {
            for stamp in 1..=2 {
                let _ = push(&mut producer, stamp, 20).unwrap();
            }
        });
        let mut expected = 1;
        for _ in 0..2 {
            if let Some(stamp) = next(&mut consumer) {
                assert_eq!(stamp, expected);
                expected += 1;
            }
        }
        sender.join().unwrap();
    });
}

#[test]
fn arming_and_disarming_hides_no_record() {
    in_every_order(|| {
        let (mut producer, mut consumer) = ring();
        let sender = thread::spawn(move || push(&mut producer, 1, 20).unwrap());
        // These bytes were written by the consumer, after those of the producer.
        consumer.arm();
        consumer.disarm();
        let early = next(&mut consumer);
        let _ = sender.join().unwrap();
        assert_eq!(early.or_else(|| next(&mut consumer)), Some(1));
    });
}

#[test]
fn a_fragment_that_is_seen_has_its_bytes() {
    in_every_order(|| {
        let (mut producer, mut consumer) = ring();
        let sender = thread::spawn(move || {
            let total = 30_u64.to_le_bytes();
            let _ = producer.push(Kind::First, 1, [&total, &[1; 10]]).unwrap();
            let _ = producer.push(Kind::Last, 1, [&[1; 20], &[]]).unwrap();
        });
        for _ in 0..2 {
            assert!(matches!(next(&mut consumer), None | Some(1)));
        }
        sender.join().unwrap();
        assert!(matches!(next(&mut consumer), None | Some(1)));
    });
}

#[test]
fn room_is_reused_only_after_it_was_read() {
    for in_fragments in [false, true] {
        in_every_order(move || {
            let (mut producer, mut consumer) = ring();
            if in_fragments {
                let total = 56_u64.to_le_bytes();
                let _ = producer.push(Kind::First, 1, [&total, &[1; 8]]).unwrap();
                let _ = producer.push(Kind::Last, 1, [&[1; 48], &[]]).unwrap();
            } else {
                let _ = push(&mut producer, 1, 80).unwrap();
            }
            // The third record has room only in the place of the first.
            let _ = push(&mut producer, 2, FIRST_LEN as usize - 32 - 96 - 16).unwrap();
            let sender = thread::spawn(move || {
                let pushed = push(&mut producer, 3, 80);
                assert!(pushed.is_ok() || pushed == Err(PushError::Full));
                pushed.is_ok()
            });
            assert_eq!(next(&mut consumer), Some(1));
            let is_pushed = sender.join().unwrap();
            assert_eq!(next(&mut consumer), Some(2));
            assert_eq!(next(&mut consumer), is_pushed.then_some(3));
        });
    }
}

#[test]
fn consumer_does_not_sleep_while_there_is_a_record() {
    in_every_order(|| {
        let (mut producer, mut consumer) = ring();
        let (ring_bell, bell) = mpsc::channel();
        let sender = thread::spawn(move || {
            send(&mut producer, 1, 20, &ring_bell);
            send(&mut producer, 2, 20, &ring_bell);
        });
        take_until(&mut consumer, 2, &bell);
        sender.join().unwrap();
    });
}

#[test]
fn consumer_does_not_sleep_while_the_ring_continues_in_another_segment() {
    in_every_order(|| {
        let (mut producer, mut consumer) = ring();
        let (ring_bell, bell) = mpsc::channel();
        let sender = thread::spawn(move || {
            producer.grow(0).unwrap();
            send(&mut producer, 1, 20, &ring_bell);
            producer.settle();
            send(&mut producer, 2, 20, &ring_bell);
        });
        take_until(&mut consumer, 2, &bell);
        sender.join().unwrap();
    });
}

#[test]
fn segment_is_given_back_only_after_it_was_read() {
    in_every_order(|| {
        let (mut producer, mut consumer) = ring();
        producer.grow(0).unwrap();
        let _ = push(&mut producer, 1, 20).unwrap();
        let sender = thread::spawn(move || {
            for stamp in 2..=3 {
                producer.settle();
                let _ = push(&mut producer, stamp, 20).unwrap();
            }
            producer
        });
        let mut expected = 1;
        for _ in 0..2 {
            if let Some(stamp) = next(&mut consumer) {
                assert_eq!(stamp, expected);
                expected += 1;
            }
        }
        let mut producer = sender.join().unwrap();
        while let Some(stamp) = next(&mut consumer) {
            assert_eq!(stamp, expected);
            expected += 1;
        }
        assert_eq!(expected, 4);
        assert!(producer.is_empty());
        producer.settle();
    });
}

#[test]
fn growing_does_not_overwrite_unread_records() {
    in_every_order(|| {
        let (mut producer, mut consumer) = ring();
        producer.grow(0).unwrap();
        let _ = push(&mut producer, 1, 20).unwrap();
        let sender = thread::spawn(move || {
            // Back to the first, and from there to where it was before, if that was given back.
            producer.settle();
            let _ = push(&mut producer, 2, 20).unwrap();
            producer.grow(0).unwrap();
            // Longer than the other record: it overwrites the JUMP back.
            let _ = push(&mut producer, 3, 60).unwrap();
        });
        let mut expected = 1;
        for _ in 0..3 {
            if let Some(stamp) = next(&mut consumer) {
                assert_eq!(stamp, expected);
                expected += 1;
            }
        }
        sender.join().unwrap();
        while let Some(stamp) = next(&mut consumer) {
            assert_eq!(stamp, expected);
            expected += 1;
        }
        assert_eq!(expected, 4);
    });
}

#[test]
fn records_before_the_end_are_read_and_no_others() {
    in_every_order(|| {
        let (mut producer, mut consumer) = ring();
        let sender = thread::spawn(move || {
            let pushed = [1, 2].map(|stamp| push(&mut producer, stamp, 20).is_ok());
            assert!(pushed != [false, true], "retired is retired");
            pushed.iter().filter(|is_pushed| **is_pushed).count() as u64
        });
        let mut taken = u64::from(next(&mut consumer).is_some());
        let end = consumer.retire().unwrap();
        while let Some(stamp) = next(&mut consumer) {
            taken += 1;
            assert_eq!(stamp, taken);
        }
        assert_eq!(consumer.position(), end);
        assert_eq!(sender.join().unwrap(), taken);
        assert_eq!((next(&mut consumer), consumer.retire()), (None, Ok(end)));
    });
}

#[test]
fn growing_and_sleeping_and_retiring_lose_nothing() {
    in_every_order(|| {
        let (mut producer, mut consumer) = ring();
        let sender = thread::spawn(move || {
            let is_first_pushed = push(&mut producer, 1, 20).is_ok();
            producer.grow(0).unwrap();
            let is_second_pushed = push(&mut producer, 2, 20).is_ok();
            assert!(is_first_pushed || !is_second_pushed, "retired is retired");
            u64::from(is_first_pushed) + u64::from(is_second_pushed)
        });
        let mut taken = u64::from(next(&mut consumer).is_some());
        consumer.arm();
        taken += u64::from(next(&mut consumer).is_some());
        let end = consumer.retire().unwrap();
        while let Some(stamp) = next(&mut consumer) {
            taken += 1;
            assert_eq!(stamp, taken);
        }
        assert_eq!(consumer.position(), end);
        assert_eq!(sender.join().unwrap(), taken);
    });
}

#[test]
fn jump_beside_retirement_loses_nothing() {
    in_every_order(|| {
        let (mut producer, mut consumer) = ring();
        let sender = thread::spawn(move || {
            producer.grow(0).unwrap();
            push(&mut producer, 1, 20).is_ok()
        });
        let end = consumer.retire().unwrap();
        let taken = next(&mut consumer);
        assert_eq!(consumer.position(), end);
        assert_eq!(taken.is_some(), sender.join().unwrap());
    });
}

#[test]
fn consumer_that_sleeps_or_ends_is_seen_to_have_consumed() {
    for leaves in [false, true] {
        in_every_order(move || {
            let (mut producer, mut consumer) = ring();
            let _ = push(&mut producer, 1, 20).unwrap();
            let sender = thread::spawn(move || {
                let end_of_first = 16 + 32;
                match push(&mut producer, 2, 20) {
                    Ok(Pushed { must_wake: false }) => {}
                    Ok(Pushed { must_wake: true }) | Err(PushError::Closed) => {
                        assert_eq!(producer.consumed(), end_of_first);
                    }
                    Err(PushError::Full) => unreachable!("there is room"),
                }
            });
            assert_eq!(next(&mut consumer), Some(1));
            if leaves {
                consumer.retire().unwrap();
            } else {
                consumer.arm();
            }
            sender.join().unwrap();
        });
    }
}

#[test]
fn writes_before_accepting_are_seen() {
    for accepts in [false, true] {
        in_every_order(move || {
            let (producer, consumer) = ring();
            let done = loom::sync::Arc::new(loom::cell::UnsafeCell::new(()));
            let to_see = loom::sync::Arc::clone(&done);
            let sender = thread::spawn(move || {
                if producer.state() != State::Offered {
                    to_see.with(|_| {});
                }
            });
            done.with_mut(|_| {});
            if accepts {
                consumer.tell(State::Accepted);
            } else {
                consumer.tell(State::Refused);
            }
            sender.join().unwrap();
        });
    }
}
