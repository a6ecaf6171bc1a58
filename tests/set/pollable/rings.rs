//! Messages that do not show in the socket: those in rings, and those that were read ahead.

use super::*;

#[test]
fn c8_messages_in_a_ring_are_readable_in_a_level_triggered_poller() {
    harness::alone(
        harness::path_of(c8_messages_in_a_ring_are_readable_in_a_level_triggered_poller),
        || {
            for is_lent_first in [true, false] {
                let (sender, receiver) = ipc::channel::<u64>().unwrap();
                if is_lent_first {
                    receiver.as_fd();
                }
                heat(&sender, &receiver);
                assert_eq!(rings().len(), 2, "one of each side");
                send_to(&sender, 30);
                for (_, is_ready) in level_triggered(receiver.as_fd()) {
                    expect_one_by_one(&receiver, &is_ready, 30);
                    for count in [1, 1, 2, 300, 1] {
                        send_to(&sender, count);
                        expect_one_by_one(&receiver, &is_ready, count);
                    }
                    send_to(&sender, 30);
                }
                drop(sender);
                // First the messages, then disconnection, which stays readable.
                for (_, is_ready) in level_triggered(receiver.as_fd()) {
                    assert!(is_ready());
                }
                assert_eq!(receiver.try_iter().count(), 30);
                for (_, is_ready) in level_triggered(receiver.as_fd()) {
                    assert!(is_ready());
                    assert!(receiver.try_recv().unwrap_err().is_disconnected());
                    assert!(is_ready());
                }
            }
        },
    );
}

/// Messages with handles are sent by socket, others by shared memory. A message that was read
/// ahead to find its place makes the receiver readable, too.
#[test]
fn c8_messages_read_ahead_are_readable_in_a_level_triggered_poller() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::channel::<(u64, Option<IpcSender<u64>>)>().unwrap();
    let (passenger, _passengers) = ipc::channel::<u64>().unwrap();
    for number in 0..1000 {
        sender.send((number, None)).unwrap();
        assert_eq!(receiver.recv().unwrap().0, number);
    }
    for (how, is_ready) in level_triggered(receiver.as_fd()) {
        for number in 0..40 {
            sender.send((number, (number % 3 > 0).then(|| passenger.clone()))).unwrap();
        }
        for expected in 0..40 {
            assert!(is_ready(), "{how}: {expected}");
            assert_eq!(receiver.try_recv().unwrap().0, expected);
        }
        let in_vain = (0..1000).take_while(|_| is_ready() && receiver.try_recv().is_err()).count();
        assert!(in_vain <= 1, "{how}: {in_vain}");
    }
}

#[test]
fn bursts_child() {
    harness::child_main(|arguments| {
        let sender = IpcSender::<(u64, String)>::connect(arguments[0].clone()).unwrap();
        let mut random = Random::new(3);
        for number in 0..BURSTS {
            if random.below(100) == 0 {
                thread::sleep(Duration::from_micros(random.below(300) as u64));
            }
            let len = if number % 1000 == 999 { 300_000 } else { 10 };
            sender.send((number, "x".repeat(len))).unwrap();
        }
    });
}

const BURSTS: u64 = 20_000;

/// Receives one message per event of a poller that sleeps in between. It must not sleep while
/// there is a message, nor be woken repeatedly while there is none.
#[test]
fn c8_one_message_per_event_of_a_level_triggered_poller() {
    let _watchdog = harness::watchdog();
    for is_epoll in [false, true] {
        let (server, name) = ipc::IpcOneShotServer::<(u64, String)>::new().unwrap();
        let child = harness::child(harness::path_of(bursts_child), &[&name]);
        let (receiver, (first, _)) = server.accept().unwrap();
        assert_eq!(first, 0);
        let epoll = is_epoll.then(|| Epoll::of(&receiver, EventFlags::empty()));
        let mut expected = 1;
        let mut in_vain = 0;
        loop {
            match &epoll {
                Some(epoll) => epoll.wait(),
                None => drop(wait_for(&receiver, PollFlags::IN)),
            }
            match receiver.try_recv() {
                Ok((number, _)) => {
                    assert_eq!(number, expected);
                    expected += 1;
                }
                Err(TryRecvError::Empty) => in_vain += 1,
                Err(error) => {
                    assert!(error.is_disconnected(), "{error:?}");
                    break;
                }
            }
        }
        assert_eq!(expected, BURSTS);
        // A large one has several parts, each of which may be an event.
        assert!(in_vain <= BURSTS + 20 * BURSTS / 1000, "{in_vain}");
        child.completed();
    }
}

/// Receives until the channel is empty, by an edge-triggered poller.
#[test]
fn c8_another_process_in_an_edge_triggered_poller() {
    let _watchdog = harness::watchdog();
    let (server, name) = ipc::IpcOneShotServer::<(u64, String)>::new().unwrap();
    let child = harness::child(harness::path_of(bursts_child), &[&name]);
    let (receiver, _) = server.accept().unwrap();
    let mut poll = Poll::new().unwrap();
    let mut events = Events::with_capacity(4);
    let mut source = SourceFd(&receiver.as_raw_fd());
    poll.registry().register(&mut source, Token(0), Interest::READABLE).unwrap();
    let mut expected = 1;
    receive_all(
        &receiver,
        || {
            poll.poll(&mut events, None).unwrap();
        },
        |(number, _)| {
            assert_eq!(number, expected);
            expected += 1;
        },
    );
    assert_eq!(expected, BURSTS);
    child.completed();
}

/// Blocking calls in between do not change the readiness of the file descriptor.
#[test]
fn c8_blocking_calls_keep_readiness_correct() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::channel::<u64>().unwrap();
    heat(&sender, &receiver);
    for (_, is_ready) in level_triggered(receiver.as_fd()) {
        send_to(&sender, 5);
        assert_eq!(receiver.recv().unwrap(), 0);
        assert!(is_ready());
        for expected in 1..5 {
            assert_eq!(receiver.recv_timeout(Duration::from_secs(60)).unwrap(), expected);
        }
        assert!(receiver.recv_timeout(Duration::from_millis(1)).unwrap_err().is_empty());
        assert!(!is_ready());
        send_to(&sender, 3);
        expect_one_by_one(&receiver, is_ready, 3);
    }
}

/// The kernel limits in how many ways one object may wake pollers of pollers.
#[test]
fn c8_hundreds_of_receivers_in_one_poller() {
    harness::alone(harness::path_of(c8_hundreds_of_receivers_in_one_poller), || {
        let count = 1200.min(harness::room_for_handles() / 4 - 10);
        let epoll = epoll::create(CreateFlags::CLOEXEC).unwrap();
        let members: Vec<_> = (0..count)
            .map(|number| {
                let (sender, receiver) = ipc::channel::<u64>().unwrap();
                let data = EventData::new_u64(number as u64);
                epoll::add(&epoll, &receiver, data, EventFlags::IN).unwrap();
                (sender, receiver)
            })
            .collect();
        for (number, (sender, receiver)) in members.iter().enumerate() {
            sender.send(7).unwrap();
            let mut events = [MaybeUninit::uninit(); 4];
            let (events, _) = epoll::wait(&epoll, &mut events, None).unwrap();
            assert_eq!(
                events.iter().map(|event| event.data.u64()).collect::<Vec<_>>(),
                [number as u64]
            );
            assert_eq!(receiver.try_recv().unwrap(), 7);
        }
    });
}
