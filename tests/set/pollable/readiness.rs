//! One receiver in pollers of every kind: level-triggered, edge-triggered, mio and tokio.

use super::*;

#[test]
fn c8_receiver_is_readable_while_it_has_a_message() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::channel::<u32>().unwrap();
    assert!(!is_readable(&receiver));
    sender.send(1).unwrap();
    assert!(is_readable(&receiver));
    assert_eq!(receiver.recv().unwrap(), 1);
    assert!(!is_readable(&receiver));
    drop(sender);
    wait_for(&receiver, PollFlags::IN);
    assert!(receiver.try_recv().unwrap_err().is_disconnected());
}

/// The kernel sets and clears readiness at the right moments.
#[test]
fn c8_level_triggered() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::channel::<u32>().unwrap();
    let epoll = Epoll::of(&receiver, EventFlags::empty());
    assert!(!epoll.is_ready());
    sender.send(1).unwrap();
    sender.send(2).unwrap();
    for expected in [1, 2] {
        assert!(epoll.is_ready() && epoll.is_ready());
        assert_eq!(receiver.try_recv().unwrap(), expected);
    }
    assert!(!epoll.is_ready());
    drop(sender);
    epoll.wait();
    assert!(receiver.try_recv().unwrap_err().is_disconnected());
}

#[test]
fn c8_level_and_edge_triggered_pollers_miss_nothing() {
    let _watchdog = harness::watchdog();
    for mode in [EventFlags::empty(), EventFlags::ET, EventFlags::ET | EventFlags::RDHUP] {
        let (sender, receiver) = ipc::channel::<(u64, String)>().unwrap();
        let epoll = Epoll::of(&receiver, mode);
        send_in_bursts(1, 2000, move |number| {
            // Some messages are in parts.
            let len = if number % 100 == 99 { 300_000 } else { 10 };
            sender.send((number, "x".repeat(len))).unwrap();
        });
        let mut expected = 0;
        receive_all(
            &receiver,
            || epoll.wait(),
            |(number, _)| {
                assert_eq!(number, expected);
                expected += 1;
            },
        );
        assert_eq!(expected, 2000);
    }
}

/// Also messages in shared memory, which change no file descriptor.
#[test]
fn c8_message_sent_before_add_is_an_event_of_the_set() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::channel::<u32>().unwrap();
    for number in 0..1000 {
        sender.send(number).unwrap();
        assert_eq!(receiver.recv().unwrap(), number);
    }
    sender.send(7).unwrap();
    let mut set = IpcReceiverSet::new().unwrap();
    assert!(!is_readable(&set));
    set.add(receiver).unwrap();
    assert!(is_readable(&set));
    let (_, message) = set.select().unwrap().remove(0).unwrap();
    assert_eq!(message.to::<u32>().unwrap(), 7);
    assert!(matches!(set.try_select(), Err(TrySelectError::Empty)));
    assert!(!is_readable(&set));
}

#[test]
fn c8_message_sent_before_registration_is_an_event() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::channel::<u32>().unwrap();
    sender.send(1).unwrap();
    let epoll = Epoll::of(&receiver, EventFlags::ET);
    epoll.wait();
    assert_eq!(receiver.try_recv().unwrap(), 1);
    let (sender, receiver) = ipc::channel::<u32>().unwrap();
    drop(sender);
    wait_for(&receiver, PollFlags::IN);
    let epoll = Epoll::of(&receiver, EventFlags::ET);
    epoll.wait();
    assert!(receiver.try_recv().unwrap_err().is_disconnected());
}

/// After `Empty`, the next packet must be an event, however many packets without a message
/// preceded it.
#[test]
fn c8_an_edge_is_not_lost_behind_packets_that_are_no_messages() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::channel::<u32>().unwrap();
    // Room for all of them, as far as an unprivileged process may have it.
    rustix::net::sockopt::set_socket_send_buffer_size(&sender, 4 << 20).unwrap();
    let mut parts = 0;
    while parts < 3000 {
        let sent = raw::try_send(&sender, &raw::first(1, 100, b"x"), &[])
            .and_then(|()| raw::try_send(&sender, &raw::abort(1), &[]));
        if sent.is_err() {
            break;
        }
        parts += 2;
    }
    if raw::try_send(&sender, &raw::message(0, &7_u32.to_le_bytes()), &[]).is_err() {
        // The sockets of this system have too little room for the test.
        return;
    }
    let epoll = Epoll::of(&receiver, EventFlags::ET);
    epoll.wait();
    while receiver.try_recv().is_err() {
        assert!(epoll.has_event(Some(Duration::from_secs(10))), "the message is not announced");
    }
}

#[test]
fn c8_mio() {
    let _watchdog = harness::watchdog();
    let mut poll = Poll::new().unwrap();
    let mut events = Events::with_capacity(4);
    let receivers: Vec<_> = (0..5_usize)
        .map(|member| {
            let (sender, receiver) = ipc::channel::<u64>().unwrap();
            let fd = receiver.as_fd().as_raw_fd();
            let token = Token(member);
            poll.registry().register(&mut SourceFd(&fd), token, Interest::READABLE).unwrap();
            send_in_bursts(member as u64, 500, move |number| sender.send(number).unwrap());
            receiver
        })
        .collect();
    let mut expected = [0; 5];
    let mut open = 5;
    while open > 0 {
        poll.poll(&mut events, None).unwrap();
        for event in &events {
            let member = event.token().0;
            loop {
                match receivers[member].try_recv() {
                    Ok(number) => {
                        assert_eq!(number, expected[member]);
                        expected[member] += 1;
                    }
                    Err(TryRecvError::Empty) => break,
                    Err(error) => {
                        assert!(error.is_disconnected());
                        let fd = receivers[member].as_fd().as_raw_fd();
                        poll.registry().deregister(&mut SourceFd(&fd)).unwrap();
                        open -= 1;
                        break;
                    }
                }
            }
        }
    }
    assert_eq!(expected, [500; 5]);
}

fn in_tokio<T>(receiver: IpcReceiver<T>) -> AsyncFd<IpcReceiver<T>> {
    // SAFETY: a receiver keeps a descriptor that it has lent out open under its number.
    unsafe { AsyncFd::register(receiver).unwrap() }
}

#[test]
fn c8_tokio() {
    let _watchdog = harness::watchdog();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (sender, receiver) = ipc::channel::<u64>().unwrap();
        let receiver = in_tokio(receiver);
        let nothing = tokio::time::timeout(Duration::from_millis(5), receiver.readable()).await;
        assert!(nothing.is_err());
        send_in_bursts(1, 2000, move |number| sender.send(number).unwrap());
        let mut expected = 0;
        'open: loop {
            let mut guard = receiver.readable().await.unwrap();
            loop {
                match guard.get_inner().try_recv() {
                    Ok(number) => {
                        assert_eq!(number, expected);
                        expected += 1;
                    }
                    Err(TryRecvError::Empty) => break guard.clear_ready(),
                    Err(error) => {
                        assert!(error.is_disconnected());
                        break 'open;
                    }
                }
            }
        }
        assert_eq!(expected, 2000);
    });
}

#[test]
fn c8_many_tasks_of_tokio() {
    let _watchdog = harness::watchdog();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..20)
            .map(|member| {
                let (sender, receiver) = ipc::channel::<u64>().unwrap();
                send_in_bursts(member, 100, move |number| sender.send(number).unwrap());
                tokio::spawn(async move {
                    let mut receiver = in_tokio(receiver);
                    let mut sum = 0;
                    loop {
                        let mut guard = receiver.readable_mut().await.unwrap();
                        // tokio takes `WouldBlock` as the sign that it has to wait.
                        let received = guard.try_io(|inner| Ok(inner.get_ref().try_recv()?));
                        match received {
                            Ok(Ok(number)) => sum += number,
                            Ok(Err(error)) => {
                                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
                                return sum;
                            }
                            Err(_would_block) => {}
                        }
                    }
                })
            })
            .collect();
        for task in tasks {
            assert_eq!(task.await.unwrap(), 4950);
        }
    });
}

#[test]
fn c8_every_endpoint_has_a_descriptor() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::bytes_channel().unwrap();
    assert!(!is_readable(&receiver));
    let number = sender.as_fd().as_raw_fd();
    let sender = sender.to_opaque();
    assert_eq!(sender.as_fd().as_raw_fd(), number);
    let sender: IpcSender<u32> = sender.to();
    assert_eq!(sender.as_fd().as_raw_fd(), number);
    assert_eq!(sender.clone().as_fd().as_raw_fd(), number);
    sender.send(1).unwrap();
    let number = receiver.as_fd().as_raw_fd();
    let receiver = receiver.to_opaque();
    assert!(is_readable(&receiver));
    let receiver: IpcReceiver<u32> = receiver.to();
    assert_eq!(receiver.as_fd().as_raw_fd(), number);
    assert_eq!(receiver.recv().unwrap(), 1);
}

/// A sender's file descriptor reports the hang-up, too, before any send.
#[test]
fn c8_sender_is_ready_when_its_receiver_is_dropped() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::channel::<u32>().unwrap();
    assert!(!state(&sender).contains(PollFlags::HUP));
    drop(receiver);
    assert!(wait_for(&sender, PollFlags::empty()).contains(PollFlags::HUP));
}

/// A program that replaces a file descriptor of strait's breaks that receiver, and no other.
#[test]
#[expect(clippy::disallowed_methods, reason = "the test replaces a descriptor of strait's")]
fn c8_a_member_that_can_never_be_received_from_again_is_closed() {
    harness::alone(
        harness::path_of(c8_a_member_that_can_never_be_received_from_again_is_closed),
        || {
            let (broken, receiver) = ipc::channel::<u32>().unwrap();
            let (good, other) = ipc::channel::<u32>().unwrap();
            let descriptor = OwnedFd::try_from(receiver).unwrap();
            // epoll knows the socket, so it goes on reporting it for as long as there is a
            // descriptor of it.
            let socket = descriptor.try_clone().unwrap();
            let number = descriptor.as_raw_fd();
            let receiver = IpcReceiver::<u32>::try_from(descriptor).unwrap();
            let mut set = IpcReceiverSet::new().unwrap();
            let broken_id = set.add(receiver).unwrap();
            let good_id = set.add(other).unwrap();
            let null = File::open("/dev/null").unwrap();
            // SAFETY: the number is open, and stays so.
            let replaced = unsafe { libc::dup3(null.as_raw_fd(), number, libc::O_CLOEXEC) };
            assert_eq!(replaced, number);
            broken.send(1).unwrap();
            good.send(2).unwrap();
            let (mut errors, mut closed, mut values) = (0, 0, 0);
            while closed == 0 || values == 0 {
                for result in set.select().unwrap() {
                    match result {
                        IpcSelectionResult::MessageReceived(id, message) if id == broken_id => {
                            let error = message.to::<u32>().unwrap_err();
                            assert!(error.to_string().contains("refused"), "{error}");
                            errors += 1;
                        }
                        IpcSelectionResult::MessageReceived(id, message) => {
                            assert_eq!((id, message.to::<u32>().unwrap()), (good_id, 2));
                            values += 1;
                        }
                        IpcSelectionResult::ChannelClosed(id) => {
                            assert_eq!(id, broken_id);
                            closed += 1;
                        }
                    }
                }
            }
            assert_eq!((errors, closed, values, set.len()), (1, 1, 1, 1));
            drop(socket);
        },
    );
}
