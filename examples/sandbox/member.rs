//! A worker and the jobs that it has.

use std::collections::VecDeque;
use std::io;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use crate::assignment::Assignment;
use crate::launch::Worker;

/// How many jobs a worker has at most: one that it works on, and one more, so that it need not wait for the parent in
/// between.
pub(crate) const MAX_JOBS: usize = 2;

/// How many bytes the files of a worker that has several have at most. For a long file the wait does not matter, and what
/// lies behind it would be late.
const MAX_BYTES_OF_SEVERAL: u64 = 1 << 20;

/// How long the channels of a worker that has ended, or was killed, may take to close.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// How long a worker may live on that has dropped the sender of an answer. It is probably crashing, and the channel closed
/// a moment before the process has ended.
const LAST_MOMENT: Duration = Duration::from_secs(1);

/// A worker, with what it has to do and how far it is.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) worker: Worker,
    /// The id of the receiver that closes when the worker has ended.
    pub(crate) lifeline: u64,
    /// The oldest first: it is the one that the worker works on, or the answer is on its way.
    pub(crate) jobs: VecDeque<Assignment>,
    /// When patience with the oldest job ends.
    pub(crate) deadline: Instant,
    /// When chaos will kill the worker.
    pub(crate) strike: Option<Instant>,
    /// Chaos has killed the worker.
    pub(crate) is_struck: bool,
    /// The worker was killed, by chaos or because it failed.
    pub(crate) is_killed: bool,
    /// The process has ended.
    pub(crate) is_dead: bool,
    /// The worker gets no more jobs. What it had sent before is still received, until its channels have closed, but not
    /// beyond this.
    pub(crate) ending: Option<Instant>,
}

impl Member {
    /// A worker without jobs.
    pub(crate) fn new(worker: Worker, lifeline: u64) -> Member {
        Member {
            worker,
            lifeline,
            jobs: VecDeque::new(),
            deadline: Instant::now(),
            strike: None,
            is_struck: false,
            is_killed: false,
            is_dead: false,
            ending: None,
        }
    }

    /// Whether a file of so many bytes may be the worker's `nth` job, counted from zero.
    pub(crate) fn takes(&self, nth: usize, len: u64) -> bool {
        let bytes = self.jobs.iter().fold(len, |sum, job| sum.saturating_add(job.len));
        self.ending.is_none()
            && self.jobs.len() == nth
            && (nth == 0 || bytes <= MAX_BYTES_OF_SEVERAL)
    }

    /// The job whose answer comes from this receiver.
    pub(crate) fn job(&mut self, reply: u64) -> Option<&mut Assignment> {
        self.jobs.iter_mut().find(|job| job.reply == reply)
    }

    /// When something has to be done even if the worker says nothing.
    pub(crate) fn next_moment(&self) -> Option<Instant> {
        if self.jobs.is_empty() {
            return None;
        }
        let due = self.strike.map_or(self.deadline, |strike| strike.min(self.deadline));
        Some(self.ending.unwrap_or(due))
    }

    /// Kills the worker. Its end is noticed as if it were its own: the channels close.
    pub(crate) fn kill(&mut self) -> io::Result<()> {
        self.is_killed = true;
        self.ending.get_or_insert_with(|| Instant::now() + LAST_WORDS);
        self.worker.kill()
    }

    /// The process has ended.
    pub(crate) fn has_ended(&mut self) {
        self.is_dead = true;
        self.ending = Some(Instant::now() + LAST_WORDS);
    }

    /// The worker has dropped a sender, so the process is about to end, or else will be killed.
    pub(crate) fn should_end(&mut self) {
        self.ending.get_or_insert_with(|| Instant::now() + LAST_MOMENT);
    }

    /// Whether nothing more can come from the worker.
    pub(crate) fn is_over(&self) -> bool {
        (self.is_dead || self.is_killed) && self.jobs.iter().all(|job| job.fault.is_some())
    }

    /// How the worker has ended, if it has by itself.
    pub(crate) fn own_end(&mut self) -> Option<ExitStatus> {
        if self.is_killed || !self.is_dead {
            return None;
        }
        self.worker.end_within(LAST_MOMENT).ok().flatten()
    }
}
