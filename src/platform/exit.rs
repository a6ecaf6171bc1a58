//! Waiting for the end of a child process where no notification of it exists.

use std::io;
use std::process::{Child, ExitStatus};
use std::thread;
use std::time::Duration;

use super::Wait;

/// The first pause. Each further pause is twice as long.
const SHORTEST_PAUSE: Duration = Duration::from_micros(100);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// `ECHILD`, which has this number on every Unix.
const NO_CHILD: i32 = 10;

/// Returns whether waiting for a child fails with this error because the child has ended and was
/// already reaped: by the kernel, if this process ignores `SIGCHLD`, or by another part of the
/// program.
pub fn is_status_lost(error: &io::Error) -> bool {
    cfg!(unix) && error.raw_os_error() == Some(NO_CHILD)
}

/// Blocks until the child has ended, as `wait` says, and checks for that between pauses. Returns
/// `None` if it has not ended in time.
pub fn poll_for_exit(child: &mut Child, wait: Wait) -> io::Result<Option<ExitStatus>> {
    let mut pause = SHORTEST_PAUSE;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        let Some(left) = wait.remaining() else {
            return child.wait().map(Some);
        };
        if left.is_zero() {
            return Ok(None);
        }
        thread::sleep(pause.min(left));
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
