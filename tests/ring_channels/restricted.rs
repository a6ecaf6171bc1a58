//! Processes that lack the system calls or the limits with which rings are usually made and
//! read: sandboxes, limits, and kernels with larger pages. All sent messages are received, in
//! order and without an error.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit, setrlimit};
use strait::handle::Handle;
use strait::internals::frame::Head;
use strait::ipc::{self, ChannelOptions, IpcError, IpcReceiver, IpcSender, Limits, Ordering};

use crate::harness;
use crate::harness::raw;
use crate::harness::ring::{self, RawRing};
use crate::harness::sandbox::{forbid, forbid_unaligned_mappings};
use crate::harness::table;

type Note = (u64, Vec<u8>);

/// The flag of a record whose sender has sent something by socket since the record before.
const AFTER_SOCKET: u64 = 1 << 63;

fn send(sender: &IpcSender<Note>, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let len = if number % 1000 == 777 { 300_000 } else { number % 100 };
        sender.send((number, vec![number as u8; len as usize])).unwrap();
    }
}

fn receive(receiver: &IpcReceiver<Note>, numbers: std::ops::Range<u64>) {
    for expected in numbers {
        let (number, bytes) = receiver.recv().unwrap();
        assert_eq!(number, expected);
        assert!(bytes.iter().all(|byte| *byte == number as u8));
    }
}

/// Receives on a thread that may not make these system calls: messages sent before, and
/// messages sent meanwhile.
fn receive_without(calls: &[i64], errno: Errno) {
    let (sender, receiver) = ipc::channel::<Note>().unwrap();
    send(&sender, 0..3000);
    thread::scope(|scope| {
        let (has_begun, begun) = mpsc::channel();
        let receiving = scope.spawn(move || {
            calls.iter().for_each(|call| forbid(*call, errno));
            has_begun.send(()).unwrap();
            receive(&receiver, 0..6000);
        });
        begun.recv().unwrap();
        send(&sender, 3000..6000);
        receiving.join().unwrap();
    });
}

const QUESTIONS: [i64; 6] = [
    libc::SYS_fstatfs,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_mincore,
    libc::SYS_pread64,
];

#[test]
fn c5_a_receiver_that_may_not_ask_about_a_ring_receives_what_is_in_it() {
    let _watchdog = harness::watchdog();
    for errno in [Errno::PERM, Errno::NOSYS] {
        for call in QUESTIONS {
            receive_without(&[call], errno);
        }
    }
}

#[test]
fn c5_a_receiver_that_may_ask_nothing_but_for_seals_receives_what_is_in_a_ring() {
    let _watchdog = harness::watchdog();
    for errno in [Errno::PERM, Errno::NOSYS] {
        receive_without(&QUESTIONS, errno);
    }
}

/// As in a sandbox that allows only `recvmsg` for receiving.
#[test]
fn c5_a_receiver_that_may_receive_by_recvmsg_only_receives() {
    let _watchdog = harness::watchdog();
    receive_without(&[libc::SYS_recvfrom, libc::SYS_recvmmsg], Errno::PERM);
}

/// How many rings this process has.
fn rings() -> usize {
    harness::handles().iter().filter(|handle| handle.what.contains("memfd:strait-ring")).count()
}

/// As on a kernel with pages of 64 KiB.
#[test]
fn rings_are_mapped_in_units_of_64_kib() {
    harness::alone(harness::path_of(rings_are_mapped_in_units_of_64_kib), || {
        forbid_unaligned_mappings();
        let (sender, receiver) = ipc::channel::<Note>().unwrap();
        // More than a socket has room for, so the ring gets many segments.
        send(&sender, 0..5000);
        receive(&receiver, 0..5000);
        assert_eq!(rings(), 2);
        for number in 5000..6000 {
            send(&sender, number..number + 1);
            receive(&receiver, number..number + 1);
        }
    });
}

#[test]
fn c2_messages_stay_in_order_where_a_receiver_has_few_descriptors_left() {
    harness::alone(
        harness::path_of(c2_messages_stay_in_order_where_a_receiver_has_few_descriptors_left),
        || {
            let mut limits = getrlimit(Resource::Nofile);
            limits.current = Some(400);
            setrlimit(Resource::Nofile, limits).unwrap();
            let another = || std::io::stdin().as_fd().try_clone_to_owned().unwrap();
            let _taken: Vec<OwnedFd> = (0..300).map(|_| another()).collect();
            let (sender, receiver) =
                ipc::channel::<(u64, Option<Handle<OwnedFd>>, Vec<u8>)>().unwrap();
            let send = |number, handle| sender.send((number, handle, vec![1; 1000])).unwrap();
            let receive = |expected| assert_eq!(receiver.recv().unwrap().0, expected);
            // More than the socket has room for, so that a ring is announced behind the
            // messages in the socket.
            (0..500).for_each(|number| send(number, None));
            // The socket has room, behind the announcement of the ring.
            (0..50).for_each(receive);
            send(500, Some(Handle(another())));
            (501..600).for_each(|number| send(number, None));
            (50..600).for_each(receive);
        },
    );
}

#[test]
fn c10_records_are_received_without_system_calls_where_only_each_senders_order_is_kept() {
    let _watchdog = harness::watchdog();
    let options = ChannelOptions::new().ordering(Ordering::PerSender);
    let (sender, receiver) = options.bytes_channel().unwrap();
    let mut ring = RawRing::new();
    ring.offer(&sender, true);
    let mut send = move |byte| {
        ring.write(ring::MESSAGE, strait::internals::now(), &[byte]);
        ring.publish();
    };
    // The announcement is read from the socket.
    send(0);
    assert_eq!(receiver.recv().unwrap(), [0]);
    let receiving = thread::spawn(move || {
        forbid(libc::SYS_recvmsg, Errno::PERM);
        // The socket is read after 64 records.
        for byte in 1..60 {
            send(byte);
            assert_eq!(receiver.recv().unwrap(), [byte]);
        }
    });
    receiving.join().unwrap();
}

/// With what was read ahead up to the limit on handles, the socket is not read to its end.
#[test]
fn c3_options_that_are_set_between_two_messages_do_not_change_their_order() {
    let _watchdog = harness::watchdog();
    let options = ChannelOptions::new().ordering(Ordering::PerSender);
    let (sender, receiver) = options.channel::<u32>().unwrap();
    let mut ring = RawRing::new();
    ring.offer(&sender, true);
    ring.write(ring::MESSAGE, strait::internals::now(), &0_u32.to_le_bytes());
    ring.publish();
    assert_eq!(receiver.recv().unwrap(), 0);
    let file = std::fs::File::open("/dev/null").unwrap();
    let handles = vec![file.as_fd(); raw::MAX_FDS];
    let body = table::with_handles(&table::number(1), handles.len());
    let send = |attachments: u8, body: &[u8], handles: &[_]| {
        let head = Head::of_message(attachments, body.len() as u32);
        let head = head.stamped(strait::internals::now());
        raw::send(&sender, &[head.as_bytes(), body].concat(), handles).unwrap();
    };
    send(handles.len() as u8, &body, &handles);
    send(0, &table::number(2), &[]);
    let stamp = strait::internals::now() | AFTER_SOCKET;
    ring.write(ring::MESSAGE, stamp, &3_u32.to_le_bytes());
    ring.publish();
    assert_eq!(receiver.recv().unwrap(), 1);
    receiver.set_options(&options.spin(Duration::ZERO)).unwrap();
    assert_eq!(receiver.recv().unwrap(), 2);
    assert_eq!(receiver.recv().unwrap(), 3);
}

#[test]
fn c1_a_ring_that_cannot_grow_any_more_has_a_successor() {
    harness::alone(harness::path_of(c1_a_ring_that_cannot_grow_any_more_has_a_successor), || {
        let mut limits = getrlimit(Resource::Fsize);
        limits.current = Some(1 << 20);
        setrlimit(Resource::Fsize, limits).unwrap();
        for ordering in [Ordering::Causal, Ordering::PerSender] {
            let options = ChannelOptions::new().ordering(ordering);
            let (sender, receiver) = options.channel::<Note>().unwrap();
            // 10 MiB that are not received.
            for number in 0..10_000 {
                sender.send((number, vec![number as u8; 1000])).unwrap();
            }
            assert_eq!(rings(), 1);
            receive(&receiver, 0..10_000);
            // The channel stays usable.
            for number in 10_000..20_000 {
                sender.send((number, vec![number as u8; 1000])).unwrap();
                if number % 2 == 1 {
                    receive(&receiver, number - 1..number + 1);
                }
            }
            drop(sender);
            assert!(receiver.recv().unwrap_err().is_disconnected());
        }
    });
}

/// A receiver with so many bytes of an incomplete message.
fn with_incomplete(bytes: usize) -> (IpcSender<String>, IpcReceiver<String>) {
    let (sender, receiver) = ipc::channel::<String>().unwrap();
    let sending = thread::spawn({
        let sender = sender.clone();
        move || {
            raw::send(&sender, &raw::first(1, bytes as u64 + 1, b""), &[]).unwrap();
            for part in vec![b'x'; bytes].chunks(100_000) {
                raw::send(&sender, &raw::middle(1, part), &[]).unwrap();
            }
            sender.send("here".to_string()).unwrap();
        }
    });
    assert_eq!(receiver.recv().unwrap(), "here");
    sending.join().unwrap();
    (sender, receiver)
}

/// Without memory beside the message, the spools are in the message: 1 MiB of all receivers
/// together. Incomplete messages beyond that are discarded. The message is not longer than its
/// receiver expects.
#[test]
fn c9_receivers_move_together_where_no_memory_can_be_made() {
    harness::alone(
        harness::path_of(c9_receivers_move_together_where_no_memory_can_be_made),
        || {
            let mut limits = Limits::default();
            limits.message_bytes = 100;
            let options = ChannelOptions::new().limits(limits);
            let (carrier, carried) = options.channel::<Vec<IpcReceiver<String>>>().unwrap();
            let (senders, receivers): (Vec<_>, Vec<_>) =
                [700_000, 700_000, 2_000_000].into_iter().map(with_incomplete).unzip();
            let receivers = thread::scope(|scope| {
                scope.spawn(|| {
                    forbid(libc::SYS_memfd_create, Errno::PERM);
                    carrier.send(receivers).unwrap();
                });
                carried.recv().unwrap()
            });
            for (sender, receiver) in senders.iter().zip(receivers) {
                raw::send(sender, &raw::last(1, b"x"), &[]).unwrap();
                sender.send("after".to_string()).unwrap();
                // If the incomplete message was kept, it is complete now, and no string.
                assert!(matches!(receiver.recv(), Err(IpcError::SerializationError(_))));
                assert_eq!(receiver.recv().unwrap(), "after");
            }
        },
    );
}

/// Complete messages are not discarded for lack of memory: the send fails, and the receivers
/// come back.
#[test]
fn c9_receivers_with_too_many_messages_to_be_moved_come_back() {
    harness::alone(
        harness::path_of(c9_receivers_with_too_many_messages_to_be_moved_come_back),
        || {
            let (carrier, carried) = ipc::channel::<[IpcReceiver<Note>; 2]>().unwrap();
            let channels = || {
                let (sender, receiver) = ipc::channel::<Note>().unwrap();
                // More than a socket has room for, beyond the messages in it.
                send(&sender, 0..10_000);
                receive(&receiver, 0..5000);
                receiver
            };
            let receivers = [channels(), channels()];
            let refused = thread::scope(|scope| {
                let sending = scope.spawn(|| {
                    forbid(libc::SYS_memfd_create, Errno::PERM);
                    // The receivers are `Send`, and not `Sync`.
                    let receivers = receivers;
                    let error = carrier.send_ref(&receivers).unwrap_err();
                    (receivers, error)
                });
                sending.join().unwrap()
            });
            let (receivers, error) = refused;
            assert!(error.to_string().contains("memory for them could not be created"), "{error}");
            assert!(carried.try_recv().unwrap_err().is_empty());
            receivers.iter().for_each(|receiver| receive(receiver, 5000..10_000));
        },
    );
}
