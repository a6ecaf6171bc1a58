//! The Unix backend: the common cases, and those of file descriptors.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType};
use strait::internals::contract::{
    Attachment as _, Listener as _, Memory as _, MemoryWriter as _, PacketReceiver as _,
    PacketSender as _, Poller as _,
};
use strait::internals::unix as backend;
use strait::internals::{ReceiveBuffers, RecvError, SendError, ServerName, Wait};

use self::backend::{
    Attachment, Listener, Memory, MemoryWriter, PacketReceiver, PacketSender, Poller,
};

#[path = "cases/mod.rs"]
mod cases;

use crate::harness::{self, alone, handles, handles_besides, watchdog};

/// A receiver, and the raw socket of its peer.
fn receiver_and_peer() -> (PacketReceiver, OwnedFd) {
    let (peer, ours) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .unwrap();
    (PacketReceiver::from(ours), peer)
}

fn recv(
    receiver: &PacketReceiver,
    wait: Wait,
) -> Result<strait::internals::ReceivedPacket, RecvError> {
    cases::receive(receiver, &mut Vec::new(), wait).map(|(arrival, _)| arrival)
}

#[test]
fn an_oversized_packet_is_reported_and_not_an_error() {
    let _watchdog = watchdog();
    let (receiver, peer) = receiver_and_peer();
    rustix::net::sockopt::set_socket_send_buffer_size(&peer, 1 << 20).unwrap();
    let oversized = vec![1; backend::MAX_RECEIVED_PACKET_BYTES + 1];
    match rustix::net::send(&peer, &oversized, SendFlags::NOSIGNAL) {
        Ok(_) => assert!(recv(&receiver, Wait::Forever).unwrap().truncated),
        // The administrator allows no buffer that large, so no peer can send it.
        Err(errno) => assert_eq!(errno, rustix::io::Errno::MSGSIZE),
    }
    rustix::net::send(&peer, b"x", SendFlags::NOSIGNAL).unwrap();
    assert_eq!(recv(&receiver, Wait::Forever).unwrap().len, 1);
}

#[test]
fn empty_packet_is_not_disconnection() {
    let _watchdog = watchdog();
    let (receiver, peer) = receiver_and_peer();
    for _ in 0..2 {
        rustix::net::send(&peer, b"", SendFlags::NOSIGNAL).unwrap();
        assert_eq!(recv(&receiver, Wait::Never).unwrap().len, 0);
    }
    rustix::net::send(&peer, b"", SendFlags::NOSIGNAL).unwrap();
    rustix::net::send(&peer, b"x", SendFlags::NOSIGNAL).unwrap();
    drop(peer);
    assert_eq!(recv(&receiver, Wait::Forever).unwrap().len, 0);
    assert_eq!(recv(&receiver, Wait::Forever).unwrap().len, 1);
    let end = recv(&receiver, Wait::Forever);
    assert!(matches!(end, Err(RecvError::Closed)), "{end:?}");
}

#[test]
fn a_packet_beyond_the_socket_buffer_is_too_large_and_the_attachments_come_back() {
    let _watchdog = watchdog();
    let (sender, receiver) = backend::channel().unwrap();
    rustix::net::sockopt::set_socket_send_buffer_size(sender.as_fd(), 4096).unwrap();
    let attachment = Attachment::from_memory(&Memory::new(1).unwrap());
    let (error, unsent) =
        sender.send(b"x", &[0; 100_000], vec![attachment], Wait::Never).unwrap_err();
    assert!(matches!(error, SendError::TooLarge), "{error:?}");
    assert_eq!(unsent.len(), 1);
    sender.send(b"x", &[0; 100], unsent, Wait::Never).unwrap();
    assert_eq!(recv(&receiver, Wait::Forever).unwrap().len, 101);
}

#[test]
fn nonblocking_mode_of_the_shared_description_changes_nothing() {
    let _watchdog = watchdog();
    let (sender, receiver) = backend::channel().unwrap();
    rustix::io::ioctl_fionbio(sender.as_fd(), true).unwrap();
    rustix::io::ioctl_fionbio(receiver.as_fd(), true).unwrap();
    let thread = std::thread::spawn(move || {
        for _ in 0..5000 {
            sender.send(&[0; 500], &[], Vec::new(), Wait::Forever).unwrap();
        }
    });
    for _ in 0..5000 {
        assert_eq!(recv(&receiver, Wait::Forever).unwrap().len, 500);
    }
    thread.join().unwrap();
    assert!(matches!(recv(&receiver, Wait::Forever), Err(RecvError::Closed)));
}

/// An exposed file descriptor keeps its number when its receiver is moved, and does not keep
/// the channel connected.
#[test]
fn exposed_descriptor_keeps_its_number() {
    use std::os::fd::AsRawFd;

    let _watchdog = watchdog();
    let (sender, receiver) = backend::channel().unwrap();
    let mut receiver = receiver;
    assert!(receiver.lend() && receiver.lend());
    let number = receiver.lent().as_raw_fd();
    let again = receiver.lent().try_clone_to_owned().unwrap();
    assert!(!is_readable(&again));
    let (mut receiver, remains) = receiver.take_apart().unwrap();
    assert!(is_readable(&again) && !receiver.is_lent());
    // A receiver that comes back has the same number, and can be moved again.
    receiver.restore(remains);
    assert_eq!(receiver.lent().as_raw_fd(), number);
    receiver.show(false, true);
    assert!(!is_readable(&again));
    sender.send(b"x", b"", Vec::new(), Wait::Never).unwrap();
    assert!(is_readable(&again));
    assert_eq!(recv(&receiver, Wait::Forever).unwrap().len, 1);
    assert!(!is_readable(&again));
    receiver.show(true, false);
    assert!(is_readable(&again) && receiver.is_showing());
    // An edge-triggered epoll reports what is new, as it reports each packet, and nothing else.
    let epoll = epoll::create(CreateFlags::CLOEXEC).unwrap();
    epoll::add(&epoll, &again, EventData::new_u64(0), EventFlags::IN | EventFlags::ET).unwrap();
    let changes = || {
        let mut events = [MaybeUninit::uninit(); 2];
        epoll::wait(&epoll, &mut events, Some(&Timespec::default())).unwrap().0.len()
    };
    assert_eq!((changes(), changes()), (1, 0));
    receiver.show(true, false);
    assert_eq!(changes(), 0);
    receiver.show(true, true);
    assert_eq!((changes(), changes()), (1, 0));
    sender.send(b"x", b"", Vec::new(), Wait::Never).unwrap();
    assert_eq!((changes(), changes()), (1, 0));
    receiver.show(false, false);
    assert_eq!(changes(), 0);
    let (receiver, remains) = receiver.take_apart().unwrap();
    drop(receiver);
    let result = sender.send(b"x", b"", Vec::new(), Wait::Never);
    assert!(matches!(result, Err((SendError::Closed, _))));
    assert!(is_readable(&again));
    drop(remains);
}

/// One file descriptor is kept in reserve for such a packet; the next packet waits until
/// another is free.
#[test]
fn a_vital_packet_waits_in_the_socket_while_there_is_no_descriptor() {
    alone("unix::a_vital_packet_waits_in_the_socket_while_there_is_no_descriptor", || {
        use std::io;

        use rustix::process::{Resource, getrlimit, setrlimit};

        let (sender, receiver) = backend::channel().unwrap();
        for _ in 0..2 {
            let attachment = Attachment::from_memory(&Memory::new(1).unwrap());
            sender.send(b"vital", &[], vec![attachment], Wait::Never).unwrap();
        }
        let mut limits = getrlimit(Resource::Nofile);
        limits.current = Some(100);
        setrlimit(Resource::Nofile, limits).unwrap();
        let another = || io::stdin().as_fd().try_clone_to_owned();
        let taken: Vec<OwnedFd> = std::iter::from_fn(|| another().ok()).collect();
        let mut attachments = Vec::new();
        let mut receive = || {
            let buffers =
                ReceiveBuffers { head: &mut [0; 5], body: &mut Vec::new(), rest: &mut Vec::new() };
            receiver.recv(buffers, &mut attachments, Wait::Never, |start| start == b"vital")
        };
        assert!(!receive().unwrap().attachments_lost);
        for _ in 0..3 {
            let result = receive();
            assert!(matches!(result, Err(RecvError::Io(_))), "{result:?}");
        }
        drop(taken);
        assert!(!receive().unwrap().attachments_lost);
        let result = receive();
        assert!(matches!(result, Err(RecvError::Empty)), "{result:?}");
        assert_eq!(attachments.len(), 2);
    });
}

fn is_readable(fd: impl AsFd) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)];
    rustix::event::poll(&mut fds, Some(&Timespec::default())).unwrap() > 0
}

/// Checks that `make` opens so many handles, all with CLOEXEC, and that none is left
/// after the drop.
#[track_caller]
fn costs<T>(expected: usize, make: impl Fn() -> T) {
    let before = handles();
    let made = make();
    let new = handles_besides(&before);
    assert_eq!(new.len(), expected, "{new:#?}");
    assert!(new.iter().all(|handle| handle.closes_on_exec), "{new:#?}");
    drop(made);
    assert_eq!(handles(), before);
}

#[test]
fn handles_are_closed_on_exec_and_on_drop_and_none_is_superfluous() {
    alone("unix::handles_are_closed_on_exec_and_on_drop_and_none_is_superfluous", || {
        // A process that receives keeps one in reserve from then on.
        drop(backend::channel().unwrap());
        costs(2, || backend::channel().unwrap());
        // The epoll instance of the receiver, and an event that makes it ready when there is
        // no packet.
        costs(4, || {
            let (sender, mut receiver) = backend::channel().unwrap();
            assert!(receiver.lend());
            (sender, receiver)
        });
        costs(2, || {
            let (sender, mut receiver) = backend::channel().unwrap();
            assert!(receiver.lend());
            receiver.recall();
            (sender, receiver)
        });
        costs(1, || Memory::new(10_000).unwrap());
        costs(1, || {
            let memory = Memory::new(10_000).unwrap();
            (memory.clone(), memory.clone(), memory)
        });
        costs(1, || Memory::from_bytes(&[1; 10_000]).unwrap());
        costs(1, || {
            let writer = MemoryWriter::new(10_000).unwrap();
            (writer.reader().unwrap(), writer.reader().unwrap(), writer.clone(), writer)
        });
        costs(1, || Poller::new().unwrap());
        // The listener, and one handle in reserve for a full descriptor table.
        costs(2, || Listener::bind().unwrap());
        costs(4, || {
            let (listener, name) = Listener::bind().unwrap();
            let client = backend::connect(&name).unwrap();
            let server_end = listener.accept(Wait::Forever).unwrap();
            (listener, client, server_end)
        });
        // And the lock of a name that is a path.
        let path = std::env::temp_dir().join(format!("strait-costs-{}", std::process::id()));
        costs(3, || Listener::bind_named(&ServerName::Path(path.clone())).unwrap());
        costs(2, || Listener::bind_named(&ServerName::Abstract("strait-costs".into())).unwrap());
        // Received handles have CLOEXEC, too.
        let (sender, receiver) = backend::channel().unwrap();
        costs(3, || {
            let (passed_sender, passed_receiver) = backend::channel().unwrap();
            let attachments = vec![
                Attachment::from_sender(Arc::new(passed_sender)),
                Attachment::from_receiver(passed_receiver),
                Attachment::from_memory(&Memory::new(1).unwrap()),
            ];
            sender.send(b"x", b"", attachments, Wait::Never).unwrap();
            let mut attachments = Vec::new();
            cases::receive(&receiver, &mut attachments, Wait::Forever).unwrap();
            attachments
        });
    });
}

/// Nothing of a name is left in the file system.
#[test]
fn a_listener_leaves_no_file() {
    let _watchdog = watchdog();
    let (listener, name) = Listener::bind().unwrap();
    let directory = std::path::Path::new(&name).parent().unwrap().to_path_buf();
    assert!(directory.exists());
    drop(listener);
    assert!(!directory.exists());
}

/// Signals arrive all the time, with a handler without `SA_RESTART`.
#[test]
fn signals_neither_shorten_nor_fail_a_wait() {
    alone("unix::signals_neither_shorten_nor_fail_a_wait", || {
        use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
        use std::time::{Duration, Instant};

        let interrupted = harness::interrupted_thread();
        static OVER: AtomicBool = AtomicBool::new(false);
        static SENT: AtomicU32 = AtomicU32::new(0);
        let storm = std::thread::spawn(move || {
            while !OVER.load(Ordering::Relaxed) {
                interrupted.interrupt();
                SENT.fetch_add(1, Ordering::Relaxed);
                std::thread::yield_now();
            }
        });
        let (sender, receiver) = backend::channel().unwrap();
        let mut poller = Poller::new().unwrap();
        let (listener, name) = Listener::bind().unwrap();
        for _ in 0..20 {
            let deadline = Instant::now() + Duration::from_micros(5300);
            let result = recv(&receiver, Wait::Until(deadline));
            assert!(matches!(result, Err(RecvError::Empty)), "{result:?}");
            assert!(Instant::now() >= deadline);
            let deadline = Instant::now() + Duration::from_micros(5300);
            let mut ready = std::collections::VecDeque::new();
            poller.wait(Wait::Until(deadline), &mut ready).unwrap();
            assert!(Instant::now() >= deadline);
            let deadline = Instant::now() + Duration::from_micros(5300);
            let result = listener.accept(Wait::Until(deadline));
            assert!(matches!(result, Err(RecvError::Empty)));
            assert!(Instant::now() >= deadline);
        }
        // Without a timeout: each wait is interrupted by ever more signals.
        let later = |what: Box<dyn FnOnce() + Send>| {
            let seen = SENT.load(Ordering::Relaxed);
            std::thread::spawn(move || {
                while SENT.load(Ordering::Relaxed) < seen + 200 {
                    std::thread::yield_now();
                }
                what();
            })
        };
        let sending =
            later(Box::new(move || sender.send(b"x", b"", Vec::new(), Wait::Never).unwrap()));
        assert_eq!(recv(&receiver, Wait::Forever).unwrap().len, 1);
        assert!(matches!(recv(&receiver, Wait::Forever), Err(RecvError::Closed)));
        sending.join().unwrap();
        let connecting = later(Box::new(move || drop(backend::connect(&name).unwrap())));
        drop(listener.accept(Wait::Forever).unwrap());
        connecting.join().unwrap();
        OVER.store(true, Ordering::Relaxed);
        storm.join().unwrap();
    });
}

/// Makes this thread a user of its own without privileges. The kernel limits the file
/// descriptors that it has in flight to as many as the process may have open.
fn become_unprivileged() {
    use rustix::process::{Gid, Resource, Rlimit, Uid, setrlimit};

    setrlimit(Resource::Nofile, Rlimit { current: Some(64), maximum: Some(64) }).unwrap();
    let id = 50_000 + std::process::id() % 5000;
    let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
    // A process that may not do this has no privileges either.
    let _ = rustix::thread::set_thread_res_gid(gid, gid, gid);
    let _ = rustix::thread::set_thread_res_uid(uid, uid, uid);
}

#[test]
fn attachments_beyond_the_limit_on_descriptors_in_flight_come_back() {
    alone("unix::attachments_beyond_the_limit_on_descriptors_in_flight_come_back", || {
        become_unprivileged();
        let memory = Memory::new(3).unwrap();
        let attachments = || (0..20).map(|_| Attachment::from_memory(&memory)).collect::<Vec<_>>();
        let (hoard, hoarded) = backend::channel().unwrap();
        let mut sent = 0;
        while hoard.send(b"x", b"", attachments(), Wait::Never).is_ok() {
            sent += 1;
            assert!(sent < 100, "this user has privileges");
        }
        let (sender, receiver) = backend::channel().unwrap();
        let mut unsent = attachments();
        let soon = std::time::Instant::now() + std::time::Duration::from_millis(50);
        for wait in [Wait::Never, Wait::Until(soon), Wait::Never] {
            let result = sender.send(b"x", b"", unsent, wait);
            let Err((SendError::TooManyInFlight, back)) = result else { panic!("{result:?}") };
            unsent = back;
            assert_eq!(unsent.len(), 20);
        }
        assert!(std::time::Instant::now() >= soon);
        // Past the limit of the socket they do not wait either.
        let result = sender.send_past_limit(b"x", b"", unsent);
        let Err((SendError::TooManyInFlight, unsent)) = result else { panic!("{result:?}") };
        // A packet without attachments does not count.
        sender.send(b"x", b"", Vec::new(), Wait::Never).unwrap();

        // A blocked send is sent once others were received ...
        let waiting = std::thread::spawn(move || {
            become_unprivileged();
            sender.send(b"x", b"", unsent, Wait::Forever).map_err(|(error, _)| error).unwrap();
            sender
        });
        for _ in 0..sent {
            recv(&hoarded, Wait::Forever).unwrap();
        }
        let sender = waiting.join().unwrap();
        // ... and fails when the receiver is dropped.
        while hoard.send(b"x", b"", attachments(), Wait::Never).is_ok() {}
        let waiting = std::thread::spawn(move || {
            become_unprivileged();
            let memory = Memory::new(3).unwrap();
            let attachments = (0..20).map(|_| Attachment::from_memory(&memory)).collect();
            sender.send(b"x", b"", attachments, Wait::Forever).map_err(|(error, _)| error)
        });
        drop(receiver);
        assert!(matches!(waiting.join().unwrap(), Err(SendError::Closed)));
    });
}

/// Fills the part of the queue that is for packets that may wait.
fn fill(sender: &PacketSender) -> usize {
    (0..).take_while(|_| sender.send(&[0; 1000], b"", Vec::new(), Wait::Never).is_ok()).count()
}

fn limit(sender: &PacketSender) -> usize {
    rustix::net::sockopt::socket_send_buffer_size(sender.as_fd()).unwrap()
}

/// While the quarter for packets that may wait is full, packets that may not wait can
/// still be sent.
#[test]
fn a_quarter_of_the_queue_is_for_packets_that_may_wait() {
    let _watchdog = watchdog();
    let (sender, receiver) = backend::channel().unwrap();
    let limit_before = limit(&sender);
    let ordinary = fill(&sender);
    assert!(ordinary > 10, "{ordinary}");
    let past = (0..).take_while(|_| sender.send_past_limit(b"x", b"", Vec::new()).is_ok()).count();
    assert!(past > 100, "{past}");
    // Strait does not change the buffer size of a shared socket: that takes a lock that
    // peers can hold.
    assert_eq!(limit(&sender), limit_before);
    // All of them are received, and then there is room again.
    for _ in 0..ordinary + past {
        recv(&receiver, Wait::Never).unwrap();
    }
    assert!(matches!(recv(&receiver, Wait::Never), Err(RecvError::Empty)));
    assert_eq!(fill(&sender), ordinary);
}

/// Another holder of a sender has the lock of the socket, in the middle of a `setsockopt` whose
/// argument is never there.
#[test]
fn locked_socket_blocks_no_send() {
    let _watchdog = watchdog();
    let (sender, receiver) = backend::channel().unwrap();
    let Some(page) = crate::harness::stuck::StuckPage::new() else { return };
    page.set_filter(sender.as_fd());
    fill(&sender);
    sender.send_past_limit(b"x", b"", Vec::new()).unwrap();
    assert!(matches!(sender.send(b"x", b"", Vec::new(), Wait::Never), Err((SendError::Full, _))));
    assert!(!sender.is_closed());
    while recv(&receiver, Wait::Never).is_ok() {}
    sender.send(b"x", b"", Vec::new(), Wait::Never).unwrap();
    drop(page);
}
