//! Counts words in files with workers that are not trusted.
//!
//! A program that parses untrusted files may be taken over by such a file: think of a browser's
//! renderer, a plugin host, or a service that makes thumbnails. Here the parsing is counting words.
//! It is done by worker processes that can do nothing else: this program, started again once per
//! processor.
//!
//! | | the parent | a worker |
//! |---|---|---|
//! | directories | walks them | cannot list any |
//! | files | opens them, and never reads one | reads those that it receives open, and cannot open any |
//! | network, new processes | does not use any | cannot use any, nor start threads |
//! | output | standard output and standard error | replies to the parent |
//! | memory | keeps the table of all words | has 1 GiB at most; reads a table of the parent's, and cannot write to it |
//! | when the other one ends | starts another worker | ends, too |
//!
//! On Linux the kernel enforces the right column before a worker receives its first file. Landlock
//! forbids files and network, seccomp all but some thirty system calls, and resource limits bound
//! the rest (`confine/`). What the kernel lacks is reported at the start.
//!
//! The parent does not trust the workers (`supervise.rs`, `audit.rs`). If a worker
//!
//! - **crashes**, its channels are disconnected, the parent is notified at once, and another worker
//!   gets the file;
//! - **hangs**, the parent kills it when its time is up, and another worker gets the file;
//! - sends **garbage**, or more than a reply may have, the channel or the decoder rejects it, and
//!   the parent does the same;
//! - **lies** in a way that can be detected (more words than the file has room for, invalid words),
//!   the parent does the same.
//!
//! A file at which three workers failed is skipped, and the exit status reports it. A lie that
//! cannot be detected is believed. A worker that is taken over can miscount that file, and those
//! that it is given later, and nothing else. To rule out the latter, a program would start a
//! process for each file.
//!
//! `--chaos` kills workers at random; the result is the same. `--drill` lets files take them over;
//! see `drill.rs`.
//!
//! - `protocol.rs`: the messages.
//! - `worker.rs` and `supervise.rs`: the worker and the parent.
//! - `launch.rs`: how the parent starts workers.
//! - `confine/`: how a worker is confined.
//! - `audit.rs`: how the parent checks answers.

mod arguments;
mod assignment;
mod audit;
mod chaos;
mod confine;
mod count;
mod drill;
mod estimate;
mod files;
mod launch;
mod member;
mod progress;
mod protocol;
mod report;
mod supervise;
mod worker;

use std::env;
use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use crate::arguments::{Arguments, HELP, Settings, USAGE};
use crate::confine::Measure;
use crate::estimate::Amount;
use crate::progress::Progress;
use crate::report::{Outcome, Report};
use crate::supervise::Supervisor;

/// There is no result.
const FAILED: u8 = 1;

/// The arguments are wrong.
const MISUSED: u8 = 2;

/// There is a result, but something is missing from it.
const INCOMPLETE: u8 = 3;

fn main() -> ExitCode {
    let result = match Arguments::parse(env::args_os().skip(1)) {
        Ok(Arguments::Help) => print(|out| writeln!(out, "{USAGE}\n\n{HELP}")).map(|()| 0),
        Ok(Arguments::Count { paths, settings }) => count(&paths, settings),
        Ok(Arguments::Work) => worker::run().map(|()| 0),
        Err(mistake) => {
            complain(&format!("{mistake}\n{USAGE}\nfor more, try --help"));
            return ExitCode::from(MISUSED);
        }
    };
    match result {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            complain(&error.to_string());
            ExitCode::from(FAILED)
        }
    }
}

fn complain(what: &str) {
    // If standard error is closed, the error cannot be reported.
    let _ = writeln!(io::stderr(), "sandbox: {what}");
}

/// Writes to standard output. A pipe that its reader has closed is not an error.
fn print(
    write: impl FnOnce(&mut io::StdoutLock<'static>) -> io::Result<()>,
) -> Result<(), Box<dyn Error>> {
    let mut out = io::stdout().lock();
    match write(&mut out).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("the result could not be written: {error}").into())
        }
        _ => Ok(()),
    }
}

/// Counts the words, and returns the exit status.
fn count(paths: &[PathBuf], settings: Settings) -> Result<u8, Box<dyn Error>> {
    if !strait::process::is_supported() {
        return Err(
            "channels do not leave the process on this platform, so there can be no workers".into(),
        );
    }
    let start = Instant::now();
    let progress = Progress::new();
    let found = files::find(paths, settings.all, |files| progress.found(files));
    for (path, error) in &found.skipped {
        progress.skipped(path, error);
    }

    let supervisor = Supervisor::new(settings, &progress)?;
    tell_confinement(supervisor.measures(), &progress);
    progress.count(Amount::of(&found.files), settings.workers);
    let mut outcome = supervisor.count(found.files)?;
    outcome.failed += found.skipped.len() as u64;
    let words = outcome.table.len();
    let report = progress.during("sorting", words, || Report::new(&outcome));
    progress.clear();

    print(|out| write!(out, "{report}"))?;
    let seconds = start.elapsed().as_secs_f64();
    let Outcome { totals, replaced, struck, failed, .. } = outcome;
    let speed = totals.bytes as f64 / 1e6 / seconds;
    progress.say(&format!("{seconds:.2} s, {speed:.1} MB/s, {} workers", settings.workers));
    if replaced > 0 {
        progress.say(&format!("{replaced} workers replaced, {struck} of them killed by chaos"));
    }
    let left_out = found.left_out.to_string();
    if !left_out.is_empty() {
        progress.say(&format!("left out: {left_out}"));
    }
    if failed > 0 {
        progress.say(&format!("incomplete: files and directories skipped: {failed}"));
        return Ok(INCOMPLETE);
    }
    Ok(0)
}

fn tell_confinement(measures: &[Measure], progress: &Progress) {
    for Measure { name, outcome } in measures {
        match outcome {
            Ok(detail) => progress.say(&format!("workers: {name}: {detail}")),
            Err(reason) => progress.say(&format!("workers: no {name}: {reason}")),
        }
    }
    if !confine::is_locked_up(measures) {
        progress.say("warning: a worker that is taken over can open files like this process");
    }
}
