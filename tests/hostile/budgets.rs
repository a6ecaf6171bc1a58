//! The work of one call has a limit that no peer can raise: parts of messages, JUMPs, room for
//! file descriptors, and how long `send` waits for room.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType,
};
use rustix::process::{Resource, getrlimit, setrlimit};
use strait::internals::frame::Kind;
use strait::internals::ring::{FIRST_LEN, Place, SLEEPING, UNIT};
use strait::ipc::{
    self, ChannelOptions, IpcBytesReceiver, IpcBytesSender, IpcReceiverSet, IpcSelectionResult,
    Limits, TryRecvError,
};

use crate::harness;
use crate::harness::raw;
use crate::harness::ring::{self, RawRing};
use crate::harness::table;

/// The length of a fragment with one byte in a ring.
const FRAGMENT: u64 = 32;

/// Parts of a message of 512 MiB that does not end, a byte each: as many as `fragments`. A JUMP
/// leads to the start of the ring, so that no sender has to write meanwhile.
fn endless_message(fragments: u64) -> RawRing {
    let mut ring = RawRing::new();
    ring.write(ring::FIRST, 1, &[&(512_u64 << 20).to_le_bytes()[..], &[1; 8]].concat());
    while ring.tail() < u64::from(FIRST_LEN) {
        ring.write(ring::MIDDLE, 1, &[1]);
    }
    ring.publish_up_to(FRAGMENT * fragments);
    ring
}

/// Returns how many records of this length `call` takes.
fn taken_by(ring: &RawRing, len: u64, call: impl FnOnce()) -> u64 {
    let before = ring.head().load(Ordering::Acquire);
    call();
    (ring.head().load(Ordering::Acquire) - before) / len
}

fn assert_empty(received: Result<Vec<u8>, TryRecvError>) {
    assert!(received.as_ref().is_err_and(TryRecvError::is_empty), "{received:?}");
}

/// The orders that a receiver can keep.
const ORDERINGS: [ipc::Ordering; 2] = [ipc::Ordering::Causal, ipc::Ordering::PerSender];

/// A channel with such a ring.
fn channel_with(ring: &RawRing, ordering: ipc::Ordering) -> (IpcBytesSender, IpcBytesReceiver) {
    let (sender, receiver) = ChannelOptions::new().ordering(ordering).bytes_channel().unwrap();
    ring.offer(&sender, true);
    (sender, receiver)
}

#[test]
fn c1_parts_of_a_message_do_not_prolong_a_wait() {
    let _watchdog = harness::watchdog();
    for ordering in ORDERINGS {
        let ring = endless_message(20_000_000);
        let (_sender, receiver) = channel_with(&ring, ordering);
        for _ in 0..20 {
            let taken = taken_by(&ring, FRAGMENT, || {
                assert_empty(receiver.try_recv_timeout(Duration::from_millis(1)));
            });
            // As many parts as there is time for.
            assert!((1..400_000).contains(&taken), "{ordering:?}: {taken}");
        }
    }
}

#[test]
fn c1_a_call_that_does_not_wait_leaves_parts_for_the_next() {
    let _watchdog = harness::watchdog();
    for ordering in ORDERINGS {
        let ring = endless_message(20_000_000);
        let (_sender, receiver) = channel_with(&ring, ordering);
        for _ in 0..3 {
            let taken = taken_by(&ring, FRAGMENT, || assert_empty(receiver.try_recv()));
            assert!((1..2_000_000).contains(&taken), "{ordering:?}: {taken}");
        }
    }
}

#[test]
fn c7_parts_of_a_message_do_not_delay_messages_by_socket() {
    let _watchdog = harness::watchdog();
    for ordering in ORDERINGS {
        let ring = endless_message(80_000_000);
        let (sender, receiver) = channel_with(&ring, ordering);
        sender.send(b"by socket").unwrap();
        let taken = taken_by(&ring, FRAGMENT, || {
            assert_eq!(receiver.recv().unwrap(), b"by socket");
        });
        // For a while the receiver takes the parts for those of an earlier message.
        assert!(taken < 3_000_000, "{ordering:?}: {taken}");
    }
}

#[test]
fn c7_set_member_with_endless_parts_does_not_starve_others() {
    let _watchdog = harness::watchdog();
    for ordering in ORDERINGS {
        let ring = endless_message(40_000_000);
        let (_sender, receiver) = channel_with(&ring, ordering);
        let (honest, honest_receiver) = ipc::bytes_channel().unwrap();
        let mut set = IpcReceiverSet::new().unwrap();
        set.add_bytes(receiver).unwrap();
        let id = set.add_bytes(honest_receiver).unwrap();
        for number in 0..50 {
            honest.send(&[number]).unwrap();
            let taken = taken_by(&ring, FRAGMENT, || {
                let events = set.select().unwrap();
                assert_eq!(events.len(), 1);
                let IpcSelectionResult::MessageReceived(from, _) = events[0] else {
                    panic!("{events:?}")
                };
                assert_eq!(from, id);
            });
            assert!(taken < 200_000, "{ordering:?}: {taken}");
        }
    }
}

/// JUMPs to another segment and back, without end.
fn endless_jumps() -> RawRing {
    let places = [UNIT, UNIT + u64::from(FIRST_LEN)];
    let places = places.map(|offset| Place { offset, len: FIRST_LEN });
    let len = UNIT + 2 * u64::from(FIRST_LEN);
    let mut ring = RawRing::sparse(len, len as usize);
    ring.jump(places[1]);
    ring.jump(places[0]);
    ring.publish_up_to(ring.tail() * 500_000);
    ring
}

#[test]
fn c7_a_flood_of_jumps_is_followed_a_few_at_a_time() {
    let _watchdog = harness::watchdog();
    for ordering in ORDERINGS {
        let ring = endless_jumps();
        let (_sender, receiver) = channel_with(&ring, ordering);
        for _ in 0..3 {
            let taken = taken_by(&ring, 32, || assert_empty(receiver.try_recv()));
            // Each JUMP takes as long as some system calls.
            assert!((1..30_000).contains(&taken), "{ordering:?}: {taken}");
        }
    }
}

#[test]
fn c1_wake_ups_do_not_prolong_a_wait() {
    harness::alone(harness::path_of(c1_wake_ups_do_not_prolong_a_wait), || {
        // Two file descriptors each; a quarter of all are left for other uses.
        let count = 500.min(harness::room_for_handles() / 4);
        let mut limits = Limits::default();
        limits.shared_memories = count;
        let options = ChannelOptions::new().spin(Duration::ZERO).keep_memory(Duration::MAX);
        let (sender, receiver) = options.limits(limits).bytes_channel().unwrap();
        // The first member is the first whose sender is asked for a wake-up, long before the
        // receiver sleeps.
        let rings: Vec<RawRing> = (0..count).map(|_| RawRing::new()).collect();
        for ring in &rings {
            ring.offer(&sender, true);
            assert_empty(receiver.try_recv());
            assert_eq!(ring.state().load(Ordering::Acquire), ring::ACCEPTED);
        }
        let (is_over, wakings) = (AtomicBool::new(false), AtomicU64::new(0));
        thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    if rings[0].tail_word().fetch_and(!SLEEPING, Ordering::Relaxed) & SLEEPING != 0
                    {
                        raw::send(&sender, &raw::packet(Kind::WakeUp, 0, &[]), &[]).unwrap();
                        wakings.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
            let mut most = 0;
            for _ in 0..2000 {
                let before = wakings.load(Ordering::Relaxed);
                assert_empty(receiver.try_recv_timeout(Duration::from_nanos(1)));
                most = most.max(wakings.load(Ordering::Relaxed) - before);
            }
            is_over.store(true, Ordering::Relaxed);
            assert!(most <= 3, "{most}");
        });
    });
}

/// Receives packets by hand until one has a descriptor.
fn receive_ring(socket: &OwnedFd) -> OwnedFd {
    loop {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut bytes = vec![0; 4096];
        let region = &mut [IoSliceMut::new(&mut bytes)];
        rustix::net::recvmsg(socket, region, &mut control, RecvFlags::CMSG_CLOEXEC).unwrap();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(mut fds) = message {
                return fds.next().unwrap();
            }
        }
    }
}

#[test]
fn c1_slow_receiver_does_not_block_send_beyond_its_timeout() {
    let _watchdog = harness::watchdog();
    let (ours, theirs) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .unwrap();
    let sender = IpcBytesSender::try_from(ours).unwrap();
    // More than the socket has room for.
    for _ in 0..300 {
        sender.send(&[1; 2000]).unwrap();
    }
    let ring = RawRing::map(receive_ring(&theirs), FIRST_LEN as usize).unwrap();
    ring.state().store(ring::ACCEPTED, Ordering::Release);
    let (is_over, steps) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let receiving = thread::spawn({
        let (is_over, steps) = (Arc::clone(&is_over), Arc::clone(&steps));
        move || {
            while !is_over.load(Ordering::Relaxed) {
                let since = Instant::now();
                while since.elapsed() < Duration::from_micros(20) {
                    std::hint::spin_loop();
                }
                let published = ring.tail_word().load(Ordering::Acquire) & (u64::MAX >> 2);
                let head = ring.head().load(Ordering::Relaxed);
                if head + 16 <= published {
                    ring.head().store(head + 16, Ordering::Release);
                    steps.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    });
    // Until the ring is accepted, and its sender has noticed.
    for _ in 0..2000 {
        sender.send(&[1; 1000]).unwrap();
    }
    let before = steps.load(Ordering::Relaxed);
    sender.send(&vec![1; 8 << 20]).unwrap();
    let taken = steps.load(Ordering::Relaxed) - before;
    is_over.store(true, Ordering::Relaxed);
    receiving.join().unwrap();
    // Half a million wake-ups would be needed to free all of the socket.
    assert!(taken < 20_000, "{taken}");
}

#[test]
fn c7_messages_that_are_read_ahead_leave_descriptors_for_others() {
    harness::alone(
        harness::path_of(c7_messages_that_are_read_ahead_leave_descriptors_for_others),
        || {
            let mut limits = getrlimit(Resource::Nofile);
            limits.current = Some(1000);
            setrlimit(Resource::Nofile, limits).unwrap();
            let (reader, _writer) =
                rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
            // With an idle ring in each, so that messages have to be compared with its content.
            let rings: Vec<RawRing> = (0..10).map(|_| RawRing::new()).collect();
            let channels: Vec<_> =
                rings.iter().map(|ring| channel_with(ring, ipc::Ordering::Causal)).collect();
            let mut least = u64::MAX;
            let mut received = 0;
            for _ in 0..10 {
                for (sender, _) in &channels {
                    for count in [63, 253, 63, 253] {
                        let fds = vec![reader.as_fd(); count];
                        // The user's limit on file descriptors in flight may be reached.
                        let body = table::with_handles(b"x", count);
                        let _ = raw::try_send(sender, &raw::message(count as u8, &body), &fds);
                    }
                }
                for _ in 0..4 {
                    for (_, receiver) in &channels {
                        match receiver.try_recv() {
                            Ok(_) => received += 1,
                            Err(error) => assert!(error.is_empty(), "{error:?}"),
                        }
                        least = least.min(1000 - harness::handles().len() as u64);
                    }
                }
            }
            assert!(received >= 50, "{received}");
            assert!(least >= 300, "{least}");
        },
    );
}
