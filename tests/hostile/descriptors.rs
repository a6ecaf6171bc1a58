//! Descriptors of the wrong kind, memory that changes or disappears, and more descriptors than
//! there is room for (C7).

use std::env;
use std::fs::{self, File};
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process;
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::pipe::PipeFlags;
use strait::handle::Handle;
use strait::internals::frame::{Kind, Position};
use strait::ipc::{
    self, IpcError, IpcReceiver, IpcReceiverSet, IpcSelectionResult, IpcSender, IpcSharedMemory,
    SharedMemoryReader, SharedMemoryWriter,
};

use super::attachments::{
    a_handle, a_receiver, a_sender, fixed, memfd, memory_with, reader_of, sealed_memory, writer_of,
    written_memory,
};
use crate::harness::fork::fork;
use crate::harness::raw::{self, Canary};
use crate::harness::table::{self};
use crate::harness::ways::{Next, ways};
use crate::{assert_refused, harness, packet_pair, send_one_of};

/// Descriptors of every kind that is neither a connected packet socket nor memory as it has to be.
fn wrong_descriptors() -> Vec<(&'static str, OwnedFd)> {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let connected = TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
    let (stream, _) = UnixStream::pair().unwrap();
    let (datagrams, _) = UnixDatagram::pair().unwrap();
    let path = env::temp_dir().join(format!("strait-hostile-{:x}", process::id()));
    let mut file = File::create(&path).unwrap();
    file.write_all(&[b'x'; 8192]).unwrap();
    fs::remove_file(&path).unwrap();
    let mut wrong = vec![
        ("a file", file.into()),
        ("a directory", File::open("/").unwrap().into()),
        ("/dev/zero", File::options().read(true).write(true).open("/dev/zero").unwrap().into()),
        ("a TCP listener", tcp.into()),
        ("a TCP connection", connected.into()),
        ("a stream socket", stream.into()),
        ("a datagram socket", datagrams.into()),
        ("an eventfd", eventfd(0, EventfdFlags::CLOEXEC).unwrap()),
        ("an epoll", epoll::create(CreateFlags::CLOEXEC).unwrap()),
        ("memory that is not sealed", memfd(8192, MemfdFlags::empty()).unwrap()),
        ("memory that is too short", sealed_memory(4095)),
        ("no memory at all", sealed_memory(0)),
    ];
    let (pipe, _) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).unwrap();
    wrong.push(("a pipe", pipe));
    let growing = memfd(8192, MemfdFlags::empty()).unwrap();
    rustix::fs::fcntl_add_seals(&growing, SealFlags::GROW).unwrap();
    wrong.push(("memory that is sealed against growing only", growing));
    let shrinking = memory_with(8192, SealFlags::WRITE);
    wrong.push(("memory that is sealed against writing only", shrinking));
    // Not on every system.
    if let Ok(huge) = memfd(2 << 20, MemfdFlags::HUGETLB) {
        let seals = SealFlags::SHRINK | SealFlags::WRITE | SealFlags::FUTURE_WRITE;
        rustix::fs::fcntl_add_seals(&huge, seals).unwrap();
        wrong.push(("huge pages", huge));
    }
    wrong
}

#[test]
fn c7_descriptors_of_the_wrong_kind_are_refused() {
    let _watchdog = harness::watchdog();
    let (a, b) = packet_pair();
    for (what, fd) in wrong_descriptors() {
        let fds = [fd.as_fd()];
        println!("{what}");
        assert_refused(send_one_of::<IpcSharedMemory>(&fixed(4096), &fds));
        assert_refused(send_one_of::<SharedMemoryReader>(&reader_of(4096), &fds));
        assert_refused(send_one_of::<SharedMemoryWriter>(&writer_of(4096), &fds));
        assert_refused(send_one_of::<IpcSender<u32>>(&a_sender(), &fds));
        assert_refused(send_one_of::<IpcReceiver<u32>>(&a_receiver(), &fds));
        assert!(IpcSender::<u32>::try_from(fd.try_clone().unwrap()).is_err());
        assert!(IpcReceiver::<u32>::try_from(fd.try_clone().unwrap()).is_err());
        // As a handle of its own kind, it is accepted.
        send_one_of::<Handle<OwnedFd>>(&a_handle(), &fds).unwrap();
    }
    assert_refused(send_one_of::<IpcSharedMemory>(&fixed(4096), &[a.as_fd()]));
    for len in [0, 8193, u64::MAX, 1 << 63, (1 << 63) - 1] {
        let memory = sealed_memory(8192);
        assert_refused(send_one_of::<IpcSharedMemory>(&fixed(len), &[memory.as_fd()]));
        let memory = written_memory(8192);
        assert_refused(send_one_of::<SharedMemoryReader>(&reader_of(len), &[memory.as_fd()]));
        let memory = memory_with(8192, SealFlags::SHRINK);
        assert_refused(send_one_of::<SharedMemoryWriter>(&writer_of(len), &[memory.as_fd()]));
    }
    drop(b);
}

/// The seals that are needed depend on the type as which the memory is received. It has to be
/// the type as which it was sent.
#[test]
fn c7_memory_is_taken_only_with_the_seals_that_it_needs() {
    let _watchdog = harness::watchdog();
    let check = |what: &str, fd: OwnedFd, is: [bool; 3]| {
        let fds = [fd.as_fd()];
        let is_taken = [
            send_one_of::<IpcSharedMemory>(&fixed(8192), &fds).is_ok(),
            send_one_of::<SharedMemoryReader>(&reader_of(8192), &fds).is_ok(),
            send_one_of::<SharedMemoryWriter>(&writer_of(8192), &fds).is_ok(),
        ];
        assert_eq!(is_taken, is, "{what}");
        for wrong in [reader_of(8192), writer_of(8192)] {
            assert_refused(send_one_of::<IpcSharedMemory>(&wrong, &fds));
        }
        assert_refused(send_one_of::<SharedMemoryReader>(&fixed(8192), &fds));
        assert_refused(send_one_of::<SharedMemoryWriter>(&reader_of(8192), &fds));
    };
    check("that never changes", sealed_memory(8192), [true, false, false]);
    check("that is written elsewhere", written_memory(8192), [false, true, false]);
    let open = memory_with(8192, SealFlags::SHRINK);
    rustix::io::pwrite(&open, &[0; 8192], 0).unwrap();
    check("that anything may write", open, [false, false, true]);
    let holes = memory_with(8192, SealFlags::SHRINK | SealFlags::FUTURE_WRITE);
    check("whose pages its reader would make", holes, [false, false, false]);
    let hole = memfd(8192, MemfdFlags::empty()).unwrap();
    rustix::io::pwrite(&hole, b"x", 8191).unwrap();
    rustix::fs::fcntl_add_seals(&hole, SealFlags::SHRINK | SealFlags::FUTURE_WRITE).unwrap();
    check("of which the reader would make a page", hole, [false, false, false]);
}

/// The peer writes valid and invalid UTF-8 in turn: the kernel stops it, or its memory is refused.
#[test]
fn c7_borrowed_memory_never_changes() {
    let _watchdog = harness::watchdog();
    let mut taken = 0;
    for seals in [
        SealFlags::SHRINK,
        SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL,
        SealFlags::SHRINK | SealFlags::FUTURE_WRITE,
        SealFlags::SHRINK | SealFlags::WRITE,
    ] {
        let fd = memfd(4, MemfdFlags::empty()).unwrap();
        rustix::io::pwrite(&fd, "\u{df}\u{df}".as_bytes(), 0).unwrap();
        let writable = fd.try_clone().unwrap();
        rustix::fs::fcntl_add_seals(&fd, seals).unwrap();
        let Ok(memory) = send_one_of::<IpcSharedMemory>(&fixed(4), &[fd.as_fd()]) else {
            continue;
        };
        taken += 1;
        let writing = fork(|| {
            for _ in 0..10_000 {
                for bytes in [b"aaaa", b"\xf7\xff\xff\xff"] {
                    let _ = rustix::io::pwrite(&writable, bytes, 0);
                }
            }
        });
        for _ in 0..100_000 {
            assert_eq!(std::hint::black_box(&memory)[..], *"\u{df}\u{df}".as_bytes());
        }
        writing.completed();
        assert_eq!(std::str::from_utf8(&memory).unwrap(), "\u{df}\u{df}");
    }
    assert_eq!(taken, 1, "that is sealed against writing");
}

/// A process with a reader cannot write to the memory, whatever it does with the file
/// descriptor.
#[test]
fn c7_a_reader_cannot_write() {
    let _watchdog = harness::watchdog();
    let writer = SharedMemoryWriter::new(8192).unwrap();
    let (sender, receiver) = ipc::channel::<SharedMemoryReader>().unwrap();
    sender.send(writer.reader().unwrap()).unwrap();
    let raw: OwnedFd = receiver.try_into().unwrap();
    let fd = raw::received_fds(raw).remove(0);
    let again = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let again: OwnedFd = File::options().read(true).write(true).open(again).unwrap().into();
    for fd in [&fd, &again] {
        assert!(rustix::io::pwrite(fd, b"x", 0).is_err());
        assert!(rustix::fs::ftruncate(fd, 0).is_err());
        assert!(rustix::fs::ftruncate(fd, 1 << 20).is_err());
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        assert!(rustix::fs::fallocate(fd, punch, 0, 4096).is_err());
        // It is refused as a writer.
        let fds = [fd.as_fd()];
        assert_refused(send_one_of::<SharedMemoryWriter>(&writer_of(8192), &fds));
        send_one_of::<SharedMemoryReader>(&reader_of(8192), &fds).unwrap();
        assert!(rustix::fs::fcntl_add_seals(fd, SealFlags::WRITE).is_err());
    }
    writer.write_at(8191, b"x").unwrap();
}

/// Seals are checked before the memory is mapped, so they hold when the peer tries.
#[test]
fn c7_memory_that_was_accepted_cannot_be_taken_away() {
    let _watchdog = harness::watchdog();
    let fd = sealed_memory(8192);
    let memory = send_one_of::<IpcSharedMemory>(&fixed(8192), &[fd.as_fd()]).unwrap();
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    assert!(rustix::fs::ftruncate(&fd, 0).is_err());
    assert!(rustix::io::pwrite(&fd, b"x", 5000).is_err());
    assert!(rustix::fs::fallocate(&fd, punch, 0, 8192).is_err());
    assert!(memory.iter().all(|&byte| byte == 0));
    // The writer can change the bytes, but can neither shorten the memory nor punch holes into it.
    let fd = written_memory(8192);
    let memory = send_one_of::<SharedMemoryReader>(&reader_of(8192), &[fd.as_fd()]).unwrap();
    assert!(rustix::fs::ftruncate(&fd, 0).is_err());
    assert!(rustix::fs::fallocate(&fd, punch, 0, 8192).is_err());
    assert_eq!(memory.to_vec().unwrap(), [0; 8192]);
    // Memory that strait makes is sealed from the start, in every process.
    let ours = IpcSharedMemory::try_from_byte(7, 8192).unwrap();
    let (sender, receiver) = ipc::channel::<IpcSharedMemory>().unwrap();
    sender.send(ours.clone()).unwrap();
    let raw: OwnedFd = receiver.try_into().unwrap();
    let fd = raw::received_fds(raw).remove(0);
    assert!(rustix::fs::ftruncate(&fd, 0).is_err());
    assert!(rustix::fs::ftruncate(&fd, 1 << 20).is_err());
    assert_eq!(ours[8191], 7);
}

/// They are packet sockets, so they are accepted; but no call blocks on them.
#[test]
fn c7_packet_sockets_without_a_peer_are_disconnected() {
    let _watchdog = harness::watchdog();
    let new_socket = || {
        let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
        rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None).unwrap()
    };
    let listening = new_socket();
    let unnamed = SocketAddrUnix::new_unnamed();
    rustix::net::bind(&listening, &unnamed).unwrap();
    rustix::net::listen(&listening, 1).unwrap();
    for socket in [new_socket(), listening] {
        let fds = [socket.as_fd()];
        let sender = send_one_of::<IpcSender<u32>>(&a_sender(), &fds).unwrap();
        assert!(sender.send(1).unwrap_err().is_disconnected());
        let receive = || send_one_of::<IpcReceiver<u32>>(&a_receiver(), &fds).unwrap();
        assert!(receive().recv().unwrap_err().is_disconnected());
        assert!(receive().try_recv().unwrap_err().is_disconnected());
        let timeout = Duration::from_secs(60);
        assert!(receive().recv_timeout(timeout).unwrap_err().is_disconnected());
        // In a set, the other members are served.
        let (good, receiver) = ipc::channel::<u32>().unwrap();
        let mut set = IpcReceiverSet::new().unwrap();
        let bad_id = set.add(receive()).unwrap();
        let good_id = set.add(receiver).unwrap();
        good.send(5).unwrap();
        'good: loop {
            for result in set.select().unwrap() {
                match result {
                    IpcSelectionResult::MessageReceived(id, message) => {
                        assert_eq!((id, message.to::<u32>().unwrap()), (good_id, 5));
                        break 'good;
                    }
                    IpcSelectionResult::ChannelClosed(id) => assert_eq!(id, bad_id),
                }
            }
        }
    }
}

#[test]
fn c7_floods_of_descriptors_leak_nothing() {
    harness::alone(harness::path_of(c7_floods_of_descriptors_leak_nothing), || {
        let (_canary, fd) = Canary::new();
        let many = vec![fd.as_fd(); raw::MAX_FDS];
        let seven = table::with_handles(&table::number(7), many.len());
        for (way, receive) in ways::<u32>() {
            let (sender, receiver) = ipc::channel::<u32>().unwrap();
            let mut next = receive(receiver);
            sender.send(0).unwrap();
            assert_eq!(next(), Next::Value(0));
            let before = harness::handles();
            for _ in 0..20 {
                raw::send(&sender, &raw::message(253, &seven), &many).unwrap();
                assert_eq!(next(), Next::Value(7), "{way}");
                raw::send(&sender, &raw::message(0, &table::number(7)), &many).unwrap();
                assert_eq!(next(), Next::Refused, "{way}");
                raw::send(&sender, &[], &many).unwrap();
                assert_eq!(next(), Next::Refused, "{way}");
                raw::send(&sender, b"noise", &many).unwrap();
                assert_eq!(next(), Next::Refused, "{way}");
                // The router may not have dropped the last of them yet.
                sender.send(1).unwrap();
                assert_eq!(next(), Next::Value(1), "{way}");
            }
            assert_eq!(harness::handles(), before, "{way}");
        }
    });
}

/// The handles of messages that are never completed leave some for other messages.
#[test]
fn c7_incomplete_messages_do_not_take_all_descriptors() {
    harness::alone(harness::path_of(c7_incomplete_messages_do_not_take_all_descriptors), || {
        let (_canary, fd) = Canary::new();
        let (sender, receiver) = ipc::channel::<u32>().unwrap();
        let first = |id: u128| {
            let position = Position::First { bytes: 100, attachments: 60_000 };
            raw::packet(Kind::Part { id, position }, 50, b"x")
        };
        for id in 0..10 {
            raw::send(&sender, &first(id), &[fd.as_fd(); 50]).unwrap();
        }
        // The limit is set only now, because it also limits the file descriptors in flight of
        // users other than root.
        set_descriptor_limit(400);
        sender.send(3).unwrap();
        let mut refused = 0;
        loop {
            match receiver.recv() {
                Ok(number) => break assert_eq!(number, 3),
                Err(IpcError::SerializationError(_)) => refused += 1,
                Err(error) => panic!("{error:?}"),
            }
        }
        assert_eq!(refused, 4, "six of them are within three in four of 400");
        let spare: Vec<_> = (0..20).map(|_| ipc::channel::<u32>().unwrap()).collect();
        drop(spare);
        drop(receiver);
        assert!(harness::handles().len() < 20);
    });
}

/// However many channels the parts are sent through.
#[test]
fn c7_incomplete_messages_of_many_channels_leave_descriptors_for_others() {
    let name =
        harness::path_of(c7_incomplete_messages_of_many_channels_leave_descriptors_for_others);
    harness::alone(name, || {
        let (_canary, fd) = Canary::new();
        let position = Position::First { bytes: 100, attachments: 60_000 };
        let channels: Vec<_> = (0..3)
            .map(|id| {
                let (sender, receiver) = ipc::channel::<u32>().unwrap();
                let first = raw::packet(Kind::Part { id, position }, 200, b"x");
                raw::send(&sender, &first, &[fd.as_fd(); 200]).unwrap();
                (sender, receiver)
            })
            .collect();
        // As above.
        set_descriptor_limit(400);
        let mut refused = 0;
        for (sender, receiver) in &channels {
            sender.send(3).unwrap();
            if receiver.recv().map_err(|_| refused += 1).is_err() {
                assert_eq!(receiver.recv().unwrap(), 3);
            }
        }
        assert_eq!(refused, 2, "one of them is within three in four of 400");
        // There is room for another channel, and its messages are received completely.
        let (good, receiver) = ipc::channel::<Handle<OwnedFd>>().unwrap();
        good.send(Handle(fd.try_clone().unwrap())).unwrap();
        receiver.recv().unwrap();
        drop(channels);
        assert!(harness::handles().len() < 20);
    });
}

/// Both ends of a TCP connection with so much unreceived data that closing the first end would
/// block for hours.
fn lingering_socket() -> (OwnedFd, OwnedFd) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut sending = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (receiving, _) = listener.accept().unwrap();
    sending.set_nonblocking(true).unwrap();
    while sending.write(&[0; 100_000]).is_ok() {}
    sending.set_nonblocking(false).unwrap();
    let hours = Some(Duration::from_secs(10_000));
    rustix::net::sockopt::set_socket_linger(&sending, hours).unwrap();
    (sending.into(), receiving.into())
}

/// File descriptors that no message needs are closed without blocking.
#[test]
fn c7_closing_unused_descriptors_does_not_block() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::channel::<u32>().unwrap();
    let send_unasked = |sender: &IpcSender<u32>, packet: &[u8]| {
        let (sending, receiving) = lingering_socket();
        raw::send(sender, packet, &[sending.as_fd()]).unwrap();
        // The copy in the message is the last one.
        drop(sending);
        receiving
    };
    let five = raw::message(1, &table::with_handles(&table::number(5), 1));
    let mut others = vec![send_unasked(&sender, &five)];
    assert_eq!(receiver.recv().unwrap(), 5);
    // As a handle of the wrong kind.
    others.push(send_unasked(&sender, &raw::message(1, &a_sender())));
    let wrong: IpcReceiver<IpcSender<u32>> = receiver.to_opaque().to();
    assert_refused(wrong.recv());
    others.push(send_unasked(&sender, &raw::message(1, &fixed(10))));
    let wrong: IpcReceiver<IpcSharedMemory> = wrong.to_opaque().to();
    assert_refused(wrong.recv());
    // In a message that is never completed.
    let position = Position::First { bytes: 9, attachments: 9 };
    let first = raw::packet(Kind::Part { id: 1, position }, 1, b"x");
    others.push(send_unasked(&sender, &first));
    let receiver: IpcReceiver<u32> = wrong.to_opaque().to();
    assert!(receiver.try_recv().unwrap_err().is_empty());
    drop(receiver);
    // In a message that is not decoded.
    let (sender, receiver) = ipc::channel::<u32>().unwrap();
    let mut set = IpcReceiverSet::new().unwrap();
    set.add(receiver).unwrap();
    others.push(send_unasked(&sender, &five));
    drop(set.select().unwrap());
}

/// Files with holes cost a peer nothing, but mapping them takes address space.
#[cfg(target_pointer_width = "64")]
#[test]
fn c7_memory_of_peers_does_not_use_up_the_address_space() {
    harness::alone(harness::path_of(c7_memory_of_peers_does_not_use_up_the_address_space), || {
        let len = 7 << 40;
        let memfd = sealed_memory(len);
        let receive = || send_one_of::<IpcSharedMemory>(&fixed(len), &[memfd.as_fd()]);
        let first = receive().unwrap();
        let second = receive().unwrap();
        assert_refused(receive());
        assert_refused(receive());
        drop(first);
        let third = receive().unwrap();
        assert_refused(receive());
        // Memory of this process does not count.
        let own = IpcSharedMemory::try_from_byte(0, 3 << 40).unwrap();
        drop((second, third, own));
        receive().unwrap();
    });
}

fn set_descriptor_limit(limit: u64) {
    let resource = rustix::process::Resource::Nofile;
    let mut now = rustix::process::getrlimit(resource);
    now.current = Some(limit);
    rustix::process::setrlimit(resource, now).unwrap();
}
