//! Endpoints in messages: which are moved, shared, returned by a failed send, and closed.

use std::fmt::Debug;
use std::io;
use std::thread;
use std::time::Duration;

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use strait::ipc::{self, IpcReceiver, IpcSender, OpaqueIpcReceiver, OpaqueIpcSender};
use strait::{IpcError, TryRecvError};

use crate::harness::{self, watchdog};

const LONG: Duration = Duration::from_secs(60);

/// More than fits into one packet.
const LARGE: usize = 1_000_000;

#[track_caller]
fn expect_disconnected<T: Debug>(result: Result<T, IpcError>) {
    assert!(matches!(result, Err(IpcError::Disconnected)), "{result:?}");
}

#[track_caller]
fn expect_empty<T: Debug>(result: Result<T, TryRecvError>) {
    assert!(matches!(result, Err(TryRecvError::Empty)), "{result:?}");
}

#[track_caller]
fn expect_moved<T: Debug>(result: Result<T, IpcError>) {
    let Err(IpcError::Io(error)) = result else {
        panic!("{result:?}");
    };
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    assert_eq!(error.to_string(), "the receiver was moved into a message");
}

#[test]
fn senders_are_clones() {
    let _watchdog = watchdog();
    let (sender, receiver) = ipc::channel::<u8>().unwrap();
    let (carrier, carried) = ipc::channel().unwrap();
    carrier.send_ref(&sender).unwrap();
    carrier.send_ref(&sender).unwrap();
    sender.send(1).unwrap();
    drop(sender);
    let arrived: [IpcSender<u8>; 2] = [carried.recv().unwrap(), carried.recv().unwrap()];
    arrived[0].send(2).unwrap();
    arrived[1].send(3).unwrap();
    drop(arrived);
    assert_eq!(receiver.into_iter().collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn requests_carry_their_reply_channel() {
    let _watchdog = watchdog();
    let (requests, inbox) = ipc::channel::<(u32, IpcSender<u32>)>().unwrap();
    let thread = thread::spawn(move || {
        for (number, reply) in inbox {
            reply.send(number + 1).unwrap();
        }
    });
    for number in 0..100 {
        let (reply, answer) = ipc::channel().unwrap();
        requests.send((number, reply)).unwrap();
        assert_eq!(answer.recv().unwrap(), number + 1);
        expect_disconnected(answer.recv());
    }
    drop(requests);
    thread.join().unwrap();
}

/// A channel of channels of channels.
#[test]
fn may_be_nested() {
    type Inner = IpcReceiver<String>;
    type Middle = IpcReceiver<Inner>;

    let _watchdog = watchdog();
    let (outer, outer_end) = ipc::channel::<Middle>().unwrap();
    let (middle, middle_end) = ipc::channel::<Inner>().unwrap();
    let (inner, inner_end) = ipc::channel::<String>().unwrap();
    inner.send("deep".into()).unwrap();
    middle.send(inner_end).unwrap();
    outer.send(middle_end).unwrap();
    drop((outer, middle, inner));
    let middle_end = outer_end.recv().unwrap();
    let inner_end = middle_end.recv().unwrap();
    assert_eq!(inner_end.recv().unwrap(), "deep");
    expect_disconnected(inner_end.recv());
    expect_disconnected(middle_end.recv().map(drop));
    expect_disconnected(outer_end.recv().map(drop));
}

/// A message may have both endpoints of a channel, and the sender of the channel that it is
/// sent through.
#[test]
fn may_be_circular() {
    #[derive(Debug, Serialize, Deserialize)]
    struct Loop {
        itself: Option<IpcSender<Loop>>,
        ends: (IpcSender<u8>, IpcReceiver<u8>),
    }

    let _watchdog = watchdog();
    let (sender, receiver) = ipc::channel::<Loop>().unwrap();
    let ends = ipc::channel().unwrap();
    ends.0.send(7).unwrap();
    let itself = Some(sender.clone());
    sender.send(Loop { itself, ends }).unwrap();
    drop(sender);
    let arrived = receiver.recv().unwrap();
    assert_eq!(arrived.ends.1.recv().unwrap(), 7);
    let sender = arrived.itself.unwrap();
    let ends = ipc::channel().unwrap();
    sender.send(Loop { itself: None, ends }).unwrap();
    drop(sender);
    assert!(receiver.recv().unwrap().itself.is_none());
    expect_disconnected(receiver.recv());
}

/// A message whose last parts never arrive keeps no endpoint open, not even its own channel's.
#[test]
fn in_a_message_cut_short_are_closed() {
    let _watchdog = watchdog();
    let (sender, receiver) = ipc::channel::<Recursive>().unwrap();
    let (other, other_end) = ipc::channel::<u8>().unwrap();
    let content = vec![0; LARGE];
    // The attachments left when the receiver is dropped come back or are closed.
    let thread = thread::spawn(move || {
        // Without a limit on queued packets, the message may have been sent whole.
        if let Err(error) = sender.send(Recursive { itself: sender.clone(), other, content }) {
            assert!(error.is_disconnected(), "{error:?}");
        }
    });
    drop(receiver);
    thread.join().unwrap();
    expect_disconnected(other_end.recv());
}

#[derive(Serialize, Deserialize)]
struct Recursive {
    itself: IpcSender<Recursive>,
    other: IpcSender<u8>,
    content: Vec<u8>,
}

#[cfg(all(target_os = "linux", not(feature = "force-inprocess")))]
#[test]
fn sends_itself_child() {
    harness::child_main(|arguments| {
        let hello = IpcSender::connect(arguments[0].clone()).unwrap();
        let (answer, answers) = ipc::channel::<IpcSender<Recursive>>().unwrap();
        hello.send(answer).unwrap();
        let itself = answers.recv().unwrap();
        let (other, _other_end) = ipc::channel().unwrap();
        let message = Recursive { itself: itself.clone(), other, content: vec![0; LARGE] };
        // The parent does not receive, so this blocks until the process is killed.
        itself.send(message).unwrap();
    });
}

/// Killed in the middle of a large message that has a sender of its own channel in it.
#[cfg(all(target_os = "linux", not(feature = "force-inprocess")))]
#[test]
fn in_a_message_of_a_process_that_was_killed_are_closed() {
    use std::os::fd::AsFd;

    use rustix::event::{PollFd, PollFlags, poll};

    let _watchdog = watchdog();
    let (server, name) = ipc::IpcOneShotServer::<IpcSender<IpcSender<Recursive>>>::new().unwrap();
    let child = harness::child(harness::path_of(sends_itself_child), &[&name]);
    let (_, answer) = server.accept().unwrap();
    let (sender, receiver) = ipc::channel().unwrap();
    answer.send(sender).unwrap();
    // The send has begun, and cannot have ended: there is no room for the whole message.
    poll(&mut [PollFd::from_borrowed_fd(receiver.as_fd(), PollFlags::IN)], None).unwrap();
    child.killed();
    expect_disconnected(receiver.recv().map(drop));
}

#[test]
fn may_be_many() {
    harness::alone(harness::path_of(may_be_many), || {
        let (carrier, carried) = ipc::channel().unwrap();
        // One packet has room for 253. Each has three file descriptors while it is in flight.
        let most = 600.min(harness::room_for_handles() / 3 - 10);
        for count in [1, 63, 64, 65, 252, 253, 254, most] {
            let (senders, receivers): (Vec<_>, Vec<_>) =
                (0..count).map(|_| ipc::channel::<usize>().unwrap()).unzip();
            carrier.send((senders, vec![0_u8; 100])).unwrap();
            let (senders, _): (Vec<IpcSender<usize>>, Vec<u8>) = carried.recv().unwrap();
            for (number, sender) in senders.into_iter().enumerate() {
                sender.send(number).unwrap();
            }
            for (number, receiver) in receivers.into_iter().enumerate() {
                assert_eq!(receiver.recv().unwrap(), number);
                expect_disconnected(receiver.recv());
            }
        }
    });
}

/// Messages are sent before, during and after the moves, small ones and large ones.
#[test]
fn receivers_move_without_loss() {
    const MOVES: u32 = 20;

    let _watchdog = watchdog();
    let (sender, mut receiver) = ipc::channel::<(u32, Vec<u8>)>().unwrap();
    let thread = thread::spawn(move || {
        for number in 0..10 * MOVES {
            let size = if number % 7 == 0 { 300_000 } else { 10 };
            sender.send((number, vec![number as u8; size])).unwrap();
        }
    });
    let (carrier, carried) = ipc::channel().unwrap();
    let mut expected = 0;
    for step in 0..MOVES {
        for _ in 0..step % 15 {
            let (number, content) = receiver.recv().unwrap();
            assert_eq!(number, expected);
            assert!(content.iter().all(|byte| *byte == number as u8));
            expected += 1;
        }
        carrier.send(receiver).unwrap();
        receiver = carried.recv().unwrap();
    }
    for (number, content) in receiver {
        assert_eq!(number, expected);
        assert!(content.iter().all(|byte| *byte == number as u8));
        expected += 1;
    }
    assert_eq!(expected, 10 * MOVES);
    thread.join().unwrap();
}

#[test]
fn moved_receivers_return_an_error() {
    let _watchdog = watchdog();
    let (carrier, carried) = ipc::channel().unwrap();
    let (sender, receiver) = ipc::channel::<u8>().unwrap();
    sender.send(1).unwrap();
    carrier.send_ref(&receiver).unwrap();
    expect_moved(receiver.recv());
    let as_ipc_error = |error| match error {
        TryRecvError::IpcError(error) => error,
        TryRecvError::Empty => panic!("it is not empty, it is away"),
    };
    expect_moved(receiver.try_recv().map_err(as_ipc_error));
    expect_moved(receiver.recv_timeout(LONG).map_err(as_ipc_error));
    let mut set = ipc::IpcReceiverSet::new().unwrap();
    let arrived: IpcReceiver<u8> = carried.recv().unwrap();
    assert_eq!(arrived.recv().unwrap(), 1);
    // Sending it once more is an error of that message, whose text is the same.
    let error = carrier.send_ref(&receiver).unwrap_err();
    let IpcError::SerializationError(error) = error else {
        panic!("{error:?}");
    };
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("the receiver was moved into a message"), "{cause}");
    expect_moved(set.add(receiver).map_err(IpcError::Io));
    sender.send(2).unwrap();
    assert_eq!(arrived.recv().unwrap(), 2);
}

#[test]
fn receivers_of_a_failed_send_stay_usable() {
    let _watchdog = watchdog();
    let (sender, receiver) = ipc::channel::<u8>().unwrap();
    sender.send(1).unwrap();
    // The send fails because the receiver was dropped,
    let (carrier, carried) = ipc::channel().unwrap();
    drop(carried);
    expect_disconnected(carrier.send_ref(&receiver));
    assert_eq!(receiver.recv().unwrap(), 1);
    // or because something after it cannot be encoded.
    let (carrier, carried) = ipc::channel::<Broken>().unwrap();
    let broken = Broken(receiver, Defect::Fails);
    for number in 2..5 {
        sender.send(number).unwrap();
        let result = carrier.send_ref(&broken);
        assert!(matches!(result, Err(IpcError::SerializationError(_))));
        assert_eq!(broken.0.recv().unwrap(), number);
    }
    // The same receiver twice in one message is such a case.
    let twice = Broken(broken.0, Defect::IsThereTwice);
    let result = carrier.send_ref(&twice);
    assert!(matches!(result, Err(IpcError::SerializationError(_))));
    sender.send(9).unwrap();
    assert_eq!(twice.0.recv().unwrap(), 9);
    // A panic is one, too.
    let panics = Broken(twice.0, Defect::Panics);
    let panic = std::panic::AssertUnwindSafe(|| carrier.send_ref(&panics));
    assert!(std::panic::catch_unwind(panic).is_err());
    sender.send(10).unwrap();
    assert_eq!(panics.0.recv().unwrap(), 10);
    // The next message is not affected.
    carrier.send(Broken(panics.0, Defect::None)).unwrap();
    drop(carrier);
    let Broken(receiver, _) = carried.recv().unwrap();
    expect_disconnected(carried.recv().map(drop));
    drop(sender);
    expect_disconnected(receiver.recv());
}

enum Defect {
    None,
    Fails,
    Panics,
    IsThereTwice,
}

/// A receiver beside a field that cannot be encoded.
struct Broken(IpcReceiver<u8>, Defect);

impl Serialize for Broken {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.1 {
            Defect::None => (&self.0, ()).serialize(serializer),
            Defect::Fails => (&self.0, Fails).serialize(serializer),
            Defect::Panics => (&self.0, Panics).serialize(serializer),
            Defect::IsThereTwice => (&self.0, &self.0).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Broken {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Broken, D::Error> {
        let (receiver, ()) = Deserialize::deserialize(deserializer)?;
        Ok(Broken(receiver, Defect::None))
    }
}

struct Fails;

impl Serialize for Fails {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(S::Error::custom("not me"))
    }
}

struct Panics;

impl Serialize for Panics {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        std::panic::resume_unwind(Box::new("not me"))
    }
}

/// If decoding fails half way, the endpoints decoded before are closed, and those after, too.
#[test]
fn are_closed_if_the_value_cannot_be_decoded() {
    #[derive(Debug)]
    struct Picky;

    impl Serialize for Picky {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            ().serialize(serializer)
        }
    }

    impl<'de> Deserialize<'de> for Picky {
        fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Picky, D::Error> {
            Err(D::Error::custom("not me"))
        }
    }

    let _watchdog = watchdog();
    let (carrier, carried) = ipc::channel::<(IpcSender<u8>, Picky, IpcSender<u8>)>().unwrap();
    let (first, first_end) = ipc::channel().unwrap();
    let (second, second_end) = ipc::channel().unwrap();
    carrier.send((first, Picky, second)).unwrap();
    let result = carried.recv();
    assert!(matches!(result, Err(IpcError::SerializationError(_))));
    expect_disconnected(first_end.recv());
    expect_disconnected(second_end.recv());
    expect_empty(carried.try_recv());
}

/// Other formats have no message that endpoints could be attached to.
#[test]
fn are_refused_by_other_formats() {
    let _watchdog = watchdog();
    let (sender, receiver) = ipc::channel::<u8>().unwrap();
    let (bytes_sender, bytes_receiver) = ipc::bytes_channel().unwrap();
    let memory = ipc::IpcSharedMemory::from_byte(1, 10);
    let config = bincode::config::standard();
    let errors = [
        bincode::serde::encode_to_vec(&sender, config).unwrap_err(),
        bincode::serde::encode_to_vec(&receiver, config).unwrap_err(),
        bincode::serde::encode_to_vec(&bytes_sender, config).unwrap_err(),
        bincode::serde::encode_to_vec(&bytes_receiver, config).unwrap_err(),
        bincode::serde::encode_to_vec(&memory, config).unwrap_err(),
    ];
    for error in errors {
        let text = error.to_string();
        assert!(text.contains("only be sent in messages of a channel"), "{text}");
    }
    let decoded = bincode::serde::decode_from_slice::<IpcSender<u8>, _>(&[0], config);
    let text = decoded.unwrap_err().to_string();
    assert!(text.contains("only be received in messages of a channel"), "{text}");
    // The endpoints are still usable.
    sender.send(1).unwrap();
    assert_eq!(receiver.recv().unwrap(), 1);
    drop(sender);
    expect_disconnected(receiver.recv());
}

mod opaque {
    use super::*;

    #[test]
    fn endpoints_get_their_type_back() {
        let _watchdog = watchdog();
        let (sender, receiver) = ipc::channel::<String>().unwrap();
        sender.send("before".into()).unwrap();
        let (sender, receiver) = (sender.to_opaque(), receiver.to_opaque());
        sender.clone().to::<String>().send("after".into()).unwrap();
        drop(sender);
        let words: Vec<_> = receiver.to::<String>().into_iter().collect();
        assert_eq!(words, ["before", "after"]);
    }

    #[test]
    fn endpoints_can_be_sent() {
        let _watchdog = watchdog();
        let (carrier, carried) = ipc::channel::<(OpaqueIpcSender, OpaqueIpcReceiver)>().unwrap();
        let (sender, receiver) = ipc::channel::<u8>().unwrap();
        carrier.send((sender.to_opaque(), receiver.to_opaque())).unwrap();
        let (sender, receiver) = carried.recv().unwrap();
        sender.to::<u8>().send(1).unwrap();
        assert_eq!(receiver.to::<u8>().recv().unwrap(), 1);
    }

    #[test]
    fn endpoints_may_be_of_bytes() {
        let _watchdog = watchdog();
        let (sender, receiver) = ipc::bytes_channel().unwrap();
        let (sender, receiver) = (sender.to_opaque(), receiver.to_opaque());
        sender.clone().to_bytes().send(b"x").unwrap();
        sender.to::<u64>().send(1).unwrap();
        let receiver = receiver.to_bytes();
        assert_eq!(receiver.recv().unwrap(), b"x");
        assert_eq!(receiver.recv().unwrap(), 1_u64.to_le_bytes());
    }
}
