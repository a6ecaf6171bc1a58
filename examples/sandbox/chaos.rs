//! Decides which workers die, and when. What they count must not depend on it.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// No job is hit more often, or a large one would never be done.
const MAX_KILLS_PER_JOB: u32 = 3;

/// The first jobs are hit often, the others rarely: starting a worker takes longer than counting most files.
const JOBS_HIT_OFTEN: u64 = 64;

/// A source of misfortune.
#[derive(Debug)]
pub(crate) struct Chaos {
    random: u64,
    jobs: u64,
}

impl Chaos {
    /// No two are alike.
    pub(crate) fn new() -> Chaos {
        Chaos { random: RandomState::new().hash_one("chaos") | 1, jobs: 0 }
    }

    /// How long the worker lives that gets a job now, if it is to die. Workers died of this job `kills` times before.
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
        // From a microsecond to 16 ms, every order of magnitude as likely as any other, so that files of all sizes are
        // hit in all states: before the worker has the job, while it counts, while it answers, after it did.
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
