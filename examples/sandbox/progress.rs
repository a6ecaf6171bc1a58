//! The progress display: a line that is updated if standard error is a terminal, and permanent
//! lines.

use std::fmt;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{
    BinaryBytes, HumanCount, HumanDuration, ProgressBar, ProgressState, ProgressStyle,
};

use crate::estimate::{Amount, Estimate};

/// The interval at which the line is drawn. A separate thread draws it, so that it is updated while
/// this one is busy.
const REFRESH: Duration = Duration::from_millis(100);

/// The number of words from which an activity of this process takes long enough to be shown.
const MANY_WORDS: usize = 100_000;

/// The line that is updated. It is hidden if there is no terminal.
#[derive(Debug)]
pub(crate) struct Progress {
    line: ProgressBar,
    state: Arc<Mutex<State>>,
}

/// What the line shows beside its bar.
#[derive(Debug)]
struct State {
    estimate: Estimate,
    /// The current activity of this process, if it takes long.
    activity: Option<String>,
}

impl Progress {
    /// Begins with the search for files.
    pub(crate) fn new() -> Progress {
        let line = ProgressBar::new_spinner();
        line.enable_steady_tick(REFRESH);
        let state = State { estimate: Estimate::new(Amount::default(), 1), activity: None };
        Progress { line, state: Arc::new(Mutex::new(state)) }
    }

    /// Shows how many files were found so far.
    pub(crate) fn found(&self, files: usize) {
        // The number changes faster than a user can read it.
        if files % 100 == 1 {
            self.line.set_message(format!("{} files found", HumanCount(files as u64)));
        }
    }

    /// Begins with counting.
    pub(crate) fn count(&self, total: Amount, workers: usize) {
        self.state().estimate = Estimate::new(total, workers);
        let state = Arc::clone(&self.state);
        let describe = move |_: &ProgressState, out: &mut dyn fmt::Write| {
            let state = state.lock().unwrap_or_else(PoisonError::into_inner);
            // It writes to a string, which cannot fail.
            let _ = state.describe(out);
        };
        if let Ok(style) = ProgressStyle::with_template("{wide_bar} {state}") {
            self.line.set_style(style.with_key("state", describe));
        }
        self.line.reset();
        self.line.set_length(total.bytes);
    }

    /// A worker begins a file of `len` bytes.
    pub(crate) fn begin(&self, job: u64, len: u64) {
        self.state().estimate.begin(job, len, Instant::now());
    }

    /// The worker has read this many bytes of its file so far.
    pub(crate) fn read(&self, job: u64, bytes: u64) {
        self.state().estimate.read(job, bytes);
        self.draw();
    }

    /// The worker has failed.
    pub(crate) fn fail(&self, job: u64) {
        self.state().estimate.fail(job);
        self.draw();
    }

    /// The worker has read `bytes` of the file, and the file is finished. It was `expected` bytes
    /// long when it was found.
    pub(crate) fn finish(&self, job: u64, expected: u64, bytes: u64) {
        self.state().estimate.finish(job, expected, bytes, Instant::now());
        self.draw();
    }

    /// A file that was `expected` bytes long when it was found is finished, and not counted.
    pub(crate) fn leave_out(&self, expected: u64) {
        self.state().estimate.leave_out(expected);
        self.draw();
    }

    /// Does `work` on this number of words, and shows the activity meanwhile.
    pub(crate) fn during<R>(&self, activity: &str, words: usize, work: impl FnOnce() -> R) -> R {
        let activity = format!("{activity} {} words", HumanCount(words as u64));
        self.state().activity = (words >= MANY_WORDS).then_some(activity);
        let result = work();
        self.state().activity = None;
        result
    }

    /// Writes a permanent line.
    pub(crate) fn say(&self, text: &str) {
        // File names can have any content; a terminal must not obey them.
        let text = text.replace(char::is_control, "\u{fffd}");
        self.line.suspend(|| {
            // If standard error is closed, nothing can be reported.
            let _ = writeln!(io::stderr(), "{text}");
        });
    }

    /// Reports that a file is not counted.
    pub(crate) fn skipped(&self, path: &Path, reason: &dyn fmt::Display) {
        self.say(&format!("skipped: {}: {reason}", path.display()));
    }

    /// Removes the line that is updated.
    pub(crate) fn clear(&self) {
        self.line.finish_and_clear();
    }

    fn draw(&self) {
        let (done, total) = {
            let state = self.state();
            (state.estimate.done(), state.estimate.total())
        };
        self.line.set_length(total.bytes);
        self.line.set_position(done.bytes);
    }

    /// Locks the state. It must not be locked while the line is drawn.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn describe(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let (done, total) = (self.estimate.done(), self.estimate.total());
        write!(out, "{} of {} files, ", HumanCount(done.files), HumanCount(total.files))?;
        write!(out, "{} of {}", BinaryBytes(done.bytes), BinaryBytes(total.bytes))?;
        if let Some(activity) = &self.activity {
            return write!(out, ", {activity}");
        }
        match self.estimate.time_left(Instant::now()) {
            Some(left) if done != total => write!(out, ", about {} left", HumanDuration(left)),
            _ => Ok(()),
        }
    }
}
