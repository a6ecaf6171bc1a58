//! The command line.

use std::time::Duration;

use crate::contender::Outcome;
use crate::measure::Plan;
use crate::row::Row;

pub const USAGE: &str = "\
options:
  --smoke            a few rounds of each row, to see that all of it works; the figures mean nothing
  --rows TEXT        only rows whose name contains TEXT; adds up when it is given several times
  --contenders TEXT  only contenders whose name contains TEXT; adds up as well; ratios need strait
  --samples COUNT    samples of each contender in each row, at least 7 (default 21)
  --pinned           a processor for each side; only useful when nothing else runs
  --help             print this";

#[derive(Default)]
pub struct Options {
    pub help: bool,
    pub pinned: bool,
    smoke: bool,
    samples: Option<usize>,
    rows: Vec<String>,
    contenders: Vec<String>,
}

impl Options {
    pub fn parse(arguments: &[String]) -> Outcome<Self> {
        let mut options = Self::default();
        let mut rest = arguments.iter();
        while let Some(option) = rest.next() {
            match option.as_str() {
                "--smoke" => options.smoke = true,
                "--rows" => options.rows.push(rest.next().ok_or(USAGE)?.clone()),
                "--contenders" => options.contenders.push(rest.next().ok_or(USAGE)?.clone()),
                "--samples" => {
                    let count = rest.next().and_then(|count| count.parse().ok()).ok_or(USAGE)?;
                    options.samples = Some(usize::max(count, 7));
                }
                "--pinned" => options.pinned = true,
                "--help" => options.help = true,
                _ => return Err(USAGE.into()),
            }
        }
        Ok(options)
    }

    pub fn plan(&self) -> Plan {
        if self.smoke {
            Plan { turns: 2, per_set_up: 2, length: None }
        } else {
            let turns = self.samples.unwrap_or(21);
            Plan { turns, per_set_up: 3, length: Some(Duration::from_millis(25)) }
        }
    }

    /// Leaves the rows and contenders that were asked for.
    pub fn choose(&self, rows: &mut Vec<Row>) -> Outcome<()> {
        for row in &mut *rows {
            row.entries.retain(|entry| asked_for(&self.contenders, entry.contender));
        }
        rows.retain(|row| asked_for(&self.rows, &row.name) && !row.entries.is_empty());
        if rows.is_empty() { Err("no row and contender of these names".into()) } else { Ok(()) }
    }
}

fn asked_for(texts: &[String], name: &str) -> bool {
    texts.is_empty() || texts.iter().any(|text| name.contains(text))
}
