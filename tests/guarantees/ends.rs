//! C5: messages survive their sender. C6: disconnected when, and only when, the other endpoints
//! are dropped.

use super::*;

#[test]
fn c5_messages_survive_the_exit_of_their_sender() {
    let _watchdog = harness::watchdog();
    for end in [Order::Exit, Order::Abort] {
        let (items, received) = ipc::channel::<Item>().unwrap();
        let (reply, replies) = ipc::channel().unwrap();
        let helper = Helper::start();
        helper.order(Order::Count { to: items.clone(), from: 1, numbers: 10 });
        let (done, is_done) = ipc::channel().unwrap();
        let item = Item { reply: Some(reply), ..Item::new(1, 10) };
        helper.order(Order::Tell { to: items, item, signal: Signal::Channel(done) });
        is_done.recv().unwrap();
        helper.order(end);
        helper.exited();
        for number in 0..=10 {
            let item = received.recv().unwrap();
            item.check(number);
            if let Some(reply) = item.reply {
                reply.send(number).unwrap();
            }
        }
        assert_eq!(replies.recv().unwrap(), 10);
        assert!(replies.recv().unwrap_err().is_disconnected());
        assert!(received.recv().unwrap_err().is_disconnected());
    }
}

#[track_caller]
fn assert_connected(receiver: &IpcReceiver<Item>) {
    let waited = receiver.recv_timeout(Duration::from_millis(10));
    assert!(waited.unwrap_err().is_empty());
}

#[test]
fn c6_channel_stays_connected_while_any_process_has_a_sender() {
    let _watchdog = harness::watchdog();
    let (items, received) = ipc::channel::<Item>().unwrap();
    let helpers = [Helper::start(), Helper::start()];
    for helper in &helpers {
        helper.order(Order::Keep(Kept::Sender(items.clone())));
        helper.order(Order::Keep(Kept::Sender(items.clone())));
    }
    items.send(Item::new(0, 0)).unwrap();
    drop(items);
    received.recv().unwrap().check(0);
    assert_connected(&received);
    let [first, second] = helpers;
    first.drop_kept();
    assert_connected(&received);
    // Dropped by exit or explicitly, with the same outcome.
    second.order(Order::Exit);
    assert!(received.recv().unwrap_err().is_disconnected());
}

/// Senders in messages that were not received count, however deep they are nested.
#[test]
fn c6_channel_stays_connected_while_a_sender_is_in_flight() {
    let _watchdog = harness::watchdog();
    let (items, received) = ipc::channel::<Item>().unwrap();
    let bury = |sender| {
        let (bury, buried) = ipc::channel().unwrap();
        bury.send(Kept::Sender(sender)).unwrap();
        let (bury_deeper, buried_deeper) = ipc::channel().unwrap();
        bury_deeper.send(Kept::Undelivered(buried)).unwrap();
        buried_deeper
    };
    let buried = bury(items);
    assert_connected(&received);
    let helper = Helper::start();
    helper.order(Order::Keep(Kept::Undelivered(buried)));
    assert_connected(&received);
    helper.drop_kept();
    assert!(received.recv().unwrap_err().is_disconnected());

    // Once it is received, the sender works as any other.
    let (items, received) = ipc::channel::<Item>().unwrap();
    let Kept::Undelivered(buried) = bury(items).recv().unwrap() else { panic!("another one") };
    let Kept::Sender(sender) = buried.recv().unwrap() else { panic!("another one") };
    sender.send(Item::new(0, 7)).unwrap();
    drop(sender);
    received.recv().unwrap().check(7);
    assert!(received.recv().unwrap_err().is_disconnected());
}

#[test]
fn c6_channel_stays_connected_while_its_sender_is_queued_in_it() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::channel::<Option<OpaqueIpcSender>>().unwrap();
    sender.send(Some(sender.clone().to_opaque())).unwrap();
    drop(sender);
    let sender = receiver.recv().unwrap().unwrap().to::<Option<OpaqueIpcSender>>();
    sender.send(None).unwrap();
    assert!(receiver.recv().unwrap().is_none());
    assert!(receiver.try_recv().unwrap_err().is_empty());
    drop(sender);
    assert!(receiver.recv().unwrap_err().is_disconnected());
}

#[test]
fn c6_send_is_disconnected_after_the_receiver_is_dropped() {
    let _watchdog = harness::watchdog();
    // In this process, with and without queued messages.
    for unread in [0, 3] {
        let (items, received) = ipc::channel::<Item>().unwrap();
        for number in 0..unread {
            items.send(Item::new(0, number)).unwrap();
        }
        drop(received);
        raw::wait_until_disconnected(|| items.send(Item::new(0, 0)));
        // All further sends fail, too.
        assert!(items.send(Item::new(0, 0)).unwrap_err().is_disconnected());
        // Also for large messages and for messages with handles.
        assert!(items.send(Item::new(0, 30)).unwrap_err().is_disconnected());
        let item = Item { reply: Some(ipc::channel().unwrap().0), ..Item::new(0, 0) };
        assert!(items.send(item).unwrap_err().is_disconnected());
    }
    // In a message that was not received.
    let (items, received) = ipc::channel::<Item>().unwrap();
    let (bury, buried) = ipc::channel().unwrap();
    bury.send(Kept::Receiver(received)).unwrap();
    items.send(Item::new(0, 0)).unwrap();
    drop(buried);
    raw::wait_until_disconnected(|| items.send(Item::new(0, 0)));
    // In another process, which exits.
    let (items, received) = ipc::channel::<Item>().unwrap();
    let helper = Helper::start();
    helper.order(Order::Keep(Kept::Receiver(received)));
    items.send(Item::new(0, 0)).unwrap();
    helper.order(Order::Exit);
    helper.exited();
    raw::wait_until_disconnected(|| items.send(Item::new(0, 0)));
}

/// Also while the send waits for room, as messages with handles do.
#[test]
fn c6_blocked_send_is_disconnected_when_the_receiver_is_dropped() {
    let _watchdog = harness::watchdog();
    let mut random = Random::new(6);
    for round in 0..60 {
        let (items, received) = ipc::channel::<(Vec<u8>, IpcSender<u32>)>().unwrap();
        let (extra, _extras) = ipc::channel().unwrap();
        // The socket is full, so that the send blocks at once, or almost full, so that it
        // blocks in the middle.
        while raw::try_send(&items, &raw::message(0, b"x"), &[]).is_ok() {}
        if round % 2 == 0 {
            for _ in 0..100 {
                received.recv().unwrap_err();
            }
        }
        let sending = thread::spawn(move || items.send((vec![1; 300_000], extra)));
        thread::sleep(Duration::from_micros(random.below(2000) as u64));
        drop(received);
        assert!(sending.join().unwrap().unwrap_err().is_disconnected());
    }
}
