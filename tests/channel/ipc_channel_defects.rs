//! One test for each defect of ipc-channel 0.23.1 that a channel on Linux could have, too; each
//! is named after the defect. One is missing: a sender blocks while the socket is full (section
//! 4.1), and so do strait's senders, for now.
//!
//! # Safety
//!
//! One `signal` call restores a default action.

#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use strait::ipc::{
    self, IpcError, IpcOneShotServer, IpcReceiver, IpcReceiverSet, IpcSelectionResult, IpcSender,
    IpcSharedMemory,
};
use strait::router::RouterProxy;

use crate::harness;
use crate::harness::raw::{self, Canary};
use crate::harness::table;

#[track_caller]
fn assert_refused<T>(received: Result<T, IpcError>) {
    match received {
        Err(IpcError::SerializationError(_)) => {}
        Err(error) => panic!("another error: {error:?}"),
        Ok(_) => panic!("it was accepted"),
    }
}

// ---- 4.2: file descriptors ----

/// 64, or 63 if the message was sent in parts; one more was a panic.
#[test]
fn more_than_64_endpoints_in_a_message() {
    let _watchdog = harness::watchdog();
    type ReturnSlot = (String, Vec<IpcSender<usize>>, Vec<IpcSharedMemory>);
    let (sender, receiver) = ipc::channel::<ReturnSlot>().unwrap();
    let (number_sender, numbers) = ipc::channel().unwrap();
    let memory = IpcSharedMemory::try_from_bytes(b"shared").unwrap();
    for text in ["", &"x".repeat(500_000)] {
        for count in [63, 64, 65, 126, 127, 128, 200] {
            let senders = vec![number_sender.clone(); count];
            let return_slot = (text.to_string(), senders, vec![memory.clone(); count]);
            let sending = thread::spawn({
                let sender = sender.clone();
                move || sender.send(return_slot).unwrap()
            });
            let (received, senders, memories) = receiver.recv().unwrap();
            sending.join().unwrap();
            assert_eq!(received.len(), text.len());
            assert_eq!((senders.len(), memories.len()), (count, count));
            for (number, sender) in senders.into_iter().enumerate() {
                sender.send(number).unwrap();
                assert_eq!(numbers.recv().unwrap(), number);
            }
            assert!(memories.into_iter().all(|memory| &*memory == b"shared"));
        }
    }
}

/// `MSG_CTRUNC` was ignored: the missing file descriptors were a panic. (More in `limits`.)
#[test]
fn a_receiver_at_its_descriptor_limit_does_not_panic() {
    harness::alone(harness::path_of(a_receiver_at_its_descriptor_limit_does_not_panic), || {
        let (sender, receiver) = ipc::channel::<IpcSender<u32>>().unwrap();
        let (one, numbers) = ipc::channel().unwrap();
        sender.send(one.clone()).unwrap();
        sender.send(one).unwrap();
        let resource = rustix::process::Resource::Nofile;
        let enough = rustix::process::getrlimit(resource);
        let mut none = enough;
        none.current = Some(0);
        rustix::process::setrlimit(resource, none).unwrap();
        assert_refused(receiver.recv());
        rustix::process::setrlimit(resource, enough).unwrap();
        receiver.recv().unwrap().send(5).unwrap();
        assert_eq!(numbers.recv().unwrap(), 5);
        assert!(numbers.recv().unwrap_err().is_disconnected());
    });
}

/// Twenty messages leaked twenty file descriptors; with debug assertions they were a panic.
#[test]
fn messages_that_are_not_decoded_leak_no_endpoints() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::channel::<(IpcSender<u32>, String)>().unwrap();
    let (one, numbers) = ipc::channel().unwrap();
    let mut set = IpcReceiverSet::new().unwrap();
    set.add(receiver).unwrap();
    for _ in 0..20 {
        sender.send((one.clone(), "text".to_string())).unwrap();
    }
    drop(one);
    for (number, result) in set.select().unwrap().into_iter().enumerate() {
        match number % 3 {
            // As another type, which fails after or before the endpoint.
            0 => assert!(result.unwrap().1.to::<(IpcSender<u32>, u64, u64)>().is_err()),
            1 => assert!(result.unwrap().1.to::<(String, IpcSender<u32>)>().is_err()),
            _ => drop(result),
        }
    }
    assert!(numbers.recv().unwrap_err().is_disconnected());
}

// ---- 4.3: serialisation ----

/// Sends through another channel while it is itself being sent.
#[derive(Debug, Deserialize)]
struct Reentrant {
    before: IpcSender<u32>,
    after: IpcSender<u32>,
    #[serde(skip)]
    other: Option<IpcSender<IpcSender<u32>>>,
}

impl Serialize for Reentrant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;

        let mut fields = serializer.serialize_struct("Reentrant", 2)?;
        fields.serialize_field("before", &self.before)?;
        if let Some(other) = &self.other {
            other.send_ref(&self.after).map_err(S::Error::custom)?;
        }
        fields.serialize_field("after", &self.after)?;
        fields.end()
    }
}

/// The inner message took the endpoints of the outer one, and the receiver panicked.
#[test]
fn sending_while_serializing_keeps_messages_apart() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::channel::<Reentrant>().unwrap();
    let (other, others) = ipc::channel::<IpcSender<u32>>().unwrap();
    let (before, before_receiver) = ipc::channel().unwrap();
    let (after, after_receiver) = ipc::channel().unwrap();
    sender.send(Reentrant { before, after, other: Some(other) }).unwrap();
    others.recv().unwrap().send(1).unwrap();
    assert!(others.recv().unwrap_err().is_disconnected());
    assert_eq!(after_receiver.recv().unwrap(), 1);
    let received = receiver.recv().unwrap();
    received.before.send(2).unwrap();
    received.after.send(3).unwrap();
    drop(received);
    assert!(before_receiver.iter().eq([2]));
    assert!(after_receiver.iter().eq([3]));
}

/// Receives from another channel while it is itself being received.
#[derive(Debug, Serialize)]
struct Nested {
    inner: IpcReceiver<IpcSender<u32>>,
    outer: IpcSender<u32>,
}

impl<'de> Deserialize<'de> for Nested {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Nested, D::Error> {
        #[derive(Deserialize)]
        struct Fields(IpcReceiver<IpcSender<u32>>, IpcSender<u32>);

        let Fields(inner, outer) = Fields::deserialize(deserializer)?;
        inner.recv().map_err(D::Error::custom)?.send(1).map_err(D::Error::custom)?;
        Ok(Nested { inner, outer })
    }
}

#[test]
fn receiving_while_deserializing_keeps_messages_apart() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::channel::<Vec<Nested>>().unwrap();
    let (numbers_sender, numbers) = ipc::channel().unwrap();
    let nested = || {
        let (inner_sender, inner) = ipc::channel().unwrap();
        inner_sender.send(numbers_sender.clone()).unwrap();
        Nested { inner, outer: numbers_sender.clone() }
    };
    sender.send(vec![nested(), nested()]).unwrap();
    drop(numbers_sender);
    for nested in receiver.recv().unwrap() {
        assert!(nested.inner.recv().unwrap_err().is_disconnected());
        nested.outer.send(2).unwrap();
    }
    assert!(numbers.iter().eq([1, 1, 2, 2]));
}

/// Fails or panics when its second half is serialised.
#[derive(Debug)]
struct Failing {
    sender: IpcSender<u32>,
    receiver: Option<IpcReceiver<u32>>,
    panics: bool,
}

impl Serialize for Failing {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeTuple;

        let mut fields = serializer.serialize_tuple(3)?;
        fields.serialize_element(&self.sender)?;
        fields.serialize_element(&self.receiver)?;
        assert!(!self.panics, "as it was told");
        Err(S::Error::custom("as it was told"))
    }
}

/// The endpoint was sent with the next message of the thread, and its channel never
/// disconnected.
#[test]
fn failed_serialization_leaves_no_endpoints_behind() {
    let _watchdog = harness::watchdog();
    for panics in [false, true] {
        let (sender, receiver) = ipc::channel::<Failing>().map(narrow).unwrap();
        let (one, numbers) = ipc::channel().unwrap();
        let (to_moved, moved) = ipc::channel().unwrap();
        let failing = Failing { sender: one, receiver: Some(moved), panics };
        let sent = catch_unwind(AssertUnwindSafe(|| sender.send_ref(&failing)));
        assert_eq!(sent.is_err(), panics);
        if let Ok(sent) = sent {
            assert_refused(sent);
        }
        // The receiver is still in its variable.
        to_moved.send(4).unwrap();
        assert_eq!(failing.receiver.as_ref().unwrap().recv().unwrap(), 4);
        // The next message of this thread has its own endpoints only.
        let (text_sender, texts) = ipc::channel::<(String, Option<IpcSender<u32>>)>().unwrap();
        text_sender.send(("next".to_string(), None)).unwrap();
        drop(failing);
        assert!(numbers.recv().unwrap_err().is_disconnected());
        assert_eq!(texts.recv().unwrap().0, "next");
        drop(sender);
        assert!(receiver.recv().unwrap_err().is_disconnected());
    }
}

/// A receiver of messages that never arrive.
fn narrow(
    (sender, receiver): (IpcSender<Failing>, IpcReceiver<Failing>),
) -> (IpcSender<Failing>, IpcReceiver<u32>) {
    (sender, receiver.to_opaque().to())
}

impl<'de> Deserialize<'de> for Failing {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Failing, D::Error> {
        Err(D::Error::custom("it is never received"))
    }
}

/// A number out of range was a panic, and a number twice a sender that panicked when it was
/// dropped: it is one sender. (More in `hostile`.)
#[test]
fn forged_numbers_do_not_panic() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::channel::<(IpcSender<u32>, IpcSender<u32>)>().unwrap();
    let (one, numbers) = ipc::channel::<u32>().unwrap();
    let numbers_of = |a: u32, b: u32| {
        let user = [a, b].map(u32::to_le_bytes).concat();
        table::with(&user, &[table::sender(), table::sender()])
    };
    for (a, b) in [(0, 2), (2, 0), (u32::MAX, 1), (2, 2)] {
        let fds = [one.as_fd(), one.as_fd()];
        raw::send(&sender, &raw::message(2, &numbers_of(a, b)), &fds).unwrap();
        assert_refused(receiver.recv());
    }
    for (a, b) in [(1, 0), (0, 0), (1, 1)] {
        let fds = [one.as_fd(), one.as_fd()];
        raw::send(&sender, &raw::message(2, &numbers_of(a, b)), &fds).unwrap();
        let (first, second) = receiver.recv().unwrap();
        first.send(1).unwrap();
        drop(first);
        second.send(2).unwrap();
        assert_eq!((numbers.recv().unwrap(), numbers.recv().unwrap()), (1, 2));
    }
}

// ---- 4.4: memory (what is allocated is counted in `allocation`) ----

/// The vector had the capacity of the largest packet.
#[test]
fn a_received_vector_is_as_large_as_its_content() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::bytes_channel().unwrap();
    let (set_sender, set_receiver) = ipc::bytes_channel().unwrap();
    let (text_sender, texts) = ipc::channel::<(String, Vec<u8>, Vec<u64>)>().unwrap();
    let mut set = IpcReceiverSet::new().unwrap();
    set.add_bytes(set_receiver).unwrap();
    // Lengths go up and down, so that the expected length is too large or too small.
    for len in [3, 0, 1000, 100_000, 199_000, 1, 50_000, 3_000_000, 3, 70_000, 70_001, 69_999] {
        let sending = thread::spawn({
            let (sender, set_sender) = (sender.clone(), set_sender.clone());
            let text_sender = text_sender.clone();
            move || {
                let bytes = vec![7; len];
                sender.send(&bytes).unwrap();
                set_sender.send(&bytes).unwrap();
                let numbers = vec![7; len / 8];
                text_sender.send(("x".repeat(len), bytes, numbers)).unwrap();
            }
        });
        let received = receiver.recv().unwrap();
        assert_eq!((received.len(), received.capacity()), (len, len));
        let (_, message) = set.select().unwrap().remove(0).unwrap();
        let received = message.into_bytes().unwrap();
        assert_eq!((received.len(), received.capacity()), (len, len));
        let (text, bytes, _) = texts.recv().unwrap();
        assert_eq!((text.len(), text.capacity()), (len, len));
        assert_eq!(bytes.len(), len);
        // serde itself reserves no more than this ahead.
        assert!(bytes.capacity() == len || len > 1 << 20);
        sending.join().unwrap();
    }
}

// ---- 4.5: peers that are not to be trusted ----

/// It was a panic.
#[test]
fn a_short_packet_and_a_hang_up_do_not_panic() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::channel::<u32>().unwrap();
    raw::send(&sender, &[1, 2, 3, 4], &[]).unwrap();
    drop(sender);
    assert_refused(receiver.recv());
    assert!(receiver.recv().unwrap_err().is_disconnected());
}

/// Without a hang-up, the receiver blocked for ever.
#[test]
fn a_short_packet_does_not_wait_for_more() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::channel::<u32>().unwrap();
    raw::send(&sender, &[1, 2, 3, 4], &[]).unwrap();
    assert_refused(receiver.recv());
    let (server, name) = IpcOneShotServer::<u32>::new().unwrap();
    let client = IpcSender::<u32>::connect(name.clone()).unwrap();
    raw::send(&client, &[1, 2, 3, 4], &[]).unwrap();
    IpcSender::connect(name).unwrap().send(5_u32).unwrap();
    assert_eq!(server.accept().unwrap().1, 5);
}

/// It was a panic or an abort.
#[test]
fn an_announced_size_is_not_reserved() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::channel::<u32>().unwrap();
    for size in [u64::MAX, 1 << 62, 1 << 40] {
        raw::send(&sender, &raw::first(u128::from(size), size, b"x"), &[]).unwrap();
        assert_refused(receiver.recv());
    }
    raw::send(&sender, &raw::first(1, 1 << 30, b"x"), &[]).unwrap();
    sender.send(5).unwrap();
    assert_eq!(receiver.recv().unwrap(), 5);
}

/// The receiver was killed by SIGBUS.
#[test]
fn memory_that_is_not_sealed_is_refused() {
    use rustix::fs::MemfdFlags;

    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::channel::<IpcSharedMemory>().unwrap();
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let memory = rustix::fs::memfd_create("not-sealed", flags).unwrap();
    rustix::fs::ftruncate(&memory, 8192).unwrap();
    let entry = table::memory(8192, table::FIXED);
    let body = table::with(&table::memory_number(0), &[entry]);
    raw::send(&sender, &raw::message(1, &body), &[memory.as_fd()]).unwrap();
    assert_refused(receiver.recv());
}

// ---- 4.6: timeouts, signals, partial messages (more in `signals`) ----

/// The call blocked beyond its timeout.
#[test]
fn timeout_is_kept_while_a_message_is_incomplete() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::channel::<String>().unwrap();
    raw::send(&sender, &raw::first(1, 1_000_000, &[7; 1000]), &[]).unwrap();
    let timeout = Duration::from_millis(10);
    let start = Instant::now();
    assert!(receiver.try_recv_timeout(timeout).unwrap_err().is_empty());
    assert!(start.elapsed() >= timeout);
}

/// If a sender is dropped in the middle of a message, the message is discarded, and other
/// senders continue.
#[test]
fn incomplete_message_of_a_dropped_sender_is_discarded() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::channel::<String>().unwrap();
    let (canary, fd) = Canary::new();
    let dying: OwnedFd = sender.as_fd().try_clone_to_owned().unwrap();
    let position = strait::internals::frame::Position::First { bytes: 1_000_000, attachments: 2 };
    let kind = strait::internals::frame::Kind::Part { id: 1, position };
    raw::send(&dying, &raw::packet(kind, 1, b"x"), &[fd.as_fd()]).unwrap();
    drop((dying, fd));
    sender.send("alive".to_string()).unwrap();
    assert_eq!(receiver.recv().unwrap(), "alive");
    drop(sender);
    assert!(receiver.recv().unwrap_err().is_disconnected());
    drop(receiver);
    canary.wait_until_closed();
}

/// Timeouts were truncated to milliseconds: 1.9 ms was 1 ms, and less than 1 ms was 0.
#[test]
fn timeouts_are_not_rounded() {
    let _watchdog = harness::watchdog();
    let (_sender, receiver) = ipc::channel::<u32>().unwrap();
    let mut set = IpcReceiverSet::new().unwrap();
    for timeout in [300, 999, 1900, 2999].map(Duration::from_micros) {
        for _ in 0..10 {
            let start = Instant::now();
            assert!(receiver.try_recv_timeout(timeout).unwrap_err().is_empty());
            assert!(start.elapsed() >= timeout);
            let start = Instant::now();
            assert!(set.try_select_timeout(timeout).unwrap_err().is_empty());
            assert!(start.elapsed() >= timeout);
        }
    }
    // A timeout beyond the range of the clock is none.
    let (sender, receiver) = ipc::channel::<u32>().unwrap();
    sender.send(1).unwrap();
    assert_eq!(receiver.try_recv_timeout(Duration::MAX).unwrap(), 1);
}

/// std ignores the signal in Rust programs, but other programs do not.
#[test]
fn send_without_receiver_raises_no_sigpipe() {
    harness::alone(harness::path_of(send_without_receiver_raises_no_sigpipe), || {
        // SAFETY: it restores the default action.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
        let (sender, receiver) = ipc::channel::<String>().unwrap();
        drop(receiver);
        assert!(sender.send("x".to_string()).unwrap_err().is_disconnected());
        assert!(sender.send("x".repeat(1_000_000)).unwrap_err().is_disconnected());
    });
}

// ---- 4.7: sets (more in `hostile`) ----

/// The results that had been collected were dropped.
#[test]
fn an_error_in_the_middle_of_a_selection_loses_nothing() {
    let _watchdog = harness::watchdog();
    let mut set = IpcReceiverSet::new().unwrap();
    let (sender, receiver) = ipc::channel::<u32>().unwrap();
    let (bad_sender, bad_receiver) = ipc::channel::<u32>().unwrap();
    let id = set.add(receiver).unwrap();
    let bad = set.add(bad_receiver).unwrap();
    for number in 0..100 {
        sender.send(number).unwrap();
        raw::send(&bad_sender, b"bad", &[]).unwrap();
    }
    drop((sender, bad_sender));
    let mut numbers = Vec::new();
    let mut errors = 0;
    while !set.is_empty() {
        for result in set.select().unwrap() {
            match result {
                IpcSelectionResult::MessageReceived(from, message) if from == id => {
                    numbers.push(message.to::<u32>().unwrap());
                }
                IpcSelectionResult::MessageReceived(from, message) => {
                    assert_eq!(from, bad);
                    assert!(message.to::<u32>().is_err());
                    errors += 1;
                }
                IpcSelectionResult::ChannelClosed(_) => {}
            }
        }
    }
    assert!(numbers.into_iter().eq(0..100));
    assert_eq!(errors, 100);
}

/// A set had no method to remove a receiver.
#[test]
fn receiver_can_be_removed_from_a_set() {
    let _watchdog = harness::watchdog();
    let mut set = IpcReceiverSet::new().unwrap();
    let (sender, receiver) = ipc::channel::<u32>().unwrap();
    let id = set.add(receiver).unwrap();
    sender.send(1).unwrap();
    let receiver = set.remove(id).unwrap().to::<u32>();
    assert!(set.is_empty() && set.remove(id).is_none());
    assert!(set.try_select().unwrap_err().is_empty());
    assert_eq!(receiver.recv().unwrap(), 1);
    let again = set.add(receiver).unwrap();
    assert_ne!(again, id);
    sender.send(2).unwrap();
    assert_eq!(set.select().unwrap().remove(0).unwrap().0, again);
}

// ---- 4.8: the router ----

/// One mistyped message ended all routes of the process.
#[test]
fn a_mistyped_message_ends_no_route() {
    let _watchdog = harness::watchdog();
    let router = RouterProxy::new();
    let (other_sender, other) = ipc::channel::<u32>().unwrap();
    let others = router.route_ipc_receiver_to_new_crossbeam_receiver(other);
    let (sender, receiver) = ipc::channel::<String>().unwrap();
    let texts = router.route_ipc_receiver_to_new_crossbeam_receiver(receiver);
    let mistyped = sender.clone().to_opaque().to::<u8>();
    mistyped.send(1).unwrap();
    sender.send("good".to_string()).unwrap();
    assert_eq!(texts.recv().unwrap(), "good");
    other_sender.send(5).unwrap();
    assert_eq!(others.recv().unwrap(), 5);
}

#[test]
fn a_callback_that_panics_ends_no_other_route() {
    let _watchdog = harness::watchdog();
    let router = RouterProxy::new();
    let (other_sender, other) = ipc::channel::<u32>().unwrap();
    let others = router.route_ipc_receiver_to_new_crossbeam_receiver(other);
    let (sender, receiver) = ipc::channel::<u32>().unwrap();
    router.add_typed_route(receiver, Box::new(|_| panic!("as it was told")));
    sender.send(1).unwrap();
    // The channel of that route is closed.
    raw::wait_until_disconnected(|| sender.send(2));
    other_sender.send(5).unwrap();
    assert_eq!(others.recv().unwrap(), 5);
    let (late_sender, late) = ipc::channel::<u32>().unwrap();
    let late = router.route_ipc_receiver_to_new_crossbeam_receiver(late);
    late_sender.send(6).unwrap();
    assert_eq!(late.recv().unwrap(), 6);
}

/// More than 278 were a deadlock.
#[test]
fn a_callback_adds_a_thousand_routes() {
    harness::alone(harness::path_of(a_callback_adds_a_thousand_routes), || {
        let resource = rustix::process::Resource::Nofile;
        let mut limit = rustix::process::getrlimit(resource);
        limit.current = limit.maximum;
        rustix::process::setrlimit(resource, limit).unwrap();
        let count = if limit.current.is_none_or(|limit| limit > 3000) { 1000 } else { 400 };
        let router = Arc::new(RouterProxy::new());
        let (numbers_sender, numbers) = mpsc::channel();
        let (sender, receiver) = ipc::channel::<u32>().unwrap();
        let inner = Arc::clone(&router);
        router.add_typed_route(
            receiver,
            Box::new(move |_| {
                for number in 0..count {
                    let (route_sender, route) = ipc::channel::<u32>().unwrap();
                    let numbers_sender = numbers_sender.clone();
                    let callback = move |number: Result<u32, _>| {
                        numbers_sender.send(number.unwrap()).unwrap();
                    };
                    inner.add_typed_route(route, Box::new(callback));
                    route_sender.send(number).unwrap();
                }
            }),
        );
        sender.send(0).unwrap();
        let mut heard: Vec<u32> = numbers.iter().take(count as usize).collect();
        heard.sort_unstable();
        assert!(heard.into_iter().eq(0..count));
    });
}

/// The router waited for its own thread.
#[test]
fn a_callback_shuts_its_router_down() {
    let _watchdog = harness::watchdog();
    let router = Arc::new(RouterProxy::new());
    let (sender, receiver) = ipc::channel::<u32>().unwrap();
    let (over, is_over) = mpsc::channel();
    let inner = Arc::clone(&router);
    router.add_typed_route(
        receiver,
        Box::new(move |_| {
            inner.shutdown();
            over.send(()).unwrap();
        }),
    );
    sender.send(1).unwrap();
    is_over.recv().unwrap();
    // Its routes were dropped, and later ones are dropped, too.
    raw::wait_until_disconnected(|| sender.send(2));
    let (late_sender, late) = ipc::channel::<u32>().unwrap();
    router.add_typed_route(late, Box::new(|_| {}));
    raw::wait_until_disconnected(|| late_sender.send(1));
    router.shutdown();
}

// ---- 4.9 ----

/// Senders are in flight while others are dropped: disconnection comes neither too early
/// nor never.
#[test]
fn senders_in_flight_keep_the_channel_open() {
    let _watchdog = harness::watchdog();
    for _ in 0..500 {
        let (sender, receiver) = ipc::channel::<u32>().unwrap();
        let (carrier, carried) = ipc::channel::<IpcSender<u32>>().unwrap();
        let forwarding = thread::spawn(move || {
            carried.recv().unwrap().send(1).unwrap();
        });
        carrier.send_ref(&sender).unwrap();
        drop(sender);
        assert_eq!(receiver.recv().unwrap(), 1);
        assert!(receiver.recv().unwrap_err().is_disconnected());
        forwarding.join().unwrap();
    }
}

/// A receiver that was sent after an empty `try_recv` was a panic on Windows, where a read was
/// in progress.
#[test]
fn a_receiver_that_found_nothing_can_be_sent() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::channel::<u32>().unwrap();
    assert!(receiver.try_recv().unwrap_err().is_empty());
    let number = receiver.as_fd().as_raw_fd();
    assert!(number >= 0);
    let (carrier, carried) = ipc::channel().unwrap();
    carrier.send(receiver).unwrap();
    sender.send(1).unwrap();
    assert_eq!(carried.recv().unwrap().recv().unwrap(), 1);
}

/// Endpoints outside a message were a panic or nonsense.
#[test]
fn an_endpoint_in_anything_but_a_message_is_an_error() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::channel::<u32>().unwrap();
    let error = bincode::serde::encode_to_vec(&sender, bincode::config::standard()).unwrap_err();
    assert!(error.to_string().contains("message"), "{error}");
    assert!(bincode::serde::encode_to_vec(&receiver, bincode::config::standard()).is_err());
    let decoded: Result<(IpcSender<u32>, usize), _> =
        bincode::serde::decode_from_slice(&[0; 8], bincode::config::standard());
    assert!(decoded.is_err());
    // Both endpoints are still usable.
    sender.send(1).unwrap();
    assert_eq!(receiver.recv().unwrap(), 1);
}
