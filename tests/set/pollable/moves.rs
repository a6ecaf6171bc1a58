//! Receivers that are moved, come back, or get no file descriptor for polling.

use super::*;

/// Takes all descriptors that are left.
fn take_descriptors() -> Vec<OwnedFd> {
    use rustix::process::{Resource, getrlimit, setrlimit};

    let null = File::open("/dev/null").unwrap();
    let mut limits = getrlimit(Resource::Nofile);
    limits.current = Some(null.as_raw_fd() as u64 + 30);
    setrlimit(Resource::Nofile, limits).unwrap();
    std::iter::from_fn(|| null.try_clone().ok()).map(OwnedFd::from).collect()
}

/// All messages are sent by socket then.
#[test]
fn c8_a_receiver_can_be_polled_with_a_full_descriptor_table() {
    harness::alone(
        harness::path_of(c8_a_receiver_can_be_polled_with_a_full_descriptor_table),
        || {
            for is_hot in [false, true] {
                let (sender, receiver) = ipc::channel::<u64>().unwrap();
                if is_hot {
                    heat(&sender, &receiver);
                }
                let taken = take_descriptors();
                let lent = receiver.as_fd();
                drop(taken);
                assert_eq!(kind_of(lent.as_raw_fd()), "socket");
                for (_, is_ready) in level_triggered(lent) {
                    // Fewer at a time than the socket takes.
                    for _ in 0..50 {
                        send_to(&sender, 50);
                        expect_one_by_one(&receiver, &is_ready, 50);
                    }
                }
                // The sender notices during one of its sends that its ring was refused.
                while !rings().is_empty() {
                    send_to(&sender, 1);
                    expect_one_by_one(&receiver, || is_readable(lent), 1);
                }
                let number = lent.as_raw_fd();
                let (carrier, carried) = ipc::channel::<IpcReceiver<u64>>().unwrap();
                // It can be moved away and back like any other.
                drop(carried);
                assert!(carrier.send_ref(&receiver).unwrap_err().is_disconnected());
                assert!(receiver.try_recv().unwrap_err().is_empty());
                assert!(is_open(number));
                let mut was_offered = false;
                while !was_offered || !rings().is_empty() {
                    was_offered |= !rings().is_empty();
                    send_to(&sender, 50);
                    expect_one_by_one(&receiver, || is_readable(lent), 50);
                }
                // Now that there are file descriptors again, every message makes the
                // receiver readable.
                assert_eq!(kind_of(receiver.as_raw_fd()), "anon_inode");
                send_to(&sender, 100);
                expect_one_by_one(&receiver, || is_readable(&receiver), 100);
                drop((sender, receiver));
                assert!(!is_open(number));
            }
        },
    );
}

/// The kind of object that has this number.
fn kind_of(number: RawFd) -> String {
    let handle = harness::handles().into_iter().find(|handle| handle.number == number).unwrap();
    handle.what.split(':').next().unwrap().to_string()
}

fn is_open(number: RawFd) -> bool {
    harness::handles().iter().any(|handle| handle.number == number)
}

/// A number that was lent out belongs to the receiver as long as the receiver exists, even
/// after it was moved: no other object may get this number.
#[test]
fn c8_a_receiver_that_moved_keeps_its_number() {
    harness::alone(harness::path_of(c8_a_receiver_that_moved_keeps_its_number), || {
        let (carrier, carried) = ipc::channel::<IpcReceiver<u32>>().unwrap();
        let (sender, receiver) = ipc::channel::<u32>().unwrap();
        let borrowed: BorrowedFd<'_> = receiver.as_fd();
        let number = borrowed.as_raw_fd();
        let epoll = Epoll::of(borrowed, EventFlags::ET);
        carrier.send_ref(&receiver).unwrap();
        // A thread that waits wakes up, and gets the error.
        assert!(is_readable(borrowed));
        assert!(is_readable(&receiver));
        assert!(!receiver.try_recv().unwrap_err().is_empty());
        let others: Vec<File> = (0..50).map(|_| File::open("/dev/null").unwrap()).collect();
        assert!(others.iter().all(|other| other.as_raw_fd() != number));
        // It does not keep the channel connected.
        drop(carried.recv().unwrap());
        assert!(sender.send(1).unwrap_err().is_disconnected());
        assert!(is_open(number));
        drop(receiver);
        assert!(!is_open(number));
        drop(epoll);
    });
}

#[test]
fn c8_receiver_of_a_failed_send_can_be_polled_again() {
    harness::alone(harness::path_of(c8_receiver_of_a_failed_send_can_be_polled_again), || {
        let (carrier, carried) = ipc::channel::<IpcReceiver<u32>>().unwrap();
        drop(carried);
        let (sender, receiver) = ipc::channel::<u32>().unwrap();
        let number = receiver.as_fd().as_raw_fd();
        let epoll = Epoll::of(&receiver, EventFlags::ET);
        assert!(carrier.send_ref(&receiver).unwrap_err().is_disconnected());
        assert!(receiver.try_recv().unwrap_err().is_empty());
        let before = harness::handles();
        for round in 0..100 {
            assert!(carrier.send_ref(&receiver).unwrap_err().is_disconnected());
            assert!(receiver.try_recv().unwrap_err().is_empty());
            // The number is the same, and the channel's again; the registration in epoll is
            // unchanged.
            assert_eq!(receiver.as_fd().as_raw_fd(), number);
            assert!(!is_readable(&receiver));
            sender.send(round).unwrap();
            assert!(is_readable(&receiver));
            epoll.wait();
            assert_eq!(receiver.recv().unwrap(), round);
        }
        // Each endpoint has a handle of a ring, if there is one by now.
        let mut new = harness::handles_besides(&before);
        new.retain(|handle| !handle.what.contains("strait-ring"));
        assert_eq!(new.len(), 0, "{new:?}");
        epoll::delete(&epoll.0, &receiver).unwrap();
        drop(receiver);
        assert!(!is_open(number));
    });
}

#[test]
fn c8_receiver_that_was_never_polled_leaves_no_descriptor() {
    harness::alone(
        harness::path_of(c8_receiver_that_was_never_polled_leaves_no_descriptor),
        || {
            let (carrier, _carried) = ipc::channel::<IpcReceiver<u32>>().unwrap();
            let (_sender, receiver) = ipc::channel::<u32>().unwrap();
            let before = harness::handles().len();
            carrier.send_ref(&receiver).unwrap();
            assert_eq!(harness::handles().len(), before - 1);
            assert!(is_readable(&receiver));
        },
    );
}

/// A registration of a file descriptor that was lent out is of this process only: it reports no
/// messages of the new owner, and does not prevent the move.
#[test]
fn c8_a_receiver_that_moves_need_not_be_taken_out_of_pollers() {
    let _watchdog = harness::watchdog();
    for mode in [EventFlags::empty(), EventFlags::ET] {
        let (carrier, carried) = ipc::channel::<IpcReceiver<u64>>().unwrap();
        let (sender, receiver) = ipc::channel::<u64>().unwrap();
        heat(&sender, &receiver);
        let epoll = Epoll::of(&receiver, mode);
        assert!(!epoll.is_ready());
        send_to(&sender, 20);
        assert_eq!(receiver.try_recv().unwrap(), 0);
        carrier.send_ref(&receiver).unwrap();
        epoll.wait();
        assert!(!receiver.try_recv().unwrap_err().is_empty());
        let moved = carried.recv().unwrap();
        // Messages that were moved along are reported in another poller; the old registration
        // reports nothing more.
        for expected in 1..20 {
            assert!(is_readable(&moved));
            assert_eq!(moved.try_recv().unwrap(), expected);
        }
        for _ in 0..3 {
            send_to(&sender, 20);
            expect_one_by_one(&moved, || is_readable(&moved), 20);
            assert_eq!(epoll.is_ready(), mode == EventFlags::empty());
        }
        epoll::delete(&epoll.0, &receiver).unwrap();
    }
}

#[test]
fn c8_messages_of_a_receiver_of_a_failed_send_are_readable() {
    let _watchdog = harness::watchdog();
    let (carrier, carried) = ipc::channel::<IpcReceiver<u64>>().unwrap();
    drop(carried);
    let (sender, receiver) = ipc::channel::<u64>().unwrap();
    heat(&sender, &receiver);
    let number = receiver.as_raw_fd();
    for (_, is_ready) in level_triggered(receiver.as_fd()) {
        for count in [20, 0, 1, 20] {
            send_to(&sender, count);
            assert!(carrier.send_ref(&receiver).unwrap_err().is_disconnected());
            assert!(is_ready());
            assert_eq!(receiver.as_raw_fd(), number);
            expect_one_by_one(&receiver, &is_ready, count);
        }
    }
}

/// Its file descriptor is the set's while it is a member, and its own again afterwards.
#[test]
fn c8_a_receiver_that_was_polled_becomes_a_member_and_back() {
    harness::alone(
        harness::path_of(c8_a_receiver_that_was_polled_becomes_a_member_and_back),
        || {
            let (sender, receiver) = ipc::channel::<u64>().unwrap();
            heat(&sender, &receiver);
            let mut set = IpcReceiverSet::new().unwrap();
            let before = harness::handles();
            let lent = receiver.as_raw_fd();
            let epoll = Epoll::of(&receiver, EventFlags::empty());
            send_to(&sender, 30);
            assert_eq!(receiver.try_recv().unwrap(), 0);
            let id = set.add(receiver).unwrap();
            assert!(!is_open(lent) && !epoll.is_ready());
            drop(epoll);
            assert_eq!(harness::handles_besides(&before), []);
            let mut received = 0;
            while received < 29 {
                received += set.select().unwrap().len();
            }
            send_to(&sender, 30);
            let receiver = set.remove(id).unwrap().to::<u64>();
            for (_, is_ready) in level_triggered(receiver.as_fd()) {
                expect_one_by_one(&receiver, &is_ready, 30);
                send_to(&sender, 30);
            }
        },
    );
}

/// The parts of an incomplete message are moved along, and are not readiness.
#[test]
fn c8_incomplete_message_is_not_readable() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::bytes_channel().unwrap();
    let epoll = Epoll::of(&receiver, EventFlags::ET);
    raw::send(&sender, &raw::first(1, 3, b"a"), &[]).unwrap();
    epoll.wait();
    assert!(receiver.try_recv().unwrap_err().is_empty());
    assert!(!is_readable(&receiver));
    raw::send(&sender, &raw::middle(1, b"b"), &[]).unwrap();
    raw::send(&sender, &raw::last(1, b"c"), &[]).unwrap();
    epoll.wait();
    assert_eq!(receiver.try_recv().unwrap(), b"abc");
}
