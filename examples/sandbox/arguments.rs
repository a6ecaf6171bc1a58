//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;
use std::thread;
use std::time::Duration;

/// The only argument of a worker.
pub(crate) const WORKER: &str = "--worker";

/// Printed for `--help`, and after a mistake.
pub(crate) const USAGE: &str = "\
usage: sandbox [PATH...] [--workers N] [--timeout SECONDS] [--chaos] [--drill]

Counts the words in files, and in the files below directories; without a PATH, below the current
directory. The counting is left to confined processes that nobody needs to trust.

  --workers N        how many of them, 1 to 256; one per processor unless told otherwise
  --timeout SECONDS  how long one may take for a file, plus a second per MiB; 10 unless told otherwise
  --chaos            kill them at random while they work
  --drill            let a file that begins with `drill: DEED` take them over; see drill.rs";

/// What to do.
#[derive(Debug)]
pub(crate) enum Arguments {
    /// Count.
    Count { paths: Vec<PathBuf>, settings: Settings },
    /// Be a worker.
    Work,
    /// Explain.
    Help,
}

/// How to supervise.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// How many workers there are.
    pub(crate) workers: usize,
    /// How long a worker may take for an empty file.
    pub(crate) timeout: Duration,
    /// Whether workers are killed at random.
    pub(crate) chaos: bool,
    /// Whether workers do what a file tells them to.
    pub(crate) drill: bool,
}

impl Arguments {
    /// Understands the arguments after the program's name, or says what is wrong with them.
    pub(crate) fn parse(
        arguments: impl IntoIterator<Item = OsString>,
    ) -> Result<Arguments, String> {
        let mut arguments = arguments.into_iter();
        let mut paths = Vec::new();
        let mut settings = Settings {
            workers: thread::available_parallelism().map_or(1, usize::from).min(256),
            timeout: Duration::from_secs(10),
            chaos: false,
            drill: false,
        };
        while let Some(argument) = arguments.next() {
            match argument.to_str() {
                Some(WORKER) => return Ok(Arguments::Work),
                Some("--help" | "-h") => return Ok(Arguments::Help),
                Some("--chaos") => settings.chaos = true,
                Some("--drill") => settings.drill = true,
                Some("--workers") => {
                    settings.workers = value("--workers", arguments.next())?;
                    if !(1..=256).contains(&settings.workers) {
                        return Err(String::from("--workers takes a number from 1 to 256"));
                    }
                }
                Some("--timeout") => {
                    let seconds = value("--timeout", arguments.next())?;
                    settings.timeout = Duration::try_from_secs_f64(seconds)
                        .ok()
                        .filter(|timeout| *timeout <= Duration::from_secs(86_400))
                        .ok_or("--timeout takes a number of seconds up to a day")?;
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

fn value<V: FromStr>(option: &str, argument: Option<OsString>) -> Result<V, String> {
    let text = argument.ok_or_else(|| format!("{option} takes a value"))?;
    let value = text.to_str().and_then(|text| text.parse().ok());
    value.ok_or_else(|| format!("{option} doesn't take {}", text.to_string_lossy()))
}
