//! Values that cannot be encoded, messages that cannot be decoded, and code of users that panics.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use strait::IpcError;
use strait::ipc::IpcSender;
use strait::mpsc::{self, Receiver, RecvError, RecvTimeoutError, SendError, Sender, TryRecvError};

use crate::LONG;
use crate::harness::watchdog;

/// A value of any depth.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Deep(Option<Box<Deep>>);

impl Deep {
    fn of(depth: usize) -> Deep {
        (0..depth).fold(Deep(None), |inner, _| Deep(Some(Box::new(inner))))
    }
}

/// Decoding fails unless the number is even.
#[derive(Debug, PartialEq, Serialize)]
struct Even(u32);

impl<'de> Deserialize<'de> for Even {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Even, D::Error> {
        match u32::deserialize(deserializer)? {
            even if even % 2 == 0 => Ok(Even(even)),
            odd => Err(D::Error::custom(format!("{odd} is odd"))),
        }
    }
}

/// Panics when it is encoded, or when it is decoded.
#[derive(Debug, PartialEq)]
enum Mine {
    Harmless,
    Writing,
    Reading,
}

impl Serialize for Mine {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Mine::Writing => std::panic::resume_unwind(Box::new("written")),
            _ => serializer.serialize_bool(*self == Mine::Reading),
        }
    }
}

impl<'de> Deserialize<'de> for Mine {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Mine, D::Error> {
        match bool::deserialize(deserializer)? {
            true => std::panic::resume_unwind(Box::new("read")),
            false => Ok(Mine::Harmless),
        }
    }
}

#[test]
fn refused_value_comes_back() {
    let _watchdog = watchdog();
    let (sender, receiver) = mpsc::channel();
    let SendError(deep) = sender.send(Deep::of(1_000)).unwrap_err();
    assert!(deep == Deep::of(1_000));
    let refused = sender.send_ref(&deep);
    assert!(matches!(refused, Err(IpcError::SerializationError(_))), "{refused:?}");
    // The channel stays usable.
    sender.send(Deep::of(50)).unwrap();
    assert_eq!(receiver.recv(), Ok(Deep::of(50)));
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
}

#[test]
fn undecodable_message_is_skipped() {
    let _watchdog = watchdog();
    let (sender, receiver) = mpsc::channel();
    let send = |numbers: std::ops::Range<u32>| numbers.for_each(|i| sender.send(Even(i)).unwrap());
    send(1..3);
    assert_eq!(receiver.recv(), Ok(Even(2)));
    send(3..5);
    assert_eq!(receiver.try_recv(), Ok(Even(4)));
    send(5..7);
    assert_eq!(receiver.recv_timeout(LONG), Ok(Even(6)));
    send(7..9);
    assert_eq!(receiver.iter().next(), Some(Even(8)));
    send(9..14);
    assert!(receiver.try_iter().eq([Even(10), Even(12)]));
    send(15..16);
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    send(15..16);
    assert_eq!(receiver.recv_timeout(Duration::from_millis(1)), Err(RecvTimeoutError::Timeout));
    send(15..18);
    drop(sender);
    assert!(receiver.into_iter().eq([Even(16)]));
}

#[test]
fn message_of_another_type_is_skipped_and_its_endpoints_closed() {
    let _watchdog = watchdog();
    let (sender, receiver) = mpsc::channel::<u32>();
    let wrong: Sender<(Sender<u8>, String)> =
        IpcSender::from(sender.clone()).to_opaque().to().into();
    let (inner, waiting) = mpsc::channel::<u8>();
    wrong.send((inner, "not a number".to_string())).unwrap();
    sender.send(1).unwrap();
    assert_eq!(waiting.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(receiver.recv(), Ok(1));
    assert_eq!(waiting.recv(), Err(RecvError));
    drop((wrong, sender));
    assert_eq!(receiver.recv(), Err(RecvError));
}

/// However many there are, a call that does not block returns in bounded time, and loses no
/// message behind them.
#[test]
fn many_undecodable_messages_are_taken_in_steps() {
    let _watchdog = watchdog();
    let (sender, receiver) = mpsc::channel();
    for _ in 0..10_000 {
        sender.send(Even(1)).unwrap();
    }
    sender.send(Even(2)).unwrap();
    let mut calls = 1;
    while let Err(error) = receiver.try_recv() {
        assert_eq!(error, TryRecvError::Empty);
        calls += 1;
    }
    assert!((2..=10_000).contains(&calls), "{calls}");
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
}

#[test]
fn undecodable_messages_do_not_prolong_a_timeout() {
    let _watchdog = watchdog();
    let (sender, receiver) = mpsc::channel();
    let flooding = thread::spawn(move || while sender.send(Even(1)).is_ok() {});
    for _ in 0..10 {
        let received = receiver.recv_timeout(Duration::from_millis(3));
        assert_eq!(received, Err(RecvTimeoutError::Timeout));
    }
    drop(receiver);
    flooding.join().unwrap();
}

#[test]
fn a_panic_of_the_value_leaves_the_channel_usable() {
    let _watchdog = watchdog();
    let (sender, receiver) = mpsc::channel::<(Mine, Option<Receiver<u8>>)>();
    let (inner, inner_receiver) = mpsc::channel::<u8>();
    // Receivers behind and before the value that panics: neither is moved.
    let value = (Mine::Writing, Some(inner_receiver));
    let unwound = catch_unwind(AssertUnwindSafe(|| sender.send_ref(&value)));
    assert_eq!(unwound.unwrap_err().downcast_ref(), Some(&"written"));
    assert!(receiver.try_recv().is_err());
    let (swapped, _inbox) = mpsc::channel();
    let value = (value.1, Mine::Writing);
    let unwound = catch_unwind(AssertUnwindSafe(|| swapped.send_ref(&value)));
    assert_eq!(unwound.unwrap_err().downcast_ref(), Some(&"written"));
    inner.send(1).unwrap();
    assert_eq!(value.0.as_ref().unwrap().recv(), Ok(1));

    sender.send((Mine::Reading, value.0)).unwrap();
    sender.send((Mine::Harmless, None)).unwrap();
    let unwound = catch_unwind(AssertUnwindSafe(|| receiver.recv().map(drop)));
    assert_eq!(unwound.unwrap_err().downcast_ref(), Some(&"read"));
    // That message was discarded, with the receiver in it.
    assert_eq!(inner.send(2), Err(SendError(2)));
    assert_eq!(receiver.recv().unwrap().0, Mine::Harmless);
}

thread_local! {
    static LOG: RefCell<Option<Sender<u32>>> = const { RefCell::new(None) };
    static WRITTEN: Cell<u32> = const { Cell::new(0) };
}

/// Sends another message while it is encoded.
#[derive(Debug, PartialEq, Deserialize)]
struct Logged(u32);

impl Serialize for Logged {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        LOG.with_borrow(|log| log.as_ref().map(|log| log.send(self.0).unwrap()));
        WRITTEN.set(WRITTEN.get() + 1);
        serializer.serialize_newtype_struct("Logged", &self.0)
    }
}

#[test]
fn value_can_send_while_it_is_encoded() {
    let _watchdog = watchdog();
    let (log, logged) = mpsc::channel();
    LOG.set(Some(log));
    let (sender, receiver) = mpsc::channel();
    for number in 0..10 {
        sender.send(Logged(number)).unwrap();
    }
    LOG.set(None);
    drop(sender);
    assert!(receiver.into_iter().map(|Logged(number)| number).eq(0..10));
    assert!(logged.into_iter().eq(0..10));
    assert_eq!(WRITTEN.get(), 10);
}

/// The value that was sent and the one that was received are two, and each is dropped once.
#[test]
fn sent_and_received_values_are_dropped_once() {
    thread_local! {
        static DROPPED: RefCell<Vec<&'static str>> = const { RefCell::new(Vec::new()) };
    }

    #[derive(Debug)]
    struct Noisy(&'static str);

    impl Serialize for Noisy {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_unit()
        }
    }

    impl<'de> Deserialize<'de> for Noisy {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Noisy, D::Error> {
            <()>::deserialize(deserializer).map(|()| Noisy("received"))
        }
    }

    impl Drop for Noisy {
        fn drop(&mut self) {
            DROPPED.with_borrow_mut(|dropped| dropped.push(self.0));
        }
    }

    let _watchdog = watchdog();
    let (sender, receiver) = mpsc::channel();
    sender.send(Noisy("sent")).unwrap();
    assert_eq!(DROPPED.take(), ["sent"]);
    drop(receiver.recv().unwrap());
    assert_eq!(DROPPED.take(), ["received"]);
    sender.send(Noisy("sent")).unwrap();
    drop(receiver);
    let SendError(noisy) = sender.send(Noisy("came back")).unwrap_err();
    assert_eq!(DROPPED.take(), ["sent"]);
    drop(noisy);
    assert_eq!(DROPPED.take(), ["came back"]);
}
