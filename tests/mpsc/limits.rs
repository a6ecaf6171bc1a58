//! Bounded channels beyond std: timeouts of sends, and endpoints in messages.

use std::thread;
use std::time::{Duration, Instant};

use strait::mpsc::{self, Receiver, SendTimeoutError, SyncSender, TrySendError};

use crate::LONG;
use crate::harness::watchdog;

const SHORT: Duration = Duration::from_millis(2);

#[test]
fn send_timeout_returns_the_value_of_a_full_channel() {
    let _watchdog = watchdog();
    for bound in 0..3 {
        let (sender, receiver) = mpsc::sync_channel(bound);
        (0..bound).for_each(|number| sender.send(number).unwrap());
        for timeout in [Duration::ZERO, Duration::from_nanos(1), SHORT] {
            let begun = Instant::now();
            assert_eq!(sender.send_timeout(9, timeout), Err(SendTimeoutError::Timeout(9)));
            assert!(begun.elapsed() >= timeout);
        }
        // The channel is empty.
        assert!(receiver.try_iter().eq(0..bound));
        drop(receiver);
        for timeout in [Duration::ZERO, LONG, Duration::MAX] {
            assert_eq!(sender.send_timeout(9, timeout), Err(SendTimeoutError::Disconnected(9)));
        }
    }
}

#[test]
fn send_timeout_uses_room_made_in_time() {
    let _watchdog = watchdog();
    for (bound, timeout) in [(0, LONG), (0, Duration::MAX), (2, LONG), (2, Duration::MAX)] {
        let (sender, receiver) = mpsc::sync_channel(bound);
        let sending = thread::spawn(move || {
            (0..500).for_each(|number| sender.send_timeout(number, timeout).unwrap());
            sender
        });
        assert!(receiver.iter().take(500).eq(0..500));
        let sender = sending.join().unwrap();
        let receiving = thread::spawn(move || drop(receiver));
        while sender.send_timeout(1, timeout).is_ok() {}
        receiving.join().unwrap();
    }
}

/// A sender that times out and tries again loses nothing and sends nothing twice.
#[test]
fn short_waits_lose_nothing() {
    let _watchdog = watchdog();
    for bound in 0..2 {
        let (sender, receiver) = mpsc::sync_channel(bound);
        let sending = thread::spawn(move || {
            for number in 0..1_000 {
                while let Err(error) = sender.send_timeout(number, Duration::from_micros(50)) {
                    assert_eq!(error, SendTimeoutError::Timeout(number));
                }
            }
        });
        assert!(receiver.into_iter().eq(0..1_000));
        sending.join().unwrap();
    }
}

#[test]
fn room_is_shared_with_senders_that_were_sent() {
    let _watchdog = watchdog();
    let (sender, receiver) = mpsc::sync_channel::<u32>(2);
    let (outer, inbox) = mpsc::channel::<SyncSender<u32>>();
    outer.send_ref(&sender).unwrap();
    let arrived = inbox.recv().unwrap();
    sender.try_send(1).unwrap();
    arrived.try_send(2).unwrap();
    for sender in [&sender, &arrived] {
        assert_eq!(sender.try_send(3), Err(TrySendError::Full(3)));
    }
    assert_eq!(receiver.recv(), Ok(1));
    arrived.try_send(3).unwrap();
    assert_eq!(sender.try_send(4), Err(TrySendError::Full(4)));
    drop((sender, arrived));
    assert!(receiver.into_iter().eq([2, 3]));
}

#[test]
fn moved_receiver_keeps_its_bound() {
    let _watchdog = watchdog();
    let (sender, receiver) = mpsc::sync_channel::<u32>(2);
    let (outer, inbox) = mpsc::channel::<Receiver<u32>>();
    sender.send(1).unwrap();
    sender.send(2).unwrap();
    outer.send_ref(&receiver).unwrap();
    assert_eq!(sender.try_send(3), Err(TrySendError::Full(3)));
    let arrived = inbox.recv().unwrap();
    assert_eq!(sender.try_send(3), Err(TrySendError::Full(3)));
    assert_eq!(arrived.recv(), Ok(1));
    sender.try_send(3).unwrap();
    assert_eq!(sender.try_send(4), Err(TrySendError::Full(4)));
    drop(receiver);
    drop(sender);
    assert!(arrived.into_iter().eq([2, 3]));
}

/// Senders that block while the receiver is in flight continue when it has been received, or
/// are disconnected when it is dropped there.
#[test]
fn blocked_send_continues_when_the_receiver_is_moved() {
    let _watchdog = watchdog();
    for bound in 0..2 {
        let (sender, receiver) = mpsc::sync_channel::<u32>(bound);
        let (outer, inbox) = mpsc::channel::<Receiver<u32>>();
        let sending = thread::spawn(move || {
            (0..100).for_each(|number| sender.send(number).unwrap());
            sender.send(100)
        });
        let mut receiver = receiver;
        for number in 0..100 {
            outer.send(receiver).unwrap();
            receiver = inbox.recv().unwrap();
            assert_eq!(receiver.recv(), Ok(number));
        }
        if bound == 0 {
            outer.send(receiver).unwrap();
            drop(inbox);
            assert_eq!(sending.join().unwrap(), Err(mpsc::SendError(100)));
        } else {
            assert_eq!(receiver.recv(), Ok(100));
            sending.join().unwrap().unwrap();
        }
    }
}

#[cfg(all(target_os = "linux", not(feature = "force-inprocess")))]
mod processes {
    use super::*;
    use crate::harness::{child_main, path_of};
    use crate::processes::{give, take};

    #[test]
    fn send_child() {
        child_main(|arguments| {
            let (numbers, sent): (SyncSender<u32>, mpsc::Sender<()>) = take(&arguments);
            (0..500).for_each(|number| {
                numbers.send(number).unwrap();
                sent.send(()).unwrap();
            });
        });
    }

    #[test]
    fn a_bound_holds_between_processes() {
        let _watchdog = watchdog();
        for bound in [0, 1, 10] {
            let (sender, receiver) = mpsc::sync_channel::<u32>(bound);
            let (told, sends) = mpsc::channel::<()>();
            let child = give(path_of(send_child), (sender, told));
            let mut sent = 0;
            for number in 0..500 {
                sent += sends.try_iter().count();
                assert!(sent <= number as usize + bound, "{sent} sent with {number} received");
                assert_eq!(receiver.recv(), Ok(number));
            }
            assert!(receiver.recv().is_err());
            child.completed();
        }
    }

    #[test]
    fn send_until_refused_child() {
        child_main(|arguments| {
            let (numbers, ready): (SyncSender<u32>, mpsc::Sender<()>) = take(&arguments);
            while let Ok(()) = numbers.try_send(1) {}
            ready.send(()).unwrap();
            while let Ok(()) = numbers.send(2) {}
        });
    }

    #[test]
    fn blocked_send_in_another_process_is_disconnected_when_the_receiver_is_dropped() {
        let _watchdog = watchdog();
        for bound in 0..3 {
            let (sender, receiver) = mpsc::sync_channel::<u32>(bound);
            let (ready, is_ready) = mpsc::channel::<()>();
            let child = give(path_of(send_until_refused_child), (sender, ready));
            is_ready.recv().unwrap();
            drop(receiver);
            child.completed();
        }
    }

    /// The permits that a killed process had taken are issued again.
    #[test]
    fn a_killed_sender_leaves_the_room_to_others() {
        let _watchdog = watchdog();
        for bound in 0..3 {
            let (sender, receiver) = mpsc::sync_channel::<u32>(bound);
            let (ready, is_ready) = mpsc::channel::<()>();
            let child = give(path_of(send_until_refused_child), (sender.clone(), ready));
            is_ready.recv().unwrap();
            child.killed();
            let sending = thread::spawn(move || (3..103).for_each(|i| sender.send(i).unwrap()));
            assert!(receiver.into_iter().filter(|number| *number > 2).eq(3..103));
            sending.join().unwrap();
        }
    }

    #[test]
    fn wait_child() {
        child_main(|arguments| {
            let (_receiver, ready): (Receiver<u32>, mpsc::Sender<()>) = take(&arguments);
            ready.send(()).unwrap();
            thread::park();
        });
    }

    #[test]
    fn blocked_send_is_disconnected_when_the_receiving_process_is_killed() {
        let _watchdog = watchdog();
        for bound in 0..3 {
            let (sender, receiver) = mpsc::sync_channel::<u32>(bound);
            let (ready, is_ready) = mpsc::channel::<()>();
            let child = give(path_of(wait_child), (receiver, ready));
            is_ready.recv().unwrap();
            let sending = thread::spawn(move || while sender.send(1).is_ok() {});
            child.killed();
            sending.join().unwrap();
        }
    }
}
