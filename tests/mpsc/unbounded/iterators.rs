//! Receivers as iterators.

use std::thread;

use super::mpsc::{Receiver, TryRecvError, channel};
use super::watchdog;

fn filled() -> Receiver<u32> {
    let (sender, receiver) = channel();
    (0..5).for_each(|number| sender.send(number).unwrap());
    receiver
}

#[test]
fn yield_values_until_disconnection() {
    let _watchdog = watchdog();
    assert!(filled().iter().eq(0..5));
    assert!(filled().into_iter().eq(0..5));
    assert!(filled().try_iter().eq(0..5));
    let mut all = Vec::new();
    let receiver = filled();
    for number in &receiver {
        all.push(number);
    }
    assert_eq!(all, [0, 1, 2, 3, 4]);
    assert_eq!(IntoIterator::into_iter(&receiver).next(), None);
    let mut owning = receiver.into_iter();
    assert_eq!((owning.next(), owning.next()), (None, None));
}

#[test]
fn block_until_the_next_value() {
    let _watchdog = watchdog();
    let (sender, receiver) = channel::<u32>();
    let (sums, sum) = channel();
    let adding = thread::spawn(move || sums.send(receiver.iter().sum::<u32>()).unwrap());
    for number in [3, 1, 2] {
        sender.send(number).unwrap();
    }
    drop(sender);
    assert_eq!(sum.recv(), Ok(6));
    adding.join().unwrap();
}

#[test]
fn leave_later_values_in_the_channel() {
    let _watchdog = watchdog();
    let receiver = filled();
    for number in receiver.iter() {
        if number == 1 {
            break;
        }
    }
    assert_eq!(receiver.recv(), Ok(2));
    assert_eq!(receiver.try_iter().next(), Some(3));
    assert!(receiver.into_iter().eq([4]));
}

#[test]
fn that_do_not_block_can_be_continued() {
    let _watchdog = watchdog();
    let (sender, receiver) = channel();
    let mut iterator = receiver.try_iter();
    assert_eq!(iterator.next(), None);
    sender.send(1).unwrap();
    sender.send(2).unwrap();
    assert_eq!((iterator.next(), iterator.next(), iterator.next()), (Some(1), Some(2), None));
    sender.send(3).unwrap();
    drop(sender);
    assert_eq!((iterator.next(), iterator.next()), (Some(3), None));
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Disconnected));
}

/// Requests and answers, each received as far as they are queued.
#[test]
fn that_do_not_block_can_alternate() {
    let _watchdog = watchdog();
    let (requests, inbox) = channel();
    let (answers, answer) = channel();
    let answering = thread::spawn(move || {
        for wanted in inbox {
            for number in 0..wanted {
                answers.send(number).unwrap();
            }
        }
    });
    let mut received = 0;
    for _ in 0..10 {
        requests.send(100).unwrap();
        received += answer.try_iter().count();
    }
    drop(requests);
    answering.join().unwrap();
    assert_eq!(received + answer.try_iter().count(), 1_000);
}

#[test]
fn may_be_nested() {
    let _watchdog = watchdog();
    let (outer, receivers) = channel::<Receiver<u32>>();
    for _ in 0..3 {
        outer.send(filled()).unwrap();
    }
    drop(outer);
    let mut all = Vec::new();
    for receiver in &receivers {
        for number in &receiver {
            all.push(number);
        }
    }
    assert_eq!(all, [0, 1, 2, 3, 4].repeat(3));
    assert!(receivers.into_iter().flatten().next().is_none());
}

#[test]
fn drop_the_receiver_that_they_own() {
    let _watchdog = watchdog();
    let (sender, receiver) = channel();
    sender.send(1).unwrap();
    let mut owning = receiver.into_iter();
    assert_eq!(owning.next(), Some(1));
    sender.send(2).unwrap();
    drop(owning);
    assert!(sender.send(3).is_err());
}
