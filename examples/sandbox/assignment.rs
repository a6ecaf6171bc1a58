//! A file that waits for a worker, or was assigned to one.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use crate::audit::{Audit, Violation};
use crate::protocol::Totals;

/// The number of workers that may fail at a file.
pub(crate) const MAX_FAULTS: u32 = 3;

/// A worker has a second more for this many bytes of its file, whatever the timeout is.
const BYTES_PER_SECOND: u64 = 1 << 20;

/// A file whose words are to be counted.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) path: PathBuf,
    /// The length when the file was found.
    pub(crate) len: u64,
    /// The number of workers that have failed at it.
    pub(crate) faults: u32,
    /// The number of workers that were killed by chaos while they worked on it.
    pub(crate) strikes: u32,
}

impl Task {
    /// Creates the task of a file that no worker has tried yet.
    pub(crate) fn new(path: PathBuf, len: u64) -> Task {
        Task { path, len, faults: 0, strikes: 0 }
    }
}

/// A file that was assigned to a worker. The worker has begun it, or will begin it later.
#[derive(Debug)]
pub(crate) struct Assignment {
    pub(crate) task: Task,
    /// The length when the file was opened.
    pub(crate) len: u64,
    /// The id of the receiver of its answer.
    pub(crate) reply: u64,
    /// The answer so far.
    pub(crate) audit: Audit,
    /// The fault of the answer, if it has one. Then no more of the answer is expected.
    pub(crate) fault: Option<Fault>,
}

impl Assignment {
    /// Assigns a file that is now `len` bytes long. The receiver `reply` receives its answer.
    pub(crate) fn new(task: Task, len: u64, reply: u64) -> Assignment {
        Assignment { task, len, reply, audit: Audit::new(len), fault: None }
    }

    /// Returns the time that a worker may take for the file.
    pub(crate) fn patience(&self, timeout: Duration) -> Duration {
        timeout + Duration::from_secs(self.len / BYTES_PER_SECOND)
    }
}

/// How an answer ended.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The words sent so far are all words.
    Counted(Totals),
    /// The file is not text.
    Binary,
    /// Reading the file failed with this error code.
    Unreadable(i32),
}

/// Why a worker is replaced.
#[derive(Debug)]
pub(crate) enum Fault {
    /// Its answer cannot be completed: it has ended, with this status if that is known, or has
    /// dropped the sender.
    NoAnswer(Option<ExitStatus>),
    /// Its time is over.
    Timeout,
    /// Its message was not a reply.
    Nonsense,
    /// It sent a message where none is expected.
    OutOfTurn,
    /// Its answer cannot be true.
    Answer(Violation),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::NoAnswer(None) => f.write_str("it gave no answer"),
            Fault::NoAnswer(Some(status)) => {
                write!(f, "it gave no answer, and ended with {status}")
            }
            Fault::Timeout => f.write_str("it took too long"),
            Fault::Nonsense => f.write_str("it sent something that is not a reply"),
            Fault::OutOfTurn => f.write_str("it sent a message out of turn"),
            Fault::Answer(violation) => violation.fmt(f),
        }
    }
}
