//! Many processes send to one receiver, and every message whose `send` returned `Ok` is
//! received, in its sender's order.
//!
//! Each sender is a process of its own, started by `exec`, and all of them exist and begin at
//! the same time. Each counts the sends that returned `Ok`, and writes the count to a file,
//! not to a channel, when it is done. The messages received must be exactly those. A sender
//! whose send fails for want of room stops there; a sender that blocks for ever is ended by
//! the watchdog.

#![cfg(all(target_os = "linux", not(feature = "force-inprocess")))]

mod harness;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use rustix::pipe::PipeFlags;
use rustix::process::{Resource, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::{Deserialize, Serialize};
use strait::ipc::{
    self, ChannelOptions, IpcError, IpcReceiver, IpcSender, IpcServer, IpcSyncSender, Limits,
    TryRecvError,
};
use strait::mpsc;

use harness::Child;

/// The number of sending processes: more than the rings that a receiver keeps by default. In an
/// optimised build, about the maximum that its options allow.
const PROCESSES: u32 = if cfg!(debug_assertions) { 200 } else { 1000 };

/// The number of messages of each process: more than a ring needs, and together many times what
/// a socket holds.
const MESSAGES: u32 = 100;

/// ... and the number for bounded channels: with a small bound, the processes take turns.
const FEW_MESSAGES: u32 = 10;

/// The timeout of the watchdog: there are many processes, few processors, and other load.
const PATIENCE: Duration = Duration::from_secs(500);

#[derive(Debug, Serialize, Deserialize)]
struct Letter {
    process: u32,
    number: u32,
    padding: String,
}

impl Letter {
    fn new(process: u32, number: u32) -> Letter {
        let len = match number % 4 {
            // Some notes are longer than a packet.
            0 if number == 60 && process % 16 == 0 => 300_000,
            0 => 4000,
            1 => 700,
            _ => 10,
        };
        let letter = char::from(b'a' + (process.wrapping_add(number) % 26) as u8);
        Letter { process, number, padding: String::from(letter).repeat(len) }
    }
}

/// The sender of a process, of one of the faces.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Sender {
    Ipc(IpcSender<Letter>),
    Bounded(IpcSyncSender<Letter>),
    Mpsc(mpsc::Sender<Letter>),
    MpscBounded(mpsc::SyncSender<Letter>),
}

impl Sender {
    /// Whether it was `Ok`.
    fn send(&self, letter: Letter) -> bool {
        let refused = match self {
            Sender::Ipc(sender) => sender.send(letter).map_err(|error| error.to_string()),
            Sender::Bounded(sender) => sender.send(letter).map_err(|error| error.to_string()),
            Sender::Mpsc(sender) => sender.send(letter).map_err(|error| error.to_string()),
            Sender::MpscBounded(sender) => sender.send(letter).map_err(|error| error.to_string()),
        };
        if let Err(error) = &refused {
            eprintln!("refused: {error}");
        }
        refused.is_ok()
    }
}

/// Gets a sender from the server, begins when its standard input ends, and reports how many
/// sends returned `Ok`.
#[test]
fn sending_child() {
    harness::child_main_for(PATIENCE, |arguments| {
        let [server, process, messages, report] = &arguments[..] else { panic!("{arguments:?}") };
        let process: u32 = process.parse().unwrap();
        let (_nothing, senders) = ipc::connect::<(), Sender>(server.as_str()).unwrap();
        let sender = senders.recv().unwrap();
        let (mut report, mut nothing) = (open(Path::new(report)), Vec::new());
        io::stdin().read_to_end(&mut nothing).unwrap();
        let sent = (0..messages.parse().unwrap())
            .take_while(|&number| sender.send(Letter::new(process, number)))
            .count();
        // One small write to the end of a file is atomic.
        let line = format!("{process} {sent}\n");
        assert_eq!(report.write(line.as_bytes()).unwrap(), line.len());
    });
}

fn open(report: &Path) -> File {
    OpenOptions::new().append(true).create(true).open(report).unwrap()
}

/// The processes that send.
struct Senders {
    children: Vec<Child>,
    report: PathBuf,
}

impl Senders {
    /// Starts all processes, and lets them begin.
    fn start(sender: Sender) -> Senders {
        let messages = match sender {
            Sender::Ipc(_) | Sender::Mpsc(_) => MESSAGES,
            Sender::Bounded(_) | Sender::MpscBounded(_) => FEW_MESSAGES,
        };
        static LAST: AtomicU32 = AtomicU32::new(0);
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        let name = format!("strait-load-{}-{number}", std::process::id());
        let report = std::env::temp_dir().join(&name);
        drop(open(&report));
        let mut server = IpcServer::<Sender, ()>::bind(name.as_str()).unwrap();
        let (gate, opened) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).unwrap();
        let mut children = Vec::new();
        // Not all at once: a server limits the clients that have sent no hello.
        for process in 0..PROCESSES {
            let (process, messages) = (process.to_string(), messages.to_string());
            let arguments = [name.as_str(), &process, &messages, report.to_str().unwrap()];
            let mut command = harness::command(harness::path_of(sending_child), &arguments);
            command.stdin(Stdio::from(gate.try_clone().unwrap()));
            children.push(harness::start(harness::path_of(sending_child), &mut command));
            let (to_child, _) = server.accept().unwrap().split();
            to_child.send(sender.clone()).unwrap();
        }
        drop(opened);
        Senders { children, report }
    }

    /// Waits until all have ended, and returns how many messages of each were `Ok`.
    fn end(self) -> BTreeMap<u32, u32> {
        let processes = self.children.len();
        for child in self.children {
            child.completed();
        }
        let text = fs::read_to_string(&self.report).unwrap();
        fs::remove_file(&self.report).unwrap();
        let counts: BTreeMap<u32, u32> = text
            .lines()
            .map(|line| line.split_once(' ').unwrap())
            .map(|(process, sent)| (process.parse().unwrap(), sent.parse().unwrap()))
            .collect();
        assert_eq!(counts.len(), processes);
        counts
    }
}

/// What was received.
#[derive(Default)]
struct Received {
    counts: BTreeMap<u32, u32>,
    errors: Vec<String>,
}

impl Received {
    #[track_caller]
    fn note(&mut self, letter: &Letter) {
        let next = self.counts.entry(letter.process).or_default();
        assert_eq!(letter.number, *next, "of process {}", letter.process);
        let expected = Letter::new(letter.process, letter.number);
        assert!(letter.padding == expected.padding, "number {} is damaged", letter.number);
        *next += 1;
    }

    #[track_caller]
    fn is(mut self, sent: BTreeMap<u32, u32>) {
        let messages: u32 = sent.values().sum();
        let received: u32 = self.counts.values().sum();
        // Senders without any received message are missing in the map.
        sent.keys().for_each(|&process| _ = self.counts.entry(process).or_default());
        assert!(
            self.counts == sent && self.errors.is_empty(),
            "{received} of {messages} messages were received, and {} errors: {:?}",
            self.errors.len(),
            self.errors.first()
        );
        println!("{messages} messages of {} processes", sent.len());
    }
}

/// Receives everything while it is sent, or when all senders have ended.
fn receive_all(receiver: &IpcReceiver<Letter>, senders: Senders, is_late: bool) {
    let mut received = Received::default();
    let mut receive = || {
        loop {
            match receiver.recv() {
                Ok(letter) => received.note(&letter),
                Err(IpcError::Disconnected) => break,
                Err(error) => received.errors.push(error.to_string()),
            }
        }
    };
    let sent = if is_late {
        let sent = senders.end();
        receive();
        sent
    } else {
        receive();
        senders.end()
    };
    received.is(sent);
}

/// Runs it in a process of its own, with as many descriptors as there may be.
#[track_caller]
fn load(test: &str, body: impl FnOnce()) {
    harness::alone_for(PATIENCE, test, || {
        harness::room_for_handles();
        body();
    });
}

fn tiny() -> Limits {
    let mut limits = Limits::default();
    limits.shared_memories = 2;
    limits
}

#[test]
fn no_message_is_lost_if_received_meanwhile() {
    load(harness::path_of(no_message_is_lost_if_received_meanwhile), || {
        let (sender, receiver) = ipc::channel().unwrap();
        receive_all(&receiver, Senders::start(Sender::Ipc(sender)), false);
    });
}

#[test]
fn no_message_of_ended_senders_is_lost() {
    load(harness::path_of(no_message_of_ended_senders_is_lost), || {
        let (sender, receiver) = ipc::channel().unwrap();
        receive_all(&receiver, Senders::start(Sender::Ipc(sender)), true);
    });
}

#[test]
fn no_message_is_lost_with_few_rings() {
    load(harness::path_of(no_message_is_lost_with_few_rings), || {
        for is_late in [false, true] {
            let (sender, receiver) = ChannelOptions::new().limits(tiny()).channel().unwrap();
            receive_all(&receiver, Senders::start(Sender::Ipc(sender)), is_late);
        }
    });
}

#[test]
fn no_message_is_lost_without_shared_memory() {
    load(harness::path_of(no_message_is_lost_without_shared_memory), || {
        let (sender, receiver) = ChannelOptions::new().shared_memory(false).channel().unwrap();
        receive_all(&receiver, Senders::start(Sender::Ipc(sender)), false);
    });
}

#[test]
fn no_message_of_bounded_channels_is_lost() {
    load(harness::path_of(no_message_of_bounded_channels_is_lost), || {
        for bound in [1, 1000] {
            let (sender, receiver) = ipc::sync_channel(bound).unwrap();
            receive_all(&receiver, Senders::start(Sender::Bounded(sender)), false);
        }
        let limits = ChannelOptions::new().limits(tiny());
        let (sender, receiver) = limits.sync_channel(10).unwrap();
        receive_all(&receiver, Senders::start(Sender::Bounded(sender)), false);
    });
}

#[test]
fn no_message_of_mpsc_channels_is_lost() {
    load(harness::path_of(no_message_of_mpsc_channels_is_lost), || {
        for is_bounded in [false, true] {
            let (sender, receiver) = if is_bounded {
                let (sender, receiver) = mpsc::sync_channel(100);
                (Sender::MpscBounded(sender), receiver)
            } else {
                let (sender, receiver) = mpsc::channel();
                (Sender::Mpsc(sender), receiver)
            };
            let senders = Senders::start(sender);
            let mut received = Received::default();
            receiver.iter().for_each(|letter| received.note(&letter));
            received.is(senders.end());
        }
    });
}

/// Messages for which there is no file descriptor are received when there is one.
#[test]
fn no_message_is_lost_while_there_are_no_descriptors() {
    load(harness::path_of(no_message_is_lost_while_there_are_no_descriptors), || {
        let (sender, receiver) = ipc::channel().unwrap();
        let senders = Senders::start(Sender::Ipc(sender));
        let sent = senders.end();
        let taken = take_descriptors();
        let mut received = Received::default();
        // An error for want of a file descriptor loses no message.
        let mut patience = 50;
        while patience > 0 {
            match receiver.try_recv() {
                Ok(letter) => received.note(&letter),
                Err(TryRecvError::IpcError(IpcError::Disconnected)) => break,
                Err(_) => {
                    patience -= 1;
                    thread::sleep(Duration::from_millis(2));
                }
            }
        }
        drop(taken);
        loop {
            match receiver.recv() {
                Ok(letter) => received.note(&letter),
                Err(IpcError::Disconnected) => break,
                Err(error) => received.errors.push(error.to_string()),
            }
        }
        received.is(sent);
    });
}

/// Takes all descriptors that are left, under a limit that is soon reached.
fn take_descriptors() -> Vec<OwnedFd> {
    let stdin = io::stdin();
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = Some(harness::handles().len() as u64 + 50);
    setrlimit(Resource::Nofile, limit).unwrap();
    std::iter::from_fn(|| stdin.as_fd().try_clone_to_owned().ok()).collect()
}

/// All processes run on one processor.
#[test]
fn no_message_is_lost_on_one_processor() {
    load(harness::path_of(no_message_is_lost_on_one_processor), || {
        let all = sched_getaffinity(None).unwrap();
        let first = (0..CpuSet::MAX_CPU).find(|&cpu| all.is_set(cpu)).unwrap();
        let mut one = CpuSet::new();
        one.set(first);
        sched_setaffinity(None, &one).unwrap();
        for is_late in [false, true] {
            let (sender, receiver) = ipc::channel().unwrap();
            receive_all(&receiver, Senders::start(Sender::Ipc(sender)), is_late);
        }
    });
}
