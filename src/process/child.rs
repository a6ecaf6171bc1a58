//! Child processes, as std has them, and what it does not have.

use std::io;
use std::process::{self, ChildStderr, ChildStdin, ChildStdout, ExitStatus};
use std::time::Duration;

use super::dying;
use crate::platform::{self, Wait};

/// How long a process that was killed may take to end while a thread waits for it.
const DEATH: Duration = Duration::from_secs(2);

/// A child process.
///
/// It is [`std::process::Child`], with timeouts, and optionally killed on drop. As there, dropping
/// it neither ends the process nor waits for it, unless [`kill_on_drop`](Child::kill_on_drop) was
/// called: a child that ends later stays in the system's list of processes until this process has
/// waited for it, or ends.
///
/// # Examples
///
/// Any child can become one:
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

    /// Sets whether dropping this kills the process, and blocks until it has ended. By default it
    /// does not.
    ///
    /// It blocks for two seconds at most; usually the system ends a killed process at once. A
    /// process that takes longer, because it is in an uninterruptible system call or another
    /// process traces it, is reaped by a later call of this module. It does not wait for a process
    /// that it must not kill, since that runs as another user now. In a forked child of this
    /// process, dropping it does nothing.
    ///
    /// # Examples
    ///
    /// See [the recipe for a supervisor](crate::recipes#a-supervisor).
    pub fn kill_on_drop(&mut self, kill_on_drop: bool) -> &mut Child {
        self.process.is_killed_on_drop = kill_on_drop;
        self
    }

    /// Kills the process: `SIGKILL` on Unix. It does not wait for the end of the process.
    ///
    /// # Errors
    ///
    /// Those of the operating system. It is `Ok` if the process has ended already.
    pub fn kill(&mut self) -> io::Result<()> {
        self.process.kill()
    }

    /// Blocks until the process has ended, and returns its exit status. It closes the standard
    /// input of the process first, in case the process waits for that.
    ///
    /// # Errors
    ///
    /// Those of the operating system.
    ///
    /// # Platform
    ///
    /// On Linux, the kernel keeps no exit status for a process that ignores `SIGCHLD`, or was
    /// started with that ignored. After the child has ended, this is the error `ECHILD` ("No child
    /// processes") then, as it is after something else has waited for the child. The same goes for
    /// [`wait_timeout`](Child::wait_timeout) and [`try_wait`](Child::try_wait).
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        dying::reap();
        drop(self.stdin.take());
        self.process.get_mut().wait()
    }

    /// Blocks until the process has ended, for at most `timeout`, and returns its exit status;
    /// `None` if it has not ended. As [`wait`](Child::wait), it closes the standard input of the
    /// process first. It takes no processor time. A timeout beyond the range of the clock is no
    /// limit.
    ///
    /// # Errors
    ///
    /// As [`wait`](Child::wait).
    ///
    /// # Platform
    ///
    /// On Linux before 5.3, if a sandbox forbids `pidfd_open`, without a file descriptor to spare,
    /// and on other systems it looks at the process every 20 ms.
    ///
    /// # Examples
    ///
    /// See [`Child`].
    pub fn wait_timeout(&mut self, timeout: Duration) -> io::Result<Option<ExitStatus>> {
        dying::reap();
        drop(self.stdin.take());
        platform::wait_for_exit(self.process.get_mut(), Wait::at_most(timeout))
    }

    /// Returns the exit status if the process has ended, and `None` if not. Never blocks, and does
    /// not close the standard input of the process.
    ///
    /// # Errors
    ///
    /// As [`wait`](Child::wait).
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        dying::reap();
        self.process.get_mut().try_wait()
    }

    /// Returns the child as [`std::process::Child`], which is not killed on drop.
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

/// The process itself.
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

    /// Kills it, unless it has ended: its number may be another process's if it was reaped
    /// elsewhere. A forked child that has a copy of this has no such child, which is the same to
    /// it.
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
        // One that may not be killed could live for ever.
        if self.kill().is_err() {
            return;
        }
        let Some(mut child) = self.child.take() else { return };
        if let Ok(None) = platform::wait_for_exit(&mut child, Wait::at_most(DEATH)) {
            dying::add(child);
        }
    }
}
