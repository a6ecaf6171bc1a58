//! Receivers in a message that fails to be sent: each of them comes back with all its messages,
//! and no file descriptor leaks.

use std::fs::File;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use serde::ser::Error as _;
use serde::{Deserialize, Serialize, Serializer};
use strait::handle::Handle;
use strait::internals::frame::{Kind, Position};
use strait::ipc::{
    self, ChannelOptions, IpcReceiver, IpcSender, IpcSharedMemory, IpcSyncSender,
    MAX_MESSAGE_ATTACHMENTS,
};
use strait::{IpcError, TrySendError};

use crate::harness;
use crate::harness::{raw, table};

type Inner = (u32, Option<Handle<File>>, String);

/// Receivers of all kinds, and the other values in their message.
#[derive(Serialize, Deserialize)]
struct Cargo {
    before: Vec<IpcSharedMemory>,
    receivers: Vec<IpcReceiver<Inner>>,
    after: Whim,
}

/// A value that may make the encoding of its message fail.
#[derive(Deserialize)]
enum Whim {
    Nothing,
    Fails,
    Receivers(IpcReceiver<u8>, IpcReceiver<u8>),
    Handle(Handle<File>),
}

impl Serialize for Whim {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Whim::Nothing => ().serialize(serializer),
            Whim::Fails => Err(S::Error::custom("not me")),
            Whim::Receivers(one, other) => (one, other).serialize(serializer),
            Whim::Handle(handle) => handle.serialize(serializer),
        }
    }
}

enum Sender {
    Free(IpcSender<Inner>),
    Bounded(IpcSyncSender<Inner>),
}

/// A channel with undelivered messages, and the numbers with which it continues.
struct Channel {
    sender: Sender,
    /// The number of the next message to send.
    sent: u32,
    /// The number of the next message to receive.
    received: u32,
}

fn null() -> Handle<File> {
    Handle(File::open("/dev/null").unwrap())
}

impl Channel {
    fn send(&mut self) {
        let len = if self.sent % 50 == 7 { 3000 } else { 40 };
        let handle = (self.sent % 40 == 3).then(null);
        let value = (self.sent, handle, "x".repeat(len));
        match &self.sender {
            Sender::Free(sender) => sender.send(value).unwrap(),
            Sender::Bounded(sender) => sender.try_send(&value).unwrap(),
        }
        self.sent += 1;
    }

    fn receive(&mut self, what: &str, receiver: &IpcReceiver<Inner>) {
        let (number, handle, _) =
            receiver.try_recv().unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!((number, handle.is_some()), (self.received, number % 40 == 3), "{what}");
        self.received += 1;
    }
}

/// Channels of all kinds.
fn channels() -> (Vec<Channel>, Vec<IpcReceiver<Inner>>) {
    let free = |(sender, receiver)| (Sender::Free(sender), receiver);
    let bounded = |(sender, receiver)| (Sender::Bounded(sender), receiver);
    let lazy = ChannelOptions::new().lazy(true);
    let all = [
        (free(ipc::channel().unwrap()), 2000, 1900),
        (free(ipc::channel().unwrap()), 0, 0),
        (free(lazy.channel().unwrap()), 200, 10),
        (bounded(ipc::sync_channel(20).unwrap()), 20, 5),
        (bounded(lazy.sync_channel(20).unwrap()), 20, 5),
        (free(ipc::channel().unwrap()), 100, 1),
    ];
    let mut channels = Vec::new();
    let mut receivers = Vec::new();
    for ((sender, receiver), sent, received) in all {
        let mut channel = Channel { sender, sent: 0, received: 0 };
        // With a ring, and messages that were read ahead from the socket.
        let at_once = 250;
        while channel.sent < sent {
            for _ in 0..at_once.min(sent - channel.sent) {
                channel.send();
            }
            while channel.received < received.min(channel.sent.saturating_sub(100)) {
                channel.receive("before", &receiver);
            }
        }
        while channel.received < received {
            channel.receive("before", &receiver);
        }
        channels.push(channel);
        receivers.push(receiver);
    }
    // The parts of a message, which are never completed.
    if let Sender::Free(sender) = &channels[5].sender {
        let position = Position::First { bytes: 9000, attachments: 2 };
        let first = raw::packet(Kind::Part { id: 1, position }, 1, &[1; 5000]);
        raw::send(sender, &first, &[std::io::stdin().as_fd()]).unwrap();
    }
    (channels, receivers)
}

/// Checks that the receivers have all their messages and can receive more.
fn check(what: &str, channels: &mut [Channel], receivers: &[IpcReceiver<Inner>]) {
    for (channel, receiver) in channels.iter_mut().zip(receivers) {
        // Sends one more message, and receives one that was queued before, if there is one.
        channel.send();
        channel.receive(what, receiver);
    }
}

/// Checks at the end that no message is missing.
fn check_all(channels: Vec<Channel>, receivers: Vec<IpcReceiver<Inner>>) {
    for (mut channel, receiver) in channels.into_iter().zip(receivers) {
        while channel.received < channel.sent {
            channel.receive("at the end", &receiver);
        }
        assert!(receiver.try_recv().unwrap_err().is_empty());
        drop(channel.sender);
        assert!(receiver.recv().unwrap_err().is_disconnected());
    }
}

fn expect_full(result: Result<(), TrySendError>) {
    assert!(result.as_ref().is_err_and(TrySendError::is_full), "{result:?}");
}

fn expect_refused(result: Result<(), IpcError>) {
    assert!(matches!(result, Err(IpcError::SerializationError(_))), "{result:?}");
}

const SHORT: Duration = Duration::from_millis(2);

/// Sends in all ways that fail.
fn fail(cargo: &mut Cargo, is_back: &mut dyn FnMut(&Cargo, &str)) {
    let (carrier, carried) = ipc::channel::<Cargo>().unwrap();
    // Encoding fails before, between and after the receivers.
    cargo.after = Whim::Fails;
    expect_refused(carrier.send_ref(cargo));
    is_back(cargo, "not encoded");
    let gone = ipc::channel::<u8>().unwrap().1;
    let other = ipc::channel::<IpcReceiver<u8>>().unwrap();
    other.0.send_ref(&gone).unwrap();
    let here = ipc::channel::<u8>().unwrap();
    here.0.send(4).unwrap();
    cargo.after = Whim::Receivers(here.1, gone);
    expect_refused(carrier.send_ref(cargo));
    is_back(cargo, "one of them is not there");
    let Whim::Receivers(here, _) = &cargo.after else { unreachable!() };
    assert_eq!(here.recv().unwrap(), 4);
    cargo.after = Whim::Nothing;
    // More handles than there may be.
    cargo.before = vec![IpcSharedMemory::from_byte(1, 1); MAX_MESSAGE_ATTACHMENTS - 4];
    expect_refused(carrier.send_ref(cargo));
    is_back(cargo, "too many handles");
    cargo.before.clear();
    // A channel that cannot carry one of them, the last.
    let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    let (a, b) = rustix::net::socketpair(family, kind, SocketFlags::CLOEXEC, None).unwrap();
    let (meeting, met) = ipc::channel::<IpcSender<Cargo>>().unwrap();
    let endpoints = table::with(&table::number(0), &[table::sender_that_can(8)]);
    raw::send(&meeting, &raw::message(1, &endpoints), &[b.as_fd()]).unwrap();
    let limited = met.recv().unwrap();
    cargo.after = Whim::Handle(null());
    expect_refused(limited.send_ref(cargo));
    is_back(cargo, "cannot be carried");
    cargo.after = Whim::Nothing;
    drop((a, b));
    // A bound.
    let empty = || Cargo { before: Vec::new(), receivers: Vec::new(), after: Whim::Nothing };
    for bound in [0, 1] {
        let (bounded, _carried) = ipc::sync_channel::<Cargo>(bound).unwrap();
        if bound == 1 {
            bounded.send(empty()).unwrap();
        }
        expect_full(bounded.try_send(cargo));
        is_back(cargo, "full, at once");
        expect_full(bounded.send_timeout(cargo, SHORT));
        is_back(cargo, "full, in the end");
    }
    // A socket without room, whose receiver shares no memory; in one packet, and in parts.
    let options = ChannelOptions::new().shared_memory(false);
    for memories in [0, 300] {
        let (full, _carried) = options.channel::<Cargo>().unwrap();
        let one = Cargo { after: Whim::Handle(null()), ..empty() };
        while full.try_send(&one).is_ok() {}
        cargo.before = vec![IpcSharedMemory::from_byte(1, 1); memories];
        expect_full(full.try_send(cargo));
        is_back(cargo, "the socket is full");
        expect_full(full.send_timeout(cargo, SHORT));
        is_back(cargo, "the socket stays full");
    }
    cargo.before.clear();
    // An in-memory channel that is full.
    let lazy = ChannelOptions::new().lazy(true);
    let (in_memory, carried_in_memory) = lazy.sync_channel::<Cargo>(1).unwrap();
    in_memory.send(empty()).unwrap();
    expect_full(in_memory.send_timeout(cargo, SHORT));
    is_back(cargo, "full, in memory");
    drop(carried_in_memory);
    assert!(in_memory.send_ref(cargo).unwrap_err().is_disconnected());
    is_back(cargo, "gone, in memory");
    // No receiver.
    drop(carried);
    assert!(carrier.send_ref(cargo).unwrap_err().is_disconnected());
    is_back(cargo, "gone");
    cargo.before = vec![IpcSharedMemory::from_byte(1, 1); 300];
    assert!(carrier.send_ref(cargo).unwrap_err().is_disconnected());
    is_back(cargo, "gone, in parts");
    cargo.before.clear();
}

#[test]
fn receivers_of_a_failed_send_keep_their_messages_at_every_failure() {
    harness::alone(
        harness::path_of(receivers_of_a_failed_send_keep_their_messages_at_every_failure),
        || {
            let before_all = harness::handles();
            let (mut channels, receivers) = channels();
            let mut cargo = Cargo { before: Vec::new(), receivers, after: Whim::Nothing };
            fail(&mut cargo, &mut |cargo, what| {
                check(what, &mut channels, &cargo.receivers);
            });
            check_all(channels, cargo.receivers);
            drop((cargo.before, cargo.after));
            assert_eq!(harness::handles_besides(&before_all), []);
        },
    );
}

/// The same without other calls in between: failed sends alone change nothing.
#[test]
fn receivers_of_repeated_failed_sends_lose_nothing() {
    harness::alone(harness::path_of(receivers_of_repeated_failed_sends_lose_nothing), || {
        let before_all = harness::handles();
        let (channels, receivers) = channels();
        let mut cargo = Cargo { before: Vec::new(), receivers, after: Whim::Nothing };
        let mut open = None;
        for _ in 0..3 {
            fail(&mut cargo, &mut |_, _| {});
            // The first failed send promoted the in-memory channels, and emptied the rings.
            let now = harness::handles().len();
            assert_eq!(*open.get_or_insert(now), now);
        }
        check_all(channels, cargo.receivers);
        drop((cargo.before, cargo.after));
        assert_eq!(harness::handles_besides(&before_all), []);
    });
}
