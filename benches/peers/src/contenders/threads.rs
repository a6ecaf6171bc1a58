//! `std::sync::mpsc` between two threads: the speed that a channel between processes is
//! measured against. And `strait::mpsc`, which has its API, between two threads. Both also with
//! a bound, so that they hold no more than so many messages; with none, each is handed over.
//!
//! A typed value is moved by std and not copied, however large what it owns. There is no set:
//! std cannot wait on many receivers.

use std::any::Any;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError, mpsc as std_mpsc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use strait::mpsc;

use crate::contender::{
    Bytes, Channel, Contender, Fresh, Home, Link, Outcome, Payload, Receiver, Sender, Start,
};

/// The endpoints that the far thread takes, by name.
static WAITING: LazyLock<Mutex<HashMap<String, Box<dyn Any + Send>>>> =
    LazyLock::new(Mutex::default);

fn leave<E: Send + 'static>(ends: E) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = NEXT.fetch_add(1, Ordering::Relaxed).to_string();
    let mut waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
    waiting.insert(name.clone(), Box::new(ends));
    name
}

fn collect<E: 'static>(name: &str) -> Outcome<E> {
    let mut waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
    let ends = waiting.remove(name).and_then(|ends| ends.downcast().ok());
    Ok(*ends.ok_or("nothing waits under this name")?)
}

/// std's channels and strait's have one API. `$channel` makes one, with a bound of `$N` if
/// there is one.
macro_rules! mpsc_api {
    ($contender:ident $(<$N:ident>)?, $name:literal,
     $module:ident, $Sender:ident, $channel:ident) => {
        pub struct $contender $(<const $N: usize>)?;

        impl $(<const $N: usize>)? Contender for $contender $(<$N>)? {
            const NAME: &'static str = $name;
            const HOME: Home = Home::Thread;
        }

        impl<T: Payload $(, const $N: usize)?> Channel<T> for $contender $(<$N>)? {
            type Sender = Inside<$module::$Sender<T>>;
            type Receiver = Inside<$module::Receiver<T>>;

            fn send(sender: &mut Self::Sender, value: T) -> Outcome<()> {
                sender.0.send(value).map_err(|_| "the receiver is gone")?;
                Ok(())
            }

            fn recv(receiver: &mut Self::Receiver) -> Outcome<Option<T>> {
                Ok(receiver.0.recv().ok())
            }
        }

        impl<Up: Payload, Down: Payload $(, const $N: usize)?> Link<Up, Down>
            for $contender $(<$N>)?
        {
            fn serve(start: Start<'_>) -> Outcome<(Sender<Self, Up>, Receiver<Self, Down>)> {
                let (up_sender, up_receiver) = $module::$channel::<Up>($($N)?);
                let (down_sender, down_receiver) = $module::$channel::<Down>($($N)?);
                start(&leave((Inside(down_sender), Inside(up_receiver))))?;
                Ok((Inside(up_sender), Inside(down_receiver)))
            }

            fn join(name: &str) -> Outcome<(Sender<Self, Down>, Receiver<Self, Up>)> {
                collect(name)
            }
        }

        impl<T: Payload $(, const $N: usize)?> Fresh<T> for $contender $(<$N>)? {
            fn channel() -> Outcome<(Sender<Self, T>, Receiver<Self, T>)> {
                let (sender, receiver) = $module::$channel($($N)?);
                Ok((Inside(sender), Inside(receiver)))
            }
        }
    };
}

mpsc_api!(Threads, "std (threads)", std_mpsc, Sender, channel);
mpsc_api!(StraitThreads, "strait", mpsc, Sender, channel);
mpsc_api!(ThreadsBounded<N>, "std (threads)", std_mpsc, SyncSender, sync_channel);
mpsc_api!(StraitThreadsBounded<N>, "strait", mpsc, SyncSender, sync_channel);

impl Bytes for Threads {
    type Sender = std_mpsc::Sender<Vec<u8>>;
    type Receiver = std_mpsc::Receiver<Vec<u8>>;

    fn serve(start: Start<'_>, _: usize) -> Outcome<(Self::Sender, Self::Receiver)> {
        let (up_sender, up_receiver) = std_mpsc::channel();
        let (down_sender, down_receiver) = std_mpsc::channel();
        start(&leave((down_sender, up_receiver)))?;
        Ok((up_sender, down_receiver))
    }

    fn join(name: &str, _: usize) -> Outcome<(Self::Sender, Self::Receiver)> {
        collect(name)
    }

    /// Copies, as other contenders do: a thread that keeps its buffer has to.
    fn send(sender: &mut Self::Sender, bytes: &[u8]) -> Outcome<()> {
        sender.send(bytes.to_vec())?;
        Ok(())
    }

    fn recv(receiver: &mut Self::Receiver) -> Outcome<Option<Vec<u8>>> {
        Ok(receiver.recv().ok())
    }
}

/// Lets an end of a std channel be part of a message type that has to satisfy serde. std's
/// channels move values without serialising them, so neither method runs. strait's endpoints do
/// not need this, and stay in their thread as std's do.
pub struct Inside<T>(T);

impl<T> Serialize for Inside<T> {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(ser::Error::custom("a std channel cannot leave its process"))
    }
}

impl<'de, T> Deserialize<'de> for Inside<T> {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(de::Error::custom("a std channel cannot enter a process"))
    }
}
