//! Channels across processes do what `std::sync::mpsc` does within one: random programs are run on both and compared.
//!
//! A program is a sequence of steps on up to three channels, whose endpoints lie in up to three processes. A step is done when whoever
//! did it has said so, through another channel, through a pipe or by exiting, so it comes before the next to whoever can compare. What
//! is received is what std's channel gives, in its order; only what several threads send in one step may interleave, each in its
//! own order. An end is an end on both, at the same step.

#![cfg(all(target_os = "linux", not(feature = "force-inprocess")))]

#[path = "../harness/mod.rs"]
mod harness;

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

/// What goes through the channels that are compared.
#[derive(Debug, Serialize, Deserialize)]
struct Letter {
    tag: Tag,
    #[serde(with = "bytes")]
    body: Vec<u8>,
    carried: Vec<(Name, Endpoint)>,
}

/// Which letter it is.
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

/// An endpoint keeps its name wherever it goes.
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
    /// Send letters, one after another, or each list on a thread of its own.
    Send {
        by: Name,
        letters: Vec<Vec<Tag>>,
    },
    /// Send one letter with these endpoints, if the socket has room: what has endpoints goes by socket, and waits if there is none.
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
    /// Send by this pipe from now on what was done, if it is nothing but done.
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

/// What became of an order.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Report {
    Done,
    /// There is no receiver.
    Refused,
    /// There is no room for what has endpoints.
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

/// Does what it is told.
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

/// Receives the next letter, without waiting in anything but an epoll instance.
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

/// Whether a small packet goes without waiting.
fn has_room(sender: &IpcSender<Letter>) -> bool {
    let fd = sender.as_fd();
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
    rustix::event::poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() > 0
}

#[test]
fn obedient_child() {
    harness::child_main(|arguments| {
        let (order_sender, orders) = ipc::channel().unwrap();
        let (reports, report_receiver) = ipc::channel().unwrap();
        let boot = IpcSender::connect(arguments[0].clone()).unwrap();
        boot.send((order_sender, report_receiver)).unwrap();
        drop(boot);
        obey(&orders, &reports);
        // Nothing is dropped in an orderly manner.
        process::exit(0);
    });
}

// ---- A relay ----

/// What is handed on: who has it sends some letters and gives it to another.
#[derive(Debug, Serialize, Deserialize)]
struct Baton {
    hops: u32,
    random: u64,
}

/// Everything that a runner needs.
#[derive(Debug, Serialize, Deserialize)]
struct Track {
    index: usize,
    batons: IpcReceiver<Baton>,
    to: Vec<IpcSender<Baton>>,
    letters: IpcSender<Letter>,
}

/// Sends letters while it has the baton, some with an endpoint, which go another way than those without.
fn run(track: Track) {
    let Track { batons, to, letters, index } = track;
    for Baton { hops, random } in batons.iter() {
        if hops == 0 {
            // The others are to end, too.
            for sender in &to {
                // Who has ended already needs to be told no more.
                let _ = sender.send(Baton { hops, random });
            }
            return;
        }
        let mut random = Random::new(random);
        let count = if random.below(30) == 0 { 100 } else { 1 + random.below(3) };
        for number in 0..count {
            let len = match random.below(200) {
                0 => 100_000,
                1..=10 => 20_000,
                _ => random.below(50),
            };
            let tag =
                Tag { step: hops, thread: index as u32, number: number as u32, len: len as u32 };
            let has_endpoint = random.below(6) == 0;
            let carried =
                has_endpoint.then(|| (0, Endpoint::Sender(letters.clone()))).into_iter().collect();
            letters.send(Letter { tag, body: tag.body(), carried }).unwrap();
        }
        let next = random.below(to.len());
        to[next].send(Baton { hops: hops - 1, random: random.next() }).unwrap();
    }
}

#[test]
fn running_child() {
    harness::child_main(|arguments| {
        let (sender, receiver) = ipc::channel().unwrap();
        let boot = IpcSender::<IpcSender<Track>>::connect(arguments[0].clone()).unwrap();
        boot.send(sender).unwrap();
        run(receiver.recv().unwrap());
    });
}

/// Whoever has the baton knows of all that was sent before, and it moves as fast as it can while the letters are received.
#[test]
fn letters_of_a_relay_arrive_in_its_order() {
    const HOPS: u32 = 1000;

    let _watchdog = harness::watchdog();
    for (index, (way, receive)) in all_ways::<Letter>().into_iter().enumerate() {
        let runners = 2 + index as u64 % 2;
        let (letters, received) = ipc::channel::<Letter>().unwrap();
        let (to, batons): (Vec<_>, Vec<_>) =
            (0..runners).map(|_| ipc::channel::<Baton>().unwrap()).unzip();
        let mut tracks: Vec<Track> = (0..)
            .zip(batons)
            .map(|(index, batons)| Track {
                index,
                batons,
                to: to.clone(),
                letters: letters.clone(),
            })
            .collect();
        drop(letters);
        let mine = tracks.pop().unwrap();
        let children: Vec<Child> = tracks
            .into_iter()
            .map(|track| {
                let (server, name) = IpcOneShotServer::<IpcSender<Track>>::new().unwrap();
                let child = harness::child(harness::path_of(running_child), &[&name]);
                server.accept().unwrap().1.send(track).unwrap();
                child
            })
            .collect();
        let running = thread::spawn(move || run(mine));
        to[0].send(Baton { hops: HOPS, random: runners }).unwrap();
        drop(to);
        let mut last = Tag { step: HOPS + 1, thread: 0, number: 0, len: 0 };
        let mut count = 0;
        let mut next = receive(received);
        loop {
            let letter = match next() {
                Next::Value(letter) => letter,
                Next::Refused => panic!("{way}: an error out of nothing"),
                Next::Closed => break,
            };
            let tag = letter.tag;
            assert!(letter.body == tag.body(), "{way}: {tag:?} is damaged");
            let is_next = (tag.step, tag.thread, tag.number)
                == (last.step, last.thread, last.number + 1)
                || (tag.step, tag.number) == (last.step - 1, 0);
            assert!(is_next, "{way}: {tag:?} came after {last:?}");
            last = tag;
            count += 1;
        }
        assert_eq!(last.step, 1, "{way}");
        assert!(count >= HOPS, "{way}");
        running.join().unwrap();
        children.into_iter().for_each(Child::completed);
    }
}

// ---- Workers ----

/// Who takes orders: a process, or a thread of this one.
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
        let process = harness::child(harness::path_of(obedient_child), &[&name]);
        let (_, (orders, reports)) = server.accept().unwrap();
        Worker { orders, reports, pipe: None, body: Body::Process(process) }
    }

    fn order(&self, order: Order) {
        self.orders.send(order).unwrap();
    }

    /// Chooses how it tells what it did.
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

    /// What became of an order that nothing is received by.
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

    /// Whatever it keeps is gone when this returns.
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

// ---- What std does ----

/// What stands for a letter.
struct Token {
    tag: Tag,
    carried: Vec<(Name, Twin)>,
}

/// What stands for an endpoint.
struct Twin {
    channel: usize,
    end: TwinEnd,
}

enum TwinEnd {
    Sender(mpsc::Sender<Token>),
    Receiver(TwinReceiver),
}

struct TwinReceiver {
    tokens: mpsc::Receiver<Token>,
    /// Those that were taken to see whether the letter that was received may be received yet.
    taken: VecDeque<Token>,
    /// Whether it is in a letter.
    is_travelling: Cell<bool>,
    /// Set when it is dropped there, or has not received everything: who sends by memory learns that only when it looks.
    died_unseen: Rc<Cell<bool>>,
}

impl Drop for TwinReceiver {
    fn drop(&mut self) {
        if self.is_travelling.get() || self.queued() > 0 {
            self.died_unseen.set(true);
        }
    }
}

impl TwinReceiver {
    /// What std would say that there is, if it is not a letter.
    fn at_end(&mut self) -> Option<Received> {
        if self.taken.is_empty() {
            match self.tokens.try_recv() {
                Ok(token) => self.taken.push_back(token),
                Err(mpsc::TryRecvError::Empty) => return Some(Received::Empty),
                Err(mpsc::TryRecvError::Disconnected) => return Some(Received::Disconnected),
            }
        }
        None
    }

    /// Checks that this is what comes next, and takes what came with it.
    fn take(&mut self, received: &Received) -> Vec<(Name, Twin)> {
        let end = self.at_end();
        let Received::Letter(tag) = received else {
            assert_eq!(end.as_ref(), Some(received));
            return Vec::new();
        };
        assert_eq!(end, None, "{tag:?} came out of nothing");
        // All of the step, of which any thread's first may be next.
        let step = self.taken[0].tag.step;
        while self.taken.back().is_some_and(|token| token.tag.step == step) {
            match self.tokens.try_recv() {
                Ok(token) => self.taken.push_back(token),
                Err(_) => break,
            }
        }
        let is_next = |token: &Token| (token.tag.step, token.tag.thread) == (step, tag.thread);
        let next = self.taken.iter().position(is_next);
        let token = next.and_then(|next| self.taken.remove(next));
        let token = token.unwrap_or_else(|| panic!("{tag:?} came before what is of step {step}"));
        assert_eq!(token.tag, *tag);
        for (_, twin) in &token.carried {
            twin.set_travelling(false);
        }
        token.carried
    }

    fn queued(&mut self) -> usize {
        while let Ok(token) = self.tokens.try_recv() {
            self.taken.push_back(token);
        }
        self.taken.len()
    }
}

impl Twin {
    fn set_travelling(&self, is_travelling: bool) {
        if let TwinEnd::Receiver(receiver) = &self.end {
            receiver.is_travelling.set(is_travelling);
        }
    }

    fn sender(&self) -> &mpsc::Sender<Token> {
        match &self.end {
            TwinEnd::Sender(sender) => sender,
            TwinEnd::Receiver(_) => panic!("a receiver does not send"),
        }
    }

    fn receiver(&mut self) -> &mut TwinReceiver {
        match &mut self.end {
            TwinEnd::Receiver(receiver) => receiver,
            TwinEnd::Sender(_) => panic!("a sender does not receive"),
        }
    }
}

// ---- Programs ----

/// Says on which program a test failed.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the program was that of seed {}", self.0);
        }
    }
}

/// The state of a program.
struct World<'a> {
    random: Random,
    workers: &'a mut Vec<Worker>,
    /// Where each endpoint is that a process has.
    twins: BTreeMap<Name, (usize, Twin)>,
    died_unseen: Vec<Rc<Cell<bool>>>,
    next_name: Name,
    step: u32,
}

impl<'a> World<'a> {
    fn new(seed: u64, workers: &'a mut Vec<Worker>) -> World<'a> {
        let mut world = World {
            random: Random::new(seed),
            workers,
            twins: BTreeMap::new(),
            died_unseen: Vec::new(),
            next_name: 0,
            step: 0,
        };
        for channel in 0..1 + world.random.below(3) {
            let (sender, receiver) = ipc::channel().unwrap();
            let (token_sender, tokens) = mpsc::channel();
            let died_unseen = Rc::new(Cell::new(false));
            world.died_unseen.push(Rc::clone(&died_unseen));
            let twin = TwinReceiver {
                tokens,
                taken: VecDeque::new(),
                is_travelling: Cell::new(false),
                died_unseen,
            };
            world.place(channel, Endpoint::Sender(sender), TwinEnd::Sender(token_sender));
            world.place(channel, Endpoint::Receiver(receiver), TwinEnd::Receiver(twin));
        }
        world
    }

    /// Gives a new endpoint to any process.
    fn place(&mut self, channel: usize, endpoint: Endpoint, end: TwinEnd) {
        let place = self.random.below(self.workers.len());
        let name = self.name();
        self.workers[place].order(Order::Keep(name, endpoint));
        assert_eq!(self.workers[place].done(), Report::Done);
        self.twins.insert(name, (place, Twin { channel, end }));
    }

    fn name(&mut self) -> Name {
        self.next_name += 1;
        self.next_name
    }

    /// Has it done, and waits until it is, learning that in any way.
    fn order(&mut self, place: usize, order: Order) -> Report {
        let by_pipe = self.random.below(2) == 0;
        self.workers[place].tell_by_pipe(by_pipe);
        self.workers[place].order(order);
        self.workers[place].done()
    }

    fn any_of(&mut self, is_one: impl Fn(&Twin) -> bool) -> Option<Name> {
        let names: Vec<Name> = self
            .twins
            .iter()
            .filter(|(_, (_, twin))| is_one(twin))
            .map(|(name, _)| *name)
            .collect();
        if names.is_empty() { None } else { Some(names[self.random.below(names.len())]) }
    }

    fn any_sender(&mut self) -> Option<Name> {
        self.any_of(|twin| matches!(twin.end, TwinEnd::Sender(_)))
    }

    fn any_receiver(&mut self) -> Option<Name> {
        self.any_of(|twin| matches!(twin.end, TwinEnd::Receiver(_)))
    }

    /// Something to send: most is small, some is around where there is another way, some is large.
    fn len(&mut self) -> u32 {
        let len = match self.random.below(40) {
            0 => self.random.below(300 << 10),
            1 => (200 << 10) - 200 + self.random.below(400),
            2 => (16 << 10) - 100 + self.random.below(200),
            3..=9 => self.random.below(5000),
            10..=19 => 0,
            _ => self.random.below(60),
        };
        len as u32
    }

    fn letters(&mut self, thread: usize) -> Vec<Tag> {
        let count = match self.random.below(3) {
            0 => 1,
            1 => 1 + self.random.below(20),
            // Enough for a ring.
            _ => 70 + self.random.below(150),
        };
        // So many of any length would be several megabytes.
        let mut is_small = count > 50 && self.random.below(4) > 0;
        (0..count as u32)
            .map(|number| {
                let len = if is_small { self.random.below(100) as u32 } else { self.len() };
                is_small |= number > 40;
                Tag { step: self.step, thread: thread as u32, number, len }
            })
            .collect()
    }

    fn run_step(&mut self) {
        self.step += 1;
        match self.random.below(20) {
            0..=5 => self.send(false),
            6..=8 => self.send(true),
            9..=12 => self.receive(),
            13..=15 => self.carry(),
            16..=17 => self.clone_sender(),
            18 => self.drop_one(),
            _ => self.lose_process(),
        }
    }

    /// Has letters sent: by several threads and processes, and received meanwhile, or not.
    fn send(&mut self, is_received: bool) {
        let Some(name) = self.any_sender() else { return };
        let channel = self.twins[&name].1.channel;
        let mut senders: BTreeMap<usize, Name> = BTreeMap::new();
        senders.insert(self.twins[&name].0, name);
        if self.random.below(2) == 0 {
            for (name, (place, twin)) in &self.twins {
                if twin.channel == channel && matches!(twin.end, TwinEnd::Sender(_)) {
                    senders.entry(*place).or_insert(*name);
                }
            }
        }
        let receiver = self.twins.iter().find(|(_, (place, twin))| {
            is_received
                && twin.channel == channel
                && matches!(twin.end, TwinEnd::Receiver(_))
                && !senders.contains_key(place)
        });
        let receiver = receiver.map(|(name, _)| *name);
        let mut sent = Vec::new();
        for (place, name) in &senders {
            let threads = if self.random.below(4) == 0 { 2 } else { 1 };
            let letters: Vec<Vec<Tag>> =
                (0..threads).map(|thread| self.letters(10 * place + thread)).collect();
            sent.push((*place, *name, letters));
        }
        for (place, name, letters) in &sent {
            let order = Order::Send { by: *name, letters: letters.clone() };
            self.workers[*place].order(order);
        }
        if let Some(name) = receiver {
            let new: usize = sent.iter().flat_map(|(.., letters)| letters).map(Vec::len).sum();
            let (place, twin) = self.twins.get_mut(&name).unwrap();
            let place = *place;
            let all = twin.receiver().queued() + new;
            let count = all - if self.random.below(2) == 0 { 0 } else { self.random.below(all) };
            let how = if self.random.below(2) == 0 {
                self.some_way_to_wait()
            } else {
                How::WaitForMoment
            };
            let count = if let How::WaitForMoment = how { count.min(20) } else { count };
            self.workers[place].order(Order::Receive { by: name, count, how });
        }
        for (place, name, letters) in sent {
            let report = self.workers[place].done();
            for tag in letters.into_iter().flatten() {
                let sent = self.twins[&name].1.sender().send(Token { tag, carried: vec![] });
                self.compare_sent(channel, &report, sent.is_ok());
            }
        }
        if let Some(name) = receiver {
            self.take_received(name, true);
        }
    }

    fn compare_sent(&self, channel: usize, report: &Report, sent: bool) {
        match report {
            Report::Done => assert!(sent || self.died_unseen[channel].get()),
            Report::Refused => assert!(!sent),
            other => panic!("{other:?}"),
        }
    }

    fn some_way_to_wait(&mut self) -> How {
        [How::Wait, How::Wait, How::Iterate, How::Poll, How::PollEdges][self.random.below(5)]
    }

    fn receive(&mut self) {
        let Some(name) = self.any_receiver() else { return };
        let (place, twin) = self.twins.get_mut(&name).unwrap();
        let (place, queued) = (*place, twin.receiver().queued());
        let is_over = twin.receiver().at_end() == Some(Received::Disconnected);
        let (count, how) = match self.random.below(3) {
            0 => (1 + self.random.below(queued + 3), How::Try),
            1 => (queued + usize::from(is_over), self.some_way_to_wait()),
            _ => (1 + self.random.below(queued.min(5) + 1), How::WaitForMoment),
        };
        self.workers[place].order(Order::Receive { by: name, count, how });
        self.take_received(name, false);
    }

    /// Compares what was received. `is_early` if it was while it was being sent, so that there may have been nothing yet.
    fn take_received(&mut self, name: Name, is_early: bool) {
        let place = self.twins[&name].0;
        let Report::Received(received) = self.workers[place].reports.recv().unwrap() else {
            panic!("nothing was received");
        };
        for received in received {
            if is_early && received == Received::Empty {
                continue;
            }
            let (_, twin) = self.twins.get_mut(&name).unwrap();
            if received == Received::Empty
                && twin.receiver().at_end() == Some(Received::Disconnected)
            {
                // A process that is just being started has copies of all descriptors, for a moment. The end comes all the same.
                self.workers[place].order(Order::Receive { by: name, count: 1, how: How::Wait });
                let end = self.workers[place].reports.recv().unwrap();
                assert_eq!(end, Report::Received(vec![Received::Disconnected]));
                continue;
            }
            let carried = twin.receiver().take(&received);
            self.twins.extend(carried.into_iter().map(|(name, twin)| (name, (place, twin))));
        }
    }

    /// Sends endpoints away.
    fn carry(&mut self) {
        let Some(name) = self.any_sender() else { return };
        let (place, channel) = (self.twins[&name].0, self.twins[&name].1.channel);
        // A receiver only in one direction: it must not end up in its own channel.
        let may_go = |(other, (at, twin)): (&Name, &(usize, Twin))| {
            let may_go = match twin.end {
                TwinEnd::Sender(_) => true,
                TwinEnd::Receiver(_) => twin.channel < channel,
            };
            (*at == place && *other != name && may_go).then_some(*other)
        };
        let mut carried: Vec<Name> = self.twins.iter().filter_map(may_go).collect();
        while carried.len() > 1 && self.random.below(3) > 0 {
            carried.swap_remove(self.random.below(carried.len()));
        }
        let letter = Tag { step: self.step, thread: 0, number: 0, len: self.len() % 30_000 };
        let order = Order::Carry { by: name, letter, carried: carried.clone() };
        let report = self.order(place, order);
        if report == Report::Full {
            return;
        }
        let twins = carried.iter().map(|name| {
            let (_, twin) = self.twins.remove(name).unwrap();
            twin.set_travelling(true);
            (*name, twin)
        });
        let token = Token { tag: letter, carried: twins.collect() };
        let sent = self.twins[&name].1.sender().send(token);
        if let Err(mpsc::SendError(token)) = &sent {
            // Its sender drops what could not be sent.
            token.carried.iter().for_each(|(_, twin)| twin.set_travelling(false));
        }
        self.compare_sent(channel, &report, sent.is_ok());
    }

    fn clone_sender(&mut self) {
        let Some(of) = self.any_sender() else { return };
        let new = self.name();
        let (place, twin) = &self.twins[&of];
        let place = *place;
        let twin = Twin { channel: twin.channel, end: TwinEnd::Sender(twin.sender().clone()) };
        assert_eq!(self.order(place, Order::Clone { of, new }), Report::Done);
        self.twins.insert(new, (place, twin));
    }

    fn drop_one(&mut self) {
        // Receivers seldom: without one there is not much to compare.
        let name = if self.random.below(5) == 0 { self.any_receiver() } else { self.any_sender() };
        let Some(name) = name else { return };
        let (place, twin) = self.twins.remove(&name).unwrap();
        assert_eq!(self.order(place, Order::Drop(name)), Report::Done);
        drop(twin);
    }

    /// A process exits with all it has, and another takes its place.
    fn lose_process(&mut self) {
        let lost = self.random.below(self.workers.len());
        if self.random.below(3) > 0 {
            return;
        }
        let worker = std::mem::replace(&mut self.workers[lost], Worker::start(lost));
        worker.exited();
        self.unlink_all(lost);
    }

    /// A receiver that went with its process has not told its senders.
    fn unlink_all(&mut self, lost: usize) {
        self.twins.retain(|_, (place, twin)| {
            if *place == lost && lost != 0 {
                twin.set_travelling(true);
            }
            *place != lost
        });
    }

    /// Receives everything that can be received, while dropping the senders one by one.
    fn finish(mut self) {
        loop {
            let receivers: Vec<Name> = self
                .twins
                .iter()
                .filter(|(_, (_, twin))| matches!(twin.end, TwinEnd::Receiver(_)))
                .map(|(name, _)| *name)
                .collect();
            for name in receivers {
                let (place, twin) = self.twins.get_mut(&name).unwrap();
                let (place, count) = (*place, twin.receiver().queued() + 1);
                let order = Order::Receive { by: name, count, how: How::Try };
                self.workers[place].order(order);
                self.take_received(name, false);
            }
            // More of them may have come out of the channels.
            let Some(name) = self.any_sender() else { break };
            let (place, twin) = self.twins.remove(&name).unwrap();
            assert_eq!(self.order(place, Order::Drop(name)), Report::Done);
            drop(twin);
        }
        for worker in &mut *self.workers {
            worker.order(Order::Clear);
            assert_eq!(worker.done(), Report::Done);
        }
    }
}

#[test]
fn random_programs_do_what_they_do_with_std() {
    let _watchdog = harness::watchdog();
    thread::scope(|scope| {
        // Together, so that they disturb each other.
        for first in [1000, 2000] {
            scope.spawn(move || {
                let mut workers: Vec<Worker> = (0..3).map(Worker::start).collect();
                for seed in first..first + 40 {
                    let _seed = Seed(seed);
                    let mut world = World::new(seed, &mut workers);
                    for _ in 0..30 {
                        world.run_step();
                    }
                    world.finish();
                }
                workers.into_iter().for_each(Worker::exited);
            });
        }
    });
}
