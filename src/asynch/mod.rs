//! Receivers and servers as streams, and starting processes as futures, on any runtime.
//!
//! Messages stay in the channel, and clients in the server's backlog, until the stream is polled.
//! One thread of this process waits for events of all streams and wakes the tasks. It starts with
//! the first stream that is pending, and holds no messages.
//!
//! # Examples
//!
//! See [`IpcReceiver::to_stream`], and [the recipes](crate::recipes#tokio) for tokio.

mod bytes;
mod connecting;
mod messages;
mod reactor;
mod server;
mod turn;

pub use bytes::IpcBytesStream;
pub use connecting::Connecting;
pub use server::IpcServerStream;

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::{FusedStream, Stream};
use serde::Deserialize;

use self::messages::Messages;
use crate::channel::Purpose;
use crate::error::SerDeError;
use crate::ipc::IpcReceiver;
use crate::typed;

/// A stream of the messages of a receiver.
///
/// The stream ends when the channel is disconnected. A message that cannot be decoded is an `Err`
/// item. Dropping the stream drops the receiver, and disconnects the channel.
///
/// A stream that is not polled receives nothing: unreceived messages take up memory of the senders'
/// processes, as with any receiver.
///
/// After 128 items in a row the stream is pending once and wakes its task at once. So other tasks
/// of the runtime run even while there are always more messages.
///
/// # Cancel safety
///
/// A message leaves the channel when the stream returns it. Dropping a future that waits for the
/// next item discards no message.
///
/// # Platform
///
/// After a `fork`, the child cannot use the streams of its parent; it can create its own.
///
/// # Examples
///
/// See [`IpcReceiver::to_stream`].
pub struct IpcStream<T> {
    messages: Messages,
    values: PhantomData<fn() -> T>,
}

impl<T> IpcReceiver<T>
where
    T: for<'de> Deserialize<'de>,
{
    /// Converts the receiver into a stream of its messages.
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
        IpcStream { messages: Messages::of(self.into_slot()), values: PhantomData }
    }
}

impl<T> Stream for IpcStream<T>
where
    T: for<'de> Deserialize<'de>,
{
    type Item = Result<T, SerDeError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.messages.poll_next(cx, Purpose::Look, typed::decode)
    }
}

impl<T> FusedStream for IpcStream<T>
where
    T: for<'de> Deserialize<'de>,
{
    fn is_terminated(&self) -> bool {
        self.messages.are_over()
    }
}

impl<T> fmt::Debug for IpcStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IpcStream").finish_non_exhaustive()
    }
}
