//! Starts a process that inherits one file descriptor, besides those that it would inherit in any
//! case.
//!
//! A closure that runs between `fork` and `exec` clears the file descriptor's `FD_CLOEXEC`. A
//! [`Command`] gets the closure once and keeps it. The closure finds the file descriptor to inherit
//! in a thread-local, of which the forked child has a copy.
//!
//! # Safety
//!
//! The closure that runs between `fork` and `exec` makes system calls and writes one number. It
//! writes into memory that both processes share and that is unmapped by the process that mapped it,
//! after the last use. The pointer in the thread-local is to a value that outlives it: it is
//! cleared before.

#![allow(unsafe_code)]

use std::cell::Cell;
use std::ffi::CString;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Child, Command};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicI32, Ordering};
use std::{env, io};

use rustix::fs::{Access, AtFlags, CWD, FileType};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::mm::{MapFlags, ProtFlags};

/// A variable that no process has: removing it from a command marks the command as having the
/// closure.
const HAS_CLOSURE: &str = "STRAIT_PARENT_CLOSURE";

/// The search path if there is no `PATH`, by glibc and by musl.
const DEFAULT_PATH: &str = "/usr/local/bin:/bin:/usr/bin";

/// `exec` checks the rights of the effective user.
#[cfg(not(target_os = "android"))]
const AS_THE_EFFECTIVE_USER: AtFlags = AtFlags::EACCESS;

/// Android's C library has no such flag. The two users of a program differ only if it is
/// privileged.
#[cfg(target_os = "android")]
const AS_THE_EFFECTIVE_USER: AtFlags = AtFlags::empty();

/// Starts a process that inherits `fd`, and has the variable with that value in its environment.
pub(super) fn spawn_with(
    command: &mut Command,
    fd: OwnedFd,
    (variable, value): (&str, &str),
) -> io::Result<Child> {
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
    command.env(variable, value);
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
    command.env_remove(variable);
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
            rustix::fs::accessat(CWD, program, Access::EXEC_OK, AS_THE_EFFECTIVE_USER)
        });
        match found {
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(Errno::ACCESS) => problem = Errno::ACCESS,
            _ => return Ok(()),
        }
    }
    Err(problem)
}
