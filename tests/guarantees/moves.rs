//! C9: endpoints that are moved, at any moment.

use super::*;

/// Items are sent without a pause while their receiver is moved from process to process.
#[test]
fn c9_receiver_moves_between_processes_while_messages_are_sent() {
    let _watchdog = harness::watchdog();
    let (items, mut received) = ipc::channel::<Item>().unwrap();
    let sender = Helper::start();
    sender.order(Order::Count { to: items, from: 0, numbers: 2000 });
    let takers = [Helper::start(), Helper::start()];
    let mut random = Random::new(9);
    let mut expected = 0;
    for round in 0..20 {
        let (next, passed_on) = ipc::channel().unwrap();
        let count = random.below(60) as u64;
        let order = Order::Take { items: received, first: expected, count, next };
        takers[round % 2].order(order);
        received = passed_on.recv().unwrap();
        expected += count;
        for _ in 0..random.below(40) {
            received.recv().unwrap().check(expected);
            expected += 1;
        }
    }
    for number in expected..2000 {
        received.recv().unwrap().check(number);
    }
    sender.order(Order::Exit);
    assert!(received.recv().unwrap_err().is_disconnected());
}

/// A large message with handles is incomplete, and other messages are behind it.
#[test]
fn c9_a_receiver_moves_in_the_middle_of_a_message() {
    use strait::internals::frame::{Kind, Position};

    let _watchdog = harness::watchdog();
    let (sender, mut receiver) = ipc::channel::<(String, Vec<Handle<UnixStream>>)>().unwrap();
    let (carrier, carried) = ipc::channel().unwrap();
    // The incomplete message has to fit into one packet: no thread receives while it is sent.
    let text = "moved".repeat(30_000);
    let (canary, fd) = Canary::new();
    let mut body = raw::encoded(&text);
    body.extend(3_u64.to_le_bytes());
    body.extend((0..3_u32).flat_map(u32::to_le_bytes));
    let body = table::with_handles(&body, 3);
    let first = Position::First { bytes: body.len() as u64, attachments: 3 };
    let cuts = [0, 1, 50_000, 50_001, 100_000, body.len() - 1, body.len()];
    for (part, cut) in cuts.windows(2).enumerate() {
        let position = match part {
            0 => first,
            5 => Position::Last,
            _ => Position::Middle,
        };
        let fds = &[fd.as_fd(); 3][..[1, 0, 1, 0, 0, 1][part]];
        let kind = Kind::Part { id: 77, position };
        let packet = raw::packet(kind, fds.len() as u8, &body[cut[0]..cut[1]]);
        raw::send(&sender, &packet, fds).unwrap();
        if part < 5 {
            assert!(receiver.try_recv().unwrap_err().is_empty());
            carrier.send(receiver).unwrap();
            receiver = carried.recv().unwrap();
        }
    }
    sender.send((String::new(), Vec::new())).unwrap();
    let (received, handles) = receiver.recv().unwrap();
    assert!(received == text);
    assert_eq!(handles.len(), 3);
    assert_eq!(receiver.recv().unwrap().1.len(), 0);
    drop((handles, fd));
    canary.wait_until_closed();
}

/// The receiver is moved again and again while a process sends it a message, by socket because
/// of the handle.
#[test]
fn c9_a_receiver_moves_in_the_middle_of_a_large_message() {
    const LEN: usize = 20 << 20;

    let _watchdog = harness::watchdog();
    let (sender, mut receiver) = ipc::channel().unwrap();
    let helper = Helper::start();
    helper.order(Order::Write { to: sender, len: LEN, handle: true });
    for _ in 0..20 {
        // The helper is stopped while the parts in the socket are received, so the message
        // cannot be complete.
        wait_until_readable(&receiver);
        helper.while_stopped(|| assert!(receiver.try_recv().unwrap_err().is_empty()));
        receiver = moved(receiver);
    }
    assert!(receiver.recv().unwrap().0 == long_text(LEN));
    helper.order(Order::Exit);
    assert!(receiver.recv().unwrap_err().is_disconnected());
}

/// The message is sent by shared memory, which has room for all of it. The helper is stopped,
/// so that not all of it is there yet.
#[test]
fn c9_receiver_moves_in_the_middle_of_a_message_in_shared_memory() {
    const LEN: usize = 8 << 20;

    let _watchdog = harness::watchdog();
    let mut moves = 0;
    // Until the helper was stopped in the middle often enough, which may take some rounds.
    while moves < 10 {
        let (sender, mut receiver) = ipc::channel().unwrap();
        let helper = Helper::start();
        helper.order(Order::Write { to: sender, len: LEN, handle: false });
        wait_until_readable(&receiver);
        let received = loop {
            let mut received = Err(TryRecvError::Empty);
            helper.while_stopped(|| received = receiver.try_recv());
            match received {
                Ok((text, _)) => break text,
                Err(error) => assert!(error.is_empty()),
            }
            moves += 1;
            receiver = moved(receiver);
        };
        assert!(received == long_text(LEN));
        helper.order(Order::Exit);
        assert!(receiver.recv().unwrap_err().is_disconnected());
    }
}

fn wait_until_readable(fd: &impl AsFd) {
    let mut fds = [PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)];
    rustix::event::poll(&mut fds, None).unwrap();
}

/// Moves the receiver through a channel.
fn moved<T>(receiver: IpcReceiver<T>) -> IpcReceiver<T>
where
    T: Serialize + for<'de> Deserialize<'de> + Send + 'static,
{
    let (carrier, carried) = ipc::channel().unwrap();
    // From another thread: the messages that are moved along need more room than there is
    // before they are received.
    let moving = thread::spawn(move || carrier.send(receiver).unwrap());
    let receiver = carried.recv().unwrap();
    moving.join().unwrap();
    receiver
}

#[test]
fn c9_pending_messages_move_with_their_receiver() {
    let _watchdog = harness::watchdog();
    let (items, received) = ipc::channel::<Item>().unwrap();
    for number in 0..10 {
        items.send(Item::new(0, number)).unwrap();
    }
    let helper = Helper::start();
    let (next, passed_on) = ipc::channel().unwrap();
    helper.order(Order::Take { items: received, first: 0, count: 4, next });
    let received = passed_on.recv().unwrap();
    drop(items);
    for number in 4..10 {
        received.recv().unwrap().check(number);
    }
    assert!(received.recv().unwrap_err().is_disconnected());
}

/// Also out of a set, with all messages that the set had not returned.
#[test]
fn c9_receiver_removed_from_a_set_can_be_moved() {
    let _watchdog = harness::watchdog();
    let (items, received) = ipc::channel::<Item>().unwrap();
    let mut set = IpcReceiverSet::new().unwrap();
    let id = set.add(received).unwrap();
    for number in 0..10 {
        items.send(Item::new(0, number)).unwrap();
        if number == 4 {
            let delivered = set.select().unwrap();
            assert_eq!(delivered.len(), 5);
        }
    }
    let received = set.remove(id).unwrap().to::<Item>();
    assert!(set.remove(id).is_none());
    let (next, passed_on) = ipc::channel().unwrap();
    let helper = Helper::start();
    helper.order(Order::Take { items: received, first: 5, count: 5, next });
    drop(items);
    assert!(passed_on.recv().unwrap().recv().unwrap_err().is_disconnected());
}

#[test]
fn c9_every_kind_of_endpoint_moves() {
    let _watchdog = harness::watchdog();
    type All = (
        (IpcSender<u32>, IpcReceiver<u32>),
        (IpcBytesSender, IpcBytesReceiver),
        (OpaqueIpcSender, OpaqueIpcReceiver),
        (Option<IpcSharedMemory>, Vec<IpcSender<String>>),
    );
    let (sender, receiver) = ipc::channel::<All>().unwrap();
    let (texts_sender, texts) = ipc::channel().unwrap();
    let (opaque_sender, opaque_receiver) = ipc::channel::<u64>().unwrap();
    let memory = IpcSharedMemory::try_from_bytes(b"moved").unwrap();
    let all = (
        ipc::channel().unwrap(),
        ipc::bytes_channel().unwrap(),
        (opaque_sender.to_opaque(), opaque_receiver.to_opaque()),
        (Some(memory), vec![texts_sender; 3]),
    );
    sender.send(all).unwrap();
    let (typed, bytes, opaque, (memory, senders)) = receiver.recv().unwrap();
    typed.0.send(1).unwrap();
    assert_eq!(typed.1.recv().unwrap(), 1);
    bytes.0.send(b"bytes").unwrap();
    assert_eq!(bytes.1.recv().unwrap(), b"bytes");
    opaque.0.to::<u64>().send(5).unwrap();
    assert_eq!(opaque.1.to::<u64>().recv().unwrap(), 5);
    assert_eq!(&*memory.unwrap(), b"moved");
    for sender in senders {
        sender.send("text".to_string()).unwrap();
    }
    assert_eq!(texts.iter().count(), 3);
}

#[test]
fn c9_moved_receiver_returns_an_error() {
    let _watchdog = harness::watchdog();
    let (carrier, carried) = ipc::channel::<IpcReceiver<u32>>().unwrap();
    let (sender, receiver) = ipc::channel::<u32>().unwrap();
    carrier.send_ref(&receiver).unwrap();
    let moved = carried.recv().unwrap();
    let error = std::io::Error::from(receiver.recv().unwrap_err());
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    assert!(error.to_string().contains("moved"), "{error}");
    assert!(carrier.send_ref(&receiver).is_err());
    sender.send(1).unwrap();
    assert_eq!(moved.recv().unwrap(), 1);
}
