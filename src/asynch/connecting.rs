//! Starting processes as futures.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::messages::Messages;
use crate::channel::Purpose;
use crate::error::IpcError;
use crate::ipc::{IpcReceiver, IpcSender};
use crate::platform::contract::Bequest as _;
use crate::platform::{self, Wait};
use crate::process::{self, Child, Starting};
use crate::typed;

/// The future of a [`Starting`], a process that was started and has not called
/// [`parent`](crate::process::parent) yet. `.await` converts a [`Starting`] into it.
///
/// Its output is that of [`Starting::connect`]. The future has no timeout; use one of the runtime.
///
/// # Cancel safety
///
/// Dropping the future kills the process and blocks until the process has ended, as
/// [`Child::kill_on_drop`] describes.
///
/// # Platform
///
/// After a `fork`, the child cannot use the futures of its parent.
///
/// # Examples
///
/// See [`Starting::into_future`](Starting#method.into_future).
pub struct Connecting<ToChild, FromChild> {
    called: Messages,
    /// `None` after the future was ready.
    ends: Option<(Child, IpcSender<ToChild>, IpcReceiver<FromChild>)>,
    bequest: platform::Bequest,
    outcome: Option<Result<(), IpcError>>,
}

impl<ToChild, FromChild> IntoFuture for Starting<ToChild, FromChild> {
    type Output = io::Result<(Child, IpcSender<ToChild>, IpcReceiver<FromChild>)>;
    type IntoFuture = Connecting<ToChild, FromChild>;

    /// Converts the starting process into a future.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use std::process::Command;
    /// use std::time::Duration;
    /// use strait::process::ChannelCommand;
    ///
    /// # #[cfg(target_os = "linux")]
    /// # async fn start() -> Result<(), Box<dyn std::error::Error>> {
    /// let starting = Command::new("/usr/lib/my-program/worker").start_with_channel::<u32, ()>()?;
    /// let (child, to_child, from_child) =
    ///     tokio::time::timeout(Duration::from_secs(5), starting).await??;
    /// # Ok(())
    /// # }
    /// ```
    fn into_future(self) -> Connecting<ToChild, FromChild> {
        let Starting { child, to_child, from_child, called, bequest, outcome } = self;
        let called = Messages::of(called.into_slot());
        Connecting { called, ends: Some((child, to_child, from_child)), bequest, outcome }
    }
}

impl<ToChild, FromChild> Future for Connecting<ToChild, FromChild> {
    type Output = io::Result<(Child, IpcSender<ToChild>, IpcReceiver<FromChild>)>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.outcome.is_none() {
            if let Some((child, ..)) = &mut this.ends {
                let handed_over = this.bequest.hand_over(child.as_std(), Wait::Never);
                this.outcome = handed_over.err().map(|error| Err(error.into()));
            }
        }
        let outcome = match self.outcome.take() {
            Some(outcome) => outcome,
            None => match self.called.poll_next(cx, Purpose::Look, typed::decode::<()>) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => Err(IpcError::Disconnected),
                Poll::Ready(Some(called)) => called.map_err(IpcError::SerializationError),
            },
        };
        let Some((child, to_child, from_child)) = self.ends.take() else {
            return Poll::Ready(Err(io::Error::other("the process was already returned")));
        };
        let child = process::connected(child, outcome);
        Poll::Ready(child.map(|child| (child, to_child, from_child)))
    }
}

impl<ToChild, FromChild> fmt::Debug for Connecting<ToChild, FromChild> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connecting").finish_non_exhaustive()
    }
}
