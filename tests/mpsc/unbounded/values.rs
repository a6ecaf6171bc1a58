//! Values of every kind are received, and values that are not received are dropped.

use std::thread;

use super::mpsc::{Receiver, RecvError, SendError, Sender, TryRecvError, channel};
use super::watchdog;

#[test]
fn keep_their_order_however_many_wait() {
    let _watchdog = watchdog();
    let (sender, receiver) = channel();
    for number in 0..100_000_u32 {
        sender.send(number).unwrap();
    }
    drop(sender);
    assert!(receiver.into_iter().eq(0..100_000));
}

#[test]
fn may_have_no_size() {
    let _watchdog = watchdog();
    let (sender, receiver) = channel::<()>();
    for _ in 0..10_000 {
        sender.send(()).unwrap();
    }
    assert_eq!(receiver.recv(), Ok(()));
    assert_eq!(receiver.try_iter().count(), 9_999);
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    drop(sender);
    assert_eq!(receiver.recv(), Err(RecvError));
}

#[test]
fn may_be_large() {
    let _watchdog = watchdog();
    let (sender, receiver) = channel();
    let large = vec![7_u8; 100 << 20];
    let sending = thread::spawn(move || {
        sender.send(vec![1]).unwrap();
        sender.send(large).unwrap();
        sender.send(vec![2]).unwrap();
    });
    assert_eq!(receiver.recv().unwrap(), [1]);
    let large = receiver.recv().unwrap();
    assert!(large.len() == 100 << 20 && large.iter().all(|byte| *byte == 7));
    assert_eq!(receiver.recv().unwrap(), [2]);
    sending.join().unwrap();
}

#[test]
fn may_be_of_any_shape() {
    let _watchdog = watchdog();
    type Value = (Option<Box<str>>, Vec<Result<i8, char>>, [u64; 3], std::time::Duration);
    let (sender, receiver) = channel::<Value>();
    let value =
        (Some("ß".into()), vec![Ok(-1), Err('x')], [1, 2, u64::MAX], std::time::Duration::MAX);
    sender.send(value.clone()).unwrap();
    assert_eq!(receiver.recv(), Ok(value));
}

/// An endpoint within a value lives as long as the value.
#[test]
fn queued_are_dropped_with_the_receiver() {
    let _watchdog = watchdog();
    let (outer, inbox) = channel::<(Sender<u8>, Receiver<u8>)>();
    let (sender, waiting) = channel();
    let (told, receiver) = channel();
    outer.clone().send((sender, receiver)).unwrap();
    assert_eq!(waiting.try_recv(), Err(TryRecvError::Empty));
    told.send(1).unwrap();
    drop(inbox);
    assert_eq!(waiting.recv(), Err(RecvError));
    assert_eq!(told.send(2), Err(SendError(2)));
    drop(outer);
}

#[test]
fn of_a_channel_without_ends_are_dropped() {
    let _watchdog = watchdog();
    for sender_first in [true, false] {
        let (outer, inbox) = channel::<Sender<u8>>();
        let waiting: Vec<_> = (0..10)
            .map(|_| {
                let (sender, receiver) = channel::<u8>();
                outer.send(sender).unwrap();
                receiver
            })
            .collect();
        if sender_first {
            drop(outer);
            drop(inbox);
        } else {
            drop(inbox);
            drop(outer);
        }
        for receiver in waiting {
            assert_eq!(receiver.recv(), Err(RecvError));
        }
    }
}

/// Channels queued in channels, several levels deep: dropping the outermost drops them all.
#[test]
fn may_be_channels_with_channels_in_them() {
    let _watchdog = watchdog();
    let (a, receive_a) = channel::<Receiver<Receiver<Sender<u8>>>>();
    let (b, receive_b) = channel::<Receiver<Sender<u8>>>();
    let (c, receive_c) = channel::<Sender<u8>>();
    let (d, receive_d) = channel::<u8>();
    c.send(d).unwrap();
    b.send(receive_c).unwrap();
    a.send(receive_b).unwrap();
    assert_eq!(receive_d.try_recv(), Err(TryRecvError::Empty));
    drop(receive_a);
    assert_eq!(receive_d.recv(), Err(RecvError));
    let (d, _receiver) = channel::<u8>();
    assert!(c.send(d).is_err());
}

#[test]
fn that_cannot_be_sent_come_back_unchanged() {
    let _watchdog = watchdog();
    let (outer, inbox) = channel::<(Sender<u8>, Receiver<u8>)>();
    let (sender, receiver) = channel();
    sender.send(1).unwrap();
    drop(inbox);
    let SendError((sender, receiver)) = outer.send((sender, receiver)).unwrap_err();
    sender.send(2).unwrap();
    drop(sender);
    assert!(receiver.iter().eq([1, 2]));
}

#[test]
fn that_are_endpoints_work_after_they_are_received() {
    let _watchdog = watchdog();
    let (requests, inbox) = channel::<(u32, Sender<u32>)>();
    let server = thread::spawn(move || {
        for (number, reply) in inbox {
            // The client may have dropped its receiver.
            let _ = reply.send(number + 1);
        }
    });
    for number in 0..200 {
        let (reply, answer) = channel();
        requests.send((number, reply)).unwrap();
        if number % 10 != 0 {
            assert_eq!(answer.recv(), Ok(number + 1));
            assert_eq!(answer.recv(), Err(RecvError));
        }
    }
    drop(requests);
    server.join().unwrap();
}
