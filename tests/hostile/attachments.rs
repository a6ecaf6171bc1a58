//! Descriptors: wrong ones, too many, wrongly named.

use std::env;
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process;
use std::thread;
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::pipe::PipeFlags;
use serde::{Deserialize, Serialize};
use strait::handle::Handle;
use strait::internals::frame::{Kind, Position};
use strait::ipc::{
    self, IpcBytesReceiver, IpcError, IpcReceiver, IpcReceiverSet, IpcSelectionResult, IpcSender,
    IpcSharedMemory, OpaqueIpcSender,
};

use crate::harness::raw::{self, Canary};
use crate::harness::ways::{Next, ways};
use crate::{assert_refused, harness, packet_pair, send_one_of};

/// The encoded form of a sender or a handle: its index.
fn index(index: u32) -> Vec<u8> {
    index.to_le_bytes().to_vec()
}

/// No rings, no messages that were received and not delivered, the usual options, and no bound.
const NO_RINGS: [u8; 18] = [0; 18];

/// The encoded form of a receiver: its index, no unfinished and no lost messages, and no rings.
fn receiver_of(index: u32) -> Vec<u8> {
    [&index.to_le_bytes()[..], &0_u64.to_le_bytes(), &0_u64.to_le_bytes(), &NO_RINGS].concat()
}

/// The encoded form of shared memory.
fn memory_of(index: u32, len: u64) -> Vec<u8> {
    [&[1][..], &index.to_le_bytes(), &len.to_le_bytes()].concat()
}

#[test]
fn c7_forged_indices_are_refused() {
    let _watchdog = harness::watchdog();
    let (canary, fd) = Canary::new();
    let (a, b) = packet_pair();
    for bad in [2, 3, 1000, u32::MAX] {
        let fds = [a.as_fd(), fd.as_fd()];
        assert_refused(send_one_of::<IpcSender<u32>>(&index(bad), &fds));
        assert_refused(send_one_of::<IpcReceiver<u32>>(&receiver_of(bad), &fds));
        assert_refused(send_one_of::<IpcSharedMemory>(&memory_of(bad, 10), &fds));
        assert_refused(send_one_of::<Handle<OwnedFd>>(&index(bad), &fds));
        assert_refused(send_one_of::<OpaqueIpcSender>(&index(bad), &fds));
        assert_refused(send_one_of::<IpcBytesReceiver>(&receiver_of(bad), &fds));
    }
    assert_refused(send_one_of::<IpcSender<u32>>(&index(0), &[]));
    assert_refused(send_one_of::<IpcReceiver<u32>>(&receiver_of(0), &[]));
    assert_refused(send_one_of::<IpcSharedMemory>(&memory_of(0, 10), &[]));
    assert_refused(send_one_of::<Handle<OwnedFd>>(&index(0), &[]));
    drop((a, b, fd));
    canary.wait_until_closed();
}

#[test]
fn c7_an_index_is_taken_once() {
    let _watchdog = harness::watchdog();
    let (canary, fd) = Canary::new();
    let (a, b) = packet_pair();
    let fds = [a.as_fd(), fd.as_fd()];
    let twice = [index(0), index(0)].concat();
    assert_refused(send_one_of::<(Handle<OwnedFd>, Handle<OwnedFd>)>(&twice, &fds));
    assert_refused(send_one_of::<(Handle<OwnedFd>, IpcSender<u32>)>(&twice, &fds));
    assert_refused(send_one_of::<(IpcSender<u32>, Handle<OwnedFd>)>(&twice, &fds));
    let both = [index(0), receiver_of(0)].concat();
    assert_refused(send_one_of::<(IpcSender<u32>, IpcReceiver<u32>)>(&both, &fds));
    // What is no sender does not become one the second time.
    let wrong = [&2_u64.to_le_bytes()[..], &index(1), &index(1)].concat();
    assert_refused(send_one_of::<Vec<IpcSender<u32>>>(&wrong, &fds));
    let both = [receiver_of(0), index(0)].concat();
    assert_refused(send_one_of::<(IpcReceiver<u32>, IpcSender<u32>)>(&both, &fds));
    let memfd = sealed_memory(4096);
    let memories = [memory_of(0, 10), memory_of(0, 10)].concat();
    let received = send_one_of::<(IpcSharedMemory, IpcSharedMemory)>(&memories, &[memfd.as_fd()]);
    assert_refused(received);
    drop((a, b, fd));
    canary.wait_until_closed();
}

/// A sender may be in a message more than once, and costs what its places in the message cost.
#[test]
fn c7_a_sender_named_a_million_times_is_one() {
    harness::alone("attachments::c7_a_sender_named_a_million_times_is_one", || {
        let (a, b) = packet_pair();
        let mut body = 1_000_000_u64.to_le_bytes().to_vec();
        body.resize(8 + 4_000_000, 0);
        let (carrier, receiver) = ipc::channel::<Vec<IpcSender<u32>>>().unwrap();
        let position = Position::First { bytes: body.len() as u64, attachments: 1 };
        let mut parts = body.chunks(30_000);
        let first = raw::packet(Kind::Part { id: 1, position }, 1, parts.next().unwrap());
        let before = harness::handles();
        let senders = thread::scope(|scope| {
            scope.spawn(|| {
                raw::send(&carrier, &first, &[b.as_fd()]).unwrap();
                drop(b);
                let last = parts.next_back().unwrap();
                for part in parts {
                    raw::send(&carrier, &raw::middle(1, part), &[]).unwrap();
                }
                raw::send(&carrier, &raw::last(1, last), &[]).unwrap();
            });
            receiver.recv().unwrap()
        });
        assert_eq!(senders.len(), 1_000_000);
        // The one that arrived; the one that was sent is gone.
        assert_eq!(harness::handles().len(), before.len());
        let inbox = IpcReceiver::<u32>::try_from(a).unwrap();
        senders[999_999].send(1).unwrap();
        assert_eq!(inbox.recv().unwrap(), 1);
        drop(senders);
        assert!(inbox.recv().unwrap_err().is_disconnected());
    });
}

/// Those that nobody takes, those before and those after an error.
#[test]
fn c7_attachments_that_were_not_taken_are_closed() {
    let _watchdog = harness::watchdog();
    let (canary, fd) = Canary::new();
    let many = vec![fd.as_fd(); raw::MAX_FDS];
    assert_eq!(send_one_of::<u32>(&index(5), &many).unwrap(), 5);
    assert_refused(send_one_of::<String>(b"abc", &many));
    let handles: Vec<u8> = [&3_u64.to_le_bytes()[..], &index(9), &index(8), &index(300)].concat();
    assert_refused(send_one_of::<Vec<Handle<OwnedFd>>>(&handles, &many));
    // Undecoded messages have them, too.
    let (sender, receiver) = ipc::channel::<u32>().unwrap();
    let mut set = IpcReceiverSet::new().unwrap();
    set.add(receiver).unwrap();
    raw::send(&sender, &raw::message(253, &index(5)), &many).unwrap();
    drop(set.select().unwrap());
    // And those that nobody received.
    raw::send(&sender, &raw::message(253, &index(5)), &many).unwrap();
    drop(set);
    drop(fd);
    canary.wait_until_closed();
}

/// Where somebody claims to have stopped reading a ring.
#[derive(Clone, Copy)]
struct Stopped {
    position: u64,
    base: u64,
    offset: u64,
    len: u32,
    visible: u64,
}

impl Stopped {
    /// At the start.
    const AT_START: Stopped =
        Stopped { position: 0, base: 0, offset: 4096, len: 65536, visible: 0 };

    /// The encoded form of a receiver that is object 0 and reads a ring that is object 1.
    fn receiver(&self) -> Vec<u8> {
        let ring = [
            &1_u32.to_le_bytes()[..],
            &self.position.to_le_bytes(),
            &self.base.to_le_bytes(),
            &self.offset.to_le_bytes(),
            &self.len.to_le_bytes(),
            &self.visible.to_le_bytes(),
            // Neither retired nor in the middle of a message.
            &[0, 0],
        ];
        let no_messages = [0; 8 + 8];
        let one = 1_u64.to_le_bytes();
        [&0_u32.to_le_bytes()[..], &no_messages, &one, &ring.concat(), &[0; 10]].concat()
    }
}

#[test]
fn c7_forged_rings_of_a_receiver_are_lost_alone() {
    let _watchdog = harness::watchdog();
    let (a, b) = packet_pair();
    let ring = memory_with(4096 + 65536, SealFlags::SHRINK);
    let check = |what: &str, stopped: Stopped, memory: BorrowedFd<'_>, is_right: bool| {
        let body = stopped.receiver();
        let receiver = send_one_of::<IpcReceiver<u32>>(&body, &[a.as_fd(), memory]).unwrap();
        if !is_right {
            assert!(!receiver.try_recv().unwrap_err().is_empty(), "{what}");
        }
        // One error, and it goes on.
        assert!(receiver.try_recv().unwrap_err().is_empty(), "{what}");
        let sender = IpcSender::<u32>::try_from(b.try_clone().unwrap()).unwrap();
        sender.send(5).unwrap();
        assert_eq!(receiver.recv().unwrap(), 5, "{what}");
    };
    let start = Stopped::AT_START;
    check("what is right", start, ring.as_fd(), true);
    for (what, stopped) in [
        ("before the start", Stopped { base: 64, ..start }),
        ("beyond the end", Stopped { position: 64, ..start }),
        ("between records", Stopped { position: 8, visible: 16, ..start }),
        ("on the first page", Stopped { offset: 0, ..start }),
        ("of an odd length", Stopped { len: 65537, ..start }),
        ("too long", Stopped { len: 1 << 31, ..start }),
        ("where there is nothing", Stopped { offset: 1 << 40, ..start }),
        ("too far", Stopped { visible: 1 << 62, ..start }),
        ("more than there is", Stopped { visible: 64, ..start }),
    ] {
        check(what, stopped, ring.as_fd(), false);
    }
    let (reader, _writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).unwrap();
    for (what, memory) in [
        ("a pipe", reader),
        ("a socket", b.try_clone().unwrap()),
        ("a directory", File::open("/").unwrap().into()),
        ("memory that can shrink", memory_with(4096 + 65536, SealFlags::empty())),
        ("too short for a segment", memory_with(4096, SealFlags::SHRINK)),
        ("nothing", memory_with(0, SealFlags::SHRINK)),
    ] {
        check(what, start, memory.as_fd(), false);
    }
}

fn memory_with(len: u64, seals: SealFlags) -> OwnedFd {
    let fd = memfd(len, MemfdFlags::empty()).unwrap();
    rustix::fs::fcntl_add_seals(&fd, seals).unwrap();
    fd
}

/// What a hostile peer offers as a ring is a ring or one error, and disturbs nobody.
#[test]
fn c7_what_is_no_ring_is_one_error() {
    let _watchdog = harness::watchdog();
    let here = strait::internals::clock_domain().unwrap();
    // New ones each time: what was made of a ring is written in it.
    let objects = || -> [(&str, OwnedFd, bool); 7] {
        let (reader, _) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).unwrap();
        [
            ("a pipe", reader, false),
            ("a directory", File::open("/").unwrap().into(), false),
            ("memory that can shrink", memory_with(4096 + 65536, SealFlags::empty()), false),
            ("too short for a segment", memory_with(4096, SealFlags::SHRINK), false),
            (
                "memory that may not be written",
                {
                    let seals = SealFlags::SHRINK | SealFlags::FUTURE_WRITE;
                    memory_with(4096 + 65536, seals)
                },
                false,
            ),
            ("nothing", memory_with(0, SealFlags::SHRINK), false),
            ("a ring", memory_with(4096 + 65536, SealFlags::SHRINK), true),
        ]
    };
    for (way, receive_by) in ways::<u32>() {
        for clock_domain in [here, !here] {
            let (honest, receiver) = ipc::channel::<u32>().unwrap();
            let mut next = receive_by(receiver);
            for (what, fd, is_right) in objects() {
                let attach = raw::packet(Kind::Attach { clock_domain, is_used: true }, 1, b"");
                raw::send(&honest, &attach, &[fd.as_fd()]).unwrap();
                honest.send(7).unwrap();
                if !is_right {
                    assert_eq!(next(), Next::Refused, "{what}, by {way}");
                }
                assert_eq!(next(), Next::Value(7), "{what}, by {way}");
            }
        }
    }
}

/// The parts of a receiver that a hostile peer claims to have received incompletely.
#[test]
fn c7_forged_unfinished_messages_of_a_receiver_are_lost_alone() {
    let _watchdog = harness::watchdog();
    let (a, b) = packet_pair();
    let (canary, fd) = Canary::new();
    let unfinished = |id: u128, total: u64, handles: u32, bytes: &[u8], indices: &[u32]| {
        let mut parts = [
            &id.to_le_bytes()[..],
            &total.to_le_bytes(),
            &handles.to_le_bytes(),
            &(bytes.len() as u64).to_le_bytes(),
            bytes,
            &(indices.len() as u64).to_le_bytes(),
        ]
        .concat();
        for index in indices {
            parts.extend(index.to_le_bytes());
        }
        parts
    };
    let receiver = |parts: &[Vec<u8>]| {
        let head = [&0_u32.to_le_bytes()[..], &(parts.len() as u64).to_le_bytes()].concat();
        let lost = [(7_u128, 1), (7, 0), (8, 0)]
            .map(|(id, told)| [&id.to_le_bytes()[..], &[told]].concat());
        let lost = [3_u64.to_le_bytes().to_vec(), lost.concat()].concat();
        [head, parts.concat(), lost, NO_RINGS.to_vec()].concat()
    };
    let good = unfinished(1, 100, 1, b"abc", &[1]);
    let fds = [a.as_fd(), fd.as_fd()];
    for (what, parts) in [
        ("twice the same handle", vec![good.clone(), unfinished(2, 9, 1, b"a", &[1])]),
        ("the receiver itself", vec![unfinished(1, 9, 1, b"a", &[0])]),
        ("a handle that is not there", vec![unfinished(1, 9, 1, b"a", &[2])]),
    ] {
        let received = send_one_of::<IpcReceiver<u32>>(&receiver(&parts), &fds);
        assert!(matches!(received, Err(IpcError::SerializationError(_))), "{what}: {received:?}");
    }
    for (what, parts) in [
        ("twice the same id", vec![unfinished(1, 9, 0, b"a", &[]), unfinished(1, 9, 0, b"a", &[])]),
        ("more than all", vec![unfinished(1, 2, 0, b"abc", &[])]),
        ("all", vec![unfinished(1, 3, 0, b"abc", &[])]),
        ("too large", vec![unfinished(1, 1 << 40, 0, b"abc", &[])]),
        ("too many", (0..2000).map(|id| unfinished(id, 9, 0, b"a", &[])).collect()),
    ] {
        let receiver = send_one_of::<IpcReceiver<u32>>(&receiver(&parts), &fds).unwrap();
        assert!(receiver.try_recv().unwrap_err().is_empty(), "{what}");
        let sender = IpcSender::<u32>::try_from(b.try_clone().unwrap()).unwrap();
        sender.send(5).unwrap();
        assert_eq!(receiver.recv().unwrap(), 5, "{what}");
    }
    // What is right is taken, and goes when the receiver goes.
    let received = send_one_of::<IpcReceiver<u32>>(&receiver(&[good]), &fds).unwrap();
    assert!(received.try_recv().unwrap_err().is_empty());
    drop((received, fd, a, b));
    canary.wait_until_closed();
}

fn sealed_memory(len: u64) -> OwnedFd {
    let fd = memfd(len, MemfdFlags::empty()).unwrap();
    rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK).unwrap();
    fd
}

fn memfd(len: u64, flags: MemfdFlags) -> io::Result<OwnedFd> {
    let flags = flags | MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let fd = rustix::fs::memfd_create("hostile", flags)?;
    rustix::fs::ftruncate(&fd, len)?;
    Ok(fd)
}

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
    let read_only = memfd(8192, MemfdFlags::empty()).unwrap();
    rustix::fs::fcntl_add_seals(&read_only, SealFlags::SHRINK | SealFlags::WRITE).unwrap();
    wrong.push(("memory that nobody may write", read_only));
    // Not everywhere.
    if let Ok(huge) = memfd(2 << 20, MemfdFlags::HUGETLB) {
        rustix::fs::fcntl_add_seals(&huge, SealFlags::SHRINK).unwrap();
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
        assert_refused(send_one_of::<IpcSharedMemory>(&memory_of(0, 4096), &fds));
        assert_refused(send_one_of::<IpcSender<u32>>(&index(0), &fds));
        assert_refused(send_one_of::<IpcReceiver<u32>>(&receiver_of(0), &fds));
        assert!(IpcSender::<u32>::try_from(fd.try_clone().unwrap()).is_err());
        assert!(IpcReceiver::<u32>::try_from(fd.try_clone().unwrap()).is_err());
        // As what it is, it is welcome.
        send_one_of::<Handle<OwnedFd>>(&index(0), &fds).unwrap();
    }
    assert_refused(send_one_of::<IpcSharedMemory>(&memory_of(0, 4096), &[a.as_fd()]));
    for len in [0, 8193, u64::MAX, 1 << 63, (1 << 63) - 1] {
        let memory = sealed_memory(8192);
        assert_refused(send_one_of::<IpcSharedMemory>(&memory_of(0, len), &[memory.as_fd()]));
    }
    drop(b);
}

/// Seals are checked before the memory is mapped, so they hold when the peer tries.
#[test]
fn c7_memory_that_was_accepted_cannot_be_taken_away() {
    let _watchdog = harness::watchdog();
    let fd = sealed_memory(8192);
    let memory = send_one_of::<IpcSharedMemory>(&memory_of(0, 8192), &[fd.as_fd()]).unwrap();
    assert!(rustix::fs::ftruncate(&fd, 0).is_err());
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    rustix::io::pwrite(&fd, b"x", 5000).unwrap();
    assert_eq!(memory[5000], b'x');
    rustix::fs::fallocate(&fd, punch, 0, 8192).unwrap();
    assert!(memory.iter().all(|&byte| byte == 0));
    // What strait makes is sealed from the start, whoever has it.
    let ours = IpcSharedMemory::try_from_byte(7, 8192).unwrap();
    let (sender, receiver) = ipc::channel::<IpcSharedMemory>().unwrap();
    sender.send(ours.clone()).unwrap();
    let raw: OwnedFd = receiver.try_into().unwrap();
    let receiver = IpcReceiver::<Foreign>::try_from(raw).unwrap();
    let Foreign(_, handle, _) = receiver.recv().unwrap();
    assert!(rustix::fs::ftruncate(&*handle, 0).is_err());
    assert!(rustix::fs::ftruncate(&*handle, 1 << 20).is_err());
    assert_eq!(ours[8191], 7);
}

/// Shared memory, as somebody sees it who wants the descriptor.
#[derive(Debug, Serialize, Deserialize)]
struct Foreign(u8, Handle<OwnedFd>, u64);

/// They are packet sockets, so they pass; but they never hold anybody up.
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
        let sender = send_one_of::<IpcSender<u32>>(&index(0), &fds).unwrap();
        assert!(sender.send(1).unwrap_err().is_disconnected());
        let receive = || send_one_of::<IpcReceiver<u32>>(&receiver_of(0), &fds).unwrap();
        assert!(receive().recv().unwrap_err().is_disconnected());
        assert!(receive().try_recv().unwrap_err().is_disconnected());
        let timeout = Duration::from_secs(60);
        assert!(receive().recv_timeout(timeout).unwrap_err().is_disconnected());
        // In a set others go on.
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
fn c7_descriptor_bombs_leak_nothing() {
    harness::alone("attachments::c7_descriptor_bombs_leak_nothing", || {
        let (_canary, fd) = Canary::new();
        let many = vec![fd.as_fd(); raw::MAX_FDS];
        for (way, receive) in ways::<u32>() {
            let (sender, receiver) = ipc::channel::<u32>().unwrap();
            let mut next = receive(receiver);
            sender.send(0).unwrap();
            assert_eq!(next(), Next::Value(0));
            let before = harness::handles();
            for _ in 0..20 {
                raw::send(&sender, &raw::message(253, &index(7)), &many).unwrap();
                assert_eq!(next(), Next::Value(7), "{way}");
                raw::send(&sender, &raw::message(0, &index(7)), &many).unwrap();
                assert_eq!(next(), Next::Refused, "{way}");
                raw::send(&sender, &[], &many).unwrap();
                assert_eq!(next(), Next::Refused, "{way}");
                raw::send(&sender, b"noise", &many).unwrap();
                assert_eq!(next(), Next::Refused, "{way}");
                // The last of them may still be on its way to being dropped in a router.
                sender.send(1).unwrap();
                assert_eq!(next(), Next::Value(1), "{way}");
            }
            assert_eq!(harness::handles(), before, "{way}");
        }
    });
}

/// Handles of messages that are never finished leave some for everybody else.
#[test]
fn c7_unfinished_messages_do_not_take_all_descriptors() {
    harness::alone("attachments::c7_unfinished_messages_do_not_take_all_descriptors", || {
        set_descriptor_limit(400);
        let (_canary, fd) = Canary::new();
        let (sender, receiver) = ipc::channel::<u32>().unwrap();
        let first = |id: u128| {
            let position = Position::First { bytes: 100, attachments: 60_000 };
            raw::packet(Kind::Part { id, position }, 50, b"x")
        };
        for id in 0..20 {
            raw::send(&sender, &first(id), &[fd.as_fd(); 50]).unwrap();
        }
        sender.send(3).unwrap();
        let mut refused = 0;
        loop {
            match receiver.recv() {
                Ok(number) => break assert_eq!(number, 3),
                Err(IpcError::SerializationError(_)) => refused += 1,
                Err(error) => panic!("{error:?}"),
            }
        }
        assert_eq!(refused, 14, "six of them are within three in four of 400");
        let spare: Vec<_> = (0..20).map(|_| ipc::channel::<u32>().unwrap()).collect();
        drop(spare);
        drop(receiver);
        assert!(harness::handles().len() < 20);
    });
}

/// However many channels they come through.
#[test]
fn c7_unfinished_messages_of_many_channels_leave_descriptors_for_others() {
    let name = "attachments::c7_unfinished_messages_of_many_channels_leave_descriptors_for_others";
    harness::alone(name, || {
        set_descriptor_limit(400);
        let (_canary, fd) = Canary::new();
        let position = Position::First { bytes: 100, attachments: 60_000 };
        let channels: Vec<_> = (0..4)
            .map(|id| {
                let (sender, receiver) = ipc::channel::<u32>().unwrap();
                let first = raw::packet(Kind::Part { id, position }, 200, b"x");
                raw::send(&sender, &first, &[fd.as_fd(); 200]).unwrap();
                (sender, receiver)
            })
            .collect();
        let mut refused = 0;
        for (sender, receiver) in &channels {
            sender.send(3).unwrap();
            if receiver.recv().map_err(|_| refused += 1).is_err() {
                assert_eq!(receiver.recv().unwrap(), 3);
            }
        }
        assert_eq!(refused, 3, "one of them is within three in four of 400");
        // There is room for a good channel, and what it sends arrives whole.
        let (good, receiver) = ipc::channel::<Handle<OwnedFd>>().unwrap();
        good.send(Handle(fd.try_clone().unwrap())).unwrap();
        receiver.recv().unwrap();
        drop(channels);
        assert!(harness::handles().len() < 20);
    });
}

/// Both ends of a TCP connection over which so much was sent, and not received, that closing the first end waits for hours.
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

/// What a peer sends unasked is closed without waiting for anything.
#[test]
fn c7_closing_what_nobody_asked_for_waits_for_nothing() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::channel::<u32>().unwrap();
    let send_unasked = |sender: &IpcSender<u32>, packet: &[u8]| {
        let (sending, receiving) = lingering_socket();
        raw::send(sender, packet, &[sending.as_fd()]).unwrap();
        // The copy in the message is the last one.
        drop(sending);
        receiving
    };
    let mut others = vec![send_unasked(&sender, &raw::message(1, &index(5)))];
    assert_eq!(receiver.recv().unwrap(), 5);
    // Of a wrong kind.
    others.push(send_unasked(&sender, &raw::message(1, &index(0))));
    let wrong: IpcReceiver<IpcSender<u32>> = receiver.to_opaque().to();
    assert_refused(wrong.recv());
    others.push(send_unasked(&sender, &raw::message(1, &memory_of(0, 10))));
    let wrong: IpcReceiver<IpcSharedMemory> = wrong.to_opaque().to();
    assert_refused(wrong.recv());
    // In a message that is never finished.
    let position = Position::First { bytes: 9, attachments: 9 };
    let first = raw::packet(Kind::Part { id: 1, position }, 1, b"x");
    others.push(send_unasked(&sender, &first));
    let receiver: IpcReceiver<u32> = wrong.to_opaque().to();
    assert!(receiver.try_recv().unwrap_err().is_empty());
    drop(receiver);
    // In one that is not decoded.
    let (sender, receiver) = ipc::channel::<u32>().unwrap();
    let mut set = IpcReceiverSet::new().unwrap();
    set.add(receiver).unwrap();
    others.push(send_unasked(&sender, &raw::message(1, &index(5))));
    drop(set.select().unwrap());
}

/// Files with holes cost a peer nothing, but mapping them costs us room.
#[cfg(target_pointer_width = "64")]
#[test]
fn c7_memory_of_peers_does_not_use_up_the_address_space() {
    harness::alone("attachments::c7_memory_of_peers_does_not_use_up_the_address_space", || {
        let len = 7 << 40;
        let memfd = sealed_memory(len);
        let receive = || send_one_of::<IpcSharedMemory>(&memory_of(0, len), &[memfd.as_fd()]);
        let first = receive().unwrap();
        let second = receive().unwrap();
        assert_refused(receive());
        assert_refused(receive());
        drop(first);
        let third = receive().unwrap();
        assert_refused(receive());
        // One's own is no peer's.
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
