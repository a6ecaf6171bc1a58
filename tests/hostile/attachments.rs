//! Descriptors: wrong ones, too many, wrongly named.

use std::env;
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process;
use std::thread;
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::pipe::PipeFlags;
use strait::handle::Handle;
use strait::internals::frame::{Kind, Position};
use strait::internals::ring::{FIRST_LEN, UNIT};
use strait::ipc::{
    self, IpcBytesReceiver, IpcError, IpcReceiver, IpcReceiverSet, IpcSelectionResult, IpcSender,
    IpcSharedMemory, OpaqueIpcSender, SharedMemoryReader, SharedMemoryWriter,
};

use crate::harness::fork::fork;
use crate::harness::raw::{self, Canary};
use crate::harness::table::{self, Entry};
use crate::harness::ways::{Next, ways};
use crate::{assert_refused, harness, packet_pair, send_one_of};

/// The length of the shortest memory of a ring.
const RING_BYTES: u64 = UNIT + FIRST_LEN as u64;

/// A record of a spool.
fn spooled(kind: u32, attachments: u32, numbers: (u128, u64, u64), bytes: &[u8]) -> Vec<u8> {
    let (a, b, c) = numbers;
    [
        &kind.to_le_bytes()[..],
        &attachments.to_le_bytes(),
        &a.to_le_bytes(),
        &b.to_le_bytes(),
        &c.to_le_bytes(),
        &(bytes.len() as u64).to_le_bytes(),
        bytes,
    ]
    .concat()
}

/// A message that is one sender.
fn a_sender() -> Vec<u8> {
    table::with(&table::number(0), &[table::sender()])
}

/// A message that is one receiver.
fn a_receiver() -> Vec<u8> {
    table::with(&table::number(0), &[table::receiver()])
}

/// A message that is one handle.
fn a_handle() -> Vec<u8> {
    table::with_handles(&table::number(0), 1)
}

/// Messages that are one shared memory of so many bytes: as it is taken, its reader and its writer.
fn fixed(len: u64) -> Vec<u8> {
    table::with(&table::memory_number(0), &[table::memory(len, table::FIXED)])
}

fn reader_of(len: u64) -> Vec<u8> {
    table::with(&table::memory_number(0), &[table::memory(len, table::READ)])
}

fn writer_of(len: u64) -> Vec<u8> {
    table::with(&table::memory_number(0), &[table::memory(len, table::WRITE)])
}

#[test]
fn c7_forged_numbers_are_refused() {
    let _watchdog = harness::watchdog();
    let (canary, fd) = Canary::new();
    let (a, b) = packet_pair();
    let (number, memory) = (table::number, table::memory_number);
    let fds = [a.as_fd(), fd.as_fd()];
    let second = table::handle();
    for bad in [2, 3, 1000, u32::MAX] {
        let with = |user: Vec<u8>, entry| table::with(&user, &[entry, second.clone()]);
        let sender = with(number(bad), table::sender());
        let receiver = with(number(bad), table::receiver());
        assert_refused(send_one_of::<IpcSender<u32>>(&sender, &fds));
        assert_refused(send_one_of::<IpcReceiver<u32>>(&receiver, &fds));
        let of_memory = |access| with(memory(bad), table::memory(10, access));
        assert_refused(send_one_of::<IpcSharedMemory>(&of_memory(table::FIXED), &fds));
        assert_refused(send_one_of::<SharedMemoryReader>(&of_memory(table::READ), &fds));
        assert_refused(send_one_of::<SharedMemoryWriter>(&of_memory(table::WRITE), &fds));
        assert_refused(send_one_of::<Handle<OwnedFd>>(&with(number(bad), table::handle()), &fds));
        assert_refused(send_one_of::<OpaqueIpcSender>(&sender, &fds));
        assert_refused(send_one_of::<IpcBytesReceiver>(&receiver, &fds));
    }
    assert_refused(send_one_of::<IpcSender<u32>>(&number(0), &[]));
    assert_refused(send_one_of::<IpcReceiver<u32>>(&number(0), &[]));
    assert_refused(send_one_of::<IpcSharedMemory>(&memory(0), &[]));
    assert_refused(send_one_of::<Handle<OwnedFd>>(&number(0), &[]));
    drop((a, b, fd));
    canary.wait_until_closed();
}

#[test]
fn c7_an_entry_is_taken_once_and_as_what_it_is() {
    let _watchdog = harness::watchdog();
    let (canary, fd) = Canary::new();
    let (a, b) = packet_pair();
    let fds = [a.as_fd(), fd.as_fd()];
    let twice = [table::number(0), table::number(0)].concat();
    let with = |first| table::with(&twice, &[first, table::handle()]);
    let handle = with(table::handle());
    assert_refused(send_one_of::<(Handle<OwnedFd>, Handle<OwnedFd>)>(&handle, &fds));
    assert_refused(send_one_of::<(Handle<OwnedFd>, IpcSender<u32>)>(&handle, &fds));
    let sender = with(table::sender());
    assert_refused(send_one_of::<(IpcSender<u32>, Handle<OwnedFd>)>(&sender, &fds));
    assert_refused(send_one_of::<(IpcSender<u32>, IpcReceiver<u32>)>(&sender, &fds));
    let receiver = with(table::receiver());
    assert_refused(send_one_of::<(IpcReceiver<u32>, IpcReceiver<u32>)>(&receiver, &fds));
    assert_refused(send_one_of::<(IpcReceiver<u32>, IpcSender<u32>)>(&receiver, &fds));
    // What is no sender does not become one the second time.
    let wrong = [&2_u64.to_le_bytes()[..], &table::number(1), &table::number(1)].concat();
    let wrong = table::with(&wrong, &[table::handle(), table::sender()]);
    assert_refused(send_one_of::<Vec<IpcSender<u32>>>(&wrong, &fds));
    let memfd = sealed_memory(4096);
    let memories = [table::memory_number(0), table::memory_number(0)].concat();
    let memories = table::with(&memories, &[table::memory(10, table::FIXED)]);
    let received = send_one_of::<(IpcSharedMemory, IpcSharedMemory)>(&memories, &[memfd.as_fd()]);
    assert_refused(received);
    drop((a, b, fd));
    canary.wait_until_closed();
}

/// Whatever is wrong with the table, the message is one error, what came with it is closed, and the channel goes on.
#[test]
fn c7_tables_that_lie_are_one_error_each() {
    let _watchdog = harness::watchdog();
    let (canary, fd) = Canary::new();
    let (sender, receiver) = ipc::channel::<u32>().unwrap();
    let user = table::number(5);
    let one = |entry: Entry| table::with(&user, &[entry]);
    let good = table::handle();
    let mut lies = vec![
        ("no table", user.clone()),
        ("nothing at all", Vec::new()),
        ("no entries", table::with(&user, &[])),
        ("too many entries", table::with_handles(&user, 2)),
        ("an unknown kind", one(Entry { kind: 99, ..good.clone() })),
        ("another version", one(Entry { version: 9, ..good.clone() })),
        ("another codec", one(Entry { codec: 9, ..good.clone() })),
        ("more attachments", one(Entry { attachments: 2, ..good.clone() })),
        ("very many attachments", one(Entry { attachments: u32::MAX, ..good.clone() })),
        ("no attachments", one(Entry { attachments: 0, ..good.clone() })),
        ("more bytes", one(Entry { said: vec![0; 3], ..good })),
        ("more rings than there are", one(table::receiver_with(&[], 0, &[[0; 40]; 3]))),
    ];
    let receiver_entry = table::receiver();
    for (what, at) in [("rings", 4), ("the issuer's", 8), ("undelivered", 12)] {
        let mut said = receiver_entry.said.clone();
        said[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        lies.push((what, one(Entry { said, ..receiver_entry.clone() })));
    }
    for (what, at) in [("the count", 8), ("the length", 4)] {
        let mut body = table::with_handles(&user, 1);
        let at = body.len() - at;
        body[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        lies.push((what, body));
    }
    for (what, body) in lies {
        raw::send(&sender, &raw::message(1, &body), &[fd.as_fd()]).unwrap();
        let error = receiver.recv().unwrap_err();
        assert!(matches!(error, IpcError::SerializationError(_)), "{what}: {error:?}");
        if what.starts_with("another") {
            let text = format!("{error:?}");
            let (own, other) = ("this process speaks protocol 2 with bincode", "the peer protocol");
            assert!(text.contains("version: 9") || text.contains("codec: 9"), "{text}");
            assert!(error.to_string().contains(own) && error.to_string().contains(other));
        }
        sender.send(7).unwrap();
        assert_eq!(receiver.recv().unwrap(), 7, "{what}");
    }
    raw::send(&sender, &raw::message(1, &table::with_handles(&user, 1)), &[fd.as_fd()]).unwrap();
    assert_eq!(receiver.recv().unwrap(), 5);
    drop(fd);
    canary.wait_until_closed();
}

/// A channel that cannot carry everything says so before anything leaves.
#[test]
fn c7_a_sender_refuses_what_its_channel_cannot_carry() {
    const ENDPOINTS: u32 = 8;

    let _watchdog = harness::watchdog();
    let (a, b) = packet_pair();
    let entry = table::sender_that_can(ENDPOINTS);
    let body = table::with(&table::number(0), &[entry]);
    type Value = (u32, Option<Handle<File>>, Option<IpcReceiver<u32>>);
    let sender = send_one_of::<IpcSender<Value>>(&body, &[b.as_fd()]).unwrap();
    // Whoever gets it next is told the same.
    let (carrier, carried) = ipc::channel::<IpcSender<Value>>().unwrap();
    carrier.send(sender.clone()).unwrap();
    let inbox = IpcReceiver::<Value>::try_from(a).unwrap();
    for sender in [sender, carried.recv().unwrap()] {
        sender.send((1, None, None)).unwrap();
        assert_eq!(inbox.recv().unwrap().0, 1);
        let (numbers, receiver) = ipc::channel::<u32>().unwrap();
        let value = (2, Some(Handle(File::open("/dev/null").unwrap())), Some(receiver));
        let error = sender.send_ref(&value).unwrap_err();
        let text = format!("{:?}", error);
        assert!(text.contains("cannot carry a handle"), "{text}");
        // The receiver is here again.
        numbers.send(3).unwrap();
        assert_eq!(value.2.as_ref().unwrap().recv().unwrap(), 3);
        sender.send((4, None, value.2)).unwrap();
        numbers.send(5).unwrap();
        let (_, _, receiver) = inbox.recv().unwrap();
        assert_eq!(receiver.unwrap().recv().unwrap(), 5);
    }
}

/// A sender may be in a message more than once, and costs what its places in the message cost.
#[test]
fn c7_a_sender_named_a_million_times_is_one() {
    harness::alone(harness::path_of(c7_a_sender_named_a_million_times_is_one), || {
        let (a, b) = packet_pair();
        let mut body = 1_000_000_u64.to_le_bytes().to_vec();
        body.resize(8 + 4_000_000, 0);
        let body = table::with(&body, &[table::sender()]);
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
    let five = table::with_handles(&table::number(5), many.len());
    assert_eq!(send_one_of::<u32>(&five, &many).unwrap(), 5);
    assert_refused(send_one_of::<String>(&table::with_handles(b"abc", many.len()), &many));
    let handles = [9, 8, 300].map(u32::to_le_bytes).concat();
    let handles = [&3_u64.to_le_bytes()[..], &handles].concat();
    let handles = table::with_handles(&handles, many.len());
    assert_refused(send_one_of::<Vec<Handle<OwnedFd>>>(&handles, &many));
    // Undecoded messages have them, too.
    let (sender, receiver) = ipc::channel::<u32>().unwrap();
    let mut set = IpcReceiverSet::new().unwrap();
    set.add(receiver).unwrap();
    raw::send(&sender, &raw::message(253, &five), &many).unwrap();
    drop(set.select().unwrap());
    // And those that nobody received.
    raw::send(&sender, &raw::message(253, &five), &many).unwrap();
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
        Stopped { position: 0, base: 0, offset: UNIT, len: FIRST_LEN, visible: 0 };

    /// A message that is a receiver which reads a ring.
    fn receiver(&self) -> Vec<u8> {
        let ring = [
            &self.position.to_le_bytes()[..],
            &self.base.to_le_bytes(),
            &self.offset.to_le_bytes(),
            &self.visible.to_le_bytes(),
            &self.len.to_le_bytes(),
            // Not retired.
            &0_u32.to_le_bytes(),
        ];
        let ring = ring.concat().try_into().unwrap();
        table::with(&table::number(0), &[table::receiver_with(&[], 0, &[ring])])
    }
}

#[test]
fn c7_forged_rings_of_a_receiver_are_lost_alone() {
    let _watchdog = harness::watchdog();
    let (a, b) = packet_pair();
    let ring = memory_with(RING_BYTES, SealFlags::SHRINK);
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
        ("in the first unit", Stopped { offset: 0, ..start }),
        ("between units", Stopped { offset: UNIT + 4096, ..start }),
        ("of an odd length", Stopped { len: FIRST_LEN + 1, ..start }),
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
        ("memory that can shrink", memory_with(RING_BYTES, SealFlags::empty())),
        ("too short for a segment", memory_with(UNIT, SealFlags::SHRINK)),
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
            ("memory that can shrink", memory_with(RING_BYTES, SealFlags::empty()), false),
            ("too short for a segment", memory_with(UNIT, SealFlags::SHRINK), false),
            (
                "memory that may not be written",
                {
                    let seals = SealFlags::SHRINK | SealFlags::FUTURE_WRITE;
                    memory_with(RING_BYTES, seals)
                },
                false,
            ),
            ("nothing", memory_with(0, SealFlags::SHRINK), false),
            ("a ring", memory_with(RING_BYTES, SealFlags::SHRINK), true),
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
    let unfinished = |id: u128, total: u64, handles: u32, bytes: &[u8], here: u32| {
        spooled(2, here, (id, total, handles.into()), bytes)
    };
    let receiver = |parts: &[Vec<u8>], undelivered: u32| {
        let lost = [(7, 1), (7, 0), (8, 0)].map(|(id, told)| spooled(1, 0, (id, 0, told), b""));
        let spool = [parts.concat(), lost.concat()].concat();
        let entry = table::receiver_with(&spool, undelivered, &[]);
        table::with(&table::number(0), &[entry])
    };
    let good = unfinished(1, 100, 1, b"abc", 1);
    let fds = [a.as_fd(), fd.as_fd()];
    for (what, parts) in [
        ("the same handle twice", vec![good.clone(), unfinished(2, 9, 1, b"a", 1)]),
        ("more handles than there are", vec![unfinished(1, 9, 9, b"a", 2)]),
        ("very many handles", vec![unfinished(1, 9, 9, b"a", u32::MAX)]),
    ] {
        let received = send_one_of::<IpcReceiver<u32>>(&receiver(&parts, 1), &fds);
        assert!(matches!(received, Err(IpcError::SerializationError(_))), "{what}: {received:?}");
    }
    for (what, parts) in [
        ("twice the same id", vec![unfinished(1, 9, 0, b"a", 0), unfinished(1, 9, 0, b"a", 0)]),
        ("more than all", vec![unfinished(1, 2, 0, b"abc", 0)]),
        ("all", vec![unfinished(1, 3, 0, b"abc", 0)]),
        ("too large", vec![unfinished(1, 1 << 40, 0, b"abc", 0)]),
        ("too many", (0..2000).map(|id| unfinished(id, 9, 0, b"a", 0)).collect()),
    ] {
        let receiver = send_one_of::<IpcReceiver<u32>>(&receiver(&parts, 0), &[a.as_fd()]).unwrap();
        assert!(receiver.try_recv().unwrap_err().is_empty(), "{what}");
        let sender = IpcSender::<u32>::try_from(b.try_clone().unwrap()).unwrap();
        sender.send(5).unwrap();
        assert_eq!(receiver.recv().unwrap(), 5, "{what}");
    }
    // What is right is taken, and goes when the receiver goes.
    let received = send_one_of::<IpcReceiver<u32>>(&receiver(&[good], 1), &fds).unwrap();
    assert!(received.try_recv().unwrap_err().is_empty());
    drop((received, fd, a, b));
    canary.wait_until_closed();
}

/// Memory that never changes.
fn sealed_memory(len: u64) -> OwnedFd {
    memory_with(len, SealFlags::SHRINK | SealFlags::WRITE)
}

/// Memory that only existing writable mappings can change.
fn written_memory(len: u64) -> OwnedFd {
    let fd = memfd(len, MemfdFlags::empty()).unwrap();
    rustix::fs::fallocate(&fd, FallocateFlags::empty(), 0, len).unwrap();
    rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::FUTURE_WRITE).unwrap();
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
    let shrinking = memory_with(8192, SealFlags::WRITE);
    wrong.push(("memory that is sealed against writing only", shrinking));
    // Not everywhere.
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
        // As what it is, it is welcome.
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

/// Which seals are needed depends on what the memory is received as, and what it is sent as has to be the same.
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
fn c7_what_is_lent_never_changes() {
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

/// A process that has a reader cannot write, whatever it does with the descriptor.
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
        // As a writer it is refused.
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
    // What strait makes is sealed from the start, whoever has it.
    let ours = IpcSharedMemory::try_from_byte(7, 8192).unwrap();
    let (sender, receiver) = ipc::channel::<IpcSharedMemory>().unwrap();
    sender.send(ours.clone()).unwrap();
    let raw: OwnedFd = receiver.try_into().unwrap();
    let fd = raw::received_fds(raw).remove(0);
    assert!(rustix::fs::ftruncate(&fd, 0).is_err());
    assert!(rustix::fs::ftruncate(&fd, 1 << 20).is_err());
    assert_eq!(ours[8191], 7);
}

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
        let sender = send_one_of::<IpcSender<u32>>(&a_sender(), &fds).unwrap();
        assert!(sender.send(1).unwrap_err().is_disconnected());
        let receive = || send_one_of::<IpcReceiver<u32>>(&a_receiver(), &fds).unwrap();
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
    harness::alone(harness::path_of(c7_descriptor_bombs_leak_nothing), || {
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
    harness::alone(harness::path_of(c7_unfinished_messages_do_not_take_all_descriptors), || {
        let (_canary, fd) = Canary::new();
        let (sender, receiver) = ipc::channel::<u32>().unwrap();
        let first = |id: u128| {
            let position = Position::First { bytes: 100, attachments: 60_000 };
            raw::packet(Kind::Part { id, position }, 50, b"x")
        };
        for id in 0..10 {
            raw::send(&sender, &first(id), &[fd.as_fd(); 50]).unwrap();
        }
        // Only now, because it would also limit how many descriptors a user other than root has in flight.
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

/// However many channels they come through.
#[test]
fn c7_unfinished_messages_of_many_channels_leave_descriptors_for_others() {
    let name =
        harness::path_of(c7_unfinished_messages_of_many_channels_leave_descriptors_for_others);
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
    let five = raw::message(1, &table::with_handles(&table::number(5), 1));
    let mut others = vec![send_unasked(&sender, &five)];
    assert_eq!(receiver.recv().unwrap(), 5);
    // Of a wrong kind.
    others.push(send_unasked(&sender, &raw::message(1, &a_sender())));
    let wrong: IpcReceiver<IpcSender<u32>> = receiver.to_opaque().to();
    assert_refused(wrong.recv());
    others.push(send_unasked(&sender, &raw::message(1, &fixed(10))));
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
    others.push(send_unasked(&sender, &five));
    drop(set.select().unwrap());
}

/// Files with holes cost a peer nothing, but mapping them costs us room.
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
