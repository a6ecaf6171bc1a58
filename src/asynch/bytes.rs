//! Channels of bytes as streams.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::{FusedStream, Stream};

use super::messages::Messages;
use crate::channel::Purpose;
use crate::error::SerDeError;
use crate::ipc::IpcBytesReceiver;

/// A stream of the messages of a receiver of bytes. It works as [`IpcStream`](super::IpcStream)
/// does.
///
/// # Examples
///
/// See [`IpcBytesReceiver::to_stream`].
pub struct IpcBytesStream {
    messages: Messages,
}

impl IpcBytesReceiver {
    /// Converts the receiver into a stream of its messages.
    ///
    /// # Examples
    ///
    /// ```
    /// use futures_lite::StreamExt;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (sender, receiver) = strait::ipc::bytes_channel()?;
    /// sender.send(b"as they are")?;
    /// drop(sender);
    /// let mut stream = receiver.to_stream();
    /// futures_lite::future::block_on(async {
    ///     while let Some(bytes) = stream.next().await {
    ///         assert_eq!(bytes?, b"as they are");
    ///     }
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn to_stream(self) -> IpcBytesStream {
        IpcBytesStream { messages: Messages::of(self.into_slot()) }
    }
}

impl Stream for IpcBytesStream {
    type Item = Result<Vec<u8>, SerDeError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.messages
            .poll_next(cx, Purpose::Keep, |message, buffer| Ok(message.body.into_vec(buffer)))
    }
}

impl FusedStream for IpcBytesStream {
    fn is_terminated(&self) -> bool {
        self.messages.are_over()
    }
}

impl fmt::Debug for IpcBytesStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IpcBytesStream").finish_non_exhaustive()
    }
}
