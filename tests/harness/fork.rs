//! Forked children of a test: for many processes in little time, or because forking is what
//! is tested.
//!
//! # Safety
//!
//! `fork`: the child runs on the one thread that forked, and no other thread of the parent
//! holds a lock that the child needs; it ends by `_exit`.

#![allow(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

/// A forked child.
#[derive(Debug)]
#[must_use]
pub(crate) struct Fork(pub(crate) Pid);

/// Runs `body` in a forked child.
#[allow(clippy::disallowed_methods, reason = "the header says what for")]
pub(crate) fn fork(body: impl FnOnce()) -> Fork {
    // SAFETY: see the header.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        // The watchdog thread exists in the parent only. SAFETY: it has no conditions; the
        // default action of the signal ends the process.
        unsafe { libc::alarm(60) };
        let outcome = catch_unwind(AssertUnwindSafe(body));
        // SAFETY: it has no conditions.
        unsafe { libc::_exit(if outcome.is_ok() { 7 } else { 1 }) };
    }
    Fork(Pid::from_raw(pid).unwrap())
}

impl Fork {
    /// Waits until it has run to its end.
    #[track_caller]
    pub(crate) fn completed(self) {
        let (_, status) = waitpid(Some(self.0), WaitOptions::empty()).unwrap().unwrap();
        assert_eq!(status.exit_status(), Some(7), "{status:?}");
    }

    /// Kills it, and reaps it.
    pub(crate) fn killed(self) {
        kill_process(self.0, Signal::KILL).unwrap();
        waitpid(Some(self.0), WaitOptions::empty()).unwrap();
    }

    /// Reaps it, however it ends.
    pub(crate) fn reaped(self) {
        waitpid(Some(self.0), WaitOptions::empty()).unwrap();
    }
}
