//! When the endpoints of an unbounded channel are disconnected.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Barrier;
use std::thread;

use super::mpsc::{RecvError, RecvTimeoutError, SendError, TryRecvError, channel};
use super::{LONG, watchdog};

#[test]
fn sent_values_outlive_their_sender() {
    let _watchdog = watchdog();
    let (sender, receiver) = channel();
    sender.send(1).unwrap();
    sender.send(2).unwrap();
    drop(sender);
    assert_eq!(receiver.recv(), Ok(1));
    assert_eq!(receiver.try_recv(), Ok(2));
    assert_eq!(receiver.recv(), Err(RecvError));
}

#[test]
fn receiver_without_senders_is_disconnected_in_every_way_to_receive() {
    let _watchdog = watchdog();
    let (sender, receiver) = channel::<u8>();
    drop(sender);
    for _ in 0..3 {
        assert_eq!(receiver.recv(), Err(RecvError));
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Disconnected));
        assert_eq!(receiver.recv_timeout(LONG), Err(RecvTimeoutError::Disconnected));
        assert_eq!(receiver.iter().next(), None);
        assert_eq!(receiver.try_iter().next(), None);
    }
}

#[test]
fn without_a_receiver_the_value_comes_back() {
    let _watchdog = watchdog();
    let (sender, receiver) = channel();
    let clone = sender.clone();
    sender.send("received".to_string()).unwrap();
    receiver.recv().unwrap();
    sender.send("not received".to_string()).unwrap();
    drop(receiver);
    for sender in [&sender, &clone, &sender.clone()] {
        assert_eq!(sender.send("unsent".to_string()), Err(SendError("unsent".to_string())));
    }
}

#[test]
fn every_clone_keeps_the_channel_open() {
    let _watchdog = watchdog();
    let (sender, receiver) = channel();
    let mut clones: Vec<_> = (0..10).map(|_| sender.clone()).collect();
    drop(sender);
    while let Some(clone) = clones.pop() {
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
        clone.clone().send(clones.len()).unwrap();
        assert_eq!(receiver.recv(), Ok(clones.len()));
    }
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Disconnected));
}

#[test]
fn empty_is_not_disconnected() {
    let _watchdog = watchdog();
    let (sender, receiver) = channel();
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    sender.send(1).unwrap();
    assert_eq!(receiver.try_recv(), Ok(1));
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    sender.send(2).unwrap();
    drop(sender);
    assert_eq!(receiver.try_recv(), Ok(2));
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Disconnected));
}

/// Each state is reached in another thread, and observed after a notification.
#[test]
fn states_are_seen_across_threads() {
    let _watchdog = watchdog();
    let (sender, receiver) = channel();
    let (go, next) = channel::<()>();
    let (done, is_done) = channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            next.recv().unwrap();
            sender.send(1).unwrap();
            done.send(()).unwrap();
            next.recv().unwrap();
            drop(sender);
            done.send(()).unwrap();
        });
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
        go.send(()).unwrap();
        is_done.recv().unwrap();
        assert_eq!(receiver.try_recv(), Ok(1));
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
        go.send(()).unwrap();
        is_done.recv().unwrap();
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Disconnected));
    });
}

#[test]
fn blocked_recv_is_disconnected_when_the_senders_are_dropped() {
    let _watchdog = watchdog();
    let (sender, receiver) = channel::<u8>();
    let waiting = thread::spawn(move || receiver.recv());
    drop(sender);
    assert_eq!(waiting.join().unwrap(), Err(RecvError));
    // However many values were queued, and in whatever order the senders are dropped.
    let (sender, receiver) = channel::<u8>();
    let waiting = thread::spawn(move || receiver.recv_timeout(LONG));
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let sender = sender.clone();
            thread::spawn(move || drop(sender.clone()))
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    drop(sender);
    assert_eq!(waiting.join().unwrap(), Err(RecvTimeoutError::Disconnected));
}

#[test]
fn everything_arrives_before_the_end() {
    let _watchdog = watchdog();
    let (sender, receiver) = channel();
    let sending = thread::spawn(move || (0..10_000).for_each(|i| sender.send(i).unwrap()));
    assert!(receiver.iter().eq(0..10_000));
    assert_eq!(receiver.recv(), Err(RecvError));
    sending.join().unwrap();
}

#[test]
fn sender_is_disconnected_after_the_receiver_is_dropped() {
    let _watchdog = watchdog();
    for senders in [1, 4] {
        let (sender, receiver) = channel();
        thread::scope(|scope| {
            for _ in 0..senders {
                let sender = sender.clone();
                scope.spawn(move || while sender.send(1).is_ok() {});
            }
            assert_eq!(receiver.recv(), Ok(1));
            drop(receiver);
        });
        assert_eq!(sender.send(2), Err(SendError(2)));
    }
}

#[test]
fn a_receiver_moved_to_a_thread_ends_with_it() {
    let _watchdog = watchdog();
    let (sender, receiver) = channel();
    thread::spawn(move || receiver.recv().unwrap());
    while sender.send(1).is_ok() {}
}

/// No thread blocks for ever, and no thread panics.
#[test]
fn both_endpoints_can_be_dropped_at_once() {
    let _watchdog = watchdog();
    let barrier = Barrier::new(2);
    for round in 0..500 {
        let (sender, receiver) = channel();
        let barrier = &barrier;
        thread::scope(|scope| {
            scope.spawn(move || {
                barrier.wait();
                match round % 3 {
                    0 => drop(sender),
                    1 => {
                        let _ = sender.send(round);
                    }
                    _ => {
                        let clone = sender.clone();
                        drop(sender);
                        let _ = clone.send(round);
                    }
                }
            });
            barrier.wait();
            match round % 5 {
                0 | 1 => drop(receiver),
                2 => {
                    let _ = receiver.recv();
                }
                3 => {
                    let _ = receiver.try_recv();
                }
                _ => receiver.into_iter().for_each(|value| assert_eq!(value, round)),
            }
        });
    }
}

#[test]
fn a_panic_drops_the_ends_of_its_thread() {
    let _watchdog = watchdog();
    let (sender, receiver) = channel::<u8>();
    let unwound = thread::spawn(move || {
        sender.send(1).unwrap();
        std::panic::resume_unwind(Box::new(sender));
    });
    assert_eq!(receiver.recv(), Ok(1));
    // The payload of the panic has the sender until `join` takes it.
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    drop(unwound.join());
    assert_eq!(receiver.recv(), Err(RecvError));

    let (sender, receiver) = channel::<u8>();
    let result = catch_unwind(AssertUnwindSafe(move || {
        let _receiver = receiver;
        std::panic::resume_unwind(Box::new(()));
    }));
    assert!(result.is_err());
    assert_eq!(sender.send(2), Err(SendError(2)));
}
