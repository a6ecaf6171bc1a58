//! What all integration tests share: a watchdog for every test, real child processes, and the
//! list of open handles.
//!
//! A child process is this test binary again, told to run one test function. That function is
//! an ordinary `#[test]` whose body is [`child_main`], which does nothing unless the process is
//! such a child:
//!
//! ```ignore
//! #[test]
//! fn echo_child() {
//!     harness::child_main(|arguments| echo(&arguments[0]));
//! }
//!
//! #[test]
//! fn echo_comes_back() {
//!     let _watchdog = harness::watchdog();
//!     let child = harness::child(harness::path_of(echo_child), &[&name]);
//!     // …
//!     child.completed();
//! }
//! ```
//!
//! Tests in one binary run in parallel threads of one process; what looks at the whole process
//! (its handles, its limits, its signals) belongs into a process of its own: [`alone`].

#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]

#[cfg(all(target_os = "linux", not(feature = "force-inprocess")))]
pub mod faults;
#[cfg(all(target_os = "linux", not(feature = "force-inprocess")))]
pub mod fork;
#[cfg(all(target_os = "linux", not(feature = "force-inprocess")))]
pub mod raw;
#[cfg(all(target_os = "linux", not(feature = "force-inprocess")))]
pub mod ring;
#[cfg(all(target_os = "linux", not(feature = "force-inprocess")))]
pub mod sandbox;
#[cfg(target_os = "linux")]
pub mod stuck;
#[cfg(all(target_os = "linux", not(feature = "force-inprocess")))]
pub mod table;
#[cfg(all(target_os = "linux", not(feature = "force-inprocess")))]
pub mod ways;

use std::any::type_name;
use std::env;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::path::Path;
use std::process::{self, Command, ExitStatus, Stdio};
#[cfg(target_os = "linux")]
use std::sync::Once;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread;
use std::time::Duration;

/// How long any test may take: generous, for slow and busy machines, and for Windows' waits
/// where another system emulates them.
const PATIENCE: Duration = Duration::from_secs(if cfg!(windows) { 300 } else { 120 });

/// Names the function that a child process runs.
const CHILD: &str = "STRAIT_TEST_CHILD";

/// The arguments of a child process, separated by [`SEPARATOR`].
const ARGUMENTS: &str = "STRAIT_TEST_ARGUMENTS";

const SEPARATOR: char = '\u{1f}';

/// The exit status of a child whose function returned. Not 0, with which libtest exits when no
/// test has the given name.
pub(crate) const COMPLETED: i32 = 90;

/// Ends the process unless it is dropped in time: a hang becomes a failure that names the test.
#[must_use = "it watches only until it is dropped"]
pub(crate) struct Watchdog {
    _alive: Sender<()>,
}

/// Starts a watchdog with the default timeout.
#[track_caller]
pub(crate) fn watchdog() -> Watchdog {
    watchdog_for(PATIENCE)
}

/// Locked for reading while no child process may be started, and for writing while one is.
static STARTING: RwLock<()> = RwLock::new(());

/// As [`watchdog`], of a test that expects at once what follows from a drop. Until its `exec`,
/// a child process of another test has copies of all descriptors, so none is started meanwhile.
/// The test must not start any itself.
#[track_caller]
pub(crate) fn watchdog_without_children() -> (Watchdog, RwLockReadGuard<'static, ()>) {
    (watchdog(), STARTING.read().unwrap_or_else(PoisonError::into_inner))
}

/// While it exists, no test runs that must not see copies of its file descriptors. [`start`]
/// has it; other ways to start a child process need it in binaries that have such tests.
pub(crate) fn starting() -> RwLockWriteGuard<'static, ()> {
    STARTING.write().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a watchdog with the timeout `patience`.
#[track_caller]
pub(crate) fn watchdog_for(patience: Duration) -> Watchdog {
    // Tests beside this one need descriptors, too.
    #[cfg(target_os = "linux")]
    RAISED.call_once(raise_descriptor_limit);
    let place = Location::caller();
    let test = thread::current().name().unwrap_or("a test").to_string();
    let (alive, is_over) = mpsc::channel::<()>();
    thread::spawn(move || {
        if is_over.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
            eprintln!("{test} ({place}) still runs after {patience:?}");
            process::abort();
        }
    });
    Watchdog { _alive: alive }
}

/// A child process; killed and reaped when dropped.
#[derive(Debug)]
pub(crate) struct Child {
    process: process::Child,
    function: String,
}

/// The full path of a test in this binary, by which [`child`] and [`alone`] find it.
pub(crate) fn path_of<F: Fn()>(_test: F) -> &'static str {
    let path = type_name::<F>();
    path.split_once("::").expect("a function is in a crate").1
}

/// Starts a child process that runs `function`, the full path of a test in this binary, which
/// calls [`child_main`].
pub(crate) fn child(function: &str, arguments: &[&str]) -> Child {
    start(function, &mut command(function, arguments))
}

/// As [`child`], with the child's standard input and output as pipes: `stdin` and `stdout`
/// of the [`Child`]. On its output, libtest's own lines come before the first that
/// `function` writes.
pub(crate) fn child_with_pipes(function: &str, arguments: &[&str]) -> Child {
    start(function, command(function, arguments).stdin(Stdio::piped()).stdout(Stdio::piped()))
}

/// The command that [`child`] starts, to be changed (limits, environment, descriptors) before
/// [`start`].
pub(crate) fn command(function: &str, arguments: &[&str]) -> Command {
    let this_binary = env::current_exe().expect("a running binary has a path");
    command_of(&this_binary, function, arguments)
}

/// The same with another build of this binary, whose path that is.
pub(crate) fn command_of(program: &Path, function: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command
        .args([function, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, function)
        .env(ARGUMENTS, arguments.join(&SEPARATOR.to_string()))
        .stdin(Stdio::null())
        // It would mix libtest's lines into ours; messages of a failed test go to
        // standard error.
        .stdout(Stdio::null());
    command
}

/// Starts what [`command`] made.
pub(crate) fn start(function: &str, command: &mut Command) -> Child {
    let process = {
        let _starting = starting();
        command.spawn().expect("a child process starts")
    };
    Child { process, function: function.to_string() }
}

impl Child {
    /// Waits until it has run its function to the end.
    #[track_caller]
    pub(crate) fn completed(mut self) {
        let status = self.process.wait().expect("a child can be waited for");
        assert_eq!(
            status.code(),
            Some(COMPLETED),
            "{} did not run to its end: {status}",
            self.function
        );
    }

    /// Kills it (SIGKILL on Unix) and reaps it.
    pub(crate) fn killed(mut self) -> ExitStatus {
        // It may have ended by itself.
        let _ = self.process.kill();
        self.process.wait().expect("a child can be waited for")
    }
}

impl Deref for Child {
    type Target = process::Child;

    fn deref(&self) -> &process::Child {
        &self.process
    }
}

impl DerefMut for Child {
    fn deref_mut(&mut self) -> &mut process::Child {
        &mut self.process
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The body of a test that is the main function of a child process: runs `body` if this process
/// is that child, and then ends the process.
#[track_caller]
pub(crate) fn child_main(body: impl FnOnce(Vec<String>)) {
    child_main_for(PATIENCE, body);
}

/// As [`child_main`], of a child that may take `patience`.
#[track_caller]
pub(crate) fn child_main_for(patience: Duration, body: impl FnOnce(Vec<String>)) {
    if env::var_os(CHILD).is_none() {
        return;
    }
    let _watchdog = watchdog_for(patience);
    let arguments = env::var(ARGUMENTS).unwrap_or_default();
    let arguments = match arguments.as_str() {
        "" => Vec::new(),
        some => some.split(SEPARATOR).map(String::from).collect(),
    };
    body(arguments);
    process::exit(COMPLETED);
}

/// Runs `body` in a process of its own, with no other test in it. `function` is the full path
/// of the test that calls this.
#[track_caller]
pub(crate) fn alone(function: &str, body: impl FnOnce()) {
    alone_for(PATIENCE, function, body);
}

/// As [`alone`], of a test that may take `patience`.
#[track_caller]
pub(crate) fn alone_for(patience: Duration, function: &str, body: impl FnOnce()) {
    if env::var_os(CHILD).is_some() {
        child_main_for(patience, |_| body());
    } else {
        let _watchdog = watchdog_for(patience);
        child(function, &[]).completed();
    }
}

/// Whether this process is a child made here.
pub(crate) fn is_child() -> bool {
    env::var_os(CHILD).is_some()
}

/// Whether [`watchdog_for`] has raised the limit of this process. Only once: tests lower it.
#[cfg(target_os = "linux")]
static RAISED: Once = Once::new();

/// Raises the limit on descriptors as far as this process may.
#[cfg(target_os = "linux")]
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};

    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // If it may not be raised it stays as it is.
    let _ = setrlimit(Resource::Nofile, limit);
}

/// How many more handles this process may have, after raising its limit as far as it may. The
/// limit is the whole process's: see [`alone`].
pub(crate) fn room_for_handles() -> usize {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Resource, getrlimit};

        raise_descriptor_limit();
        if let Some(limit) = getrlimit(Resource::Nofile).current {
            return (limit as usize).saturating_sub(handles().len());
        }
    }
    usize::MAX
}

/// How many descriptors may be in messages that were sent and not received, all processes of
/// this user taken together.
#[cfg(target_os = "linux")]
pub(crate) fn room_for_handles_in_flight() -> usize {
    use rustix::process::{Resource, getrlimit};

    /// `CAP_SYS_ADMIN` and `CAP_SYS_RESOURCE`: processes that have either are exempt.
    const EXEMPT: u64 = 1 << 21 | 1 << 24;

    let status = std::fs::read_to_string("/proc/self/status").expect("/proc is mounted");
    let capabilities = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let capabilities = capabilities.expect("capabilities").trim();
    let is_exempt = u64::from_str_radix(capabilities, 16).expect("hexadecimal") & EXEMPT != 0;
    // Not those of a user namespace.
    let namespace = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    if is_exempt && namespace.split_whitespace().eq(["0", "0", "4294967295"]) {
        return usize::MAX;
    }
    getrlimit(Resource::Nofile).current.map_or(usize::MAX, |limit| limit as usize)
}

/// An open descriptor of this process.
#[cfg(target_os = "linux")]
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct OpenHandle {
    /// Its number.
    pub(crate) number: i32,
    /// What it is, as the kernel says: `socket:[1234]`, `/memfd:strait (deleted)`, a path.
    pub(crate) what: String,
    /// Whether it has `FD_CLOEXEC`.
    pub(crate) closes_on_exec: bool,
}

/// All open descriptors of this process, in order. Only meaningful where no other test runs:
/// see [`alone`].
#[cfg(target_os = "linux")]
pub(crate) fn handles() -> Vec<OpenHandle> {
    use std::fs;

    /// `O_CLOEXEC`, as it is shown in /proc/self/fdinfo.
    const CLOSE_ON_EXEC: u32 = 0o2_000_000;

    // A process that receives keeps one descriptor in reserve. With this, it has it whenever
    // handles are counted.
    drop(strait::ipc::bytes_channel());
    let numbers: Vec<i32> = fs::read_dir("/proc/self/fd")
        .expect("/proc is mounted")
        .map(|entry| entry.expect("/proc/self/fd can be read").file_name())
        .map(|name| name.to_str().expect("a number").parse().expect("a number"))
        .collect();
    let mut handles: Vec<OpenHandle> = numbers
        .into_iter()
        // The descriptor of the listing itself is closed by now.
        .filter_map(|number| {
            let what = fs::read_link(format!("/proc/self/fd/{number}")).ok()?;
            let info = fs::read_to_string(format!("/proc/self/fdinfo/{number}")).ok()?;
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?;
            let flags = u32::from_str_radix(flags.trim(), 8).expect("octal flags");
            Some(OpenHandle {
                number,
                what: what.to_string_lossy().into_owned(),
                closes_on_exec: flags & CLOSE_ON_EXEC != 0,
            })
        })
        .collect();
    handles.sort();
    handles
}

/// Those that were not open when `before` was listed.
#[cfg(target_os = "linux")]
pub(crate) fn handles_besides(before: &[OpenHandle]) -> Vec<OpenHandle> {
    let now = handles();
    let mut new: Vec<OpenHandle> =
        now.iter().filter(|handle| !before.contains(handle)).cloned().collect();
    // The descriptor in reserve was used and replaced, under another number.
    let is_eventfd = |handle: &OpenHandle| handle.what == "anon_inode:[eventfd]";
    if before.iter().any(|handle| is_eventfd(handle) && !now.contains(handle)) {
        if let Some(index) = new.iter().position(is_eventfd) {
            new.remove(index);
        }
    }
    new
}

/// A thread that [`interrupt`](InterruptedThread::interrupt) interrupts.
#[cfg(target_os = "linux")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct InterruptedThread(libc::pthread_t);

/// The current thread, prepared for interruptions: a handler that does nothing, without
/// `SA_RESTART`, for a signal that nothing else uses. It is the whole process's: see [`alone`].
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
pub(crate) fn interrupted_thread() -> InterruptedThread {
    extern "C" fn nothing(_signal: libc::c_int) {}

    let handler: extern "C" fn(libc::c_int) = nothing;
    // SAFETY: all zeroes are a valid `sigaction`: no flags, an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as libc::sighandler_t;
    // SAFETY: `action` is initialised, and its handler may run at any time, as it does nothing.
    let result = unsafe { libc::sigaction(libc::SIGUSR2, &raw const action, std::ptr::null_mut()) };
    assert_eq!(result, 0);
    // SAFETY: it has no preconditions.
    InterruptedThread(unsafe { libc::pthread_self() })
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
impl InterruptedThread {
    /// Makes the system call that the thread is in return `EINTR`. The thread must not have ended.
    pub(crate) fn interrupt(self) {
        // SAFETY: the caller keeps the thread alive, so its id is valid.
        let result = unsafe { libc::pthread_kill(self.0, libc::SIGUSR2) };
        assert_eq!(result, 0);
    }
}
