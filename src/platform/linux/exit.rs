//! Waits until a child process has ended, by a pidfd, which becomes readable then.

use std::io;
use std::os::fd::AsFd;
use std::process::{Child, ExitStatus};

use rustix::event::PollFlags;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::platform::unix::poll::poll;
use crate::platform::{Wait, poll_for_exit};

/// Blocks until the child has ended, as `wait` says. Returns `None` if it has not ended in time.
pub fn wait_for_exit(child: &mut Child, wait: Wait) -> io::Result<Option<ExitStatus>> {
    if let Some(status) = child.try_wait()? {
        return Ok(Some(status));
    }
    if wait.is_over() {
        return Ok(None);
    }
    // The child was not reaped, so no other process has its id. Linux has this since 5.3; sandboxes
    // may forbid it, and there may be no file descriptor left.
    let process = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let process = process.and_then(|id| pidfd_open(id, PidfdFlags::empty()).ok());
    if let Some(process) = process {
        if wait == Wait::Forever {
            return child.wait().map(Some);
        }
        if poll(process.as_fd(), PollFlags::IN, wait)?.is_empty() {
            return Ok(None);
        }
    }
    // If another process traces the child, its file descriptor becomes readable before this process
    // can reap it.
    poll_for_exit(child, wait)
}
