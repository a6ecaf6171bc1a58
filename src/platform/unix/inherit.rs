//! A receiver that a child process inherits: one file descriptor, found by an environment variable.
//!
//! The variable contains the number of the file descriptor and the identity of the socket.
//! Processes inherit variables from ancestors whose file descriptors they do not have, and a number
//! is soon used for something else. Nothing is done to a file descriptor before it is known to be
//! that socket.
//!
//! A closure that runs between `fork` and `exec` clears the file descriptor's `FD_CLOEXEC`. A
//! [`Command`] gets the closure once and keeps it. The closure finds the file descriptor to inherit
//! in a thread-local, of which the forked child has a copy.
//!
//! # Safety
//!
//! The number of a file descriptor passes through `fork`, `exec` and text, and becomes an `OwnedFd`
//! in the child. This happens once in a process, and only if it is the socket that was made for
//! that. Nothing else in the process can own that socket. The closure that runs between `fork` and
//! `exec` makes system calls and writes one number. It writes into memory that both processes share
//! and that is unmapped by the process that mapped it, after the last use. The pointer in the
//! thread-local is to a value that outlives it: it is cleared before. The environment is changed
//! only by a process that has one thread.

#![allow(unsafe_code)]

use std::cell::Cell;
use std::ffi::CString;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Child, Command};
use std::ptr::{self, NonNull};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::{env, fmt, fs, io};

use rustix::fs::{Access, AtFlags, CWD, FileType};
use rustix::io::{Errno, FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use rustix::mm::{MapFlags, ProtFlags};
use rustix::net::{AddressFamily, SocketType, sockopt};

use super::PacketReceiver;

/// The name of the variable. Its value is a [`Bequest`].
const VARIABLE: &str = "STRAIT_PARENT";

/// The lowest file descriptor that is not one of the standard streams, which a child gets by other
/// means.
const LOWEST: RawFd = 3;

/// A variable that no process has: removing it from a command marks the command as having the
/// closure.
const HAS_CLOSURE: &str = "STRAIT_PARENT_CLOSURE";

/// The search path if there is no `PATH`, by glibc and by musl.
const DEFAULT_PATH: &str = "/usr/local/bin:/bin:/usr/bin";

/// Starts a process that inherits `receiver`, and otherwise the same file descriptors that it would
/// inherit in any case.
pub fn spawn_with(command: &mut Command, receiver: PacketReceiver) -> io::Result<Child> {
    let mut fd = receiver.into_fd();
    if fd.as_raw_fd() < LOWEST {
        fd = fcntl_dupfd_cloexec(&fd, LOWEST)?;
    }
    let bequest = Bequest::of(fd.as_fd())?;
    let report = Report::new()?;
    let reaped_by_kernel = is_reaped_by_kernel();
    let mut programs = Vec::new();
    if reaped_by_kernel {
        programs = candidates(command);
        // The directory is changed before the closure runs.
        let directory = command.get_current_dir().map_or(Ok(()), |directory| {
            rustix::fs::stat(directory).and_then(|there| {
                let is_one = FileType::from_raw_mode(there.st_mode) == FileType::Directory;
                if is_one { Ok(()) } else { Err(Errno::NOTDIR) }
            })
        });
        if let Err(errno @ (Errno::NOENT | Errno::NOTDIR)) = directory {
            return Err(errno.into());
        }
    }
    let passing = Passing { fd, report: &report, programs: &programs, reaped_by_kernel };
    command.env(VARIABLE, bequest.to_string());
    let mut has_closure = command.get_envs().any(|(name, _)| name == HAS_CLOSURE);
    let spawned = loop {
        if !has_closure {
            // SAFETY: it makes system calls and writes a number: no lock, no allocation, and errors
            // are numbers.
            unsafe { command.pre_exec(pass_on) };
            command.env_remove(HAS_CLOSURE);
        }
        let spawned = passing.spawn(command);
        match spawned {
            // The mark was copied from another command, and this one has no closure.
            Ok(mut child) if report.get() == Report::NOTHING && has_closure => {
                has_closure = false;
                // Where the kernel reaps the child, there is nothing to wait for.
                let _ = child.kill().and_then(|()| child.wait());
            }
            spawned => break spawned,
        }
    };
    command.env_remove(VARIABLE);
    spawned
}

/// What the next process that this thread starts inherits.
struct Passing<'a> {
    fd: OwnedFd,
    report: &'a Report,
    /// Where the program may be; only used if the kernel reaps children.
    programs: &'a [CString],
    /// In this case, std panics if a program does not start: it must not learn of that.
    reaped_by_kernel: bool,
}

thread_local! {
    static PASSING: Cell<*const Passing<'static>> = const { Cell::new(ptr::null()) };
}

impl Passing<'_> {
    fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        /// Clears the pointer, also after a panic.
        struct Reset;

        impl Drop for Reset {
            fn drop(&mut self) {
                PASSING.set(ptr::null());
            }
        }

        let reset = Reset;
        PASSING.set(ptr::from_ref(self).cast());
        if !self.reaped_by_kernel {
            return command.spawn();
        }
        let spawned = catch_unwind(AssertUnwindSafe(|| command.spawn()));
        drop(reset);
        let child = spawned.unwrap_or_else(|_| {
            let lost =
                "the process did not start, and the reason is unknown because SIGCHLD is ignored";
            Err(io::Error::other(lost))
        })?;
        match self.report.get() {
            Report::NOTHING | Report::PASSED_ON => Ok(child),
            errno => Err(Errno::from_raw_os_error(errno).into()),
        }
    }

    /// Runs in the child, before `exec`.
    fn pass_on(&self) -> Result<(), Errno> {
        fcntl_setfd(&self.fd, FdFlags::empty())?;
        if self.reaped_by_kernel {
            can_be_executed(self.programs)?;
        }
        self.report.set(Report::PASSED_ON);
        Ok(())
    }
}

/// Runs between `fork` and `exec` in every command with a channel, also when it starts a process
/// without.
fn pass_on() -> io::Result<()> {
    let passing = PASSING.replace(ptr::null());
    // SAFETY: this is a copy of the thread that is in `Passing::spawn`, where the value is.
    let Some(passing) = (unsafe { passing.as_ref() }) else { return Ok(()) };
    let Err(errno) = passing.pass_on() else { return Ok(()) };
    if passing.reaped_by_kernel {
        passing.report.set(errno.raw_os_error());
        // SAFETY: it has no conditions.
        unsafe { libc::_exit(127) };
    }
    Err(errno.into())
}

/// A number that a forked child writes and its parent reads.
#[derive(Debug)]
struct Report(NonNull<AtomicI32>);

impl Report {
    const NOTHING: i32 = 0;
    /// No error has a negative number.
    const PASSED_ON: i32 = -1;

    fn new() -> io::Result<Report> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let len = size_of::<AtomicI32>();
        // SAFETY: a new mapping at an address of the kernel's choice touches no existing memory.
        let page = unsafe {
            rustix::mm::mmap_anonymous(ptr::null_mut(), len, protection, MapFlags::SHARED)?
        };
        NonNull::new(page.cast()).map(Report).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }

    fn word(&self) -> &AtomicI32 {
        // SAFETY: it is mapped until this is dropped, aligned as a page is, and zero is a valid
        // number.
        unsafe { self.0.as_ref() }
    }

    fn set(&self, value: i32) {
        self.word().store(value, Ordering::Release);
    }

    fn get(&self) -> i32 {
        self.word().load(Ordering::Acquire)
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        // SAFETY: it was mapped by `new`, and nothing refers to it any more.
        let _ = unsafe { rustix::mm::munmap(self.0.as_ptr().cast(), size_of::<AtomicI32>()) };
    }
}

/// Returns whether the kernel reaps the children of this process, so that their exit statuses are
/// lost.
fn is_reaped_by_kernel() -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: it changes nothing, and writes to `action`, which is large enough.
    if unsafe { libc::sigaction(libc::SIGCHLD, ptr::null(), action.as_mut_ptr()) } != 0 {
        return false;
    }
    // SAFETY: it was written.
    let action = unsafe { action.assume_init() };
    action.sa_sigaction == libc::SIG_IGN || action.sa_flags & libc::SA_NOCLDWAIT != 0
}

/// Returns the files that `exec` will try, and perhaps more: whether the command clears the
/// environment cannot be seen.
fn candidates(command: &Command) -> Vec<CString> {
    let program = command.get_program();
    if program.is_empty() {
        return Vec::new();
    }
    if program.as_bytes().contains(&b'/') {
        return CString::new(program.as_bytes()).into_iter().collect();
    }
    let set = command.get_envs().find(|(name, _)| *name == "PATH").map(|(_, value)| value);
    let paths = match set {
        Some(Some(path)) => vec![path.to_os_string()],
        Some(None) => vec![DEFAULT_PATH.into()],
        None => env::var_os("PATH").into_iter().chain([DEFAULT_PATH.into()]).collect(),
    };
    let directories = paths.iter().flat_map(|path| path.as_bytes().split(|&byte| byte == b':'));
    let in_directory = |directory: &[u8]| {
        let directory = if directory.is_empty() { b"." } else { directory };
        CString::new([directory, b"/", program.as_bytes()].concat()).ok()
    };
    directories.filter_map(in_directory).collect()
}

/// Checks that one of these files can be executed. Unknown cases are left to `exec`.
fn can_be_executed(programs: &[CString]) -> Result<(), Errno> {
    let mut problem = Errno::NOENT;
    for program in programs {
        let found = rustix::fs::statat(CWD, program, AtFlags::empty()).and_then(|there| {
            if FileType::from_raw_mode(there.st_mode) != FileType::RegularFile {
                return Err(Errno::ACCESS);
            }
            rustix::fs::accessat(CWD, program, Access::EXEC_OK, AtFlags::EACCESS)
        });
        match found {
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(Errno::ACCESS) => problem = Errno::ACCESS,
            _ => return Ok(()),
        }
    }
    Err(problem)
}

/// Takes the receiver that this process has inherited, and removes the variable from the
/// environment if that is safe.
pub fn inherited() -> io::Result<PacketReceiver> {
    /// A forked child of a process that has taken it no longer has it, either.
    static IS_TAKEN: AtomicBool = AtomicBool::new(false);

    let bequest = match find() {
        Ok(bequest) if !IS_TAKEN.swap(true, Ordering::Relaxed) => bequest,
        Err(error) if !IS_TAKEN.load(Ordering::Relaxed) => return Err(error),
        _ => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "`strait::process::parent` was already called",
            ));
        }
    };
    #[expect(clippy::disallowed_methods, reason = "it comes out of the environment")]
    // SAFETY: it is open, and the socket that `spawn_with` made for this process. It was not taken
    // before: that happens once.
    let fd = unsafe { OwnedFd::from_raw_fd(bequest.number) };
    fcntl_setfd(&fd, FdFlags::CLOEXEC)?;
    forget_variable();
    Ok(PacketReceiver::from(fd))
}

/// Returns the file descriptor that the variable names, if this process has it.
fn find() -> io::Result<Bequest> {
    let missing = |why: &str| io::Error::new(io::ErrorKind::NotFound, why);
    let value = env::var_os(VARIABLE).ok_or_else(|| {
        missing("this process was not started with a channel: STRAIT_PARENT is not set")
    })?;
    let bequest: Option<Bequest> = value.to_str().and_then(|value| value.parse().ok());
    let bequest = bequest.ok_or_else(|| missing("STRAIT_PARENT does not name a channel"))?;
    if !bequest.is_here() {
        return Err(missing(
            "this process does not have the channel that STRAIT_PARENT names: the variable was inherited from \
             an ancestor, or the program that started this process closed the channel",
        ));
    }
    Ok(bequest)
}

/// Removes the variable from the environment if no other thread can be reading it, in C, for
/// example, where there is no lock. If it stays, it does no harm: the socket that it names is this
/// process's, and is soon closed.
fn forget_variable() {
    let threads = fs::read_dir("/proc/self/task").map_or(usize::MAX, |tasks| tasks.take(2).count());
    if threads == 1 {
        // SAFETY: this is the only thread, and starts no other meanwhile.
        unsafe { env::remove_var(VARIABLE) };
    }
}

/// A file descriptor and the identity of its socket, as text: four numbers, with colons between
/// them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bequest {
    number: RawFd,
    identity: [u64; 3],
}

impl Bequest {
    fn of(fd: BorrowedFd<'_>) -> io::Result<Bequest> {
        let about = rustix::fs::fstat(fd)?;
        // An inode has its number while it lives, a cookie for ever. Where a sandbox forbids
        // cookies, parent and child have none.
        let cookie = sockopt::socket_cookie(fd).unwrap_or(0);
        #[allow(clippy::unnecessary_cast, reason = "their types vary")]
        let identity = [about.st_dev as u64, about.st_ino as u64, cookie];
        Ok(Bequest { number: fd.as_raw_fd(), identity })
    }

    /// Returns whether this process has the file descriptor, and it is that socket.
    fn is_here(self) -> bool {
        // SAFETY: it reads a flag of whatever has that number, if anything has.
        let is_open = unsafe { libc::fcntl(self.number, libc::F_GETFD) } >= 0;
        if !is_open {
            return false;
        }
        // SAFETY: it is open. If its owner closes it now, each of these calls returns a wrong
        // result or an error, and no more.
        let fd = unsafe { BorrowedFd::borrow_raw(self.number) };
        sockopt::socket_type(fd) == Ok(SocketType::SEQPACKET)
            && sockopt::socket_domain(fd) == Ok(AddressFamily::UNIX)
            && Bequest::of(fd).is_ok_and(|here| here == self)
    }
}

impl fmt::Display for Bequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [device, inode, cookie] = self.identity;
        write!(f, "{}:{device}:{inode}:{cookie}", self.number)
    }
}

/// Parses untrusted text.
impl FromStr for Bequest {
    type Err = ();

    fn from_str(text: &str) -> Result<Bequest, ()> {
        let mut parts = text.split(':');
        let mut next = || parts.next().ok_or(());
        let number: RawFd = next()?.parse().map_err(drop)?;
        let mut identity = [0; 3];
        for part in &mut identity {
            *part = next()?.parse().map_err(drop)?;
        }
        if number < LOWEST || parts.next().is_some() {
            return Err(());
        }
        Ok(Bequest { number, identity })
    }
}
