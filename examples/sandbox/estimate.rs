//! How much is done, and how long the rest will take.
//!
//! The estimate takes three things into account. A file takes time even if it is empty: thousands
//! of small files take far longer than their bytes suggest. A file is counted by one worker: if a
//! long one is left, idle workers do not help. And a file may have to be counted again: then the
//! bytes that were read of it are not done.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Files and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

impl Amount {
    /// Returns the amount of the files that were found.
    pub(crate) fn of(files: &[(PathBuf, u64)]) -> Amount {
        let bytes = files.iter().fold(0, |sum: u64, (_, len)| sum.saturating_add(*len));
        Amount { files: files.len() as u64, bytes }
    }
}

/// The state of the work.
#[derive(Debug)]
pub(crate) struct Estimate {
    total: Amount,
    /// The files that are finished.
    done: Amount,
    workers: usize,
    /// The files that workers have begun, by the number of the job.
    begun: HashMap<u64, Begun>,
    speed: Speed,
}

#[derive(Debug)]
struct Begun {
    since: Instant,
    len: u64,
    read: u64,
}

impl Estimate {
    /// Begins with nothing done and all of `total` left, for this number of workers.
    pub(crate) fn new(total: Amount, workers: usize) -> Estimate {
        let (done, begun, speed) = (Amount::default(), HashMap::new(), Speed::new());
        Estimate { total, done, workers: workers.max(1), begun, speed }
    }

    /// Returns the amount of all work.
    pub(crate) fn total(&self) -> Amount {
        self.total
    }

    /// Returns the amount that is done. Bytes are done once they are read, files once they are
    /// finished.
    pub(crate) fn done(&self) -> Amount {
        let read = self.begun.values().map(|begun| begun.read);
        Amount { bytes: read.fold(self.done.bytes, u64::saturating_add), ..self.done }
    }

    /// A worker begins a file of `len` bytes.
    pub(crate) fn begin(&mut self, job: u64, len: u64, now: Instant) {
        self.begun.insert(job, Begun { since: now, len, read: 0 });
    }

    /// The worker has read this many bytes of its file so far.
    pub(crate) fn read(&mut self, job: u64, bytes: u64) {
        if let Some(begun) = self.begun.get_mut(&job) {
            begun.read = bytes;
        }
    }

    /// The worker has failed: another one has to begin the file again.
    pub(crate) fn fail(&mut self, job: u64) {
        self.begun.remove(&job);
    }

    /// The worker has read `bytes` of the file, and the file is finished. It counted as `expected`
    /// bytes in the total.
    pub(crate) fn finish(&mut self, job: u64, expected: u64, bytes: u64, now: Instant) {
        if let Some(begun) = self.begun.remove(&job) {
            self.speed.learn(bytes, now.saturating_duration_since(begun.since));
        }
        self.leave_out(expected);
        self.total.bytes = self.total.bytes.saturating_add(bytes);
        self.done.bytes = self.done.bytes.saturating_add(bytes);
    }

    /// A file is finished, and its `expected` bytes are not counted.
    pub(crate) fn leave_out(&mut self, expected: u64) {
        self.done.files += 1;
        self.total.bytes = self.total.bytes.saturating_sub(expected);
    }

    /// Returns how long the rest will take if workers are as fast as they were so far, or `None` if
    /// it is too early to estimate.
    pub(crate) fn time_left(&self, now: Instant) -> Option<Duration> {
        let mut speed = self.speed.clone();
        let mut waiting = Amount {
            files: self.total.files.saturating_sub(self.done.files),
            bytes: self.total.bytes.saturating_sub(self.done.bytes),
        };
        for begun in self.begun.values() {
            waiting.files = waiting.files.saturating_sub(1);
            waiting.bytes = waiting.bytes.saturating_sub(begun.len);
            if begun.read > 0 {
                speed.learn(begun.read, now.saturating_duration_since(begun.since));
            }
        }
        let mut all = speed.seconds(waiting)?;
        let mut longest: f64 = 0.0;
        for begun in self.begun.values() {
            let left = begun.len.saturating_sub(begun.read);
            let seconds = match begun.read {
                0 => speed.seconds(Amount { files: 1, bytes: left })?,
                read => {
                    let so_far = now.saturating_duration_since(begun.since).as_secs_f64();
                    so_far / read as f64 * left as f64
                }
            };
            all += seconds;
            longest = longest.max(seconds);
        }
        Duration::try_from_secs_f64(longest.max(all / self.workers as f64)).ok()
    }
}

/// The time that a worker takes for a file and for its bytes: a straight line through the
/// measurements, by least squares.
#[derive(Clone, Debug)]
struct Speed {
    files: f64,
    bytes: f64,
    seconds: f64,
    bytes_squared: f64,
    bytes_by_seconds: f64,
}

impl Speed {
    /// The assumed time for a file, apart from its bytes, until small files are seen: these come
    /// last.
    const SECONDS_PER_FILE: f64 = 0.0002;

    /// The weight of that assumption: it counts as this many empty files.
    const FILES: f64 = 4.0;

    fn new() -> Speed {
        Speed {
            files: Speed::FILES,
            bytes: 0.0,
            seconds: Speed::FILES * Speed::SECONDS_PER_FILE,
            bytes_squared: 0.0,
            bytes_by_seconds: 0.0,
        }
    }

    fn learn(&mut self, bytes: u64, time: Duration) {
        let (bytes, seconds) = (bytes as f64, time.as_secs_f64());
        self.files += 1.0;
        self.bytes += bytes;
        self.seconds += seconds;
        self.bytes_squared += bytes * bytes;
        self.bytes_by_seconds += bytes * seconds;
    }

    /// Returns how long one worker takes for this amount.
    fn seconds(&self, amount: Amount) -> Option<f64> {
        let Speed { files, bytes, seconds, bytes_squared, bytes_by_seconds } = *self;
        if bytes == 0.0 {
            return None;
        }
        let spread = files * bytes_squared - bytes * bytes;
        let per_byte = (files * bytes_by_seconds - bytes * seconds) / spread;
        // Neither the time for a byte nor the time for a file is negative.
        let per_byte = per_byte.clamp(0.0, seconds / bytes);
        let per_file = (seconds - per_byte * bytes) / files;
        Some(per_file * amount.files as f64 + per_byte * amount.bytes as f64)
    }
}
