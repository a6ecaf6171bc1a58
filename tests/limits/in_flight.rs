//! The kernel limits how many file descriptors a user without privileges has in flight, to as
//! many as the process may have open.

use super::*;

/// Makes this thread a user without privileges and with few file descriptors. No other test is
/// that user, because all of a user's file descriptors in flight count.
fn become_unprivileged() {
    limit(Resource::Nofile, 64);
    let id = 60_000 + std::process::id() % 5000;
    let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
    // If this fails, the process has no privileges already.
    let _ = rustix::thread::set_thread_res_gid(gid, gid, gid);
    let _ = rustix::thread::set_thread_res_uid(uid, uid, uid);
}

/// Sends until the kernel refuses, and returns the number of messages.
fn fill_with_handles(sender: &IpcSender<(u32, Vec<IpcSender<u32>>)>, one: &IpcSender<u32>) -> u32 {
    let fds = vec![one.as_fd(); 10];
    let mut body = [&[0; 4][..], &10_u64.to_le_bytes()].concat();
    body.extend((0..10_u32).flat_map(u32::to_le_bytes));
    let mut sent: u32 = 0;
    loop {
        body[..4].copy_from_slice(&sent.to_le_bytes());
        let body = table::with(&body, &vec![table::sender(); 10]);
        match raw::try_send(sender, &raw::message(10, &body), &fds) {
            Ok(()) => sent += 1,
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(Errno::TOOMANYREFS.raw_os_error()));
                return sent;
            }
        }
        assert!(sent < 100, "this user has privileges");
    }
}

#[test]
fn c7_too_many_handles_in_flight_are_waited_for() {
    harness::alone(harness::path_of(c7_too_many_handles_in_flight_are_waited_for), || {
        let (sender, receiver) = ipc::channel().unwrap();
        let (ready, is_ready) = mpsc::channel();
        let sending = thread::spawn(move || {
            become_unprivileged();
            let (one, _kept) = ipc::channel().unwrap();
            let sent = fill_with_handles(&sender, &one);
            ready.send(()).unwrap();
            for number in sent..40 {
                sender.send((number, vec![one.clone(); 10])).unwrap();
            }
        });
        is_ready.recv().unwrap();
        for number in 0..40 {
            let (received, senders) = receiver.recv().unwrap();
            assert_eq!((received, senders.len()), (number, 10));
        }
        sending.join().unwrap();
    });
}

#[test]
fn c7_too_many_handles_in_flight_are_an_error_in_the_end() {
    harness::alone(harness::path_of(c7_too_many_handles_in_flight_are_an_error_in_the_end), || {
        become_unprivileged();
        let (sender, receiver) = ipc::channel().unwrap();
        let (one, _kept) = ipc::channel().unwrap();
        let sent = fill_with_handles(&sender, &one);
        let (carrier, carried) = ipc::channel::<IpcReceiver<u32>>().unwrap();
        let (to_moved, moved) = ipc::channel().unwrap();
        match carrier.send_ref(&moved) {
            Err(IpcError::Io(error)) => {
                assert_eq!(error.kind(), io::ErrorKind::TimedOut);
                assert!(error.to_string().contains("as many handles"), "{error}");
            }
            other => panic!("it was not refused: {other:?}"),
        }
        // The receiver came back.
        to_moved.send(6).unwrap();
        assert_eq!(moved.recv().unwrap(), 6);
        // Messages without handles can always be sent.
        sender.send((1000, Vec::new())).unwrap();
        for number in 0..sent {
            assert_eq!(receiver.recv().unwrap().0, number);
        }
        assert_eq!(receiver.recv().unwrap().0, 1000);
        carrier.send_ref(&moved).unwrap();
        let moved = carried.recv().unwrap();
        to_moved.send(7).unwrap();
        assert_eq!(moved.recv().unwrap(), 7);
    });
}

/// A send into a bounded channel waits for its receiver without a timeout. Only then do the ten
/// seconds begin in which the handles of other messages must be received.
#[test]
fn c2_a_bounded_send_waits_for_the_receiver_first_and_then_for_handles_in_flight() {
    harness::alone(
        harness::path_of(
            c2_a_bounded_send_waits_for_the_receiver_first_and_then_for_handles_in_flight,
        ),
        || {
            let (sender, receiver) =
                ipc::sync_channel::<(Vec<u8>, Vec<IpcSender<u32>>)>(10).unwrap();
            let (elsewhere, kept_elsewhere) = ipc::channel().unwrap();
            let (one, _kept) = ipc::channel().unwrap();
            // The socket is full of parts of a message that is given up.
            let part = raw::first(1, 10 << 20, &[0; 60_000]);
            raw::send(&sender, &part, &[]).unwrap();
            while raw::try_send(&sender, &raw::middle(1, &[0; 60_000]), &[]).is_ok() {}
            thread::scope(|scope| {
                let (one, elsewhere) = (&one, &elsewhere);
                let sending = scope.spawn(move || {
                    become_unprivileged();
                    fill_with_handles(elsewhere, one);
                    // Two parts, the second of which has the handle.
                    sender.send((vec![1; 100_000], vec![one.clone()]))
                });
                // Waits almost as long for the receiver, and again for the other receiver
                // after that.
                thread::sleep(Duration::from_secs(8));
                let receiving = scope.spawn(move || receiver.recv().unwrap());
                thread::sleep(Duration::from_secs(5));
                drop(kept_elsewhere);
                sending.join().unwrap().unwrap();
                let (bytes, senders) = receiving.join().unwrap();
                assert_eq!((bytes.len(), senders.len()), (100_000, 1));
            });
        },
    );
}

#[test]
fn c7_send_blocked_by_handles_in_flight_is_disconnected_when_the_receiver_is_dropped() {
    harness::alone(
        harness::path_of(
            c7_send_blocked_by_handles_in_flight_is_disconnected_when_the_receiver_is_dropped,
        ),
        || {
            let (sender, receiver) = ipc::channel().unwrap();
            let (elsewhere, kept_elsewhere) = ipc::channel().unwrap();
            let (ready, is_ready) = mpsc::channel();
            let sending = thread::spawn(move || {
                become_unprivileged();
                let (one, _kept) = ipc::channel().unwrap();
                fill_with_handles(&elsewhere, &one);
                ready.send(()).unwrap();
                sender.send((0, vec![one])).unwrap_err().is_disconnected()
            });
            is_ready.recv().unwrap();
            drop(receiver);
            assert!(sending.join().unwrap());
            drop(kept_elsewhere);
        },
    );
}
