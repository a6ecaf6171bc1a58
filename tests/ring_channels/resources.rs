//! C7, C11: limits on file descriptors, address space and system calls; and handles that
//! remain of rings.

use super::*;

fn limit(resource: Resource, limit: u64) {
    let mut limits = rustix::process::getrlimit(resource);
    limits.current = Some(limit);
    rustix::process::setrlimit(resource, limits).unwrap();
}

/// Sends under a limit, and receives all sent messages when the limit is lifted. One of them
/// has the plan `one`. Returns the number of errors, and whether there was a ring.
fn send_under(
    limit_it: impl FnOnce(),
    lift_it: impl FnOnce(),
    is_received: bool,
    one: Plan,
) -> (usize, bool) {
    let (sender, receiver) = ipc::channel::<Note>().unwrap();
    let mut sent = 0;
    let mut received = 0;
    let mut errors = 0;
    limit_it();
    for number in 0..400 {
        // Without a ring, the socket must have room for all of them.
        if !is_received && number >= 80 {
            break;
        }
        let plan = if number == 79 { one } else { Plan::Small };
        match sender.send(Note::new(0, sent, plan)) {
            Ok(()) => sent += 1,
            Err(IpcError::Io(_)) => errors += 1,
            Err(error) => panic!("{error:?}"),
        }
        if is_received && number % 3 == 2 {
            match receiver.recv_timeout(Duration::from_millis(1)) {
                Ok(note) => note.check(&mut received),
                Err(TryRecvError::Empty | TryRecvError::IpcError(IpcError::Io(_))) => {}
                // A ring that cannot be read. It is still empty.
                Err(TryRecvError::IpcError(IpcError::SerializationError(_))) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
    }
    lift_it();
    let has_ring = rings() > 0;
    let mut sender = Some(sender);
    while received < sent {
        match receiver.recv_timeout(Duration::from_millis(1)) {
            Ok(note) => note.check(&mut received),
            // A sender offers its ring again when it sends.
            Err(TryRecvError::Empty) => {
                let sender = sender.as_ref().unwrap();
                sender.send(Note::new(0, sent, Plan::Small)).unwrap();
                sent += 1;
            }
            Err(error) => panic!("{error:?} after {received} of {sent}"),
        }
    }
    drop(sender.take());
    let mut end = receiver.recv().unwrap_err();
    if let IpcError::SerializationError(_) = end {
        // There was no handle left for a ring, and its sender has ended without reporting that
        // the ring was empty. This is one error.
        end = receiver.recv().unwrap_err();
    }
    assert!(end.is_disconnected(), "{end:?}");
    (errors, has_ring)
}

/// The number that the next descriptor gets.
fn next_descriptor() -> u64 {
    use std::os::fd::AsRawFd;

    io::stdin().as_fd().try_clone_to_owned().unwrap().as_raw_fd() as u64
}

/// Takes all descriptors that are left, but for `spare`.
fn take_descriptors(spare: usize) -> Vec<OwnedFd> {
    limit(Resource::Nofile, next_descriptor() + 20);
    let mut taken = Vec::new();
    while let Ok(fd) = io::stdin().as_fd().try_clone_to_owned() {
        taken.push(fd);
    }
    taken.truncate(taken.len().saturating_sub(spare));
    taken
}

#[test]
fn c7_no_message_is_lost_at_any_limit_on_descriptors() {
    harness::alone(harness::path_of(c7_no_message_is_lost_at_any_limit_on_descriptors), || {
        let before = harness::handles();
        let mut had_ring = [false; 2];
        for spare in 0..8 {
            for is_received in [true, false] {
                let taken = RefCell::new(Vec::new());
                let (_, has_ring) = send_under(
                    || *taken.borrow_mut() = take_descriptors(spare),
                    || taken.borrow_mut().clear(),
                    is_received,
                    // Large enough to need a ring, even if few file descriptors are left
                    // for others.
                    Plan::Medium,
                );
                had_ring[usize::from(has_ring)] = true;
                assert_eq!(harness::handles_besides(&before), [], "{spare}");
            }
        }
        assert_eq!(had_ring, [true; 2]);
    });
}

/// Opens so many quarters of the file descriptors that this process may have.
fn take_quarters(quarters: u64) -> Vec<OwnedFd> {
    limit(Resource::Nofile, 400);
    let mut taken = Vec::new();
    while next_descriptor() < 100 * quarters {
        taken.push(io::stdin().as_fd().try_clone_to_owned().unwrap());
    }
    taken
}

/// Sends and receives enough messages for a ring.
fn exchange_much(sender: &IpcSender<Note>, receiver: &IpcReceiver<Note>) {
    let mut next = 0;
    heat(sender, 0, || (0..100).for_each(|_| receiver.recv().unwrap().check(&mut next)));
}

#[test]
fn c7_rings_leave_descriptors_for_others() {
    harness::alone(harness::path_of(c7_rings_leave_descriptors_for_others), || {
        let (sender, receiver) = ipc::channel::<Note>().unwrap();
        let taken = take_quarters(3);
        exchange_much(&sender, &receiver);
        assert_eq!(rings(), 0);
        drop(taken);
        // The sender offers a ring again, sooner or later.
        while rings() < 2 {
            exchange_much(&sender, &receiver);
        }
    });
}

#[test]
fn c1_a_sender_does_not_wait_for_a_receiver_without_descriptors_for_rings() {
    harness::alone(
        harness::path_of(c1_a_sender_does_not_wait_for_a_receiver_without_descriptors_for_rings),
        || {
            let before = harness::handles();
            // Repeated until the sender does not check the state of its ring in between.
            for _ in 0..10 {
                let (sender, receiver) = ipc::channel::<Note>().unwrap();
                let mut received = 0;
                let send = |number, plan| sender.send(Note::new(0, number, plan)).unwrap();
                // A ring is offered before the last of these messages.
                (0..64).for_each(|number| send(number, Plan::Small));
                (0..63).for_each(|_| receiver.recv().unwrap().check(&mut received));
                let taken = take_quarters(3);
                receiver.recv().unwrap().check(&mut received);
                // The ring was refused by now. The sender needs another: no socket has room for
                // these messages.
                (64..70).for_each(|number| send(number, Plan::Large));
                drop((sender, taken));
                (64..70).for_each(|_| receiver.recv().unwrap().check(&mut received));
                assert!(receiver.recv().unwrap_err().is_disconnected());
            }
            assert_eq!(harness::handles_besides(&before), []);
        },
    );
}

/// How much address space this process has mapped, in bytes.
fn address_space() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').next().unwrap().parse::<u64>().unwrap() * 4096
}

#[test]
fn c7_no_message_is_lost_at_any_limit_on_address_space() {
    harness::alone(harness::path_of(c7_no_message_is_lost_at_any_limit_on_address_space), || {
        // Allocates buffers, which are kept. There are small pieces of memory, which cannot
        // become large ones: the standard library aborts a process that cannot allocate a
        // small one.
        send_under(|| {}, || {}, true, Plan::Small);
        let pieces: Vec<Vec<u8>> = (0..8000).map(|_| Vec::with_capacity(500)).collect();
        let _every_other: Vec<_> = pieces.into_iter().step_by(2).collect();
        let mut had_ring = [false; 2];
        for extra in (0..40).map(|pages| pages * 4096).chain([200 << 10, 400 << 10, 1 << 20]) {
            for is_received in [true, false] {
                let (_, has_ring) = send_under(
                    || limit(Resource::As, address_space() + extra),
                    || limit(Resource::As, u64::MAX),
                    is_received,
                    Plan::Small,
                );
                had_ring[usize::from(has_ring)] = true;
            }
        }
        assert_eq!(had_ring, [true; 2]);
    });
}

/// Sends many messages while a system call fails that sharing memory needs.
fn send_without(call: i64, plan: Plan) {
    let (sender, receiver) = ipc::channel::<Note>().unwrap();
    let count = if plan == Plan::Large { 30 } else { 3000 };
    let sending = thread::spawn(move || {
        forbid(call, Errno::PERM);
        for number in 0..count {
            sender.send(Note::new(0, number, plan)).unwrap();
        }
    });
    let mut next = 0;
    for note in receiver.iter() {
        note.check(&mut next);
        assert!(next % 1000 != 500 || !has_mapped_rings());
    }
    assert_eq!(next, count);
    sending.join().unwrap();
}

#[test]
fn c7_without_shared_memory_all_messages_are_sent_by_socket() {
    harness::alone(
        harness::path_of(c7_without_shared_memory_all_messages_are_sent_by_socket),
        || {
            send_without(libc::SYS_memfd_create, Plan::Small);
            send_without(libc::SYS_memfd_create, Plan::Mixed);
            send_without(libc::SYS_memfd_create, Plan::Large);
            send_without(libc::SYS_ftruncate, Plan::Mixed);
        },
    );
}

#[test]
fn c7_without_mappings_all_messages_are_sent_by_socket() {
    harness::alone(harness::path_of(c7_without_mappings_all_messages_are_sent_by_socket), || {
        send_without(libc::SYS_mmap, Plan::Small);
    });
}

#[test]
fn c11_rings_leave_no_handles() {
    harness::alone(harness::path_of(c11_rings_leave_no_handles), || {
        let before = harness::handles();
        for round in 0..20 {
            let (sender, receiver) = ipc::channel::<Note>().unwrap();
            let mut next = 0;
            heat(&sender, 0, || {
                for _ in 0..100 {
                    receiver.recv().unwrap().check(&mut next);
                }
            });
            // One handle on each side.
            assert_eq!(rings(), 2);
            assert!(
                harness::handles()
                    .iter()
                    .all(|handle| handle.closes_on_exec || before.contains(handle))
            );
            match round % 4 {
                0 => drop((sender, receiver)),
                1 => drop((receiver, sender)),
                2 => {
                    // With messages in it, large and small.
                    for number in 500..600 {
                        sender.send(Note::new(0, number, Plan::Mixed)).unwrap();
                    }
                    drop((sender, receiver));
                }
                _ => {
                    let (carrier, carried) = ipc::channel::<IpcReceiver<Note>>().unwrap();
                    carrier.send(receiver).unwrap();
                    // In a message that is not received.
                    drop((carrier, carried, sender));
                }
            }
            assert_eq!(harness::handles_besides(&before), []);
            assert!(!has_mapped_rings());
        }
    });
}
