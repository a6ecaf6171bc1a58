//! Child processes with timeouts and optional killing on drop.

use std::io;
use std::process::{self, ChildStderr, ChildStdin, ChildStdout, ExitStatus};
use std::time::Duration;

use super::dying;
use crate::platform::{self, Wait};

/// How long a thread blocks until a killed process has ended, at most.
const DEATH: Duration = Duration::from_secs(2);

/// A child process.
///
/// It wraps [`std::process::Child`], and adds timeouts and an option to kill the process on drop.
/// Like there, dropping it neither kills the process nor waits for it, unless
/// [`kill_on_drop`](Child::kill_on_drop) was called. A child that ends later remains a zombie until
/// this process has waited for it, or ends.
///
/// # Examples
///
/// Any `std::process::Child` can be converted:
///
/// ```no_run
/// use std::process::Command;
/// use std::time::Duration;
/// use strait::process::Child;
///
/// # fn main() -> std::io::Result<()> {
/// let mut child = Child::from(Command::new("sleep").arg("1").spawn()?);
/// match child.wait_timeout(Duration::from_secs(10))? {
///     Some(status) => println!("it has ended: {status}"),
///     None => child.kill()?,
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Child {
    /// The child's standard input, if it is a pipe.
    pub stdin: Option<ChildStdin>,
    /// The child's standard output, if it is a pipe.
    pub stdout: Option<ChildStdout>,
    /// The child's standard error, if it is a pipe.
    pub stderr: Option<ChildStderr>,
    process: Process,
}

impl Child {
    /// Returns the process id.
    pub fn id(&self) -> u32 {
        self.process.get().id()
    }

    /// Sets whether dropping this value kills the process and blocks until it has ended. By
    /// default, it does not.
    ///
    /// Dropping blocks for two seconds at most; usually the kernel ends a killed process at once. A
    /// process can take longer because it is in an uninterruptible system call or another process
    /// traces it. A later call of this module reaps it. Dropping does not block for a process that
    /// it is not permitted to kill, because it now runs as another user. In a forked child of this
    /// process, dropping this value does nothing.
    ///
    /// # Examples
    ///
    /// See [the recipe for a supervisor](crate::recipes#a-supervisor).
    pub fn kill_on_drop(&mut self, kill_on_drop: bool) -> &mut Child {
        self.process.is_killed_on_drop = kill_on_drop;
        self
    }

    /// Kills the process, with `SIGKILL` on Unix. Does not wait until it has ended.
    ///
    /// # Errors
    ///
    /// Fails with the error of the operating system. Killing a process that has already ended
    /// returns `Ok`.
    pub fn kill(&mut self) -> io::Result<()> {
        self.process.kill()
    }

    /// Blocks until the process has ended, and returns its exit status. Closes the standard input
    /// of the process first, in case the process waits for that.
    ///
    /// # Errors
    ///
    /// Fails with the error of the operating system.
    ///
    /// # Platform
    ///
    /// On Linux, the kernel keeps no exit status for the children of a process that ignores
    /// `SIGCHLD`, or was started with it ignored. In this case `wait` blocks until the child has
    /// ended, and then fails with `ECHILD` ("No child processes"). So it does if something else has
    /// waited for the child. The same applies to [`wait_timeout`](Child::wait_timeout) and
    /// [`try_wait`](Child::try_wait).
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        dying::reap();
        drop(self.stdin.take());
        self.process.get_mut().wait()
    }

    /// Blocks until the process has ended, for at most `timeout`, and returns its exit status, or
    /// `None` if it has not ended.
    ///
    /// Like [`wait`](Child::wait), it closes the standard input of the process first. It does not
    /// spin. A timeout beyond the range of the clock never expires.
    ///
    /// # Errors
    ///
    /// Fails with the errors of [`wait`](Child::wait).
    ///
    /// # Platform
    ///
    /// In these cases it checks the process every 20 ms instead of sleeping until it has ended:
    ///
    /// - on Linux before 5.3
    /// - if a sandbox forbids `pidfd_open`
    /// - if this process has no file descriptor left
    /// - on other systems
    ///
    /// # Examples
    ///
    /// See [`Child`].
    pub fn wait_timeout(&mut self, timeout: Duration) -> io::Result<Option<ExitStatus>> {
        dying::reap();
        drop(self.stdin.take());
        platform::wait_for_exit(self.process.get_mut(), Wait::at_most(timeout))
    }

    /// Returns the exit status if the process has ended, and `None` if not. Does not block, and
    /// does not close the standard input of the process.
    ///
    /// # Errors
    ///
    /// Fails with the errors of [`wait`](Child::wait).
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        dying::reap();
        self.process.get_mut().try_wait()
    }

    /// Returns std's child, without its standard streams.
    pub(crate) fn as_std(&mut self) -> &mut process::Child {
        self.process.get_mut()
    }

    /// Converts the child into a [`std::process::Child`], which is not killed on drop.
    pub fn into_std(self) -> process::Child {
        let Child { stdin, stdout, stderr, process } = self;
        let mut child = process.into_std();
        child.stdin = stdin;
        child.stdout = stdout;
        child.stderr = stderr;
        child
    }
}

impl From<process::Child> for Child {
    fn from(mut child: process::Child) -> Child {
        Child {
            stdin: child.stdin.take(),
            stdout: child.stdout.take(),
            stderr: child.stderr.take(),
            process: Process { child: Some(child), is_killed_on_drop: false },
        }
    }
}

/// The process, without its standard streams.
#[derive(Debug)]
struct Process {
    child: Option<process::Child>,
    is_killed_on_drop: bool,
}

const IT_IS_THERE: &str = "the child is there until it is taken, which takes the whole";

impl Process {
    fn get(&self) -> &process::Child {
        self.child.as_ref().expect(IT_IS_THERE)
    }

    fn get_mut(&mut self) -> &mut process::Child {
        self.child.as_mut().expect(IT_IS_THERE)
    }

    /// Kills the process, unless it has ended. If it was reaped elsewhere, its id may belong to
    /// another process. To a forked child with a copy of this value, the process is not a child,
    /// and looks like a reaped one.
    fn kill(&mut self) -> io::Result<()> {
        let child = self.get_mut();
        match child.try_wait() {
            Ok(None) => child.kill(),
            Ok(Some(_)) => Ok(()),
            Err(error) if platform::is_status_lost(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn into_std(mut self) -> process::Child {
        self.child.take().expect(IT_IS_THERE)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.is_killed_on_drop || self.child.is_none() {
            return;
        }
        dying::reap();
        // A process that this one is not permitted to kill could run for ever.
        if self.kill().is_err() {
            return;
        }
        let Some(mut child) = self.child.take() else { return };
        if let Ok(None) = platform::wait_for_exit(&mut child, Wait::at_most(DEATH)) {
            dying::add(child);
        }
    }
}
