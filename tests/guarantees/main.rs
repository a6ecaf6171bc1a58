//! The guarantees of every channel, between real processes: C1, C3 to C6, C9 and C11. C7 is in
//! `hostile`, `limits` and `crash`, C8 in `set`.

#![cfg(all(target_os = "linux", not(feature = "force-inprocess")))]

#[path = "../harness/mod.rs"]
mod harness;

mod costs;
mod ends;
mod moves;
mod order;
mod sending;

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

/// An order for a child process. It executes orders in sequence, until it is to exit.
#[derive(Debug, Serialize, Deserialize)]
enum Order {
    /// Send these numbers, with texts of various lengths.
    Count { to: IpcSender<Item>, from: u64, numbers: u64 },
    /// Send one item, then do something that another process can observe.
    Tell { to: IpcSender<Item>, item: Item, signal: Signal },
    /// Send a text of so many bytes.
    Write { to: IpcSender<(String, Option<Handle<File>>)>, len: usize, handle: bool },
    /// Receive so many items, check that they count on from `first`, and pass the receiver on.
    Take { items: IpcReceiver<Item>, first: u64, count: u64, next: IpcSender<IpcReceiver<Item>> },
    /// Keep it.
    Keep(Kept),
    /// Drop what was kept, and report it.
    Drop(IpcSender<()>),
    /// Exit without dropping anything.
    Exit,
    /// The same by SIGABRT.
    Abort,
}

/// Anything that keeps a channel connected.
#[derive(Debug, Serialize, Deserialize)]
enum Kept {
    Sender(IpcSender<Item>),
    Receiver(IpcReceiver<Item>),
    /// With messages in it that were not received.
    Undelivered(IpcReceiver<Kept>),
}

/// How another process learns that an item was sent.
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
    /// Number `number` of sender `from`: small ones, some that just fit into a packet and some
    /// that do not.
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
fn order_child() {
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
                Order::Take { items, first, count, next } => {
                    for number in first..first + count {
                        items.recv().unwrap().check(number);
                    }
                    next.send(items).unwrap();
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
        let process = harness::child(harness::path_of(order_child), &[&name]);
        let (_, orders) = server.accept().unwrap();
        Helper { process, orders }
    }

    fn order(&self, order: Order) {
        self.orders.send(order).unwrap();
    }

    /// Runs `body` while the child is stopped.
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

fn long_text(len: usize) -> String {
    ('a'..='z').cycle().take(len).collect()
}
