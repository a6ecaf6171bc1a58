//! Traits and signatures: as in std, with additions only where users of std's channels do
//! not notice.

use std::fmt::Debug;
use std::iter::FusedIterator;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::rc::Rc;
use std::sync::mpsc as theirs;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use strait::ipc::{IpcReceiver, IpcSender};
use strait::mpsc as ours;

/// A type without any trait: what holds for its endpoints holds for all endpoints.
struct Nothing(#[expect(dead_code)] Rc<()>);

/// Traits can be derived for a struct with endpoints, without bounds on the value type.
#[derive(Debug, Serialize, Deserialize)]
struct Ends {
    sender: ours::Sender<Nothing>,
    receiver: ours::Receiver<Nothing>,
}

/// Whether the type has the trait: an inherent constant is found before that of a trait for
/// all types.
macro_rules! has {
    ($type:ty: $trait:path) => {{
        #[allow(dead_code, reason = "where the trait is there")]
        trait Otherwise {
            const HAS: bool = false;
        }
        impl<T> Otherwise for T {}
        #[allow(dead_code, reason = "it is only asked")]
        struct Asked<T>(std::marker::PhantomData<T>);
        #[allow(dead_code, reason = "where the trait is missing")]
        impl<T: $trait> Asked<T> {
            const HAS: bool = true;
        }
        <Asked<$type>>::HAS
    }};
}

/// Checks that both have the same of these traits.
macro_rules! assert_same {
    ($ours:ty, $theirs:ty: $($trait:path),*) => {$(
        let (ours, theirs) = (has!($ours: $trait), has!($theirs: $trait));
        assert_eq!(ours, theirs, "{}: {}", stringify!($ours), stringify!($trait));
    )*};
}

#[test]
fn are_those_of_std() {
    assert!(has!(String: Send) && !has!(Rc<()>: Send));
    assert_same!(
        ours::Sender<String>, theirs::Sender<String>:
        Send, Sync, Clone, Copy, Debug, Default, Unpin, UnwindSafe, RefUnwindSafe, PartialEq,
        Iterator, IntoIterator
    );
    assert_same!(
        ours::SyncSender<String>, theirs::SyncSender<String>:
        Send, Sync, Clone, Copy, Debug, Default, Unpin, UnwindSafe, RefUnwindSafe, PartialEq,
        Iterator, IntoIterator
    );
    assert_same!(
        ours::Receiver<String>, theirs::Receiver<String>:
        Send, Sync, Clone, Copy, Debug, Default, Unpin, UnwindSafe, RefUnwindSafe, PartialEq,
        Iterator, IntoIterator
    );
    assert_same!(
        &'static ours::Receiver<String>, &'static theirs::Receiver<String>:
        Send, Sync, UnwindSafe, RefUnwindSafe, Iterator, IntoIterator
    );
    assert_same!(
        ours::Iter<'static, String>, theirs::Iter<'static, String>:
        Send, Sync, Clone, Copy, Debug, Default, Unpin, UnwindSafe, RefUnwindSafe, Iterator,
        DoubleEndedIterator, ExactSizeIterator, FusedIterator
    );
    assert_same!(
        ours::TryIter<'static, String>, theirs::TryIter<'static, String>:
        Send, Sync, Clone, Copy, Debug, Default, Unpin, UnwindSafe, RefUnwindSafe, Iterator,
        DoubleEndedIterator, ExactSizeIterator, FusedIterator
    );
    assert_same!(
        ours::IntoIter<String>, theirs::IntoIter<String>:
        Send, Sync, Clone, Copy, Debug, Default, Unpin, UnwindSafe, RefUnwindSafe, Iterator,
        DoubleEndedIterator, ExactSizeIterator, FusedIterator
    );
}

/// Whatever the type of the values is.
#[test]
fn do_not_depend_on_the_values() {
    assert!(has!(ours::Sender<Nothing>: Send) && has!(ours::Sender<Nothing>: Sync));
    assert!(has!(ours::Receiver<Nothing>: Send) && !has!(ours::Receiver<Nothing>: Sync));
    assert!(has!(ours::Sender<Nothing>: Clone) && has!(ours::Sender<Nothing>: UnwindSafe));
    assert!(has!(ours::Receiver<Nothing>: RefUnwindSafe));
    assert!(
        has!(ours::Sender<Nothing>: Serialize) && has!(ours::Sender<Nothing>: DeserializeOwned)
    );
    assert!(has!(ours::Receiver<Nothing>: Serialize));
    assert!(has!(ours::Receiver<Nothing>: DeserializeOwned));
    let (sender, receiver) = ours::channel();
    let ends = Ends { sender: sender.clone(), receiver };
    assert_eq!(format!("{ends:?}"), "Ends { sender: Sender { .. }, receiver: Receiver { .. } }");
    let sender: IpcSender<Nothing> = sender.into();
    let receiver: IpcReceiver<Nothing> = ends.receiver.into();
    drop((ours::Sender::from(sender), ours::Receiver::from(receiver)));
}

#[test]
fn show_what_std_shows() {
    let (sender, receiver) = ours::channel::<u8>();
    let (std_sender, std_receiver) = theirs::channel::<u8>();
    assert_eq!(format!("{sender:?}"), format!("{std_sender:?}"));
    assert_eq!(format!("{receiver:#?}"), format!("{std_receiver:#?}"));
    let (sender, _receiver) = ours::sync_channel::<u8>(1);
    let (std_sender, _std_receiver) = theirs::sync_channel::<u8>(1);
    assert_eq!(format!("{sender:?}"), format!("{std_sender:?}"));
    for (text, name) in [
        (format!("{:?}", receiver.iter()), "Iter"),
        (format!("{:?}", receiver.try_iter()), "TryIter"),
        (format!("{:?}", receiver.into_iter()), "IntoIter"),
    ] {
        assert_eq!(text, format!("{name} {{ receiver: Receiver {{ .. }} }}"));
    }
}

/// The errors are std's own, so users' code for those compiles unchanged.
#[test]
fn signatures_are_those_of_std() {
    type Value = String;
    let _: fn() -> (ours::Sender<Value>, ours::Receiver<Value>) = ours::channel;
    let _: fn(&ours::Sender<Value>, Value) -> Result<(), theirs::SendError<Value>> =
        ours::Sender::send;
    let _: fn(usize) -> (ours::SyncSender<Value>, ours::Receiver<Value>) = ours::sync_channel;
    let _: fn(&ours::SyncSender<Value>, Value) -> Result<(), theirs::SendError<Value>> =
        ours::SyncSender::send;
    let _: fn(&ours::SyncSender<Value>, Value) -> Result<(), theirs::TrySendError<Value>> =
        ours::SyncSender::try_send;
    let _: fn(&ours::Receiver<Value>) -> Result<Value, theirs::RecvError> = ours::Receiver::recv;
    let _: fn(&ours::Receiver<Value>) -> Result<Value, theirs::TryRecvError> =
        ours::Receiver::try_recv;
    let _: fn(&ours::Receiver<Value>, Duration) -> Result<Value, theirs::RecvTimeoutError> =
        ours::Receiver::recv_timeout;
    let _: for<'a> fn(&'a ours::Receiver<Value>) -> ours::Iter<'a, Value> = ours::Receiver::iter;
    let _: for<'a> fn(&'a ours::Receiver<Value>) -> ours::TryIter<'a, Value> =
        ours::Receiver::try_iter;
    let _: fn(ours::SendError<Value>) -> theirs::TrySendError<Value> = ours::TrySendError::from;
    let _: fn(ours::RecvError) -> theirs::RecvTimeoutError = ours::RecvTimeoutError::from;
    let _: fn(ours::RecvError) -> theirs::TryRecvError = ours::TryRecvError::from;
}

/// An endpoint of long-lived references converts to one of shorter ones.
#[test]
fn ends_are_covariant() {
    fn shorter<'a>(
        sender: ours::Sender<&'static str>,
        receiver: ours::Receiver<&'static str>,
        _: &'a str,
    ) -> (ours::Sender<&'a str>, ours::Receiver<&'a str>) {
        (sender, receiver)
    }
    let (sender, receiver) = ours::channel();
    let text = String::from("lives here");
    let (sender, receiver) = shorter(sender, receiver, &text);
    sender.send(&text).unwrap();
    drop((sender, receiver));
}

/// The method is not stable in std; this one has the same signature.
#[test]
fn recv_timeout_error_converts_like_the_others() {
    use ours::SendTimeoutError::{Disconnected, Timeout};

    let (sender, receiver) = ours::sync_channel::<u8>(0);
    let late = sender.send_timeout(1, Duration::ZERO);
    assert_eq!(late, Err(Timeout(1)));
    assert_eq!(format!("{late:?}"), "Err(Timeout(..))");
    assert_eq!(late.unwrap_err().to_string(), "the channel had no room in time");
    drop(receiver);
    let gone: ours::SendTimeoutError<u8> = sender.send(2).unwrap_err().into();
    assert_eq!(gone, Disconnected(2));
    assert_eq!(sender.send_deadline(2, std::time::Instant::now()), Err(gone));
    assert!(has!(ours::SendTimeoutError<Nothing>: std::error::Error));
}

/// It is not stable in std either.
#[test]
fn recv_deadline_returns_what_is_there_and_waits_no_longer() {
    use ours::RecvTimeoutError::{Disconnected, Timeout};
    use std::time::Instant;

    let _watchdog = crate::harness::watchdog();
    let (sender, receiver) = ours::channel::<u8>();
    let now = Instant::now();
    sender.send(1).unwrap();
    assert_eq!(receiver.recv_deadline(now), Ok(1));
    assert_eq!(receiver.recv_deadline(now), Err(Timeout));
    let deadline = now + Duration::from_millis(20);
    assert_eq!(receiver.recv_deadline(deadline), Err(Timeout));
    assert!(Instant::now() >= deadline);
    drop(sender);
    assert_eq!(receiver.recv_deadline(now + Duration::from_secs(60)), Err(Disconnected));
}
