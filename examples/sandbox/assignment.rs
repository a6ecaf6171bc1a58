//! A file on its way: waiting, or in the hands of a worker.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::audit::{Audit, Violation};
use crate::protocol::Totals;

/// How many workers a file may cost.
pub(crate) const MAX_FAULTS: u32 = 3;

/// A worker has a second more for each such stretch of its file, whatever the timeout is.
const BYTES_PER_SECOND: u64 = 1 << 20;

/// A file to be counted.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) path: PathBuf,
    /// How long it was when it was found.
    pub(crate) len: u64,
    /// How many workers it has cost.
    pub(crate) faults: u32,
    /// How many workers chaos has killed over it.
    pub(crate) strikes: u32,
}

impl Task {
    /// A file that nobody has tried yet.
    pub(crate) fn new(path: PathBuf, len: u64) -> Task {
        Task { path, len, faults: 0, strikes: 0 }
    }
}

/// A file in the hands of a worker.
#[derive(Debug)]
pub(crate) struct Assignment {
    pub(crate) task: Task,
    /// The id of the receiver of its answer.
    pub(crate) reply: u64,
    /// The answer so far.
    pub(crate) audit: Audit,
    /// When patience ends.
    pub(crate) deadline: Instant,
    /// When chaos will kill the worker.
    pub(crate) strike: Option<Instant>,
    /// Chaos has killed the worker.
    pub(crate) is_struck: bool,
}

impl Assignment {
    /// Begins now, with a file that is `len` bytes long by now.
    pub(crate) fn new(
        task: Task,
        len: u64,
        reply: u64,
        timeout: Duration,
        strike: Option<Duration>,
    ) -> Assignment {
        let now = Instant::now();
        Assignment {
            task,
            reply,
            audit: Audit::new(len),
            deadline: now + timeout + Duration::from_secs(len / BYTES_PER_SECOND),
            strike: strike.map(|delay| now + delay),
            is_struck: false,
        }
    }

    /// When something has to be done even if the worker says nothing.
    pub(crate) fn next_moment(&self) -> Instant {
        self.strike.map_or(self.deadline, |strike| strike.min(self.deadline))
    }
}

/// How an answer ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer {
    /// The words sent so far are all.
    Counted(Totals),
    /// The file is not text.
    Binary,
    /// The file could not be read, because of this error.
    Unreadable(i32),
}

/// Why a worker is replaced.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// Its answer can't be completed any more: it is dead, or has dropped the sender.
    NoAnswer,
    /// It has used up its time.
    Timeout,
    /// Its message was none.
    Nonsense,
    /// It spoke where it has nothing to say.
    OutOfTurn,
    /// Its answer can't be true.
    Answer(Violation),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::NoAnswer => f.write_str("it gave no answer"),
            Fault::Timeout => f.write_str("it took too long"),
            Fault::Nonsense => f.write_str("it sent something that is not a reply"),
            Fault::OutOfTurn => f.write_str("it spoke out of turn"),
            Fault::Answer(violation) => violation.fmt(f),
        }
    }
}
