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
