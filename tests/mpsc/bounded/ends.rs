//! When the endpoints of a bounded channel are disconnected.

use std::thread;

use super::mpsc::{
    RecvError, RecvTimeoutError, SendError, SyncSender, TryRecvError, TrySendError, channel,
    sync_channel,
};
use super::{LONG, watchdog};

#[test]
fn sent_values_outlive_their_sender() {
    let _watchdog = watchdog();
    let (sender, receiver) = sync_channel(2);
    sender.send(1).unwrap();
    sender.try_send(2).unwrap();
    drop(sender);
    assert_eq!(receiver.recv(), Ok(1));
    assert_eq!(receiver.recv(), Ok(2));
    for _ in 0..2 {
        assert_eq!(receiver.recv(), Err(RecvError));
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Disconnected));
        assert_eq!(receiver.recv_timeout(LONG), Err(RecvTimeoutError::Disconnected));
        assert_eq!(receiver.iter().next(), None);
    }
}

#[test]
fn without_a_receiver_the_value_comes_back() {
    let _watchdog = watchdog();
    for bound in 0..3 {
        let (sender, receiver) = sync_channel(bound);
        let clone = sender.clone();
        drop(receiver);
        for sender in [&sender, &clone] {
            assert_eq!(sender.send("x".to_string()), Err(SendError("x".to_string())));
            assert_eq!(
                sender.try_send("x".to_string()),
                Err(TrySendError::Disconnected("x".to_string()))
            );
        }
    }
}

#[test]
fn a_full_channel_without_a_receiver_is_disconnected() {
    let _watchdog = watchdog();
    let (sender, receiver) = sync_channel(1);
    sender.send(1).unwrap();
    assert_eq!(sender.try_send(2), Err(TrySendError::Full(2)));
    drop(receiver);
    assert_eq!(sender.try_send(2), Err(TrySendError::Disconnected(2)));
    assert_eq!(sender.send(2), Err(SendError(2)));
}

#[test]
fn blocked_send_is_disconnected_when_the_receiver_is_dropped() {
    let _watchdog = watchdog();
    for received in 0..3 {
        let (sender, receiver) = sync_channel(2);
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let sender = sender.clone();
                thread::spawn(move || while sender.send(1).is_ok() {})
            })
            .collect();
        for _ in 0..received {
            receiver.recv().unwrap();
        }
        drop(receiver);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

#[test]
fn blocked_recv_is_disconnected_when_the_senders_are_dropped() {
    let _watchdog = watchdog();
    for bound in 0..2 {
        let (sender, receiver) = sync_channel::<u8>(bound);
        let receiving = thread::spawn(move || receiver.recv());
        let clones: Vec<_> = (0..4).map(|_| sender.clone()).collect();
        drop(sender);
        for clone in clones {
            thread::spawn(move || drop(clone));
        }
        assert_eq!(receiving.join().unwrap(), Err(RecvError));
    }
}

/// An endpoint within a value lives as long as the value.
#[test]
fn queued_values_are_dropped_with_the_receiver() {
    let _watchdog = watchdog();
    let (outer, inbox) = sync_channel::<SyncSender<u8>>(2);
    let (inner, waiting) = sync_channel(1);
    outer.send(inner).unwrap();
    assert_eq!(waiting.try_recv(), Err(TryRecvError::Empty));
    drop(inbox);
    assert_eq!(waiting.recv(), Err(RecvError));
    drop(outer);
}

#[test]
fn a_panic_drops_the_ends_of_its_thread() {
    let _watchdog = watchdog();
    let (sender, receiver) = sync_channel(0);
    let unwinding = thread::spawn(move || {
        let _sender: SyncSender<u8> = sender;
        std::panic::resume_unwind(Box::new(()));
    });
    assert_eq!(receiver.recv(), Err(RecvError));
    assert!(unwinding.join().is_err());
}

/// A blocked `send` does not keep other threads from making and dropping endpoints, or from
/// using other channels.
#[test]
fn blocked_send_does_not_delay_other_senders() {
    let _watchdog = watchdog();
    let (sender, receiver) = sync_channel(0);
    let (done, is_done) = channel();
    thread::scope(|scope| {
        let waiting = sender.clone();
        scope.spawn(move || {
            waiting.send(1).unwrap();
            done.send(()).unwrap();
        });
        for _ in 0..1_000 {
            drop(sender.clone());
        }
        assert_eq!(is_done.try_recv(), Err(TryRecvError::Empty));
        assert_eq!(receiver.recv(), Ok(1));
        is_done.recv().unwrap();
    });
}
