//! At most one message, with the endpoints used and dropped in every order.

use std::thread;

use super::mpsc::{RecvError, RecvTimeoutError, SendError, TryRecvError, channel};
use super::{LONG, watchdog};

/// How often each race is run.
const ROUNDS: u32 = 300;

#[test]
fn nothing_is_sent() {
    let _watchdog = watchdog();
    let (sender, receiver) = channel::<u8>();
    drop(receiver);
    drop(sender);
    let (sender, receiver) = channel::<u8>();
    drop(sender);
    drop(receiver);
}

#[test]
fn sent_and_received() {
    let _watchdog = watchdog();
    let (sender, receiver) = channel();
    sender.send(Box::new(1)).unwrap();
    assert_eq!(receiver.recv(), Ok(Box::new(1)));

    let (sender, receiver) = channel();
    sender.send(1).unwrap();
    assert_eq!(receiver.try_recv(), Ok(1));

    let (sender, receiver) = channel();
    sender.send(1).unwrap();
    assert_eq!(receiver.recv_timeout(LONG), Ok(1));
}

#[test]
fn sent_after_the_receiver_was_dropped() {
    let _watchdog = watchdog();
    let (sender, receiver) = channel();
    drop(receiver);
    assert_eq!(sender.send(Box::new(1)), Err(SendError(Box::new(1))));
}

#[test]
fn received_after_the_sender_was_dropped() {
    let _watchdog = watchdog();
    let (sender, receiver) = channel::<u8>();
    drop(sender);
    assert_eq!(receiver.recv(), Err(RecvError));

    let (sender, receiver) = channel();
    sender.send(1).unwrap();
    drop(sender);
    assert_eq!(receiver.try_recv(), Ok(1));
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Disconnected));
}

#[test]
fn try_recv_before_it_is_sent() {
    let _watchdog = watchdog();
    let (sender, receiver) = channel();
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    sender.send(1).unwrap();
    assert_eq!(receiver.try_recv(), Ok(1));
}

#[test]
fn received_by_a_thread_that_may_come_first_or_last() {
    let _watchdog = watchdog();
    for round in 0..ROUNDS {
        let (sender, receiver) = channel();
        let receiving = thread::spawn(move || receiver.recv());
        sender.send(Box::new(round)).unwrap();
        assert_eq!(receiving.join().unwrap(), Ok(Box::new(round)));
    }
}

#[test]
fn timed_out() {
    let _watchdog = watchdog();
    for round in 0..ROUNDS {
        let (sender, receiver) = channel::<u8>();
        let receiving = thread::spawn(move || {
            if round % 2 == 0 {
                receiver.recv().map_err(RecvTimeoutError::from)
            } else {
                receiver.recv_timeout(LONG)
            }
        });
        let dropping = thread::spawn(move || drop(sender));
        assert_eq!(receiving.join().unwrap(), Err(RecvTimeoutError::Disconnected));
        dropping.join().unwrap();
    }
}

#[test]
fn sent_while_the_receiver_is_dropped() {
    let _watchdog = watchdog();
    for round in 0..ROUNDS {
        let (sender, receiver) = channel();
        let dropping = thread::spawn(move || drop(receiver));
        if let Err(SendError(value)) = sender.send(Box::new(round)) {
            assert_eq!(value, Box::new(round));
        }
        dropping.join().unwrap();
        assert_eq!(sender.send(Box::new(0)), Err(SendError(Box::new(0))));
    }
}

#[test]
fn dropped_by_two_threads_at_once() {
    let _watchdog = watchdog();
    for _ in 0..ROUNDS {
        let (sender, receiver) = channel::<u8>();
        let dropping = thread::spawn(move || drop(receiver));
        drop(sender);
        dropping.join().unwrap();
    }
}
