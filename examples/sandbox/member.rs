//! A worker and the jobs that it has.

use std::collections::VecDeque;
use std::io;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use crate::assignment::Assignment;
use crate::launch::Worker;

/// The maximum number of jobs of a worker: one that it works on, and one more, so that it need not
/// wait for the parent between them.
pub(crate) const MAX_JOBS: usize = 2;

/// The maximum number of bytes in the files of a worker that has several. With a long file the wait
/// does not matter, and a file assigned behind it would be late.
const MAX_BYTES_OF_SEVERAL: u64 = 1 << 20;

/// The time that the channels of a worker may take to disconnect after it has ended or was killed.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// The time that a worker may keep running after it has dropped the sender of an answer. It is
/// probably crashing, and the channel was disconnected a moment before the process ended.
const LAST_MOMENT: Duration = Duration::from_secs(1);

/// A worker, with its jobs and its state.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) worker: Worker,
    /// The id of the receiver that is disconnected when the worker has ended.
    pub(crate) lifeline: u64,
    /// The oldest first. The worker works on the oldest, or has sent its answer.
    pub(crate) jobs: VecDeque<Assignment>,
    /// The deadline of the oldest job.
    pub(crate) deadline: Instant,
    /// The time at which chaos kills the worker.
    pub(crate) strike: Option<Instant>,
    /// Chaos has killed the worker.
    pub(crate) is_struck: bool,
    /// The worker was killed, by chaos or because it failed.
    pub(crate) is_killed: bool,
    /// The process has ended.
    pub(crate) is_dead: bool,
    /// If set, the worker gets no more jobs. Messages that it sent before are still received until
    /// its channels are disconnected, but not after this time.
    pub(crate) ending: Option<Instant>,
}

impl Member {
    /// Creates a worker without jobs.
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

    /// Returns whether a file of this length may be the worker's `nth` job, counted from zero.
    pub(crate) fn takes(&self, nth: usize, len: u64) -> bool {
        let bytes = self.jobs.iter().fold(len, |sum, job| sum.saturating_add(job.len));
        self.ending.is_none()
            && self.jobs.len() == nth
            && (nth == 0 || bytes <= MAX_BYTES_OF_SEVERAL)
    }

    /// Returns the job of which this receiver receives the answer.
    pub(crate) fn job(&mut self, reply: u64) -> Option<&mut Assignment> {
        self.jobs.iter_mut().find(|job| job.reply == reply)
    }

    /// Returns the time at which the parent has to act even if the worker sends nothing.
    pub(crate) fn next_moment(&self) -> Option<Instant> {
        if self.jobs.is_empty() {
            return None;
        }
        let due = self.strike.map_or(self.deadline, |strike| strike.min(self.deadline));
        Some(self.ending.unwrap_or(due))
    }

    /// Kills the worker. The parent notices its end as if it had ended by itself: its channels are
    /// disconnected.
    pub(crate) fn kill(&mut self) -> io::Result<()> {
        self.is_killed = true;
        self.ending.get_or_insert_with(|| Instant::now() + LAST_WORDS);
        self.worker.kill()
    }

    /// Records that the process has ended.
    pub(crate) fn has_ended(&mut self) {
        self.is_dead = true;
        self.ending = Some(Instant::now() + LAST_WORDS);
    }

    /// Records that the worker has dropped a sender: the process ends soon, or is killed.
    pub(crate) fn should_end(&mut self) {
        self.ending.get_or_insert_with(|| Instant::now() + LAST_MOMENT);
    }

    /// Returns whether no more messages can arrive from the worker.
    pub(crate) fn is_over(&self) -> bool {
        (self.is_dead || self.is_killed) && self.jobs.iter().all(|job| job.fault.is_some())
    }

    /// Returns the status with which the worker has ended, if it has ended by itself.
    pub(crate) fn own_end(&mut self) -> Option<ExitStatus> {
        if self.is_killed || !self.is_dead {
            return None;
        }
        self.worker.end_within(LAST_MOMENT).ok().flatten()
    }
}
