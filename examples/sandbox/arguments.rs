//! The command line.

use std::ffi::OsString;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::thread;
use std::time::Duration;

/// The only argument of a worker.
pub(crate) const WORKER: &str = "--worker";

/// The first line of [`HELP`], printed after a mistake.
pub(crate) const USAGE: &str = "\
usage: sandbox [PATH...] [--all] [--workers N] [--timeout SECONDS] [--chaos] [--drill]";

/// What follows [`USAGE`] for `--help`.
pub(crate) const HELP: &str = "\
Counts the words in files, and in the files below directories; without a PATH, below the current
directory. The words are counted by worker processes that are confined and not trusted.

Below a directory, hidden directories and those called `target` are left out, and so are symbolic
links and everything else that is not a regular file. What was left out is reported at the end.

  --all              take hidden directories and those called `target`, too
  --workers N        start N workers, 1 to 256; by default one per processor
  --timeout SECONDS  replace a worker that takes longer than this for a file, plus a second for each
                     MiB of it; 1 to 86400, by default 10
  --chaos            kill workers at random while they work; the result is the same
  --drill            obey files that begin with `drill: DEED`; see drill.rs
  --                 take what follows as PATHs
  -h, --help         print this

The result goes to standard output, everything else to standard error.

Exit status:
  0  every file was counted, or is not text
  1  there is no result: no worker could be started, or the result could not be written
  2  the arguments are wrong
  3  there is a result, but some files or directories are missing from it: they could not be
     opened or read, or three workers failed at them
A reader that closes standard output early, as `head` does, does not change the exit status.";

/// The parsed command line.
#[derive(Debug, PartialEq)]
pub(crate) enum Arguments {
    /// Counts words.
    Count { paths: Vec<PathBuf>, settings: Settings },
    /// Runs as a worker.
    Work,
    /// Prints the help.
    Help,
}

/// The options of counting.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Settings {
    /// Whether directories are searched that are left out by default.
    pub(crate) all: bool,
    /// The number of workers.
    pub(crate) workers: usize,
    /// The time that a worker may take for an empty file.
    pub(crate) timeout: Duration,
    /// Whether workers are killed at random.
    pub(crate) chaos: bool,
    /// Whether workers do what a file asks for.
    pub(crate) drill: bool,
}

const WORKERS: RangeInclusive<usize> = 1..=256;

const TIMEOUT: RangeInclusive<f64> = 1.0..=86400.0;

impl Arguments {
    /// Parses the arguments after the program's name. Fails with a description of the mistake.
    pub(crate) fn parse(
        arguments: impl IntoIterator<Item = OsString>,
    ) -> Result<Arguments, String> {
        let mut arguments = arguments.into_iter().peekable();
        if arguments.peek().is_some_and(|first| first == WORKER) {
            arguments.next();
            return match arguments.next() {
                None => Ok(Arguments::Work),
                Some(_) => Err(format!("{WORKER} takes no other arguments")),
            };
        }
        let mut paths = Vec::new();
        let mut settings = Settings {
            all: false,
            workers: thread::available_parallelism().map_or(1, usize::from).min(*WORKERS.end()),
            timeout: Duration::from_secs(10),
            chaos: false,
            drill: false,
        };
        while let Some(argument) = arguments.next() {
            match argument.to_str() {
                Some("--help" | "-h") => return Ok(Arguments::Help),
                Some("--all") => settings.all = true,
                Some("--chaos") => settings.chaos = true,
                Some("--drill") => settings.drill = true,
                Some("--workers") => {
                    settings.workers = number("--workers", WORKERS, arguments.next())?;
                }
                Some("--timeout") => {
                    let seconds = number("--timeout", TIMEOUT, arguments.next())?;
                    settings.timeout = Duration::from_secs_f64(seconds);
                }
                Some("--") => paths.extend(arguments.by_ref().map(PathBuf::from)),
                Some(option) if option.starts_with('-') => {
                    return Err(format!("there is no option {option}"));
                }
                _ => paths.push(PathBuf::from(argument)),
            }
        }
        if paths.is_empty() {
            paths.push(PathBuf::from("."));
        }
        Ok(Arguments::Count { paths, settings })
    }
}

/// Returns the value of an option that takes a number.
fn number<V: FromStr + PartialOrd + fmt::Display>(
    option: &str,
    range: RangeInclusive<V>,
    argument: Option<OsString>,
) -> Result<V, String> {
    let expected = format!("{option} takes a number from {} to {}", range.start(), range.end());
    let text = argument.ok_or_else(|| format!("{expected}, and there is none"))?;
    let value = text.to_str().and_then(|text| text.parse().ok());
    value
        .filter(|value| range.contains(value))
        .ok_or_else(|| format!("{expected}, not {}", text.to_string_lossy()))
}
