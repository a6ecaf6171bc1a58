//! Attachments of the wrong kind, too many of them, and malformed endpoint tables.

use std::fs::File;
use std::io::{self};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;

use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
use rustix::pipe::PipeFlags;
use strait::handle::Handle;
use strait::internals::frame::{Kind, Position};
use strait::internals::ring::{FIRST_LEN, UNIT};
use strait::ipc::{
    self, IpcBytesReceiver, IpcError, IpcReceiver, IpcReceiverSet, IpcSender, IpcSharedMemory,
    OpaqueIpcSender, SharedMemoryReader, SharedMemoryWriter,
};

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
pub(super) fn a_sender() -> Vec<u8> {
    table::with(&table::number(0), &[table::sender()])
}

/// A message that is one receiver.
pub(super) fn a_receiver() -> Vec<u8> {
    table::with(&table::number(0), &[table::receiver()])
}

/// A message that is one handle.
pub(super) fn a_handle() -> Vec<u8> {
    table::with_handles(&table::number(0), 1)
}

/// Messages that are one shared memory of so many bytes: an immutable one, a reader
/// and a writer.
pub(super) fn fixed(len: u64) -> Vec<u8> {
    table::with(&table::memory_number(0), &[table::memory(len, table::FIXED)])
}

pub(super) fn reader_of(len: u64) -> Vec<u8> {
    table::with(&table::memory_number(0), &[table::memory(len, table::READ)])
}

pub(super) fn writer_of(len: u64) -> Vec<u8> {
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
fn c7_entry_is_taken_once_and_with_its_kind() {
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
    // A handle that is no sender is refused a second time, too.
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

/// Whatever is wrong with the table, the message is one error, its attachments are closed, and
/// the channel stays usable.
#[test]
fn c7_malformed_table_is_one_error() {
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

/// A channel that cannot carry every entry refuses the message before it sends any part of it.
#[test]
fn c7_send_refuses_entries_that_its_channel_cannot_carry() {
    const ENDPOINTS: u32 = 8;

    let _watchdog = harness::watchdog();
    let (a, b) = packet_pair();
    let entry = table::sender_that_can(ENDPOINTS);
    let body = table::with(&table::number(0), &[entry]);
    type Value = (u32, Option<Handle<File>>, Option<IpcReceiver<u32>>);
    let sender = send_one_of::<IpcSender<Value>>(&body, &[b.as_fd()]).unwrap();
    // The next receiver of it gets the same error.
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

/// A sender may be in a message more than once; each further use costs only its bytes.
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
        // One handle more for the received sender, and one fewer for the sent one.
        assert_eq!(harness::handles().len(), before.len());
        let inbox = IpcReceiver::<u32>::try_from(a).unwrap();
        senders[999_999].send(1).unwrap();
        assert_eq!(inbox.recv().unwrap(), 1);
        drop(senders);
        assert!(inbox.recv().unwrap_err().is_disconnected());
    });
}

/// Attachments that the value does not take, and those before and after an error.
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
    // And the attachments of messages that were not received.
    raw::send(&sender, &raw::message(253, &five), &many).unwrap();
    drop(set);
    drop(fd);
    canary.wait_until_closed();
}

/// Where a peer claims to have stopped reading a ring.
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
fn c7_forged_ring_of_a_moved_receiver_loses_only_its_messages() {
    let _watchdog = harness::watchdog();
    let (a, b) = packet_pair();
    let ring = memory_with(RING_BYTES, SealFlags::SHRINK);
    let check = |what: &str, stopped: Stopped, memory: BorrowedFd<'_>, is_right: bool| {
        let body = stopped.receiver();
        let receiver = send_one_of::<IpcReceiver<u32>>(&body, &[a.as_fd(), memory]).unwrap();
        if !is_right {
            assert!(!receiver.try_recv().unwrap_err().is_empty(), "{what}");
        }
        // One error, and the receiver stays usable.
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

pub(super) fn memory_with(len: u64, seals: SealFlags) -> OwnedFd {
    let fd = memfd(len, MemfdFlags::empty()).unwrap();
    rustix::fs::fcntl_add_seals(&fd, seals).unwrap();
    fd
}

pub(super) fn memfd(len: u64, flags: MemfdFlags) -> io::Result<OwnedFd> {
    let flags = flags | MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let fd = rustix::fs::memfd_create("hostile", flags)?;
    rustix::fs::ftruncate(&fd, len)?;
    Ok(fd)
}

/// Memory that only existing writable mappings can change.
pub(super) fn written_memory(len: u64) -> OwnedFd {
    let fd = memfd(len, MemfdFlags::empty()).unwrap();
    rustix::fs::fallocate(&fd, FallocateFlags::empty(), 0, len).unwrap();
    rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::FUTURE_WRITE).unwrap();
    fd
}

/// Memory that never changes.
pub(super) fn sealed_memory(len: u64) -> OwnedFd {
    memory_with(len, SealFlags::SHRINK | SealFlags::WRITE)
}

/// What a hostile peer offers as a ring is a ring or one error, and disturbs no other sender.
#[test]
fn c7_offer_of_invalid_ring_memory_is_one_error() {
    let _watchdog = harness::watchdog();
    let here = strait::internals::clock_domain().unwrap();
    // A new memory each time: the receiver writes its state into the ring.
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
                let attach =
                    raw::packet(Kind::RingOffer { clock_domain, has_messages: true }, 1, b"");
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

/// A moved receiver with an incomplete message that a hostile peer has forged.
#[test]
fn c7_forged_incomplete_message_of_a_moved_receiver_loses_only_itself() {
    let _watchdog = harness::watchdog();
    let (a, b) = packet_pair();
    let (canary, fd) = Canary::new();
    let incomplete = |id: u128, total: u64, handles: u32, bytes: &[u8], here: u32| {
        spooled(2, here, (id, total, handles.into()), bytes)
    };
    let receiver = |parts: &[Vec<u8>], undelivered: u32| {
        let lost = [(7, 1), (7, 0), (8, 0)].map(|(id, told)| spooled(1, 0, (id, 0, told), b""));
        let spool = [parts.concat(), lost.concat()].concat();
        let entry = table::receiver_with(&spool, undelivered, &[]);
        table::with(&table::number(0), &[entry])
    };
    let good = incomplete(1, 100, 1, b"abc", 1);
    let fds = [a.as_fd(), fd.as_fd()];
    for (what, parts) in [
        ("the same handle twice", vec![good.clone(), incomplete(2, 9, 1, b"a", 1)]),
        ("more handles than there are", vec![incomplete(1, 9, 9, b"a", 2)]),
        ("very many handles", vec![incomplete(1, 9, 9, b"a", u32::MAX)]),
    ] {
        let received = send_one_of::<IpcReceiver<u32>>(&receiver(&parts, 1), &fds);
        assert!(matches!(received, Err(IpcError::SerializationError(_))), "{what}: {received:?}");
    }
    for (what, parts) in [
        ("twice the same id", vec![incomplete(1, 9, 0, b"a", 0), incomplete(1, 9, 0, b"a", 0)]),
        ("more than all", vec![incomplete(1, 2, 0, b"abc", 0)]),
        ("all", vec![incomplete(1, 3, 0, b"abc", 0)]),
        ("too large", vec![incomplete(1, 1 << 40, 0, b"abc", 0)]),
        ("too many", (0..2000).map(|id| incomplete(id, 9, 0, b"a", 0)).collect()),
    ] {
        let receiver = send_one_of::<IpcReceiver<u32>>(&receiver(&parts, 0), &[a.as_fd()]).unwrap();
        assert!(receiver.try_recv().unwrap_err().is_empty(), "{what}");
        let sender = IpcSender::<u32>::try_from(b.try_clone().unwrap()).unwrap();
        sender.send(5).unwrap();
        assert_eq!(receiver.recv().unwrap(), 5, "{what}");
    }
    // A valid one is accepted, and dropped with the receiver.
    let received = send_one_of::<IpcReceiver<u32>>(&receiver(&[good], 1), &fds).unwrap();
    assert!(received.try_recv().unwrap_err().is_empty());
    drop((received, fd, a, b));
    canary.wait_until_closed();
}
