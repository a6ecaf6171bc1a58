//! Decides which workers are killed, and when. The result must not depend on it.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// The maximum number of kills for a job. Without it, a large one would never be finished.
const MAX_KILLS_PER_JOB: u32 = 3;

/// The number of jobs that are hit often. Later ones are hit rarely: starting a worker takes longer
/// than counting most files.
const JOBS_HIT_OFTEN: u64 = 64;

/// A random source of kills.
#[derive(Debug)]
pub(crate) struct Chaos {
    random: u64,
    jobs: u64,
}

impl Chaos {
    /// Creates a source with a random seed.
    pub(crate) fn new() -> Chaos {
        Chaos { random: RandomState::new().hash_one("chaos") | 1, jobs: 0 }
    }

    /// Returns the time after which the worker that gets a job now is killed, or `None` if it is
    /// not killed. Workers were killed `kills` times during this job before.
    pub(crate) fn strike(&mut self, kills: u32) -> Option<Duration> {
        if kills >= MAX_KILLS_PER_JOB {
            return None;
        }
        self.jobs += 1;
        if self.jobs == 1 {
            return Some(Duration::ZERO);
        }
        let one_in = if self.jobs <= JOBS_HIT_OFTEN { 4 } else { 32 };
        if self.next() % one_in != 0 {
            return None;
        }
        // From a microsecond to 16 ms, every order of magnitude as likely as any other. So files of
        // all sizes are hit in all states: before the worker has the job, while it counts, while it
        // answers, and after it did.
        let magnitude = self.next() % 15;
        Some(Duration::from_nanos((1000 << magnitude) + self.next() % 1000))
    }

    /// Marsaglia's xorshift64.
    fn next(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}
