//! The socket itself, which peers share: its flags, its timeouts, its end.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::net::Shutdown;
use rustix::net::sockopt::{self, Timeout};
use strait::handle::Handle;
use strait::ipc::{self, IpcReceiver};

use crate::harness;
use crate::harness::raw::{self, Canary};
use crate::harness::ways::{Next, ways};

/// A receiver, and a duplicate of its socket: `as_fd` lends another file descriptor.
fn with_socket<T>(receiver: IpcReceiver<T>) -> (IpcReceiver<T>, OwnedFd) {
    let socket = OwnedFd::try_from(receiver).unwrap();
    let theirs = socket.try_clone().unwrap();
    (IpcReceiver::try_from(socket).unwrap(), theirs)
}

/// Open file descriptions are shared: a peer that sent or received an endpoint can change the
/// flags of its description.
#[test]
fn c7_flags_that_a_peer_sets_change_nothing() {
    let _watchdog = harness::watchdog();
    for (way, receive) in ways::<String>() {
        let (sender, receiver) = ipc::channel::<String>().unwrap();
        let (receiver, socket) = with_socket(receiver);
        let theirs = [sender.as_fd().try_clone_to_owned().unwrap(), socket];
        for fd in &theirs {
            rustix::io::ioctl_fionbio(fd, true).unwrap();
            for timeout in [Timeout::Recv, Timeout::Send] {
                let millisecond = Some(Duration::from_millis(1));
                sockopt::set_socket_timeout(fd, timeout, millisecond).unwrap();
            }
            sockopt::set_socket_send_buffer_size(fd, 1).unwrap();
            sockopt::set_socket_recv_buffer_size(fd, 1).unwrap();
            sockopt::set_socket_passcred(fd, true).unwrap();
            let flags = rustix::fs::fcntl_getfl(fd).unwrap();
            rustix::fs::fcntl_setfl(fd, flags | OFlags::APPEND).unwrap();
        }
        let mut next = receive(receiver);
        let sending = thread::spawn(move || {
            let large = "x".repeat(300_000);
            for _ in 0..3 {
                // Longer than all those short timeouts.
                thread::sleep(Duration::from_millis(20));
                sender.send("small".to_string()).unwrap();
                sender.send(large.clone()).unwrap();
            }
        });
        for _ in 0..3 {
            assert_eq!(next().value(), "small", "{way}");
            assert_eq!(next().value().len(), 300_000, "{way}");
        }
        sending.join().unwrap();
        drop(theirs);
        assert_eq!(next(), Next::Closed, "{way}");
    }
}

#[test]
fn c7_timeouts_hold_whatever_flags_a_peer_sets() {
    let _watchdog = harness::watchdog();
    let (_sender, receiver) = ipc::channel::<u32>().unwrap();
    let (receiver, theirs) = with_socket(receiver);
    let timeout = Duration::from_millis(30);
    let check = || {
        let start = Instant::now();
        assert!(receiver.try_recv().unwrap_err().is_empty());
        assert!(receiver.recv_timeout(timeout).unwrap_err().is_empty());
        assert!(start.elapsed() >= timeout);
    };
    rustix::io::ioctl_fionbio(&theirs, true).unwrap();
    check();
    rustix::io::ioctl_fionbio(&theirs, false).unwrap();
    let recv = Timeout::Recv;
    sockopt::set_socket_timeout(&theirs, recv, Some(Duration::from_micros(1))).unwrap();
    check();
    sockopt::set_socket_timeout(&theirs, recv, Some(Duration::from_secs(100))).unwrap();
    check();
}

/// No process can send any more, which is what `Disconnected` means; messages that were sent
/// before come first.
#[test]
fn c7_a_sender_that_shuts_its_socket_down_disconnects() {
    let _watchdog = harness::watchdog();
    for (way, receive) in ways::<String>() {
        for how in [Shutdown::Write, Shutdown::Both] {
            let (sender, receiver) = ipc::channel::<String>().unwrap();
            sender.send("before".to_string()).unwrap();
            raw::send(&sender, &[], &[]).unwrap();
            rustix::net::shutdown(&sender, how).unwrap();
            let mut next = receive(receiver);
            assert_eq!(next(), Next::Value("before".to_string()), "{way}");
            let end = match next() {
                Next::Refused => next(),
                end => end,
            };
            assert_eq!(end, Next::Closed, "{way}, {how:?}");
            assert!(sender.send("after".to_string()).unwrap_err().is_disconnected());
        }
    }
}

#[test]
fn c7_a_receiver_that_shuts_its_socket_down_disconnects_the_senders() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::channel::<String>().unwrap();
    let (_receiver, theirs) = with_socket(receiver);
    rustix::net::shutdown(&theirs, Shutdown::Read).unwrap();
    assert!(sender.send("x".to_string()).unwrap_err().is_disconnected());
    let big = "x".repeat(1 << 20);
    assert!(sender.send(big).unwrap_err().is_disconnected());
}

/// A packet in the wrong direction is never read, and resets the connection when the sender
/// is dropped.
#[test]
fn c7_packets_from_receiver_to_sender_change_nothing() {
    let _watchdog = harness::watchdog();
    for (way, receive) in ways::<u32>() {
        let (sender, receiver) = ipc::channel::<u32>().unwrap();
        let (receiver, theirs) = with_socket(receiver);
        raw::send(&theirs, b"backwards", &[]).unwrap();
        raw::send(&theirs, &[], &[]).unwrap();
        drop(theirs);
        sender.send(1).unwrap();
        sender.send(2).unwrap();
        drop(sender);
        let mut next = receive(receiver);
        assert_eq!(next(), Next::Value(1), "{way}");
        assert_eq!(next(), Next::Value(2), "{way}");
        assert_eq!(next(), Next::Closed, "{way}");
    }
}

/// The kernel adds control messages on request, and every process that has the open file
/// description can request them. One of them is a file descriptor.
#[test]
fn c7_descriptors_that_the_kernel_adds_are_closed() {
    harness::alone(harness::path_of(c7_descriptors_that_the_kernel_adds_are_closed), || {
        for (way, receive) in ways::<u32>() {
            let (sender, receiver) = ipc::channel::<u32>().unwrap();
            if !turn_on(&receiver, libc::SO_PASSPIDFD) {
                // Before Linux 6.5 there is nothing to see here.
                return;
            }
            let mut next = receive(receiver);
            sender.send(0).unwrap();
            assert_eq!(next(), Next::Value(0), "{way}");
            let before = harness::handles();
            for number in 1..20 {
                sender.send(number).unwrap();
                assert_eq!(next(), Next::Value(number), "{way}");
            }
            assert_eq!(harness::handles(), before, "{way}");
        }
    });
}

#[test]
fn c7_control_messages_that_the_kernel_adds_displace_no_handles() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::channel::<Vec<Handle<OwnedFd>>>().unwrap();
    for option in [libc::SO_PASSCRED, libc::SO_PASSSEC, libc::SO_PASSPIDFD, libc::SO_TIMESTAMP] {
        turn_on(&receiver, option);
    }
    for handles in [1, 100, raw::MAX_FDS] {
        let (canary, fd) = Canary::new();
        let many = (0..handles).map(|_| Handle(fd.try_clone().unwrap())).collect();
        sender.send(many).unwrap();
        drop(fd);
        assert_eq!(receiver.recv().unwrap().len(), handles);
        canary.wait_until_closed();
    }
}

/// A former owner can set a socket so that a peek does not show the packet that is received.
#[test]
fn c7_peek_offset_set_by_a_former_owner_changes_nothing() {
    let _watchdog = harness::watchdog();
    for offset in [0, 1, 40, 1 << 20] {
        for (way, receive) in ways::<String>() {
            let (sender, receiver) = ipc::channel::<String>().unwrap();
            let socket = OwnedFd::try_from(receiver).unwrap();
            assert!(set(&socket, libc::SO_PEEK_OFF, offset));
            let mut next = receive(IpcReceiver::try_from(socket).unwrap());
            // More than the socket takes.
            for number in 0..500 {
                sender.send(number.to_string()).unwrap();
            }
            for number in 0..500 {
                assert_eq!(next(), Next::Value(number.to_string()), "{way}");
            }
            drop(sender);
            assert_eq!(next(), Next::Closed, "{way}");
        }
    }
}

fn turn_on(socket: impl AsFd, option: libc::c_int) -> bool {
    set(socket, option, 1)
}

/// Sets an option of a socket that rustix does not know. Returns whether the kernel knows it.
#[allow(unsafe_code)]
fn set(socket: impl AsFd, option: libc::c_int, value: libc::c_int) -> bool {
    // SAFETY: `value` is readable for the length given, which is its own.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    result == 0
}
