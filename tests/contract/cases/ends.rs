//! What remains when the sender or the receiver is dropped.

use super::*;
use strait::internals::contract::{
    Attachment as _, Memory as _, PacketReceiver as _, PacketSender as _,
};

#[test]
fn receiver_is_closed_when_all_senders_are_dropped() {
    let _watchdog = watchdog();
    let (sender, receiver) = backend::channel().unwrap();
    let sender = Arc::new(sender);
    send_with(&sender, b"x", Attachment::from_sender(Arc::clone(&sender)));
    let second = expect_one(&receiver, b"x").into_sender().unwrap();
    drop(sender);
    expect_empty(&receiver);
    send(&second, b"still here");
    drop(second);
    expect(&receiver, b"still here");
    expect_closed(&receiver);
}

#[test]
fn sender_in_a_queued_packet_keeps_the_channel_open() {
    let _watchdog = watchdog();
    let (sender, receiver) = backend::channel().unwrap();
    let (carrier, carrier_end) = backend::channel().unwrap();
    send_with(&carrier, b"x", Attachment::from_sender(Arc::new(sender)));
    expect_empty(&receiver);
    // The carrier's sender is dropped; the packet is still in flight.
    drop(carrier);
    expect_empty(&receiver);
    let sender = expect_one(&carrier_end, b"x").into_sender().unwrap();
    send(&sender, b"arrived");
    expect(&receiver, b"arrived");
    drop(sender);
    expect_closed(&receiver);
}

#[test]
fn sender_in_a_packet_without_receiver_keeps_no_channel_open() {
    let _watchdog = watchdog();
    let (sender, receiver) = backend::channel().unwrap();
    let (carrier, carrier_end) = backend::channel().unwrap();
    send_with(&carrier, b"x", Attachment::from_sender(Arc::new(sender)));
    drop(carrier_end);
    expect_closed(&receiver);
}

#[test]
fn blocked_recv_is_closed_when_the_last_sender_is_dropped() {
    let _watchdog = watchdog();
    let (sender, receiver) = backend::channel().unwrap();
    let (ready, is_ready) = mpsc::channel();
    let thread = thread::spawn(move || {
        ready.send(()).unwrap();
        packet_from(&receiver, Wait::Forever)
    });
    is_ready.recv().unwrap();
    drop(sender);
    assert!(matches!(thread.join().unwrap(), Err(RecvError::Closed)));
}

#[test]
fn send_without_receiver_is_closed_and_returns_the_attachments() {
    let _watchdog = watchdog();
    let (sender, receiver) = backend::channel().unwrap();
    // An unread packet makes a difference on some operating systems.
    send(&sender, b"never received");
    drop(receiver);
    let (precious_sender, precious) = backend::channel().unwrap();
    send(&precious_sender, b"precious");
    let memory = Memory::new(3).unwrap();
    let mut attachments =
        vec![Attachment::from_receiver(precious), Attachment::from_memory(&memory)];
    for _ in 0..3 {
        let result = sender.send(b"head", b"body", attachments, Wait::Never);
        let Err((SendError::Closed, unsent)) = result else {
            panic!("{result:?}");
        };
        attachments = unsent;
    }
    assert_eq!(attachments.len(), 2);
    let precious = attachments.remove(0).into_receiver().unwrap();
    expect(&precious, b"precious");
    drop(precious);
    let (SendError::Closed, unsent) =
        precious_sender.send(b"x", b"", Vec::new(), Wait::Never).unwrap_err()
    else {
        panic!("the receiver that came back was the only one");
    };
    assert!(unsent.is_empty());
}

#[test]
fn moved_receiver_keeps_its_queued_packets() {
    let _watchdog = watchdog();
    let (sender, receiver) = backend::channel().unwrap();
    let (carrier, carrier_end) = backend::channel().unwrap();
    send(&sender, b"one");
    send(&sender, b"two");
    expect(&receiver, b"one");
    let (receiver, _remains) = receiver.take_apart().unwrap();
    send_with(&carrier, b"x", Attachment::from_receiver(receiver));
    send(&sender, b"three");
    let receiver = expect_one(&carrier_end, b"x").into_receiver().unwrap();
    expect(&receiver, b"two");
    expect(&receiver, b"three");
    send(&sender, b"four");
    expect(&receiver, b"four");
    drop(sender);
    expect_closed(&receiver);
}

#[test]
fn sender_has_the_same_identity_in_every_packet() {
    let _watchdog = watchdog();
    let (sender, _receiver) = backend::channel().unwrap();
    let (other, _other_end) = backend::channel().unwrap();
    let (carrier, carrier_end) = backend::channel().unwrap();
    let sender = Arc::new(sender);
    assert_eq!(sender.identity(), sender.identity());
    if sender.identity().is_none() {
        // An emulated kernel may have no identities. Where there are some, `duplicates` counts
        // the handles that they save.
        return;
    }
    assert_ne!(sender.identity(), other.identity());
    assert_ne!(sender.identity(), carrier.identity());
    assert!(!sender.is_same(&other) && !other.is_same(&sender));
    let arrived: Vec<_> = (0..2)
        .map(|_| {
            send_with(&carrier, b"x", Attachment::from_sender(Arc::clone(&sender)));
            expect_one(&carrier_end, b"x").into_sender().unwrap()
        })
        .collect();
    for known in [&sender, &arrived[0]] {
        assert_eq!(known.identity(), arrived[1].identity());
        assert!(known.is_same(&arrived[1]) && arrived[1].is_same(known));
    }
    // The identity is the channel's, and does not change when a copy is dropped.
    drop(sender);
    assert_eq!(arrived[0].identity(), arrived[1].identity());
}
