//! Channels with bound 0: a send is a rendezvous with a receive.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use super::mpsc::{RecvError, SendError, TryRecvError, TrySendError, sync_channel};
use super::{LONG, watchdog};

#[test]
fn take_two() {
    let _watchdog = watchdog();
    let (sender, receiver) = sync_channel(0);
    for number in 0..3 {
        assert_eq!(sender.try_send(number), Err(TrySendError::Full(number)));
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    }
    // Values that were not received are not queued.
    drop(sender);
    assert_eq!(receiver.recv(), Err(RecvError));
}

#[test]
fn send_returns_when_it_is_received() {
    let _watchdog = watchdog();
    let (sender, receiver) = sync_channel(0);
    let returned = AtomicU32::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            let sender = sender;
            for number in 0..1_000 {
                sender.send(number).unwrap();
                returned.fetch_add(1, Ordering::SeqCst);
            }
        });
        for number in 0..1_000 {
            assert!(returned.load(Ordering::SeqCst) <= number);
            assert_eq!(receiver.recv(), Ok(number));
        }
        assert_eq!(receiver.recv(), Err(RecvError));
    });
}

#[test]
fn try_send_succeeds_while_a_receiver_waits() {
    let _watchdog = watchdog();
    let (sender, receiver) = sync_channel(0);
    let receiving = thread::spawn(move || [receiver.recv(), receiver.recv(), receiver.recv()]);
    for number in 0..2 {
        while let Err(error) = sender.try_send(number) {
            assert_eq!(error, TrySendError::Full(number));
            thread::yield_now();
        }
    }
    drop(sender);
    assert_eq!(receiving.join().unwrap(), [Ok(0), Ok(1), Err(RecvError)]);
}

#[test]
fn try_recv_succeeds_while_a_sender_waits() {
    let _watchdog = watchdog();
    let (sender, receiver) = sync_channel(0);
    let sending = thread::spawn(move || (0..10).for_each(|number| sender.send(number).unwrap()));
    let mut received = Vec::new();
    loop {
        match receiver.try_recv() {
            Ok(number) => received.push(number),
            Err(TryRecvError::Empty) => thread::yield_now(),
            Err(TryRecvError::Disconnected) => break,
        }
    }
    assert!(received.into_iter().eq(0..10));
    sending.join().unwrap();
}

#[test]
fn recv_timeout_receives_a_value_sent_in_time() {
    let _watchdog = watchdog();
    let (sender, receiver) = sync_channel(0);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let sender = sender;
            (0..200).for_each(|number| sender.send(number).unwrap());
            is_over.store(true, Ordering::SeqCst);
        });
        let mut next = 0;
        while next < 200 {
            if let Ok(number) = receiver.recv_timeout(Duration::from_micros(50)) {
                assert_eq!(number, next);
                next += 1;
            }
        }
        assert!(receiver.recv_timeout(LONG).is_err());
    });
    assert!(is_over.into_inner());
}

#[test]
fn blocked_send_returns_its_value_when_the_receiver_is_dropped() {
    let _watchdog = watchdog();
    let (sender, receiver) = sync_channel(0);
    let threads: Vec<_> = (0..4)
        .map(|number| {
            let sender = sender.clone();
            thread::spawn(move || sender.send(number))
        })
        .collect();
    drop(receiver);
    for (number, thread) in threads.into_iter().enumerate() {
        assert_eq!(thread.join().unwrap(), Err(SendError(number)));
    }
}

/// A receive that has timed out takes part in no rendezvous.
#[test]
fn try_send_fails_after_recv_timeout_has_returned() {
    let _watchdog = watchdog();
    let (sender, receiver) = sync_channel(0);
    assert!(receiver.recv_timeout(Duration::from_millis(1)).is_err());
    assert_eq!(sender.try_send(1), Err(TrySendError::Full(1)));
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    let sending = thread::spawn(move || sender.send(2));
    assert_eq!(receiver.recv(), Ok(2));
    sending.join().unwrap().unwrap();
}
