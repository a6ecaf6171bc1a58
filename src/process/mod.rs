//! Starting processes that have a channel from the beginning.
//!
//! [`ChannelCommand`] extends [`std::process::Command`]:
//! [`spawn_with_channel`](ChannelCommand::spawn_with_channel) starts a process and returns the ends
//! of a channel in each direction, and the process gets the other ends from [`parent`]. No other
//! process can connect to them: there is no name, and only the child inherits the one handle that
//! leads to the channels.
//!
//! ```standalone_crate
//! use std::process::Command;
//! use strait::process::{self, ChannelCommand};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # if cfg!(any(not(target_os = "linux"), feature = "force-inprocess")) {
//! #     return Ok(());
//! # }
//! if std::env::args().nth(1).is_none() {
//!     let mut command = Command::new(std::env::current_exe()?);
//!     let (mut child, to_child, from_child) =
//!         command.arg("child").spawn_with_channel::<u32, String>()?;
//!     to_child.send(42)?;
//!     println!("the child says {}", from_child.recv()?);
//!     child.wait()?;
//! } else {
//!     let (to_parent, from_parent) = process::parent::<String, u32>()?;
//!     to_parent.send(format!("{} to you, too", from_parent.recv()?))?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! After the child has ended, for whatever reason, the receiver delivers what the child has sent,
//! and then returns [`Disconnected`](IpcError::Disconnected). [`Child::wait`] returns its exit
//! status.
//!
//! In a [set](crate::ipc::IpcReceiverSet) the end of a child is the
//! [`ChannelClosed`](crate::ipc::IpcSelectionResult::ChannelClosed) of the receiver from it, unless
//! the child has sent its sender to another process. [`Child::wait`] does not block for long then.
//!
//! The channels have no bound. For a channel with a bound, make it and send its other end as the
//! first message ([the recipes](crate::recipes#a-bounded-channel-to-a-child) have the whole
//! program):
//!
//! ```no_run
//! use std::process::Command;
//! use strait::ipc::{self, IpcReceiver};
//! use strait::process::ChannelCommand;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (mut child, to_child, from_child) = Command::new("/usr/lib/my-program/worker")
//!     .spawn_with_channel::<IpcReceiver<u32>, String>()?;
//! // `parent` returns a receiver of one receiver there.
//! let (jobs, receiver) = ipc::sync_channel::<u32>(8)?;
//! to_child.send(receiver)?;
//! jobs.send(1)?;
//! # Ok(())
//! # }
//! ```
//!
//! # Platform
//!
//! Where [channels do not leave the process](crate#platforms), starting a process with a channel is
//! an error of kind [`Unsupported`](io::ErrorKind::Unsupported). [`Child`] works everywhere.
//!
//! On Linux the handle is a file descriptor above those of the standard streams, and the variable
//! `STRAIT_PARENT` in the child's environment names it. A process that has more than one thread
//! when it calls [`parent`] keeps the variable, since no thread may change the environment while
//! another may read it. That does no harm: the variable names the socket besides the number, so a
//! process that inherits it without the descriptor gets the error that it has no such channel.
//!
//! The child inherits the descriptor by way of a closure that runs between `fork` and `exec`. A
//! process with very much memory takes longer to fork than std usually takes to start another.
//!
//! Until it calls [`parent`], a child passes the handle on to the processes that it starts. The
//! first of them all that calls [`parent`] gets the channels, and the others an error. A program in
//! between, such as a shell, passes it on as well, unless it closes descriptors that it does not
//! know, as `sudo` does.

mod child;
mod dying;

use std::fmt;
use std::io;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::child::Child;
use crate::channel::rendezvous::{self, ChildEnds, ParentEnds};
use crate::channel::{Slot, scratch};
use crate::codec;
use crate::error::{IpcError, TryRecvError, TrySendError};
use crate::ipc::{IpcReceiver, IpcSender};
use crate::platform;

/// How long [`spawn_with_channel`](ChannelCommand::spawn_with_channel) waits for the child to call
/// [`parent`]: 10 seconds.
///
/// # Examples
///
/// See [`Starting::connect`] for another timeout.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a child that has closed its handle may take to end by itself: a process that ends
/// closes its handles before its status can be asked for.
const LAST_BREATH: Duration = Duration::from_secs(1);

/// An extension of [`Command`]: it starts processes that have a channel to this one.
///
/// The command can be used again, for processes with and without channels. The first start with a
/// channel leaves a closure in it (each start does, of no bytes, if the command [clears the
/// environment](Command::env_clear)), and removes the variable `STRAIT_PARENT` from it: names that
/// begin like that are strait's.
///
/// # Examples
///
/// See [the module](self).
pub trait ChannelCommand: sealed::Sealed {
    /// Starts the process, and blocks until it has called [`parent`], for at most
    /// [`CONNECT_TIMEOUT`].
    ///
    /// # Errors
    ///
    /// - As [`Command::spawn`], if there is no such program, say.
    /// - As [`Starting::connect`]. The process was killed then.
    /// - [`Unsupported`](io::ErrorKind::Unsupported) if [channels do not leave the
    ///   process](crate#platforms) here.
    ///
    /// # Examples
    ///
    /// See [`process`](crate::process).
    fn spawn_with_channel<ToChild, FromChild>(
        &mut self,
    ) -> io::Result<(Child, IpcSender<ToChild>, IpcReceiver<FromChild>)>
    where
        ToChild: for<'de> Deserialize<'de> + Serialize,
        FromChild: for<'de> Deserialize<'de> + Serialize,
    {
        self.start_with_channel()?.connect(CONNECT_TIMEOUT)
    }

    /// Starts the process and does not wait for it, so that several processes can start at the same
    /// time.
    ///
    /// # Errors
    ///
    /// - As [`Command::spawn`], if there is no such program, say.
    /// - [`Unsupported`](io::ErrorKind::Unsupported) if [channels do not leave the
    ///   process](crate#platforms) here.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use std::process::Command;
    /// use std::time::Duration;
    /// use strait::process::{ChannelCommand, Starting};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let mut command = Command::new("/usr/lib/my-program/worker");
    /// let mut starting = Vec::new();
    /// for _ in 0..4 {
    ///     starting.push(command.start_with_channel::<u32, String>()?);
    /// }
    /// for worker in starting {
    ///     let (child, to_child, from_child) = worker.connect(Duration::from_secs(5))?;
    ///     // …
    /// }
    /// # Ok(())
    /// # }
    /// ```
    fn start_with_channel<ToChild, FromChild>(
        &mut self,
    ) -> io::Result<Starting<ToChild, FromChild>>
    where
        ToChild: for<'de> Deserialize<'de> + Serialize,
        FromChild: for<'de> Deserialize<'de> + Serialize;
}

mod sealed {
    pub trait Sealed {}

    impl Sealed for std::process::Command {}
}

impl ChannelCommand for Command {
    fn start_with_channel<ToChild, FromChild>(&mut self) -> io::Result<Starting<ToChild, FromChild>>
    where
        ToChild: for<'de> Deserialize<'de> + Serialize,
        FromChild: for<'de> Deserialize<'de> + Serialize,
    {
        let ends = rendezvous::bequeath(&codec::introduction::<ToChild, FromChild>());
        let ParentEnds { connection: (to_child, from_child), called, inherited } =
            ends.map_err(|error| IpcError::from(TrySendError::from(error)))?;
        dying::reap();
        let child = platform::spawn_with(self, inherited)?;
        let mut child = Child::from(child);
        child.kill_on_drop(true);
        Ok(Starting {
            child,
            to_child: to_child.into(),
            from_child: Slot::from(from_child).into(),
            called: Slot::from(called).into(),
            outcome: None,
        })
    }
}

/// A process that was started and has not called [`parent`] yet.
///
/// Dropping it kills the process and blocks until it has ended, as [`Child::kill_on_drop`]
/// describes.
///
/// # Examples
///
/// See [`ChannelCommand::start_with_channel`] and [`wait`](Starting::wait).
pub struct Starting<ToChild, FromChild> {
    pub(crate) child: Child,
    pub(crate) to_child: IpcSender<ToChild>,
    pub(crate) from_child: IpcReceiver<FromChild>,
    pub(crate) called: IpcReceiver<()>,
    /// Whether it has called, once that is known.
    pub(crate) outcome: Option<Result<(), IpcError>>,
}

impl<ToChild, FromChild> Starting<ToChild, FromChild> {
    /// Returns the process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Blocks until the process has called [`parent`], or is known not to, for at most `timeout`,
    /// which can be zero. Returns whether one of both is so: then [`connect`](Starting::connect)
    /// does not block.
    ///
    /// # Platform
    ///
    /// On Linux, `Starting` is [`AsFd`](https://doc.rust-lang.org/std/os/fd/trait.AsFd.html), too,
    /// for pollers.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use std::process::Command;
    /// use std::time::Duration;
    /// use strait::process::ChannelCommand;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let mut starting = Command::new("/usr/lib/my-program/worker").start_with_channel::<u32, ()>()?;
    /// while !starting.wait(Duration::from_millis(100)) {
    ///     println!("waiting for {}", starting.id());
    /// }
    /// let (child, to_child, from_child) = starting.connect(Duration::ZERO)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn wait(&mut self, timeout: Duration) -> bool {
        if self.outcome.is_none() {
            self.outcome = match self.called.try_recv_timeout(timeout) {
                Ok(()) => Some(Ok(())),
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::IpcError(error)) => Some(Err(error)),
            };
        }
        self.outcome.is_some()
    }

    /// Blocks until the process has called [`parent`], for at most `timeout`, and returns the
    /// process with the ends of this side.
    ///
    /// # Errors
    ///
    /// In each case the process was killed, unless it had ended. It has ended, except in the cases
    /// that [`Child::kill_on_drop`] names.
    ///
    /// - [`ConnectionAborted`](io::ErrorKind::ConnectionAborted) if the process has ended without
    ///   calling [`parent`], or has closed the handle. The error contains its exit status, if that
    ///   can be known: see [`Child::wait`].
    /// - [`TimedOut`](io::ErrorKind::TimedOut) if it has not called [`parent`] in time.
    /// - [`InvalidData`](io::ErrorKind::InvalidData) if it speaks another version of strait's protocol,
    ///   or has another codec. The error names those of both processes.
    /// - Others of the operating system.
    ///
    /// # Examples
    ///
    /// See [`ChannelCommand::start_with_channel`].
    pub fn connect(
        mut self,
        timeout: Duration,
    ) -> io::Result<(Child, IpcSender<ToChild>, IpcReceiver<FromChild>)> {
        self.wait(timeout);
        let Starting { child, to_child, from_child, outcome, .. } = self;
        let outcome = outcome.ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::TimedOut,
                "the child has not called `strait::process::parent` in time, and was killed",
            )
        })?;
        Ok((connected(child, outcome)?, to_child, from_child))
    }
}

/// The child, if it has called [`parent`].
pub(crate) fn connected(mut child: Child, outcome: Result<(), IpcError>) -> io::Result<Child> {
    match outcome {
        Ok(()) => {
            child.kill_on_drop(false);
            Ok(child)
        }
        Err(IpcError::Disconnected) => match child.wait_timeout(LAST_BREATH) {
            Err(error) if !platform::is_status_lost(&error) => Err(error),
            ended => Err(never_called(ended)),
        },
        Err(error) => Err(error.into()),
    }
}

/// How it ended; an error if that is not known.
fn never_called(ended: io::Result<Option<ExitStatus>>) -> io::Error {
    let what = match ended {
        Ok(Some(status)) => {
            format!("the child ended without calling `strait::process::parent`: {status}")
        }
        Ok(None) => String::from("the child closed its channel to this process, and was killed"),
        Err(error) => format!(
            "the child ended without calling `strait::process::parent`, and how is not known: {error}"
        ),
    };
    io::Error::new(io::ErrorKind::ConnectionAborted, what)
}

impl<ToChild, FromChild> fmt::Debug for Starting<ToChild, FromChild> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Starting").field("child", &self.child).finish_non_exhaustive()
    }
}

/// Returns a child's ends of the channels: the sender to the process that started it, and the
/// receiver from that process.
///
/// It works once, in a process that was started by [`ChannelCommand`], and does not block. Call it
/// early: the process that started this one waits for it, and processes that this one starts before
/// inherit the handle.
///
/// The types are not checked: a message of another type is an error when it is received. The error
/// names the types of both processes.
///
/// # Errors
///
/// - [`NotFound`](io::ErrorKind::NotFound) if this process was not started with a channel, or the
///   handle did not get here. The error says which.
/// - [`AlreadyExists`](io::ErrorKind::AlreadyExists) if it was called before.
/// - [`ConnectionAborted`](io::ErrorKind::ConnectionAborted) if the process that started this one
///   has ended or has given up waiting, or another process that inherited the handle was first.
/// - [`InvalidData`](io::ErrorKind::InvalidData) if the process that started this one speaks another
///   version of strait's protocol, or has another codec. The error names those of both processes,
///   and the other process gets it as well.
/// - [`Unsupported`](io::ErrorKind::Unsupported) if [channels do not leave the
///   process](crate#platforms) here.
/// - Others of the operating system.
///
/// # Examples
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (to_parent, from_parent) = strait::process::parent::<String, u32>()?;
/// for number in from_parent {
///     to_parent.send(number.to_string())?;
/// }
/// // The parent has dropped its sender, or has ended.
/// # Ok(())
/// # }
/// ```
pub fn parent<ToParent, FromParent>() -> io::Result<(IpcSender<ToParent>, IpcReceiver<FromParent>)>
where
    ToParent: for<'de> Deserialize<'de> + Serialize,
    FromParent: for<'de> Deserialize<'de> + Serialize,
{
    let inherited = platform::inherited()?;
    let introduction = codec::introduction::<ToParent, FromParent>();
    let ends = scratch::with_receive_buffer(|buffer| {
        rendezvous::inherit(inherited, &introduction, buffer).map_err(TryRecvError::from)
    });
    let ChildEnds { connection: (to_parent, from_parent), call } =
        ends.map_err(|error| match error {
            TryRecvError::Empty | TryRecvError::IpcError(IpcError::Disconnected) => {
                aborted("another process that inherited the channel has taken it")
            }
            TryRecvError::IpcError(error) => error.into(),
        })?;
    IpcSender::from(call).send(()).map_err(|error| match error {
        IpcError::Disconnected => {
            aborted("the process that started this one does not wait for it any more")
        }
        error => error.into(),
    })?;
    Ok((to_parent.into(), Slot::from(from_parent).into()))
}

fn aborted(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, why)
}
