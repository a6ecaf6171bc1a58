//! Waiting for the end of a child process where nothing tells of it.

use std::io;
use std::process::{Child, ExitStatus};
use std::thread;
use std::time::Duration;

use super::Wait;

/// The first pause, which each time becomes twice as long.
const SHORTEST_PAUSE: Duration = Duration::from_micros(100);

/// No pause is longer.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// `ECHILD`, which has this number on every Unix.
const NO_CHILD: i32 = 10;

/// Whether this is what waiting for a child says that has ended and was reaped by the kernel, which does that in a process that ignores
/// `SIGCHLD`, or by another part of the program.
pub fn is_status_lost(error: &io::Error) -> bool {
    cfg!(unix) && error.raw_os_error() == Some(NO_CHILD)
}

/// Waits until the child has ended, as `wait` says, and asks for that now and then. `None` if it has not ended in time.
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
