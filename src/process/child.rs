//! Child processes, as std has them, and what it does not have.

use std::io;
use std::process::{self, ChildStderr, ChildStdin, ChildStdout, ExitStatus};
use std::time::Duration;

use crate::platform::{self, Wait};

/// A child process.
///
/// It is std's [`Child`](std::process::Child), with waiting that comes to an end and, if that is wanted, with children that do not outlive
/// their owner. As with std's, dropping it neither ends the process nor waits for it, unless [`kill_on_drop`](Child::kill_on_drop) says so: a
/// child that ends later and that nobody has waited for stays in the system's list of processes until this one ends.
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
    /// The process id.
    pub fn id(&self) -> u32 {
        self.process.get().id()
    }

    /// Whether dropping this kills the process, and waits for the end of it; without this call it does not.
    ///
    /// The wait is short: the system ends a killed process as soon as it can. A process that may not be killed, because it now runs
    /// as another user, is not waited for.
    pub fn kill_on_drop(&mut self, kill_on_drop: bool) -> &mut Child {
        self.process.is_killed_on_drop = kill_on_drop;
        self
    }

    /// Makes the process end at once: `SIGKILL` on Unix. It does not wait for that.
    ///
    /// # Errors
    ///
    /// The operating system's. It is none if the process has ended already.
    pub fn kill(&mut self) -> io::Result<()> {
        self.process.get_mut().kill()
    }

    /// Waits until the process has ended. Its standard input is closed first, in case it waits for that.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        drop(self.stdin.take());
        self.process.get_mut().wait()
    }

    /// Waits until the process has ended, for at most `timeout`; `None` if it has not. As with [`wait`](Child::wait), its standard input
    /// is closed first. Waiting takes no processor time, and a timeout beyond what the clock can express is no limit.
    ///
    /// # Errors
    ///
    /// The operating system's.
    ///
    /// # Platform
    ///
    /// On Linux before 5.3, where a sandbox forbids `pidfd_open`, without a descriptor to spare, and on other systems the process is
    /// looked at every 20 ms.
    pub fn wait_timeout(&mut self, timeout: Duration) -> io::Result<Option<ExitStatus>> {
        drop(self.stdin.take());
        platform::wait_for_exit(self.process.get_mut(), Wait::at_most(timeout))
    }

    /// The exit status, if the process has ended. Its standard input stays open.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.process.get_mut().try_wait()
    }

    /// Takes std's child out, which dropping does not kill.
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

    fn into_std(mut self) -> process::Child {
        self.child.take().expect(IT_IS_THERE)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(child) = self.child.as_mut().filter(|_| self.is_killed_on_drop) {
            // Whoever may not kill it could wait for ever.
            if child.kill().is_ok() {
                let _ = child.wait();
            }
        }
    }
}
