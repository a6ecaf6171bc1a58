//! Two processes whose pointers may have different widths: what one writes, the other reads, in
//! rings and packets, in messages, endpoints and shared memory.
//!
//! The child is this test binary again, or the one that a variable names: `.ci/i686` builds
//! this file for two targets, and has each of the two programs start the other.
#![cfg(all(target_os = "linux", not(feature = "force-inprocess")))]

mod harness;

use std::env;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};

use rustix::fs::{MemfdFlags, memfd_create};
use serde::{Deserialize, Serialize};
use strait::handle::Handle;
use strait::ipc::{
    self, IpcOneShotServer, IpcReceiver, IpcSender, IpcServer, IpcSharedMemory, IpcSyncSender,
    SharedMemoryReader, SharedMemoryWriter,
};
use strait::process::{self, ChannelCommand, Child};

use harness::{COMPLETED, child_main, watchdog};

/// The program that the child runs, if it is another one.
const PROGRAM: &str = "STRAIT_TEST_PROGRAM";

/// How many bits its pointers have.
const WIDTH: &str = "STRAIT_TEST_WIDTH";

/// So many messages make a channel hot, and more of them fill several segments of its ring.
const MANY: u64 = 20_000;

/// More than a packet and the first segment of a ring have room for.
const LARGE: usize = 3_000_000;

/// Fields of all widths, and of types that compilers align differently.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Mixed {
    byte: u8,
    long: u64,
    size: usize,
    word: u16,
    difference: isize,
    wide: i128,
    float: f64,
    text: String,
    bytes: Vec<u8>,
    nested: Vec<Option<(u8, u64, char)>>,
}

impl Mixed {
    fn new() -> Mixed {
        Mixed {
            byte: 1,
            long: u64::MAX - 1,
            size: u32::MAX as usize,
            word: 0x0102,
            difference: i32::MIN as isize,
            wide: i128::MIN + 7,
            float: -0.1,
            text: "größer".to_string(),
            bytes: vec![1, 2, 3],
            nested: vec![Some((1, 1 << 40, 'ß')), None],
        }
    }
}

/// As many bytes as the README's example has.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Small {
    number: u64,
    rest: [u64; 6],
    end: u32,
}

impl Small {
    fn new(number: u64) -> Small {
        Small { number, rest: [number; 6], end: 7 }
    }
}

/// What the child is to do.
#[derive(Debug, Serialize, Deserialize)]
enum Order {
    /// Report the number of bits of a pointer.
    Width,
    Echo(Mixed),
    /// Receive so many small messages and large ones, and report whether they came by ring.
    Receive(IpcReceiver<Small>, u64, IpcReceiver<Vec<u8>>),
    /// Send as many, and report whether they were sent by ring.
    Send(IpcSender<Small>, u64, IpcSender<Vec<u8>>),
    /// Send so many, waiting for permits.
    SendBounded(IpcSyncSender<u64>, u64),
    /// Receive from a bounded channel until it is disconnected, and report the number
    /// of messages.
    ReceiveBounded(IpcReceiver<u64>),
    /// Send these back, after reading and writing.
    Memory(IpcSharedMemory, SharedMemoryReader, SharedMemoryWriter),
    /// Write into it.
    File(Handle<File>),
    /// Receive so many messages, and send the receiver back with the others.
    TakeSome(IpcReceiver<Small>, u64),
    /// Send something to the one-shot server of that name.
    OneShot(String),
    /// Become a client of the server of that name.
    Client(String),
}

/// A report of the child.
#[derive(Debug, Serialize, Deserialize)]
enum Report {
    Width(u32),
    Echo(Mixed),
    HasRing(bool),
    Count(u64),
    Memory(IpcSharedMemory, SharedMemoryReader),
    Done,
    Rest(IpcReceiver<Small>),
}

fn has_mapped_ring() -> bool {
    fs::read_to_string("/proc/self/maps").unwrap().contains("strait-ring")
}

fn send_all(small: &IpcSender<Small>, count: u64, large: &IpcSender<Vec<u8>>) {
    for number in 0..count {
        small.send(Small::new(number)).unwrap();
        if number % 5000 == 0 {
            large.send(vec![(number / 5000) as u8; LARGE]).unwrap();
        }
    }
}

fn receive_all(small: &IpcReceiver<Small>, count: u64, large: &IpcReceiver<Vec<u8>>) {
    for number in 0..count {
        assert_eq!(small.recv().unwrap(), Small::new(number));
        if number % 5000 == 0 {
            let bytes = large.recv().unwrap();
            assert!(bytes == vec![(number / 5000) as u8; LARGE], "large message {number}");
        }
    }
}

#[test]
fn order_child() {
    child_main(|_| {
        let (to_parent, from_parent) = process::parent::<Report, Order>().unwrap();
        loop {
            match from_parent.recv() {
                Ok(order) => to_parent.send(obey(order)).unwrap(),
                Err(error) if error.is_disconnected() => break,
                Err(error) => panic!("{error}"),
            }
        }
    });
}

fn obey(order: Order) -> Report {
    match order {
        Order::Width => Report::Width(usize::BITS),
        Order::Echo(mixed) => Report::Echo(mixed),
        Order::Receive(small, count, large) => {
            receive_all(&small, count, &large);
            Report::HasRing(has_mapped_ring())
        }
        Order::Send(small, count, large) => {
            send_all(&small, count, &large);
            Report::HasRing(has_mapped_ring())
        }
        Order::SendBounded(sender, count) => {
            (0..count).for_each(|number| sender.send(number).unwrap());
            Report::Done
        }
        Order::ReceiveBounded(receiver) => {
            let mut count = 0;
            for number in receiver {
                assert_eq!(number, count);
                count += 1;
            }
            Report::Count(count)
        }
        Order::Memory(memory, reader, writer) => {
            let size = writer.len();
            assert_eq!(reader.to_vec().unwrap(), b"from the parent");
            writer.write_at(size - 3, b"end").unwrap();
            let mut bytes = memory.to_vec();
            bytes.reverse();
            Report::Memory(IpcSharedMemory::from_bytes(&bytes), writer.reader().unwrap())
        }
        Order::File(file) => {
            file.into_inner().write_all(b"from the child").unwrap();
            Report::Done
        }
        Order::TakeSome(receiver, count) => {
            for number in 0..count {
                assert_eq!(receiver.recv().unwrap(), Small::new(number));
            }
            Report::Rest(receiver)
        }
        Order::OneShot(name) => {
            let sender = IpcSender::<Mixed>::connect(name).unwrap();
            sender.send(Mixed::new()).unwrap();
            Report::Done
        }
        Order::Client(name) => {
            let (to_server, from_server) = ipc::connect::<Mixed, Mixed>(name.as_str()).unwrap();
            to_server.send(Mixed::new()).unwrap();
            assert_eq!(from_server.recv().unwrap(), Mixed::new());
            Report::Done
        }
    }
}

/// A child, and the channels to it.
struct Other {
    child: Child,
    orders: IpcSender<Order>,
    reports: IpcReceiver<Report>,
}

impl Other {
    fn start() -> Other {
        let program = env::var_os(PROGRAM).map_or_else(|| env::current_exe().unwrap(), Into::into);
        let mut command = harness::command_of(&program, harness::path_of(order_child), &[]);
        let (child, orders, reports) = command.spawn_with_channel().unwrap();
        Other { child, orders, reports }
    }

    fn order(&self, order: Order) {
        self.orders.send(order).unwrap();
    }

    #[track_caller]
    fn report(&self) -> Report {
        self.reports.recv().unwrap()
    }

    /// Checks that nothing in the child has failed.
    fn end(self) {
        let Other { mut child, orders, reports } = self;
        drop(orders);
        assert!(reports.recv().unwrap_err().is_disconnected());
        assert_eq!(child.wait().unwrap().code(), Some(COMPLETED));
    }
}

/// Checks that the other program has the expected width.
#[test]
fn child_has_the_expected_width() {
    let _watchdog = watchdog();
    let other = Other::start();
    other.order(Order::Width);
    let Report::Width(width) = other.report() else { panic!("another report") };
    let expected = env::var(WIDTH).map_or(usize::BITS, |width| width.parse().unwrap());
    assert_eq!(width, expected);
    other.end();
}

#[test]
fn values_are_the_same_on_both_sides() {
    let _watchdog = watchdog();
    let other = Other::start();
    other.order(Order::Echo(Mixed::new()));
    let Report::Echo(mixed) = other.report() else { panic!("another report") };
    assert_eq!(mixed, Mixed::new());
    other.end();
}

#[test]
fn messages_by_ring_are_received() {
    harness::alone(harness::path_of(messages_by_ring_are_received), || {
        let other = Other::start();
        let (small, from_us) = ipc::channel().unwrap();
        let (large, large_from_us) = ipc::channel().unwrap();
        other.order(Order::Receive(from_us, MANY, large_from_us));
        send_all(&small, MANY, &large);
        let Report::HasRing(has_ring) = other.report() else { panic!("another report") };
        assert!(has_ring && has_mapped_ring());
        other.end();
    });
}

#[test]
fn messages_of_a_child_by_ring_are_received() {
    harness::alone(harness::path_of(messages_of_a_child_by_ring_are_received), || {
        let other = Other::start();
        let (to_us, small) = ipc::channel().unwrap();
        let (large_to_us, large) = ipc::channel().unwrap();
        other.order(Order::Send(to_us, MANY, large_to_us));
        receive_all(&small, MANY, &large);
        let Report::HasRing(has_ring) = other.report() else { panic!("another report") };
        assert!(has_ring && has_mapped_ring());
        other.end();
    });
}

/// Moves with its ring and the messages in it.
#[test]
fn a_receiver_moves_to_a_child_and_back() {
    let _watchdog = watchdog();
    let other = Other::start();
    let (sender, receiver) = ipc::channel().unwrap();
    // It has a ring and messages when it is moved.
    for number in 0..1000 {
        sender.send(Small::new(number)).unwrap();
        assert_eq!(receiver.recv().unwrap(), Small::new(number));
    }
    (0..MANY).for_each(|number| sender.send(Small::new(number)).unwrap());
    other.order(Order::TakeSome(receiver, MANY / 2));
    let Report::Rest(receiver) = other.report() else { panic!("another report") };
    for number in MANY..2 * MANY {
        sender.send(Small::new(number)).unwrap();
    }
    for number in MANY / 2..2 * MANY {
        assert_eq!(receiver.recv().unwrap(), Small::new(number));
    }
    other.end();
}

#[test]
fn bound_holds_between_two_widths() {
    let _watchdog = watchdog();
    for bound in [0, 1, 100] {
        let other = Other::start();
        let (sender, receiver) = ipc::sync_channel(bound).unwrap();
        other.order(Order::SendBounded(sender, 300));
        for number in 0..300 {
            assert_eq!(receiver.recv().unwrap(), number);
        }
        assert!(matches!(other.report(), Report::Done));

        let (sender, receiver) = ipc::sync_channel(bound).unwrap();
        other.order(Order::ReceiveBounded(receiver));
        (0..300).for_each(|number| sender.send(number).unwrap());
        drop(sender);
        assert!(matches!(other.report(), Report::Count(300)));
        other.end();
    }
}

#[test]
fn shared_memory_and_files_arrive() {
    let _watchdog = watchdog();
    let other = Other::start();
    let bytes: Vec<u8> = (0..LARGE).map(|number| number as u8).collect();
    let writer = SharedMemoryWriter::new(15).unwrap();
    writer.write_at(0, b"from the parent").unwrap();
    let shared = SharedMemoryWriter::new(LARGE + 3).unwrap();
    let memory = IpcSharedMemory::from_bytes(&bytes);
    other.order(Order::Memory(memory, writer.reader().unwrap(), shared));
    let Report::Memory(reversed, reader) = other.report() else { panic!("another report") };
    assert!(reversed.iter().rev().eq(&bytes));
    let written = reader.to_vec().unwrap();
    assert_eq!((written.len(), &written[LARGE..]), (LARGE + 3, &b"end"[..]));

    let mut file = File::from(memfd_create("test", MemfdFlags::CLOEXEC).unwrap());
    other.order(Order::File(Handle(file.try_clone().unwrap())));
    assert!(matches!(other.report(), Report::Done));
    let mut text = String::new();
    file.seek(SeekFrom::Start(0)).unwrap();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "from the child");
    other.end();
}

#[test]
fn one_shot_server_is_reached_by_name() {
    let _watchdog = watchdog();
    let other = Other::start();
    let (server, name) = IpcOneShotServer::<Mixed>::new().unwrap();
    other.order(Order::OneShot(name));
    assert_eq!(server.accept().unwrap().1, Mixed::new());
    assert!(matches!(other.report(), Report::Done));

    let name = format!("strait-widths-{}", std::process::id());
    let mut server = IpcServer::<Mixed, Mixed>::bind(name.as_str()).unwrap();
    other.order(Order::Client(name));
    let client = server.accept().unwrap();
    assert_eq!(client.receiver.recv().unwrap(), Mixed::new());
    client.sender.send(Mixed::new()).unwrap();
    assert!(matches!(other.report(), Report::Done));
    other.end();
}
