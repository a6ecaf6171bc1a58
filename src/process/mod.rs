//! Child processes that are connected to their parent by channels from the start.
//!
//! [`ChannelCommand`] extends [`std::process::Command`].
//! [`spawn_with_channel`](ChannelCommand::spawn_with_channel) starts a process and returns one
//! endpoint of a channel in each direction. The child gets the other endpoints from [`parent`]. No
//! other process can connect to these channels: they have no name, and only the child inherits the
//! one handle that leads to them.
//!
//! ```standalone_crate
//! use std::process::Command;
//! use strait::process::{self, ChannelCommand};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # if !process::is_supported() {
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
//! After the child has ended, for whatever reason, the receiver returns the messages that the child
//! has sent, and then [`Disconnected`](IpcError::Disconnected). [`Child::wait`] returns its exit
//! status.
//!
//! In a [receiver set](crate::ipc::IpcReceiverSet), the end of a child is reported as the
//! [`ChannelClosed`](crate::ipc::IpcSelectionResult::ChannelClosed) of the receiver from it. This
//! is not so if the child has sent its sender to another process. After `ChannelClosed`,
//! [`Child::wait`] does not block for long.
//!
//! The channels are unbounded. For a bounded channel, make one and send its other endpoint as the
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
//! Where [channels do not leave the process](crate#platforms), starting a process with a channel
//! fails with an error of kind [`Unsupported`](io::ErrorKind::Unsupported). [`is_supported`]
//! returns whether that is so. [`Child`] works everywhere.
//!
//! On Linux the handle is a file descriptor above those of the standard streams, and the variable
//! `STRAIT_PARENT` in the child's environment names it. A process that has more than one thread
//! when it calls [`parent`] keeps the variable. No thread may change the environment while another
//! may read it. Keeping the variable does no harm, since it names the socket besides the file
//! descriptor. If a process inherits the variable without the file descriptor, [`parent`] fails
//! with the error that there is no such channel.
//!
//! The child inherits the file descriptor by means of a closure that runs between `fork` and
//! `exec`. So a process with very much memory takes longer to start another than it usually takes
//! with std.
//!
//! Until it calls [`parent`], a child passes the handle on to the processes that it starts. The
//! first process that calls [`parent`] gets the channels, and the call fails in the others. A
//! program in between, such as a shell, passes the handle on as well. Programs that close unknown
//! file descriptors, such as `sudo`, do not.

mod child;
mod dying;

use std::fmt;
use std::io;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::child::Child;
use crate::buffers;
use crate::channel::Slot;
use crate::channel::one_shot::{self, ChildEnds, ParentEnds};
use crate::codec;
use crate::error::{IpcError, TryRecvError, TrySendError};
use crate::ipc::{IpcReceiver, IpcSender};
use crate::platform::contract::Bequest as _;
use crate::platform::{self, Wait};

/// Returns whether this build can give channels to other processes.
///
/// Where it returns `false`, [channels do not leave the process](crate#platforms), and
/// [`ChannelCommand`] and [`parent`] fail with an error of kind
/// [`Unsupported`](io::ErrorKind::Unsupported). That does not change while the program runs.
///
/// # Platform
///
/// It returns `true` on Linux, unless the feature `force-inprocess` is enabled, and `false` on
/// other systems.
///
/// # Examples
///
/// ```
/// use strait::process;
///
/// let workers = if process::is_supported() { "processes" } else { "threads" };
/// println!("the work is done by {workers}");
/// ```
pub const fn is_supported() -> bool {
    platform::CROSSES_PROCESSES
}

/// The time that [`spawn_with_channel`](ChannelCommand::spawn_with_channel) waits for the child to
/// call [`parent`]: 10 seconds.
///
/// # Examples
///
/// See [`Starting::connect`] for another timeout.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a child that has closed its handle may take to exit by itself. An exiting process
/// closes its handles before its exit status is available.
const LAST_BREATH: Duration = Duration::from_secs(1);

/// Extends [`Command`] with methods that start a process connected by channels.
///
/// The command can be used again, for processes with and without channels. The first start with a
/// channel leaves a closure in the command. If the command [clears the
/// environment](Command::env_clear), each start leaves one, of no bytes. The first start also
/// removes the variable `STRAIT_PARENT` from the command: names that begin with it are reserved for
/// strait.
///
/// # Examples
///
/// See [the module](self).
pub trait ChannelCommand: sealed::Sealed {
    /// Starts the process, blocking until it has called [`parent`], for at most
    /// [`CONNECT_TIMEOUT`].
    ///
    /// # Errors
    ///
    /// - The errors of [`Command::spawn`], for example if there is no such program.
    /// - The errors of [`Starting::connect`]. The process has been killed then.
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

    /// Starts the process without blocking until it has called [`parent`], so that several
    /// processes can start at the same time.
    ///
    /// # Errors
    ///
    /// - The errors of [`Command::spawn`], for example if there is no such program.
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
        let ends = one_shot::bequeath(&codec::introduction::<ToChild, FromChild>());
        let ParentEnds { connection: (to_child, from_child), called, inherited } =
            ends.map_err(|error| IpcError::from(TrySendError::from(error)))?;
        dying::reap();
        let (child, bequest) = platform::spawn_with(self, inherited)?;
        let mut child = Child::from(child);
        child.kill_on_drop(true);
        Ok(Starting {
            child,
            to_child: to_child.into(),
            from_child: Slot::from(from_child).into(),
            called: Slot::from(called).into(),
            bequest,
            outcome: None,
        })
    }
}

/// A child process that was started and has not yet called [`parent`].
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
    /// The channel that the child takes in [`parent`], as far as this process still has it.
    pub(crate) bequest: platform::Bequest,
    /// The outcome of the child's call of [`parent`], once it is known.
    pub(crate) outcome: Option<Result<(), IpcError>>,
}

impl<ToChild, FromChild> Starting<ToChild, FromChild> {
    /// Returns the process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Blocks until the process has called [`parent`], until it is known that it never will, or
    /// until `timeout` has passed.
    ///
    /// The timeout can be zero. Returns `false` if the timeout has passed. Otherwise
    /// [`connect`](Starting::connect) does not block.
    ///
    /// # Platform
    ///
    /// On Linux, `Starting` also implements
    /// [`AsFd`](https://doc.rust-lang.org/std/os/fd/trait.AsFd.html), for pollers.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use std::process::Command;
    /// use std::time::Duration;
    /// use strait::process::ChannelCommand;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let mut worker = Command::new("/usr/lib/my-program/worker");
    /// let mut starting = worker.start_with_channel::<u32, ()>()?;
    /// while !starting.wait(Duration::from_millis(100)) {
    ///     println!("waiting for {}", starting.id());
    /// }
    /// let (child, to_child, from_child) = starting.connect(Duration::ZERO)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn wait(&mut self, timeout: Duration) -> bool {
        if self.outcome.is_none() {
            self.outcome = self.outcome_within(Wait::at_most(timeout));
        }
        self.outcome.is_some()
    }

    fn outcome_within(&mut self, wait: Wait) -> Option<Result<(), IpcError>> {
        match self.bequest.hand_over(self.child.as_std(), wait) {
            Ok(true) => {}
            Ok(false) => return None,
            Err(error) => return Some(Err(error.into())),
        }
        // If the child has ended, this is disconnected.
        match self.called.try_recv_timeout(wait.remaining().unwrap_or(Duration::MAX)) {
            Ok(()) => Some(Ok(())),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::IpcError(error)) => Some(Err(error)),
        }
    }

    /// Blocks until the process has called [`parent`], for at most `timeout`, and returns the
    /// process with this process's endpoints.
    ///
    /// # Errors
    ///
    /// In each case the process has been killed, unless it had ended. It has ended when this method
    /// returns, except in the cases that [`Child::kill_on_drop`] names.
    ///
    /// - [`ConnectionAborted`](io::ErrorKind::ConnectionAborted) if the process has ended without
    ///   calling [`parent`], or has closed the handle. The error contains its exit status, if that
    ///   is available: see [`Child::wait`].
    /// - [`TimedOut`](io::ErrorKind::TimedOut) if the process has not called [`parent`] in time.
    /// - [`InvalidData`](io::ErrorKind::InvalidData) if the process has another version of strait's
    ///   protocol, or another codec. The error names those of both processes.
    /// - Other errors of the operating system.
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
                "the child did not call `strait::process::parent` in time, and was killed",
            )
        })?;
        Ok((connected(child, outcome)?, to_child, from_child))
    }
}

/// Returns the child, if it has called [`parent`].
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

/// Makes an error that says how the child ended, or that this is not known.
fn never_called(ended: io::Result<Option<ExitStatus>>) -> io::Error {
    let what = match ended {
        Ok(Some(status)) => {
            format!("the child ended without calling `strait::process::parent`: {status}")
        }
        Ok(None) => String::from("the child closed its channel to this process, and was killed"),
        Err(error) => format!(
            "the child ended without calling `strait::process::parent`, \
             and its exit status is unknown: {error}"
        ),
    };
    io::Error::new(io::ErrorKind::ConnectionAborted, what)
}

impl<ToChild, FromChild> fmt::Debug for Starting<ToChild, FromChild> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Starting").field("child", &self.child).finish_non_exhaustive()
    }
}

/// Returns a child process's endpoints: the sender to the process that started it, and the receiver
/// from that process.
///
/// It succeeds once, in a process that was started by [`ChannelCommand`], and does not block. Call
/// it early. The process that started this one waits for the call, and processes that this one
/// starts before the call inherit the handle.
///
/// The types are not checked: receiving a message of another type fails. The error names the types
/// of both processes.
///
/// # Errors
///
/// - [`NotFound`](io::ErrorKind::NotFound) if this process was not started with a channel, or has
///   not inherited the handle. The error says which.
/// - [`AlreadyExists`](io::ErrorKind::AlreadyExists) if it was called before.
/// - [`ConnectionAborted`](io::ErrorKind::ConnectionAborted) if the process that started this one
///   has ended or no longer waits, or another process that inherited the handle was first.
/// - [`InvalidData`](io::ErrorKind::InvalidData) if the process that started this one has another
///   version of strait's protocol, or another codec. The error names those of both processes, and
///   the other process gets it as well.
/// - [`Unsupported`](io::ErrorKind::Unsupported) if [channels do not leave the
///   process](crate#platforms) here.
/// - Other errors of the operating system.
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
    let ends = buffers::with_receive_buffer(|buffer| {
        one_shot::inherit(inherited, &introduction, buffer).map_err(TryRecvError::from)
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
            aborted("the process that started this process no longer waits for it")
        }
        error => error.into(),
    })?;
    Ok((to_parent.into(), Slot::from(from_parent).into()))
}

fn aborted(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, why)
}
