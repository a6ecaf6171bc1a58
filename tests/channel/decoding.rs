//! Messages that cannot be decoded, or only under difficulties. Excessive ones are refused
//! before they cost anything, errors name the reason, and threads may lack thread-locals,
//! stack, or permission to get random bytes.

use std::cell::RefCell;
use std::sync::mpsc as std_mpsc;
use std::thread;

use serde::{Deserialize, Serialize};
use strait::ipc::{self, IpcReceiver, IpcSharedMemory};
use strait::mpsc;

use crate::harness;

#[cfg(all(target_os = "linux", not(feature = "force-inprocess")))]
mod receivers {
    use std::error::Error;
    use std::fs::File;
    use std::io::Write;
    use std::os::fd::AsFd;

    use crate::harness::{raw, table};
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
    use strait::IpcError;

    use super::*;

    fn record(kind: u32, id: u128, numbers: [u64; 2], bytes: &[u8]) -> Vec<u8> {
        let [b, c] = numbers.map(u64::to_le_bytes);
        let len = (bytes.len() as u64).to_le_bytes();
        [&kind.to_le_bytes()[..], &[0; 4], &id.to_le_bytes(), &b, &c, &len, bytes].concat()
    }

    /// Returns what is received of a receiver that a peer has forged, with its undelivered
    /// messages in sealed memory.
    fn forged(incomplete: usize, lost: usize) -> Result<IpcReceiver<u32>, IpcError> {
        let (carrier, carried) = ipc::channel::<IpcReceiver<u32>>().unwrap();
        let (sender, _receiver) = ipc::channel::<u32>().unwrap();
        let incomplete = (0..incomplete as u128).flat_map(|id| record(2, id, [9, 0], &[1]));
        let lost = (0..lost as u128).flat_map(|id| record(1, 1 << 64 | id, [0, 1], &[]));
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let mut spool = File::from(memfd_create("spool", flags).unwrap());
        spool.write_all(&incomplete.chain(lost).collect::<Vec<_>>()).unwrap();
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
        fcntl_add_seals(&spool, seals).unwrap();
        let body = table::with(&table::number(0), &[table::receiver_with_spool_beside()]);
        // The handle of a sender is accepted as that of a receiver.
        let fds = [sender.as_fd(), spool.as_fd()];
        raw::send(&carrier, &raw::message(2, &body), &fds).unwrap();
        let received = carried.recv();
        // One malformed message is one error.
        let (sender, receiver) = ipc::channel().unwrap();
        carrier.send(receiver).unwrap();
        sender.send(7).unwrap();
        assert_eq!(carried.recv().unwrap().recv().unwrap(), 7);
        received
    }

    #[test]
    fn with_the_maximum_of_discarded_messages_are_received() {
        let _watchdog = harness::watchdog();
        drop(forged(0, 2048).unwrap());
        drop(forged(1024, 1024).unwrap());
    }

    /// Each was searched for among 2048 others: 10 MB took 15 seconds.
    #[test]
    fn with_more_discarded_messages_than_possible_are_refused() {
        let _watchdog = harness::watchdog();
        for (incomplete, lost) in [(0, 2049), (2049, 0), (0, 600_000)] {
            let Err(IpcError::SerializationError(error)) = forged(incomplete, lost) else {
                panic!("{incomplete} incomplete and {lost} lost messages were received");
            };
            let text = error.source().unwrap().to_string();
            assert!(
                text.contains("the undelivered messages of a moved receiver are malformed"),
                "{text}"
            );
        }
    }
}

mod thread_locals {
    use super::*;

    /// Sends, with everything that can be in a message, when it is dropped; and receives.
    struct Goodbye(mpsc::Sender<Kept>, std_mpsc::Sender<Result<(), String>>);

    #[derive(Serialize, Deserialize)]
    struct Kept {
        text: String,
        sender: mpsc::Sender<u8>,
        receiver: IpcReceiver<u8>,
        memory: IpcSharedMemory,
    }

    impl Drop for Goodbye {
        fn drop(&mut self) {
            let (sender, answers) = mpsc::channel();
            let (questions, receiver) = ipc::channel().unwrap();
            questions.send(2).unwrap();
            let memory = IpcSharedMemory::from_bytes(b"shared");
            let kept = Kept { text: "goodbye".to_string(), sender, receiver, memory };
            let sent = self.0.send_ref(&kept).map_err(|error| error.to_string());
            // Sends and receives on this thread.
            let (carrier, carried) = ipc::channel().unwrap();
            carrier.send(answers).unwrap();
            let answers: mpsc::Receiver<u8> = carried.recv().unwrap();
            let _ = self.1.send(sent.and_then(|()| match answers.recv() {
                Ok(3) => Ok(()),
                other => Err(format!("{other:?}")),
            }));
        }
    }

    thread_local!(static KEPT: RefCell<Option<Goodbye>> = const { RefCell::new(None) });

    /// Strait's own thread-locals had been destroyed by then, and the message was refused.
    #[test]
    fn after_their_destruction_endpoints_are_sent_and_received() {
        let _watchdog = harness::watchdog();
        let (sender, receiver) = mpsc::channel();
        let (outcome, outcomes) = std_mpsc::channel();
        let ending = thread::spawn(move || {
            KEPT.with(|kept| drop(kept.borrow_mut()));
            // Strait's thread-locals are created later than `KEPT`, and destroyed earlier.
            let (carrier, carried) = mpsc::channel::<mpsc::Sender<u8>>();
            carrier.send(mpsc::channel().0).unwrap();
            carried.recv().unwrap();
            KEPT.with(|kept| *kept.borrow_mut() = Some(Goodbye(sender, outcome)));
        });
        let kept = receiver.recv().unwrap();
        assert_eq!((kept.text.as_str(), &*kept.memory), ("goodbye", &b"shared"[..]));
        assert_eq!(kept.receiver.recv().unwrap(), 2);
        kept.sender.send(3).unwrap();
        assert_eq!(outcomes.recv().unwrap(), Ok(()));
        ending.join().unwrap();
    }
}

#[cfg(all(target_os = "linux", not(feature = "force-inprocess")))]
mod randomness {
    use std::thread;

    use rustix::io::Errno;
    use strait::ipc::{self, IpcReceiver, IpcReceiverSet, IpcSelectionResult};
    use strait::router::RouterProxy;

    use crate::harness::{self, sandbox::forbid};

    /// The test has a process of its own: std calls `getrandom` once for each thread, and does
    /// not repeat it.
    #[test]
    fn forbidden_getrandom_is_not_needed() {
        harness::alone(harness::path_of(forbidden_getrandom_is_not_needed), || {
            let (carrier, carried) = ipc::channel::<IpcReceiver<String>>().unwrap();
            let sandboxed = thread::spawn(move || {
                for call in [libc::SYS_getrandom, libc::SYS_openat] {
                    forbid(call, Errno::PERM);
                }
                let receiver = carried.recv().unwrap();
                assert_eq!(receiver.recv().unwrap().len(), 1 << 20);
                let mut set = IpcReceiverSet::new().unwrap();
                let id = set.add(receiver).unwrap();
                let events = set.select().unwrap();
                for event in events {
                    let IpcSelectionResult::MessageReceived(from, message) = event else { break };
                    assert_eq!(from, id);
                    assert_eq!(message.to::<String>().unwrap(), "set");
                }
                let router = RouterProxy::new();
                let (sender, receiver) = ipc::channel::<u8>().unwrap();
                let routed = router.route_ipc_receiver_to_new_crossbeam_receiver(receiver);
                sender.send(1).unwrap();
                assert_eq!(routed.recv().unwrap(), 1);
                #[cfg(feature = "async")]
                {
                    use futures_lite::{StreamExt, future::block_on};

                    let (sender, receiver) = ipc::channel::<u8>().unwrap();
                    let mut stream = receiver.to_stream();
                    sender.send(2).unwrap();
                    assert_eq!(block_on(stream.next()).unwrap().unwrap(), 2);
                }
            });
            let (sender, receiver) = ipc::channel().unwrap();
            carrier.send(receiver).unwrap();
            // Large, so that it is put together from parts.
            sender.send("a".repeat(1 << 20)).unwrap();
            sender.send("set".to_string()).unwrap();
            sandboxed.join().unwrap();
        });
    }
}

mod memory {
    use super::*;

    /// A message in a channel in memory was refused, and `strait::mpsc` skipped it.
    #[test]
    fn in_a_message_of_a_channel_in_memory_is_received() {
        let _watchdog = harness::watchdog();
        let (sender, receiver) = mpsc::channel();
        let memory = IpcSharedMemory::from_bytes(b"shared");
        sender.send((memory.clone(), IpcSharedMemory::from_bytes(b""))).unwrap();
        let receiver: IpcReceiver<(IpcSharedMemory, IpcSharedMemory)> = receiver.into();
        let (received, empty) = receiver.recv().unwrap();
        assert_eq!((&*received, &*empty), (&b"shared"[..], &b""[..]));
        // The received value is the sent one, not a copy.
        assert_eq!(received.as_ptr(), memory.as_ptr());
    }
}

mod types {
    use std::any::type_name;
    use std::fmt;

    use serde::de::{DeserializeOwned, Visitor};
    use serde::{Deserializer, Serializer};
    use strait::TryRecvError;
    use strait::ipc::IpcMessage;

    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "kind")]
    enum Tagged {
        Number { value: u32 },
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Untagged {
        Number(u32),
        Text(String),
    }

    /// Reads whatever there is, as `serde_json::Value` does.
    #[derive(Clone, Debug, PartialEq)]
    struct Whatever(u32);

    impl Serialize for Whatever {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_u32(self.0)
        }
    }

    impl<'de> Deserialize<'de> for Whatever {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Whatever, D::Error> {
            struct Reader;

            impl Visitor<'_> for Reader {
                type Value = Whatever;

                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("whatever")
                }

                fn visit_u32<E>(self, value: u32) -> Result<Whatever, E> {
                    Ok(Whatever(value))
                }
            }

            deserializer.deserialize_any(Reader)
        }
    }

    /// One of each, behind a value that can be decoded.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Within<T> {
        name: String,
        list: Vec<Option<T>>,
    }

    fn within<T>(value: T) -> Within<T> {
        Within { name: "name".to_string(), list: vec![None, Some(value)] }
    }

    const PROBLEM: &str = "requires a self-describing format";

    #[track_caller]
    fn assert_says<T: ?Sized>(error: impl fmt::Display, problem: &str) {
        let text = error.to_string();
        assert!(text.contains(&format!("`{}`", type_name::<T>())), "{text}");
        assert!(text.contains(problem), "{text}");
    }

    /// Checks that `recv` returns. It blocked for ever.
    #[track_caller]
    fn assert_not_awaited<T: Serialize + DeserializeOwned + fmt::Debug + PartialEq>(value: T) {
        for (sender, receiver) in [mpsc::channel::<T>(), mpsc::try_channel().unwrap()] {
            let all = |wait: fn(&mpsc::Receiver<T>) -> bool| {
                sender.send_ref(&value).unwrap();
                assert!(wait(&receiver));
            };
            all(|receiver| receiver.recv().is_err());
            all(|receiver| receiver.try_recv() == Err(mpsc::TryRecvError::Disconnected));
            all(|receiver| receiver.iter().next().is_none());
            // An `IpcReceiver` returns one error for each.
            sender.send_ref(&value).unwrap();
            let receiver = IpcReceiver::from(receiver);
            assert_says::<T>(receiver.recv().unwrap_err(), PROBLEM);
            assert!(receiver.try_recv().unwrap_err().is_empty());
        }
    }

    #[test]
    fn that_cannot_be_decoded_are_an_error_of_recv() {
        let _watchdog = harness::watchdog();
        assert_not_awaited(Tagged::Number { value: 1 });
        assert_not_awaited(within(Tagged::Number { value: 1 }));
        assert_not_awaited(Untagged::Number(2));
        assert_not_awaited(within(Untagged::Text("text".to_string())));
        assert_not_awaited(Whatever(3));
        assert_not_awaited((1, within(Whatever(3))));
    }

    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    struct Sparse {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        first: Option<u16>,
        second: Option<u16>,
    }

    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    struct Flattened {
        number: u32,
        #[serde(flatten)]
        sparse: Sparse,
    }

    /// A decoder would take the second field for the first, without an error.
    #[test]
    fn with_skipped_field_are_an_error_of_send() {
        let _watchdog = harness::watchdog();
        let (sender, receiver) = ipc::channel().unwrap();
        let sparse = Sparse { first: None, second: Some(1) };
        assert_says::<Sparse>(sender.send(sparse.clone()).unwrap_err(), "field `first`");
        let whole = Sparse { first: Some(2), ..sparse.clone() };
        sender.send(whole.clone()).unwrap();
        assert_eq!(receiver.recv().unwrap(), whole);
        let (sender, receiver) = mpsc::channel();
        assert_eq!(sender.send(vec![whole.clone(), sparse.clone()]).unwrap_err().0[1], sparse);
        sender.send(vec![whole.clone()]).unwrap();
        assert_eq!(receiver.recv().unwrap(), [whole]);
        let (sender, _receiver) = ipc::channel().unwrap();
        let flattened = Flattened { number: 3, sparse };
        assert_says::<Flattened>(
            sender.send(flattened).unwrap_err(),
            "the length of a sequence or map",
        );
    }

    #[test]
    fn are_named_where_a_message_is_not_one() {
        let _watchdog = harness::watchdog();
        let (sender, receiver) = ipc::channel::<u8>().unwrap();
        let receiver: IpcReceiver<bool> = receiver.to_opaque().to();
        sender.send(2).unwrap();
        assert_says::<bool>(receiver.recv().unwrap_err(), "neither 0 nor 1");
        sender.send(2).unwrap();
        let Err(TryRecvError::IpcError(error)) = receiver.try_recv() else { panic!("received") };
        assert_says::<bool>(error, "a message is not a valid `bool`");
        let error = IpcMessage::from_data(vec![1]).to::<Within<u64>>().unwrap_err();
        assert_says::<Within<u64>>(error, "too early");
    }

    struct Refusing;

    impl Serialize for Refusing {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("not today"))
        }
    }

    impl<'de> Deserialize<'de> for Refusing {
        fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Refusing, D::Error> {
            Ok(Refusing)
        }
    }

    #[test]
    fn are_named_where_a_value_cannot_be_encoded() {
        let _watchdog = harness::watchdog();
        let (sender, _receiver) = ipc::channel().unwrap();
        assert_says::<Refusing>(sender.send(Refusing).unwrap_err(), "not today");
        let (sender, _receiver) = mpsc::sync_channel(1);
        assert_says::<Refusing>(sender.send_ref(&Refusing).unwrap_err(), "not today");
    }

    /// Received only: it cannot be sent, which is no reason not to receive it.
    #[derive(Debug, PartialEq, Deserialize)]
    struct Reply {
        number: u32,
    }

    #[test]
    fn are_received_without_being_sendable() {
        let _watchdog = harness::watchdog();
        let (sender, receiver) = ipc::channel::<u32>().unwrap();
        let receiver: IpcReceiver<Reply> = receiver.to_opaque().to();
        sender.send(1).unwrap();
        assert_eq!(receiver.recv().unwrap(), Reply { number: 1 });
        sender.send(2).unwrap();
        let receiver = mpsc::Receiver::from(receiver);
        assert_eq!(receiver.iter().next(), Some(Reply { number: 2 }));
        let message = IpcMessage::from_data(3_u32.to_le_bytes().to_vec());
        assert_eq!(message.to::<Reply>().unwrap(), Reply { number: 3 });
    }
}
