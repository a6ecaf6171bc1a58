//! The room of a bounded channel.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::mpsc::{RecvTimeoutError, SyncSender, TryRecvError, TrySendError, sync_channel};
use super::{LONG, watchdog};

#[test]
fn is_as_large_as_it_was_made() {
    let _watchdog = watchdog();
    for bound in [1, 2, 7, 1_000] {
        let (sender, receiver) = sync_channel(bound);
        for number in 0..bound {
            sender.send(number).unwrap();
        }
        for sender in [&sender, &sender.clone()] {
            assert_eq!(sender.try_send(bound), Err(TrySendError::Full(bound)));
        }
        // Each received value makes room for one.
        assert_eq!(receiver.recv(), Ok(0));
        sender.try_send(bound).unwrap();
        assert_eq!(sender.try_send(0), Err(TrySendError::Full(0)));
        drop(sender);
        assert!(receiver.into_iter().eq(1..=bound));
    }
}

#[test]
fn can_be_made_in_every_way_to_receive() {
    let _watchdog = watchdog();
    let (sender, receiver) = sync_channel(1);
    let fill = |number| {
        sender.try_send(number).unwrap();
        assert_eq!(sender.try_send(number), Err(TrySendError::Full(number)));
    };
    fill(0);
    assert_eq!(receiver.recv(), Ok(0));
    fill(1);
    assert_eq!(receiver.try_recv(), Ok(1));
    fill(2);
    assert_eq!(receiver.recv_timeout(LONG), Ok(2));
    fill(3);
    assert_eq!(receiver.iter().next(), Some(3));
    fill(4);
    assert_eq!(receiver.try_iter().next(), Some(4));
    fill(5);
    drop(sender);
    assert!(receiver.into_iter().eq([5]));
}

#[test]
fn belongs_to_all_clones_together() {
    let _watchdog = watchdog();
    let (sender, receiver) = sync_channel(3);
    let clones: Vec<SyncSender<usize>> = (0..3).map(|_| sender.clone()).collect();
    for (number, clone) in clones.iter().enumerate() {
        clone.send(number).unwrap();
    }
    assert_eq!(sender.try_send(9), Err(TrySendError::Full(9)));
    // Values stay queued when their senders are dropped.
    drop(clones);
    assert_eq!(sender.try_send(9), Err(TrySendError::Full(9)));
    assert!(receiver.try_iter().eq(0..3));
}

#[test]
fn is_not_made_by_a_receive_that_timed_out() {
    let _watchdog = watchdog();
    let (sender, receiver) = sync_channel(1);
    for timeout in [Duration::ZERO, Duration::from_millis(2)] {
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
        assert_eq!(receiver.recv_timeout(timeout), Err(RecvTimeoutError::Timeout));
    }
    sender.try_send(1).unwrap();
    assert_eq!(sender.try_send(2), Err(TrySendError::Full(2)));
}

/// `send` does not return before there is room: the values sent are at most those received and
/// those that the channel has room for.
#[test]
fn is_waited_for() {
    let _watchdog = watchdog();
    for (bound, senders) in [(0, 1), (1, 1), (5, 1), (0, 4), (3, 4)] {
        const EACH: usize = 500;
        let sent = AtomicUsize::new(0);
        let (sender, receiver) = sync_channel(bound);
        thread::scope(|scope| {
            for _ in 0..senders {
                let (sender, sent) = (sender.clone(), &sent);
                scope.spawn(move || {
                    for number in 0..EACH {
                        sender.send(number).unwrap();
                        sent.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
            for received in 0..senders * EACH {
                let sent = sent.load(Ordering::SeqCst);
                assert!(sent <= received + bound, "{sent} sent with {received} received");
                receiver.recv().unwrap();
            }
        });
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    }
}

#[test]
fn may_be_for_values_without_a_size() {
    let _watchdog = watchdog();
    let (sender, receiver) = sync_channel(2);
    sender.send(()).unwrap();
    sender.send(()).unwrap();
    assert_eq!(sender.try_send(()), Err(TrySendError::Full(())));
    assert_eq!(receiver.try_iter().count(), 2);
}

#[test]
fn may_be_for_large_values() {
    let _watchdog = watchdog();
    let (sender, receiver) = sync_channel(2);
    let sending = thread::spawn(move || {
        for byte in 0..5_u8 {
            sender.send(vec![byte; 10 << 20]).unwrap();
        }
    });
    for byte in 0..5_u8 {
        let value = receiver.recv().unwrap();
        assert!(value.len() == 10 << 20 && value.iter().all(|&b| b == byte));
    }
    assert!(receiver.recv().is_err());
    sending.join().unwrap();
}
