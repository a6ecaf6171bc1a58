//! What is shown while the workers count: a bar if standard error is a terminal, and what is worth a line.

use std::fmt;
use std::io::{self, Write};
use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar, or nothing.
#[derive(Debug)]
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Begins at zero. The bar hides itself where there is no terminal.
    pub(crate) fn new(bytes: u64) -> Progress {
        let bar = ProgressBar::new(bytes);
        let template = "{wide_bar} {bytes} of {total_bytes}  {bytes_per_sec}  {eta}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Progress(bar)
    }

    /// This many bytes are done with.
    pub(crate) fn advance(&self, bytes: u64) {
        self.0.inc(bytes);
    }

    /// Writes a line, above the bar if there is one.
    pub(crate) fn say(&self, line: &str) {
        // File names can be anything; a terminal must not obey them.
        let line = line.replace(char::is_control, "\u{fffd}");
        self.0.suspend(|| {
            // Whoever closed standard error doesn't want to know.
            let _ = writeln!(io::stderr(), "{line}");
        });
    }

    /// Says that a file is not counted.
    pub(crate) fn skipped(&self, path: &Path, reason: &dyn fmt::Display) {
        self.say(&format!("skipped: {}: {reason}", path.display()));
    }

    /// Takes the bar away.
    pub(crate) fn end(&self) {
        self.0.finish_and_clear();
    }
}
