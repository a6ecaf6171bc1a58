//! The same work on strait and on its peers, measured in one run: first a table of ratios, then
//! one of times.
//!
//! The peers are ipc-channel, interprocess and iceoryx2 between two processes, and std's
//! channel between two threads. Below them are two floors: a ring between two processes without
//! guarantees, and `memcpy`. A ratio says how many times faster strait is (more than 1) or
//! slower (less). Figures are medians per message, with the middle half of the samples as
//! spread. A dash is work that this contender cannot do; its file says why. A contender that
//! polls is marked: it answers at once, and occupies a processor. All others sleep while there
//! is nothing to do.
//!
//! The last column of the ratios is the share of the processors that other programs had
//! meanwhile. A row in which that is more than a few per cent should be measured again.
//!
//! ```text
//! cargo run --release -- [--smoke] [--rows TEXT] [--contenders TEXT] [--samples COUNT] [--pinned]
//! ```

mod contender;
mod contenders;
mod far;
mod measure;
mod options;
mod others;
mod processor;
mod row;
mod table;
mod watchdog;
mod work;

use std::env;
use std::process::ExitCode;
use std::time::Duration;

use crate::contender::Outcome;
use crate::measure::measure;
use crate::options::{Options, USAGE};
use crate::others::Clock;
use crate::table::Table;
use crate::watchdog::Watchdog;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Outcome<()> {
    allow_many_descriptors()?;
    let arguments: Vec<String> = env::args().skip(1).collect();
    let mut rows = work::rows();
    if arguments.first().is_some_and(|flag| flag == far::FLAG) {
        return far::main(&arguments[1..], &rows);
    }

    let options = Options::parse(&arguments)?;
    if options.help {
        println!("{USAGE}");
        return Ok(());
    }
    options.choose(&mut rows)?;
    let plan = options.plan();

    let mut contenders: Vec<&'static str> = Vec::new();
    for entry in rows.iter().flat_map(|row| &row.entries) {
        if !contenders.contains(&entry.contender) {
            contenders.push(entry.contender);
        }
    }
    // Far longer than the slowest stage: only a hang lasts as long.
    let watchdog = Watchdog::start(Duration::from_secs(120))?;
    if options.pinned {
        processor::split()?;
    }
    let mut table = Table::begin(rows.iter().map(|row| row.name.as_str()), &contenders);
    for row in &rows {
        let before = Clock::read();
        let all = measure(row, &plan, &watchdog)?;
        let others = before.zip(Clock::read()).map(|(before, after)| after.others_since(&before));
        table.row(&row.name, all, others);
    }
    table.times();
    Ok(())
}

/// Raises the soft limit on descriptors to the hard one. A set of a thousand members needs it,
/// on both sides.
#[cfg(unix)]
fn allow_many_descriptors() -> Outcome<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
    Ok(())
}

#[cfg(not(unix))]
fn allow_many_descriptors() -> Outcome<()> {
    Ok(())
}
