//! A file on its way: waiting, or in the hands of a worker.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use crate::audit::{Audit, Violation};
use crate::protocol::Totals;

/// How many workers may fail at a file.
pub(crate) const MAX_FAULTS: u32 = 3;

/// A worker has a second more for each such stretch of its file, whatever the timeout is.
const BYTES_PER_SECOND: u64 = 1 << 20;

/// A file to be counted.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) path: PathBuf,
    /// How long it was when it was found.
    pub(crate) len: u64,
    /// How many workers have failed at it.
    pub(crate) faults: u32,
    /// How many workers chaos has killed while they worked on it.
    pub(crate) strikes: u32,
}

impl Task {
    /// A file that no worker has tried yet.
    pub(crate) fn new(path: PathBuf, len: u64) -> Task {
        Task { path, len, faults: 0, strikes: 0 }
    }
}

/// A file in the hands of a worker, which works on it or will.
#[derive(Debug)]
pub(crate) struct Assignment {
    pub(crate) task: Task,
    /// How long it was when it was opened.
    pub(crate) len: u64,
    /// The id of the receiver of its answer.
    pub(crate) reply: u64,
    /// The answer so far.
    pub(crate) audit: Audit,
    /// What is wrong with the answer. Nothing more is expected then.
    pub(crate) fault: Option<Fault>,
}

impl Assignment {
    /// A file that is `len` bytes long by now, whose answer comes from the receiver `reply`.
    pub(crate) fn new(task: Task, len: u64, reply: u64) -> Assignment {
        Assignment { task, len, reply, audit: Audit::new(len), fault: None }
    }

    /// How long a worker may take for it.
    pub(crate) fn patience(&self, timeout: Duration) -> Duration {
        timeout + Duration::from_secs(self.len / BYTES_PER_SECOND)
    }
}

/// How an answer ended.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The words sent so far are all.
    Counted(Totals),
    /// The file is not text.
    Binary,
    /// The file could not be read, because of this error.
    Unreadable(i32),
}

/// Why a worker is replaced.
#[derive(Debug)]
pub(crate) enum Fault {
    /// Its answer can't be completed any more: it has ended, like this if that is known, or has dropped the sender.
    NoAnswer(Option<ExitStatus>),
    /// It has used up its time.
    Timeout,
    /// Its message was not a reply.
    Nonsense,
    /// It spoke where it has nothing to say.
    OutOfTurn,
    /// Its answer can't be true.
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
            Fault::OutOfTurn => f.write_str("it spoke out of turn"),
            Fault::Answer(violation) => violation.fmt(f),
        }
    }
}
