//! The same work on strait and on its peers, measured in one run: first a table of ratios, then one of times.
//!
//! The peers are ipc-channel, interprocess and iceoryx2 between two processes, and std's channel between two
//! threads. Below them are two floors: a ring between two processes that promises nothing, and `memcpy`. A ratio says how
//! many times faster strait is (more than 1) or slower (less). Figures are medians per message, with the middle half of
//! the samples as spread. An empty cell is work that this contender cannot do.
//!
//! ```text
//! cargo run --release [-- [--smoke] [--rows TEXT] [--samples COUNT] [--pinned]]
//! ```

mod contender;
mod contenders;
mod far;
mod measure;
mod processor;
mod row;
mod table;
mod watchdog;
mod work;

use std::env;
use std::process::ExitCode;
use std::time::Duration;

use crate::contender::Outcome;
use crate::measure::{Plan, measure};
use crate::table::Table;
use crate::watchdog::Watchdog;

const USAGE: &str = "\
options:
  --smoke          do a few rounds of each row, to see that all of it works; the figures mean nothing
  --rows TEXT      only rows whose name contains TEXT
  --samples COUNT  samples of each contender in each row, at least 7 (default 21)
  --pinned         a processor for each side; only useful when nothing else runs";

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

    let mut plan = Plan { turns: 21, per_set_up: 3, length: Some(Duration::from_millis(25)) };
    let mut pinned = false;
    let mut rest = arguments.iter();
    while let Some(option) = rest.next() {
        match option.as_str() {
            "--smoke" => plan = Plan { turns: 2, per_set_up: 2, length: None },
            "--rows" => {
                let text = rest.next().ok_or(USAGE)?;
                rows.retain(|row| row.name.contains(text));
            }
            "--samples" => {
                let count = rest.next().and_then(|count| count.parse().ok()).ok_or(USAGE)?;
                plan.turns = usize::max(count, 7);
            }
            "--pinned" => pinned = true,
            _ => return Err(USAGE.into()),
        }
    }

    let mut contenders: Vec<&'static str> = Vec::new();
    for entry in rows.iter().flat_map(|row| &row.entries) {
        if !contenders.contains(&entry.contender) {
            contenders.push(entry.contender);
        }
    }
    // Far more than the slowest stage takes: only a hang lasts as long.
    let watchdog = Watchdog::start(Duration::from_secs(120))?;
    if pinned {
        processor::split()?;
    }
    let mut table = Table::begin(rows.iter().map(|row| row.name.as_str()), &contenders);
    for row in &rows {
        table.row(&row.name, measure(row, &plan, &watchdog)?);
    }
    table.times();
    Ok(())
}

/// Raises the soft limit on descriptors to the hard one. A set of a thousand members needs it, on both sides.
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
