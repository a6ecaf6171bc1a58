//! Hostile use of the permits of a bounded channel.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd};
use rustix::fs::{MemfdFlags, OFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use strait::internals::frame::Kind;
use strait::internals::now;
use strait::ipc::{self, IpcReceiver, IpcSyncSender};
use strait::{IpcError, TryRecvError, TrySelectError, TrySendError};

use crate::floods::Flood;
use crate::harness::raw::{self, Canary};
use crate::harness::ring::{self, RawRing};
use crate::harness::sandbox::forbid;
use crate::harness::stuck::{StuckFile, StuckPage};
use crate::harness::table;
use crate::harness::ways::{Next, ways};
use crate::{assert_refused, harness, packet_pair, send_one_of};

const LONG: Duration = Duration::from_secs(60);

/// A permit descriptor without permits.
fn no_permits() -> OwnedFd {
    eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK | EventfdFlags::SEMAPHORE).unwrap()
}

/// A message that is a sender and its permit descriptor.
fn bounded_sender(is_rendezvous: bool) -> Vec<u8> {
    table::with(&table::number(0), &[table::bounded_sender(is_rendezvous)])
}

/// A message that is a receiver and so many permit descriptors.
fn bounded_receiver(issuer: u32, bound: u64, surplus: u64) -> Vec<u8> {
    table::with(&table::number(0), &[table::bounded_receiver(issuer, bound, surplus)])
}

/// The file descriptor that a sender takes permits from.
fn permits_of(sender: &IpcSyncSender<u32>) -> OwnedFd {
    let (carrier, carried) = ipc::channel::<IpcSyncSender<u32>>().unwrap();
    carrier.send_ref(sender).unwrap();
    raw::received_fds(OwnedFd::try_from(carried).unwrap()).remove(1)
}

#[test]
fn c7_invalid_permit_descriptor_is_refused() {
    let _watchdog = harness::watchdog();
    let (canary, canary_fd) = Canary::new();
    let (socket, _other_end) = packet_pair();
    let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap();
    let file = File::open("/dev/null").unwrap();
    let timer = rustix::time::timerfd_create(
        rustix::time::TimerfdClockId::Monotonic,
        rustix::time::TimerfdFlags::CLOEXEC,
    )
    .unwrap();
    let epoll = rustix::event::epoll::create(rustix::event::epoll::CreateFlags::CLOEXEC).unwrap();
    let permits = no_permits();
    let wrong = [
        canary_fd.as_fd(),
        socket.as_fd(),
        read.as_fd(),
        write.as_fd(),
        file.as_fd(),
        timer.as_fd(),
        epoll.as_fd(),
    ];
    for (index, wrong) in wrong.into_iter().enumerate() {
        let fds = [socket.as_fd(), wrong];
        for is_rendezvous in [false, true] {
            let sender = send_one_of::<IpcSyncSender<u32>>(&bounded_sender(is_rendezvous), &fds);
            assert!(matches!(sender, Err(IpcError::SerializationError(_))), "{index}");
        }
        let received = send_one_of::<IpcReceiver<u32>>(&bounded_receiver(1, 3, 0), &fds);
        assert!(matches!(received, Err(IpcError::SerializationError(_))), "{index}");
    }
    for (what, count) in [("nothing", 0), ("two", 2), ("three", 3)] {
        let body = bounded_receiver(count, 3, 0);
        let fds = [&[socket.as_fd()][..], &vec![permits.as_fd(); count as usize]].concat();
        let received = send_one_of::<IpcReceiver<u32>>(&body, &fds);
        assert!(matches!(received, Err(IpcError::SerializationError(_))), "{what}: {received:?}");
    }
    assert_refused(send_one_of::<IpcSyncSender<u32>>(&bounded_sender(false), &[socket.as_fd()]));
    drop(canary_fd);
    canary.wait_until_closed();
}

/// The server of a file system may never answer a call. No received file descriptor is used in
/// such a call.
#[test]
fn c7_a_file_whose_server_does_not_answer_is_refused_at_once() {
    let _watchdog = harness::watchdog();
    let Some(stuck) = StuckFile::new() else { return };
    for has_proc in [true, false] {
        let (socket, _other_end) = packet_pair();
        let (refused, news) = mpsc::channel();
        let file = stuck.file().try_clone().unwrap();
        thread::spawn(move || {
            if !has_proc {
                #[cfg(target_arch = "x86_64")]
                forbid(libc::SYS_readlink, Errno::NOSYS);
                forbid(libc::SYS_readlinkat, Errno::NOSYS);
            }
            let fds = [socket.as_fd(), file.as_fd()];
            let sender = send_one_of::<IpcSyncSender<u32>>(&bounded_sender(false), &fds);
            refused.send(matches!(sender, Err(IpcError::SerializationError(_)))).unwrap();
            let received = send_one_of::<IpcReceiver<u32>>(&bounded_receiver(1, 3, 0), &fds);
            refused.send(matches!(received, Err(IpcError::SerializationError(_)))).unwrap();
        });
        for what in ["as a sender's", "as a receiver's"] {
            assert_eq!(news.recv_timeout(LONG), Ok(true), "{what}, {has_proc}");
        }
    }
}

#[test]
fn c7_forged_bounds_are_harmless() {
    let _watchdog = harness::watchdog();
    for (bound, surplus) in [(0, 0), (1, 0), (u64::MAX, 0), (3, u64::MAX), (u64::MAX, u64::MAX)] {
        let (a, b) = packet_pair();
        let permits = no_permits();
        let body = bounded_receiver(1, bound, surplus);
        let receiver =
            send_one_of::<IpcReceiver<String>>(&body, &[b.as_fd(), permits.as_fd()]).unwrap();
        drop(b);
        for _ in 0..10 {
            raw::send(&a, &raw::message(0, &raw::encoded("text")), &[]).unwrap();
            assert_eq!(receiver.recv().unwrap(), "text");
            assert!(matches!(receiver.try_recv(), Err(TryRecvError::Empty)));
        }
        // The receiver can be moved again.
        let (carrier, carried) = ipc::channel().unwrap();
        carrier.send(receiver).unwrap();
        let receiver: IpcReceiver<String> = carried.recv().unwrap();
        drop(a);
        assert!(matches!(receiver.recv(), Err(IpcError::Disconnected)));
    }
}

/// The kernel writes a permit to the memory of the sender that takes it. If it blocks there, it
/// holds no lock that other calls need.
#[test]
fn c7_read_of_a_permit_into_faulting_memory_blocks_no_other_call() {
    let _watchdog = harness::watchdog();
    for bound in [0, 3] {
        let Some(page) = StuckPage::new() else { return };
        let (sender, receiver) = ipc::sync_channel::<u32>(bound).unwrap();
        let permits = permits_of(&sender);
        let (met, meeting) = mpsc::channel();
        let others = thread::spawn(move || {
            let receiving = thread::spawn(move || {
                for number in 0..50 {
                    assert_eq!(receiver.recv().unwrap(), number);
                }
                let timed_out = receiver.try_recv_timeout(Duration::from_millis(20));
                assert!(matches!(timed_out, Err(TryRecvError::Empty)), "{timed_out:?}");
                receiver
            });
            meeting.recv().unwrap();
            for number in 0..50 {
                sender.send_timeout(&number, LONG).unwrap();
            }
            let receiver = receiving.join().unwrap();
            while sender.try_send(&0).is_ok() {}
            drop(receiver);
            assert!(sender.try_send(&0).is_err_and(|error| error.is_disconnected()));
        });
        // There is a permit as soon as the receiver waits.
        rustix::event::poll(&mut [PollFd::new(&permits, PollFlags::IN)], None).unwrap();
        page.read_from(&permits);
        met.send(()).unwrap();
        let since = Instant::now();
        while !others.is_finished() {
            assert!(since.elapsed() < LONG, "the others are held up with a bound of {bound}");
            thread::sleep(Duration::from_millis(1));
        }
        others.join().unwrap();
    }
}

/// A peer may clear `O_NONBLOCK`, and may add permits up to the maximum.
#[test]
fn c7_descriptor_flags_of_a_peer_block_no_call() {
    const MOST: u64 = u64::MAX - 1;
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::sync_channel::<u32>(2).unwrap();
    let permits = permits_of(&sender);
    rustix::fs::fcntl_setfl(&permits, OFlags::empty()).unwrap();
    sender.try_send(&1).unwrap();
    sender.try_send(&2).unwrap();
    assert!(matches!(sender.try_send(&3), Err(TrySendError::Full)));
    let timed_out = sender.send_timeout(&3, Duration::from_millis(5));
    assert!(matches!(timed_out, Err(TrySendError::Full)));

    rustix::io::write(&permits, &MOST.to_ne_bytes()).unwrap();
    assert_eq!(receiver.recv().unwrap(), 1);
    assert_eq!(receiver.recv().unwrap(), 2);
    for number in 3..100 {
        sender.try_send(&number).unwrap();
        assert_eq!(receiver.recv().unwrap(), number);
    }
    // Nor does a peer that keeps it open make senders wait for ever for a receiver that
    // was dropped.
    drop(receiver);
    assert!(matches!(sender.send(7), Err(IpcError::Disconnected)));
}

/// At whatever moment the sender adds them.
#[test]
fn c7_sender_that_keeps_permits_at_the_maximum_does_not_stop_the_receiver() {
    const MESSAGES: u32 = 20_000;
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::sync_channel::<u32>(1).unwrap();
    let permits = permits_of(&sender);
    rustix::fs::fcntl_setfl(&permits, OFlags::empty()).unwrap();
    rustix::io::write(&permits, &(u64::MAX - 2).to_ne_bytes()).unwrap();
    let filling = {
        let permits = permits.try_clone().unwrap();
        thread::spawn(move || while rustix::io::write(&permits, &1_u64.to_ne_bytes()).is_ok() {})
    };
    let sending = thread::spawn(move || (0..MESSAGES).for_each(|n| sender.send(n).unwrap()));
    for number in 0..MESSAGES {
        assert_eq!(receiver.recv_timeout(LONG).unwrap(), number);
    }
    sending.join().unwrap();
    // The receiver waits until a permit is taken, or is about to.
    assert!(!filling.is_finished());
}

#[test]
fn c7_repeated_notifications_reissue_only_missing_permits() {
    let _watchdog = harness::watchdog();
    for bound in [0, 1, 3] {
        let (sender, receiver) = ipc::sync_channel::<u32>(bound).unwrap();
        let request = raw::packet(Kind::PermitRequest, 0, &[]);
        let notifying = {
            let sender = sender.clone();
            thread::spawn(move || while raw::send(&sender, &request, &[]).is_ok() {})
        };
        // The notification is read and has no further effect: timeouts hold, and messages
        // are received.
        for _ in 0..3 {
            let timed_out = receiver.try_recv_timeout(Duration::from_millis(50));
            assert!(matches!(timed_out, Err(TryRecvError::Empty)), "{timed_out:?}");
            let _ = receiver.try_recv();
        }
        if bound > 0 {
            // The flood takes up the room of the socket, so that a sender waits for it.
            let sending = thread::spawn(move || (0..100).for_each(|n| sender.send(n).unwrap()));
            for number in 0..100 {
                assert_eq!(receiver.recv_timeout(LONG).unwrap(), number);
            }
            sending.join().unwrap();
        } else {
            let sending = thread::spawn(move || sender.send(9));
            assert_eq!(receiver.recv_timeout(LONG).unwrap(), 9);
            sending.join().unwrap().unwrap();
        }
        drop(receiver);
        notifying.join().unwrap();
    }
}

/// A message may take many packets, and a peer can send as many that are none.
#[test]
fn c2_packets_that_are_no_notification_issue_no_permits() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::sync_channel::<u32>(1).unwrap();
    let permits = permits_of(&sender);
    rustix::io::read(&permits, &mut [0; 8]).unwrap();
    let wake_up = raw::packet(Kind::WakeUp, 0, &[]);
    let floods = Flood::of_packets(&sender, &wake_up, usize::MAX, &Arc::default());
    for _ in 0..3 {
        let received = receiver.try_recv_timeout(Duration::from_millis(150));
        assert!(matches!(received, Err(TryRecvError::Empty)), "{received:?}");
    }
    drop(floods);
    assert_eq!(rustix::io::read(&permits, &mut [0; 8]), Err(Errno::AGAIN));
}

/// Also if a ring has to be looked at, and though a sender has taken the only permit and
/// sends nothing.
#[test]
fn c2_a_flood_of_notifications_does_not_keep_permits_from_being_issued() {
    const MOST: usize = 1_000_000;
    let _watchdog = harness::watchdog();
    for (bound, has_ring) in [(0, false), (0, true), (1, false), (1, true)] {
        for (way, receive) in ways::<u32>() {
            let (sender, receiver) = ipc::sync_channel::<u32>(bound).unwrap();
            let permits = permits_of(&sender);
            let mut ring = RawRing::new();
            if has_ring {
                ring.offer(&sender, true);
                ring.write(ring::MESSAGE, now(), &7_u32.to_le_bytes());
                ring.publish();
                assert_eq!(receiver.recv().unwrap(), 7);
            }
            while rustix::io::read(&permits, &mut [0; 8]).is_ok() {}
            let request = raw::packet(Kind::PermitRequest, 0, &[]);
            let sent = Arc::default();
            let floods = Flood::of_packets(&sender, &request, MOST, &sent);
            thread::scope(|scope| {
                while raw::is_writable(&sender) {
                    thread::yield_now();
                }
                let receiving = scope.spawn(move || receive(receiver)());
                rustix::event::poll(&mut [PollFd::new(&permits, PollFlags::IN)], None).unwrap();
                let sent = sent.load(Ordering::Relaxed);
                drop(floods);
                sender.send(1).unwrap();
                assert_eq!(receiving.join().unwrap(), Next::Value(1));
                assert!(sent < MOST, "{way} with a bound of {bound}, with a ring: {has_ring}");
            });
        }
    }
}

/// Sends a notification as a sender that waits for a permit, and never sends a message.
fn send_notification(sender: &IpcSyncSender<u32>) {
    let request = raw::packet(Kind::PermitRequest, 0, &[]);
    let _ = raw::send(sender, &request, &[]);
}

/// The wait for a sender that has accepted is part of the caller's timeout.
#[test]
fn c7_sender_that_accepts_a_rendezvous_and_sends_nothing_prolongs_no_timeout() {
    const ROUNDS: u32 = 100;
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::sync_channel::<u32>(0).unwrap();
    let permits = permits_of(&sender);
    let (stop, stopped) = mpsc::channel::<()>();
    let accepting = thread::spawn(move || {
        while stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {
            let mut fds = [PollFd::new(&permits, PollFlags::IN)];
            let timeout = rustix::event::Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
            rustix::event::poll(&mut fds, Some(&timeout)).unwrap();
            let _ = rustix::io::read(&permits, &mut [0; 8]);
        }
    });
    let since = Instant::now();
    for _ in 0..ROUNDS {
        send_notification(&sender);
        let timed_out = receiver.try_recv_timeout(Duration::from_millis(2));
        assert!(matches!(timed_out, Err(TryRecvError::Empty)));
    }
    // Each wait would be 100 ms.
    assert!(since.elapsed() < ROUNDS * Duration::from_millis(50), "{:?}", since.elapsed());
    drop(stop);
    accepting.join().unwrap();
    let sending = thread::spawn(move || sender.send(1));
    assert_eq!(receiver.recv_timeout(LONG).unwrap(), 1);
    sending.join().unwrap().unwrap();
}

/// The set waits for all of them together, and less and less often.
#[test]
fn c7_notifications_without_messages_delay_no_selection() {
    const MEMBERS: u32 = 50;
    const ROUNDS: u32 = 100;
    let _watchdog = harness::watchdog();
    let mut set = ipc::IpcReceiverSet::new().unwrap();
    let (honest, receiver) = ipc::channel::<u32>().unwrap();
    let id = set.add(receiver).unwrap();
    let senders: Vec<_> = (0..MEMBERS)
        .map(|_| {
            let (sender, receiver) = ipc::sync_channel::<u32>(0).unwrap();
            set.add(receiver).unwrap();
            sender
        })
        .collect();
    let since = Instant::now();
    for number in 0..ROUNDS {
        senders.iter().for_each(send_notification);
        honest.send(number).unwrap();
        let results = set.select().unwrap();
        let [result] = <[_; 1]>::try_from(results).unwrap();
        let (from, message) = result.unwrap();
        assert_eq!((from, message.to::<u32>().unwrap()), (id, number));
        senders.iter().for_each(send_notification);
        assert!(matches!(set.try_select(), Err(TrySelectError::Empty)));
    }
    // Member by member, each wait would be up to half a second.
    assert!(since.elapsed() < ROUNDS * Duration::from_millis(50), "{:?}", since.elapsed());
    // One of the senders sends.
    let sender = senders[7].clone();
    let sending = thread::spawn(move || sender.send(1));
    let results = set.select().unwrap();
    assert_eq!(results.len(), 1);
    sending.join().unwrap().unwrap();
}

/// The receiver of an unbounded channel ignores notifications.
#[test]
fn c7_notifications_to_an_unbounded_channel_are_ignored() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::channel::<u32>().unwrap();
    let request = raw::packet(Kind::PermitRequest, 0, &[]);
    raw::send(&sender, &request, &[]).unwrap();
    assert!(matches!(receiver.try_recv(), Err(TryRecvError::Empty)));
    raw::send(&sender, &request, &[]).unwrap();
    let timed_out = receiver.try_recv_timeout(Duration::from_millis(20));
    assert!(matches!(timed_out, Err(TryRecvError::Empty)));
    raw::send(&sender, &request, &[]).unwrap();
    sender.send(1).unwrap();
    assert_eq!(receiver.recv().unwrap(), 1);
}

/// The sender is the known one, but the permit descriptor is another.
#[test]
fn c7_forged_permits_do_not_replace_those_of_a_known_sender() {
    let _watchdog = harness::watchdog();
    for (forged_rendezvous, bound) in [(false, 2), (true, 2), (false, 0)] {
        let (sender, receiver) = ipc::sync_channel::<u32>(bound).unwrap();
        let (carrier, carried) = ipc::channel::<IpcSyncSender<u32>>().unwrap();
        carrier.send_ref(&sender).unwrap();
        carrier.send(sender).unwrap();
        let carried = OwnedFd::try_from(carried).unwrap();
        let socket = raw::received_fds(&carried).remove(0);
        let no_permits = no_permits();
        let forged = bounded_sender(forged_rendezvous);
        let fds = [socket.as_fd(), no_permits.as_fd()];
        let forged: IpcSyncSender<u32> = send_one_of(&forged, &fds).unwrap();
        assert!(matches!(forged.try_send(&1), Err(TrySendError::Full)));
        let carried = IpcReceiver::<IpcSyncSender<u32>>::try_from(carried).unwrap();
        let honest = carried.recv().unwrap();
        let receiving = thread::spawn(move || receiver.recv_timeout(LONG).unwrap());
        honest.send(2).unwrap();
        assert_eq!(receiving.join().unwrap(), 2);
    }
}

#[test]
fn c7_messages_of_a_moved_receiver_are_sorted_in_linear_time() {
    const MANY: u64 = 500_000;
    let _watchdog = harness::watchdog();
    let (_other_end, socket) = packet_pair();
    // The worst order of stamps, and some in the future.
    let spool = (0..MANY).rev().flat_map(|stamp| {
        let number = stamp as u32;
        let stamp = if stamp < 3 { u64::MAX - stamp } else { stamp };
        let kind = [3_u32.to_le_bytes(), 0_u32.to_le_bytes()].concat();
        let stamp = u128::from(stamp).to_le_bytes();
        let len = 4_u64.to_le_bytes();
        [&kind[..], &stamp, &[0; 16], &len, &number.to_le_bytes()].concat()
    });
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file = File::from(memfd_create("spool", flags).unwrap());
    file.write_all(&spool.collect::<Vec<_>>()).unwrap();
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
    fcntl_add_seals(&file, seals).unwrap();
    let body = table::with(&table::number(0), &[table::receiver_with_spool_beside()]);
    let receiver: IpcReceiver<u32> = send_one_of(&body, &[socket.as_fd(), file.as_fd()]).unwrap();
    // Stamps in the future are of another clock: those messages come last, in their order.
    for number in (3..MANY as u32).chain([2, 1, 0]) {
        assert_eq!(receiver.recv().unwrap(), number);
    }
}
