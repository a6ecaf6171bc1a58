//! What is promised of every channel, across real processes: C1, C3 to C6, C9 and C11. C7 is in `hostile`, `limits` and `crash`,
//! C8 in `pollable`.

#![cfg(all(target_os = "linux", not(feature = "force-inprocess")))]

#[path = "../harness/mod.rs"]
mod harness;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, WaitOptions, kill_process, waitpid};
use serde::{Deserialize, Serialize};
use strait::handle::Handle;
use strait::ipc::{
    self, IpcBytesReceiver, IpcBytesSender, IpcOneShotServer, IpcReceiver, IpcReceiverSet,
    IpcSender, IpcServer, IpcSharedMemory, OpaqueIpcReceiver, OpaqueIpcSender, TryRecvError,
};

use harness::Child;
use harness::raw::{self, Canary, Random};
use harness::table;

/// What a child process is to do. It does one thing after another, until it is to exit.
#[derive(Debug, Serialize, Deserialize)]
enum Order {
    /// Send these numbers, with texts of various lengths.
    Count { to: IpcSender<Item>, from: u64, numbers: u64 },
    /// Send one item, then do something that somebody else can know of.
    Tell { to: IpcSender<Item>, item: Item, signal: Signal },
    /// Send a text of so many bytes.
    Write { to: IpcSender<(String, Option<Handle<File>>)>, len: usize, handle: bool },
    /// Receive so many items, check that they count on from `first`, and pass the receiver on.
    Take { items: IpcReceiver<Item>, first: u64, count: u64, pass_on: IpcSender<IpcReceiver<Item>> },
    /// Keep it.
    Keep(Kept),
    /// Drop what was kept, and say so.
    Drop(IpcSender<()>),
    /// Exit without any further ado.
    Exit,
    /// The same by SIGABRT.
    Abort,
}

/// Anything that keeps a channel connected.
#[derive(Debug, Serialize, Deserialize)]
enum Kept {
    Sender(IpcSender<Item>),
    Receiver(IpcReceiver<Item>),
    /// With messages in it that nobody has received.
    Undelivered(IpcReceiver<Kept>),
}

/// How somebody else learns that an item was sent.
#[derive(Debug, Serialize, Deserialize)]
enum Signal {
    Channel(IpcSender<()>),
    Stream(Handle<UnixStream>),
    Exit,
}

#[derive(Debug, Serialize, Deserialize)]
struct Item {
    from: u64,
    number: u64,
    text: String,
    reply: Option<IpcSender<u64>>,
}

impl Item {
    /// Number `number` of sender `from`: small ones, some that just fit into a packet and some that do not.
    fn new(from: u64, number: u64) -> Item {
        Item { from, number, text: Item::text(number), reply: None }
    }

    fn text(number: u64) -> String {
        let len = match number % 50 {
            10 => 65_000,
            20 => 66_000,
            30 => 700_000,
            _ => number as usize % 30,
        };
        "t".repeat(len)
    }

    #[track_caller]
    fn check(&self, number: u64) {
        assert_eq!(self.number, number, "from {}", self.from);
        assert!(self.text == Item::text(number), "item {number} is damaged");
    }
}

#[test]
fn obedient_child() {
    harness::child_main(|arguments| {
        let (order_sender, orders) = ipc::channel::<Order>().unwrap();
        let boot = IpcSender::connect(arguments[0].clone()).unwrap();
        boot.send(order_sender).unwrap();
        let mut kept = Vec::new();
        for order in orders {
            match order {
                Order::Count { to, from, numbers } => {
                    for number in 0..numbers {
                        to.send(Item::new(from, number)).unwrap();
                    }
                }
                Order::Tell { to, item, signal } => {
                    to.send(item).unwrap();
                    match signal {
                        Signal::Channel(sender) => sender.send(()).unwrap(),
                        Signal::Stream(mut stream) => stream.write_all(b"x").unwrap(),
                        Signal::Exit => process::exit(0),
                    }
                }
                Order::Write { to, len, handle } => {
                    let handle = handle.then(|| File::open("/dev/null").unwrap().into());
                    to.send((long_text(len), handle)).unwrap();
                }
                Order::Take { items, first, count, pass_on } => {
                    for number in first..first + count {
                        items.recv().unwrap().check(number);
                    }
                    pass_on.send(items).unwrap();
                }
                Order::Keep(what) => kept.push(what),
                Order::Drop(done) => {
                    kept.clear();
                    done.send(()).unwrap();
                }
                Order::Exit => process::exit(0),
                Order::Abort => process::abort(),
            }
        }
    });
}

/// A child process that takes orders.
struct Helper {
    process: Child,
    orders: IpcSender<Order>,
}

impl Helper {
    fn start() -> Helper {
        let (server, name) = IpcOneShotServer::new().unwrap();
        let process = harness::child(harness::path_of(obedient_child), &[&name]);
        let (_, orders) = server.accept().unwrap();
        Helper { process, orders }
    }

    fn order(&self, order: Order) {
        self.orders.send(order).unwrap();
    }

    /// Does something while it does nothing.
    fn while_stopped(&self, then: impl FnOnce()) {
        let pid = Pid::from_raw(self.process.id().try_into().unwrap()).unwrap();
        kill_process(pid, rustix::process::Signal::STOP).unwrap();
        let (_, status) = waitpid(Some(pid), WaitOptions::UNTRACED).unwrap().unwrap();
        assert!(status.stopped());
        then();
        kill_process(pid, rustix::process::Signal::CONT).unwrap();
    }

    /// Waits until it has dropped what it kept.
    fn drop_kept(&self) {
        let (done, is_done) = ipc::channel().unwrap();
        self.order(Order::Drop(done));
        is_done.recv().unwrap();
    }

    /// Waits until it has exited.
    fn exited(mut self) {
        self.process.wait().unwrap();
    }
}

// ---- C1: sending does not wait for a reader ----

#[test]
fn c1_nobody_has_to_receive() {
    let _watchdog = harness::watchdog();
    let (items, received) = ipc::channel::<Item>().unwrap();
    for number in 0..20_000 {
        items.send(Item::new(0, number)).unwrap();
    }
    for number in 0..20_000 {
        received.recv().unwrap().check(number);
    }
    assert!(received.try_recv().unwrap_err().is_empty());
}

#[test]
fn c1_those_who_send_before_they_receive_do_not_wait_for_each_other() {
    let _watchdog = harness::watchdog();
    let (to_helper, from_here) = ipc::channel::<Item>().unwrap();
    let (to_here, from_helper) = ipc::channel::<Item>().unwrap();
    let (pass_on, passed_on) = ipc::channel().unwrap();
    let helper = Helper::start();
    helper.order(Order::Count { to: to_here, from: 1, numbers: 5000 });
    helper.order(Order::Take { items: from_here, first: 0, count: 5000, pass_on });
    for number in 0..5000 {
        to_helper.send(Item::new(0, number)).unwrap();
    }
    for number in 0..5000 {
        from_helper.recv().unwrap().check(number);
    }
    passed_on.recv().unwrap();
    helper.order(Order::Exit);
    assert!(from_helper.recv().unwrap_err().is_disconnected());
}

/// What cannot go by socket, because other senders have filled what they may of it, goes another way, and is in order all the same.
#[test]
fn c1_a_full_socket_is_no_reason_to_wait() {
    let _watchdog = harness::watchdog();
    for before in [0, 1, 100] {
        let (items, received) = ipc::channel::<Item>().unwrap();
        for number in 0..before {
            items.send(Item::new(0, number)).unwrap();
        }
        let mut packets = 0;
        while raw::is_writable(&items) {
            raw::try_send(&items, &raw::message(0, b"x"), &[]).unwrap();
            packets += 1;
        }
        for number in before..before + 100 {
            items.send(Item::new(0, number)).unwrap();
        }
        let mut next = 0;
        let mut errors = 0;
        while next < before + 100 {
            match received.recv() {
                Ok(item) => {
                    item.check(next);
                    next += 1;
                }
                Err(error) => {
                    assert!(!error.is_disconnected());
                    errors += 1;
                }
            }
        }
        assert_eq!(errors, packets);
    }
}

// ---- C3: FIFO per sender ----

#[test]
fn c3_fifo_per_sender_across_processes() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::channel::<Item>().unwrap();
    let helpers: Vec<Helper> = (0..3).map(|_| Helper::start()).collect();
    for (from, helper) in (0..).zip(&helpers) {
        helper.order(Order::Count { to: sender.clone(), from, numbers: 1000 });
    }
    // And a thread of this process.
    let counting = thread::spawn(move || {
        (0..1000).for_each(|number| sender.send(Item::new(3, number)).unwrap());
    });
    let mut expected = [0; 4];
    for item in receiver.iter().take(4000) {
        item.check(expected[item.from as usize]);
        expected[item.from as usize] += 1;
    }
    assert_eq!(expected, [1000; 4]);
    counting.join().unwrap();
    assert!(receiver.recv_timeout(Duration::from_secs(60)).unwrap_err().is_disconnected());
}

/// Clones, what was sent elsewhere and came back, and what was made of a descriptor are one sender to whoever uses them one after
/// another.
#[test]
fn c3_fifo_through_all_that_is_the_same_sender() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::channel::<u32>().unwrap();
    let (carrier, carried) = ipc::channel::<IpcSender<u32>>().unwrap();
    let mut senders = vec![sender];
    for number in 0..200 {
        senders[number as usize % senders.len()].send(number).unwrap();
        if number % 40 == 0 {
            carrier.send_ref(&senders[0]).unwrap();
            senders.push(carried.recv().unwrap());
            senders.push(senders[0].clone());
            senders.push(OwnedFd::try_from(senders[0].clone()).unwrap().try_into().unwrap());
        }
    }
    drop(senders);
    assert!(receiver.iter().eq(0..200));
}

// ---- C4: what one could know of comes first ----

/// One process sends, another one learns of it and then sends, too.
#[test]
fn c4_what_was_sent_before_arrives_before() {
    let _watchdog = harness::watchdog();
    let (items, received) = ipc::channel::<Item>().unwrap();
    let receiving = thread::spawn(move || {
        // Of every size, since large ones are sent in parts.
        for number in 0..150 {
            for from in [1, 2] {
                let item = received.recv().unwrap();
                assert_eq!(item.from, from);
                item.check(number);
            }
        }
    });
    let first = Helper::start();
    let (hint, hinted) = ipc::channel::<()>().unwrap();
    let (stream, mut streamed) = UnixStream::pair().unwrap();
    for number in 0..150 {
        let by_channel = number % 2 == 0;
        let signal = if by_channel {
            Signal::Channel(hint.clone())
        } else {
            Signal::Stream(Handle(stream.try_clone().unwrap()))
        };
        first.order(Order::Tell { to: items.clone(), item: Item::new(1, number), signal });
        if by_channel {
            hinted.recv().unwrap();
        } else {
            streamed.read_exact(&mut [0]).unwrap();
        }
        items.send(Item::new(2, number)).unwrap();
    }
    receiving.join().unwrap();
}

/// Three processes whose channels are busy or not, so that what they send comes by shared memory or by socket; some with
/// handles, which always come by socket. Each sends when it knows that the one before has sent.
#[test]
fn c4_busy_senders_and_others_are_in_causal_order() {
    const ROUNDS: u64 = 300;

    let _watchdog = harness::watchdog();
    let (items, received) = ipc::channel::<Item>().unwrap();
    let receiving = thread::spawn(move || {
        let (mut next, mut from_busy) = (0, 0);
        while next < 3 * ROUNDS {
            let item = received.recv().unwrap();
            if item.from == 9 {
                item.check(from_busy);
                from_busy += 1;
            } else {
                assert_eq!((item.from, item.number), (next % 3, next / 3));
                next += 1;
            }
        }
        assert_eq!(received.iter().count() as u64, 3 * 2000 - from_busy);
    });
    let (hint, hinted) = ipc::channel::<()>().unwrap();
    let helpers = [Helper::start(), Helper::start()];
    let (reply, _replies) = ipc::channel().unwrap();
    let mut busy = 0;
    for round in 0..ROUNDS {
        for (from, helper) in (0..).zip(&helpers) {
            let item = Item {
                reply: (round % 7 == from).then(|| reply.clone()),
                ..Item::new(from, round)
            };
            let signal = Signal::Channel(hint.clone());
            helper.order(Order::Tell { to: items.clone(), item, signal });
            hinted.recv().unwrap();
        }
        let item = Item { reply: (round % 5 == 0).then(|| reply.clone()), ..Item::new(2, round) };
        items.send(item).unwrap();
        if round % 100 == 50 {
            // From now on it is busy.
            for number in busy..busy + 2000 {
                items
                    .send(Item { from: 9, number, text: Item::text(number), reply: None })
                    .unwrap();
            }
            busy += 2000;
        }
    }
    drop(items);
    helpers.iter().for_each(|helper| helper.order(Order::Exit));
    receiving.join().unwrap();
}

/// The same without anybody receiving meanwhile: everything is in the queue before the first is received.
#[test]
fn c4_the_queue_is_in_causal_order() {
    let _watchdog = harness::watchdog();
    let (items, received) = ipc::channel::<Item>().unwrap();
    let helpers = [Helper::start(), Helper::start(), Helper::start()];
    let (hint, hinted) = ipc::channel::<()>().unwrap();
    let mut random = Random::new(4);
    for _ in 0..20 {
        for number in 0..9 {
            // Any of them, or this process.
            match random.below(4) {
                3 => items.send(Item::new(3, number)).unwrap(),
                chosen => {
                    let signal = Signal::Channel(hint.clone());
                    let item = Item::new(chosen as u64, number);
                    helpers[chosen].order(Order::Tell { to: items.clone(), item, signal });
                    hinted.recv().unwrap();
                }
            }
        }
        for number in 0..9 {
            received.recv().unwrap().check(number);
        }
    }
}

#[test]
fn c4_an_exit_can_be_known_of() {
    let _watchdog = harness::watchdog();
    let (items, received) = ipc::channel::<Item>().unwrap();
    for number in 0..5 {
        let helper = Helper::start();
        let item = Item::new(1, number);
        helper.order(Order::Tell { to: items.clone(), item, signal: Signal::Exit });
        helper.exited();
        items.send(Item::new(2, number)).unwrap();
        assert_eq!(received.recv().unwrap().from, 1);
        assert_eq!(received.recv().unwrap().from, 2);
    }
}

// ---- C5: what was sent survives its sender ----

#[test]
fn c5_messages_survive_the_exit_of_their_sender() {
    let _watchdog = harness::watchdog();
    for end in [Order::Exit, Order::Abort] {
        let (items, received) = ipc::channel::<Item>().unwrap();
        let (reply, replies) = ipc::channel().unwrap();
        let helper = Helper::start();
        helper.order(Order::Count { to: items.clone(), from: 1, numbers: 10 });
        let (done, is_done) = ipc::channel().unwrap();
        let item = Item { reply: Some(reply), ..Item::new(1, 10) };
        helper.order(Order::Tell { to: items, item, signal: Signal::Channel(done) });
        is_done.recv().unwrap();
        helper.order(end);
        helper.exited();
        for number in 0..=10 {
            let item = received.recv().unwrap();
            item.check(number);
            if let Some(reply) = item.reply {
                reply.send(number).unwrap();
            }
        }
        assert_eq!(replies.recv().unwrap(), 10);
        assert!(replies.recv().unwrap_err().is_disconnected());
        assert!(received.recv().unwrap_err().is_disconnected());
    }
}

// ---- C6: disconnected when, and only when ----

#[track_caller]
fn assert_connected(receiver: &IpcReceiver<Item>) {
    let waited = receiver.recv_timeout(Duration::from_millis(10));
    assert!(waited.unwrap_err().is_empty());
}

#[test]
fn c6_every_sender_in_every_process_counts() {
    let _watchdog = harness::watchdog();
    let (items, received) = ipc::channel::<Item>().unwrap();
    let helpers = [Helper::start(), Helper::start()];
    for helper in &helpers {
        helper.order(Order::Keep(Kept::Sender(items.clone())));
        helper.order(Order::Keep(Kept::Sender(items.clone())));
    }
    items.send(Item::new(0, 0)).unwrap();
    drop(items);
    received.recv().unwrap().check(0);
    assert_connected(&received);
    let [first, second] = helpers;
    first.drop_kept();
    assert_connected(&received);
    // By exit or by itself, it is the same.
    second.order(Order::Exit);
    assert!(received.recv().unwrap_err().is_disconnected());
}

/// Senders in messages that nobody received count, however deep they are buried.
#[test]
fn c6_a_sender_in_an_undelivered_message_counts() {
    let _watchdog = harness::watchdog();
    let (items, received) = ipc::channel::<Item>().unwrap();
    let bury = |sender| {
        let (bury, buried) = ipc::channel().unwrap();
        bury.send(Kept::Sender(sender)).unwrap();
        let (bury_deeper, buried_deeper) = ipc::channel().unwrap();
        bury_deeper.send(Kept::Undelivered(buried)).unwrap();
        buried_deeper
    };
    let buried = bury(items);
    assert_connected(&received);
    let helper = Helper::start();
    helper.order(Order::Keep(Kept::Undelivered(buried)));
    assert_connected(&received);
    helper.drop_kept();
    assert!(received.recv().unwrap_err().is_disconnected());

    // It is as good as any other, once it is received.
    let (items, received) = ipc::channel::<Item>().unwrap();
    let Kept::Undelivered(buried) = bury(items).recv().unwrap() else { panic!("another one") };
    let Kept::Sender(sender) = buried.recv().unwrap() else { panic!("another one") };
    sender.send(Item::new(0, 7)).unwrap();
    drop(sender);
    received.recv().unwrap().check(7);
    assert!(received.recv().unwrap_err().is_disconnected());
}

#[test]
fn c6_a_sender_in_its_own_channel_counts() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::channel::<Option<OpaqueIpcSender>>().unwrap();
    sender.send(Some(sender.clone().to_opaque())).unwrap();
    drop(sender);
    let sender = receiver.recv().unwrap().unwrap().to::<Option<OpaqueIpcSender>>();
    sender.send(None).unwrap();
    assert!(receiver.recv().unwrap().is_none());
    assert!(receiver.try_recv().unwrap_err().is_empty());
    drop(sender);
    assert!(receiver.recv().unwrap_err().is_disconnected());
}

#[test]
fn c6_send_errs_once_the_receiver_is_gone() {
    let _watchdog = harness::watchdog();
    // Here, with and without messages that it had not received.
    for unread in [0, 3] {
        let (items, received) = ipc::channel::<Item>().unwrap();
        for number in 0..unread {
            items.send(Item::new(0, number)).unwrap();
        }
        drop(received);
        raw::wait_until_disconnected(|| items.send(Item::new(0, 0)));
        // And so it stays.
        assert!(items.send(Item::new(0, 0)).unwrap_err().is_disconnected());
        // Large ones and ones with handles, too.
        assert!(items.send(Item::new(0, 30)).unwrap_err().is_disconnected());
        let item = Item { reply: Some(ipc::channel().unwrap().0), ..Item::new(0, 0) };
        assert!(items.send(item).unwrap_err().is_disconnected());
    }
    // In a message that nobody received.
    let (items, received) = ipc::channel::<Item>().unwrap();
    let (bury, buried) = ipc::channel().unwrap();
    bury.send(Kept::Receiver(received)).unwrap();
    items.send(Item::new(0, 0)).unwrap();
    drop(buried);
    raw::wait_until_disconnected(|| items.send(Item::new(0, 0)));
    // In another process, which exits.
    let (items, received) = ipc::channel::<Item>().unwrap();
    let helper = Helper::start();
    helper.order(Order::Keep(Kept::Receiver(received)));
    items.send(Item::new(0, 0)).unwrap();
    helper.order(Order::Exit);
    helper.exited();
    raw::wait_until_disconnected(|| items.send(Item::new(0, 0)));
}

/// Even while it waits for room, as messages with handles do.
#[test]
fn c6_a_waiting_sender_learns_that_the_receiver_is_gone() {
    let _watchdog = harness::watchdog();
    let mut random = Random::new(6);
    for round in 0..60 {
        let (items, received) = ipc::channel::<(Vec<u8>, IpcSender<u32>)>().unwrap();
        let (extra, _extras) = ipc::channel().unwrap();
        // Full, so that it has to wait, or not quite, so that it has to wait in the middle.
        while raw::try_send(&items, &raw::message(0, b"x"), &[]).is_ok() {}
        if round % 2 == 0 {
            for _ in 0..100 {
                received.recv().unwrap_err();
            }
        }
        let sending = thread::spawn(move || items.send((vec![1; 300_000], extra)));
        thread::sleep(Duration::from_micros(random.below(2000) as u64));
        drop(received);
        assert!(sending.join().unwrap().unwrap_err().is_disconnected());
    }
}

// ---- C9: both ends move, mid-stream ----

/// A stream of items goes on while its receiver goes from process to process.
#[test]
fn c9_a_receiver_moves_between_processes_mid_stream() {
    let _watchdog = harness::watchdog();
    let (items, mut received) = ipc::channel::<Item>().unwrap();
    let sender = Helper::start();
    sender.order(Order::Count { to: items, from: 0, numbers: 2000 });
    let takers = [Helper::start(), Helper::start()];
    let mut random = Random::new(9);
    let mut expected = 0;
    for round in 0..20 {
        let (pass_on, passed_on) = ipc::channel().unwrap();
        let count = random.below(60) as u64;
        let order = Order::Take { items: received, first: expected, count, pass_on };
        takers[round % 2].order(order);
        received = passed_on.recv().unwrap();
        expected += count;
        for _ in 0..random.below(40) {
            received.recv().unwrap().check(expected);
            expected += 1;
        }
    }
    for number in expected..2000 {
        received.recv().unwrap().check(number);
    }
    sender.order(Order::Exit);
    assert!(received.recv().unwrap_err().is_disconnected());
}

/// With a large message half received, handles included, and more behind it.
#[test]
fn c9_a_receiver_moves_in_the_middle_of_a_message() {
    use strait::internals::frame::{Kind, Position};

    let _watchdog = harness::watchdog();
    let (sender, mut receiver) = ipc::channel::<(String, Vec<Handle<UnixStream>>)>().unwrap();
    let (carrier, carried) = ipc::channel().unwrap();
    // What is half received has to fit into one packet: nobody receives while it is sent.
    let text = "moved".repeat(30_000);
    let (canary, fd) = Canary::new();
    let mut body = raw::encoded(&text);
    body.extend(3_u64.to_le_bytes());
    body.extend((0..3_u32).flat_map(u32::to_le_bytes));
    let body = table::with_handles(&body, 3);
    let first = Position::First { bytes: body.len() as u64, attachments: 3 };
    let cuts = [0, 1, 50_000, 50_001, 100_000, body.len() - 1, body.len()];
    for (part, cut) in cuts.windows(2).enumerate() {
        let position = match part {
            0 => first,
            5 => Position::Last,
            _ => Position::Middle,
        };
        let fds = &[fd.as_fd(); 3][..[1, 0, 1, 0, 0, 1][part]];
        let kind = Kind::Part { id: 77, position };
        let packet = raw::packet(kind, fds.len() as u8, &body[cut[0]..cut[1]]);
        raw::send(&sender, &packet, fds).unwrap();
        if part < 5 {
            assert!(receiver.try_recv().unwrap_err().is_empty());
            carrier.send(receiver).unwrap();
            receiver = carried.recv().unwrap();
        }
    }
    sender.send((String::new(), Vec::new())).unwrap();
    let (received, handles) = receiver.recv().unwrap();
    assert!(received == text);
    assert_eq!(handles.len(), 3);
    assert_eq!(receiver.recv().unwrap().1.len(), 0);
    drop((handles, fd));
    canary.wait_until_closed();
}

/// Again and again, while a process sends it that knows nothing of that: by socket, because of the handle.
#[test]
fn c9_a_receiver_moves_in_the_middle_of_a_large_message() {
    const LEN: usize = 20 << 20;

    let _watchdog = harness::watchdog();
    let (sender, mut receiver) = ipc::channel().unwrap();
    let helper = Helper::start();
    helper.order(Order::Write { to: sender, len: LEN, handle: true });
    for _ in 0..20 {
        // What is there is taken while nothing is added to it, so it cannot be all.
        wait_until_readable(&receiver);
        helper.while_stopped(|| assert!(receiver.try_recv().unwrap_err().is_empty()));
        receiver = moved(receiver);
    }
    assert!(receiver.recv().unwrap().0 == long_text(LEN));
    helper.order(Order::Exit);
    assert!(receiver.recv().unwrap_err().is_disconnected());
}

/// By shared memory, which has room for all of it; the helper is stopped so that it is not all there yet.
#[test]
fn c9_a_receiver_moves_in_the_middle_of_what_is_written_to_shared_memory() {
    const LEN: usize = 8 << 20;

    let _watchdog = harness::watchdog();
    let mut moves = 0;
    // Until it was stopped in the middle often enough. It need not be in the first rounds.
    while moves < 10 {
        let (sender, mut receiver) = ipc::channel().unwrap();
        let helper = Helper::start();
        helper.order(Order::Write { to: sender, len: LEN, handle: false });
        wait_until_readable(&receiver);
        let received = loop {
            let mut received = Err(TryRecvError::Empty);
            helper.while_stopped(|| received = receiver.try_recv());
            match received {
                Ok((text, _)) => break text,
                Err(error) => assert!(error.is_empty()),
            }
            moves += 1;
            receiver = moved(receiver);
        };
        assert!(received == long_text(LEN));
        helper.order(Order::Exit);
        assert!(receiver.recv().unwrap_err().is_disconnected());
    }
}

fn wait_until_readable(fd: &impl AsFd) {
    let mut fds = [PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)];
    rustix::event::poll(&mut fds, None).unwrap();
}

/// The receiver after a way through a channel.
fn moved<T>(receiver: IpcReceiver<T>) -> IpcReceiver<T>
where
    T: Serialize + for<'de> Deserialize<'de> + Send + 'static,
{
    let (carrier, carried) = ipc::channel().unwrap();
    // From another thread: what goes along is more than there is room for before it is received.
    let moving = thread::spawn(move || carrier.send(receiver).unwrap());
    let receiver = carried.recv().unwrap();
    moving.join().unwrap();
    receiver
}

fn long_text(len: usize) -> String {
    ('a'..='z').cycle().take(len).collect()
}

#[test]
fn c9_pending_messages_move_with_their_receiver() {
    let _watchdog = harness::watchdog();
    let (items, received) = ipc::channel::<Item>().unwrap();
    for number in 0..10 {
        items.send(Item::new(0, number)).unwrap();
    }
    let helper = Helper::start();
    let (pass_on, passed_on) = ipc::channel().unwrap();
    helper.order(Order::Take { items: received, first: 0, count: 4, pass_on });
    let received = passed_on.recv().unwrap();
    drop(items);
    for number in 4..10 {
        received.recv().unwrap().check(number);
    }
    assert!(received.recv().unwrap_err().is_disconnected());
}

/// Out of a set, too, with all that the set had not delivered.
#[test]
fn c9_a_receiver_leaves_a_set_and_moves_on() {
    let _watchdog = harness::watchdog();
    let (items, received) = ipc::channel::<Item>().unwrap();
    let mut set = IpcReceiverSet::new().unwrap();
    let id = set.add(received).unwrap();
    for number in 0..10 {
        items.send(Item::new(0, number)).unwrap();
        if number == 4 {
            let delivered = set.select().unwrap();
            assert_eq!(delivered.len(), 5);
        }
    }
    let received = set.remove(id).unwrap().to::<Item>();
    assert!(set.remove(id).is_none());
    let (pass_on, passed_on) = ipc::channel().unwrap();
    let helper = Helper::start();
    helper.order(Order::Take { items: received, first: 5, count: 5, pass_on });
    drop(items);
    assert!(passed_on.recv().unwrap().recv().unwrap_err().is_disconnected());
}

#[test]
fn c9_every_kind_of_endpoint_moves() {
    let _watchdog = harness::watchdog();
    type All = (
        (IpcSender<u32>, IpcReceiver<u32>),
        (IpcBytesSender, IpcBytesReceiver),
        (OpaqueIpcSender, OpaqueIpcReceiver),
        (Option<IpcSharedMemory>, Vec<IpcSender<String>>),
    );
    let (sender, receiver) = ipc::channel::<All>().unwrap();
    let (texts_sender, texts) = ipc::channel().unwrap();
    let (opaque_sender, opaque_receiver) = ipc::channel::<u64>().unwrap();
    let memory = IpcSharedMemory::try_from_bytes(b"moved").unwrap();
    let all = (
        ipc::channel().unwrap(),
        ipc::bytes_channel().unwrap(),
        (opaque_sender.to_opaque(), opaque_receiver.to_opaque()),
        (Some(memory), vec![texts_sender; 3]),
    );
    sender.send(all).unwrap();
    let (typed, bytes, opaque, (memory, senders)) = receiver.recv().unwrap();
    typed.0.send(1).unwrap();
    assert_eq!(typed.1.recv().unwrap(), 1);
    bytes.0.send(b"bytes").unwrap();
    assert_eq!(bytes.1.recv().unwrap(), b"bytes");
    opaque.0.to::<u64>().send(5).unwrap();
    assert_eq!(opaque.1.to::<u64>().recv().unwrap(), 5);
    assert_eq!(&*memory.unwrap(), b"moved");
    for sender in senders {
        sender.send("text".to_string()).unwrap();
    }
    assert_eq!(texts.iter().count(), 3);
}

#[test]
fn c9_a_receiver_that_moved_away_says_so() {
    let _watchdog = harness::watchdog();
    let (carrier, carried) = ipc::channel::<IpcReceiver<u32>>().unwrap();
    let (sender, receiver) = ipc::channel::<u32>().unwrap();
    carrier.send_ref(&receiver).unwrap();
    let moved = carried.recv().unwrap();
    let error = std::io::Error::from(receiver.recv().unwrap_err());
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    assert!(error.to_string().contains("moved"), "{error}");
    assert!(carrier.send_ref(&receiver).is_err());
    sender.send(1).unwrap();
    assert_eq!(moved.recv().unwrap(), 1);
}

// ---- C11: cost follows use ----

#[test]
fn c11_a_channel_is_two_handles_and_nothing_else() {
    harness::alone(harness::path_of(c11_a_channel_is_two_handles_and_nothing_else), || {
        let threads = || fs::read_dir("/proc/self/task").unwrap().count();
        let handles = harness::handles();
        let threads_before = threads();
        let channels: Vec<_> = (0..100).map(|_| ipc::channel::<Item>().unwrap()).collect();
        let new: Vec<_> =
            harness::handles().into_iter().filter(|handle| !handles.contains(handle)).collect();
        assert_eq!(new.len(), 200);
        assert!(new.iter().all(|handle| handle.closes_on_exec), "{new:?}");
        // Clones share.
        let clones: Vec<_> = channels.iter().map(|(sender, _)| sender.clone()).collect();
        // Use opens nothing either.
        for (sender, receiver) in &channels {
            sender.send(Item::new(0, 0)).unwrap();
            receiver.recv().unwrap().check(0);
            assert!(receiver.recv_timeout(Duration::from_micros(10)).unwrap_err().is_empty());
        }
        assert_eq!(harness::handles().len(), handles.len() + 200);
        assert_eq!(threads(), threads_before);
        drop(channels);
        drop(clones);
        assert_eq!(harness::handles(), handles);
    });
}

/// One that is used has shared memory, one handle for each end, and so it goes with the channel.
#[test]
fn c11_a_busy_channel_has_one_handle_more_for_each_end() {
    harness::alone(harness::path_of(c11_a_busy_channel_has_one_handle_more_for_each_end), || {
        let before = harness::handles();
        let (sender, receiver) = ipc::channel::<Item>().unwrap();
        let is_ring = |handle: &harness::OpenHandle| handle.what.contains("strait-ring");
        // As long as it takes: how many messages are many depends on the clock.
        let mut rings = 0;
        while rings < 2 {
            for number in 0..100 {
                sender.send(Item::new(0, number)).unwrap();
                receiver.recv().unwrap().check(number);
            }
            rings = harness::handles().iter().filter(|handle| is_ring(handle)).count();
        }
        let clones = vec![sender.clone(); 10];
        for number in 0..10_000 {
            clones[number as usize % 10].send(Item::new(0, number)).unwrap();
        }
        (0..10_000).for_each(|number| receiver.recv().unwrap().check(number));
        let new = harness::handles_besides(&before);
        assert_eq!(new.len(), 4, "{new:?}");
        assert!(new.iter().all(|handle| handle.closes_on_exec), "{new:?}");
        drop((sender, clones));
        assert!(receiver.recv().unwrap_err().is_disconnected());
        drop(receiver);
        assert_eq!(harness::handles(), before);
    });
}

#[test]
fn c11_what_was_received_is_one_handle_per_endpoint() {
    harness::alone(harness::path_of(c11_what_was_received_is_one_handle_per_endpoint), || {
        let (sender, receiver) = ipc::channel::<(IpcSender<u32>, IpcReceiver<u32>)>().unwrap();
        let before = harness::handles();
        sender.send(ipc::channel().unwrap()).unwrap();
        // Nothing of it is open here while it is on its way.
        assert_eq!(harness::handles(), before);
        let received = receiver.recv().unwrap();
        let new: Vec<_> =
            harness::handles().into_iter().filter(|handle| !before.contains(handle)).collect();
        assert_eq!(new.len(), 2);
        assert!(new.iter().all(|handle| handle.closes_on_exec), "{new:?}");
        drop(received);
        assert_eq!(harness::handles(), before);
    });
}

/// A child process has none of them.
#[test]
fn c11_nothing_is_inherited_by_programs() {
    harness::alone(harness::path_of(c11_nothing_is_inherited_by_programs), || {
        let before = harness::handles();
        let _everything = (
            ipc::channel::<u32>().unwrap(),
            IpcOneShotServer::<u32>::new().unwrap(),
            IpcServer::<u32, u32>::bind(format!("strait-inherited-{}", std::process::id()))
                .unwrap(),
            IpcReceiverSet::new().unwrap(),
            IpcSharedMemory::try_from_byte(1, 100).unwrap(),
        );
        let router = strait::router::RouterProxy::new();
        router.add_typed_route::<u32>(ipc::channel().unwrap().1, Box::new(|_| {}));
        let open = harness::handles();
        assert!(open.len() > before.len() + 9);
        let inherited = open.iter().filter(|handle| !before.contains(handle));
        let inherited: Vec<_> = inherited.filter(|handle| !handle.closes_on_exec).collect();
        assert!(inherited.is_empty(), "{inherited:?}");
    });
}

/// Waiting costs no processor time, whatever is waited for.
#[test]
fn c11_waiting_costs_no_time() {
    harness::alone(harness::path_of(c11_waiting_costs_no_time), || {
        let _idle: Vec<_> = (0..100).map(|_| ipc::channel::<u32>().unwrap()).collect();
        let (sender, receiver) = ipc::channel::<u32>().unwrap();
        // Used a lot, and then no more.
        for number in 0..10_000 {
            sender.send(number).unwrap();
            assert_eq!(receiver.recv().unwrap(), number);
        }
        let mut set = IpcReceiverSet::new().unwrap();
        let (set_sender, set_receiver) = ipc::channel::<u32>().unwrap();
        set.add(set_receiver).unwrap();
        let wait = Duration::from_millis(300);
        let before = processor_time();
        assert!(receiver.recv_timeout(wait).unwrap_err().is_empty());
        assert!(set.try_select_timeout(wait).unwrap_err().is_empty());
        let used = processor_time() - before;
        assert!(used < wait / 3, "{used:?} of {:?}", 2 * wait);
        drop(set_sender);
    });
}

/// What this process has used so far.
fn processor_time() -> Duration {
    let id = rustix::time::ClockId::ProcessCPUTime;
    let time = rustix::time::clock_gettime(id);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
