//! Receivers that move while a sender has left parts of messages in them.

use std::os::fd::AsFd;
use std::thread;

use strait::internals::frame::{Kind, Position};
use strait::ipc::{self, IpcReceiver, IpcSender};

use crate::harness::raw::{self, Canary, encoded};
use crate::{assert_refused, harness};

/// The maximum of bytes of incomplete messages that a moved receiver takes along.
const MAX_MOVED_BYTES: usize = 64 << 20;

/// A receiver with so many bytes of message 1, which has one byte more.
fn with_incomplete(bytes: usize) -> (IpcSender<String>, IpcReceiver<String>) {
    let (sender, receiver) = ipc::channel::<String>().unwrap();
    let sending = thread::spawn({
        let sender = sender.clone();
        move || {
            let part = vec![b'x'; 100_000];
            raw::send(&sender, &raw::first(1, bytes as u64 + 1, b""), &[]).unwrap();
            let mut left = bytes;
            while left > 0 {
                let now = left.min(part.len());
                raw::send(&sender, &raw::middle(1, &part[..now]), &[]).unwrap();
                left -= now;
            }
            sender.send("here".to_string()).unwrap();
        }
    });
    assert_eq!(receiver.recv().unwrap(), "here");
    sending.join().unwrap();
    (sender, receiver)
}

/// Moves a receiver, in a message of any length.
fn moved(receiver: IpcReceiver<String>) -> IpcReceiver<String> {
    let (carrier, carried) = ipc::channel::<IpcReceiver<String>>().unwrap();
    let sending = thread::spawn(move || carrier.send(receiver).unwrap());
    let receiver = carried.recv().unwrap();
    sending.join().unwrap();
    receiver
}

#[test]
fn c9_receiver_with_an_incomplete_message_can_be_moved() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = with_incomplete(MAX_MOVED_BYTES + 1);
    sender.send("before".to_string()).unwrap();
    let receiver = moved(receiver);
    assert_eq!(receiver.recv().unwrap(), "before");
    // The rest of a message that was left behind is one error, in this process and wherever the
    // receiver is moved.
    raw::send(&sender, &raw::middle(1, b""), &[]).unwrap();
    sender.send("between".to_string()).unwrap();
    assert_refused(receiver.recv());
    assert_eq!(receiver.recv().unwrap(), "between");
    let receiver = moved(receiver);
    for _ in 0..10 {
        raw::send(&sender, &raw::middle(1, b""), &[]).unwrap();
    }
    raw::send(&sender, &raw::last(1, b"x"), &[]).unwrap();
    sender.send("after".to_string()).unwrap();
    assert_eq!(receiver.recv().unwrap(), "after");
}

/// Several receivers in one message share the budget: the message does not become too
/// large for any.
#[test]
fn c9_receivers_with_incomplete_messages_move_together() {
    let _watchdog = harness::watchdog();
    let (senders, receivers): (Vec<_>, Vec<_>) =
        (0..3).map(|_| with_incomplete(MAX_MOVED_BYTES / 2)).unzip();
    let (carrier, carried) = ipc::channel::<Vec<IpcReceiver<String>>>().unwrap();
    let sending = thread::spawn(move || carrier.send(receivers).unwrap());
    let receivers = carried.recv().unwrap();
    sending.join().unwrap();
    for (sender, receiver) in senders.iter().zip(receivers) {
        sender.send("after".to_string()).unwrap();
        assert_eq!(receiver.recv().unwrap(), "after");
    }
}

/// The sender's message is valid, and none of it is lost.
#[test]
fn c9_a_large_message_arrives_while_its_receiver_moves() {
    let _watchdog = harness::watchdog();
    let (sender, mut receiver) = ipc::channel::<String>().unwrap();
    let large = "large".repeat(4 << 20);
    let sending = thread::spawn({
        let large = large.clone();
        move || sender.send(large).unwrap()
    });
    let received = loop {
        match receiver.try_recv() {
            Ok(received) => break received,
            Err(error) => assert!(error.is_empty(), "{error}"),
        }
        receiver = moved(receiver);
    };
    assert!(received == large);
    sending.join().unwrap();
}

#[test]
fn c9_receiver_of_a_failed_send_keeps_its_messages() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = with_incomplete(MAX_MOVED_BYTES + 7);
    let (carrier, carried) = ipc::channel::<IpcReceiver<String>>().unwrap();
    drop(carried);
    assert!(carrier.send_ref(&receiver).unwrap_err().is_disconnected());
    // The parts that it would have left behind are still there: the message is complete now,
    // though not a string.
    raw::send(&sender, &raw::last(1, b"x"), &[]).unwrap();
    sender.send("after".to_string()).unwrap();
    assert_refused(receiver.recv());
    assert_eq!(receiver.recv().unwrap(), "after");
    let text = encoded("a text in two parts");
    raw::send(&sender, &raw::first(2, text.len() as u64, &text[..10]), &[]).unwrap();
    assert!(receiver.try_recv().unwrap_err().is_empty());
    assert!(carrier.send_ref(&receiver).unwrap_err().is_disconnected());
    raw::send(&sender, &raw::last(2, &text[10..]), &[]).unwrap();
    assert_eq!(receiver.recv().unwrap(), "a text in two parts");
}

/// Handles of an incomplete message do not make the move fail; they are dropped if there
/// is no room.
#[test]
fn c9_waiting_handles_do_not_keep_a_receiver_from_arriving() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::channel::<String>().unwrap();
    let (canary, fd) = Canary::new();
    let position = Position::First { bytes: 9, attachments: 1000 };
    for id in 0..5 {
        let first = raw::packet(Kind::Part { id, position }, 40, b"x");
        raw::send(&sender, &first, &[fd.as_fd(); 40]).unwrap();
    }
    sender.send("before".to_string()).unwrap();
    assert_eq!(receiver.recv().unwrap(), "before");
    sender.send("on the way".to_string()).unwrap();
    let receiver = moved(receiver);
    assert_eq!(receiver.recv().unwrap(), "on the way");
    drop((receiver, fd));
    canary.wait_until_closed();
}

/// A message that was refused before the move is not reported again.
#[test]
fn c9_messages_discarded_before_a_move_stay_discarded() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::channel::<String>().unwrap();
    raw::send(&sender, &raw::first(1, 3, b"too long"), &[]).unwrap();
    assert_refused(receiver.recv());
    let receiver = moved(receiver);
    for _ in 0..10 {
        raw::send(&sender, &raw::middle(1, b"more"), &[]).unwrap();
    }
    raw::send(&sender, &raw::last(1, b"end"), &[]).unwrap();
    sender.send("after".to_string()).unwrap();
    assert_eq!(receiver.recv().unwrap(), "after");
}
