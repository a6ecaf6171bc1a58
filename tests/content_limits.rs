//! Limits on the number of entries in a message and on its length, for every way to receive and
//! every kind of channel.

#![cfg(all(target_os = "linux", not(feature = "force-inprocess")))]

mod harness;

use std::fs::File;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use serde::{Deserialize, Serialize};
use strait::handle::Handle;
use strait::ipc::{
    self, ChannelOptions, IpcReceiver, IpcSender, IpcServer, IpcSharedMemory, IpcSyncSender, Limits,
};

use harness::raw::Canary;
use harness::watchdog;
use harness::ways::{Next, Way, all_ways, ways};

#[derive(Debug, Default, Serialize, Deserialize)]
struct Load {
    number: u32,
    senders: Vec<IpcSender<u8>>,
    bounded: Vec<IpcSyncSender<u8>>,
    receivers: Vec<IpcReceiver<u8>>,
    memories: Vec<IpcSharedMemory>,
    files: Vec<Handle<File>>,
    text: String,
}

/// Most of these tests have hundreds of file descriptors in flight, about as many as a user
/// without privileges may have. So one test runs at a time.
fn use_descriptors() -> MutexGuard<'static, ()> {
    static IN_USE: Mutex<()> = Mutex::new(());
    IN_USE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn file() -> Handle<File> {
    Handle(File::open("/dev/null").unwrap())
}

fn memory() -> IpcSharedMemory {
    IpcSharedMemory::from_bytes(b"memory")
}

/// How many entries of each kind there are.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    senders: usize,
    bounded: usize,
    receivers: usize,
    memories: usize,
    files: usize,
    text: usize,
}

impl Counts {
    fn load(self, number: u32) -> Load {
        let channels = || ipc::channel::<u8>().unwrap();
        Load {
            number,
            senders: (0..self.senders).map(|_| channels().0).collect(),
            bounded: (0..self.bounded).map(|_| ipc::sync_channel(1).unwrap().0).collect(),
            receivers: (0..self.receivers).map(|_| channels().1).collect(),
            memories: (0..self.memories).map(|_| memory()).collect(),
            files: (0..self.files).map(|_| file()).collect(),
            text: "x".repeat(self.text),
        }
    }
}

const TEXT: usize = 1000;

/// The bytes of an empty load.
const EMPTY: usize = 4 + 6 * 8;

fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.message_bytes = EMPTY + TEXT;
    limits.message_handles = 7;
    limits.message_senders = 3;
    limits.message_receivers = 2;
    limits.message_memories = 1;
    limits.message_os_handles = 4;
    limits
}

/// Loads within the limits, and beyond them.
fn cases() -> Vec<(Counts, bool)> {
    let none = Counts::default();
    let most = Counts { senders: 2, bounded: 1, receivers: 0, memories: 0, files: 4, text: 0 };
    vec![
        (none, true),
        (most, true),
        (Counts { text: TEXT - 7 * 4, ..most }, true),
        (Counts { text: TEXT - 7 * 4 + 1, ..most }, false),
        (Counts { text: TEXT, ..none }, true),
        (Counts { text: TEXT + 1, ..none }, false),
        (Counts { senders: 3, ..none }, true),
        (Counts { senders: 4, ..none }, false),
        (Counts { senders: 2, bounded: 2, ..none }, false),
        (Counts { bounded: 3, ..none }, true),
        (Counts { receivers: 2, ..none }, true),
        (Counts { receivers: 3, ..none }, false),
        (Counts { memories: 1, ..none }, true),
        (Counts { memories: 2, ..none }, false),
        (Counts { files: 4, ..none }, true),
        (Counts { files: 5, ..none }, false),
        (Counts { receivers: 1, ..most }, false),
        (Counts { senders: 260, ..none }, false),
        (Counts { files: 260, text: TEXT, ..none }, false),
        // A way to receive that skips errors has skipped them by now.
        (none, true),
    ]
}

fn send_all(sender: &IpcSender<Load>) {
    for (number, (counts, _)) in cases().into_iter().enumerate() {
        sender.send(counts.load(number as u32)).unwrap();
    }
}

fn expect_all(what: &str, next: &mut dyn FnMut() -> Next<Load>, shows_errors: bool) {
    for (number, (counts, is_good)) in cases().into_iter().enumerate() {
        if !is_good && !shows_errors {
            continue;
        }
        match next() {
            Next::Value(load) => {
                assert!(is_good, "{what}: {counts:?} was delivered");
                assert_eq!(load.number as usize, number, "{what}: {counts:?}");
                assert_eq!(load.senders.len(), counts.senders);
                assert_eq!(load.text.len(), counts.text);
                assert_eq!(load.files.len(), counts.files);
            }
            Next::Refused => assert!(!is_good, "{what}: {counts:?} was refused"),
            Next::Closed => panic!("{what}: {counts:?}: closed"),
        }
    }
}

fn channel(is_lazy: bool) -> (IpcSender<Load>, IpcReceiver<Load>) {
    ChannelOptions::new().limits(limits()).lazy(is_lazy).channel().unwrap()
}

fn moved(receiver: IpcReceiver<Load>) -> IpcReceiver<Load> {
    let (carrier, carried) = ipc::channel().unwrap();
    carrier.send(receiver).unwrap();
    carried.recv().unwrap()
}

fn every_way() -> Vec<(&'static str, Way<Load>, bool)> {
    let shown = ways::<Load>().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    let shows =
        |name: &&str| shown.contains(name) || name.contains("epoll") || name.contains("AsyncFd");
    all_ways().into_iter().map(|(name, way)| (name, way, shows(&name))).collect()
}

#[test]
fn limits_by_kind_hold_in_every_way_to_receive() {
    let _in_use = use_descriptors();
    let _watchdog = watchdog();
    for (name, way, shows) in every_way() {
        let (sender, receiver) = channel(false);
        send_all(&sender);
        let mut next = way(receiver);
        expect_all(name, &mut next, shows);
        drop(sender);
        assert!(matches!(next(), Next::Closed), "{name}");
    }
}

#[test]
fn limits_by_kind_hold_for_a_promoted_channel() {
    let _in_use = use_descriptors();
    let _watchdog = watchdog();
    for (name, way, shows) in every_way() {
        for leaves in [false, true] {
            let (sender, receiver) = channel(true);
            send_all(&sender);
            let receiver = if leaves { moved(receiver) } else { receiver };
            let mut next = way(receiver);
            expect_all(&format!("{name} {leaves}"), &mut next, shows);
            send_all(&sender);
            expect_all(&format!("{name} {leaves}"), &mut next, shows);
        }
    }
}

#[test]
fn limits_by_kind_move_with_a_receiver_and_hold_for_its_messages() {
    let _in_use = use_descriptors();
    let _watchdog = watchdog();
    for (name, way, shows) in every_way() {
        // Messages that were read ahead, beside a ring.
        let (sender, receiver) = channel(false);
        for _ in 0..3000 {
            sender.send(Load::default()).unwrap();
        }
        for _ in 0..2990 {
            receiver.recv().unwrap();
        }
        send_all(&sender);
        for _ in 0..10 {
            receiver.recv().unwrap();
        }
        let receiver = moved(moved(receiver));
        let mut next = way(receiver);
        expect_all(name, &mut next, shows);
    }
}

#[test]
fn limits_by_kind_hold_from_when_they_are_set() {
    let _in_use = use_descriptors();
    let _watchdog = watchdog();
    let name = format!("strait-kinds-{}", std::process::id());
    let mut server = IpcServer::<u8, Load>::bind(name.as_str()).unwrap();
    for (way_name, way, shows) in every_way() {
        let (sender, _back) = ipc::connect::<Load, u8>(name.as_str()).unwrap();
        send_all(&sender);
        let receiver = server.accept().unwrap().receiver;
        receiver.set_options(&ChannelOptions::new().limits(limits())).unwrap();
        let mut next = way(receiver);
        expect_all(way_name, &mut next, shows);
    }
}

#[test]
fn attachments_of_a_refused_message_are_closed() {
    harness::alone(harness::path_of(attachments_of_a_refused_message_are_closed), || {
        let mut limits = Limits::default();
        limits.message_os_handles = 0;
        limits.message_receivers = 0;
        for is_lazy in [false, true] {
            let options = ChannelOptions::new().limits(limits).lazy(is_lazy);
            let (sender, receiver) =
                options.channel::<(Option<Handle<File>>, Option<IpcReceiver<u8>>)>().unwrap();
            let before = harness::handles();
            for _ in 0..300 {
                let (canary, fd) = Canary::new();
                sender.send((Some(Handle(File::from(fd))), None)).unwrap();
                assert!(receiver.recv().is_err());
                canary.wait_until_closed();
                let (numbers, inbox) = ipc::channel().unwrap();
                sender.send((None, Some(inbox))).unwrap();
                assert!(receiver.recv().is_err());
                assert!(numbers.send(1).unwrap_err().is_disconnected());
            }
            assert_eq!(harness::handles_besides(&before), []);
        }
    });
}

/// The endpoint table of a message is no part of its length, in one packet or in parts.
#[test]
fn message_with_handles_of_the_maximum_length_is_received() {
    let _in_use = use_descriptors();
    let _watchdog = watchdog();
    // As long as two packets, and a little more: the table is in the third.
    let in_packets = 2 * 65_488 - 8 - 8 - 4;
    // The file descriptors of two messages are open here, and one of the messages is received.
    let many = 600.min(harness::room_for_handles() / 3 - 10);
    assert!(many > 254, "{many}");
    let sizes = [(10, many), (100_000, 1), (100_000, 253), (100_000, 254), (100_000, many)];
    for (bytes, handles) in sizes.into_iter().chain([(in_packets, 1), (in_packets - 20, 1)]) {
        let mut limits = Limits::default();
        limits.message_bytes = 8 + bytes + 8 + 4 * handles;
        limits.incomplete_bytes = limits.message_bytes;
        for receivers in [0, 1] {
            limits.message_receivers = receivers;
            let options = ChannelOptions::new().limits(limits);
            let (sender, receiver) = options.channel::<(String, Vec<Handle<File>>)>().unwrap();
            let sending = thread::spawn(move || {
                let files = || (0..handles).map(|_| file()).collect();
                sender.send(("x".repeat(bytes + 1), files())).unwrap();
                sender.send(("x".repeat(bytes), files())).unwrap();
            });
            assert!(receiver.recv().is_err(), "{bytes} {handles}");
            let (text, files) = receiver.recv().unwrap();
            assert_eq!((text.len(), files.len()), (bytes, handles));
            sending.join().unwrap();
        }
    }
}
