//! What others do to the permits of a bounded channel.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::thread;
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::pipe::{PipeFlags, pipe_with};
use strait::handle::Handle;
use strait::ipc::{self, IpcReceiver, IpcSyncSender};
use strait::{IpcError, TryRecvError, TrySendError};

use crate::harness::raw::{self, Canary};
use crate::{assert_refused, harness, packet_pair, send_one_of};

const LONG: Duration = Duration::from_secs(60);

fn pipe() -> (OwnedFd, OwnedFd) {
    pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap()
}

/// The encoded form of a sender that is object 0 and takes permits from object 1.
fn bounded_sender(is_rendezvous: bool) -> Vec<u8> {
    let permits = [&[1][..], &1_u32.to_le_bytes(), &[u8::from(is_rendezvous)]].concat();
    [&0_u32.to_le_bytes()[..], &permits].concat()
}

/// The encoded form of a receiver that is object 0 and issues permits into these.
fn bounded_receiver(indices: &[u32], bound: u64, surplus: u64) -> Vec<u8> {
    // No messages, rings or options.
    let mut body = vec![0; 4 + 17 + 16];
    body.push(1);
    body.extend((indices.len() as u64).to_le_bytes());
    indices.iter().for_each(|index| body.extend(index.to_le_bytes()));
    body.extend(bound.to_le_bytes());
    body.extend(surplus.to_le_bytes());
    body
}

/// The descriptor that a sender takes permits from.
fn permits_of(sender: &IpcSyncSender<u32>) -> OwnedFd {
    type Parts = (Handle<OwnedFd>, Option<(Handle<OwnedFd>, bool)>);
    let (carrier, carried) = ipc::channel::<IpcSyncSender<u32>>().unwrap();
    carrier.send_ref(sender).unwrap();
    let (_, permits) = carried.to_opaque().to::<Parts>().recv().unwrap();
    permits.unwrap().0.into_inner()
}

#[test]
fn c7_what_is_no_place_for_permits_is_refused() {
    let _watchdog = harness::watchdog();
    let (canary, canary_fd) = Canary::new();
    let (socket, _other_end) = packet_pair();
    let (read, write) = pipe();
    let (other_read, _other_write) = pipe();
    let (packets, packets_end) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::DIRECT).unwrap();
    let file = File::open("/dev/null").unwrap();
    let wrong = [canary_fd.as_fd(), socket.as_fd(), write.as_fd(), file.as_fd()];
    for (index, wrong) in wrong.into_iter().enumerate() {
        for is_rendezvous in [false, true] {
            let fds = [socket.as_fd(), wrong];
            let sender = send_one_of::<IpcSyncSender<u32>>(&bounded_sender(is_rendezvous), &fds);
            assert!(matches!(sender, Err(IpcError::SerializationError(_))), "{index}");
        }
    }
    for (what, indices, fds) in [
        ("nothing", &[][..], [write.as_fd(), read.as_fd()]),
        ("one end", &[1], [write.as_fd(), read.as_fd()]),
        ("the other end", &[2], [write.as_fd(), read.as_fd()]),
        ("the wrong way round", &[2, 1], [write.as_fd(), read.as_fd()]),
        ("one end twice", &[1, 1], [write.as_fd(), read.as_fd()]),
        ("three", &[1, 2, 0], [write.as_fd(), read.as_fd()]),
        ("itself", &[0, 2], [write.as_fd(), read.as_fd()]),
        ("two pipes", &[1, 2], [write.as_fd(), other_read.as_fd()]),
        ("packets", &[1, 2], [packets_end.as_fd(), packets.as_fd()]),
        ("a file", &[1, 2], [file.as_fd(), read.as_fd()]),
        ("what is not there", &[1, 9], [write.as_fd(), read.as_fd()]),
    ] {
        let body = bounded_receiver(indices, 3, 0);
        let received = send_one_of::<IpcReceiver<u32>>(&body, &[socket.as_fd(), fds[0], fds[1]]);
        assert!(matches!(received, Err(IpcError::SerializationError(_))), "{what}: {received:?}");
    }
    assert_refused(send_one_of::<IpcSyncSender<u32>>(&bounded_sender(false), &[socket.as_fd()]));
    drop(canary_fd);
    canary.wait_until_closed();
}

#[test]
fn c7_forged_bounds_are_harmless() {
    let _watchdog = harness::watchdog();
    for (bound, surplus) in [(0, 0), (1, 0), (u64::MAX, 0), (3, u64::MAX), (u64::MAX, u64::MAX)] {
        let (a, b) = packet_pair();
        let (read, write) = pipe();
        let fds = [b.as_fd(), write.as_fd(), read.as_fd()];
        let body = bounded_receiver(&[1, 2], bound, surplus);
        let receiver = send_one_of::<IpcReceiver<String>>(&body, &fds).unwrap();
        drop(b);
        for _ in 0..10 {
            raw::send(&a, &raw::message(0, &raw::encoded("text")), &[]).unwrap();
            assert_eq!(receiver.recv().unwrap(), "text");
            assert!(matches!(receiver.try_recv(), Err(TryRecvError::Empty)));
        }
        // And it moves on.
        let (carrier, carried) = ipc::channel().unwrap();
        carrier.send(receiver).unwrap();
        let receiver: IpcReceiver<String> = carried.recv().unwrap();
        drop(a);
        assert!(matches!(receiver.recv(), Err(IpcError::Disconnected)));
    }
}

/// Whoever holds an end may clear the flag that keeps its users from waiting, and may fill the pipe.
#[test]
fn c7_no_flag_makes_anybody_wait() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::sync_channel::<u32>(2).unwrap();
    let permits = permits_of(&sender);
    rustix::fs::fcntl_setfl(&permits, OFlags::empty()).unwrap();
    sender.try_send(&1).unwrap();
    sender.try_send(&2).unwrap();
    assert!(matches!(sender.try_send(&3), Err(TrySendError::Full)));
    let timed_out = sender.send_timeout(&3, Duration::from_millis(5));
    assert!(matches!(timed_out, Err(TrySendError::Full)));

    // The file can be opened for writing by those who may see it.
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&permits));
    let forger =
        rustix::fs::open(path, OFlags::WRONLY | OFlags::NONBLOCK, rustix::fs::Mode::empty());
    let forger = forger.unwrap();
    while rustix::io::write(&forger, &[0; 4096]).is_ok() {}
    assert_eq!(receiver.recv().unwrap(), 1);
    assert_eq!(receiver.recv().unwrap(), 2);
    for number in 3..100 {
        sender.try_send(&number).unwrap();
        assert_eq!(receiver.recv().unwrap(), number);
    }
    // Nor does one who keeps it open let those wait for ever who wait for a receiver that is gone.
    let mut taken = [0; 1 << 17];
    while rustix::io::read(&permits, &mut taken).is_ok_and(|taken| taken == 1 << 16) {}
    drop(receiver);
    assert!(matches!(sender.send(7), Err(IpcError::Disconnected)));
}

#[test]
fn c7_who_cries_for_permits_gets_none_but_those_that_are_missing() {
    let _watchdog = harness::watchdog();
    for bound in [0, 1, 3] {
        let (sender, receiver) = ipc::sync_channel::<u32>(bound).unwrap();
        let want = raw::packet(strait::internals::frame::Kind::Want, 0, &[]);
        let crying = {
            let sender = sender.clone();
            thread::spawn(move || while raw::send(&sender, &want, &[]).is_ok() {})
        };
        // It is heard, and that is all: timeouts hold, and messages pass.
        for _ in 0..3 {
            let timed_out = receiver.try_recv_timeout(Duration::from_millis(50));
            assert!(matches!(timed_out, Err(TryRecvError::Empty)), "{timed_out:?}");
            let _ = receiver.try_recv();
        }
        if bound > 0 {
            (0..bound as u32).for_each(|number| sender.try_send(&number).unwrap());
            assert!(matches!(sender.try_send(&0), Err(TrySendError::Full)));
            for number in 0..bound as u32 {
                assert_eq!(receiver.recv_timeout(LONG).unwrap(), number);
            }
        } else {
            let sending = thread::spawn(move || sender.send(9));
            assert_eq!(receiver.recv_timeout(LONG).unwrap(), 9);
            sending.join().unwrap().unwrap();
        }
        drop(receiver);
        crying.join().unwrap();
    }
}

/// A receiver without a bound has no ear for it.
#[test]
fn c7_who_cries_for_permits_where_there_are_none_is_not_heard() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::channel::<u32>().unwrap();
    let want = raw::packet(strait::internals::frame::Kind::Want, 0, &[]);
    raw::send(&sender, &want, &[]).unwrap();
    assert!(matches!(receiver.try_recv(), Err(TryRecvError::Empty)));
    raw::send(&sender, &want, &[]).unwrap();
    let timed_out = receiver.try_recv_timeout(Duration::from_millis(20));
    assert!(matches!(timed_out, Err(TryRecvError::Empty)));
    raw::send(&sender, &want, &[]).unwrap();
    sender.send(1).unwrap();
    assert_eq!(receiver.recv().unwrap(), 1);
}

/// The sender is the same, and its permits are not.
#[test]
fn c7_nobody_passes_off_others_permits_as_those_of_a_channel() {
    type Parts = (Handle<OwnedFd>, Option<(Handle<OwnedFd>, bool)>);
    let _watchdog = harness::watchdog();
    for (forged_rendezvous, bound) in [(false, 2), (true, 2), (false, 0)] {
        let (sender, receiver) = ipc::sync_channel::<u32>(bound).unwrap();
        let (carrier, carried) = ipc::channel::<IpcSyncSender<u32>>().unwrap();
        carrier.send_ref(&sender).unwrap();
        carrier.send(sender).unwrap();
        let carried = carried.to_opaque().to::<Parts>();
        let (socket, _) = carried.recv().unwrap();
        let (no_permits, _keeps_it_open) = pipe();
        let forged = bounded_sender(forged_rendezvous);
        let fds = [socket.as_fd(), no_permits.as_fd()];
        let forged: IpcSyncSender<u32> = send_one_of(&forged, &fds).unwrap();
        assert!(matches!(forged.try_send(&1), Err(TrySendError::Full)));
        let honest: IpcSyncSender<u32> = carried.to_opaque().to().recv().unwrap();
        let receiving = thread::spawn(move || receiver.recv_timeout(LONG).unwrap());
        honest.send(2).unwrap();
        assert_eq!(receiving.join().unwrap(), 2);
    }
}

#[test]
fn c7_what_a_receiver_brings_along_is_soon_put_in_order() {
    type Empty = Vec<u32>;
    type Waiting = (u64, Vec<u8>, Empty);
    type Parts = (Handle<OwnedFd>, Empty, Empty, Empty, Vec<Waiting>, Option<()>, Option<()>);
    const MANY: u64 = 500_000;
    let _watchdog = harness::watchdog();
    let (_other_end, socket) = packet_pair();
    // The worst of orders, and some from the future.
    let waiting = (0..MANY).rev().map(|stamp| {
        let number = stamp as u32;
        let stamp = if stamp < 3 { u64::MAX - stamp } else { stamp };
        (stamp, number.to_le_bytes().to_vec(), vec![])
    });
    let parts =
        (Handle::from(socket), vec![], vec![], vec![], waiting.collect::<Vec<_>>(), None, None);
    let (carrier, carried) = ipc::channel::<Parts>().unwrap();
    let carried = carried.to_opaque().to::<IpcReceiver<u32>>();
    let sending = thread::spawn(move || carrier.send(parts).unwrap());
    let receiver = carried.recv().unwrap();
    sending.join().unwrap();
    // Nobody can be sure of what is from the future, so it comes first, as it was.
    for number in [2, 1, 0].into_iter().chain(3..MANY as u32) {
        assert_eq!(receiver.recv().unwrap(), number);
    }
}
