//! Receivers and servers as streams, on any runtime.
//!
//! Messages stay in the channel, and clients at the door, until the stream is polled. One thread for the whole process, started with
//! the first stream that has to wait, watches them and wakes the tasks; it holds no messages.

mod reactor;
mod server;

pub use server::IpcServerStream;

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use futures_core::{FusedStream, Stream};
use serde::{Deserialize, Serialize};

use self::reactor::Watched;
use crate::channel::{Purpose, Receiver, RecvError, Slot, scratch};
use crate::codec;
use crate::error::SerDeError;
use crate::ipc::IpcReceiver;
use crate::platform::Wait;

/// The messages of a receiver as a stream, made by [`IpcReceiver::to_stream`].
///
/// It ends when the channel is disconnected. A message that cannot be decoded is one `Err` item. Dropping the stream closes
/// the receiver, and senders notice.
///
/// A stream that is not polled receives nothing: what is sent takes up memory of those who send it, as for any receiver.
///
/// # Cancel safety
///
/// A message is taken from the channel only when it is returned; dropping a future that waits for the next item loses nothing.
///
/// # Platform
///
/// A forked child cannot use the streams of its parent; those it makes itself work.
pub struct IpcStream<T> {
    /// A mutex so that the stream is `Sync`; never contended.
    source: Mutex<Source>,
    values: PhantomData<fn() -> T>,
}

enum Source {
    /// Not polled yet.
    New(Slot),
    /// Watched by the reactor.
    Watched(Box<Watched<Receiver>>),
    /// Over.
    Over,
}

impl<T> IpcReceiver<T>
where
    T: for<'de> Deserialize<'de> + Serialize,
{
    /// Makes the receiver a stream.
    ///
    /// # Examples
    ///
    /// ```
    /// use futures_lite::StreamExt;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (sender, receiver) = strait::ipc::channel::<u32>()?;
    /// sender.send(3)?;
    /// drop(sender);
    /// let mut stream = receiver.to_stream();
    /// futures_lite::future::block_on(async {
    ///     while let Some(number) = stream.next().await {
    ///         assert_eq!(number?, 3);
    ///     }
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn to_stream(self) -> IpcStream<T> {
        IpcStream { source: Mutex::new(Source::New(self.into_slot())), values: PhantomData }
    }
}

impl<T> Stream for IpcStream<T>
where
    T: for<'de> Deserialize<'de> + Serialize,
{
    type Item = Result<T, SerDeError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let source = self.source.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = source.watch() {
            return Poll::Ready(Some(Err(lost(error))));
        }
        let Source::Watched(watch) = source else {
            return Poll::Ready(None);
        };
        // Before the receiver is looked at, so that what comes in meanwhile wakes the task.
        watch.wake(cx.waker());
        let item = scratch::with_receive_buffer(|buffer| {
            let message = watch.source.receive(buffer, Purpose::Look, Wait::Never)?;
            Ok(codec::decode(message.body.bytes(buffer), message.attachments))
        });
        match item {
            Ok(item) => Poll::Ready(Some(item)),
            Err(RecvError::Empty) => Poll::Pending,
            Err(RecvError::Unfinished) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Err(RecvError::Lost(problem)) => Poll::Ready(Some(Err(problem.into()))),
            Err(RecvError::Io(error)) => Poll::Ready(Some(Err(lost(error)))),
            Err(RecvError::Broken(error)) => {
                *source = Source::Over;
                Poll::Ready(Some(Err(lost(error))))
            }
            Err(RecvError::Disconnected) => {
                *source = Source::Over;
                Poll::Ready(None)
            }
        }
    }
}

impl<T> FusedStream for IpcStream<T>
where
    T: for<'de> Deserialize<'de> + Serialize,
{
    fn is_terminated(&self) -> bool {
        matches!(*self.source.lock().unwrap_or_else(PoisonError::into_inner), Source::Over)
    }
}

impl<T> fmt::Debug for IpcStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IpcStream").finish_non_exhaustive()
    }
}

fn lost(error: io::Error) -> SerDeError {
    SerDeError::from_format("received", Box::new(error))
}

impl Source {
    /// Has the receiver watched, if it is not yet. What fails may succeed later, except for a receiver that is not there
    /// any more: that is the end.
    fn watch(&mut self) -> io::Result<()> {
        match std::mem::replace(self, Source::Over) {
            Source::New(slot) => match Watched::new(slot.into_receiver()?) {
                Ok(watch) => *self = Source::Watched(Box::new(watch)),
                Err((error, receiver)) => {
                    *self = Source::New(Slot::from(receiver));
                    return Err(error);
                }
            },
            source => *self = source,
        }
        Ok(())
    }
}
