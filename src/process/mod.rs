//! Starting processes that have a channel from the beginning.
//!
//! [`ChannelCommand`] extends [`std::process::Command`]: [`spawn_with_channel`](ChannelCommand::spawn_with_channel) starts a process and
//! returns the ends of a channel in each direction, and the process gets the other ends from [`parent`]. There is no name that anybody
//! else could connect to: the child inherits one handle, which nothing else does, and gets the channels through that.
//!
//! ```no_run
//! use std::process::Command;
//! use strait::process::{self, ChannelCommand};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
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
//! When the child has ended, however that came, its ends of the channels are closed: what it sent can still be received, and then there is
//! [`Disconnected`](IpcError::Disconnected). [`Child::wait`] says how it ended.
//!
//! # Platform
//!
//! Where [channels do not leave the process](crate#platforms) nothing is started, and all this is an error of the kind
//! [`Unsupported`](io::ErrorKind::Unsupported); except [`Child`], which is what it is everywhere.
//!
//! On Linux the handle is a descriptor above those of the standard streams, and the variable `STRAIT_PARENT` in the child's environment
//! says which. A process that has more than one thread when it calls [`parent`] keeps the variable, since no thread may change the
//! environment while another may look at it. That does no harm: the variable names the socket besides the number, so whoever inherits it is
//! told that it has no such channel.
//!
//! What is started inherits the descriptor by way of a closure that runs between `fork` and `exec`. A process with very much memory takes longer
//! to fork than std usually takes to start another.
//!
//! Between its start and the call of [`parent`] a child that starts processes itself passes the handle on to them. The first of them all
//! that calls [`parent`] gets the channels, and the others an error. A program in between, such as a shell, passes it on as well, unless
//! it closes what it does not know, as `sudo` does.

mod child;

use std::fmt;
use std::io;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

pub use self::child::Child;
use crate::channel::{Receiver, Sender, Slot};
use crate::error::{IpcError, TryRecvError};
use crate::ipc::{self, IpcReceiver, IpcSender};
use crate::platform;

/// How long [`spawn_with_channel`](ChannelCommand::spawn_with_channel) waits for the child to call [`parent`].
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a child that has closed its handle may take to end by itself: a process that ends closes its handles before its status
/// can be asked for.
const LAST_BREATH: Duration = Duration::from_secs(1);

/// What a child gets through the handle that it inherits: where it receives, where it sends, and where it says that it has called
/// [`parent`].
type FirstMessage<ToChild, FromChild> = (IpcReceiver<ToChild>, IpcSender<FromChild>, IpcSender<()>);

/// What a [`Command`] can do besides: start a process that has a channel to this one.
///
/// The command can be used again, for processes with channels and without. Each process with a channel leaves a closure of a few bytes in
/// it, and takes out the variable `STRAIT_PARENT` if it was set in the command: that name is strait's.
pub trait ChannelCommand: sealed::Sealed {
    /// Starts the process, and waits until it has called [`parent`], for at most [`CONNECT_TIMEOUT`].
    ///
    /// # Errors
    ///
    /// - As [`Command::spawn`], if there is no such program, say.
    /// - As [`Starting::connect`]. The process is gone then.
    /// - [`Unsupported`](io::ErrorKind::Unsupported): here channels do not leave the process.
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

    /// Starts the process and does not wait for it, so that several can get ready at the same time.
    ///
    /// # Errors
    ///
    /// - As [`Command::spawn`], if there is no such program, say.
    /// - [`Unsupported`](io::ErrorKind::Unsupported): here channels do not leave the process.
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
        let (to_child, from_parent) = ipc::channel()?;
        let (to_parent, from_child) = ipc::channel()?;
        let (call, called) = ipc::channel()?;
        let (first, inherited) = platform::channel()?;
        let first: IpcSender<FirstMessage<ToChild, FromChild>> = Sender::from(first).into();
        first.send((from_parent, to_parent, call))?;
        let child = platform::spawn_with(self, inherited)?;
        let mut child = Child::from(child);
        child.kill_on_drop(true);
        Ok(Starting { child, to_child, from_child, called })
    }
}

/// A process that was started and has not called [`parent`] yet. Dropping it kills the process and waits for the end of it.
pub struct Starting<ToChild, FromChild> {
    child: Child,
    to_child: IpcSender<ToChild>,
    from_child: IpcReceiver<FromChild>,
    called: IpcReceiver<()>,
}

impl<ToChild, FromChild> Starting<ToChild, FromChild> {
    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the process has called [`parent`], for at most `timeout`, and returns it with this side's ends of the channels.
    ///
    /// # Errors
    ///
    /// In each case the process was killed, unless it had ended, and is gone.
    ///
    /// - [`ConnectionAborted`](io::ErrorKind::ConnectionAborted): it has ended without having called [`parent`], or has closed the
    ///   handle. The error says how it ended.
    /// - [`TimedOut`](io::ErrorKind::TimedOut): it has not called [`parent`] in time.
    /// - Others of the operating system.
    pub fn connect(
        self,
        timeout: Duration,
    ) -> io::Result<(Child, IpcSender<ToChild>, IpcReceiver<FromChild>)> {
        let Starting { mut child, to_child, from_child, called } = self;
        let begun = Instant::now();
        match called.try_recv_timeout(timeout) {
            Ok(()) => {
                child.kill_on_drop(false);
                Ok((child, to_child, from_child))
            }
            Err(TryRecvError::Empty) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the child has not called `strait::process::parent` in time, and was killed",
            )),
            Err(TryRecvError::IpcError(IpcError::Disconnected)) => {
                let left = timeout.saturating_sub(begun.elapsed());
                Err(never_called(child.wait_timeout(left.min(LAST_BREATH))?))
            }
            Err(TryRecvError::IpcError(error)) => Err(error.into()),
        }
    }
}

fn never_called(status: Option<ExitStatus>) -> io::Error {
    let what = match status {
        Some(status) => {
            format!("the child ended without calling `strait::process::parent`: {status}")
        }
        None => String::from("the child closed its channel to this process, and was killed"),
    };
    io::Error::new(io::ErrorKind::ConnectionAborted, what)
}

impl<ToChild, FromChild> fmt::Debug for Starting<ToChild, FromChild> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Starting").field("child", &self.child).finish_non_exhaustive()
    }
}

/// Gets a child's ends of the channels: the sender of what it says to the process that started it, and the receiver of what that says.
///
/// It works once, in a process that was started by [`ChannelCommand`]. It does not wait. Call it early: the process that started this one
/// waits for it, and processes that this one starts before inherit the handle.
///
/// The types are not checked, here as with other channels: a message of another type is an error when it is received.
///
/// # Errors
///
/// - [`NotFound`](io::ErrorKind::NotFound): this process was not started with a channel, or the handle did not get here. The error says
///   which.
/// - [`AlreadyExists`](io::ErrorKind::AlreadyExists): it was called before.
/// - [`ConnectionAborted`](io::ErrorKind::ConnectionAborted): the process that started this one is gone or has given up waiting, or
///   another process that inherited the handle was first.
/// - [`Unsupported`](io::ErrorKind::Unsupported): here channels do not leave the process.
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
/// // There is nobody left who could send a number.
/// # Ok(())
/// # }
/// ```
pub fn parent<ToParent, FromParent>() -> io::Result<(IpcSender<ToParent>, IpcReceiver<FromParent>)>
where
    ToParent: for<'de> Deserialize<'de> + Serialize,
    FromParent: for<'de> Deserialize<'de> + Serialize,
{
    let inherited = Slot::from(Receiver::from(platform::inherited()?));
    let first: IpcReceiver<FirstMessage<FromParent, ToParent>> = inherited.into();
    // It was sent before this process was started.
    let (from_parent, to_parent, call) = first.try_recv().map_err(|error| match error {
        TryRecvError::Empty | TryRecvError::IpcError(IpcError::Disconnected) => {
            aborted("another process that inherited the channel has taken it")
        }
        TryRecvError::IpcError(error) => error.into(),
    })?;
    call.send(()).map_err(|error| match error {
        IpcError::Disconnected => {
            aborted("the process that started this one does not wait for it any more")
        }
        error => error.into(),
    })?;
    Ok((to_parent, from_parent))
}

fn aborted(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, why)
}
