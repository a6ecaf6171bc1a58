//! Channels across processes do what `std::sync::mpsc` does within one: random programs are run
//! on both and compared.
//!
//! A program is a sequence of steps on up to three channels, whose endpoints lie in up to three
//! processes. A step is done when its process has reported so, through another channel, through
//! a pipe or by exiting. So every process sees it before the next step. The messages received
//! are those of std's channel, in the same order. Only the messages that several threads send
//! in one step may interleave, each thread's in its own order. Both channels are disconnected
//! at the same step.

#![cfg(all(target_os = "linux", not(feature = "force-inprocess")))]

#[path = "../harness/mod.rs"]
mod harness;

mod programs;
mod relay;
mod twin;

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::process;
use std::rc::Rc;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::pipe::PipeFlags;
use serde::{Deserialize, Serialize};
use strait::handle::Handle;
use strait::ipc::{self, IpcError, IpcOneShotServer, IpcReceiver, IpcSender, TryRecvError};

use harness::Child;
use harness::raw::Random;
use harness::ways::{Next, all_ways};

// ---- What processes do ----

/// A message of the channels that are compared.
#[derive(Debug, Serialize, Deserialize)]
struct Letter {
    tag: Tag,
    #[serde(with = "bytes")]
    body: Vec<u8>,
    carried: Vec<(Name, Endpoint)>,
}

/// The identity of a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Tag {
    /// The step in which it was sent, ...
    step: u32,
    /// ... the thread that sent it then, ...
    thread: u32,
    /// ... and how many it sent before.
    number: u32,
    len: u32,
}

impl Tag {
    fn body(self) -> Vec<u8> {
        vec![(self.step ^ (self.thread << 5) ^ self.number) as u8; self.len as usize]
    }
}

/// As one piece, which is quicker in a debug build than byte by byte.
mod bytes {
    use serde::de::{Deserializer, Visitor};
    use serde::ser::Serializer;

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        struct Bytes;

        impl Visitor<'_> for Bytes {
            type Value = Vec<u8>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }

            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
                Ok(bytes)
            }
        }

        deserializer.deserialize_byte_buf(Bytes)
    }
}

/// The name of an endpoint, which does not change when it is moved.
type Name = u32;

#[derive(Debug, Serialize, Deserialize)]
enum Endpoint {
    Sender(IpcSender<Letter>),
    Receiver(IpcReceiver<Letter>),
}

impl Endpoint {
    fn sender(&self) -> &IpcSender<Letter> {
        match self {
            Endpoint::Sender(sender) => sender,
            Endpoint::Receiver(_) => panic!("a receiver does not send"),
        }
    }

    fn receiver(&self) -> &IpcReceiver<Letter> {
        match self {
            Endpoint::Receiver(receiver) => receiver,
            Endpoint::Sender(_) => panic!("a sender does not receive"),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
enum Order {
    Keep(Name, Endpoint),
    /// Send letters, in sequence, or each list on a thread of its own.
    Send {
        by: Name,
        letters: Vec<Vec<Tag>>,
    },
    /// Send one letter with these endpoints, if the socket has room: letters with endpoints are
    /// sent by socket, and would block.
    Carry {
        by: Name,
        letter: Tag,
        carried: Vec<Name>,
    },
    Clone {
        of: Name,
        new: Name,
    },
    Drop(Name),
    Receive {
        by: Name,
        count: usize,
        how: How,
    },
    /// From now on, report by this pipe if the report is nothing but `Done`.
    Tell(Option<Handle<File>>),
    /// Drop everything.
    Clear,
    Exit,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum How {
    Wait,
    Iterate,
    Poll,
    PollEdges,
    Try,
    WaitForMoment,
}

/// The outcome of an order.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Report {
    Done,
    /// The receiver was dropped.
    Refused,
    /// There is no room for a letter with endpoints.
    Full,
    Received(Vec<Received>),
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Received {
    Letter(Tag),
    Empty,
    Disconnected,
}

const REFUSED: u8 = 1;
const FULL: u8 = 2;
const DONE: u8 = 3;

/// Executes orders.
fn obey(orders: &IpcReceiver<Order>, reports: &IpcSender<Report>) {
    let mut kept: BTreeMap<Name, Endpoint> = BTreeMap::new();
    let mut pipe: Option<File> = None;
    for order in orders.iter() {
        let report = match order {
            Order::Keep(name, endpoint) => {
                assert!(kept.insert(name, endpoint).is_none());
                Report::Done
            }
            Order::Send { by, letters } => send(kept[&by].sender(), letters),
            Order::Carry { by, letter, carried } => {
                let sender = kept[&by].sender().clone();
                if has_room(&sender) {
                    let carried = carried.iter().map(|name| kept.remove_entry(name).unwrap());
                    let carried = carried.collect();
                    let letter = Letter { tag: letter, body: letter.body(), carried };
                    report_of(sender.send(letter))
                } else {
                    Report::Full
                }
            }
            Order::Clone { of, new } => {
                let clone = Endpoint::Sender(kept[&of].sender().clone());
                assert!(kept.insert(new, clone).is_none());
                Report::Done
            }
            Order::Drop(name) => {
                kept.remove(&name).unwrap();
                Report::Done
            }
            Order::Receive { by, count, how } => {
                let mut received = Vec::new();
                for _ in 0..count {
                    let receiver = kept[&by].receiver();
                    let result = match how {
                        How::Wait => receiver.recv().map_err(TryRecvError::from),
                        How::Iterate => receiver
                            .iter()
                            .next()
                            .ok_or(TryRecvError::IpcError(IpcError::Disconnected)),
                        How::Poll => receive_polled(receiver, EventFlags::empty()),
                        How::PollEdges => receive_polled(receiver, EventFlags::ET),
                        How::Try => receiver.try_recv(),
                        How::WaitForMoment => receiver.recv_timeout(Duration::from_millis(2)),
                    };
                    received.push(match result {
                        Ok(letter) => {
                            assert!(
                                letter.body == letter.tag.body(),
                                "{:?} is damaged",
                                letter.tag
                            );
                            kept.extend(letter.carried);
                            Received::Letter(letter.tag)
                        }
                        Err(TryRecvError::Empty) => Received::Empty,
                        Err(TryRecvError::IpcError(IpcError::Disconnected)) => {
                            Received::Disconnected
                        }
                        Err(error) => panic!("{error:?}"),
                    });
                }
                Report::Received(received)
            }
            Order::Tell(to) => {
                pipe = to.map(Handle::into_inner);
                continue;
            }
            Order::Clear => {
                kept.clear();
                Report::Done
            }
            Order::Exit => return,
        };
        match (&mut pipe, report) {
            (Some(pipe), Report::Done) => pipe.write_all(&[DONE]).unwrap(),
            (Some(pipe), Report::Refused) => pipe.write_all(&[REFUSED]).unwrap(),
            (Some(pipe), Report::Full) => pipe.write_all(&[FULL]).unwrap(),
            (_, report) => reports.send(report).unwrap(),
        }
    }
}

fn send(sender: &IpcSender<Letter>, letters: Vec<Vec<Tag>>) -> Report {
    let send_all = |sender: &IpcSender<Letter>, letters: Vec<Tag>| {
        let mut report = Report::Done;
        for tag in letters {
            report = report_of(sender.send(Letter { tag, body: tag.body(), carried: vec![] }));
        }
        report
    };
    let mut letters = VecDeque::from(letters);
    let Some(mine) = letters.pop_front() else { return Report::Done };
    thread::scope(|scope| {
        for theirs in letters {
            let sender = sender.clone();
            scope.spawn(move || send_all(&sender, theirs));
        }
        send_all(sender, mine)
    })
}

fn report_of(sent: Result<(), IpcError>) -> Report {
    match sent {
        Ok(()) => Report::Done,
        Err(IpcError::Disconnected) => Report::Refused,
        Err(error) => panic!("{error:?}"),
    }
}

/// Receives the next letter, and blocks only in an epoll instance.
fn receive_polled(
    receiver: &IpcReceiver<Letter>,
    mode: EventFlags,
) -> Result<Letter, TryRecvError> {
    let epoll = epoll::create(CreateFlags::CLOEXEC).unwrap();
    epoll::add(&epoll, receiver.as_fd(), EventData::new_u64(1), EventFlags::IN | mode).unwrap();
    loop {
        match receiver.try_recv() {
            Err(TryRecvError::Empty) => {
                let mut events = [MaybeUninit::uninit(); 1];
                epoll::wait(&epoll, &mut events, None).unwrap();
            }
            other => return other,
        }
    }
}

/// Whether a small packet can be sent without blocking.
fn has_room(sender: &IpcSender<Letter>) -> bool {
    let fd = sender.as_fd();
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
    rustix::event::poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() > 0
}

#[test]
fn order_child() {
    harness::child_main(|arguments| {
        let (order_sender, orders) = ipc::channel().unwrap();
        let (reports, report_receiver) = ipc::channel().unwrap();
        let boot = IpcSender::connect(arguments[0].clone()).unwrap();
        boot.send((order_sender, report_receiver)).unwrap();
        drop(boot);
        obey(&orders, &reports);
        // The process exits without dropping anything.
        process::exit(0);
    });
}

// ---- Workers ----

/// A worker that takes orders: a process, or a thread of this process.
struct Worker {
    orders: IpcSender<Order>,
    reports: IpcReceiver<Report>,
    pipe: Option<File>,
    body: Body,
}

enum Body {
    Process(Child),
    Thread(JoinHandle<()>),
}

type Ends = (IpcSender<Order>, IpcReceiver<Report>);

impl Worker {
    fn start(index: usize) -> Worker {
        if index == 0 {
            let (orders, order_receiver) = ipc::channel().unwrap();
            let (report_sender, reports) = ipc::channel().unwrap();
            let thread = thread::spawn(move || obey(&order_receiver, &report_sender));
            return Worker { orders, reports, pipe: None, body: Body::Thread(thread) };
        }
        let (server, name) = IpcOneShotServer::<Ends>::new().unwrap();
        let process = harness::child(harness::path_of(order_child), &[&name]);
        let (_, (orders, reports)) = server.accept().unwrap();
        Worker { orders, reports, pipe: None, body: Body::Process(process) }
    }

    fn order(&self, order: Order) {
        self.orders.send(order).unwrap();
    }

    /// Chooses how the worker reports.
    fn tell_by_pipe(&mut self, by_pipe: bool) {
        if by_pipe == self.pipe.is_some() {
            return;
        }
        self.pipe = None;
        let theirs = by_pipe.then(|| {
            let (ours, theirs) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).unwrap();
            self.pipe = Some(File::from(ours));
            Handle(File::from(theirs))
        });
        self.order(Order::Tell(theirs));
    }

    /// The outcome of an order that receives no letter.
    fn done(&mut self) -> Report {
        let Some(pipe) = &mut self.pipe else { return self.reports.recv().unwrap() };
        let mut byte = [0];
        pipe.read_exact(&mut byte).unwrap();
        match byte[0] {
            DONE => Report::Done,
            REFUSED => Report::Refused,
            FULL => Report::Full,
            other => panic!("{other} means nothing"),
        }
    }

    /// When this returns, the process has exited and its endpoints are closed.
    fn exited(self) {
        self.order(Order::Exit);
        match self.body {
            Body::Process(mut process) => {
                assert!(process.wait().unwrap().success());
            }
            Body::Thread(thread) => thread.join().unwrap(),
        }
    }
}
