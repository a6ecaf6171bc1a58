//! Counts words in files with workers that are not trusted.
//!
//! Whatever parses files from strangers may be taken over by one of them. Here the parsing is counting words, and it is
//! done by processes that can do nothing else:
//!
//! - The parent walks directories and opens files, and never looks into one.
//! - It starts this program again, once per processor, as workers. A worker gives up the right to open files, to use the
//!   network and to start processes, and then gets, in one message, an *open file* and a sender for its answer.
//! - The parent believes nothing: answers are bounded and checked, a worker that dies, hangs or lies is replaced, and its
//!   file is given to another.
//!
//! `--chaos` kills workers at random; the result is the same. `--drill` lets files take them over; see `drill.rs`.
//!
//! Where to look for what: `protocol.rs` says what goes over the channels, `worker.rs` and `supervise.rs` are the two
//! sides, `launch.rs` is how they meet, `confine/` how a worker is locked up, and `audit.rs` what is believed.

mod arguments;
mod assignment;
mod audit;
mod chaos;
mod confine;
mod count;
mod drill;
mod files;
mod launch;
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

use crate::arguments::{Arguments, Settings, USAGE};
use crate::confine::Measure;
use crate::progress::Progress;
use crate::report::Outcome;
use crate::supervise::Supervisor;

fn main() -> ExitCode {
    let result = match Arguments::parse(env::args_os().skip(1)) {
        Ok(Arguments::Help) => writeln!(io::stdout(), "{USAGE}").map_err(Into::into),
        Ok(Arguments::Count { paths, settings }) => count(&paths, settings),
        Ok(Arguments::Work) => worker::run(),
        Err(mistake) => {
            complain(&format!("{mistake}\n{USAGE}"));
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn complain(what: &str) {
    // Standard error may be closed, and then nobody wants to know.
    let _ = writeln!(io::stderr(), "sandbox: {what}");
}

fn count(paths: &[PathBuf], settings: Settings) -> Result<(), Box<dyn Error>> {
    if cfg!(any(not(target_os = "linux"), feature = "force-inprocess")) {
        return Err("here channels do not leave the process, so there can be no workers".into());
    }
    let found = files::find(paths);
    let progress =
        Progress::new(found.files.iter().fold(0, |sum: u64, (_, len)| sum.saturating_add(*len)));
    for (path, error) in &found.skipped {
        progress.skipped(path, error);
    }

    let start = Instant::now();
    let supervisor = Supervisor::new(settings, &progress)?;
    tell_confinement(supervisor.measures(), &progress);
    let mut outcome = supervisor.count(found.files)?;
    let seconds = start.elapsed().as_secs_f64();
    outcome.failed += found.skipped.len() as u64;
    progress.end();

    report::write(&outcome, &mut io::stdout().lock())?;
    let Outcome { totals, replaced, struck, .. } = outcome;
    let speed = totals.bytes as f64 / 1e6 / seconds;
    progress.say(&format!("{seconds:.2} s, {speed:.1} MB/s, {} workers", settings.workers));
    if replaced > 0 {
        progress.say(&format!("{replaced} workers replaced, {struck} of them killed by chaos"));
    }
    Ok(())
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
