//! Writes what was found. The same files give the same text, whatever happened to the workers.

use std::collections::HashMap;
use std::fmt;

use crate::protocol::Totals;

const MOST_FREQUENT: usize = 20;

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// How often each word occurred, stop words left out.
    pub(crate) table: HashMap<String, u64>,
    /// How much was counted.
    pub(crate) totals: Totals,
    /// How many files that was.
    pub(crate) counted: u64,
    /// How many files were no text.
    pub(crate) binary: u64,
    /// How many files could not be read, and how many were given up.
    pub(crate) failed: u64,
    /// How many workers were started in place of others.
    pub(crate) replaced: u64,
    /// How many workers chaos killed.
    pub(crate) struck: u64,
}

/// What is printed of it: the most frequent words and the totals.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    outcome: &'a Outcome,
    words: Vec<(&'a String, &'a u64)>,
}

impl Report<'_> {
    /// Finds the most frequent words.
    pub(crate) fn new(outcome: &Outcome) -> Report<'_> {
        Report { outcome, words: most_frequent(&outcome.table) }
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (word, count) in &self.words {
            writeln!(f, "{count:>12}  {word}")?;
        }
        let Outcome { table, totals, counted, binary, failed, .. } = self.outcome;
        writeln!(f, "files: {counted} counted, {binary} not text, {failed} skipped")?;
        writeln!(f, "words: {}, {} different ones besides stop words", totals.words, table.len())?;
        writeln!(f, "bytes: {}", totals.bytes)
    }
}

/// The most frequent words, those first that are more frequent or, equally frequent, come first in the alphabet.
fn most_frequent(table: &HashMap<String, u64>) -> Vec<(&String, &u64)> {
    let order = |a: &(&String, &u64), b: &(&String, &u64)| b.1.cmp(a.1).then_with(|| a.0.cmp(b.0));
    let mut words: Vec<_> = table.iter().collect();
    // Sorting all of some millions would take seconds.
    if words.len() > MOST_FREQUENT {
        words.select_nth_unstable_by(MOST_FREQUENT, order);
        words.truncate(MOST_FREQUENT);
    }
    words.sort_unstable_by(order);
    words
}
